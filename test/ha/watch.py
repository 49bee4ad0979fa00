#!/usr/bin/python3
"""Follows the cluster's keys in one member of etcd: watch.py SETTINGS. A member that ends takes its watch along, and one that was cut off
may go on with an old one: there is a watcher for each member, and a watch that has ended begins again where it was."""
import base64
import json
import os
import signal
import subprocess
import sys
import time

from journal import Journal
from recorder import settings


class Watcher:
    def __init__(self, given):
        self.given, self.journal, self.revision = given, Journal(given['journal']), None

    def command(self):
        since = ['--rev=%d' % (self.revision + 1)] if self.revision else []
        return ['etcdctl', '--endpoints=' + self.given['endpoint'], 'watch', '--prefix', self.given['prefix'], '-w', 'json'] + since

    def note(self, answer, at):
        for event in answer.get('Events') or []:
            key = base64.b64decode(event['kv']['key']).decode()
            value = base64.b64decode(event['kv'].get('value', '')).decode()
            self.revision = event['kv']['mod_revision']
            self.journal.write(at=at, member=self.given['node'], revision=self.revision, deleted=event.get('type') == 1,
                               key=key[len(self.given['prefix']):], value=value)

    def follow(self):
        with subprocess.Popen(self.command(), stdout=subprocess.PIPE, env=dict(os.environ, ETCDCTL_API='3'), text=True) as child:
            try:
                for line in child.stdout:
                    at = time.monotonic()
                    if line.startswith('{'):
                        self.note(json.loads(line), at)
            finally:
                child.kill()

    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        self.journal.write(member=self.given['node'], key='watch begins', revision=0)
        while True:
            self.follow()
            time.sleep(0.2)


if __name__ == '__main__':
    Watcher(settings()).run()
