"""What happened when: files of JSON objects, one a line, written as things happen.

Every recorder of a trial is a process of its own with a file of its own, so that none waits for another, and whatever dies leaves
what it has seen. "at" is CLOCK_MONOTONIC, which all namespaces of a machine share; "wall" is the time of day, to compare with
rows of the database. A last line that is cut off is not read.
"""
import json
import os
import time


class Journal:
    def __init__(self, path):
        self.file = open(path, 'a', buffering=1, encoding='utf-8')

    def write(self, **fields):
        """Notes something, by default as of now; returns when that was."""
        fields.setdefault('at', time.monotonic())
        fields.setdefault('wall', time.time())
        self.file.write(json.dumps(fields) + '\n')
        return fields['at']


def read(path):
    """The entries of a journal; none where nobody has written it."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as file:
        return [json.loads(line) for line in file if line.endswith('\n')]


class Tail:
    """Reads a journal that is still being written: each call returns what is new."""

    def __init__(self, path):
        self.path, self.position = path, 0

    def read(self):
        if not os.path.exists(self.path):
            return []
        with open(self.path, 'rb') as file:
            file.seek(self.position)
            new = file.read()
        new = new[:new.rfind(b'\n') + 1]
        self.position += len(new)
        return [json.loads(line) for line in new.splitlines()]
