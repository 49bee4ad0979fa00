/*
 * depth.c: how many jobs a queue has in which state, exactly, without looking at the jobs.
 *
 * Each queue has a few numbers in shared memory. A transaction notes what it does to them in its own memory and adds the
 * notes once it has committed (its rows are visible by then), so the numbers follow what can be seen by the few
 * instructions of a commit callback. What a savepoint's rollback takes back leaves the notes with it.
 *
 * Shared memory begins empty. Who wants to know a number first counts the rows once, under a snapshot (count.c). Invariant:
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
 * A limit of a queue's depth needs more than the number: two who enqueue at once both find room. So each reserves its place in
 * shared memory, to the end of its transaction (UnrdfDepthReserve); the place is given back after the notes were added, so
 * open + reserved is never too low.
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
#include "queue/depth.h"

#define PLACES 16384      /* of queues; a power of two */
#define MOST_QUEUES 12288 /* in all databases, since the server's start */
#define MOST_XIDS 512     /* in progress in a snapshot that can be made known */

/* One queue. A place is free where its database is invalid, and is not given back. */
typedef struct Counter
{
	Oid dboid;
	int32 queue;
	pg_atomic_uint64 n[UNRDF_NUMBERS];
	pg_atomic_uint64 reserved;
} Counter;

/* What is known of a count. */
typedef struct Known
{
	bool begun; /* the snapshot is that of a count, notes are added */
	bool done;  /* and what was counted has been added */
	uint32 attempt;
	uint64 xmin;
	uint64 xmax;
	int nxip;
	uint64 xip[MOST_XIDS];
} Known;

typedef struct Base
{
	Oid dboid;
	bool full;     /* a queue of it has no counter: nothing can be kept */
	bool prepared; /* a prepared transaction may have had notes */
	Known known[UNRDF_COUNTS];
} Base;

typedef struct Shared
{
	int finishing; /* COMMIT PREPARED under way, in all databases */
	int nqueues;
	Base bases[UNRDF_MAX_DATABASES];
	Counter counters[PLACES];
} Shared;

/* What this transaction does to a queue's numbers, on a level of savepoints. */
typedef struct Note
{
	int32 queue;
	int level;
	int64 n[UNRDF_NUMBERS];
	int64 reserved;
} Note;

static Shared *shared = NULL;
static Note *notes = NULL; /* in TopTransactionContext */
static int nnotes = 0;
static int capacity = 0;
static bool finishing = false; /* by this process */
static ProcessUtility_hook_type prev_utility = NULL;

static UnrdfCount
count_of(UnrdfNumber number)
{
	return number <= UNRDF_JOBS_WAITING ? UNRDF_COUNT_OPEN : UNRDF_COUNT_ENDED;
}

/* The current database's base, or NULL. Under the lock. */
static Base *
find_base(void)
{
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
		if (shared->bases[i].dboid == MyDatabaseId)
			return &shared->bases[i];
	return NULL;
}

/* The same, taken where there is none; NULL where all are. Under the lock, exclusively. */
static Base *
get_base(void)
{
	Base *base = find_base();

	for (int i = 0; i < UNRDF_MAX_DATABASES && base == NULL; i++)
		if (shared->bases[i].dboid == InvalidOid)
		{
			base = &shared->bases[i];
			base->dboid = MyDatabaseId;
		}
	return base;
}

/* A queue's counter; NULL where it has none, and none can or shall be made. Under the lock, exclusively to make one. */
static Counter *
find_counter(int32 queue, bool make)
{
	uint32 place = hash_combine(murmurhash32(MyDatabaseId), murmurhash32((uint32) queue));

	for (int i = 0; i < PLACES; i++)
	{
		Counter *c = &shared->counters[(place + i) % PLACES];

		if (c->dboid == MyDatabaseId && c->queue == queue)
			return c;
		if (c->dboid != InvalidOid)
			continue;
		if (!make || shared->nqueues == MOST_QUEUES)
			return NULL;
		shared->nqueues++;
		c->dboid = MyDatabaseId;
		c->queue = queue;
		return c;
	}
	return NULL;
}

/* Makes the numbers unknown. Under the lock, exclusively. */
static void
forget(Base *base)
{
	for (int i = 0; i < UNRDF_COUNTS; i++)
	{
		base->known[i].begun = base->known[i].done = false;
		base->known[i].attempt++;
	}
}

/* Whether notes of a transaction are to be added to a count's numbers. */
static bool
counts_for(const Known *known, uint64 xid)
{
	UnrdfXidSet set = {known->xmin, known->xmax, known->nxip, (uint64 *) known->xip};

	return known->begun && !UnrdfXidSetIsOver(&set, xid);
}

static void
add_note(Counter *c, const Note *note, const bool *wanted)
{
	for (int i = 0; i < UNRDF_NUMBERS; i++)
		if (note->n[i] != 0 && wanted[count_of(i)])
			pg_atomic_fetch_add_u64(&c->n[i], note->n[i]);
	pg_atomic_fetch_sub_u64(&c->reserved, note->reserved);
}

/* Adds the notes of a transaction that has committed. Returns how many were added before one that needs a new counter. */
static int
add_notes(int from, bool exclusively)
{
	uint64 xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	Base *base = find_base();
	bool wanted[UNRDF_COUNTS] = {false};

	for (int i = 0; i < UNRDF_COUNTS; i++)
		wanted[i] = base && counts_for(&base->known[i], xid);
	for (; from < nnotes; from++)
	{
		Counter *c = find_counter(notes[from].queue, exclusively && base);

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
		Counter *c = notes[i].reserved ? find_counter(notes[i].queue, false) : NULL;

		if (c)
			pg_atomic_fetch_sub_u64(&c->reserved, notes[i].reserved);
	}
	LWLockRelease(UnrdfShmem->depths);
}

/* The notes of a prepared transaction are lost. */
static void
note_prepared(void)
{
	Base *base;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = find_base();
	if (base)
		base->prepared = true;
	LWLockRelease(UnrdfShmem->depths);
}

static void
at_xact_event(XactEvent event, void *arg)
{
	if (nnotes > 0 && event == XACT_EVENT_COMMIT)
		committed();
	else if (nnotes > 0 && event == XACT_EVENT_ABORT)
		give_back(0);
	else if (nnotes > 0 && event == XACT_EVENT_PREPARE)
	{
		give_back(0);
		note_prepared();
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		notes = NULL;
		nnotes = capacity = 0;
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
		for (int i = first; i < nnotes; i++)
			notes[i].level = level - 1;
	if (event == SUBXACT_EVENT_ABORT_SUB && first < nnotes)
	{
		give_back(first);
		nnotes = first;
	}
}

/* The note about a queue on the current level. Several of one queue add up, so only the last few are searched. */
static Note *
note_of(int32 queue)
{
	static bool registered = false;
	int level = GetCurrentTransactionNestLevel();

	for (int i = nnotes - 1; i >= 0 && i >= nnotes - 8 && notes[i].level == level; i--)
		if (notes[i].queue == queue)
			return &notes[i];
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
			notes = repalloc_huge(notes, most * sizeof(Note));
		else
			notes = MemoryContextAlloc(TopTransactionContext, most * sizeof(Note));
		capacity = most;
	}
	memset(&notes[nnotes], 0, sizeof(Note));
	notes[nnotes].queue = queue;
	notes[nnotes].level = level;
	return &notes[nnotes++];
}

/* UnrdfDepthEnqueued notes that this transaction has enqueued a job, or released one. */
void
UnrdfDepthEnqueued(int32 queue)
{
	if (shared)
		note_of(queue)->n[UNRDF_JOBS_OPEN]++;
}

/* UnrdfDepthWaits notes that this transaction has enqueued a job that waits for others. */
void
UnrdfDepthWaits(int32 queue)
{
	if (shared)
		note_of(queue)->n[UNRDF_JOBS_WAITING]++;
}

/* UnrdfDepthReleased notes that this transaction has ended a job's wait. */
void
UnrdfDepthReleased(int32 queue)
{
	if (shared)
		note_of(queue)->n[UNRDF_JOBS_WAITING]--;
}

/* UnrdfDepthFailed notes that this transaction has recorded a job's first failed attempt, and that the job goes on. */
void
UnrdfDepthFailed(int32 queue)
{
	if (shared)
		note_of(queue)->n[UNRDF_JOBS_FAILED]++;
}

/* UnrdfDepthEnded notes that this transaction has ended a job, with an outcome from 1 on. had_failed: an earlier attempt had. */
void
UnrdfDepthEnded(int32 queue, int outcome, bool had_failed)
{
	Note *note;

	if (shared == NULL)
		return;
	note = note_of(queue);
	note->n[UNRDF_JOBS_OPEN]--;
	note->n[UNRDF_JOBS_FAILED] -= had_failed;
	note->n[UNRDF_JOBS_OK + outcome - 1]++;
}

/* UnrdfDepthEndedWaiting notes that this transaction has ended a job that waited for others. */
void
UnrdfDepthEndedWaiting(int32 queue, int outcome)
{
	if (shared == NULL)
		return;
	UnrdfDepthReleased(queue);
	note_of(queue)->n[UNRDF_JOBS_OK + outcome - 1]++;
}

/*
 * UnrdfDepthReserve reserves n places in a queue for jobs that this transaction is about to enqueue, unless it would then have
 * more than `limit` jobs that have not ended. *depth is how many it has, those of transactions that have not ended yet
 * included. Preloaded servers only.
 */
bool
UnrdfDepthReserve(int32 queue, int64 n, int64 limit, int64 *depth)
{
	int64 open = UnrdfQueueDepth(queue);
	int64 reserved = 0;
	Counter *c;

	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	c = find_counter(queue, false);
	LWLockRelease(UnrdfShmem->depths);
	if (c == NULL)
	{
		LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
		c = find_counter(queue, true);
		LWLockRelease(UnrdfShmem->depths);
	}
	if (c)
		reserved = (int64) pg_atomic_fetch_add_u64(&c->reserved, n);
	/* once more, after it: who has given a place back since has added its jobs before */
	if (c)
		(void) UnrdfDepthOpen(queue, &open);
	*depth = open + reserved;
	if (*depth + n <= limit)
	{
		note_of(queue)->reserved += c ? n : 0;
		return true;
	}
	if (c)
		pg_atomic_fetch_sub_u64(&c->reserved, n);
	return false;
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
	Base *base;

	if (shared == NULL)
		return;
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = find_base();
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
number_of(Counter *c, UnrdfNumber number)
{
	return (int64) pg_atomic_read_u64(&c->n[number]);
}

/* UnrdfDepthOpen reads how many jobs of a queue have not ended, where that is known. */
bool
UnrdfDepthOpen(int32 queue, int64 *open)
{
	Base *base;
	Counter *c;
	bool known;

	if (shared == NULL)
		return false;
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	base = find_base();
	known = base && base->known[UNRDF_COUNT_OPEN].done;
	c = known ? find_counter(queue, false) : NULL;
	if (known)
		*open = c ? number_of(c, UNRDF_JOBS_OPEN) + number_of(c, UNRDF_JOBS_WAITING) : 0;
	LWLockRelease(UnrdfShmem->depths);
	return known;
}

static void
clear(UnrdfCount count)
{
	for (int i = 0; i < PLACES; i++)
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			if (shared->counters[i].dboid == MyDatabaseId && count_of(k) == count)
				pg_atomic_write_u64(&shared->counters[i].n[k], 0);
}

/*
 * UnrdfDepthBegin takes the snapshot to count under, in the current memory context, and makes it known. Returns the number of
 * the attempt; 0 where what is counted can be said to the caller, and not be kept.
 */
uint32
UnrdfDepthBegin(UnrdfCount count, Snapshot *snapshot)
{
	UnrdfXidSet set;
	Known *known;
	Base *base;
	uint32 attempt = 0;

	if (shared == NULL || RecoveryInProgress())
	{
		*snapshot = GetLatestSnapshot();
		return 0;
	}
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	*snapshot = GetLatestSnapshot();
	UnrdfXidSetTake(&set, *snapshot, CurrentMemoryContext);
	base = get_base();
	if (base && !base->full && shared->finishing == 0 && set.nxip <= MOST_XIDS)
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
	if (shared == NULL)
		return;
	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	(void) get_base();
	LWLockRelease(UnrdfShmem->depths);
}

/* UnrdfDepthMayBePrepared says that there is a prepared transaction that may have written jobs or receipts. */
void
UnrdfDepthMayBePrepared(void)
{
	if (shared)
		note_prepared();
}

/* UnrdfDepthFinish adds what was counted; false where it came to nothing, as something made the numbers unknown since. */
bool
UnrdfDepthFinish(UnrdfCount count, uint32 attempt, HTAB *counted)
{
	HASH_SEQ_STATUS seq;
	UnrdfDepths *d;
	Base *base;
	bool ok;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	base = find_base();
	ok = base && base->known[count].begun && base->known[count].attempt == attempt;
	hash_seq_init(&seq, counted);
	while ((d = hash_seq_search(&seq)) != NULL)
	{
		Counter *c = ok ? find_counter(d->queue, true) : NULL;

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
	Base *base;
	bool known;

	if (shared == NULL)
		return false;
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	base = find_base();
	known = base && base->known[count].done;
	for (int i = 0; i < PLACES && known; i++)
	{
		Counter *c = &shared->counters[i];

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
	Base *base;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	finishing = begins;
	shared->finishing += begins ? 1 : -1;
	base = find_base();
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

	if (shared == NULL || !IsA(stmt, TransactionStmt) ||
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
	Shared *s = block;

	memset(s, 0, sizeof(*s));
	for (int i = 0; i < PLACES; i++)
	{
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			pg_atomic_init_u64(&s->counters[i].n[k], 0);
		pg_atomic_init_u64(&s->counters[i].reserved, 0);
	}
}

/* UnrdfDepthInit registers the numbers' shared memory and the hook; called once, from _PG_init. */
void
UnrdfDepthInit(void)
{
	UnrdfShmemRegister("unrdf depths", sizeof(Shared), (void **) &shared, init_depths);
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
