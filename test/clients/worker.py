#!/usr/bin/python3
"""An outside worker in Python: worker.py CONNINFO QUEUE [JOBS AT ONCE]. Handlers are functions by their names."""
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import psycopg
from psycopg.types.json import Jsonb


def hello(args):
    time.sleep(args.get("sleep", 0))
    if args.get("fail"):
        raise ValueError("as asked")
    return {"hello": args.get("name", "world"), "by": "python"}


HANDLERS = {"hello": hello}
LEASE = "10 s"


class Worker:
    def __init__(self, conninfo, queue, room):
        # prepare_threshold None: a pooler in transaction mode knows no prepared statements
        self.conn = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        self.queue, self.room = queue, room
        self.stopping = threading.Event()
        self.pool = ThreadPoolExecutor(room)
        self.running, self.beat = {}, time.monotonic()

    def claim(self):
        wait_for = "1 s" if not self.running else "0"
        rows = self.conn.execute(
            "SELECT token, handler, args FROM unrdf.claim(ARRAY[%s], %s, lease => %s::interval, wait => %s::interval)",
            (self.queue, self.room - len(self.running), LEASE, wait_for)).fetchall()
        for token, handler, args in rows:
            self.running[self.pool.submit(HANDLERS[handler], args)] = token

    def report(self):
        """Says what has become of jobs, many at a time."""
        done = wait(self.running, timeout=0.05, return_when="FIRST_COMPLETED").done
        good, bad = [], []
        for future in done:
            token = self.running.pop(future)
            (bad if future.exception() else good).append((token, future))
        with self.conn.transaction():
            if good:
                self.conn.execute("SELECT unrdf.complete(%s::bigint[], %s::jsonb[])",
                                  ([t for t, _ in good], [Jsonb(f.result()) for _, f in good]))
            if bad:
                self.conn.execute("SELECT unrdf.fail(%s::bigint[], %s::text[])",
                                  ([t for t, _ in bad], [str(f.exception()) for _, f in bad]))

    def heartbeat(self):
        if self.running and time.monotonic() - self.beat > 3:
            self.beat = time.monotonic()
            self.conn.execute("SELECT unrdf.heartbeat(%s::bigint[], %s::interval)", (list(self.running.values()), LEASE))

    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())
        while not self.stopping.is_set():
            if len(self.running) < self.room:
                self.claim()
            if self.running:
                self.report()
            self.heartbeat()
        self.pool.shutdown(wait=False, cancel_futures=True)
        # what has not begun goes back, what has is finished
        waiting = [self.running.pop(f) for f in list(self.running) if f.cancelled()]
        self.conn.execute("SELECT unrdf.release(%s::bigint[])", (waiting,))
        while self.running:
            self.report()
            self.heartbeat()


Worker(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 4).run()
