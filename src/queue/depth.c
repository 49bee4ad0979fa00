/*
 * depth.c: how many jobs a queue has in which state, exactly, without looking at the jobs.
 *
 * Each queue has a few numbers in shared memory. A transaction notes what it does to them in its own memory and adds the
 * notes once it has committed (its rows are visible by then), so the numbers follow what can be seen by the few
 * instructions of a commit callback. What a savepoint's rollback takes back leaves the notes with it.
 *
 * UnrdfDepthSet memory begins empty. Who wants to know a number first counts the rows once, under a snapshot (count.c). Invariant:
 * a number is what the count found, plus the notes of exactly those transactions that were not over in its snapshot. For that
 * the snapshot is taken and made known (UnrdfDepthBegin) in one hold of the lock, under which notes are added as well: a
 * transaction that is not over in the snapshot comes to the lock later and finds the snapshot there; one that is over is
 * recognized by its id, however late it comes. Notes count from then on, while the rows are still being counted.
 *
 * What changes rows without notes makes the numbers unknown, and the next who asks counts anew: COMMIT PREPARED of a transaction
 * that may have had notes, as they died with its process's memory; a restore; another extension in the same database. While
 * a COMMIT PREPARED is under way no snapshot is made known, as it may become visible before or after that. A crash of
 * the server begins shared memory anew. Dying anywhere else loses nothing: a count that was begun is begun again.
 *
 * A limit of a queue's depth (room.c) needs more than the number: two who enqueue at once both find room. So each reserves its
 * places in shared memory, to the end of its transaction. Invariant: open + reserved is never too low, as places are given back
 * after the notes were added, and whoever reserves some looks at them with these in it. It may be too high for a moment, while
 * notes are added; so nobody is refused but under the exclusive lock, where it is exact. Who has ended jobs itself reserves
 * so many places less: both become visible at once, or not at all, as a savepoint's rollback that takes back what was ended takes back
 * what was enqueued for it as well. Reservations die with the process, that is with all shared memory; a transaction that has
 * some cannot be prepared.
 *
 * Locks: UnrdfShmem->depths shared for adding and reading, exclusively for what is known and for new queues. The
 * numbers are atomics.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/commit.h"
#include "base/shmem.h"
#include "queue/depth_set.h"

UnrdfDepthSet *UnrdfDepthShared = NULL;

static UnrdfNote *notes = NULL; /* in TopTransactionContext */
static int nnotes = 0;
static int capacity = 0;
static bool finishing = false; /* by this process */
static ProcessUtility_hook_type prev_utility = NULL;

static UnrdfCount
count_of(UnrdfNumber number)
{
	return number <= UNRDF_JOBS_WAITING ? UNRDF_COUNT_OPEN : UNRDF_COUNT_ENDED;
}

/* UnrdfDepthBase returns the current database's base, or NULL. Under the lock. */
UnrdfBase *
UnrdfDepthBase(void)
{
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
		if (UnrdfDepthShared->bases[i].dboid == MyDatabaseId)
			return &UnrdfDepthShared->bases[i];
	return NULL;
}

/* The same, taken where there is none; NULL where all are. Under the lock, exclusively. */
static UnrdfBase *
get_base(void)
{
	UnrdfBase *base = UnrdfDepthBase();

	for (int i = 0; i < UNRDF_MAX_DATABASES && base == NULL; i++)
		if (UnrdfDepthShared->bases[i].dboid == InvalidOid)
		{
			base = &UnrdfDepthShared->bases[i];
			base->dboid = MyDatabaseId;
		}
	return base;
}

/* UnrdfDepthCounter returns a queue's counter; NULL where it has none, and none can or shall be made. Under the lock, exclusively to make one. */
UnrdfCounter *
UnrdfDepthCounter(int32 queue, bool make)
{
	uint32 place = hash_combine(murmurhash32(MyDatabaseId), murmurhash32((uint32) queue));

	for (int i = 0; i < UNRDF_PLACES; i++)
	{
		UnrdfCounter *c = &UnrdfDepthShared->counters[(place + i) % UNRDF_PLACES];

		if (c->dboid == MyDatabaseId && c->queue == queue)
			return c;
		if (c->dboid != InvalidOid)
			continue;
		if (!make || UnrdfDepthShared->nqueues == UNRDF_MOST_QUEUES)
			return NULL;
		UnrdfDepthShared->nqueues++;
		c->dboid = MyDatabaseId;
		c->queue = queue;
		return c;
	}
	return NULL;
}

/* Wakes those who wait for room in a queue. */
static void
wake(UnrdfCounter *c)
{
	if (pg_atomic_read_u32(&c->waiters) > 0)
		ConditionVariableBroadcast(&c->room);
}

/* UnrdfDepthWakeAll wakes all of the database who wait for room: they look again. Under the lock. */
void
UnrdfDepthWakeAll(void)
{
	for (int i = 0; i < UNRDF_PLACES && pg_atomic_read_u32(&UnrdfDepthShared->waiters) > 0; i++)
		if (UnrdfDepthShared->counters[i].dboid == MyDatabaseId)
			wake(&UnrdfDepthShared->counters[i]);
}

/* Makes the numbers unknown. Under the lock, exclusively. */
static void
forget(UnrdfBase *base)
{
	for (int i = 0; i < UNRDF_COUNTS; i++)
	{
		base->known[i].begun = base->known[i].done = false;
		base->known[i].attempt++;
	}
	UnrdfDepthWakeAll();
}

/* Whether notes of a transaction are to be added to a count's numbers. */
static bool
counts_for(const UnrdfKnown *known, uint64 xid)
{
	UnrdfXidSet set = {known->xmin, known->xmax, known->nxip, (uint64 *) known->xip};

	return known->begun && !UnrdfXidSetIsOver(&set, xid);
}

/* UnrdfDepthUnreserve gives reserved places back. */
void
UnrdfDepthUnreserve(UnrdfCounter *c, int64 n)
{
	pg_atomic_fetch_sub_u64(&c->reserved, n);
	wake(c);
}

static void
add_note(UnrdfCounter *c, const UnrdfNote *note, const bool *wanted)
{
	for (int i = 0; i < UNRDF_NUMBERS; i++)
		if (note->n[i] != 0 && wanted[count_of(i)])
			pg_atomic_fetch_add_u64(&c->n[i], note->n[i]);
	UnrdfDepthUnreserve(c, note->reserved);
}

/* Adds the notes of a transaction that has committed. Returns how many were added before one that needs a new counter. */
static int
add_notes(int from, bool exclusively)
{
	uint64 xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	UnrdfBase *base = UnrdfDepthBase();
	bool wanted[UNRDF_COUNTS] = {false};

	for (int i = 0; i < UNRDF_COUNTS; i++)
		wanted[i] = base && counts_for(&base->known[i], xid);
	for (; from < nnotes; from++)
	{
		UnrdfCounter *c = UnrdfDepthCounter(notes[from].queue, exclusively && base);

		if (c)
			add_note(c, &notes[from], wanted);
		else if (base && !base->full && !exclusively)
			break;
		else if (base && !base->full)
		{
			base->full = true;
			forget(base);
		}
	}
	return from;
}

static void
committed(void)
{
	int added;

	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	added = add_notes(0, false);
	LWLockRelease(UnrdfShmem->depths);
	if (added == nnotes)
		return;
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	add_notes(added, true);
	LWLockRelease(UnrdfShmem->depths);
}

/* Gives back the places that notes from a number on have reserved. */
static void
give_back(int from)
{
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	for (int i = from; i < nnotes; i++)
	{
		UnrdfCounter *c = notes[i].reserved ? UnrdfDepthCounter(notes[i].queue, false) : NULL;

		if (c)
			UnrdfDepthUnreserve(c, notes[i].reserved);
	}
	LWLockRelease(UnrdfShmem->depths);
}

/* The notes of a prepared transaction are lost. */
static void
note_prepared(void)
{
	UnrdfBase *base;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = UnrdfDepthBase();
	if (base)
		base->prepared = true;
	LWLockRelease(UnrdfShmem->depths);
}

/* Raises 0A000 where a transaction has reservations, which COMMIT PREPARED would not know of. */
static void
check_prepare(void)
{
	for (int i = 0; i < nnotes; i++)
		if (notes[i].reserved > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has enqueued in a queue with a "
							"depth limit")));
}

static void
at_xact_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE)
		check_prepare();
	if (nnotes > 0 && event == XACT_EVENT_COMMIT)
		committed();
	else if (nnotes > 0 && event == XACT_EVENT_ABORT)
		give_back(0);
	else if (nnotes > 0 && event == XACT_EVENT_PREPARE)
		note_prepared();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		notes = NULL;
		nnotes = capacity = 0;
	}
}

/* The note about a queue among the last few of a level, or NULL. */
static UnrdfNote *
find_note(int32 queue, int level)
{
	for (int i = nnotes - 1; i >= 0 && i >= nnotes - 8 && notes[i].level == level; i--)
		if (notes[i].queue == queue)
			return &notes[i];
	return NULL;
}

/* The notes from a number on are those of another level now, where some have the same queue. */
static void
lower_notes(int from, int level)
{
	int n = nnotes;

	nnotes = from;
	for (int i = from; i < n; i++)
	{
		UnrdfNote *same = find_note(notes[i].queue, level);

		if (same == NULL)
		{
			notes[nnotes] = notes[i];
			notes[nnotes++].level = level;
			continue;
		}
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			same->n[k] += notes[i].n[k];
		same->reserved += notes[i].reserved;
		same->spent += notes[i].spent;
	}
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	int first = nnotes;

	/* the notes of a level are behind those of the levels around it */
	while (first > 0 && notes[first - 1].level >= level)
		first--;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		lower_notes(first, level - 1);
	if (event == SUBXACT_EVENT_ABORT_SUB && first < nnotes)
	{
		give_back(first);
		nnotes = first;
	}
}

/* UnrdfDepthNote returns the note about a queue on the current level. Several of one queue add up, so only the last few are searched. */
UnrdfNote *
UnrdfDepthNote(int32 queue)
{
	static bool registered = false;
	int level = GetCurrentTransactionNestLevel();
	UnrdfNote *note = find_note(queue, level);

	if (note)
		return note;
	if (!registered)
	{
		RegisterXactCallback(at_xact_event, NULL);
		RegisterSubXactCallback(at_subxact_event, NULL);
		registered = true;
	}
	if (nnotes == capacity)
	{
		int most = capacity ? capacity * 2 : 8;

		if (notes)
			notes = repalloc_huge(notes, most * sizeof(UnrdfNote));
		else
			notes = MemoryContextAlloc(TopTransactionContext, most * sizeof(UnrdfNote));
		capacity = most;
	}
	memset(&notes[nnotes], 0, sizeof(UnrdfNote));
	notes[nnotes].queue = queue;
	notes[nnotes].level = level;
	return &notes[nnotes++];
}

/* UnrdfDepthEnqueued notes that this transaction has enqueued a job, or released one. */
void
UnrdfDepthEnqueued(int32 queue)
{
	if (UnrdfDepthShared)
		UnrdfDepthNote(queue)->n[UNRDF_JOBS_OPEN]++;
}

/* UnrdfDepthWaits notes that this transaction has enqueued a job that waits for others. */
void
UnrdfDepthWaits(int32 queue)
{
	if (UnrdfDepthShared)
		UnrdfDepthNote(queue)->n[UNRDF_JOBS_WAITING]++;
}

/* UnrdfDepthReleased notes that this transaction has ended a job's wait. */
void
UnrdfDepthReleased(int32 queue)
{
	if (UnrdfDepthShared)
		UnrdfDepthNote(queue)->n[UNRDF_JOBS_WAITING]--;
}

/* UnrdfDepthFailed notes that this transaction has recorded a job's first failed attempt, and that the job goes on. */
void
UnrdfDepthFailed(int32 queue)
{
	if (UnrdfDepthShared)
		UnrdfDepthNote(queue)->n[UNRDF_JOBS_FAILED]++;
}

/* UnrdfDepthEnded notes that this transaction has ended a job, with an outcome from 1 on. had_failed: an earlier attempt had. */
void
UnrdfDepthEnded(int32 queue, int outcome, bool had_failed)
{
	UnrdfNote *note;

	if (UnrdfDepthShared == NULL)
		return;
	note = UnrdfDepthNote(queue);
	note->n[UNRDF_JOBS_OPEN]--;
	note->n[UNRDF_JOBS_FAILED] -= had_failed;
	note->n[UNRDF_JOBS_OK + outcome - 1]++;
}

/* UnrdfDepthEndedWaiting notes that this transaction has ended a job that waited for others. */
void
UnrdfDepthEndedWaiting(int32 queue, int outcome)
{
	if (UnrdfDepthShared == NULL)
		return;
	UnrdfDepthReleased(queue);
	UnrdfDepthNote(queue)->n[UNRDF_JOBS_OK + outcome - 1]++;
}

static void
forget_now(uint64 arg)
{
	UnrdfDepthForget();
}

/* UnrdfDepthForget makes the current database's numbers unknown. Raises nothing. */
void
UnrdfDepthForget(void)
{
	UnrdfBase *base;

	if (UnrdfDepthShared == NULL)
		return;
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = UnrdfDepthBase();
	if (base)
		forget(base);
	LWLockRelease(UnrdfShmem->depths);
}

/* UnrdfDepthForgetAtCommit does so once this transaction has committed. */
void
UnrdfDepthForgetAtCommit(void)
{
	UnrdfAtCommit(forget_now, 0);
}

static int64
number_of(UnrdfCounter *c, UnrdfNumber number)
{
	return (int64) pg_atomic_read_u64(&c->n[number]);
}

/* UnrdfDepthOf returns how many jobs of a queue have not ended, of transactions that have committed. */
int64
UnrdfDepthOf(UnrdfCounter *c)
{
	return number_of(c, UNRDF_JOBS_OPEN) + number_of(c, UNRDF_JOBS_WAITING);
}

/* UnrdfDepthOpen reads how many jobs of a queue have not ended, where that is known. */
bool
UnrdfDepthOpen(int32 queue, int64 *open)
{
	UnrdfBase *base;
	UnrdfCounter *c;
	bool known;

	if (UnrdfDepthShared == NULL)
		return false;
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	base = UnrdfDepthBase();
	known = base && base->known[UNRDF_COUNT_OPEN].done;
	c = known ? UnrdfDepthCounter(queue, false) : NULL;
	if (known)
		*open = c ? UnrdfDepthOf(c) : 0;
	LWLockRelease(UnrdfShmem->depths);
	return known;
}

/* UnrdfDepthOwn returns what the own transaction does to a queue. */
UnrdfNote
UnrdfDepthOwn(int32 queue)
{
	UnrdfNote own = {queue};

	for (int i = 0; i < nnotes; i++)
	{
		if (notes[i].queue != queue)
			continue;
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			own.n[k] += notes[i].n[k];
		own.reserved += notes[i].reserved;
		own.spent += notes[i].spent;
	}
	return own;
}

/* UnrdfDepthReserves tells whether this transaction has reserved places, in whichever queue. */
bool
UnrdfDepthReserves(void)
{
	for (int i = 0; i < nnotes; i++)
		if (notes[i].reserved > 0)
			return true;
	return false;
}

static void
clear(UnrdfCount count)
{
	for (int i = 0; i < UNRDF_PLACES; i++)
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			if (UnrdfDepthShared->counters[i].dboid == MyDatabaseId && count_of(k) == count)
				pg_atomic_write_u64(&UnrdfDepthShared->counters[i].n[k], 0);
}

/*
 * UnrdfDepthBegin takes the snapshot to count under, in the current memory context, and makes it known. Returns the number of
 * the attempt; 0 where what is counted can be said to the caller, and not be kept.
 */
uint32
UnrdfDepthBegin(UnrdfCount count, Snapshot *snapshot)
{
	UnrdfXidSet set;
	UnrdfKnown *known;
	UnrdfBase *base;
	uint32 attempt = 0;

	if (UnrdfDepthShared == NULL || RecoveryInProgress())
	{
		*snapshot = GetLatestSnapshot();
		return 0;
	}
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	*snapshot = GetLatestSnapshot();
	UnrdfXidSetTake(&set, *snapshot, CurrentMemoryContext);
	base = get_base();
	if (base && !base->full && UnrdfDepthShared->finishing == 0 && set.nxip <= UNRDF_MOST_XIDS)
	{
		known = &base->known[count];
		known->begun = true;
		known->done = false;
		attempt = ++known->attempt ? known->attempt : ++known->attempt;
		known->xmin = set.xmin;
		known->xmax = set.xmax;
		known->nxip = set.nxip;
		memcpy(known->xip, set.xip, set.nxip * sizeof(uint64));
		clear(count);
	}
	LWLockRelease(UnrdfShmem->depths);
	return attempt;
}

/*
 * UnrdfDepthAttach gives the current database its place; from here on transactions that are prepared are noted. Before, some may
 * have been: UnrdfDepthMayBePrepared says so.
 */
void
UnrdfDepthAttach(void)
{
	if (UnrdfDepthShared == NULL)
		return;
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	(void) get_base();
	LWLockRelease(UnrdfShmem->depths);
}

/* UnrdfDepthMayBePrepared says that there is a prepared transaction that may have written jobs or receipts. */
void
UnrdfDepthMayBePrepared(void)
{
	if (UnrdfDepthShared)
		note_prepared();
}

/* UnrdfDepthFinish adds what was counted; false where it came to nothing, as something made the numbers unknown since. */
bool
UnrdfDepthFinish(UnrdfCount count, uint32 attempt, HTAB *counted)
{
	HASH_SEQ_STATUS seq;
	UnrdfDepths *d;
	UnrdfBase *base;
	bool ok;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = UnrdfDepthBase();
	ok = base && base->known[count].begun && base->known[count].attempt == attempt;
	hash_seq_init(&seq, counted);
	while ((d = hash_seq_search(&seq)) != NULL)
	{
		UnrdfCounter *c = ok ? UnrdfDepthCounter(d->queue, true) : NULL;

		ok = c != NULL;
		for (int k = 0; ok && k < UNRDF_NUMBERS; k++)
			if (count_of(k) == count)
				pg_atomic_fetch_add_u64(&c->n[k], d->n[k]);
	}
	if (base && ok)
		base->known[count].done = true;
	else if (base)
		forget(base);
	LWLockRelease(UnrdfShmem->depths);
	return ok;
}

/* UnrdfDepthRead puts a count's numbers into a table; false where they are not known. */
bool
UnrdfDepthRead(UnrdfCount count, HTAB *numbers)
{
	UnrdfBase *base;
	bool known;

	if (UnrdfDepthShared == NULL)
		return false;
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	base = UnrdfDepthBase();
	known = base && base->known[count].done;
	for (int i = 0; i < UNRDF_PLACES && known; i++)
	{
		UnrdfCounter *c = &UnrdfDepthShared->counters[i];

		if (c->dboid != MyDatabaseId)
			continue;
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			if (count_of(k) == count)
				UnrdfDepthsOf(numbers, c->queue)->n[k] = number_of(c, k);
	}
	LWLockRelease(UnrdfShmem->depths);
	return known;
}

/* Makes unknown what a COMMIT PREPARED may change, before and after it. */
static void
finish_prepared(bool begins)
{
	UnrdfBase *base;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	finishing = begins;
	UnrdfDepthShared->finishing += begins ? 1 : -1;
	base = UnrdfDepthBase();
	if (base && base->prepared)
		forget(base);
	LWLockRelease(UnrdfShmem->depths);
}

static void
at_exit(int code, Datum arg)
{
	if (finishing)
		finish_prepared(false);
}

/* Whether a statement is COMMIT PREPARED; then what it may change is made unknown. */
static bool
begin_finishing(Node *stmt)
{
	static bool registered = false;

	if (UnrdfDepthShared == NULL || !IsA(stmt, TransactionStmt) ||
		((TransactionStmt *) stmt)->kind != TRANS_STMT_COMMIT_PREPARED)
		return false;
	if (!registered)
	{
		before_shmem_exit(at_exit, 0);
		registered = true;
	}
	finish_prepared(true);
	return true;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool readOnlyTree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const bool commits = begin_finishing(pstmt->utilityStmt);

	PG_TRY();
	{
		if (prev_utility)
			prev_utility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
		else
			standard_ProcessUtility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		if (commits)
			finish_prepared(false);
	}
	PG_END_TRY();
}

static void
init_depths(void *block)
{
	UnrdfDepthSet *s = block;

	memset(s, 0, sizeof(*s));
	pg_atomic_init_u32(&s->waiters, 0);
	for (int i = 0; i < UNRDF_PLACES; i++)
	{
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			pg_atomic_init_u64(&s->counters[i].n[k], 0);
		pg_atomic_init_u64(&s->counters[i].reserved, 0);
		pg_atomic_init_u32(&s->counters[i].waiters, 0);
		ConditionVariableInit(&s->counters[i].room);
	}
}

/* UnrdfDepthInit registers the numbers' shared memory and the hook; called once, from _PG_init. */
void
UnrdfDepthInit(void)
{
	UnrdfShmemRegister("unrdf depths", sizeof(UnrdfDepthSet), (void **) &UnrdfDepthShared,
					   init_depths);
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
