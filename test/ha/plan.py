"""Which fault, on whom, when: everything about trial N of a seed follows from (seed, N), so that one can be repeated alone.

Kinds come in rounds: each round has every kind once, in an order of its own, so that fifty trials cover all of them. Moments
and places are drawn for each trial. Nodes are drawn by their part in the cluster and not by number, since who leads when a
trial begins depends on the trials before.
"""
import random

# What is expected of a fault. FAILOVER: somebody else has to take over. STAYS: nobody has to, and clients are to be served again
# while the fault lasts. EITHER: both happen, and clients may have to wait until it is healed.
FAILOVER, STAYS, EITHER = 'failover', 'stays', 'either'


class Kind:
    """A kind of trial: the driver's fault, its options, the victim's part, what is expected, and what the cluster has to be made with."""

    def __init__(self, name, expected, victim='leader', fault=None, needs=None, **options):
        self.name, self.expected, self.victim = name, expected, victim
        self.fault, self.options, self.needs = fault or name, options, needs or {}


KINDS = {kind.name: kind for kind in [
    Kind('kill-postmaster', FAILOVER),
    Kind('kill-host', FAILOVER),
    Kind('power-loss', FAILOVER),
    Kind('partition', FAILOVER),
    Kind('link-down', FAILOVER),
    Kind('cut-out', FAILOVER),
    Kind('cut-in', FAILOVER),
    Kind('cut-replicas', EITHER),
    Kind('cut-etcd', FAILOVER),
    Kind('stop-postmaster', EITHER),
    Kind('stop-postgres', FAILOVER),
    Kind('stop-patroni', FAILOVER),
    Kind('stop-etcd', EITHER),
    Kind('stop-host', FAILOVER),
    Kind('kill-patroni', FAILOVER),
    Kind('clean-stop', FAILOVER),
    Kind('switchover', FAILOVER),
    Kind('lose-sync', STAYS, victim='sync'),
    Kind('lose-standbys', EITHER, victim='standbys'),
    Kind('lose-etcd', EITHER, victim='any'),
    Kind('lose-etcd-majority', EITHER, victim='majority'),
    Kind('slow-disk', EITHER, needs={'disk': 1024}),
    Kind('latency-10', EITHER, fault='latency', ms=10),
    Kind('latency-100', EITHER, fault='latency', ms=100),
    Kind('latency-500', EITHER, fault='latency', ms=500),
    Kind('loss', EITHER),
    Kind('clock-step', EITHER, needs={'clock': True}),
    Kind('clock-back', FAILOVER, fault='clock-step', needs={'clock': True}, seconds=-3600),
    Kind('disk-full', EITHER, needs={'disk': 1024}),
    Kind('double', EITHER),
]}
FIRSTS = ['kill-postmaster', 'kill-host', 'power-loss', 'partition', 'link-down', 'stop-postgres', 'stop-host', 'kill-patroni', 'clean-stop', 'switchover']
SECONDS = ['kill-postmaster', 'kill-host', 'power-loss', 'partition', 'link-down', 'stop-postgres', 'stop-patroni', 'stop-etcd', 'stop-host', 'kill-patroni']
SMALL_SET = ['kill-postmaster', 'power-loss', 'partition', 'stop-host', 'switchover']


class Strike:
    """One fault of a trial: what, on whom, and how many seconds after the one before.

    The victim is 'leader', 'sync', 'standbys' or 'majority' (whom the driver finds), 'any' (node number of three)
    or 'other' (number of the two that do not lead).
    """

    def __init__(self, kind, victim, after, number):
        self.kind, self.victim, self.after, self.number = kind, victim, after, number


class Trial:
    def __init__(self, seed, number, kind=None):
        chosen = random.Random('%s/%d' % (seed, number))
        self.seed, self.number = seed, number
        self.kind = KINDS[kind or kind_of(seed, number)]
        self.load_seed = chosen.getrandbits(32)
        self.etcd_leader = chosen.choice(['victim', 'elsewhere'])
        self.hold = chosen.uniform(0, 3) if self.kind.expected == FAILOVER else chosen.uniform(6, 15)
        moment = chosen.uniform(0.5, 4)
        node = chosen.randrange(3)
        first = KINDS[chosen.choice(FIRSTS)] if self.kind.name == 'double' else self.kind
        self.strikes = [Strike(first, first.victim, moment, node)]
        if self.kind.name == 'double':
            self.strikes.append(Strike(KINDS[chosen.choice(SECONDS)], 'other', chosen.uniform(0.2, 5), chosen.randrange(2)))

    def describe(self):
        return 'trial %d of seed %s: %s, etcd leader %s' % (
            self.number, self.seed, ' + '.join(strike.kind.name for strike in self.strikes), self.etcd_leader)


def kind_of(seed, number):
    """The kind of a trial: its place in the round that it belongs to."""
    names = sorted(KINDS)
    random.Random('%s/round %d' % (seed, (number - 1) // len(names))).shuffle(names)
    return names[(number - 1) % len(names)]
