/*
 * ending.c: receipts of jobs that end without a run here.
 *
 * The receipt's unique id decides between whoever ends a job and the executor that runs it: who inserts first and commits wins,
 * the other waits and then finds out. An executor that lost rolls its effects back. The interrupt after the commit only
 * spares the handler useless work. A job that waits for others has no row in unrdf.job yet: it gets that together with its
 * receipt, so that every receipt has its job, and under its release lock (queue/waiting.c), so that nobody releases it meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/plan.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "worker/ending.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/worker.h"

static UnrdfPlan count_attempts = {
	"SELECT pg_catalog.count(*) FROM unrdf.attempt WHERE job OPERATOR(pg_catalog.=) $1",
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

/* UnrdfEndingWrite adds a job's receipt. The ending's result must live until the writer ends. */
void
UnrdfEndingWrite(UnrdfReceiptWriter *writer, const UnrdfJob *job, int32 attempt,
				 const UnrdfEnding *ending)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	const char *actor = ending->actor ? ending->actor : GetUserNameFromId(job->owner, true);
	UnrdfReceipt r = {0};
	StringInfoData scratch;

	initStringInfo(&scratch);
	r.id = job->id;
	r.kind = UNRDF_EXECUTE;
	r.outcome = ending->outcome;
	r.epoch = UnrdfCurrentEpoch();
	r.attempt = attempt;
	r.finished_at = UnrdfNow();
	r.started_at = ending->started_at ? ending->started_at : r.finished_at;
	r.operation = handler ? handler->name : "";
	r.operation_len = strlen(r.operation);
	r.actor = actor ? actor : psprintf("%u", job->owner);
	r.actor_len = strlen(r.actor);
	r.result = ending->result;
	UnrdfReceiptSeal(&r, job->args, &scratch);
	UnrdfReceiptWrite(writer, &r);
	pfree(scratch.data);
}

static void
write_one(const UnrdfJob *job, int32 attempt, const UnrdfEnding *ending)
{
	UnrdfReceiptWriter *writer = UnrdfReceiptWriterBegin(1);

	UnrdfEndingWrite(writer, job, attempt, ending);
	UnrdfReceiptWriterEnd(writer);
	CommandCounterIncrement();
}

typedef struct Try
{
	const UnrdfJob *job;
	const UnrdfEnding *ending;
} Try;

static void
write_tried(void *arg)
{
	const Try *try = arg;

	write_one(try->job, attempts_of(try->job->id), try->ending);
}

/* UnrdfEndingTry ends a job that may be running, under a savepoint; false where another transaction ended it first. */
bool
UnrdfEndingTry(const UnrdfJob *job, const UnrdfEnding *ending)
{
	Try try = {job, ending};

	return UnrdfTryUnique(write_tried, &try);
}

/* UnrdfEndWaiting ends a job that waits, under its release lock. */
void
UnrdfEndWaiting(const UnrdfJob *job, const UnrdfEnding *ending)
{
	UnrdfJobWriter *writer = UnrdfJobWriterBegin(1);

	UnrdfJobWriteEnded(writer, job);
	UnrdfJobWriterEnd(writer);
	write_one(job, 0, ending);
}
