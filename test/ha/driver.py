"""The driver of local clusters, patroni/local, and what a cluster needs to be tried: the load's tables, and checkpoints that come often."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..', 'patroni'))

from local import Cluster, ClusterError, NotPossible, process  # noqa: E402 (its folder is known only now)

# Patroni's settings for all nodes while trials are held
SETTINGS = {'unrdf.checkpoint_interval': '1s'}


def take_away_orphan(name):
    """Takes a cluster away whose maker is gone: here that is the process that held its trials."""
    left = Cluster(name)
    maker, start = left.settings.get('maker', (0, None))
    if maker and process.started(maker) != start:
        left.down()


def make_cluster(name, **options):
    """A new cluster, ready for trials."""
    take_away_orphan(name)
    cluster = Cluster(name, **options)
    cluster.up()
    leader = cluster.leader()
    with open(os.path.join(HERE, 'schema.sql'), encoding='utf-8') as file:
        cluster.sql(leader, file.read(), timeout=30)
    status, text = cluster.rest(leader, '/config', 'PATCH', {'postgresql': {'parameters': SETTINGS}})
    if status != 200:
        raise ClusterError('settings: %s' % text)
    return cluster


def versions(cluster):
    """What the trials were held with."""
    def first_line(*command):
        process = cluster.popen_in_client(list(command), stdout=-1, text=True)
        return process.communicate()[0].strip().split('\n')[0]
    leader = cluster.leader()
    effective = json.loads(cluster.rest(leader, '/config')[1])
    return dict(
        postgresql=cluster.sql(leader, 'SHOW server_version'), unrdf=cluster.sql(leader, "SELECT extversion FROM pg_extension WHERE extname = 'unrdf'"),
        patroni=first_line('/usr/bin/patroni', '--version').split()[-1], etcd=first_line('etcd', '--version').split()[-1],
        ttl='ttl %(ttl)s, loop_wait %(loop_wait)s, retry_timeout %(retry_timeout)s' % effective,
        strict=effective.get('synchronous_mode_strict'), fence=cluster.sql(leader, "SELECT coalesce(current_setting('unrdf.fence', true), 'not there')"))
