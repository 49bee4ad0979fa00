/*
 * bulk.c: reviving, erasing and moving many jobs.
 *
 * Jobs are immutable, so one moves to another queue as it is revived: the old one ends with a receipt of outcome cancelled, and a
 * new one, of the same owner, handler, arguments, priority and time, with all its attempts before it, says by retry_of whose work it does. Both in one
 * transaction: at any moment exactly one of the two can run. A job that runs while it is moved is rolled back, and runs there.
 * Jobs of workflows, jobs that wait for others and those that others need are not moved: their end would be that of others.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/plan.h"
#include "base/xact.h"
#include "ledger/record.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/job.h"
#include "worker/bulk.h"
#include "worker/worker.h"

#define REVIVE_BATCH 256

static UnrdfPlan open_jobs = {
	"SELECT j.id FROM unrdf.job AS j WHERE j.queue OPERATOR(pg_catalog.=) $1"
	" AND (j.priority, j.xid, j.id) OPERATOR(pg_catalog.>) ($2, $3, $4)"
	" AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id OPERATOR(pg_catalog.=) j.id)"
	" AND ($6 OR NOT EXISTS (SELECT FROM unrdf.waiting_job AS w WHERE w.id OPERATOR(pg_catalog.=) j.id)"
	" AND NOT EXISTS (SELECT FROM unrdf.job_need AS n WHERE n.needs OPERATOR(pg_catalog.=) j.id))"
	" ORDER BY j.priority, j.xid, j.id LIMIT $5",
	6,
	{INT4OID, INT2OID, XID8OID, INT8OID, INT4OID, BOOLOID}};
static UnrdfPlan waiting_jobs = {
	"SELECT w.id FROM unrdf.waiting_job AS w WHERE w.queue OPERATOR(pg_catalog.=) $1 AND w.id OPERATOR(pg_catalog.>) $2"
	" AND NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.id OPERATOR(pg_catalog.=) w.id)"
	" ORDER BY w.id LIMIT $3",
	3,
	{INT4OID, INT8OID, INT4OID}};
/* it was revived before, or its workflow has ended */
static UnrdfPlan is_final = {
	"SELECT FROM unrdf.job WHERE retry_of OPERATOR(pg_catalog.=) $1"
	" UNION ALL SELECT FROM unrdf.waiting_job WHERE retry_of OPERATOR(pg_catalog.=) $1"
	" UNION ALL SELECT FROM unrdf.waiting_job AS w JOIN unrdf.workflow_end AS e ON e.workflow OPERATOR(pg_catalog.=) w.workflow"
	" WHERE w.id OPERATOR(pg_catalog.=) $1 AND w.compensates IS NULL",
	1,
	{INT8OID}};

static UnrdfPlan next_try = {
	"SELECT a.retry_at FROM unrdf.attempt AS a WHERE a.job OPERATOR(pg_catalog.=) $1 AND a.retry_at IS NOT NULL"
	" ORDER BY a.n DESC LIMIT 1",
	1,
	{INT8OID}};

typedef struct Revival
{
	int64 *ids;
	int n;
} Revival;

static bool
can_be_revived(int64 id)
{
	Datum value = Int64GetDatum(id);
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(&is_final, &value, NULL) > 0;
	SPI_finish();
	return !found && !UnrdfJobLostArgs(id);
}

/* Replaces ids by those of the new jobs, 0 where there is none. */
static void
revive(void *arg)
{
	Revival *r = arg;
	int64 *made = palloc(r->n * sizeof(int64));

	for (int i = 0; i < r->n; i++)
		made[i] = can_be_revived(r->ids[i]) ? UnrdfReviveJob(r->ids[i]) : 0;
	memcpy(r->ids, made, r->n * sizeof(int64));
}

static void
revive_batch(int64 *ids, int n)
{
	Revival all = {ids, n};

	if (UnrdfTryUnique(revive, &all))
		return;
	/* somebody revives one of them as well: without that */
	for (int i = 0; i < n; i++)
	{
		Revival one = {&ids[i], 1};

		if (!UnrdfTryUnique(revive, &one))
			ids[i] = 0;
	}
}

/*
 * UnrdfReviveJobs revives many jobs in the current transaction and puts the new ones' ids in their place, without gaps; returns
 * how many. Those that were revived before, or erased, or are of a workflow that has ended, are left out. Raises 42704, 42501, and
 * 55000 for one that is neither dead nor cancelled.
 */
int
UnrdfReviveJobs(int64 *ids, int n)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf reviving", ALLOCSET_DEFAULT_SIZES);
	int made = 0;

	PreventCommandIfReadOnly("unrdf.revive_each()");
	for (int i = 0; i < n; i += REVIVE_BATCH)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		revive_batch(ids + i, Min(REVIVE_BATCH, n - i));
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	for (int i = 0; i < n; i++)
		if (ids[i] != 0)
			ids[made++] = ids[i];
	return made;
}

/*
 * UnrdfEraseJobs erases what jobs that have ended carried, in the current transaction. Those that were erased before get 0 for an
 * id. Raises what UnrdfErase raises.
 */
void
UnrdfEraseJobs(int64 *ids, int n, const char *reason)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf erasing", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		if (UnrdfJobIsErased(ids[i]))
			ids[i] = 0;
		else
			(void) UnrdfErase(ids[i], reason);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

static int
list(UnrdfPlan *plan, Datum *values, int64 *ids)
{
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(plan, values, NULL);
	for (uint64 i = 0; i < n; i++)
		ids[i] = DatumGetInt64(UnrdfResult(i, 0, &isnull));
	SPI_finish();
	return (int) n;
}

/* Lists open jobs of a queue in the order of its index, behind one of them; all, or those that can be moved. */
static int
list_open(int32 queue, int64 after, int most, bool all, int64 *ids)
{
	UnrdfJob job = {.priority = -1};
	Datum values[6];

	PushActiveSnapshot(GetLatestSnapshot());
	if (after != 0)
		(void) UnrdfJobFetchRow(after, &job);
	PopActiveSnapshot();
	values[0] = Int32GetDatum(queue);
	values[1] = Int16GetDatum(job.priority);
	values[2] = UInt64GetDatum(job.xid);
	values[3] = Int64GetDatum(after);
	values[4] = Int32GetDatum(most);
	values[5] = BoolGetDatum(all);
	return list(&open_jobs, values, ids);
}

/* Lists jobs of a queue that wait for others, in the order of their ids, behind one of them. */
static int
list_waiting(int32 queue, int64 after, int most, int64 *ids)
{
	Datum values[3] = {Int32GetDatum(queue), Int64GetDatum(after), Int32GetDatum(most)};

	return list(&waiting_jobs, values, ids);
}

/* When a job was to be tried again; 0: it has not failed. */
static TimestampTz
retry_time(int64 id)
{
	Datum value = Int64GetDatum(id);
	TimestampTz at = 0;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&next_try, &value, NULL) == 1)
		at = DatumGetTimestampTz(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return at;
}

/* Enqueues the work of a job, which this transaction has ended, in another queue. */
static void
move(int64 id, int32 to)
{
	UnrdfEnqueue request = {.room = UNRDF_ROOM_FREE};

	PushActiveSnapshot(GetLatestSnapshot());
	if (!UnrdfJobFetch(id, &request.job))
		elog(ERROR, "job " INT64_FORMAT " vanished", id);
	PopActiveSnapshot();
	request.job.retry_of = id;
	request.job.queue = to;
	request.job.run_at = Max(request.job.run_at, retry_time(id));
	/* where another job has the key there, two jobs that were two stay two */
	if (request.job.key && UnrdfKeyIsHeld(&request.job))
		request.job.key = NULL;
	(void) UnrdfEnqueueOne(&request);
}

/* Ends jobs, and enqueues their work in another queue. */
static void
move_all(int64 *ids, int n, int32 to)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf moving", ALLOCSET_DEFAULT_SIZES);

	UnrdfCancelJobs(ids, n);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		if (ids[i] != 0)
			move(ids[i], to);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/*
 * UnrdfQueueEmpty ends the next open jobs of a queue that takes none, at most `most`, in the current transaction. Or it moves
 * those that can be moved to queue `to`, unless that is NULL. after is 0 or what the last call returned; 0 says that there is
 * none any more. Those that wait for others come first, as they become open jobs; then it is below 0. Raises 55006 for a
 * queue that something will still enqueue in.
 */
int64
UnrdfQueueEmpty(text *queue, int64 after, int most, text *to)
{
	int32 from = UnrdfQueueId(queue);
	int64 *ids = palloc(most * sizeof(int64));
	bool waiting = to == NULL && after <= 0;
	int n = 0;
	int64 last;

	PreventCommandIfReadOnly("unrdf.empty_queue()");
	UnrdfQueueCheckUnused(queue, from);
	if (waiting)
		n = list_waiting(from, -after, most, ids);
	waiting = n > 0;
	if (!waiting)
		n = list_open(from, Max(after, 0), most, to == NULL, ids);
	if (n == 0)
		return 0;
	last = ids[n - 1];
	if (to)
		move_all(ids, n, UnrdfQueueId(to));
	else
		UnrdfCancelJobs(ids, n);
	return waiting ? -last : last;
}
