/*
 * closing_fn.c: SQL-callable functions that close and remove queues.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/arg.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/depth.h"

PG_FUNCTION_INFO_V1(unrdf_close_queue);
PG_FUNCTION_INFO_V1(unrdf_queue_is_shut);
PG_FUNCTION_INFO_V1(unrdf_queue_is_drained);
PG_FUNCTION_INFO_V1(unrdf_remove_queue);
PG_FUNCTION_INFO_V1(unrdf_queue_depth);

/* An optional interval, in milliseconds; -1: none. */
static int64
timeout_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? -1 : UnrdfArgMillis(fcinfo, arg, "timeout");
}

Datum
unrdf_close_queue(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(UnrdfQueueClose(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(1)));
}

Datum
unrdf_queue_is_shut(PG_FUNCTION_ARGS)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	PG_RETURN_BOOL(UnrdfQueueIsShut(PG_GETARG_TEXT_PP(0), timeout_arg(fcinfo, 1)));
}

Datum
unrdf_queue_is_drained(PG_FUNCTION_ARGS)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	PG_RETURN_BOOL(UnrdfQueueIsDrained(PG_GETARG_TEXT_PP(0), timeout_arg(fcinfo, 1)));
}

Datum
unrdf_remove_queue(PG_FUNCTION_ARGS)
{
	UnrdfQueueRemove(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

Datum
unrdf_queue_depth(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(UnrdfQueueDepth(UnrdfQueueId(PG_GETARG_TEXT_PP(0))));
}
