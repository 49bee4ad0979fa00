/*
 * queue_fn.c: SQL-callable functions of queues and enqueueing.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/jsonb.h"

#include "base/arg.h"
#include "base/compat.h"
#include "base/datum.h"
#include "queue/config.h"
#include "queue/job.h"
#include "queue/request.h"

PG_FUNCTION_INFO_V1(unrdf_create_queue);
PG_FUNCTION_INFO_V1(unrdf_pause_queue);
PG_FUNCTION_INFO_V1(unrdf_resume_queue);
PG_FUNCTION_INFO_V1(unrdf_enqueue);
PG_FUNCTION_INFO_V1(unrdf_enqueue_many);
PG_FUNCTION_INFO_V1(unrdf_try_enqueue);

/* Arguments of enqueue and enqueue_many. */
#define ARG_KEY 5
#define ARG_KEY_WINDOW 6
static const UnrdfRequestArgs request_args = {.handler = 0,
											  .args = 1,
											  .queue = 2,
											  .priority = 3,
											  .run_at = 4,
											  .max_attempts = 7,
											  .timeout = 8,
											  .group_key = 9,
											  .tenant = 10};

Datum
unrdf_create_queue(PG_FUNCTION_ARGS)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	UnrdfCreateQueue(PG_GETARG_TEXT_PP(0),
					 PG_ARGISNULL(1) ? 0
									 : UnrdfArgRange(fcinfo, 1, "max_running", 1, PG_INT32_MAX));
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

static void
read_request(FunctionCallInfo fcinfo, const char *name, UnrdfEnqueue *request)
{
	UnrdfReadRequest(fcinfo, name, &request_args, &request->job);
	request->window_ms =
		PG_ARGISNULL(ARG_KEY_WINDOW) ? 0 : UnrdfArgMillis(fcinfo, ARG_KEY_WINDOW, "key_window");
}

static int64
enqueue(FunctionCallInfo fcinfo, const char *name, UnrdfRoomNeed room, int32 *queue)
{
	UnrdfEnqueue request = {0};
	int64 id;

	read_request(fcinfo, name, &request);
	request.room = room;
	request.job.args = UnrdfReadArgs(fcinfo, request_args.args);
	if (!PG_ARGISNULL(ARG_KEY))
		request.job.key = UnrdfArgName(PG_GETARG_DATUM(ARG_KEY), "key");
	id = UnrdfEnqueueOne(&request);
	*queue = request.job.queue;
	return id;
}

Datum
unrdf_enqueue(PG_FUNCTION_ARGS)
{
	int32 queue;

	PG_RETURN_INT64(enqueue(fcinfo, "unrdf.enqueue()", UNRDF_ROOM_NEEDED, &queue));
}

Datum
unrdf_try_enqueue(PG_FUNCTION_ARGS)
{
	Datum values[2];
	bool nulls[2] = {false};
	int32 queue;
	int64 id = enqueue(fcinfo, "unrdf.try_enqueue()", UNRDF_ROOM_IF_ANY, &queue);

	values[0] = Int64GetDatum(id);
	nulls[0] = id == 0;
	values[1] = Int64GetDatum(UnrdfDepthNow(queue));
	return UnrdfRecordDatum(fcinfo, values, nulls);
}

/* Reads an array of n keys; NULL elements have none. */
static text **
read_keys(FunctionCallInfo fcinfo, int n)
{
	Datum *values;
	bool *isnull;
	text **keys;

	if (UnrdfElements(fcinfo, ARG_KEY, "keys", TEXTOID, &values, &isnull) != n)
		UnrdfArgRefuse("keys", "as long as args");
	keys = palloc(n * sizeof(text *));
	for (int i = 0; i < n; i++)
		keys[i] = isnull[i] ? NULL : UnrdfArgName(values[i], "key");
	return keys;
}

Datum
unrdf_enqueue_many(PG_FUNCTION_ARGS)
{
	UnrdfEnqueue request = {0};
	Jsonb **args;
	text **keys = NULL;
	int64 *ids;
	int n;

	read_request(fcinfo, "unrdf.enqueue_many()", &request);
	n = UnrdfReadManyArgs(fcinfo, request_args.args, &args);
	if (!PG_ARGISNULL(ARG_KEY))
		keys = read_keys(fcinfo, n);
	ids = palloc(n * sizeof(int64));
	UnrdfEnqueueMany(&request, n, args, keys, ids, NULL);
	return UnrdfReturnIds(fcinfo, n, ids);
}
