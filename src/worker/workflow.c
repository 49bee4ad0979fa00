/*
 * workflow.c: the end of a workflow: cancelled, or failed as a saga.
 *
 * It is one transaction: the workflow's row in unrdf.workflow_end, a receipt for each of its jobs that has not ended, and, of
 * a saga, its compensations as jobs. So it happens wholly or not at all, wherever a process dies, and once: the row is unique.
 * Under the workflow's release lock nothing that waits is released meanwhile. A job that runs either has its receipt
 * already, and has succeeded, or gets ours, and its effects roll back, with the jobs that it enqueued. Jobs that come into the
 * workflow later are ended by the releaser. Thus the steps that have succeeded are all known, now.
 *
 * Their compensations are a chain of waiting jobs. Each needs the one before, and is held while that is dead: the saga is
 * stuck until that one is revived. unrdf.waiting_job has one compensation per step at most. The order is that in which the
 * steps ended, backwards. Clocks may go back, at a failover for one: a step that needed another counts as later than it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/epoch.h"
#include "ledger/record.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/current.h"
#include "queue/handler.h"
#include "queue/workflow.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/worker.h"

static UnrdfPlan insert_end = {
	"INSERT INTO unrdf.workflow_end (workflow, reason, job, actor, compensated) VALUES ($1, $2, nullif($3, 0), $4, $5)",
	5,
	{INT8OID, TEXTOID, INT8OID, TEXTOID, BOOLOID}};
static UnrdfPlan find_open = {
	"SELECT w.id, j.id IS NOT NULL FROM unrdf.waiting_job AS w"
	" LEFT JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) w.id"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) w.id"
	" WHERE w.workflow OPERATOR(pg_catalog.=) $1 AND w.compensates IS NULL AND r.id IS NULL"
	" AND w.id OPERATOR(pg_catalog.<>) $2 ORDER BY w.id",
	2,
	{INT8OID, INT8OID}};
static UnrdfPlan find_ended = {
	"SELECT w.id, r.finished_at, r.outcome OPERATOR(pg_catalog.=) 1 AND w.compensate IS NOT NULL"
	" FROM unrdf.waiting_job AS w JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) w.id"
	" WHERE w.workflow OPERATOR(pg_catalog.=) $1 AND w.compensates IS NULL ORDER BY w.id",
	1,
	{INT8OID}};
static UnrdfPlan find_needs = {
	"SELECT n.job, n.needs FROM unrdf.waiting_job AS w JOIN unrdf.job_need AS n ON n.job OPERATOR(pg_catalog.=) w.id"
	" WHERE w.workflow OPERATOR(pg_catalog.=) $1 ORDER BY n.job",
	1,
	{INT8OID}};
static UnrdfPlan make_args = {
	"SELECT pg_catalog.jsonb_build_object('job', w.id, 'step', w.name, 'args', b.args, 'result', b.result)"
	" OPERATOR(pg_catalog.||) CASE WHEN b.args IS NULL OR (b.result IS NULL AND r.result_hash IS NOT NULL)"
	" THEN '{\"expired\": true}' ELSE '{}' END::pg_catalog.jsonb"
	" FROM unrdf.waiting_job AS w JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) w.id, LATERAL ("
	"SELECT coalesce(w.args, unrdf.kept(w.id, 0)) AS args, coalesce(r.result, unrdf.kept(w.id, -1)) AS result) AS b"
	" WHERE w.id OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

/* A job of a workflow that has not ended. */
typedef struct OpenJob
{
	int64 id;
	bool released;
} OpenJob;

/* One that has. */
typedef struct Step
{
	int64 id;
	int64 ended; /* microseconds; later than what it needed */
	bool compensate;
} Step;

static void
write_end(int64 workflow, const char *reason, int64 cause, const char *actor, bool compensate)
{
	Datum values[5];

	values[0] = Int64GetDatum(workflow);
	values[1] = CStringGetTextDatum(reason);
	values[2] = Int64GetDatum(cause);
	values[3] = CStringGetTextDatum(actor);
	values[4] = BoolGetDatum(compensate);
	SPI_connect();
	UnrdfExecute(&insert_end, values, NULL, false);
	SPI_finish();
}

static uint64
read_open(int64 workflow, int64 but, OpenJob **jobs)
{
	Datum values[2] = {Int64GetDatum(workflow), Int64GetDatum(but)};
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(&find_open, values, NULL);
	*jobs = SPI_palloc(Max(1, n) * sizeof(OpenJob));
	for (uint64 i = 0; i < n; i++)
	{
		(*jobs)[i].id = DatumGetInt64(UnrdfResult(i, 0, &isnull));
		(*jobs)[i].released = DatumGetBool(UnrdfResult(i, 1, &isnull));
	}
	SPI_finish();
	return n;
}

/* Ends what has not ended but one job, and returns how many these were. */
static int64
end_jobs(int64 workflow, int64 but, const UnrdfEnding *ending)
{
	OpenJob *jobs;
	uint64 n = read_open(workflow, but, &jobs);
	int64 ended = 0;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf open job", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (uint64 i = 0; i < n; i++)
	{
		UnrdfWaiting waiting;
		bool ok = true;

		CHECK_FOR_INTERRUPTS();
		if (!UnrdfWaitingFetch(jobs[i].id, &waiting))
			elog(ERROR, "waiting job " INT64_FORMAT " vanished", jobs[i].id);
		if (jobs[i].released)
			ok = UnrdfEndingTry(&waiting.job, ending);
		else
			UnrdfEndWaiting(&waiting.job, ending);
		if (ok)
			UnrdfEndingTell(&waiting.job);
		ended += ok;
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return ended;
}

static uint64
read_ended(int64 workflow, Step **steps)
{
	Datum value = Int64GetDatum(workflow);
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(&find_ended, &value, NULL);
	*steps = SPI_palloc(Max(1, n) * sizeof(Step));
	for (uint64 i = 0; i < n; i++)
	{
		(*steps)[i].id = DatumGetInt64(UnrdfResult(i, 0, &isnull));
		(*steps)[i].ended = DatumGetTimestampTz(UnrdfResult(i, 1, &isnull));
		(*steps)[i].compensate = DatumGetBool(UnrdfResult(i, 2, &isnull));
	}
	SPI_finish();
	return n;
}

static int
compare_ids(const void *a, const void *b)
{
	int64 x = ((const Step *) a)->id;
	int64 y = ((const Step *) b)->id;

	return x < y ? -1 : x > y;
}

static int
compare_ends(const void *a, const void *b)
{
	const Step *x = a;
	const Step *y = b;

	if (x->ended != y->ended)
		return x->ended < y->ended ? 1 : -1;
	return -compare_ids(a, b);
}

/*
 * Puts steps in the order of compensation, the last that ended first. Needs are read by ascending job, and what a job needs
 * has a smaller id, or needs nothing itself: each is final before it is used.
 */
static void
order_steps(int64 workflow, Step *steps, uint64 n)
{
	Datum value = Int64GetDatum(workflow);
	uint64 nneeds;
	bool isnull;

	SPI_connect();
	nneeds = UnrdfExecuteLatest(&find_needs, &value, NULL);
	for (uint64 i = 0; i < nneeds; i++)
	{
		Step key = {DatumGetInt64(UnrdfResult(i, 0, &isnull))};
		Step *job = bsearch(&key, steps, n, sizeof(Step), compare_ids);
		Step *need;

		key.id = DatumGetInt64(UnrdfResult(i, 1, &isnull));
		need = bsearch(&key, steps, n, sizeof(Step), compare_ids);
		if (job && need)
			job->ended = Max(job->ended, need->ended + 1);
	}
	SPI_finish();
	qsort(steps, n, sizeof(Step), compare_ends);
}

static Jsonb *
args_of_compensation(int64 step)
{
	Datum value = Int64GetDatum(step);
	MemoryContext context = CurrentMemoryContext;
	Jsonb *args;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&make_args, &value, NULL) != 1)
		elog(ERROR, "step " INT64_FORMAT " vanished", step);
	value = UnrdfResult(0, 0, &isnull);
	MemoryContextSwitchTo(context);
	args = DatumGetJsonbPCopy(value);
	SPI_finish();
	return args;
}

/* Where a step is compensated: its queue may have been dropped since. */
static int32
queue_of_compensation(int32 queue)
{
	return UnrdfQueueHold(queue) ? queue : UNRDF_DEFAULT_QUEUE;
}

static int32
newest_version(int32 handler)
{
	const UnrdfHandler *h = UnrdfHandlerById(handler);

	return h ? h->newest : 1;
}

/* Enqueues the compensations of what has succeeded, each waiting for the one before. */
static void
enqueue_compensations(int64 workflow)
{
	Step *steps;
	uint64 n = read_ended(workflow, &steps);
	UnrdfWaitingWriter *w = UnrdfWaitingWriterBegin(1);
	UnrdfNeed need = {0, UNRDF_HOLD, 0};

	order_steps(workflow, steps, n);
	for (uint64 i = 0; i < n; i++)
	{
		UnrdfWaiting step;
		UnrdfWaiting c = {0};

		if (!steps[i].compensate)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!UnrdfWaitingFetch(steps[i].id, &step))
			elog(ERROR, "step " INT64_FORMAT " vanished", steps[i].id);
		c.job.enqueued_at = UnrdfNow();
		c.job.queue = queue_of_compensation(step.job.queue);
		c.job.priority = step.job.priority;
		c.job.handler = step.compensate;
		c.job.handler_version = newest_version(step.compensate);
		c.job.owner = step.job.owner;
		c.job.timeout_ms = -1;
		c.job.flow = UnrdfFlowFor(step.job.flow, step.compensate);
		c.job.group_key = step.job.group_key;
		c.job.tenant = step.job.tenant;
		c.job.args = args_of_compensation(steps[i].id);
		c.workflow = workflow;
		c.compensates = steps[i].id;
		need.id = UnrdfWaitingWrite(w, &c, need.id ? 1 : 0, &need);
	}
	UnrdfWaitingWriterEnd(w);
	pfree(steps);
}

/*
 * UnrdfWorkflowEnd ends a workflow in the current transaction, under its release lock, and returns how many jobs it ended. cause
 * is the job that failed it, or 0; but, a job that is left alone, or 0.
 */
int64
UnrdfWorkflowEnd(int64 workflow, const char *reason, int64 cause, int64 but, const char *actor,
				 bool compensate)
{
	UnrdfEnding ending = {UNRDF_CANCELLED, actor, NULL};
	int64 ended;

	ending.result = UnrdfJsonbOf(psprintf(
		"{\"reason\": \"workflow %s\", \"workflow\": " INT64_FORMAT "}", reason, workflow));
	write_end(workflow, reason, cause, actor, compensate);
	ended = end_jobs(workflow, but, &ending);
	CommandCounterIncrement();
	if (compensate)
		enqueue_compensations(workflow);
	UnrdfWakeReleaser();
	return ended;
}

/*
 * UnrdfCancelWorkflow ends a workflow that the current role may control; 0 where it has ended. The job that calls this, if it is one
 * of the workflow, goes on. Raises 42704, 42501.
 */
int64
UnrdfCancelWorkflow(int64 id, bool compensate)
{
	UnrdfWorkflow workflow;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.cancel_workflow()");
	UnrdfWorkflowFetchOwn(id, true, &workflow);
	/* as before the receipts' own locks: who waits for the epoch holds nothing */
	(void) UnrdfCurrentEpoch();
	UnrdfLock(UNRDF_LOCK_RELEASE, UnrdfReleaseBucket(0, id));
	if (!UnrdfWorkflowFind(id, &workflow) || workflow.ended)
		return 0;
	return UnrdfWorkflowEnd(id, "cancelled", 0, UnrdfRunningJob(),
							GetUserNameFromId(GetUserId(), false), compensate);
}
