"""Results as text: a line per trial, the table, RESULTS.md."""
import collections
import datetime
import os
import platform
import subprocess

import figures
import phases
import plan
import truth


def seconds(value):
    return '-' if value is None else '%.1f' % value


def cell(values):
    """Minimum / median / 95th percentile / maximum; one value where there is one."""
    of = figures.spread(values)
    if of is None:
        return '-'
    return seconds(of[0]) if of[0] == of[-1] else ' / '.join(map(seconds, of))


def count(results, kinds):
    """How many findings of these kinds there are."""
    return sum(kind in kinds for result in results for kind, _ in result['findings'])


def failed(result):
    return bool(result['findings'])


def grouped(findings):
    """The findings by kind: how many, and the first."""
    firsts, counts = {}, collections.Counter(kind for kind, _ in findings)
    for kind, text in findings:
        firsts.setdefault(kind, text)
    return ['%s%s: %s' % (kind, ' ×%d' % counts[kind] if counts[kind] > 1 else '', text) for kind, text in firsts.items()]


def line(result):
    """What is printed of a trial when it is over."""
    if result.get('impossible'):
        return 'not held: %s' % result['impossible']
    verdict = result['verdict']
    return '%s leaders %s, %s | acknowledged %s, unknown %s, lost %d, double %d, dual %.2f s, in flight %s of %s ended well | %.0f s' % (
        'FAILED' if failed(result) else 'passed', result.get('changes', '-'),
        ', '.join('%s %s' % (phase, seconds(result['times'].get(phase))) for phase in phases.PHASES),
        verdict.get('acknowledged', '?'), verdict.get('unknown', '?'), count([result], truth.LOST), count([result], truth.DOUBLED),
        result['dual'][0], verdict.get('landed', '?'), verdict.get('flying', '?'), result['seconds'])


def row(name, results):
    leaders = [result['changes'] for result in results if 'changes' in result]
    cells = ['%d' % min(leaders) if len(set(leaders)) == 1 else '%d to %d' % (min(leaders), max(leaders))] if leaders else ['-']
    cells += [cell([result['times'].get(phase) for result in results]) for phase in phases.PHASES]
    counts = [count(results, kinds) for kinds in (truth.LOST, truth.DOUBLED, truth.TORN, truth.FORKED)]
    flying, landed = (sum(result['verdict'].get(name, 0) for result in results) for name in ('flying', 'landed'))
    return [name, len(results)] + cells + counts + [
        seconds(sum(result['dual'][0] for result in results)), '%d / %d' % (landed, flying), sum(map(failed, results))]


HEAD = ['kind', 'n', 'leaders'] + list(phases.PHASES) + ['lost', 'double', 'torn', 'forked', 'dual s', 'in flight', 'failed']


def table(results):
    """The table: a row for each kind, one for those that a failover is expected of, and one for all."""
    kinds = collections.defaultdict(list)
    for result in results:
        kinds[result['kind']].append(result)
    failovers = [result for result in results if plan.KINDS[result['kind']].expected == plan.FAILOVER]
    rows = [row(kind, kinds[kind]) for kind in sorted(kinds)] + [row('**failovers**', failovers)] * bool(failovers) + [row('**all**', results)]
    return '\n'.join('| %s |' % ' | '.join(map(str, cells)) for cells in [HEAD, ['---'] * len(HEAD)] + rows)


def percent(rate):
    return '%.3g %%' % (100 * rate)


def bounds(results):
    """What so many trials say about others."""
    n = len(results)
    acknowledged, completed, refused, ticks = (sum(result['verdict'].get(name, 0) for result in results)
                                               for name in ('acknowledged', 'completed', 'refused', 'ticks'))
    lost, double = count(results, truth.LOST), count(results, truth.DOUBLED)
    several = sum(result['dual'][1] > 0 for result in results)
    broken = sum(count([result], truth.LOST + truth.DOUBLED + truth.TORN + truth.FORKED) > 0 for result in results)
    return '\n'.join([
        '- Trials with anything lost, double, torn or forked: %d of %d; with 95 %% confidence fewer than %s of all such trials.' % (
            broken, n, percent(figures.bound(broken, n))),
        '- Trials with two nodes accepting writes at once: %d of %d; fewer than %s.' % (several, n, percent(figures.bound(several, n))),
        '- Acknowledged jobs and records: %d, of which %d lost, %d double.' % (acknowledged, lost, double),
        '- By workers outside %d jobs were completed and %d completions refused; the schedule was due %d times.' % (completed, refused, ticks)])


def failures(results):
    """Every failed trial with what was found, and what could not be held."""
    lines = []
    for result in filter(failed, results):
        lines.append('- Trial %d, %s (%s, etcd leader %s):' % (result['number'], result['kind'], ' + '.join(result['strikes']), result['etcd_leader']))
        lines += ['  - ' + text for text in grouped(result['findings'])]
    return '\n'.join(lines) or 'None.'


def machine():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        models = [line.partition(':')[2].strip() for line in file if line.startswith('model name')]
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2 ** 30
    return '%d × %s, %.0f GB, Linux %s' % (os.cpu_count(), models[0] if models else platform.machine(), memory, platform.release())


def commit(folder):
    """The commit of the tree that was tried, with a + where it was changed."""
    done = subprocess.run(['git', '-c', 'safe.directory=*', '-C', folder, 'describe', '--always', '--dirty=+'], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or 'unknown'


def document(results, seed, lanes, versions, folder):
    """RESULTS.md"""
    held = [result for result in results if not result.get('impossible')]
    impossible = {result['kind']: result['impossible'] for result in results if result.get('impossible')}
    loads = figures.spread([result['load'] for result in held]) or (0, 0, 0, 0)
    return '''# Results

Made by `make ha N=%d SEED=%s%s` on %s, commit %s.

- Machine: %s; load average when a trial began %.1f to %.1f, median %.1f.
- PostgreSQL %s, unrdf %s, Patroni %s, etcd %s; %s; synchronous_mode_strict %s; fence %s.
- Seed %s: `make ha SEED=%s TRIAL=n` repeats trial n.

Seconds from the injection, minimum / median / 95th percentile / maximum; [README.md](README.md) says what each is.

%s

%s

## Failed trials

%s
%s''' % (
        len(results), seed, ' J=%d' % lanes if lanes > 1 else '', datetime.date.today().isoformat(), commit(folder),
        machine(), loads[0], loads[3], loads[1],
        versions['postgresql'], versions['unrdf'], versions['patroni'], versions['etcd'], versions['ttl'], versions['strict'], versions['fence'],
        seed, seed, table(held), bounds(held), failures(held),
        ''.join('\nNot held: %s, %s.' % item for item in impossible.items()) + ('\n' if impossible else ''))
