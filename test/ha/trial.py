"""One trial: a healthy cluster under load, a fault at a random moment, and what came of it.

  1  the cluster is healthy, and etcd's leader where the plan wants it
  2  clients, workers outside, a clock of schedules, probes of the nodes, watchers of etcd and collectors of checkpoints run, each a process on the client's host
  3  every client is served; after the plan's time, the fault; the plan may have a second one
  4  what is expected has happened, or the time for it is over, and then the plan's time more; the fault is healed
  5  the cluster is healthy again, and every client served; the clients end
  6  judge.py compares what the clients were told with what there is; phases.py says how long things took

The folder of a trial has all that was seen. Nothing of a trial is kept in memory only, so that whatever dies leaves it.
"""
import json
import os
import shutil
import signal
import subprocess
import time

import phases
import plan
import truth
from driver import ClusterError
from journal import Journal, Tail, read

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = '/usr/bin/python3'
NODES = (1, 2, 3)
CLIENTS = 4
WORKERS = 2
PAUSE = 0.02  # between two calls of a client
SLOW = 7  # calls of about a hundred that enqueue a job which takes up to a second
HEALTHY_TIMEOUT = 150
OUTCOME_TIMEOUT = 60
JUDGE_TIMEOUT = 1800  # after a watch at full load there is much to do and to read


class TrialError(Exception):
    """The trial could not be held: that says nothing about the cluster."""


class Unhealthy(Exception):
    """The cluster did not become healthy again after healing."""


def name_of(node):
    return 'pg%d' % node


def last_line(path):
    with open(path, encoding='utf-8') as file:
        return (file.read().strip().split('\n') or [''])[-1]


def make_folder(path, cluster):
    """A folder that the processes on the client's host can write to."""
    os.makedirs(path)
    if cluster.is_root:
        os.chown(path, cluster.user.pw_uid, cluster.user.pw_gid)


def copy_tools(folder):
    """Copies what the processes on the client's host run, since the repository may be where the server's user cannot read."""
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns('__pycache__', 'unit', '*.md'))


class Processes:
    """Those who work and those who watch, each with a journal and a log in the trial's folder."""

    def __init__(self, cluster, folder, tools):
        self.cluster, self.folder, self.tools = cluster, folder, tools
        self.running, self.died = {}, []

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, script, name, **settings):
        settings['journal'] = self.path(name + '.journal')
        with open(self.path(name + '.json'), 'w', encoding='utf-8') as file:
            json.dump(settings, file)
        with open(self.path(name + '.log'), 'ab') as log:
            self.running[name] = self.cluster.popen_in_client(
                [PYTHON, os.path.join(self.tools, script), self.path(name + '.json')],
                env={'HA_DSN': self.cluster.dsn()}, stdout=log, stderr=subprocess.STDOUT)

    def stop(self, *kinds, timeout=10):
        """Ends those of these kinds, or all; what does not end in time, since its server is frozen, is killed. Who has ended
        before, has died."""
        ending = {name: self.running.pop(name) for name in list(self.running) if name.startswith(kinds or '')}
        self.died += ['%s: %s' % (name, last_line(self.path(name + '.log'))) for name, process in ending.items() if process.poll() is not None]
        for process in ending.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + timeout
        for process in ending.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Run:
    """A trial being held."""

    def __init__(self, cluster, trial, folder, tools, pause=PAUSE, slow=SLOW):
        self.cluster, self.trial, self.folder, self.pause, self.slow = cluster, trial, folder, pause, slow
        make_folder(folder, cluster)
        self.journal = Journal(os.path.join(folder, 'trial.journal'))
        self.processes = Processes(cluster, folder, tools)
        self.hit, self.old = [], None
        self.healing = self.healthy = self.ended = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.processes.stop()

    # 1 and 2

    def start(self):
        self.cluster.wait_healthy(HEALTHY_TIMEOUT)
        self.old = self.cluster.leader()
        for node in NODES:
            where = dict(node=name_of(node), socket=os.path.join(self.cluster.node_dir(node), 'socket'), database='postgres')
            self.processes.start('probe.py', 'probe-%d' % node, **where)
            self.processes.start('collect.py', 'checkpoints-%d' % node, **where)
            self.processes.start('watch.py', 'etcd-%d' % node, node=node, endpoint=self.cluster.etcd_url(node), prefix='/service/unrdf/')
        names = {self.cluster.hosts.address(node): name_of(node) for node in NODES}
        for client in range(1, CLIENTS + 1):
            self.processes.start('load.py', 'client-%d' % client, trial=self.trial.number, client=client, names=names,
                                 seed=self.trial.load_seed, pause=self.pause, slow=self.slow)
        for worker in range(1, WORKERS + 1):
            self.processes.start('outside.py', 'outside-%d' % worker, trial=self.trial.number, worker=worker, names=names, seed=self.trial.load_seed)
        self.processes.start('clock.py', 'clock', schedule=self.schedule(), names=names)

    def schedule(self):
        return 'tick/%d' % self.trial.number

    def names(self, kind):
        return ['%s-%d' % (kind, number) for number in range(1, (CLIENTS if kind == 'client' else len(NODES)) + 1)]

    def await_entries(self, names, wanted, what, timeout):
        """Waits until each of these journals has an entry as wanted, from now on; says whether."""
        missing = {}
        for name in names:
            missing[name] = Tail(self.processes.path(name + '.journal'))
            missing[name].read()
        until = time.monotonic() + timeout
        while missing:
            for name, tail in list(missing.items()):
                if any(wanted(entry) for entry in tail.read()):
                    del missing[name]
            if time.monotonic() > until:
                self.journal.write(event='waited in vain', what=what, missing=sorted(missing))
                return False
            time.sleep(0.05)
        return True

    def await_service(self, timeout):
        """Waits until every client has a call acknowledged."""
        return self.await_entries(self.names('client'), lambda entry: entry['outcome'] == 'acknowledged', 'clients', timeout)

    def await_watchers(self):
        return self.await_entries(self.names('etcd'), lambda entry: entry['revision'], 'watchers', 20) and \
            self.await_entries(self.names('probe'), lambda entry: entry['state'] != 'down', 'probes', 20) and \
            self.await_entries(['clock'], lambda entry: entry['kind'] == 'fire', 'the clock', 20)

    # 3

    def place_etcd_leader(self, victim):
        """Has the victim's member of etcd lead, or another's."""
        api = self.cluster.etcd_api()
        leading = next((node for node in NODES if api.leads(self.cluster.etcd_url(node))), None)
        elsewhere = [node for node in NODES if node != victim]
        wanted = victim if self.trial.etcd_leader == 'victim' else leading if leading in elsewhere else elsewhere[self.trial.strikes[0].number % 2]
        if leading is not None and leading != wanted:
            api.move_leader(self.cluster.etcd_url(leading), api.status(self.cluster.etcd_url(wanted))[0])
        self.journal.write(event='etcd leader', node=wanted)

    def victim(self, strike):
        """The node that a strike hits; None where the driver finds it."""
        if strike.victim == 'leader':
            return self.old
        if strike.victim == 'any':
            return NODES[strike.number]
        if strike.victim == 'other':
            return [node for node in NODES if node != self.old][strike.number]
        return None

    def strike(self):
        first = self.trial.strikes[0]
        self.place_etcd_leader(self.victim(first) or self.cluster.sync_standby())
        if not self.await_service(20):
            raise TrialError('clients are not served by a healthy cluster')
        for strike in self.trial.strikes:
            time.sleep(strike.after)
            if self.cluster.leader() != self.old and strike is first:
                raise TrialError('the leader changed before the fault')
            node = self.victim(strike)
            at = self.journal.write(event='fault', kind=strike.kind.name, node=node)
            hit = self.cluster.fault(strike.kind.fault, node, **strike.kind.options)
            self.journal.write(event='done', kind=strike.kind.name, node=hit, took=time.monotonic() - at)
            self.hit.append(name_of(hit))

    def moment(self):
        """When the first fault was injected, and the time of day then."""
        entry = next(entry for entry in read(self.processes.path('trial.journal')) if entry['event'] == 'fault')
        return entry['at'], entry['wall']

    def timeline(self):
        """The timeline of the leader before the fault."""
        return [entry['timeline'] for entry in read(self.processes.path('probe-%d.journal' % self.old))
                if entry['state'] == 'accepted' and entry['at'] < self.moment()[0]][-1]

    # 4 and 5

    def seen(self):
        def journals(kind):
            return [entry for name in self.names(kind) for entry in read(self.processes.path(name + '.journal'))]
        return phases.Seen(journals('etcd'), journals('probe'), journals('client'))

    def times(self):
        return phases.measure(self.seen(), name_of(self.old), self.hit, self.moment()[0], self.healing, self.healthy,
                              self.ended or time.monotonic())

    def await_outcome(self):
        """Waits for what the kind has to come to; and then for as long as the plan wants the fault to last."""
        expected = self.trial.kind.expected
        until = time.monotonic() + OUTCOME_TIMEOUT
        while expected == plan.FAILOVER and not phases.failed_over(self.times()) and time.monotonic() < until:
            time.sleep(0.3)
        if expected == plan.STAYS:
            self.await_service(OUTCOME_TIMEOUT)
        time.sleep(self.trial.hold)

    def heal(self):
        self.healing = self.journal.write(event='healing')
        self.cluster.heal()
        try:
            self.cluster.wait_healthy(HEALTHY_TIMEOUT)
        except ClusterError as error:
            raise Unhealthy(str(error)) from error
        self.healthy = self.journal.write(event='healthy')
        served = self.await_service(30)
        self.ended = self.journal.write(event='ended')
        return served

    # 6

    def stop_watching(self):
        """Ends all but the workers outside, who have to do what is left."""
        self.processes.stop('client', 'clock', 'probe', 'checkpoints', 'etcd')

    def judge(self):
        """judge.py's verdict, and the end of the workers."""
        try:
            return self.verdict()
        finally:
            self.processes.stop()

    def verdict(self):
        """judge.py's verdict: on the client's host, since it is one who was told things."""
        leader = self.cluster.leader()
        if leader is None:
            raise TrialError('there is no leader to ask')
        settings = dict(
            nodes={name_of(node): os.path.join(self.cluster.node_dir(node), 'socket') for node in NODES},
            leader=name_of(leader), clock='clock' in self.trial.kind.needs,
            moment=self.moment()[1], timeline=self.timeline(), verdict=self.processes.path('verdict.json'),
            own=self.folder, schedule=self.schedule(), completions=os.path.join(os.path.dirname(self.folder), '*', 'outside-*.journal'),
            calls=os.path.join(os.path.dirname(self.folder), '*', 'client-*.journal'),
            checkpoints=os.path.join(os.path.dirname(self.folder), '*', 'checkpoints-*.journal'))
        with open(self.processes.path('judge.json'), 'w', encoding='utf-8') as file:
            json.dump(settings, file)
        with open(self.processes.path('judge.log'), 'ab') as log:
            process = self.cluster.popen_in_client([PYTHON, os.path.join(self.processes.tools, 'judge.py'), self.processes.path('judge.json')],
                                                   stdout=log, stderr=subprocess.STDOUT)
            try:
                process.wait(JUDGE_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
            if process.wait() != 0:
                raise TrialError(last_line(self.processes.path('judge.log')))
        with open(settings['verdict'], encoding='utf-8') as file:
            return json.load(file)

    def writers(self):
        return truth.of_writers({name: [entry['at'] for entry in read(self.processes.path(probe + '.journal')) if entry['state'] == 'accepted']
                                 for name, probe in zip(map(name_of, NODES), self.names('probe'))})

    def held(self):
        """Steps 1 to 5; a trial that breaks off is one that cannot be judged, and says why."""
        try:
            self.start()
            if not self.await_watchers():
                raise TrialError('nothing is heard of etcd, of the servers, or of the clock')
            self.strike()
            self.await_outcome()
            served = self.heal()
            self.processes.stop('client', 'clock')
            return [] if served else ['clients are not served again']
        finally:
            self.stop_watching()


def expectations(kind, times):
    """What a kind has to come to and did not."""
    if kind.expected == plan.FAILOVER:
        return ['%s %s' % (phase, 'never' if times[phase] is None else 'only after %.1f s' % times[phase]) for phase in phases.too_late(times)]
    if kind.expected == plan.STAYS and times['gap'] > phases.LIMITS['first write']:
        return ['no call was acknowledged for %.1f s' % times['gap']]
    return []


def hold(cluster, trial, folder, tools):
    """Holds a trial and returns its result, as RESULTS.md and the tests have it. A cluster that did not become healthy again
    is a finding too, and judged as far as it can be."""
    began = time.monotonic()
    with Run(cluster, trial, folder, tools) as run:
        result = result_of(run, trial)
    result['seconds'] = time.monotonic() - began
    return result


def result_of(run, trial):
    result = dict(seed=trial.seed, number=trial.number, kind=trial.kind.name, strikes=[strike.kind.name for strike in trial.strikes],
                  etcd_leader=trial.etcd_leader, load=os.getloadavg()[0], findings=[], times={}, dual=[0.0, 0], verdict={})
    late = []
    try:
        late = run.held()
    except Unhealthy as error:
        result['findings'].append(('not healthy again', str(error)))
    result['leader'], result['hit'], result['times'] = name_of(run.old), run.hit, run.times()
    result['changes'] = phases.changes(run.seen(), name_of(run.old), run.moment()[0])
    seconds, writes, findings = run.writers()
    result['dual'] = [seconds, writes]
    result['findings'] += findings
    try:
        result['verdict'] = run.judge()
    except (TrialError, ClusterError) as error:
        result['findings'].append(('not judged', str(error)))
    else:
        result['findings'] += result['verdict'].pop('findings')
        noticed = [row[3] for row in result['verdict']['failovers'] if row[3]][:1]
        if noticed and 'clock' not in trial.kind.needs:
            result['times']['noticed'] = noticed[0] - run.moment()[1]
    result['findings'] += [('not watched', who) for who in run.processes.died]
    result['findings'] += [('late', what) for what in late + expectations(trial.kind, result['times'])]
    return result
