"""The load and the judge against one real server, whose clients are cut off at times; then rows are changed, and what was changed is found."""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import psycopg2

import judge
from journal import read

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOCKET = os.environ.get('PGHOST', '')
CUTS = 6


class Database:
    """A database of its own on the server, with the load's tables."""

    def __init__(self, name):
        self.name, self.folder = name, tempfile.mkdtemp(prefix='unrdf-ha-unit.')
        self.admin('postgres', 'CREATE DATABASE ' + name)
        self.admin(name, 'CREATE EXTENSION unrdf CASCADE')
        with open(os.path.join(HERE, 'schema.sql'), encoding='utf-8') as file:
            self.admin(name, file.read())

    @staticmethod
    def connect(name):
        connection = psycopg2.connect(host=SOCKET, dbname=name, user='postgres')
        connection.autocommit = True
        return connection

    def admin(self, name, query):
        connection = self.connect(name)
        with connection.cursor() as cursor:
            cursor.execute(query)
            rows = cursor.fetchall() if cursor.description else None
        connection.close()
        return rows

    def do(self, query):
        return self.admin(self.name, query)

    def start(self, script, name, **settings):
        path = os.path.join(self.folder, name)
        with open(path + '.json', 'w', encoding='utf-8') as file:
            json.dump(dict(settings, journal=path + '.journal'), file)
        with open(path + '.log', 'ab') as log:
            return subprocess.Popen([sys.executable, os.path.join(HERE, script), path + '.json'], stdout=log, stderr=log,
                                    env=dict(os.environ, PGDATABASE=self.name, HA_DSN='host=%s user=postgres dbname=%s' % (SOCKET, self.name)))

    def given(self):
        return dict(nodes={'pg1': SOCKET}, leader='pg1', clock=False, timeline=1, moment=time.time(), own=self.folder, schedule='tick/1',
                    completions=os.path.join(self.folder, 'outside-*.journal'), calls=os.path.join(self.folder, 'client-*.journal'), checkpoints=os.path.join(self.folder, 'checkpoints.journal'))

    def judge(self):
        return judge.judge(self.given(), self.name)

    def close(self):
        self.admin('postgres', 'DROP DATABASE %s WITH (FORCE)' % self.name)
        shutil.rmtree(self.folder)


def end(processes):
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        assert process.wait(15) in (0, -signal.SIGTERM), process.args


def acknowledged(database):
    return sum(call['outcome'] == 'acknowledged' for path in glob.glob(os.path.join(database.folder, 'client-*.journal')) for call in read(path))


def await_that(condition, failing):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, failing
        time.sleep(0.05)


def worked_database():
    """A database on which two clients, a clock and two workers outside have worked, cut off several times in the middle; the workers go on."""
    database = Database('ha_unit')
    node = dict(node='pg1', socket=SOCKET, database=database.name)
    clients = [database.start('load.py', 'client-%d' % n, trial=1, client=n, names={}, seed=n, pause=0, slow=7) for n in (1, 2)]
    clients.append(database.start('clock.py', 'clock', schedule='tick/1', names={}))
    workers = [database.start('outside.py', 'outside-%d' % n, trial=1, worker=n, names={}, seed=n) for n in (1, 2)]
    watchers = [database.start('probe.py', 'probe', **node), database.start('collect.py', 'checkpoints', **node)]
    for cut in range(1, CUTS + 1):
        await_that(lambda cut=cut: acknowledged(database) >= 100 * cut, 'the clients are not served')
        database.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('ha client', 'ha worker', 'ha clock')")
        database.do('SELECT unrdf.publish_checkpoint()')
    await_that(lambda: database.do('SELECT count(*) >= 3 FROM unrdf.schedule_run')[0][0], 'the clock is not served')
    await_that(lambda: database.do('SELECT EXISTS (SELECT FROM ha.effect WHERE mark IS NOT NULL)')[0][0], 'the workers are not served')
    end(clients)
    end(watchers)
    return database, workers


class Server(unittest.TestCase):
    """In order: each test after the second changes something more."""

    @classmethod
    def setUpClass(cls):
        cls.database, cls.workers = worked_database()

    @classmethod
    def tearDownClass(cls):
        cls.database.close()

    def expect(self, *kinds):
        self.assertEqual(sorted({kind for kind, _ in self.database.judge()['findings']}), sorted(kinds))

    def test_1_what_clients_were_told_is_there(self):
        verdict = self.database.judge()
        end(self.workers)
        assert verdict['findings'] == [], verdict['findings']
        assert verdict['acknowledged'] > 100 * CUTS and verdict['told']['unknown'] >= CUTS, verdict
        assert verdict['checkpoints'] >= 2 and verdict['leaves'] == verdict['jobs'] + verdict['records'], verdict
        assert verdict['completed'] > 0 and verdict['ticks'] > 0, verdict

    def test_2_the_probe_saw_writes_and_jobs(self):
        entries = read(os.path.join(self.database.folder, 'probe.journal'))
        assert sum(entry['state'] == 'accepted' for entry in entries) > 10 and any(entry.get('job') for entry in entries)

    def test_3_a_node_that_does_not_answer_is_found(self):
        given = dict(self.database.given(), nodes={'pg1': SOCKET, 'pg2': self.database.folder})
        self.assertEqual([kind for kind, _ in judge.judge(given, self.database.name)['findings']], ['not settled'])

    def test_4_a_changed_effect_is_found(self):
        self.database.do('INSERT INTO ha.effect SELECT * FROM ha.effect WHERE mark IS NULL LIMIT 1')
        self.expect('doubled effect')
        self.database.do('DELETE FROM ha.effect WHERE job IN (SELECT job FROM ha.effect GROUP BY job HAVING count(*) > 1)')
        self.expect('receipt without effect')

    def test_5_a_completion_by_another_is_found(self):
        self.database.do("UPDATE ha.effect SET mark = 'another' WHERE job = (SELECT max(job) FROM ha.effect WHERE mark IS NOT NULL)")
        self.expect('receipt without effect', 'lost completion')

    def test_6_a_tick_that_is_not_there_is_found(self):
        self.database.do('DELETE FROM unrdf.schedule_run WHERE due_at = (SELECT min(due_at) + interval \'1 s\' FROM unrdf.schedule_run)')
        self.expect('receipt without effect', 'lost completion', 'lost tick', 'doubled tick')

    def test_7_a_changed_receipt_is_found(self):
        self.database.do("UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = (SELECT max(id) FROM unrdf.receipt)")
        self.expect('receipt without effect', 'lost completion', 'lost tick', 'doubled tick', 'verify_all')

    def test_8_a_lost_record_is_found(self):
        self.database.do("DELETE FROM ha.event WHERE receipt = (SELECT max(receipt) FROM ha.event)")
        self.expect('receipt without effect', 'lost completion', 'lost tick', 'doubled tick', 'verify_all', 'lost record')

    def test_9_a_checkpoint_of_another_log_is_found(self):
        path = os.path.join(self.database.folder, 'checkpoints.journal')
        newest = read(path)[-1]
        size, _, origin, signatures = newest['checkpoints'][0]
        with open(path, 'a', encoding='utf-8') as file:
            file.write(json.dumps(dict(newest, checkpoints=[[size, '00' * 32, origin, signatures]])) + '\n')
        self.expect('receipt without effect', 'lost completion', 'lost tick', 'doubled tick', 'verify_all', 'lost record', 'forked checkpoint', 'bad signature')
