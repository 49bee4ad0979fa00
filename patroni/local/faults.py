"""What can go wrong, as functions of a cluster and a node.

Each kind does the thing itself: it cuts packets, kills or stops processes. Nothing is recorded: heal() knows how a healthy
cluster looks and restores that, so it also works after the process that injected the fault has died, and after several faults.
"""
import inspect
import signal

from . import mounts, process
from .errors import ClusterError, NotPossible

DATABASE_PORTS = '{ 5432, 8008 }'
ETCD_PORTS = '{ 2379, 2380 }'


def server(cluster, node):
    return lambda: cluster.pids_of_server(node)


def host(cluster, node):
    return lambda: cluster.pids_of_host(node)


def one(cluster, what, node):
    """The pid of a process that has to be there."""
    pid = cluster.pid(what, node)
    if pid is None:
        raise ClusterError('%s does not run on node %s' % (what, node))
    return pid


def kill(cluster, what, node, number=signal.SIGKILL, timeout=60):
    pid = one(cluster, what, node)
    start = process.started(pid)
    process.send(pid, number)
    if process.wait_gone({pid: start}, timeout):
        raise ClusterError('%s on node %s has not ended within %d s' % (what, node, timeout))


def cut_all(cluster, node, incoming=True, outgoing=True):
    cluster.hosts.filter(node, ['drop'] if incoming else [], ['drop'] if outgoing else [])


def cut_ports(cluster, node, ports):
    """Cuts a node from the others' ports and them from its, both ways; connections that exist as well."""
    others = ', '.join(cluster.hosts.address(other) for other in (1, 2, 3) if other != node)
    lines = ['ip %s { %s } tcp %s %s drop' % (way, others, port, ports) for way in ('saddr', 'daddr') for port in ('sport', 'dport')]
    cluster.hosts.filter(node, lines[:2], lines[2:])


def kill_postmaster(cluster, node):
    kill(cluster, 'postmaster', node)


def kill_host(cluster, node):
    process.kill_all(host(cluster, node))


def power_loss(cluster, node):
    """The link first, so that nobody hears the connections close."""
    cluster.hosts.set_link(node, 'down')
    kill_host(cluster, node)


def partition(cluster, node):
    cut_all(cluster, node)


def link_down(cluster, node):
    cluster.hosts.set_link(node, 'down')


def cut_out(cluster, node):
    cut_all(cluster, node, incoming=False)


def cut_in(cluster, node):
    cut_all(cluster, node, outgoing=False)


def cut_replicas(cluster, node):
    cut_ports(cluster, node, DATABASE_PORTS)


def cut_etcd(cluster, node):
    cut_ports(cluster, node, ETCD_PORTS)


def stop_postmaster(cluster, node):
    process.freeze_all(lambda: [one(cluster, 'postmaster', node)])


def stop_postgres(cluster, node):
    one(cluster, 'postmaster', node)
    process.freeze_all(server(cluster, node))


def stop_patroni(cluster, node):
    process.freeze_all(lambda: [one(cluster, 'patroni', node)])


def stop_etcd(cluster, node):
    process.freeze_all(lambda: [one(cluster, 'etcd', node)])


def stop_host(cluster, node):
    process.freeze_all(host(cluster, node))


def kill_patroni(cluster, node):
    kill(cluster, 'patroni', node)


def clean_stop(cluster, node):
    kill(cluster, 'patroni', node, signal.SIGTERM)


def switchover(cluster, node):
    cluster.switchover()


def lose_etcd(cluster, node):
    kill(cluster, 'etcd', node)


def number(name, value):
    try:
        return float(value)
    except ValueError as error:
        raise ClusterError('%s has to be a number, not "%s"' % (name, value)) from error


def positive(name, value):
    if number(name, value) < 0.001:
        raise ClusterError('%s has to be greater than 0, not "%s"' % (name, value))
    return number(name, value)


def latency(cluster, node, ms=100):
    cluster.hosts.delay(node, positive('ms', ms))


def loss(cluster, node, percent=1):
    """Packets lost at random, each way."""
    below = min(round(positive('percent', percent) * 1000), 100000)
    rule = ['numgen random mod 100000 <= %d drop' % (below - 1)]
    cluster.hosts.filter(node, rule, rule)


def disk_full(cluster, node):
    mounts.fill(cluster.node_dir(node))


def slow_disk(cluster, node, writes=20):
    mounts.throttle(cluster.node_dir(node), int(positive('writes', writes)))


def clock_step(cluster, node, seconds=3600):
    """Sets the clock that Patroni and PostgreSQL of a node read. etcd reads the machine's."""
    if not cluster.settings['clock']:
        raise NotPossible('the clock is the machine\'s; "up --clock" gives each node one of its own')
    cluster.set_clock(node, number('seconds', seconds))


# The kinds that begin with the leader unless another node is named.
KINDS = {function.__name__.replace('_', '-'): function for function in (
    kill_postmaster, kill_host, power_loss, partition, link_down, cut_out, cut_in, cut_replicas, cut_etcd,
    stop_postmaster, stop_postgres, stop_patroni, stop_etcd, stop_host, kill_patroni, clean_stop, switchover, lose_etcd,
    latency, loss, disk_full, slow_disk, clock_step)}
# Those that hit others: the fault, and whom.
OF_OTHERS = {
    'lose-sync': (power_loss, lambda cluster, leader: [cluster.sync_standby()]),
    'lose-standbys': (power_loss, lambda cluster, leader: [node for node in (1, 2, 3) if node != leader]),
    'lose-etcd-majority': (lose_etcd, lambda cluster, leader: [leader, leader % 3 + 1]),
}


def inject(cluster, kind, node, options):
    if kind not in KINDS and kind not in OF_OTHERS:
        raise ClusterError('no fault "%s": there are %s' % (kind, ', '.join(names())))
    function = KINDS.get(kind) or OF_OTHERS[kind][0]
    unknown = set(options) - set(list(inspect.signature(function).parameters)[2:])
    if unknown:
        raise ClusterError('fault %s has no "%s"' % (kind, min(unknown)))
    leader = cluster.leader() if node is None else None
    if node is None and leader is None:
        raise ClusterError('there is no leader: name a node')
    if kind in KINDS:
        function(cluster, node or leader, **options)
        return node or leader
    hit = [node] if node else OF_OTHERS[kind][1](cluster, leader)
    if None in hit:
        raise ClusterError('there is no synchronous standby')
    for victim in hit:
        function(cluster, victim)
    return hit[0]


def set_clock_right(cluster, node):
    """Patroni waits by the time of day: where that goes back, it stands still until it is again as late as it was."""
    ahead = cluster.clock(node) > 0
    cluster.set_clock(node, 0)
    if ahead and cluster.pid('patroni', node) is not None:
        kill(cluster, 'patroni', node)


def heal(cluster):
    for node in (1, 2, 3):
        process.thaw_all(host(cluster, node))
        mounts.heal(cluster.node_dir(node))
        set_clock_right(cluster, node)
    cluster.hosts.heal()
    for what in ('etcd', 'patroni'):
        for node in (1, 2, 3):
            if cluster.pid(what, node) is None:
                cluster.start(what, node)


def names():
    return sorted(list(KINDS) + list(OF_OTHERS))
