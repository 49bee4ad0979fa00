"""The guard's rule over what it can be told, and what it reads of /sync, with an etcd that is a dict."""
import itertools
import unittest

import dcs
import guard
from guard import Position

ME = Position(2, 1000)
SILENT = None


class Decision(unittest.TestCase):
    def promoted(self, me, *others, named=True):
        return guard.decide(me, dict(zip('bcdef', others)), named).promote

    def test_equal_positions(self):
        self.assertTrue(self.promoted(ME, ME, ME))
        self.assertTrue(self.promoted(ME, ME, ME, named=False))

    def test_one_other_of_three_is_enough(self):
        self.assertTrue(self.promoted(ME, ME, SILENT))

    def test_alone_of_three(self):
        self.assertFalse(self.promoted(ME, SILENT, SILENT))

    def test_own_server_silent(self):
        self.assertFalse(self.promoted(SILENT, ME, ME))

    def test_five_nodes_need_three_others(self):
        self.assertTrue(self.promoted(ME, ME, ME, ME, SILENT))
        self.assertFalse(self.promoted(ME, ME, ME, SILENT, SILENT))

    def test_newer_timeline_refuses_whatever_sync_says(self):
        for named in (True, False):
            self.assertFalse(self.promoted(ME, Position(3, 10), SILENT, named=named))

    def test_older_timeline_is_no_reason_however_long(self):
        self.assertTrue(self.promoted(ME, Position(1, 9999), SILENT, named=False))

    def test_ahead_on_the_same_timeline(self):
        ahead = Position(2, 1001)
        self.assertTrue(self.promoted(ME, ahead, SILENT, named=True))
        self.assertFalse(self.promoted(ME, ahead, SILENT, named=False))
        self.assertFalse(self.promoted(ME, ME, ahead, named=False))

    def test_whoever_lacks_an_acknowledged_commit_is_refused(self):
        """Every cluster of three in which a commit is on two nodes and /sync, at fault, names nobody or somebody else."""
        for lengths in itertools.product(range(3), repeat=3):
            for holders in itertools.combinations(range(3), 2):
                acknowledged = min(lengths[node] for node in holders)
                for silent in itertools.product((False, True), repeat=2):
                    others = [SILENT if quiet else Position(1, lengths[node]) for node, quiet in zip((1, 2), silent)]
                    if self.promoted(Position(1, lengths[0]), *others, named=False):
                        self.assertGreaterEqual(lengths[0], acknowledged)


class FakeEtcd:
    """Keeps every version of a key; None before there was one."""

    def __init__(self, *texts):
        self.texts = list(texts)

    def get(self, key, revision=0):
        number = (revision or len(self.texts)) - 1
        if number < 0 or number >= len(self.texts) or self.texts[number] is None:
            return None
        return dcs.Value({'value': dcs.encode(self.texts[number]), 'mod_revision': str(number + 1)})

    def put_if(self, key, revision, text):
        if revision != len(self.texts):
            return False
        self.texts.append(text)
        return True


class Silent:
    def get(self, key, revision=0):
        raise dcs.DcsError('silence')


OLD = '{"leader":"pg1","sync_standby":"pg2"}'
MINE = '{"leader":"pg3","sync_standby":null}'


class Sync(unittest.TestCase):
    def test_before_it_was_overwritten(self):
        sync = guard.read_sync(FakeEtcd(OLD, MINE), 'sync', 'pg3')
        self.assertEqual(sync.named, {'pg1', 'pg2'})

    def test_not_overwritten(self):
        self.assertEqual(guard.read_sync(FakeEtcd(OLD), 'sync', 'pg2'), guard.Sync({'pg1', 'pg2'}, None))

    def test_first_version_is_mine(self):
        self.assertEqual(guard.read_sync(FakeEtcd(None, MINE), 'sync', 'pg3').named, set())

    def test_silence_names_nobody(self):
        self.assertEqual(guard.read_sync(Silent(), 'sync', 'pg3'), guard.Sync(set(), None))

    def test_garbage_names_nobody(self):
        self.assertEqual(guard.read_sync(FakeEtcd('{'), 'sync', 'pg3').named, set())

    def test_restored(self):
        etcd = FakeEtcd(OLD, MINE)
        self.assertEqual(guard.restore_sync(etcd, 'sync', guard.read_sync(etcd, 'sync', 'pg3')), '/sync restored')
        self.assertEqual(etcd.texts[-1], OLD)

    def test_not_restored_over_somebody_elses(self):
        etcd = FakeEtcd(OLD, MINE)
        sync = guard.read_sync(etcd, 'sync', 'pg3')
        etcd.texts.append('{"leader":"pg2"}')
        guard.restore_sync(etcd, 'sync', sync)
        self.assertEqual(etcd.texts[-1], '{"leader":"pg2"}')

    def test_several_standbys(self):
        self.assertEqual(guard.names_in('{"leader":"a","sync_standby":"b,c"}'), {'a', 'b', 'c'})


class Lsn(unittest.TestCase):
    def test_order(self):
        self.assertEqual(guard.parse_lsn('0/0'), 0)
        self.assertEqual(guard.parse_lsn('1/2A'), (1 << 32) + 42)
        self.assertLess(guard.parse_lsn('0/FFFFFFFF'), guard.parse_lsn('1/0'))
