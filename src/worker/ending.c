/*
 * ending.c: receipts of jobs that end without a run here.
 *
 * The receipt's unique id decides between whoever ends a job and the executor that runs it: who inserts first and commits wins,
 * the other waits and then finds out. An executor that lost rolls its effects back. The interrupt after the commit only
 * spares the handler useless work. A job that waits for others has no row in unrdf.job yet: it gets that together with its
 * receipt, so that every receipt has its job, and under its release lock (queue/waiting.c), so that nobody releases it meanwhile.
 *
 * The receipt says how many attempts there were, and who counts (queue/depth.c) whether one has failed. Who records an attempt writes it
 * first and then looks for a receipt, committed or not (failure.c); here it is the other way round, so one of the two sees the other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/record.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/worker.h"

static UnrdfPlan count_attempts = {
	"SELECT pg_catalog.count(*)::int, coalesce(pg_catalog.max(failures), 0) FROM unrdf.attempt"
	" WHERE job OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

static void
tell(uint64 job)
{
	UnrdfSlotInterrupt(MyDatabaseId, (int64) job);
	UnrdfJobEnded((int64) job);
}

static void
tell_outside(uint64 job)
{
	UnrdfLeaseCancel(MyDatabaseId, (int64) job);
	UnrdfJobEnded((int64) job);
}

/* UnrdfEndingTell lets everybody know, once the current transaction commits, that it has ended a job. */
void
UnrdfEndingTell(const UnrdfJob *job)
{
	UnrdfAtCommit(UnrdfJobIsOutside(job) ? tell_outside : tell, (uint64) job->id);
	UnrdfWakeIntegrator();
}

/* How many attempts a job has had, and whether one of them has failed. */
static int32
attempts_of(int64 id, bool *failed)
{
	Datum value = Int64GetDatum(id);
	bool isnull;
	int32 n;

	SPI_connect();
	UnrdfExecuteLatest(&count_attempts, &value, NULL);
	n = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	*failed = DatumGetInt32(UnrdfResult(0, 1, &isnull)) > 0;
	SPI_finish();
	return n;
}

/* UnrdfEndingWrite adds a job's receipt. The ending's result must live until the writer ends. */
void
UnrdfEndingWrite(UnrdfReceiptWriter *writer, const UnrdfJob *job, int32 attempt,
				 const UnrdfEnding *ending)
{
	const UnrdfHandler *handler = UnrdfHandlerOf(job);
	const char *actor = ending->actor ? ending->actor : GetUserNameFromId(job->owner, true);
	UnrdfReceipt r = {0};
	StringInfoData scratch;

	initStringInfo(&scratch);
	r.id = job->id;
	r.kind = UNRDF_EXECUTE;
	r.outcome = ending->outcome;
	if (handler && UnrdfHandlerRepeats(handler))
		r.delivery = UNRDF_AT_LEAST_ONCE;
	r.epoch = UnrdfCurrentEpoch();
	r.attempt = attempt;
	r.finished_at = UnrdfNow();
	r.started_at = ending->started_at ? ending->started_at : r.finished_at;
	r.operation = handler ? pstrdup(handler->name) : "";
	r.operation_len = strlen(r.operation);
	r.actor = actor ? actor : psprintf("%u", job->owner);
	r.actor_len = strlen(r.actor);
	r.result = ending->result;
	/* why a job was ended stays */
	if (ending->outcome == UNRDF_OK)
		r.result_until = UnrdfKeepUntil(job->retention, UNRDF_KEEP_RESULTS, r.finished_at);
	UnrdfReceiptSeal(&r, job->args, &scratch);
	UnrdfReceiptWrite(writer, &r);
	pfree(scratch.data);
}

/* Jobs being ended in one savepoint. */
typedef struct Batch
{
	const UnrdfJob *jobs;
	int n;
	const UnrdfEnding *ending;
	int32 *attempts;
	bool *failed;        /* whether one of these has */
	TransactionId rival; /* records an attempt of one of them */
} Batch;

static void
write_receipts(Batch *b)
{
	UnrdfReceiptWriter *writer = UnrdfReceiptWriterBegin(Min(b->n, UNRDF_ENDING_MOST));

	for (int i = 0; i < b->n; i++)
	{
		b->attempts[i] = attempts_of(b->jobs[i].id, &b->failed[i]);
		UnrdfEndingWrite(writer, &b->jobs[i], b->attempts[i], b->ending);
	}
	UnrdfReceiptWriterEnd(writer);
	CommandCounterIncrement();
}

/* Raises 23505, as the index of receipts does, where an attempt was recorded since their number was written. */
static void
check_attempts(Batch *b)
{
	for (int i = 0; i < b->n; i++)
	{
		bool found;
		bool failed;

		b->rival = UnrdfAnyRow(UNRDF_ATTEMPT, UNRDF_ATTEMPT_PKEY, b->jobs[i].id, &found);
		if (TransactionIdIsValid(b->rival) ||
			(found && attempts_of(b->jobs[i].id, &failed) != b->attempts[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("job " INT64_FORMAT " has had an attempt meanwhile", b->jobs[i].id)));
	}
}

static void
end_batch(void *arg)
{
	Batch *b = arg;

	write_receipts(b);
	check_attempts(b);
	for (int i = 0; i < b->n; i++)
		UnrdfDepthEnded(b->jobs[i].queue, b->ending->outcome, b->failed[i]);
}

/*
 * UnrdfEndingTryAll ends jobs that may be running, at most UNRDF_ENDING_MOST, under one savepoint; false where one of them has ended
 * by now, or an attempt of it is being recorded, and nothing was done.
 */
bool
UnrdfEndingTryAll(const UnrdfJob *jobs, int n, const UnrdfEnding *ending)
{
	Batch b = {
		jobs, n, ending, palloc(n * sizeof(int32)), palloc(n * sizeof(bool)), InvalidTransactionId};
	bool ok = UnrdfTryUnique(end_batch, &b);

	pfree(b.attempts);
	pfree(b.failed);
	if (!ok && n == 1 && TransactionIdIsValid(b.rival))
		XactLockTableWait(b.rival, NULL, NULL, XLTW_None);
	return ok;
}

/* UnrdfEndingTry ends a job that may be running; false where another transaction ended it first. */
bool
UnrdfEndingTry(const UnrdfJob *job, const UnrdfEnding *ending)
{
	do
	{
		if (UnrdfReceiptExists(job->id))
			return false;
	} while (!UnrdfEndingTryAll(job, 1, ending));
	return true;
}

/* UnrdfEndWaiting ends a job that waits, under its release lock. */
void
UnrdfEndWaiting(const UnrdfJob *job, const UnrdfEnding *ending)
{
	UnrdfJobWriter *jobs = UnrdfJobWriterBegin(1);
	UnrdfReceiptWriter *receipts = UnrdfReceiptWriterBegin(1);

	UnrdfJobWriteEnded(jobs, job);
	UnrdfJobWriterEnd(jobs);
	UnrdfEndingWrite(receipts, job, 0, ending);
	UnrdfReceiptWriterEnd(receipts);
	CommandCounterIncrement();
	UnrdfDepthEndedWaiting(job->queue, ending->outcome);
}
