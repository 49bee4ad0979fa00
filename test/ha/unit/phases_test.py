"""Phases, out of a made up trial: pg1 is hit at 100, pg2 takes over."""
import json
import unittest

import phases


def key(at, name, value, revision, deleted=False):
    return dict(at=at, key=name, value=value, revision=revision, deleted=deleted)


def standby(at, node, streaming=True, silence=0.1):
    return dict(at=at, node=node, state='standby', streaming=streaming, silence=silence)


def accepted(at, node, job=False):
    return dict(at=at, node=node, state='accepted', job=job)


def acknowledged(at, node, sent=None):
    return dict(at=at, sent=sent or at - 0.01, node=node, outcome='acknowledged')


def sync(at, leader, standby_name, revision):
    return key(at, 'sync', json.dumps({'leader': leader, 'sync_standby': standby_name}), revision)


KEYS = [key(95, 'leader', 'pg1', 1), key(104, 'leader', '', 5, True), key(103.9, 'leader', '', 5, True), key(106, 'leader', 'pg2', 6),
        sync(106.1, 'pg2', None, 7), sync(110, 'pg2', 'pg3', 8)]
PROBES = [standby(99, 'pg2', False), standby(101, 'pg2'), standby(103.1, 'pg2', True, 3.02), standby(105, 'pg3', False), accepted(100.5, 'pg1'),
          accepted(106.3, 'pg2'), accepted(107.5, 'pg2', True)]
CALLS = [acknowledged(99.9, 'pg1'), acknowledged(100.2, 'pg1'), acknowledged(107.9, 'pg2'), acknowledged(109, 'pg2'), acknowledged(115, 'pg2')]


def measured(keys=KEYS, probes=PROBES, calls=CALLS, hit=('pg1',), healthy=120.0):
    return phases.measure(phases.Seen(keys, probes, calls), 'pg1', list(hit), 100.0, 111.0, healthy, 116.0)


def near(times, **wanted):
    for name, value in wanted.items():
        found = times[name.replace('_', ' ')]
        assert (found is None) == (value is None) and (value is None or abs(found - value) < 1e-6), (name, found, value)


class Phases(unittest.TestCase):
    def test_a_failover(self):
        times = measured()
        near(times, noticed=3.1, key_gone=3.9, lock=6, promoted=6.3, first_write=7.9, first_job=7.5, sync_again=10, gap=7.7, rejoin=9)
        assert phases.failed_over(times) and phases.too_late(times) == []

    def test_what_never_comes(self):
        times = measured(keys=KEYS[:1], probes=PROBES[:2], calls=CALLS[:2], healthy=None)
        near(times, noticed=None, key_gone=None, lock=None, promoted=None, first_write=None, first_job=None, sync_again=None, gap=15.8, rejoin=None)
        assert not phases.failed_over(times) and phases.too_late(times) == ['noticed', 'lock', 'first write', 'sync again']

    def test_a_victim_does_not_notice_itself(self):
        near(measured(hit=('pg1', 'pg2')), noticed=5)
        near(measured(hit=('pg3',)), noticed=None)

    def test_another_synchronous_standby(self):
        near(measured(keys=KEYS[:1] + [sync(102, 'pg1', None, 2), sync(105, 'pg1', 'pg3', 3)], hit=('pg2',)), lock=None, sync_again=5)

    def test_leaders_are_counted(self):
        def changes(*names):
            keys = [key(101 + n, 'leader', name, n, not name) for n, name in enumerate(names)]
            return phases.changes(phases.Seen(keys, [], []), 'pg1', 100.0)
        assert (changes(), changes('pg1', '', 'pg1'), changes('', 'pg2', 'pg2'), changes('pg2', '', 'pg1')) == (0, 0, 1, 2)

    def test_what_is_too_late(self):
        times = measured(calls=CALLS[:2] + [acknowledged(150, 'pg2')])
        assert phases.too_late(times) == ['first write']
