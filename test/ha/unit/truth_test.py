"""The check of truth can fail: what is wrong is put into what a good cluster says, and has to be found, and nothing else."""
import hashlib
import unittest

import truth
from merkle_test import leaf, proof, root


def call(kind, keys, ids, outcome='acknowledged', at=10.0):
    return dict(kind=kind, keys=keys, ids=ids, outcome=outcome, node='pg1', at=at, wall=1000.0 + at)


CALLS = [call('job', ['a'], [1]), call('bulk', ['b', 'c'], [2, 3]), call('record', ['ha/s#1'], [4]),
         call('record', ['ha/s#2'], None, 'unknown'), call('record', ['ha/s#3'], [6]), call('job', ['d'], None, 'unknown')]


def good_rows():
    """What a good database says of the calls: the unknown record was done, the unknown job was not."""
    return truth.Rows(
        jobs=[(1, 'a'), (2, 'b'), (3, 'c')],
        receipts=[(1, 'execute', 'ok', None, None), (2, 'execute', 'ok', None, None), (3, 'execute', 'ok', None, None),
                  (4, 'create', 'ok', 'ha/s', 1), (5, 'update', 'ok', 'ha/s', 2), (6, 'update', 'ok', 'ha/s', 3), (7, 'create', 'ok', 'cluster', 1)],
        effects=[(1, None), (2, None), (3, '1/1/1')],
        events=[('ha/s', 1, 4), ('ha/s', 2, 5), ('ha/s', 3, 6)],
        ticks=[])


def good_node(name='pg1', size=7):
    entries = [(number, leaf(number)) for number in range(1, size + 1)]
    return truth.Node(name, [], size, root([hashed for _, hashed in entries]), entries)


def kinds(findings):
    return [finding.kind for finding in findings]


def of_rows(rows, calls=tuple(CALLS)):
    claimed = truth.claims(calls)
    return kinds(list(truth.of_jobs(claimed, rows)) + list(truth.of_records(claimed, rows)))


def expect(found, *wanted):
    assert sorted(found) == sorted(wanted), 'found %s instead of %s' % (found, list(wanted))


def of_checkpoint(size, tree, signed=True, prove=None):
    log = good_node()
    leaves = [hashed for _, hashed in log.entries]
    return kinds(truth.of_checkpoints([truth.Checkpoint('pg1', size, root(tree[:size]), signed)], log,
                                      prove or (lambda size: proof(size, leaves))))


def moments(start, end):
    return [start + 0.05 * step for step in range(round((end - start) / 0.05) + 1)]


class Truth(unittest.TestCase):
    def test_nothing_is_found_where_nothing_is_wrong(self):
        expect(of_rows(good_rows()))
        expect(kinds(truth.of_log(good_rows(), good_node())))
        expect(kinds(truth.of_nodes([good_node('pg1'), good_node('pg2'), good_node('pg3')])))

    def test_a_lost_job_is_found(self):
        rows = good_rows()
        del rows.jobs[1], rows.receipts[1], rows.effects[1]
        expect(of_rows(rows), 'lost job')

    def test_a_lost_record_is_found(self):
        rows = good_rows()
        del rows.events[2], rows.receipts[5]
        expect(of_rows(rows), 'lost record')

    def test_a_job_under_another_id_is_a_lost_one(self):
        rows = good_rows()
        rows.jobs[0], rows.receipts[0], rows.effects[0] = (9, 'a'), (9, 'execute', 'ok', None, None), (9, None)
        expect(of_rows(rows), 'lost job')

    def test_a_doubled_job_is_found(self):
        rows = good_rows()
        rows.jobs.append((9, 'a'))
        rows.receipts.append((9, 'execute', 'ok', None, None))
        rows.effects.append((9, None))
        expect(of_rows(rows), 'doubled job')

    def test_an_unknown_job_may_be_there_once_and_not_twice(self):
        rows = good_rows()
        for number in (8, 9):
            expect(of_rows(rows))
            rows.jobs.append((number, 'd'))
            rows.receipts.append((number, 'execute', 'ok', None, None))
            rows.effects.append((number, None))
        expect(of_rows(rows), 'doubled job')

    def test_a_call_that_was_cut_off_claims_what_it_sent(self):
        expect(of_rows(good_rows(), CALLS[:-3] + [call('record', ['ha/s#2'], None, 'sent')] + CALLS[-2:]))
        expect(of_rows(good_rows(), CALLS[:-3] + [call('record', ['ha/s#2'], None, 'not sent')] + CALLS[-2:]), 'unsent record')

    def test_a_doubled_effect_is_found(self):
        rows = good_rows()
        rows.effects.append((2, None))
        expect(of_rows(rows), 'doubled effect')

    def test_a_receipt_without_effect_is_found(self):
        rows = good_rows()
        del rows.effects[0]
        expect(of_rows(rows), 'receipt without effect')
        rows = good_rows()
        rows.receipts.append((9, 'update', 'ok', 'ha/s', 4))
        expect(of_rows(rows), 'receipt without effect')

    def test_an_effect_without_receipt_is_found(self):
        rows = good_rows()
        del rows.receipts[2]
        expect(of_rows(rows), 'effect without receipt', 'job has not ended')
        rows = good_rows()
        rows.effects.append((8, None))
        expect(of_rows(rows), 'effect without receipt')

    def test_a_receipt_without_job_is_found(self):
        rows = good_rows()
        rows.receipts.append((9, 'execute', 'ok', None, None))
        expect(of_rows(rows), 'receipt without job')

    def test_a_job_that_ended_badly_is_found(self):
        rows = good_rows()
        rows.receipts[0] = (1, 'execute', 'dead', None, None)
        del rows.effects[0]
        expect(of_rows(rows), 'job is dead')

    def test_a_job_that_has_not_ended_is_found_unless_it_waits(self):
        rows = good_rows()
        del rows.receipts[0], rows.effects[0]
        expect(of_rows(rows), 'job has not ended')
        expect(kinds(truth.of_jobs(truth.claims(CALLS), rows, waiting=[1])))
        expect(kinds(truth.of_jobs(truth.claims(CALLS), rows, waiting=[2])), 'job has not ended')

    def test_a_doubled_receipt_is_found(self):
        rows = good_rows()
        rows.receipts.append((1, 'execute', 'ok', None, None))
        expect(of_rows(rows), 'doubled receipt')

    def test_a_doubled_record_is_found(self):
        rows = good_rows()
        rows.events.append(('ha/s', 3, 8))
        rows.receipts.append((8, 'update', 'ok', 'ha/s', 4))
        expect(of_rows(rows), 'doubled record')

    def test_a_record_without_receipt_is_found(self):
        rows = good_rows()
        del rows.receipts[5]
        expect(of_rows(rows), 'record without receipt')

    def test_a_broken_chain_is_found(self):
        rows = good_rows()
        rows.receipts[5] = (6, 'update', 'ok', 'ha/s', 4)
        expect(of_rows(rows), 'broken chain')
        rows = good_rows()
        rows.receipts[4], rows.receipts[5] = (5, 'update', 'ok', 'ha/s', 3), (6, 'update', 'ok', 'ha/s', 2)
        expect(of_rows(rows), 'broken chain')

    def test_what_was_never_sent_is_found(self):
        rows = good_rows()
        rows.jobs.append((9, 'x'))
        rows.receipts.append((9, 'execute', 'ok', None, None))
        rows.effects.append((9, 'x'))
        expect(of_rows(rows), 'unsent job')

    def test_leaves_that_are_missing_doubled_or_foreign_are_found(self):
        rows, log = good_rows(), good_node()
        expect(kinds(truth.of_log(rows, log._replace(entries=log.entries[:-1]))), 'nodes differ')
        expect(kinds(truth.of_log(rows, log._replace(entries=log.entries + log.entries[:1]))), 'doubled receipt')
        expect(kinds(truth.of_log(rows, log._replace(entries=log.entries + [(9, leaf(9))]))), 'nodes differ')

    def test_what_a_node_finds_is_found(self):
        expect(kinds(truth.of_nodes([good_node('pg1'), good_node('pg2')._replace(findings=['7: leaf is another'])])), 'verify_all')

    def test_nodes_that_differ_are_found(self):
        expect(kinds(truth.of_nodes([good_node('pg1'), good_node('pg2', 6)])), 'nodes differ')
        node = good_node('pg2')
        entries = node.entries[:2] + [(9, leaf(9))] + node.entries[3:]
        expect(kinds(truth.of_nodes([good_node('pg1'), node._replace(entries=entries)])), 'nodes differ', 'root is another')
        forked = node._replace(entries=entries, root=root([hashed for _, hashed in entries]))
        expect(kinds(truth.of_nodes([good_node('pg1'), forked])), 'nodes differ', 'nodes differ')
        expect(kinds(truth.of_nodes([node._replace(entries=node.entries[:-1])])), 'root is another')

    def test_checkpoints_are_judged(self):
        leaves = [leaf(number) for number in range(1, 8)]
        forked = leaves[:3] + [hashlib.sha256(b'other').digest()] + leaves[4:] + [leaf(8)]
        for size in range(1, 8):
            expect(of_checkpoint(size, leaves))
        expect(of_checkpoint(3, forked))
        expect(of_checkpoint(5, forked), 'forked checkpoint')
        expect(of_checkpoint(7, forked), 'forked checkpoint')
        expect(of_checkpoint(8, forked), 'log is shorter than a checkpoint')
        expect(of_checkpoint(5, leaves, signed=False), 'bad signature')
        expect(of_checkpoint(5, leaves, prove=lambda size: None), 'no consistency proof')
        expect(of_checkpoint(5, leaves, prove=lambda size: proof(4, leaves)), 'no consistency proof')

    def test_a_lost_completion_is_found(self):
        rows = good_rows()
        expect(kinds(truth.of_completions([(3, '1/1/1')], rows)))
        expect(kinds(truth.of_completions([(3, '1/1/1'), (3, '1/2/7')], rows)), 'lost completion')

    def ticks(self, *ticks, jobs=(11, 12, 13), every=1):
        rows = good_rows()
        rows.jobs.extend((number, None) for number in jobs)
        rows.ticks.extend(ticks)
        return kinds(truth.of_ticks(rows, every))

    def test_ticks_are_judged(self):
        one, two, three = ('t/1', 100, 11), ('t/1', 101, 12), ('t/1', 102, 13)
        expect(self.ticks(one, two, three))
        expect(self.ticks(one, two, ('t/2', 500, 13)))
        expect(self.ticks(one, three, jobs=(11, 13)), 'lost tick')
        expect(self.ticks(one, three, jobs=(11, 13), every=None))
        expect(self.ticks(one, two, three, jobs=(11, 12)), 'lost tick')
        expect(self.ticks(one, two, ('t/1', 102, None), jobs=(11, 12)), 'lost tick')
        expect(self.ticks(one, two), 'doubled tick')
        expect(self.ticks(one, two, ('t/1', 102, 12), jobs=(11, 12)), 'doubled tick')
        expect(self.ticks(one, two, ('t/1', 101, 13)), 'doubled tick')

    def test_jobs_of_ticks_end_like_others_and_were_sent_by_nobody(self):
        rows = good_rows()
        rows.jobs.append((11, None))
        expect(of_rows(rows), 'job has not ended')

    def test_one_writer_after_the_other_is_good(self):
        seconds, writes, findings = truth.of_writers({'pg1': moments(0, 5) + moments(20, 22), 'pg2': moments(5.05, 19.9), 'pg3': []})
        assert (seconds, writes, findings) == (0.0, 0, [])

    def test_two_writers_are_found_and_measured(self):
        seconds, writes, findings = truth.of_writers({'pg1': moments(0, 8), 'pg2': moments(5, 12), 'pg3': []})
        assert abs(seconds - 3) < 0.06 and writes > 100 and kinds(findings) == ['two writers', 'two writers'], (seconds, writes, findings)

    def test_a_single_write_of_an_old_leader_is_found(self):
        seconds, writes, findings = truth.of_writers({'pg1': moments(0, 5) + [9.02], 'pg2': moments(7, 12)})
        assert (seconds, writes, kinds(findings)) == (0.0, 1, ['two writers'])

    def test_failovers_are_judged(self):
        for failovers, last, wanted in [
                ([], 1, []), ([(2, 'consistent', None)], 2, []), ([(2, 'unchecked', None), (3, 'consistent', None)], 3, []),
                ([], 2, ['failover is not recorded']), ([(2, 'consistent', None)], 3, ['failover is not recorded']),
                ([(2, 'refused', 'shorter')], 2, ['failover refused the log']), ([(2, 'consistent', None)] * 2, 2, ['doubled failover'])]:
            expect(kinds(truth.of_failovers(failovers, 1, last)), *wanted)

    def test_jobs_in_flight_are_counted(self):
        calls = CALLS[:2] + [call('job', ['late'], [8], at=30.0)]
        assert truth.in_flight(calls, {1: 1015.0, 2: 1030.0, 3: 1031.0}, 1020.0) == (2, 2)
        assert truth.in_flight(calls, {1: 1015.0, 2: 1030.0}, 1020.0) == (2, 1)
