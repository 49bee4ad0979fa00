#!/usr/bin/python3
"""Compares what clients were told with what a healed cluster has: judge.py SETTINGS, which prints a verdict as JSON.

First what is due of the schedule is fired up to now, and the work that is left is awaited: every job has ended, every receipt has its leaf, a checkpoint of all that is published, and
every standby has replayed it. What does not get less for a minute is then found as what it is. Then all rows are read, each node is
asked for its log and what it finds wrong in it, and truth.py says what is not as it has to be.

Everything is judged that clients were ever told by this cluster, in earlier trials as well; counted is what they were told in
the last one, whose folder is "own".
"""
import base64
import collections
import glob
import json
import os
import sys
import time

import psycopg2

import truth
from journal import read

SETTLE_TIMEOUT = 60

UNENDED = 'SELECT count(*) FROM unrdf.job AS j WHERE j.id <> ALL (%s) AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id)'
# Jobs that a server whose clock was an hour ahead was to run a moment later, or ran: pg_sleep goes by the time of day. No other is
# due in more than a few seconds.
DUE_LATE = "SELECT id FROM unrdf.jobs WHERE state IN ('scheduled', 'retrying') AND due_at > now() + interval '1 minute' OR state = 'running'"
UNINTEGRATED = 'SELECT (SELECT count(*) FROM unrdf.receipt) - (SELECT size FROM unrdf.log_size())'
KINDS = {1: 'execute', 2: 'create', 3: 'update', 4: 'delete', 5: 'batch'}
OUTCOMES = {1: 'ok', 2: 'dead', 3: 'cancelled', 4: 'skipped'}
EVERY = 1  # seconds between two ticks of the schedule, see clock.py
# A node's entries as the log has them: 40 bytes each, the receipt's id and its leaf hash.
ENTRIES = 'SELECT leaves FROM unrdf.integration WHERE log = 1 ORDER BY first'
# Promotions since a moment, by the new leader's account of them.
FAILOVERS = """
SELECT to_timeline, log, reason, extract(epoch FROM noticed_at)::float, extract(epoch FROM first_write_at)::float
FROM unrdf.failovers WHERE promoted_at >= to_timestamp(%s) ORDER BY epoch"""
TICKS = "SELECT schedule, extract(epoch FROM due_at)::bigint, job FROM unrdf.schedule_runs WHERE NOT by_hand"
PROOF = 'SELECT proof FROM unrdf.consistency_proof(1, %s, %s)'


class Server:
    """One node, by its socket."""

    def __init__(self, name, socket, database):
        self.name = name
        self.connection = psycopg2.connect(host=socket, user='postgres', dbname=database, connect_timeout=10, application_name='ha judge')
        self.connection.autocommit = True

    def rows(self, query, values=None):
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def do(self, statement):
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def value(self, query, values=None):
        return self.rows(query, values)[0][0]


def wait(condition, until):
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def read_failovers(leader, given):
    """What is written of the failovers of the last trial, once that of the present timeline is; and findings about it."""
    if leader.value("SELECT to_regclass('unrdf.failovers')") is None:
        return [], []
    last = leader.value('SELECT ha.timeline()')
    wait(lambda: last == given['timeline'] or last in [row[0] for row in leader.rows(FAILOVERS, (given['moment'],))],
         time.monotonic() + SETTLE_TIMEOUT)
    rows = leader.rows(FAILOVERS, (given['moment'],))
    return rows, list(truth.of_failovers([row[:3] for row in rows], given['timeline'], last))


def drained(count):
    """Waits until nothing is left of what count() counts, for as long as it gets less; says whether."""
    least, since = count(), time.monotonic()
    while least > 0 and time.monotonic() < since + SETTLE_TIMEOUT:
        time.sleep(0.1)
        left = count()
        if left < least:
            least, since = left, time.monotonic()
    return least == 0


def end_schedule(leader, schedule):
    """Has all ticks fired that are due by now, and no more of them; returns whether that has come to an end."""
    if leader.rows('SELECT FROM unrdf.schedules WHERE name = %s AND paused', (schedule,)):
        return True
    now = leader.value('SELECT extract(epoch FROM clock_timestamp())::bigint - %s', (EVERY,))

    def fire():
        leader.do('CALL unrdf.run_schedules(wait => false)')  # does nothing while a call that was cut off still fires
        return any(name == schedule and due >= now for name, due, _ in leader.rows(TICKS))
    fired = wait(fire, time.monotonic() + SETTLE_TIMEOUT)
    leader.rows('SELECT unrdf.pause_schedule(%s)', (schedule,))
    return fired


def settle(leader, standbys, waiting, schedule):
    """Waits for what is left to do but for jobs that wait; returns what has not come to an end, and who has caught up."""
    left = [] if end_schedule(leader, schedule) else ['the schedule']
    if not drained(lambda: leader.value(UNENDED, (waiting,))):
        left.append('jobs')
    if not drained(lambda: leader.value(UNINTEGRATED)):
        left.append('the log')
    until = time.monotonic() + SETTLE_TIMEOUT
    try:
        leader.rows('SELECT unrdf.publish_checkpoint()')
    except psycopg2.Error as error:
        left.append('a checkpoint: %s' % str(error).split('\n')[0])
    end = leader.value('SELECT pg_current_wal_lsn()')
    equal = [standby for standby in standbys
             if wait(lambda standby=standby: standby.value('SELECT pg_last_wal_replay_lsn() >= %s', (end,)), until)]
    return left + ['replay on ' + standby.name for standby in standbys if standby not in equal], equal


def connect(nodes, database):
    """The servers that answer, and who does not: a healed cluster has all."""
    servers, silent = [], []
    for name, socket in nodes.items():
        try:
            servers.append(Server(name, socket, database))
        except psycopg2.Error as error:
            silent.append('%s does not answer: %s' % (name, str(error).strip().split('\n')[0]))
    return servers, silent


def read_rows(leader):
    receipts = leader.rows('SELECT id, kind, outcome, subject, revision FROM unrdf.receipt')
    return truth.Rows(
        leader.rows('SELECT id, key FROM unrdf.job'),
        [(number, KINDS[kind], OUTCOMES[outcome], subject, revision) for number, kind, outcome, subject, revision in receipts],
        leader.rows('SELECT job, mark FROM ha.effect'),
        leader.rows('SELECT subject, n, receipt FROM ha.event'),
        leader.rows(TICKS))


def read_told(pattern, own):
    """What these journals have, all of them and those of the last trial."""
    files = {file: read(file) for file in sorted(glob.glob(pattern))}
    return ([entry for file in files for entry in files[file]],
            [entry for file in files if os.path.dirname(file) == own for entry in files[file]])


def is_completion(entry):
    return entry['kind'] == 'complete' and entry['outcome'] == 'acknowledged'


def read_node(server):
    size, root = server.rows('SELECT size, root FROM unrdf.log_size()')[0]
    entries = b''.join(bytes(leaves) for leaves, in server.rows(ENTRIES))
    return truth.Node(
        server.name, ['%s: %s' % row for row in server.rows('SELECT receipt, reason FROM unrdf.verify_all()')], size, bytes(root),
        [(int.from_bytes(entries[at:at + 8], 'big'), entries[at + 8:at + 40]) for at in range(0, len(entries), 40)])


def note_text(origin, size, root, signatures):
    """A checkpoint's text, as it was signed."""
    return '%s\n%d\n%s\n\n%s' % (origin, size, base64.b64encode(root).decode(), signatures)


def read_checkpoints(files, leader):
    """Every checkpoint that was ever seen, with what it was seen on first; and findings about keys."""
    keys = [key for key, in leader.rows('SELECT key FROM unrdf.log_keys')]
    seen = {}
    for entry in sorted((entry for file in files for entry in read(file)), key=lambda entry: entry['at']):
        for checkpoint in entry['checkpoints']:
            seen.setdefault(tuple(checkpoint), entry['node'])
    checkpoints = []
    for (size, root, origin, signatures), node in seen.items():
        root = bytes.fromhex(root)
        signed = bool(keys) and leader.value('SELECT unrdf.verify_checkpoint(%s, %s)', (note_text(origin, size, root, signatures), keys[0]))
        checkpoints.append(truth.Checkpoint(node, size, root, signed))
    findings = [] if len(keys) == 1 else [truth.Finding('several keys', 'the log was signed with %d keys' % len(keys))]
    return checkpoints, findings


def prover(leader, newest):
    def prove(size):
        try:
            return [bytes(entry) for entry in leader.value(PROOF, (size, newest))]
        except psycopg2.Error:
            return None
    return prove


def judge(given, database='postgres'):
    servers, silent = connect(given['nodes'], database)
    leader = next((server for server in servers if server.name == given['leader']), None)
    if leader is None:
        raise SystemExit('the leader cannot be asked: %s' % '; '.join(silent))
    failovers, findings = read_failovers(leader, given)
    waiting = [number for number, in leader.rows(DUE_LATE)] if given['clock'] else []
    unsettled, equal = settle(leader, [server for server in servers if server is not leader], waiting, given['schedule'])
    calls, own = read_told(given['calls'], given['own'])
    completed, own_completed = (list(filter(is_completion, told)) for told in read_told(given['completions'], given['own']))
    claimed, rows, last = truth.claims(calls), read_rows(leader), truth.claims(own)
    nodes = [read_node(server) for server in [leader] + equal]
    checkpoints, of_keys = read_checkpoints(sorted(glob.glob(given['checkpoints'])), leader)
    findings += of_keys
    findings += [truth.Finding('not settled', what) for what in silent + unsettled]
    findings += truth.of_jobs(claimed, rows, waiting)
    findings += truth.of_completions([(job, call['mark']) for call in completed for job in call['jobs']], rows)
    findings += truth.of_ticks(rows, None if given['clock'] else EVERY)
    findings += truth.of_records(claimed, rows)
    findings += truth.of_log(rows, nodes[0])
    findings += truth.of_nodes(nodes)
    findings += truth.of_checkpoints(checkpoints, nodes[0], prover(leader, nodes[0].size))
    flying, landed = truth.in_flight(calls, dict(leader.rows(
        "SELECT id, extract(epoch FROM finished_at)::float FROM unrdf.receipt WHERE kind = 1 AND outcome = 1")), given['moment'])
    return dict(
        findings=findings, failovers=failovers, flying=flying, landed=landed, waiting=len(waiting), checkpoints=len(checkpoints), jobs=len(rows.jobs), records=len(rows.events),
        ticks=sum(name == given['schedule'] for name, _, _ in rows.ticks),
        completed=sum(len(call['jobs']) for call in own_completed), refused=sum(call['refused'] for call in own_completed),
        acknowledged=sum(bool(claim.ids) for claim in last.values()), unknown=sum(not claim.ids for claim in last.values()),
        leaves=nodes[0].size, warned=sum(bool(call.get('warned')) for call in own), told=collections.Counter(call['outcome'] for call in own))


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        given = json.load(file)
    verdict = json.dumps(judge(given), indent=1)
    with open(given['verdict'] + '.new', 'w', encoding='utf-8') as file:
        file.write(verdict)
    os.replace(given['verdict'] + '.new', given['verdict'])


if __name__ == '__main__':
    main()
