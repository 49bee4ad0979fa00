#!/usr/bin/python3
"""Trials of faults: run by test/ha/run.

  trials    N trials of a seed, in one cluster or several side by side; prints each, then the table, and writes RESULTS.md
  tap       one trial each of five kinds in one cluster, as TAP tests
  quiet     full load and no fault: counts failovers
  runbook   what patroni/README.md tells to do, as TAP tests

Each lane is a process with a cluster of its own and every nth trial. A cluster that failed a trial is not used again: what is wrong
in it would be found again in each trial that follows. Its folder, with all that was seen and the nodes' logs, is kept; those
of others are not. Interrupted, it takes its clusters away and reports on the trials that were held.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
import driver  # noqa: E402
import plan  # noqa: E402
import quiet  # noqa: E402
import report  # noqa: E402
import runbook  # noqa: E402
import trial as trials  # noqa: E402
from journal import Journal, read  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, '..', '..'))


class Lane:
    """Trials one after the other, in a cluster that is replaced when one failed."""

    def __init__(self, name, folder):
        self.name, self.folder, self.tools = name, os.path.join(folder, name), os.path.join(folder, 'tools')
        self.results = Journal(os.path.join(folder, name + '.journal'))
        self.cluster, self.clusters, self.options = None, 0, None

    def cluster_folder(self):
        return os.path.join(self.folder, 'cluster-%d' % self.clusters)

    def need_cluster(self, options):
        """Has a cluster made with these options."""
        if self.options != options:
            self.give_up_cluster(keep=False)
        if self.cluster is None:
            self.clusters, self.options = self.clusters + 1, options
            os.makedirs(self.cluster_folder())
            self.cluster = driver.make_cluster(self.name, **options)
            self.results.write(versions=driver.versions(self.cluster))

    def give_up_cluster(self, keep):
        """Takes the cluster away, and what it has left unless that is to be kept."""
        if self.cluster is None:
            return
        cluster, self.cluster = self.cluster, None
        if keep:
            cluster.keep_logs(os.path.join(self.cluster_folder(), 'logs'))
        cluster.down()
        if not keep:
            shutil.rmtree(self.cluster_folder())

    def hold(self, trial):
        """Holds a trial; what keeps it from being held is a failure like any other, but for faults that a machine cannot have."""
        folder = None
        try:
            self.need_cluster(trial.kind.needs)
            folder = os.path.join(self.cluster_folder(), 'trial-%03d-%s' % (trial.number, trial.kind.name))
            return trials.hold(self.cluster, trial, folder, self.tools)
        except driver.NotPossible as error:
            return unheld(trial, impossible=str(error))
        except (driver.ClusterError, trials.TrialError, OSError, subprocess.SubprocessError) as error:
            traceback.print_exc()
            return unheld(trial, findings=[('not held', str(error))])

    def run(self, numbers, make_trial, show):
        """Holds trials and shows each. A result has the folder of a trial that failed."""
        try:
            for number in numbers:
                trial = make_trial(number)
                result = self.hold(trial)
                if report.failed(result):
                    result['folder'] = self.cluster_folder()
                self.results.write(result=result)
                show(trial, result)
                if report.failed(result) or result.get('impossible'):
                    self.give_up_cluster(keep=report.failed(result))
        finally:
            self.give_up_cluster(keep=False)


def unheld(trial, **why):
    return dict(dict(seed=trial.seed, number=trial.number, kind=trial.kind.name, strikes=[strike.kind.name for strike in trial.strikes],
                     etcd_leader=trial.etcd_leader, load=os.getloadavg()[0], findings=[], times={}, dual=[0.0, 0], verdict={}, seconds=0.0), **why)


def show(trial, result):
    print('%s\n    %s' % (trial.describe(), report.line(result)), flush=True)
    for text in report.grouped(result['findings']):
        print('    ' + text, flush=True)
    if 'folder' in result:
        print('    kept: %s' % result['folder'], flush=True)


def new_folder():
    """Where trials leave what they see, and the programs they run: where the server's user can read it."""
    folder = tempfile.mkdtemp(prefix='unrdf-ha-trials.', dir='/var/tmp')
    os.chmod(folder, 0o755)
    trials.copy_tools(os.path.join(folder, 'tools'))
    return folder


def lane(arguments):
    """One lane: every J-th trial, from its first on."""
    numbers = [arguments.trial] if arguments.trial else range(arguments.first, arguments.n + 1, arguments.j)
    Lane('ha-%s' % chr(ord('a') + arguments.first - 1) + arguments.id, arguments.folder).run(
        numbers, lambda number: plan.Trial(arguments.seed, number, arguments.kind), show)


def lane_command(arguments, first, folder):
    command = [sys.executable, os.path.abspath(__file__), 'lane', '--folder', folder, '--first', str(first), '--seed', arguments.seed,
               '--n', str(arguments.n), '--j', str(arguments.j), '--id', arguments.id]
    for name in ('trial', 'kind'):
        if getattr(arguments, name):
            command += ['--' + name, str(getattr(arguments, name))]
    return command


def run_lanes(arguments, folder):
    """Runs the lanes to their end; a signal is for them too, and they take their clusters away."""
    lanes = [subprocess.Popen(lane_command(arguments, first, folder)) for first in range(1, arguments.j + 1)]
    try:
        return [process.wait() for process in lanes]
    except BaseException:
        for process in lanes:
            process.send_signal(signal.SIGTERM)
        for process in lanes:
            process.wait()
        raise


def of_trials(arguments):
    if arguments.trial:
        arguments.j = 1
    folder = new_folder()
    print('seed %s, in %s' % (arguments.seed, folder), flush=True)
    try:
        statuses = run_lanes(arguments, folder)
    finally:
        entries = [entry for number in range(arguments.j) for entry in read(os.path.join(folder, 'ha-%s%s.journal' % (chr(ord('a') + number), arguments.id)))]
        results = sorted((entry['result'] for entry in entries if 'result' in entry), key=lambda result: result['number'])
        versions = next((entry['versions'] for entry in entries if 'versions' in entry), None)
        summarise(arguments, results, versions)
        if not any(map(report.failed, results)):
            shutil.rmtree(folder)
    return 1 if any(map(report.failed, results)) or any(statuses) else 0


def summarise(arguments, results, versions):
    if not results or not versions:
        print('no trial was held')
        return
    text = report.document(results, arguments.seed, arguments.j, versions, ROOT)
    print(text)
    if not arguments.trial and not arguments.kind and len(results) == arguments.n:
        with open(os.path.join(HERE, 'RESULTS.md'), 'w', encoding='utf-8') as file:
            file.write(text)


def of_tap(arguments):
    """Five kinds as tests: each trial is what it comes to in time, and what is true after it."""
    held = []

    def show_tests(trial, result):
        print('# %s\n# %s' % (trial.describe(), report.line(result)))
        late = [finding for finding in result['findings'] if finding[0] == 'late']
        wrong = [finding for finding in result['findings'] if finding[0] != 'late']
        name = result['kind']
        test('%s: clients are served again in time' % name, not late and not result.get('impossible'), report.grouped(late))
        test('%s: nothing lost, nothing twice, one log on all nodes, never two writers' % name,
             not wrong and bool(result['verdict'].get('acknowledged')), report.grouped(wrong) or [result.get('impossible')])
        test('%s: every job in flight ended well' % name, result['verdict'].get('flying') == result['verdict'].get('landed', -1), [result['verdict']])
        if 'folder' in result:
            print('# kept: %s' % result['folder'])

    def test(name, good, why):
        held.append(good)
        print('%s %d - %s' % ('ok' if good else 'not ok', len(held), name), flush=True)
        for text in [] if good else why:
            print('# %s' % text, flush=True)

    folder = new_folder()
    print('1..%d\n# seed %s' % (3 * len(plan.SMALL_SET), arguments.seed), flush=True)
    try:
        Lane('ha-t' + arguments.id, folder).run(range(1, len(plan.SMALL_SET) + 1),
                                 lambda number: plan.Trial(arguments.seed, number, plan.SMALL_SET[number - 1]), show_tests)
    finally:
        if all(held):
            shutil.rmtree(folder)
    return 0 if all(held) and len(held) == 3 * len(plan.SMALL_SET) else 1


def of_quiet(arguments):
    folder = new_folder()
    cluster = driver.make_cluster('ha-q' + arguments.id)
    try:
        counted = quiet.watch(cluster, os.path.join(folder, 'quiet'), os.path.join(folder, 'tools'), arguments.minutes, arguments.seed)
        counted.update(versions=driver.versions(cluster), machine=report.machine())
        if counted['findings']:
            cluster.keep_logs(os.path.join(folder, 'logs'))
    finally:
        cluster.down()
    findings = counted.pop('findings')
    print('\n'.join([json.dumps(counted, indent=1)] + report.grouped(findings)))
    if findings:
        print('kept: %s' % folder)
        return 1
    shutil.rmtree(folder)
    return 0


def of_runbook(arguments):
    folder = new_folder()
    cluster, good = driver.make_cluster('ha-r' + arguments.id), False
    try:
        good = runbook.hold(cluster, folder)
    finally:
        if not good:
            cluster.keep_logs(os.path.join(folder, 'logs'))
            print('# kept: %s' % folder)
        cluster.down()
    if good:
        shutil.rmtree(folder)
    return 0 if good else 1


COMMANDS = {'trials': of_trials, 'lane': lane, 'tap': of_tap, 'quiet': of_quiet, 'runbook': of_runbook}


def parse():
    parser = argparse.ArgumentParser(prog='test/ha/run', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('--n', type=int, default=10, help='how many trials')
    parser.add_argument('--seed', default='', help='which trials; drawn and printed if not given')
    parser.add_argument('--trial', type=int, help='only this one of the seed')
    parser.add_argument('--kind', choices=sorted(plan.KINDS), help='only this kind of fault')
    parser.add_argument('--j', type=int, default=1, help='clusters side by side')
    parser.add_argument('--minutes', type=float, default=30, help='how long to watch')
    parser.add_argument('--id', default='', help='ends the names of clusters, so that others may be there at the same time')
    parser.add_argument('--first', type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument('--folder', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.n < 1 or not 1 <= arguments.j <= 8 or arguments.minutes <= 0 or (arguments.trial is not None and arguments.trial < 1):
        parser.error('counts and times are positive, and there are at most 8 clusters')
    arguments.seed = arguments.seed or '%06d' % random.SystemRandom().randrange(10 ** 6)
    return arguments


def end_by_signal(number, frame):
    raise SystemExit(128 + number)


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_by_signal)
    arguments = parse()
    try:
        return COMMANDS[arguments.command](arguments)
    except driver.ClusterError as error:
        print('test/ha/run: %s' % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
