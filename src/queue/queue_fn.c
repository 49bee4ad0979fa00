/*
 * queue_fn.c: SQL-callable functions of queues, handlers and enqueueing.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/job.h"
#include "queue/request.h"

PG_FUNCTION_INFO_V1(unrdf_create_queue);
PG_FUNCTION_INFO_V1(unrdf_alter_queue);
PG_FUNCTION_INFO_V1(unrdf_pause_queue);
PG_FUNCTION_INFO_V1(unrdf_resume_queue);
PG_FUNCTION_INFO_V1(unrdf_register_handler);
PG_FUNCTION_INFO_V1(unrdf_enqueue);
PG_FUNCTION_INFO_V1(unrdf_enqueue_many);

Datum
unrdf_create_queue(PG_FUNCTION_ARGS)
{
	UnrdfRequireNotNull(fcinfo, 0, "name");
	UnrdfCreateQueue(PG_GETARG_TEXT_PP(0),
					 PG_ARGISNULL(1) ? 0
									 : UnrdfRangeArg(fcinfo, 1, "max_running", 1, PG_INT32_MAX));
	PG_RETURN_VOID();
}

Datum
unrdf_alter_queue(PG_FUNCTION_ARGS)
{
	UnrdfAlterQueue(PG_GETARG_TEXT_PP(0), PG_GETARG_JSONB_P(1));
	PG_RETURN_VOID();
}

Datum
unrdf_pause_queue(PG_FUNCTION_ARGS)
{
	UnrdfPauseQueue(PG_GETARG_TEXT_PP(0), true);
	PG_RETURN_VOID();
}

Datum
unrdf_resume_queue(PG_FUNCTION_ARGS)
{
	UnrdfPauseQueue(PG_GETARG_TEXT_PP(0), false);
	PG_RETURN_VOID();
}

Datum
unrdf_register_handler(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name",    "function",    "max_attempts",   "timeout",
										"backoff", "backoff_cap", "own_transaction"};
	int backoff;
	int cap;

	for (int i = 0; i < lengthof(names); i++)
		UnrdfRequireNotNull(fcinfo, i, names[i]);
	backoff = (int) UnrdfIntervalArg(PG_GETARG_INTERVAL_P(4), "backoff");
	cap = (int) UnrdfIntervalArg(PG_GETARG_INTERVAL_P(5), "backoff_cap");
	if (cap < backoff)
		UnrdfOutOfRange("backoff_cap", "at least backoff");
	UnrdfRegisterHandler(PG_GETARG_TEXT_PP(0), PG_GETARG_OID(1),
						 UnrdfRangeArg(fcinfo, 2, "max_attempts", 1, UNRDF_MAX_ATTEMPTS),
						 (int) UnrdfIntervalArg(PG_GETARG_INTERVAL_P(3), "timeout"), backoff, cap,
						 PG_GETARG_BOOL(6));
	PG_RETURN_VOID();
}

/* Reads the arguments that enqueue and enqueue_many share. */
static void
read_request(FunctionCallInfo fcinfo, const char *name, UnrdfEnqueue *request)
{
	UnrdfJob *job = &request->job;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly(name);
	memset(request, 0, sizeof(*request));
	UnrdfRequireNotNull(fcinfo, 0, "handler");
	UnrdfRequireNotNull(fcinfo, 1, "args");
	UnrdfRequireNotNull(fcinfo, 2, "queue");
	UnrdfRequireNotNull(fcinfo, 3, "priority");
	job->handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(0));
	job->queue = UnrdfQueueId(PG_GETARG_TEXT_PP(2));
	job->priority = UnrdfRangeArg(fcinfo, 3, "priority", 0, UNRDF_PRIORITIES - 1);
	if (!PG_ARGISNULL(4))
		job->run_at = UnrdfRunAtArg(fcinfo, 4);
	if (!PG_ARGISNULL(6))
		request->window_ms = UnrdfIntervalArg(PG_GETARG_INTERVAL_P(6), "key_window");
	if (!PG_ARGISNULL(7))
		job->max_attempts = UnrdfRangeArg(fcinfo, 7, "max_attempts", 1, UNRDF_MAX_ATTEMPTS);
	job->timeout_ms =
		PG_ARGISNULL(8) ? -1 : (int) UnrdfIntervalArg(PG_GETARG_INTERVAL_P(8), "timeout");
	if (!PG_ARGISNULL(9))
		job->group_key = UnrdfCheckedName(PG_GETARG_DATUM(9), "group_key");
	if (!PG_ARGISNULL(10))
		job->tenant = UnrdfCheckedName(PG_GETARG_DATUM(10), "tenant");
	job->owner = GetUserId();
}

Datum
unrdf_enqueue(PG_FUNCTION_ARGS)
{
	UnrdfEnqueue request;
	StringInfoData scratch;

	read_request(fcinfo, "unrdf.enqueue()", &request);
	initStringInfo(&scratch);
	request.job.args = PG_GETARG_JSONB_P(1);
	UnrdfCheckArgs(request.job.args, &scratch);
	if (!PG_ARGISNULL(5))
		request.job.key = UnrdfCheckedName(PG_GETARG_DATUM(5), "key");
	PG_RETURN_INT64(UnrdfEnqueueOne(&request));
}

/* Reads an array of n keys; NULL elements have none. */
static text **
read_keys(ArrayType *array, int n)
{
	Datum *values;
	bool *isnull;
	text **keys;
	int count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &isnull, &count);
	if (count != n)
		UnrdfOutOfRange("keys", "as long as args");
	keys = palloc(n * sizeof(text *));
	for (int i = 0; i < n; i++)
		keys[i] = isnull[i] ? NULL : UnrdfCheckedName(values[i], "key");
	return keys;
}

Datum
unrdf_enqueue_many(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	UnrdfEnqueue request;
	StringInfoData scratch;
	Datum *values;
	bool *isnull;
	Jsonb **args;
	int64 *ids;
	int n;

	read_request(fcinfo, "unrdf.enqueue_many()", &request);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT, &values, &isnull,
					  &n);
	initStringInfo(&scratch);
	args = palloc(n * sizeof(Jsonb *));
	ids = palloc(n * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("element %d of args must not be null", i + 1)));
		args[i] = DatumGetJsonbP(values[i]);
		UnrdfCheckArgs(args[i], &scratch);
	}
	UnrdfEnqueueMany(&request, n, args,
					 PG_ARGISNULL(5) ? NULL : read_keys(PG_GETARG_ARRAYTYPE_P(5), n), ids);
	for (int i = 0; i < n; i++)
	{
		Datum id = Int64GetDatum(ids[i]);
		bool not_null = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id, &not_null);
	}
	return (Datum) 0;
}
