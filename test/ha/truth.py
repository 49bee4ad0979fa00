"""What has to be true once a cluster is healed, whatever happened to it; and what is not.

Pure functions: what clients were told, what the database says, what was seen of its nodes go in, a list of findings comes out,
which is empty where nothing was lost, done twice, or signed in two ways. unit/truth_test.py shows that each can be found.

What a client was told is one of two things. Acknowledged: the call returned, without the warning that its commit was not
replicated. Unknown: it was sent, and whatever came back was not that. A key that was acknowledged exists exactly once, under
the id that was returned; one that is unknown exists once or never.
"""
import collections

from merkle import Roots, is_consistent

LOST = ('lost job', 'lost record', 'lost completion', 'lost tick', 'log is shorter than a checkpoint')
DOUBLED = ('doubled job', 'doubled receipt', 'doubled effect', 'doubled record', 'doubled tick')
TORN = ('receipt without effect', 'effect without receipt', 'receipt without job', 'record without receipt', 'job has not ended', 'job is dead')
FORKED = ('verify_all', 'nodes differ', 'root is another', 'forked checkpoint', 'no consistency proof', 'bad signature', 'several keys',
          'failover refused the log')

SUBJECTS = 'ha/'  # what clients record begins with this; the database has receipts of its own as well

Finding = collections.namedtuple('Finding', 'kind text')

# Of the database, in lists of tuples: what jobs there are (id, key); receipts of all kinds (id, kind, outcome, subject, revision);
# effects (job, mark of the completion or None); what records there are (subject, n, receipt); and what became of ticks
# (schedule, when it was due in seconds, job or None).
Rows = collections.namedtuple('Rows', 'jobs receipts effects events ticks')

# A node after it has caught up: what verify_all found, the log's size and root, its entries (receipt id, leaf hash).
Node = collections.namedtuple('Node', 'name findings size root entries')

# A checkpoint as it was seen outside. signed: its signature verifies under the log's one key.
Checkpoint = collections.namedtuple('Checkpoint', 'seen_on size root signed')


class Claim:
    """What a client was told of one key."""

    def __init__(self, kind):
        self.kind, self.ids, self.told = kind, set(), ''


def claims(calls):
    """What the calls of all clients come to, by key. A call that was never sent claims nothing."""
    found = {}
    for call in calls:
        if call['outcome'] == 'not sent':
            continue
        for place, key in enumerate(call['keys']):
            claim = found.setdefault(key, Claim('record' if call['kind'] == 'record' else 'job'))
            if call['outcome'] == 'acknowledged':
                claim.ids.add(call['ids'][place])
                claim.told = 'acknowledged by %s at %.3f' % (call['node'], call['at'])
    return found


def several(values):
    """The values that are there more than once, with how often."""
    return [(value, n) for value, n in collections.Counter(values).items() if n > 1]


def of_keys(claimed, there, kind):
    """Compares claims with what there is: a list of (key, id)."""
    ids = collections.defaultdict(set)
    for key, number in there:
        ids[key].add(number)
    for key, claim in claimed.items():
        if claim.kind != kind:
            continue
        for number in claim.ids - ids[key]:
            yield Finding('lost ' + kind, '%s, id %d, %s' % (key, number, claim.told))
    for key, n in several(key for key, _ in there):
        yield Finding('doubled ' + kind, '%s is there %d times' % (key, n))
    for key in ids:
        if ids[key] and key not in claimed:
            yield Finding('unsent ' + kind, '%s was never sent' % key)


def of_jobs(claimed, rows, waiting=()):
    """Every job ended well, once, with one receipt and one effect; but for those that have a reason to wait."""
    yield from of_keys(claimed, [(key, number) for number, key in rows.jobs if key is not None], 'job')
    outcomes = {number: outcome for number, kind, outcome, _, _ in rows.receipts if kind == 'execute'}
    effects = collections.Counter(job for job, _ in rows.effects)
    jobs = {number for number, _ in rows.jobs}
    for number, n in several(receipt[0] for receipt in rows.receipts):
        yield Finding('doubled receipt', '%d is there %d times' % (number, n))
    for number, key in rows.jobs:
        if number not in outcomes and number in waiting:
            continue
        if number not in outcomes:
            yield Finding('job has not ended', '%d, %s' % (number, key))
        elif outcomes[number] != 'ok':
            yield Finding('job is dead', '%d, %s: %s' % (number, key, outcomes[number]))
        elif effects[number] == 0:
            yield Finding('receipt without effect', '%d, %s' % (number, key))
    for number in outcomes.keys() - jobs:
        yield Finding('receipt without job', '%d' % number)
    for number, n in effects.items():
        if n > 1:
            yield Finding('doubled effect', 'job %d has %d' % (number, n))
        if outcomes.get(number) != 'ok':
            yield Finding('effect without receipt', 'job %d' % number)


def of_completions(completed, rows):
    """What a worker outside was told to be complete is so by its own completion. completed: (job, mark)."""
    for job, mark in set(completed) - set(rows.effects):
        yield Finding('lost completion', 'job %d, by %s' % (job, mark))


def of_ticks(rows, every=None):
    """Each tick of each schedule has a job, and another one than every other tick; all jobs without a key are ticks'. No tick is left
    out where they are due every so many seconds; None where a clock was set."""
    jobs = {number for number, key in rows.jobs if key is None}
    due = collections.defaultdict(list)
    for schedule, at, job in rows.ticks:
        due[schedule].append(at)
        if job not in jobs:
            yield Finding('lost tick', '%s at %d has no job' % (schedule, at))
    for job, n in several(job for _, _, job in rows.ticks if job is not None):
        yield Finding('doubled tick', 'job %d is that of %d ticks' % (job, n))
    for job in jobs - {job for _, _, job in rows.ticks}:
        yield Finding('doubled tick', 'job %d is that of no tick' % job)
    for schedule, moments in due.items():
        for at, n in several(moments):
            yield Finding('doubled tick', '%s at %d is there %d times' % (schedule, at, n))
        moments = sorted(set(moments))
        for before, after in zip(moments, moments[1:]) if every else ():
            if after - before != every:
                yield Finding('lost tick', '%s has none from %d to %d' % (schedule, before, after))


def of_records(claimed, rows):
    """Every record is there once, with its receipt; revisions of a subject follow each other, in the order they were sent."""
    yield from of_keys(claimed, [('%s#%d' % (subject, n), receipt) for subject, n, receipt in rows.events], 'record')
    revisions = {number: (subject, revision) for number, _, _, subject, revision in rows.receipts if (subject or '').startswith(SUBJECTS)}
    chains = collections.defaultdict(list)
    for subject, n, receipt in rows.events:
        if revisions.get(receipt, (None, None))[0] != subject:
            yield Finding('record without receipt', '%s#%d, receipt %d' % (subject, n, receipt))
        else:
            chains[subject].append((revisions.pop(receipt)[1], n))
    for number, (subject, revision) in revisions.items():
        yield Finding('receipt without effect', 'receipt %d, revision %d of %s' % (number, revision, subject))
    for subject, chain in chains.items():
        chain.sort()
        if [revision for revision, _ in chain] != list(range(1, len(chain) + 1)):
            yield Finding('broken chain', '%s has revisions %s' % (subject, [revision for revision, _ in chain]))
        if [n for _, n in chain] != sorted(n for _, n in chain):
            yield Finding('broken chain', '%s has its records in another order' % subject)


def of_log(rows, log):
    """Every receipt has one leaf, and every leaf its receipt."""
    leaves = collections.Counter(number for number, _ in log.entries)
    receipts = {receipt[0] for receipt in rows.receipts}
    for number, n in leaves.items():
        if n > 1:
            yield Finding('doubled receipt', '%d has %d leaves' % (number, n))
        if number not in receipts:
            yield Finding('nodes differ', 'leaf of receipt %d, which is not there' % number)
    for number in receipts - leaves.keys():
        yield Finding('nodes differ', 'receipt %d has no leaf' % number)


def of_nodes(nodes):
    """Nothing is found wrong on any node, and all have one log, leaf by leaf; its root is what its leaves come to."""
    first = nodes[0]
    for node in nodes:
        for finding in node.findings:
            yield Finding('verify_all', '%s: %s' % (node.name, finding))
        if (node.size, node.root) != (first.size, first.root):
            yield Finding('nodes differ', '%s has %d leaves and root %s, %s %d and %s' % (
                node.name, node.size, node.root.hex(), first.name, first.size, first.root.hex()))
        for index, (mine, theirs) in enumerate(zip(node.entries, first.entries)):
            if mine != theirs:
                yield Finding('nodes differ', 'leaf %d on %s is not the one on %s' % (index, node.name, first.name))
                break
        if len(node.entries) != node.size:
            yield Finding('root is another', '%s has %d leaves and says %d' % (node.name, len(node.entries), node.size))
        elif Roots([leaf for _, leaf in node.entries]).at(node.size) != node.root:
            yield Finding('root is another', '%s: its leaves do not come to root %s' % (node.name, node.root.hex()))


def of_checkpoints(checkpoints, log, prove):
    """Every checkpoint ever seen is signed, and its tree a prefix of the log: by its leaves, and by the proof that the database
    gives, prove(size), a list of hashes, or None where it gives none."""
    roots = Roots([leaf for _, leaf in log.entries])
    for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.size):
        said = 'size %d, root %s, seen on %s' % (checkpoint.size, checkpoint.root.hex(), checkpoint.seen_on)
        if not checkpoint.signed:
            yield Finding('bad signature', said)
        if checkpoint.size > len(log.entries):
            yield Finding('log is shorter than a checkpoint', said)
            continue
        if roots.at(checkpoint.size) != checkpoint.root:
            yield Finding('forked checkpoint', said)
            continue
        proof = prove(checkpoint.size)
        if proof is None or not is_consistent(checkpoint.size, checkpoint.root, log.size, log.root, proof):
            yield Finding('no consistency proof', said)


def of_failovers(failovers, timeline, last):
    """Every promotion that lasted has written what it found, and found that the log goes on. failovers: (timeline, what became
    of the log, reason) since the fault; timeline: of the leader before the fault; last: of the leader now."""
    for to, log, reason in failovers:
        if log == 'refused':
            yield Finding('failover refused the log', 'timeline %d: %s' % (to, reason))
    for to, n in several(to for to, _, _ in failovers):
        yield Finding('doubled failover', 'timeline %d has %d' % (to, n))
    if last > timeline and last not in [to for to, _, _ in failovers]:
        yield Finding('failover is not recorded', 'timeline %d, after %d' % (last, timeline))


def intervals(moments, longest=0.5):
    """The intervals in which a node accepted writes, from the moments at which it did: what lies further apart is not joined."""
    joined = []
    for moment in sorted(moments):
        if joined and moment - joined[-1][1] <= longest:
            joined[-1][1] = moment
        else:
            joined.append([moment, moment])
    return joined


def of_writers(accepted):
    """How long two nodes accepted writes at once, how many writes one accepted while another did, and findings. accepted: the
    moments by node."""
    seconds, writes, findings = 0.0, 0, []
    spans = {node: intervals(moments) for node, moments in accepted.items()}
    for node in accepted:
        for other in accepted:
            for start, end in spans[other] if node != other else []:
                inside = [moment for moment in accepted[node] if start <= moment <= end]
                writes += len(inside)
                if node < other:
                    seconds += sum(max(0.0, min(end, to) - max(start, since)) for since, to in spans[node])
                if inside:
                    findings.append(Finding('two writers', '%s accepted %d writes from %.3f to %.3f while %s did' % (
                        node, len(inside), inside[0], inside[-1], other)))
    return seconds, writes, findings


def in_flight(calls, finished, moment):
    """Of the jobs that were acknowledged before a moment and had not ended then: how many, and how many ended well. finished: for
    jobs that ended well, when, by id. All in time of day."""
    before = {number for call in calls if call['outcome'] == 'acknowledged' and call['kind'] != 'record' and call['wall'] < moment
              for number in call['ids']}
    flying = [number for number in before if finished.get(number, moment) >= moment]
    return len(flying), sum(number in finished for number in flying)
