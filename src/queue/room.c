/*
 * room.c: queues with a limit of their depth, and what becomes of who finds one full.
 *
 * The depth is all jobs of a queue that have not ended. Those for later count: a limit that a run_at gets around is none. So do
 * those that wait for others: they are admitted when they are enqueued, and nothing that happens to a job after that, its time
 * comes, its wait is over, an attempt fails, needs room again; the dispatcher and the releaser are never refused. Nor are jobs that
 * stand for work which was admitted before: compensations of a saga, and what drop_queue moves (UNRDF_ROOM_FREE).
 *
 * Invariant: in a queue that rejects or waits no commit makes it deeper than max_depth, but by those; whatever commits, rolls back
 * or dies at once. Each place is reserved in shared memory before the job's row is written, to the transaction's end
 * (UnrdfDepthReserve). Jobs of transactions that were under way when the limit was set are not counted before they commit.
 *
 * Who waits for room holds what its transaction has: locks, and places of its own. The server's deadlock detection does not see
 * that it waits, so there must be no circle through it:
 *
 *   - A process of ours never waits, nor does a schedule's tick: what makes room may be the one that waits. They are refused; a job
 *     then fails an attempt, a tick stays due (tick.c).
 *   - Who wants more places than there are beside its own is refused at once: it would wait for itself.
 *   - Room comes by jobs that end, and by transactions that roll back. Whoever has places waits for the former only: where the
 *     places of transactions alone leave no room, it is refused.
 *   - Who holds up another process with a lock waits no longer than deadlock_timeout: that one may have to end the jobs, or have
 *     the places. Whoever is caught in a circle holds up somebody.
 *
 * lock_timeout and statement_timeout hold for such waits as well. No lock of ours is held in them but those of keys.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/plan.h"
#include "queue/config.h"
#include "queue/depth_set.h"
#include "queue/room.h"

/* Somebody who waits for a lock that this session's transaction has. */
static UnrdfPlan find_held_up = {
	"SELECT l.pid FROM pg_catalog.pg_locks AS l WHERE NOT l.granted"
	" AND pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids(l.pid)) LIMIT 1",
	0};

static bool may_wait = true;

/* How deep a queue is, for who wants room in it. */
typedef struct Depth
{
	int64 open;     /* jobs that have not ended, of transactions that have committed */
	int64 reserved; /* places of those that have not */
	int64 own;      /* of these, this transaction's */
	int64 wanted;   /* places */
} Depth;

typedef enum Answer
{
	TAKEN,
	FULL,
	UNKNOWN /* how deep it is */
} Answer;

/* Reserves places if there is room for them. *note is where that is noted: nothing can fail in between. */
static Answer
try_reserve(UnrdfNote *note, int64 n, int64 limit, LWLockMode mode, Depth *depth)
{
	Answer answer = UNKNOWN;
	UnrdfCounter *c;
	UnrdfBase *base;

	LWLockAcquire(UnrdfShmem->depths, mode);
	base = UnrdfDepthBase();
	c = UnrdfDepthCounter(note->queue, mode == LW_EXCLUSIVE && base != NULL);
	if (c && base->known[UNRDF_COUNT_OPEN].done)
	{
		depth->reserved = (int64) pg_atomic_fetch_add_u64(&c->reserved, n);
		depth->open = UnrdfDepthOf(c);
		answer = depth->open + depth->reserved + n <= limit ? TAKEN : FULL;
		if (answer == TAKEN)
			note->reserved += n;
		else
			pg_atomic_fetch_sub_u64(&c->reserved, n);
	}
	LWLockRelease(UnrdfShmem->depths);
	return answer;
}

/*
 * Does so where the numbers cannot be kept: the rows are counted under a snapshot that is taken when the places are reserved. So
 * whoever is not in it is among the reserved; who commits in between is in both.
 */
static Answer
reserve_and_count(int32 queue, int64 n, int64 limit, Depth *depth)
{
	UnrdfNote *note = UnrdfDepthNote(queue);
	UnrdfCounter *c;

	LWLockAcquire(UnrdfShmem->depths, LW_EXCLUSIVE);
	c = UnrdfDepthCounter(queue, true);
	if (c)
	{
		depth->reserved = (int64) pg_atomic_fetch_add_u64(&c->reserved, n);
		note->reserved += n;
	}
	LWLockRelease(UnrdfShmem->depths);
	if (c == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many queues on this server for one to have a depth limit"),
				 errdetail("The numbers of %d queues can be kept.", UNRDF_MOST_QUEUES)));
	depth->open = UnrdfQueueDepth(queue);
	if (depth->open + depth->reserved + n <= limit)
		return TAKEN;
	UnrdfDepthNote(queue)->reserved -= n;
	UnrdfDepthUnreserve(c, n);
	return FULL;
}

/*
 * Reserves n places in a queue for jobs that this transaction is about to enqueue, unless it would then have more than `limit` jobs
 * that have not ended. *depth is what it has. Raises 54000.
 */
static bool
reserve(int32 queue, int64 n, int64 limit, Depth *depth)
{
	UnrdfNote own = UnrdfDepthOwn(queue);
	int64 ended = own.n[UNRDF_JOBS_OK] + own.n[UNRDF_JOBS_DEAD] + own.n[UNRDF_JOBS_CANCELLED] +
				  own.n[UNRDF_JOBS_SKIPPED];
	int64 spent = Min(n, ended - own.spent);
	Answer answer;

	n -= spent;
	depth->own = own.reserved;
	depth->wanted = n;
	answer = try_reserve(UnrdfDepthNote(queue), n, limit, LW_SHARED, depth);
	if (answer != TAKEN)
		answer = try_reserve(UnrdfDepthNote(queue), n, limit, LW_EXCLUSIVE, depth);
	if (answer == UNKNOWN)
	{
		(void) UnrdfQueueDepth(queue);
		answer = try_reserve(UnrdfDepthNote(queue), n, limit, LW_EXCLUSIVE, depth);
	}
	if (answer == UNKNOWN)
		answer = reserve_and_count(queue, n, limit, depth);
	if (answer != TAKEN)
		return false;
	UnrdfDepthNote(queue)->spent += spent;
	return true;
}

/* The counter of a queue, or NULL. One that there is stays. */
static UnrdfCounter *
counter_of(int32 queue)
{
	UnrdfCounter *c;

	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	c = UnrdfDepthCounter(queue, false);
	LWLockRelease(UnrdfShmem->depths);
	return c;
}

/*
 * UnrdfDepthNow returns how many jobs of a queue have not ended, as this transaction sees it, with those for which others have
 * reserved places.
 */
int64
UnrdfDepthNow(int32 queue)
{
	UnrdfNote own = UnrdfDepthOwn(queue);
	int64 depth = UnrdfQueueDepth(queue) + own.n[UNRDF_JOBS_OPEN] + own.n[UNRDF_JOBS_WAITING];
	UnrdfCounter *c = counter_of(queue);

	if (c)
		depth += (int64) pg_atomic_read_u64(&c->reserved) - own.reserved;
	return depth;
}

/* Somebody who wants room, and what was found. */
typedef struct Want
{
	int32 queue;
	int64 n;
	int32 limit;
	UnrdfWhenFull when_full;
	Depth depth;
} Want;

/* UnrdfRoomMayWait says whether this process waits for room from here on, and returns whether it did. */
bool
UnrdfRoomMayWait(bool may)
{
	bool did = may_wait;

	may_wait = may;
	return did;
}

static void
refuse(const Want *w, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("queue \"%s\" is full", UnrdfQueueName(w->queue)),
			 errdetail("Its max_depth is %d; " INT64_FORMAT
					   " of its jobs have not ended, or are being enqueued.%s%s",
					   w->limit, w->depth.open + w->depth.reserved, why ? " " : "", why ? why : ""),
			 errhint("Try again later, or raise max_depth with unrdf.alter_queue().")));
}

/* Says once in a statement that a queue is full. */
static void
warn(const Want *w)
{
	static TimestampTz said_at = 0;
	static int32 said_of = -1;
	int64 depth = UnrdfDepthNow(w->queue);

	if (depth + w->n <= w->limit ||
		(said_at == GetCurrentStatementStartTimestamp() && said_of == w->queue))
		return;
	said_at = GetCurrentStatementStartTimestamp();
	said_of = w->queue;
	ereport(WARNING, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					  errmsg("queue \"%s\" is full", UnrdfQueueName(w->queue)),
					  errdetail("Its max_depth is %d; " INT64_FORMAT
								" of its jobs have not ended, or are being enqueued.",
								w->limit, depth)));
}

/* Takes room where there is some, or none is needed, by the settings as they are now. */
static bool
take(Want *w)
{
	const UnrdfQueue *settings = UnrdfQueueRowSettings(UnrdfQueueRowById(w->queue));

	w->limit = settings->max_depth;
	w->when_full = settings->when_full;
	if (w->limit == 0)
		return true;
	if (w->when_full != UNRDF_FULL_WARN)
		return reserve(w->queue, w->n, w->limit, &w->depth);
	warn(w);
	return true;
}

static int
find_held_up_process(void)
{
	bool isnull;
	int pid = 0;

	SPI_connect();
	if (UnrdfExecuteLatest(&find_held_up, NULL, NULL) == 1)
		pid = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return pid;
}

/* Refuses who must not wait, or not any longer. */
static void
check_wait(const Want *w, bool late)
{
	const Depth *d = &w->depth;
	int pid;

	if (w->when_full != UNRDF_FULL_WAIT || !may_wait)
		refuse(w, NULL);
	if (d->own + d->wanted > w->limit)
		refuse(w, "There is no room for all of this transaction's.");
	if (UnrdfDepthReserves() && d->reserved + d->wanted > w->limit)
		refuse(w, "Transactions that have not ended, and may wait for this one, have all room.");
	pid = late ? find_held_up_process() : 0;
	if (pid != 0)
		refuse(w, psprintf("Process %d waits for a lock of this transaction, which therefore does "
						   "not wait.",
						   pid));
}

/* Sleeps until there may be room; true where it was for deadlock_timeout. */
static bool
sleep_for_room(UnrdfCounter *c, int64 until)
{
	int64 now = UnrdfTicks();

	if (now >= until)
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("canceling statement due to lock timeout"),
						errdetail("It waited for room in a queue.")));
	return ConditionVariableTimedSleep(&c->room,
									   Max(1, UnrdfMillisUntilTick(until, DeadlockTimeout)),
									   unrdf_wait_event("UnrdfRoom"));
}

static void
stop_waiting(int code, Datum arg)
{
	UnrdfCounter *c = (UnrdfCounter *) DatumGetPointer(arg);

	ConditionVariableCancelSleep();
	pg_atomic_fetch_sub_u32(&c->waiters, 1);
	pg_atomic_fetch_sub_u32(&UnrdfDepthShared->waiters, 1);
}

static void
wait_for_room(Want *w)
{
	UnrdfCounter *c = counter_of(w->queue);
	int64 until = LockTimeout > 0 ? UnrdfTicks() + LockTimeout * INT64CONST(1000) : PG_INT64_MAX;
	bool late = false;

	pg_atomic_fetch_add_u32(&UnrdfDepthShared->waiters, 1);
	pg_atomic_fetch_add_u32(&c->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(c));
	{
		ConditionVariablePrepareToSleep(&c->room);
		while (!take(w))
		{
			check_wait(w, late);
			late = sleep_for_room(c, until);
			UnrdfQueueTakesJobs(w->queue);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(c));
	stop_waiting(0, PointerGetDatum(c));
}

/*
 * UnrdfRoomTake takes room for n jobs that this transaction is about to enqueue; false where there is none and need is
 * UNRDF_ROOM_IF_ANY. Else it waits as the queue's settings say, or raises 53400; 55P03 after lock_timeout; 55000 where the
 * queue is closed meanwhile. For who holds the lock of a writer (closing.c).
 */
bool
UnrdfRoomTake(int32 queue, int64 n, UnrdfRoomNeed need)
{
	Want w = {queue, n};

	if (need == UNRDF_ROOM_FREE || take(&w))
		return true;
	if (need == UNRDF_ROOM_IF_ANY)
		return false;
	check_wait(&w, false);
	wait_for_room(&w);
	return true;
}

/* UnrdfRoomLeft returns for how many jobs a queue has room now; others may take it at any moment. */
int64
UnrdfRoomLeft(int32 queue)
{
	const UnrdfQueue *settings = UnrdfQueueRowSettings(UnrdfQueueRowById(queue));
	int32 limit = settings->max_depth;

	if (limit == 0 || settings->when_full == UNRDF_FULL_WARN)
		return PG_INT64_MAX;
	return Max(0, limit - UnrdfDepthNow(queue));
}

static void
wake_now(uint64 arg)
{
	LWLockAcquire(UnrdfShmem->depths, LW_SHARED);
	UnrdfDepthWakeAll();
	LWLockRelease(UnrdfShmem->depths);
}

/* UnrdfRoomChanged has those who wait look again once this transaction has committed. */
void
UnrdfRoomChanged(void)
{
	if (UnrdfDepthShared)
		UnrdfAtCommit(wake_now, 0);
}
