#!/usr/bin/python3
"""A worker outside the server: outside.py SETTINGS. Claims jobs, works for a moment, and completes them, until it is sent SIGTERM.

What a worker does in the transaction that completes a job happens once, though the job may be run more than once: ha.complete() writes
each effect with a mark that no other completion has, so that an acknowledged completion that is lost is seen even where another
worker has run the job again since. A completion that was not acknowledged is not sent again: who has its jobs next has a lease of its own.
"""
import os
import random
import signal
import time

from connection import Connection
from journal import Journal
from recorder import settings

CLAIM = "SELECT token, job, args->>'key' FROM unrdf.claim(ARRAY['default'], 20, lease => '5 s', wait => '1 s')"
COMPLETE = 'SELECT unnest(ha.complete(%s, %s, %s, %s))'


class Worker:
    def __init__(self, given):
        self.name = '%s/%s' % (given['trial'], given['worker'])
        self.random = random.Random('%s/outside/%s' % (given['seed'], given['worker']))
        self.journal, self.connection = Journal(given['journal']), Connection('ha worker', given['names'])
        self.number, self.stopping = 0, False

    def stop(self, *_):
        self.stopping = True

    def complete(self, claimed):
        """Completes claimed jobs; notes what was acknowledged of which of them."""
        self.number += 1
        tokens, jobs, keys = map(list, zip(*claimed))
        mark = '%s/%d' % (self.name, self.number)
        told, rows = self.connection.tell(self.journal, COMPLETE, (tokens, jobs, keys, mark), kind='complete', mark=mark, jobs=jobs)
        refused = [row[0] for row in rows or []]
        self.journal.write(**dict(told, jobs=[job for token, job in zip(tokens, jobs) if token not in refused], refused=len(refused)))

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        maker = os.getppid()
        while not self.stopping and os.getppid() == maker:
            told, claimed = self.connection.tell(self.journal, CLAIM, (), kind='claim')
            self.journal.write(**dict(told, jobs=[job for _, job, _ in claimed or []]))
            if claimed:
                time.sleep(self.random.uniform(0, 0.5))
                self.complete(claimed)
            elif told['outcome'] != 'acknowledged':
                time.sleep(0.1)


if __name__ == '__main__':
    Worker(settings()).run()
