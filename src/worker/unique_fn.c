/*
 * unique_fn.c: SQL-callable functions of rules of uniqueness.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/arg.h"
#include "queue/request.h"
#include "worker/unique.h"

PG_FUNCTION_INFO_V1(unrdf_enqueue_once);
PG_FUNCTION_INFO_V1(unrdf_throttle);
PG_FUNCTION_INFO_V1(unrdf_debounce);

static const UnrdfRequestArgs once_args = {.handler = 0,
										   .args = 1,
										   .queue = 5,
										   .priority = 6,
										   .run_at = 7,
										   .max_attempts = 8,
										   .timeout = 9,
										   .group_key = 10,
										   .tenant = 11};
static const UnrdfRequestArgs throttle_args = {.handler = 0,
											   .args = 1,
											   .queue = 4,
											   .priority = 5,
											   .run_at = 6,
											   .max_attempts = 7,
											   .timeout = 8,
											   .group_key = 9,
											   .tenant = 10};
static const UnrdfRequestArgs debounce_args = {.handler = 0,
											   .args = 1,
											   .queue = 5,
											   .priority = 6,
											   .run_at = -1,
											   .max_attempts = 7,
											   .timeout = 8,
											   .group_key = 9,
											   .tenant = 10};

/* Reads what the three have in common. */
static void
read_request(FunctionCallInfo fcinfo, const char *name, const UnrdfRequestArgs *at,
			 UnrdfEnqueue *request)
{
	memset(request, 0, sizeof(*request));
	UnrdfReadRequest(fcinfo, name, at, &request->job);
	UnrdfArgNotNull(fcinfo, 2, "key");
	request->job.args = UnrdfReadArgs(fcinfo, 1);
	request->job.key = UnrdfArgName(PG_GETARG_DATUM(2), "key");
}

static int
read_states(FunctionCallInfo fcinfo, int arg)
{
	Datum *values;
	bool *isnull;
	int n = UnrdfElements(fcinfo, arg, "key_states", TEXTOID, &values, &isnull);
	int states = 0;

	for (int i = 0; i < n; i++)
	{
		int state = isnull[i] ? 0 : UnrdfStateOf(TextDatumGetCString(values[i]));

		if (state == 0)
			UnrdfArgRefuse("each of key_states",
						   "scheduled, pending, running, retrying, succeeded, dead or cancelled");
		states |= state;
	}
	if (states == 0)
		UnrdfArgRefuse("key_states", "at least one state");
	return states;
}

static Datum
job_and_is_new(FunctionCallInfo fcinfo, UnrdfEnqueue *request, int states, int64 window_ms)
{
	TupleDesc desc;
	Datum values[2];
	bool isnull[2] = {false, false};
	bool is_new;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(UnrdfEnqueueOnce(request, states, window_ms, &is_new));
	values[1] = BoolGetDatum(is_new);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

Datum
unrdf_enqueue_once(PG_FUNCTION_ARGS)
{
	UnrdfEnqueue request = {0};

	read_request(fcinfo, "unrdf.enqueue_once()", &once_args, &request);
	UnrdfArgNotNull(fcinfo, 3, "key_states");
	return job_and_is_new(fcinfo, &request, read_states(fcinfo, 3),
						  PG_ARGISNULL(4) ? -1 : UnrdfArgMillis(fcinfo, 4, "key_window"));
}

Datum
unrdf_throttle(PG_FUNCTION_ARGS)
{
	UnrdfEnqueue request = {0};

	read_request(fcinfo, "unrdf.throttle()", &throttle_args, &request);
	UnrdfArgNotNull(fcinfo, 3, "key_window");
	return job_and_is_new(fcinfo, &request, UNRDF_STATE_ALL,
						  UnrdfArgMillis(fcinfo, 3, "key_window"));
}

Datum
unrdf_debounce(PG_FUNCTION_ARGS)
{
	UnrdfEnqueue request = {0};
	int64 delay_ms;

	read_request(fcinfo, "unrdf.debounce()", &debounce_args, &request);
	UnrdfArgNotNull(fcinfo, 3, "delay");
	delay_ms = UnrdfArgMillis(fcinfo, 3, "delay");
	PG_RETURN_INT64(UnrdfDebounce(&request, delay_ms,
								  PG_ARGISNULL(4) ? -1 : UnrdfArgMillis(fcinfo, 4, "max_delay")));
}
