"""A cluster of three nodes on one machine, to try things and to break them: see patroni/cluster."""
from .cluster import Cluster
from .errors import ClusterError, NotPossible
