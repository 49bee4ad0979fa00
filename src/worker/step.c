/*
 * step.c: what a long job has done so far.
 *
 * A step's row is written in the job's own transaction, so it is exactly as lasting as what the step did: a handler with
 * transaction control commits both together, and after a failure goes on behind the last step that it committed. Of a
 * handler that is one transaction nothing remains after a failure, and no step either.
 *
 * The steps of a job belong to its attempts, and to the jobs that it was revived as.
 *
 * Where results of the job are kept for a time (queue/retention.c), those of its steps are as well, below the job's own: the first
 * step's is part -2. They stay while a job has not ended that this one was revived as.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/kept.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/record.h"
#include "queue/current.h"
#include "queue/job.h"
#include "queue/retention.h"
#include "worker/worker.h"

#define FIRST_TO_LAST                                                                     \
	"WITH RECURSIVE tried (id) AS (SELECT $1 UNION ALL SELECT j.retry_of FROM tried AS t" \
	" JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) t.id WHERE j.retry_of IS NOT NULL) "

static UnrdfPlan find_step = {
	FIRST_TO_LAST
	"SELECT s.result, s.job, s.part, s.at FROM tried AS t JOIN unrdf.job_step AS s ON s.job OPERATOR(pg_catalog.=) t.id"
	" WHERE s.name OPERATOR(pg_catalog.=) $2",
	2,
	{INT8OID, TEXTOID}};
static UnrdfPlan insert_step = {
	"INSERT INTO unrdf.job_step (job, name, at, result, part) VALUES ($1, $2, $3, $4, $5)",
	5,
	{INT8OID, TEXTOID, TIMESTAMPTZOID, JSONBOID, INT4OID}};
static UnrdfPlan count_steps = {
	"SELECT pg_catalog.count(*) FROM unrdf.job_step WHERE job OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};
static UnrdfPlan find_retention = {
	"SELECT retention FROM unrdf.job WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};

static int64
running_job(const char *function)
{
	int64 job = UnrdfRunningJob();

	UnrdfRequirePreload();
	if (job == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("%s can only be called by a job", function)));
	return job;
}

/* The rule of retention of a job; 0: none. */
static int64
retention_of(int64 job)
{
	Datum value = Int64GetDatum(job);
	bool isnull = true;
	int64 retention = 0;

	if (!UnrdfRetentionAny())
		return 0;
	SPI_connect();
	if (UnrdfExecuteLatest(&find_retention, &value, NULL) == 1)
		retention = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return isnull ? 0 : retention;
}

/* The result of a step that is kept apart. Raises 55000 where it is gone: to do the step again would be wrong. */
static Jsonb *
find_kept(int64 job, int32 part, TimestampTz at, text *name)
{
	Jsonb *result =
		UnrdfKeptFind(job, part, at, UnrdfKeepUntil(retention_of(job), UNRDF_KEEP_RESULTS, at));

	if (result == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the result of step \"%s\" is gone", text_to_cstring(name)),
			 errdetail("Job " INT64_FORMAT " did it; its queue keeps results for a time.", job)));
	return result;
}

/*
 * UnrdfStepDone returns the result of a step that the running job has done, or NULL. Raises 55000 outside a job, and where the
 * result is gone.
 */
Jsonb *
UnrdfStepDone(text *name)
{
	Datum values[2] = {Int64GetDatum(running_job("unrdf.step_done()")), PointerGetDatum(name)};
	MemoryContext context = CurrentMemoryContext;
	Jsonb *result = NULL;
	bool is_apart = false;
	bool isnull;
	int64 job = 0;
	int32 part = 0;
	TimestampTz at = 0;

	SPI_connect();
	if (UnrdfExecuteLatest(&find_step, values, NULL) > 0)
	{
		Datum value = UnrdfResult(0, 0, &isnull);

		job = DatumGetInt64(UnrdfResult(0, 1, &isnull));
		at = DatumGetTimestampTz(UnrdfResult(0, 3, &isnull));
		part = DatumGetInt32(UnrdfResult(0, 2, &isnull));
		is_apart = !isnull;
		(void) UnrdfResult(0, 0, &isnull);
		MemoryContextSwitchTo(context);
		result = isnull ? UnrdfJsonbOf("null") : DatumGetJsonbPCopy(value);
	}
	SPI_finish();
	return is_apart ? find_kept(job, part, at, name) : result;
}

/* The number of the part that a job's next step is. */
static int32
next_part(int64 job)
{
	Datum value = Int64GetDatum(job);
	bool isnull;
	int32 part;

	SPI_connect();
	UnrdfExecuteLatest(&count_steps, &value, NULL);
	part = UNRDF_KEPT_RESULT - 1 - (int32) DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return part;
}

/* UnrdfSaveStep notes that the running job has done a step. Raises 55000 outside a job, 42710 for a step done before. */
void
UnrdfSaveStep(text *name, Jsonb *result)
{
	int64 job = running_job("unrdf.save_step()");
	TimestampTz now = UnrdfNow();
	TimestampTz until = UnrdfKeepUntil(retention_of(job), UNRDF_KEEP_RESULTS, now);
	Datum values[5] = {Int64GetDatum(job), PointerGetDatum(name), TimestampTzGetDatum(now),
					   JsonbPGetDatum(result)};
	StringInfoData scratch;

	initStringInfo(&scratch);
	UnrdfCheckArgs(result, &scratch);
	if (UnrdfStepDone(name))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("step \"%s\" was done before", text_to_cstring(name)),
						errhint("Ask unrdf.step_done() first.")));
	if (until != 0)
	{
		UnrdfKept *kept = UnrdfKeptBegin(1);

		values[4] = Int32GetDatum(next_part(job));
		UnrdfKeptWrite(kept, job, DatumGetInt32(values[4]), now, until, result);
		UnrdfKeptEnd(kept);
	}
	SPI_connect();
	UnrdfExecute(&insert_step, values, until == 0 ? "    n" : "   n ", false);
	SPI_finish();
}
