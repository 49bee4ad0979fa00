"""What the recorders have in common: settings from a file, a connection that is made anew, an end by SIGTERM."""
import json
import os
import sys
import time

import psycopg2

from journal import Journal


def settings():
    """The settings of the process: a file of JSON that its command line names."""
    with open(sys.argv[1], encoding='utf-8') as file:
        return json.load(file)


class Recorder:
    """Looks at one node by its socket, every so often; what it sees goes to a journal. Each look begins when it is due, or when the
    one before has ended."""
    setup = 'SELECT 1'

    def __init__(self, given, interval):
        self.node, self.socket, self.database, self.interval = given['node'], given['socket'], given['database'], interval
        self.journal, self.cursor = Journal(given['journal']), None

    def connect(self):
        connection = psycopg2.connect(host=self.socket, user='postgres', dbname=self.database, connect_timeout=2, application_name='ha')
        connection.autocommit = True
        self.cursor = connection.cursor()
        self.cursor.execute(self.setup)

    def ask(self, query, values=None):
        self.cursor.execute(query, values)
        return self.cursor.fetchall()

    def look(self):
        """Looks once and returns what to note, or None."""
        raise NotImplementedError

    def try_look(self):
        try:
            if self.cursor is None:
                self.connect()
            return self.look()
        except psycopg2.Error as error:
            if self.cursor is not None:
                self.cursor.connection.close()
            self.cursor = None
            return self.failed(str(error).strip().split('\n')[0])

    def failed(self, message):
        """What to note of a look that failed, or None."""
        raise NotImplementedError

    def run(self):
        maker = os.getppid()
        while os.getppid() == maker:
            sent = time.monotonic()
            seen = self.try_look()
            if seen is not None:
                self.journal.write(node=self.node, sent=sent, **seen)
            time.sleep(max(0.0, sent + self.interval - time.monotonic()))
