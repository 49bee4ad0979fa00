#!/usr/bin/python3
"""The clock of schedules: clock.py SETTINGS. Makes a schedule that is due every second, and has what is due fired, until it is sent SIGTERM.

In turns it asks for what is due now, and for a call that stays until the end of the minute and is cut off: its server goes on firing
until it notices, frozen or not, while the next call fires as well.
"""
import itertools
import os
import signal
import time

from connection import Connection
from journal import Journal
from recorder import settings

SCHEDULE = """SELECT unrdf.schedule(%s, '1 second', 'work', '{"key": "tick"}', catch_up => '1000', overlap => 'queue')"""
FIRE = 'CALL unrdf.run_schedules(wait => %s)'


class Clock:
    def __init__(self, given):
        self.schedule = given['schedule']
        self.journal, self.connection = Journal(given['journal']), Connection('ha clock', given['names'])
        self.stopping = False

    def stop(self, *_):
        self.stopping = True

    def call(self, kind, query, values):
        """Makes a call and notes what came of it; returns whether it was acknowledged."""
        told, _ = self.connection.tell(self.journal, query, values, kind=kind)
        self.journal.write(**told)
        time.sleep(0.2)
        return told['outcome'] == 'acknowledged'

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        maker = os.getppid()
        made = False
        for stay in itertools.cycle((False, True)):
            if self.stopping or os.getppid() != maker:
                break
            if made:
                self.call('fire', FIRE, (stay,))
            else:
                made = self.call('schedule', SCHEDULE, (self.schedule,))


if __name__ == '__main__':
    Clock(settings()).run()
