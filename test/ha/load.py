#!/usr/bin/python3
"""One client: load.py SETTINGS. Calls unrdf until it is sent SIGTERM, and notes what it was told.

Each client works by keys of its own. A call that was not acknowledged is sent again with the same keys until it is, but for one in
five, which is given up, so that "unknown" is looked at as well. A call is acknowledged when it returned in time and
without the server's warning that it has stopped to wait for a standby. Nothing is assumed of a call that was cut off.

That a call which finds its key is acknowledged only when a second copy of what it found exists is what unrdf.enqueue() sees to; for
records, which have no keys, ha.record() does.

A client that is sent SIGTERM ends its call first. One that is killed leaves a call in its journal as "sent".
"""
import json
import os
import random
import select
import signal
import sys
import time

import psycopg2
import psycopg2.extensions

from journal import Journal

CALL_TIMEOUT = 3.0
GIVE_UP = 0.2


class TooLong(Exception):
    """The call has not returned in time. It may return yet, or have been done."""


def wait_until(deadline):
    """What libpq waits with, for as long as the caller does."""
    def wait(connection):
        while True:
            state = connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            reading = [connection.fileno()] if state == psycopg2.extensions.POLL_READ else []
            writing = [connection.fileno()] if state == psycopg2.extensions.POLL_WRITE else []
            if not any(select.select(reading, writing, [], max(0.0, deadline - time.monotonic()))):
                raise TooLong('no answer in %g s' % CALL_TIMEOUT)
    return wait


class Connection:
    """A connection to whoever accepts writes, made anew after every failure."""

    def __init__(self, dsn, names):
        self.dsn, self.names, self.connection, self.node = dsn, names, None, None

    def open(self):
        if self.connection:
            return
        psycopg2.extensions.set_wait_callback(None)  # with one, libpq would not keep connect_timeout
        self.connection = psycopg2.connect(self.dsn, application_name='ha client')
        self.connection.autocommit = True
        address = self.call('SELECT host(inet_server_addr())', ())[0][0][0]
        self.node = self.names.get(address, address)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def call(self, query, values):
        """The rows of a query, and whether the server gave up to wait for a standby."""
        psycopg2.extensions.set_wait_callback(wait_until(time.monotonic() + CALL_TIMEOUT))
        del self.connection.notices[:]
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            rows = cursor.fetchall()
        return rows, any('synchronous replication' in notice for notice in self.connection.notices)


ENQUEUE = "SELECT unrdf.enqueue(%s, %s, run_at => clock_timestamp() + %s::interval, key => %s, key_window => '1 day')"
ENQUEUE_MANY = "SELECT id FROM unrdf.enqueue_many('work', %s::jsonb[], keys => %s, key_window => '1 day') AS id"
RECORD = 'SELECT ha.record(%s, %s, %s)'


class Call:
    """Something to be called: its kind, its keys, and the statement."""

    def __init__(self, kind, keys, query, values):
        self.kind, self.keys, self.query, self.values = kind, keys, query, values


def a_job(kind, handler, key, delay=None, **arguments):
    values = (handler, json.dumps(dict(arguments, key=key)), delay, key)
    return Call(kind, [key], ENQUEUE, values)


def many_jobs(keys):
    values = ([json.dumps({'key': key}) for key in keys], keys)
    return Call('bulk', keys, ENQUEUE_MANY, values)


def a_record(subject, n):
    values = ('create' if n == 1 else 'update', subject, n)
    return Call('record', ['%s#%d' % (subject, n)], RECORD, values)


class Client:
    def __init__(self, settings):
        self.name = '%s/%s' % (settings['trial'], settings['client'])
        self.random = random.Random('%s/%s' % (settings['seed'], settings['client']))
        self.pause, self.slow = settings['pause'], settings['slow']
        self.journal = Journal(settings['journal'])
        self.connection = Connection(os.environ['HA_DSN'], settings['names'])
        self.number, self.records, self.stopping = 0, {}, False

    def stop(self, *_):
        self.stopping = True

    def new_key(self):
        self.number += 1
        return 'ha/%s/%d' % (self.name, self.number)

    def next_record(self):
        """The next one of one of a few subjects: a chain starts with "create" and goes on with updates."""
        subject = 'ha/%s/s%d' % (self.name, self.random.randrange(1 + self.number // 10))
        self.number += 1
        self.records[subject] = self.records.get(subject, 0) + 1
        return a_record(subject, self.records[subject])

    def next_call(self):
        kind = self.random.choices(['job', 'record', 'bulk', 'delayed', 'slow', 'flaky'], [50, 30, 5, 5, self.slow, 3])[0]
        if kind == 'record':
            return self.next_record()
        if kind == 'bulk':
            return many_jobs([self.new_key() for _ in range(20)])
        if kind == 'delayed':
            return a_job(kind, 'work', self.new_key(), '%.3f s' % self.random.uniform(0.5, 4))
        if kind == 'slow':
            return a_job(kind, 'slow', self.new_key(), sleep=round(self.random.uniform(0.05, 1), 3))
        return a_job(kind, 'flaky' if kind == 'flaky' else 'work', self.new_key())

    def try_once(self, call, attempt):
        """Sends a call; returns what the client was told, as the journal has it."""
        told = dict(kind=call.kind, keys=call.keys, attempt=attempt, ids=None, outcome='not sent', sent=time.monotonic(), sent_wall=time.time())
        try:
            self.connection.open()
            told.update(node=self.connection.node, sent=time.monotonic(), sent_wall=time.time(), outcome='unknown')
            self.journal.write(**dict(told, outcome='sent'))
            rows, warned = self.connection.call(call.query, call.values)
            told.update(ids=[row[0] for row in rows], warned=warned, outcome='unknown' if warned else 'acknowledged')
        except (psycopg2.Error, TooLong) as error:
            told.update(error=str(error).strip().replace('\n', ' | ')[:200])
            self.connection.close()
        return told

    def perform(self, call):
        """Sends a call until it is acknowledged, given up, or time to stop."""
        given_up = self.random.random() < GIVE_UP
        attempt = 1
        while True:
            told = self.try_once(call, attempt)
            self.journal.write(**told)
            sent = told['outcome'] != 'not sent'
            if told['outcome'] == 'acknowledged' or self.stopping or (sent and given_up):
                return
            attempt += sent
            time.sleep(0.1)

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        maker = os.getppid()
        while not self.stopping and os.getppid() == maker:
            self.perform(self.next_call())
            time.sleep(self.pause)


def main():
    with open(sys.argv[1], encoding='utf-8') as file:
        Client(json.load(file)).run()


if __name__ == '__main__':
    main()
