/*
 * step.c: what a long job has done so far.
 *
 * A step's row is written in the job's own transaction, so it is exactly as lasting as what the step did: a handler with
 * transaction control commits both together, and after a failure goes on behind the last step that it committed. Of a
 * handler that is one transaction nothing remains after a failure, and no step either.
 *
 * The steps of a job belong to its attempts, and to the jobs that it was revived as.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "base/shmem.h"
#include "queue/current.h"
#include "worker/worker.h"

#define FIRST_TO_LAST                                                                     \
	"WITH RECURSIVE tried (id) AS (SELECT $1 UNION ALL SELECT j.retry_of FROM tried AS t" \
	" JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) t.id WHERE j.retry_of IS NOT NULL) "

static UnrdfPlan find_step = {
	FIRST_TO_LAST
	"SELECT coalesce(s.result, 'null') FROM tried AS t JOIN unrdf.job_step AS s ON s.job OPERATOR(pg_catalog.=) t.id"
	" WHERE s.name OPERATOR(pg_catalog.=) $2",
	2,
	{INT8OID, TEXTOID}};
static UnrdfPlan insert_step = {
	"INSERT INTO unrdf.job_step (job, name, result) VALUES ($1, $2, $3)",
	3,
	{INT8OID, TEXTOID, JSONBOID}};

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

/* UnrdfStepDone returns the result of a step that the running job has done, or NULL. Raises 55000 outside a job. */
Jsonb *
UnrdfStepDone(text *name)
{
	Datum values[2] = {Int64GetDatum(running_job("unrdf.step_done()")), PointerGetDatum(name)};
	MemoryContext context = CurrentMemoryContext;
	Jsonb *result = NULL;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&find_step, values, NULL) > 0)
	{
		Datum value = UnrdfResult(0, 0, &isnull);

		MemoryContextSwitchTo(context);
		result = DatumGetJsonbPCopy(value);
	}
	SPI_finish();
	return result;
}

/* UnrdfSaveStep notes that the running job has done a step. Raises 55000 outside a job, 42710 for a step done before. */
void
UnrdfSaveStep(text *name, Jsonb *result)
{
	Datum values[3] = {Int64GetDatum(running_job("unrdf.save_step()")), PointerGetDatum(name),
					   JsonbPGetDatum(result)};
	StringInfoData scratch;

	initStringInfo(&scratch);
	UnrdfCheckArgs(result, &scratch);
	if (UnrdfStepDone(name))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("step \"%s\" was done before", text_to_cstring(name)),
						errhint("Ask unrdf.step_done() first.")));
	SPI_connect();
	UnrdfExecute(&insert_step, values, NULL, false);
	SPI_finish();
}
