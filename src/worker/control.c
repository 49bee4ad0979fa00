/*
 * control.c: cancel, revive and wait: what needs both a job and its receipt.
 *
 * Cancel writes the job's receipt in the caller's transaction (ending.c). A job that waits for others, or may still do so, is
 * looked at under its release lock (queue/waiting.c): either it is ended as it waits, or it was released before.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/identity.h"
#include "base/lock.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "queue/job.h"
#include "queue/waiting.h"
#include "queue/workflow.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/slot.h"
#include "worker/worker.h"

static UnrdfPlan find_outcome = {
	"SELECT outcome FROM unrdf.receipt WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
static UnrdfPlan find_held = {
	"SELECT job FROM unrdf.job_need WHERE needs OPERATOR(pg_catalog.=) $1 AND on_failure OPERATOR(pg_catalog.=) 4"
	" ORDER BY job",
	1,
	{INT8OID}};

/* What a job needs, as what has been revived is now; what has ended without success no longer matters. */
static UnrdfPlan find_needs = {
	"WITH RECURSIVE need (id, on_failure) AS ("
	"SELECT n.needs, n.on_failure FROM unrdf.job_need AS n WHERE n.job OPERATOR(pg_catalog.=) $1 AND n.retry_of IS NULL"
	" UNION SELECT r.id, need.on_failure FROM need, LATERAL ("
	"SELECT j.id FROM unrdf.job AS j WHERE j.retry_of OPERATOR(pg_catalog.=) need.id"
	" UNION SELECT w.id FROM unrdf.waiting_job AS w WHERE w.retry_of OPERATOR(pg_catalog.=) need.id) AS r)"
	" SELECT need.id, CASE WHEN r.outcome OPERATOR(pg_catalog.>) 1 THEN 3 ELSE need.on_failure END::pg_catalog.int2 FROM need"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) need.id"
	" WHERE NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.retry_of OPERATOR(pg_catalog.=) need.id)"
	" AND NOT EXISTS (SELECT FROM unrdf.waiting_job AS w WHERE w.retry_of OPERATOR(pg_catalog.=) need.id) ORDER BY need.id",
	1,
	{INT8OID}};

/* UnrdfJobEnded wakes those who wait for a job; its receipt has been committed. Raises nothing. */
void
UnrdfJobEnded(int64 job)
{
	int bucket = (int) ((uint64) job % UNRDF_WAIT_BUCKETS);

	if (pg_atomic_read_u32(&UnrdfShmem->waiters[bucket]) > 0)
		ConditionVariableBroadcast(&UnrdfShmem->ended[bucket]);
}

/* Fetches a job, whether it waits for others or not, under the newest snapshot; false where there is none. */
static bool
fetch_job(int64 id, UnrdfJob *job)
{
	UnrdfWaiting waiting;
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = UnrdfJobFetch(id, job);
	PopActiveSnapshot();
	if (found)
		return true;
	found = UnrdfWaitingFetch(id, &waiting);
	if (found)
		*job = waiting.job;
	return found;
}

/* Fetches a job that the current role may control. Raises 42704 or 42501. */
static void
fetch_own_job(int64 id, UnrdfJob *job)
{
	UnrdfRequirePreload();
	if (!fetch_job(id, job))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("job " INT64_FORMAT " does not exist", id)));
	if (!UnrdfControls(job->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of job " INT64_FORMAT, id)));
}

static int
outcome_of(int64 id)
{
	Datum value = Int64GetDatum(id);
	bool isnull;
	int outcome = 0;

	SPI_connect();
	if (UnrdfExecuteLatest(&find_outcome, &value, NULL) == 1)
		outcome = DatumGetInt16(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return outcome;
}

static bool
is_released(int64 id)
{
	UnrdfJob job;
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = UnrdfJobFetchRow(id, &job);
	PopActiveSnapshot();
	return found;
}

/* Ends a job that waits for others, or waited; false where it has ended. What it may wait for is locked. */
static bool
cancel_waiting(const UnrdfJob *job, const UnrdfEnding *ending)
{
	if (is_released(job->id))
		return UnrdfEndingTry(job, ending);
	UnrdfEndWaiting(job, ending);
	return true;
}

/* UnrdfCancelJob ends a job in the current transaction; false where it has ended. Raises 42704, 42501. */
bool
UnrdfCancelJob(int64 id)
{
	UnrdfEnding ending = {UNRDF_CANCELLED, GetUserNameFromId(GetUserId(), false), NULL};
	UnrdfWaiting waiting;
	UnrdfJob job;

	PreventCommandIfReadOnly("unrdf.cancel()");
	fetch_own_job(id, &job);
	(void) UnrdfCurrentEpoch();
	if (!(UnrdfWaitingLock(id, &waiting) ? cancel_waiting(&job, &ending)
										 : UnrdfEndingTry(&job, &ending)))
		return false;
	UnrdfEndingTell(&job);
	return true;
}

/*
 * Takes the release locks of those jobs that wait, or waited, in the order of the locks. Returns for each whether it is one, or
 * NULL where there is none.
 */
static bool *
lock_waiting(const int64 *ids, int n)
{
	bool wanted[UNRDF_LOCK_BUCKETS] = {false};
	bool *waits;

	if (!UnrdfWaitingAny())
		return NULL;
	waits = MemoryContextAllocHuge(CurrentMemoryContext, Max(1, n) * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		UnrdfWaiting waiting;

		CHECK_FOR_INTERRUPTS();
		waits[i] = UnrdfWaitingFetch(ids[i], &waiting);
		if (waits[i])
			wanted[UnrdfReleaseBucket(ids[i], waiting.workflow)] = true;
	}
	for (int b = 0; b < UNRDF_LOCK_BUCKETS; b++)
		if (wanted[b])
			UnrdfLock(UNRDF_LOCK_RELEASE, b);
	return waits;
}

/* Ends a batch of jobs; those that have ended are left out, and get 0 for an id. */
static void
cancel_batch(int64 *ids, const bool *waits, int n, const UnrdfEnding *ending)
{
	UnrdfJob *jobs = palloc(n * sizeof(UnrdfJob));
	int *places = palloc(n * sizeof(int));
	int open = 0;
	bool all;

	for (int i = 0; i < n; i++)
	{
		UnrdfJob *job = &jobs[open];

		fetch_own_job(ids[i], job);
		if (UnrdfReceiptExists(ids[i]))
			ids[i] = 0;
		else if (!(waits && waits[i]))
			places[open++] = i;
		else if (cancel_waiting(job, ending))
			UnrdfEndingTell(job);
		else
			ids[i] = 0;
	}
	all = open > 0 && UnrdfEndingTryAll(jobs, open, ending);
	for (int k = 0; k < open; k++)
		if (all || UnrdfEndingTry(&jobs[k], ending))
			UnrdfEndingTell(&jobs[k]);
		else
			ids[places[k]] = 0;
}

/*
 * UnrdfCancelJobs ends many jobs in the current transaction, with a savepoint for each batch and not for each job. Those that
 * had ended get 0 for an id. Raises 42704, 42501.
 */
void
UnrdfCancelJobs(int64 *ids, int n)
{
	UnrdfEnding ending = {UNRDF_CANCELLED, GetUserNameFromId(GetUserId(), false), NULL};
	bool *waits;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf cancelling", ALLOCSET_DEFAULT_SIZES);

	PreventCommandIfReadOnly("unrdf.cancel_each()");
	UnrdfRequirePreload();
	(void) UnrdfCurrentEpoch();
	waits = lock_waiting(ids, n);
	for (int i = 0; i < n; i += UNRDF_ENDING_MOST)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		cancel_batch(ids + i, waits ? waits + i : NULL, Min(UNRDF_ENDING_MOST, n - i), &ending);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* Raises 55000 where a job's arguments were erased, or its queue has kept them for long enough. */
static void
check_args(const UnrdfJob *job)
{
	if (UnrdfJobIsErased(job->id))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the arguments of job " INT64_FORMAT " were erased", job->id)));
	if (job->args == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the arguments of job " INT64_FORMAT " are gone", job->id),
			 errdetail("Its queue keeps them for a time after a job's end, which has passed.")));
}

/* UnrdfJobIsErased tells whether a job has ended and its arguments were erased. */
bool
UnrdfJobIsErased(int64 id)
{
	UnrdfReceipt r;
	bool erased;

	PushActiveSnapshot(GetLatestSnapshot());
	erased = UnrdfReceiptFetch(id, &r) && r.erased;
	PopActiveSnapshot();
	return erased;
}

/* UnrdfJobLostArgs tells whether a job's arguments are no more: erased, or kept for long enough. */
bool
UnrdfJobLostArgs(int64 id)
{
	UnrdfJob job;

	return fetch_job(id, &job) && (job.args == NULL || UnrdfJobIsErased(id));
}

/* Jobs that are held because this one did not succeed now need the one that it was revived as, too. */
static void
let_go_on(int64 id, int64 revived)
{
	Datum value = Int64GetDatum(id);
	UnrdfNeed need = {revived, UNRDF_HOLD, id};
	uint64 n;
	int64 *held;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(&find_held, &value, NULL);
	held = SPI_palloc(Max(1, n) * sizeof(int64));
	for (uint64 i = 0; i < n; i++)
		held[i] = DatumGetInt64(UnrdfResult(i, 0, &isnull));
	SPI_finish();
	for (uint64 i = 0; i < n; i++)
		UnrdfWaitingAddNeed(held[i], &need);
	pfree(held);
}

static int
needs_of(int64 id, UnrdfNeed **needs)
{
	Datum value = Int64GetDatum(id);
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(&find_needs, &value, NULL);
	*needs = SPI_palloc(Max(1, n) * sizeof(UnrdfNeed));
	for (uint64 i = 0; i < n; i++)
	{
		(*needs)[i].id = DatumGetInt64(UnrdfResult(i, 0, &isnull));
		(*needs)[i].on_failure = DatumGetInt16(UnrdfResult(i, 1, &isnull));
		(*needs)[i].retry_of = 0;
	}
	SPI_finish();
	return (int) n;
}

/* A job that came through unrdf.waiting_job does so again, in its workflow. Raises 55000 where that has ended. */
static int64
revive_waiting(UnrdfWaiting *waiting, const UnrdfJob *job)
{
	UnrdfWorkflow workflow;
	UnrdfWaitingWriter *w;
	UnrdfNeed *needs;
	int nneeds = needs_of(waiting->job.id, &needs);
	int64 id;

	if (waiting->workflow != 0 && waiting->compensates == 0 &&
		UnrdfWorkflowFind(waiting->workflow, &workflow))
		UnrdfWorkflowCheckOpen(&workflow);
	waiting->job = *job;
	waiting->job.enqueued_at = UnrdfNow();
	UnrdfAcceptAgain(&waiting->job);
	w = UnrdfWaitingWriterBegin(1);
	UnrdfQueueTakesJobs(job->queue);
	(void) UnrdfRoomTake(job->queue, 1, UNRDF_ROOM_NEEDED);
	id = UnrdfWaitingWrite(w, waiting, nneeds, needs);
	UnrdfWaitingWriterEnd(w);
	return id;
}

/* UnrdfReviveJob enqueues a dead or cancelled job anew; raises 55000 for any other, 23505 for one revived before. */
int64
UnrdfReviveJob(int64 id)
{
	UnrdfEnqueue request = {0};
	UnrdfWaiting waiting;
	int outcome;
	int64 revived;

	PreventCommandIfReadOnly("unrdf.revive()");
	fetch_own_job(id, &request.job);
	outcome = outcome_of(id);
	if (outcome != UNRDF_DEAD && outcome != UNRDF_CANCELLED)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("job " INT64_FORMAT " is neither dead nor cancelled", id)));
	check_args(&request.job);
	request.job.retry_of = id;
	request.job.run_at = 0;
	if (UnrdfWaitingFetch(id, &waiting))
		revived = revive_waiting(&waiting, &request.job);
	else
		revived = UnrdfEnqueueOne(&request);
	CommandCounterIncrement();
	let_go_on(id, revived);
	return revived;
}

/* Raises 42704, 42501, and 55000 for a job of this transaction. */
static void
check_can_wait(int64 id)
{
	UnrdfJob job;

	fetch_own_job(id, &job);
	if (job.xid == U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot wait for a job that this transaction enqueued"),
						errhint("Nothing runs it before the transaction commits.")));
}

static void
sleep_until_ended(int64 id, int64 until, int *outcome)
{
	int bucket = (int) ((uint64) id % UNRDF_WAIT_BUCKETS);
	ConditionVariable *cv = &UnrdfShmem->ended[bucket];

	ConditionVariablePrepareToSleep(cv);
	while ((*outcome = outcome_of(id)) == 0 && UnrdfTicks() < until)
	{
		/* there, nobody would wake us */
		PreventCommandDuringRecovery("unrdf.wait()");
		if (until == PG_INT64_MAX)
			ConditionVariableSleep(cv, unrdf_wait_event("UnrdfWait"));
		else
			(void) ConditionVariableTimedSleep(cv,
											   Max(1, UnrdfMillisUntilTick(until, PG_INT32_MAX)),
											   unrdf_wait_event("UnrdfWait"));
	}
	ConditionVariableCancelSleep();
}

/*
 * UnrdfWaitJob sleeps until a job has ended and returns its outcome, or NULL after timeout_ms (-1: none). Raises 42704 for
 * an unknown job, 42501 for somebody else's, 55000 for one of this transaction, 25006 where it would have to sleep on a standby.
 */
const char *
UnrdfWaitJob(int64 id, int64 timeout_ms)
{
	int bucket = (int) ((uint64) id % UNRDF_WAIT_BUCKETS);
	int outcome = 0;
	int64 now = UnrdfTicks();
	int64 until = PG_INT64_MAX;

	UnrdfRequirePreload();
	if (timeout_ms >= 0 && timeout_ms < (PG_INT64_MAX - now) / 1000)
		until = now + timeout_ms * 1000;
	check_can_wait(id);
	pg_atomic_fetch_add_u32(&UnrdfShmem->waiters[bucket], 1);
	PG_TRY();
	{
		sleep_until_ended(id, until, &outcome);
	}
	PG_FINALLY();
	{
		pg_atomic_fetch_sub_u32(&UnrdfShmem->waiters[bucket], 1);
	}
	PG_END_TRY();
	return outcome == 0 ? NULL : UnrdfOutcomeNames[outcome];
}
