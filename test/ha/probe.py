#!/usr/bin/python3
"""A node as it is, every 50 ms, by its own socket, which no fault of the network cuts: probe.py SETTINGS

- Whether it accepts writes: a row is inserted wherever the server says that it is not in recovery. Standbys are not waited for
  (synchronous_commit = local), since the question is what the server does and not what it may promise. A server in recovery cannot
  write, and is not asked to: its log would be full of refusals. There is no time-out: a write that a frozen server
  was sent is accepted when it thaws, and that has to be seen.
- Whether a standby hears its primary.
- Since when a job of the present timeline's pool has ended, as others see it.
"""
from recorder import Recorder, settings

STATE = """
SELECT pg_is_in_recovery(), coalesce(bool_or(status = 'streaming'), false),
	extract(epoch FROM clock_timestamp() - max(last_msg_receipt_time))::float FROM pg_stat_wal_receiver"""
WRITE = 'INSERT INTO ha.probe (node) VALUES (%s) RETURNING ha.timeline()'
HAS_JOB = 'SELECT EXISTS (SELECT FROM ha.effect WHERE timeline = %s AND mark IS NULL)'


class Probe(Recorder):
    setup = 'SET synchronous_commit = local'

    def __init__(self, given):
        super().__init__(given, 0.05)
        self.with_job = None  # the timeline that is known to have ended a job

    def look(self):
        recovery, streaming, silence = self.ask(STATE)[0]
        if recovery:
            return dict(state='standby', streaming=streaming, silence=silence)
        timeline = self.ask(WRITE, (self.node,))[0][0]
        if self.with_job != timeline and self.ask(HAS_JOB, (timeline,))[0][0]:
            self.with_job = timeline
        return dict(state='accepted', timeline=timeline, job=self.with_job == timeline)

    def failed(self, message):
        return dict(state='down', error=message)


if __name__ == '__main__':
    Probe(settings()).run()
