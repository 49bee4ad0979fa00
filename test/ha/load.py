#!/usr/bin/python3
"""One client: load.py SETTINGS. Calls unrdf until it is sent SIGTERM, and notes what it was told.

Each client works by keys of its own. A call that was not acknowledged is sent again with the same keys until it is, but for one in
five, which is given up, so that "unknown" is looked at as well (connection.py says what is which).

That a call which finds its key is acknowledged only when a second copy of what it found exists is what unrdf.enqueue() sees to; for
records, which have no keys, ha.record() does.

A client that is sent SIGTERM ends its call first. One that is killed leaves a call in its journal as "sent".
"""
import json
import os
import random
import signal
import sys
import time

from connection import Connection
from journal import Journal

GIVE_UP = 0.2


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
        self.connection = Connection('ha client', settings['names'])
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
        kind = self.random.choices(['job', 'record', 'outside', 'bulk', 'delayed', 'slow', 'flaky'], [45, 30, 5, 5, 5, self.slow, 3])[0]
        if kind == 'record':
            return self.next_record()
        if kind == 'bulk':
            return many_jobs([self.new_key() for _ in range(20)])
        if kind == 'delayed':
            return a_job(kind, 'work', self.new_key(), '%.3f s' % self.random.uniform(0.5, 4))
        if kind == 'slow':
            return a_job(kind, 'slow', self.new_key(), sleep=round(self.random.uniform(0.05, 1), 3))
        return a_job(kind, kind if kind in ('outside', 'flaky') else 'work', self.new_key())

    def try_once(self, call, attempt):
        """Sends a call; returns what the client was told, as the journal has it."""
        told, rows = self.connection.tell(self.journal, call.query, call.values, kind=call.kind, keys=call.keys, attempt=attempt, ids=None)
        return dict(told, ids=rows and [row[0] for row in rows])

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
