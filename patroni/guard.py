"""Whether this node may be promoted: the rule, and what it is applied to.

Patroni asks by pre_promote when it holds the lease already, which by known faults of Patroni 3.0.2 and etcd 3.4 a node can have
that lacks acknowledged commits. With one synchronous standby a commit is acknowledged when two nodes have it on disk, so:

- This node and enough others to meet every two nodes of the cluster have to answer: of three, one other.
- Nobody who answers may be on a newer timeline.
- Nobody who answers may have more of this node's timeline, unless Patroni's /sync names this node. Then it has everything that
  was acknowledged, and what others have beyond was not. /sync alone would not do: it is in the store that was at fault.

A refusal leaves everything as it was, but for /sync, which Patroni has overwritten before it asked: with this node's name alone
in it only this node could try again, for ever. It is written back, if nobody else has written it since. If this process dies
before that, Patroni takes it for a refusal, and what it cannot write back is what it would have found: no promotion, no loss.
"""
import collections
import json
import queue
import socket
import threading
import time

import psycopg2
import psycopg2.extras

import dcs

Position = collections.namedtuple('Position', 'timeline lsn')
Verdict = collections.namedtuple('Verdict', 'promote reason')
Sync = collections.namedtuple('Sync', 'named before')  # the names in /sync before it was overwritten; its text, if it was

COPIES = 2  # synchronous_node_count + 1


def decide(me, others, named):
    """me: the own Position or None. others: dict of the other nodes, Position or None. named: whether /sync names this node."""
    if me is None:
        return Verdict(False, 'the own server does not answer')
    needed = len(others) + 1 - COPIES
    answers = {name: position for name, position in others.items() if position}
    if len(answers) < needed:
        return Verdict(False, '%d of %d other nodes answer, %d have to' % (len(answers), len(others), needed))
    newer = sorted(name for name, position in answers.items() if position.timeline > me.timeline)
    if newer:
        return Verdict(False, '%s on a newer timeline' % ', '.join(newer))
    ahead = sorted(name for name, position in answers.items() if position > me)
    if ahead and not named:
        return Verdict(False, '%s ahead, and /sync does not name this node' % ', '.join(ahead))
    return Verdict(True, 'nobody ahead' if not ahead else '/sync names this node; %s ahead by what nobody was told' % ', '.join(ahead))


def parse_lsn(text):
    high, low = text.split('/')
    return int(high, 16) << 32 | int(low, 16)


def position_at(host, port, login):
    """How far a server is; None where it does not say."""
    try:
        if not host.startswith('/'):
            socket.create_connection((host, int(port)), 0.5).close()  # libpq itself would wait for 2 s at least
        link = psycopg2.connect(host=host, port=port, connect_timeout=2, application_name='pre_promote',
                                connection_factory=psycopg2.extras.PhysicalReplicationConnection, **login)
        cursor = link.cursor()
        cursor.execute('IDENTIFY_SYSTEM')
        _, timeline, lsn, _ = cursor.fetchone()
        link.close()
        return Position(int(timeline), parse_lsn(lsn))
    except (OSError, psycopg2.Error):
        return None


def positions(servers, login, timeout):
    """The positions of servers, a dict of (host, port) by name, all asked at once. Who has not answered in time counts as silent."""
    answers = queue.Queue()
    for name, (host, port) in servers.items():
        threading.Thread(target=lambda name=name, host=host, port=port: answers.put((name, position_at(host, port, login))),
                         daemon=True).start()
    found, until = dict.fromkeys(servers), time.monotonic() + timeout
    for _ in servers:
        try:
            name, found_position = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        found[name] = found_position
    return found


def names_in(text):
    """The names in /sync: of the primary that wrote it and of its synchronous standbys."""
    state = json.loads(text)
    standbys = state.get('sync_standby') or ''
    return {name for name in [state.get('leader')] + standbys.split(',') if name}


def read_sync(api, key, name):
    """What /sync said before Patroni wrote this node's name alone into it; nothing where etcd does not say."""
    try:
        now = api.get(key)
        if now is None or names_in(now.text) != {name}:
            return Sync(names_in(now.text) if now else set(), None)
        before = api.get(key, now.revision - 1)
        return Sync(names_in(before.text) if before else set(), before and (now.revision, before.text))
    except (dcs.DcsError, ValueError):
        return Sync(set(), None)


def restore_sync(api, key, sync):
    """Writes /sync back; says what came of it."""
    if not sync.before:
        return '/sync left as it is'
    try:
        return '/sync restored' if api.put_if(key, *sync.before) else '/sync left to whoever has written it since'
    except dcs.DcsError as error:
        return '/sync not restored: %s' % error
