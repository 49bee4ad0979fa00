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

PG_FUNCTION_INFO_V1(unrdf_create_queue);
PG_FUNCTION_INFO_V1(unrdf_alter_queue);
PG_FUNCTION_INFO_V1(unrdf_pause_queue);
PG_FUNCTION_INFO_V1(unrdf_resume_queue);
PG_FUNCTION_INFO_V1(unrdf_register_handler);
PG_FUNCTION_INFO_V1(unrdf_enqueue);
PG_FUNCTION_INFO_V1(unrdf_enqueue_many);

static void
require_not_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

static void
out_of_range(const char *name, const char *range)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be %s", name, range)));
}

/* An interval argument in milliseconds, between 0 and INT_MAX: 0 may have a meaning of its own. */
static int64
interval_millis(Interval *i, const char *name)
{
	int64 ms = UnrdfIntervalMillis(i);

	if (ms < 0 || ms > PG_INT32_MAX)
		out_of_range(name, "between 0 and 24 days");
	return ms;
}

static int
range_arg(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max)
{
	int value = PG_GETARG_INT32(arg);
	char range[64];

	if (value < min || value > max)
	{
		snprintf(range, sizeof(range), "between %d and %d", min, max);
		out_of_range(name, range);
	}
	return value;
}

Datum
unrdf_create_queue(PG_FUNCTION_ARGS)
{
	require_not_null(fcinfo, 0, "name");
	UnrdfCreateQueue(PG_GETARG_TEXT_PP(0),
					 PG_ARGISNULL(1) ? 0 : range_arg(fcinfo, 1, "max_running", 1, PG_INT32_MAX));
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
		require_not_null(fcinfo, i, names[i]);
	backoff = (int) interval_millis(PG_GETARG_INTERVAL_P(4), "backoff");
	cap = (int) interval_millis(PG_GETARG_INTERVAL_P(5), "backoff_cap");
	if (cap < backoff)
		out_of_range("backoff_cap", "at least backoff");
	UnrdfRegisterHandler(PG_GETARG_TEXT_PP(0), PG_GETARG_OID(1),
						 range_arg(fcinfo, 2, "max_attempts", 1, UNRDF_MAX_ATTEMPTS),
						 (int) interval_millis(PG_GETARG_INTERVAL_P(3), "timeout"), backoff, cap,
						 PG_GETARG_BOOL(6));
	PG_RETURN_VOID();
}

static text *
checked_name(Datum value, const char *what)
{
	text *name = DatumGetTextPP(value);

	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > 1024)
		out_of_range(what, "between 1 and 1024 bytes long");
	return name;
}

/* Reads the arguments that enqueue and enqueue_many share. */
static void
read_request(FunctionCallInfo fcinfo, const char *name, UnrdfEnqueue *request)
{
	UnrdfJob *job = &request->job;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly(name);
	memset(request, 0, sizeof(*request));
	require_not_null(fcinfo, 0, "handler");
	require_not_null(fcinfo, 1, "args");
	require_not_null(fcinfo, 2, "queue");
	require_not_null(fcinfo, 3, "priority");
	job->handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(0));
	job->queue = UnrdfQueueId(PG_GETARG_TEXT_PP(2));
	job->priority = range_arg(fcinfo, 3, "priority", 0, UNRDF_PRIORITIES - 1);
	if (!PG_ARGISNULL(4))
	{
		job->run_at = PG_GETARG_TIMESTAMPTZ(4);
		if (TIMESTAMP_NOT_FINITE(job->run_at))
			out_of_range("run_at", "finite");
	}
	if (!PG_ARGISNULL(6))
		request->window_ms = interval_millis(PG_GETARG_INTERVAL_P(6), "key_window");
	if (!PG_ARGISNULL(7))
		job->max_attempts = range_arg(fcinfo, 7, "max_attempts", 1, UNRDF_MAX_ATTEMPTS);
	job->timeout_ms =
		PG_ARGISNULL(8) ? -1 : (int) interval_millis(PG_GETARG_INTERVAL_P(8), "timeout");
	if (!PG_ARGISNULL(9))
		job->group_key = checked_name(PG_GETARG_DATUM(9), "group_key");
	if (!PG_ARGISNULL(10))
		job->tenant = checked_name(PG_GETARG_DATUM(10), "tenant");
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
		request.job.key = checked_name(PG_GETARG_DATUM(5), "key");
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
		out_of_range("keys", "as long as args");
	keys = palloc(n * sizeof(text *));
	for (int i = 0; i < n; i++)
		keys[i] = isnull[i] ? NULL : checked_name(values[i], "key");
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
