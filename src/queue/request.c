/*
 * request.c: what the functions that enqueue have in common: reading what is to be enqueued, returning ids.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "base/arg.h"
#include "base/shmem.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/request.h"

static bool
is_given(FunctionCallInfo fcinfo, int arg)
{
	return arg >= 0 && !PG_ARGISNULL(arg);
}

/* UnrdfReadRequest reads everything but args and key; `name` is the function's. Raises what is wrong with an argument. */
void
UnrdfReadRequest(FunctionCallInfo fcinfo, const char *name, const UnrdfRequestArgs *at,
				 UnrdfJob *job)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly(name);
	memset(job, 0, sizeof(*job));
	UnrdfArgNotNull(fcinfo, at->handler, "handler");
	UnrdfArgNotNull(fcinfo, at->args, "args");
	job->handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(at->handler));
	job->queue = job->priority = job->timeout_ms = -1;
	if (is_given(fcinfo, at->queue))
		job->queue = UnrdfQueueId(PG_GETARG_TEXT_PP(at->queue));
	if (is_given(fcinfo, at->priority))
		job->priority = UnrdfArgRange(fcinfo, at->priority, "priority", 0, UNRDF_PRIORITIES - 1);
	if (is_given(fcinfo, at->run_at))
		job->run_at = UnrdfArgTime(fcinfo, at->run_at, "run_at");
	if (is_given(fcinfo, at->max_attempts))
		job->max_attempts =
			UnrdfArgRange(fcinfo, at->max_attempts, "max_attempts", 1, UNRDF_MAX_ATTEMPTS);
	if (is_given(fcinfo, at->timeout))
		job->timeout_ms = (int) UnrdfArgMillis(fcinfo, at->timeout, "timeout");
	if (is_given(fcinfo, at->group_key))
		job->group_key = UnrdfArgName(PG_GETARG_DATUM(at->group_key), "group_key");
	if (is_given(fcinfo, at->tenant))
		job->tenant = UnrdfArgName(PG_GETARG_DATUM(at->tenant), "tenant");
	job->owner = GetUserId();
}

/*
 * UnrdfReadPlace reads the queue and the priority of jobs that are to come; -1 where that is the handler's. The queue is held
 * (UnrdfQueueToUse). Raises 42704, 22023.
 */
void
UnrdfReadPlace(FunctionCallInfo fcinfo, int queue_arg, int priority_arg, int32 *queue,
			   int16 *priority)
{
	*queue = *priority = -1;
	if (!PG_ARGISNULL(queue_arg))
		*queue = UnrdfQueueToUse(PG_GETARG_TEXT_PP(queue_arg));
	if (!PG_ARGISNULL(priority_arg))
		*priority = UnrdfArgRange(fcinfo, priority_arg, "priority", 0, UNRDF_PRIORITIES - 1);
}

/* UnrdfReadArgs reads a job's arguments; raises what UnrdfCheckArgs raises. */
Jsonb *
UnrdfReadArgs(FunctionCallInfo fcinfo, int arg)
{
	Jsonb *args = PG_GETARG_JSONB_P(arg);
	StringInfoData scratch;

	initStringInfo(&scratch);
	UnrdfCheckArgs(args, &scratch);
	return args;
}

/*
 * UnrdfElements returns the elements of an array argument, which is not null, and how many they are. Raises 22004 where one is null,
 * unless the caller wants to know which are.
 */
int
UnrdfElements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, Datum **values,
			  bool **nulls)
{
	bool *isnull;
	int16 len;
	bool by_value;
	char align;
	int n;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, by_value, align, values, &isnull, &n);
	for (int i = 0; i < n && nulls == NULL; i++)
		if (isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("element %d of %s must not be null", i + 1, name)));
	if (nulls)
		*nulls = isnull;
	return n;
}

/* UnrdfReadManyArgs reads the arguments of many jobs and returns how many these are; raises what UnrdfReadArgs raises. */
int
UnrdfReadManyArgs(FunctionCallInfo fcinfo, int arg, Jsonb ***args)
{
	Datum *values;
	int n = UnrdfElements(fcinfo, arg, "args", JSONBOID, &values, NULL);
	StringInfoData scratch;

	initStringInfo(&scratch);
	*args = palloc(n * sizeof(Jsonb *));
	for (int i = 0; i < n; i++)
	{
		(*args)[i] = DatumGetJsonbP(values[i]);
		UnrdfCheckArgs((*args)[i], &scratch);
	}
	return n;
}

/* UnrdfReturnIds returns the ids of jobs as a set. */
Datum
UnrdfReturnIds(FunctionCallInfo fcinfo, int n, const int64 *ids)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum id = Int64GetDatum(ids[i]);
		bool isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id, &isnull);
	}
	return (Datum) 0;
}
