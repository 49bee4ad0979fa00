/*
 * control.c: cancel, revive and wait: what needs both a job and its receipt.
 *
 * Cancel writes the job's receipt in the caller's transaction, so the unique id decides between it and the executor: who
 * inserts first and commits wins, the other waits and then finds out. An executor that lost rolls its effects back. The
 * interrupt after the commit only spares the handler useless work.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/acl.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "queue/job.h"
#include "worker/executor.h"
#include "worker/slot.h"
#include "worker/worker.h"

static UnrdfPlan find_outcome = {
	"SELECT outcome FROM unrdf.receipt WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
static UnrdfPlan count_attempts = {
	"SELECT pg_catalog.count(*) FROM unrdf.attempt WHERE job OPERATOR(pg_catalog.=) $1",
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

static void
cancelled(uint64 job)
{
	UnrdfSlotInterrupt(MyDatabaseId, (int64) job);
	UnrdfJobEnded((int64) job);
}

/* Fetches a job that the current role may control. Raises 42704 or 42501. */
static void
fetch_own_job(int64 id, UnrdfJob *job)
{
	bool found;

	UnrdfRequirePreload();
	PushActiveSnapshot(GetLatestSnapshot());
	found = UnrdfJobFetch(id, job);
	PopActiveSnapshot();
	if (!found)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("job " INT64_FORMAT " does not exist", id)));
	if (!has_privs_of_role(GetUserId(), job->owner))
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

static int32
attempts_of(int64 id)
{
	Datum value = Int64GetDatum(id);
	bool isnull;
	int32 n;

	SPI_connect();
	UnrdfExecuteLatest(&count_attempts, &value, NULL);
	n = (int32) DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return n;
}

static void
write_cancel_receipt(UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	UnrdfReceipt r = {0};
	UnrdfReceiptWriter *writer;
	StringInfoData scratch;

	initStringInfo(&scratch);
	r.id = job->id;
	r.kind = UNRDF_EXECUTE;
	r.outcome = UNRDF_CANCELLED;
	r.epoch = UnrdfCurrentEpoch();
	r.attempt = attempts_of(job->id);
	r.started_at = r.finished_at = UnrdfNow();
	r.operation = handler ? pstrdup(handler->name) : "";
	r.operation_len = strlen(r.operation);
	r.actor = GetUserNameFromId(GetUserId(), false);
	r.actor_len = strlen(r.actor);
	UnrdfReceiptSeal(&r, job->args, &scratch);
	writer = UnrdfReceiptWriterBegin(1);
	UnrdfReceiptWrite(writer, &r);
	UnrdfReceiptWriterEnd(writer);
	CommandCounterIncrement();
}

/* Writes the receipt under a savepoint; false where another transaction ended the job first. */
static bool
try_cancel(UnrdfJob *job)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		write_cancel_receipt(job);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		/* also for another error: who catches that knows of no savepoint of ours */
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

/* UnrdfCancelJob ends a job in the current transaction; false where it has ended. Raises 42704, 42501. */
bool
UnrdfCancelJob(int64 id)
{
	UnrdfJob job;

	PreventCommandIfReadOnly("unrdf.cancel()");
	fetch_own_job(id, &job);
	if (outcome_of(id) != 0 || !try_cancel(&job))
		return false;
	UnrdfAtCommit(cancelled, (uint64) id);
	UnrdfWakeIntegrator();
	return true;
}

/* Raises 55000 where a job's arguments were erased. */
static void
check_not_erased(int64 id)
{
	UnrdfReceipt r;
	bool erased;

	PushActiveSnapshot(GetLatestSnapshot());
	erased = UnrdfReceiptFetch(id, &r) && r.erased;
	PopActiveSnapshot();
	if (erased)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the arguments of job " INT64_FORMAT " were erased", id)));
}

/* UnrdfReviveJob enqueues a dead or cancelled job anew; raises 55000 for any other, 23505 for one revived before. */
int64
UnrdfReviveJob(int64 id)
{
	UnrdfEnqueue request = {0};
	int outcome;
	int64 revived;

	PreventCommandIfReadOnly("unrdf.revive()");
	fetch_own_job(id, &request.job);
	outcome = outcome_of(id);
	if (outcome != UNRDF_DEAD && outcome != UNRDF_CANCELLED)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("job " INT64_FORMAT " is neither dead nor cancelled", id)));
	check_not_erased(id);
	request.job.retry_of = id;
	request.job.run_at = 0;
	revived = UnrdfEnqueueOne(&request);
	CommandCounterIncrement();
	return revived;
}

static bool
job_exists(int64 id)
{
	UnrdfJob job;
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = UnrdfJobFetch(id, &job);
	PopActiveSnapshot();
	if (found && job.xid == U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot wait for a job that this transaction enqueued"),
						errhint("Nothing runs it before the transaction commits.")));
	return found;
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
 * an unknown job, 55000 for one of this transaction, 25006 where it would have to sleep on a standby.
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
	if (!job_exists(id))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("job " INT64_FORMAT " does not exist", id)));
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
