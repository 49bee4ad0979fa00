"""A watch without faults: full load for some time, and every failover in it is a false one."""
import time

import plan
import trial as trials
from journal import read
from phases import holder, gap

FULL_LOAD = 0.0  # no pause between two calls of a client
FEW_SLOW = 1  # with more slow jobs at full load, they would wait for executors longer than the watch lasts


class Watch(trials.Run):
    """A trial in which nothing is done to the cluster but work."""

    def __init__(self, cluster, watched, folder, tools):
        super().__init__(cluster, watched, folder, tools, pause=FULL_LOAD, slow=FEW_SLOW)
        self.terms = set()

    def note_etcd_leader(self):
        """Notes who leads etcd, as its members say."""
        api = self.cluster.etcd_api()
        self.terms.update(api.status(self.cluster.etcd_url(node))[1] for node in trials.NODES)

    def run(self, minutes):
        try:
            self.start()
            if not self.await_watchers() or not self.await_service(20):
                raise trials.TrialError('the load does not run')
            began = self.journal.write(event='fault', kind='none', node=None)
            while time.monotonic() < began + 60 * minutes:
                time.sleep(1)
                self.note_etcd_leader()
            self.ended = self.journal.write(event='ended')
            self.processes.stop('client', 'clock')
            return began
        finally:
            self.stop_watching()


class Nothing:
    """What a trial's plan has, where there is none."""

    def __init__(self, seed):
        self.number, self.load_seed, self.kind = 1, seed, plan.Kind('none', plan.STAYS)


def watch(cluster, folder, tools, minutes, seed):
    """Counts what happened that nobody asked for."""
    with Watch(cluster, Nothing(seed), folder, tools) as run:
        return counted(run, run.run(minutes), minutes)


def counted(run, began, minutes):
    """What there was in a watch that has begun so."""
    seen = run.seen()
    leaders = [holder(event) for event in seen.keys if event['key'] == 'leader' and event['at'] >= began]
    acknowledged = [call for call in seen.acknowledged if began <= call['at'] <= run.ended]
    seconds, _, findings = run.writers()
    verdict = run.judge()
    changes = sum(name != trials.name_of(run.old) for name in leaders)
    findings += [('not watched', who) for who in run.processes.died] + verdict.pop('findings') + [('false failover', '%d changes of the leader key' % changes)] * bool(changes)
    return dict(minutes=minutes, leader_changes=changes, etcd_leaders=len(run.terms), calls_acknowledged=len(acknowledged),
                calls_per_second=round(len(acknowledged) / (run.ended - began), 1), longest_gap=round(gap(seen.acknowledged, began, run.ended), 2),
                looks_refused=sum(entry['state'] == 'down' for name in run.names('probe') for entry in read(run.processes.path(name + '.journal'))),
                dual_seconds=seconds, findings=findings, **verdict)
