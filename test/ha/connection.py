"""How everybody on the client's host calls unrdf: through a multi-host connection string, each call with a time-out, and told what came of it.

A call is acknowledged when it returned in time and without the server's warning that it has stopped to wait for a standby. It is unknown
when it was sent, and whatever came back was not that. Nothing is assumed of a call that was cut off.
"""
import os
import select
import time

import psycopg2
import psycopg2.extensions

CALL_TIMEOUT = 3.0


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
    """A connection to whoever accepts writes, made anew after every failure. names: of nodes, by their addresses."""

    def __init__(self, name, names):
        self.name, self.names, self.connection, self.node = name, names, None, None

    def open(self):
        if self.connection:
            return
        psycopg2.extensions.set_wait_callback(None)  # with one, libpq would not keep connect_timeout
        self.connection = psycopg2.connect(os.environ['HA_DSN'], application_name=self.name)
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
            rows = cursor.fetchall() if cursor.description else []
        return rows, any('synchronous replication' in notice for notice in self.connection.notices)

    def tell(self, journal, query, values, **about):
        """Makes a call; notes before and after it, with all that it is about, and returns what the caller was told, with the rows."""
        told = dict(about, outcome='not sent', sent=time.monotonic(), sent_wall=time.time())
        rows = None
        try:
            self.open()
            told.update(node=self.node, sent=time.monotonic(), sent_wall=time.time(), outcome='unknown')
            journal.write(**dict(told, outcome='sent'))
            rows, warned = self.call(query, values)
            told.update(warned=warned, outcome='unknown' if warned else 'acknowledged')
        except (psycopg2.Error, TooLong) as error:
            told.update(error=str(error).strip().replace('\n', ' | ')[:200])
            self.close()
        return told, rows
