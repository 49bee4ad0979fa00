/*
 * retention_fn.c: SQL-callable functions of what is kept for how long.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/arg.h"
#include "base/catalog.h"
#include "base/clock.h"
#include "base/kept.h"
#include "queue/event_retention.h"
#include "worker/expiry.h"
#include "worker/retention.h"

PG_FUNCTION_INFO_V1(unrdf_alter_queue);
PG_FUNCTION_INFO_V1(unrdf_kept);
PG_FUNCTION_INFO_V1(unrdf_keep_events);
PG_FUNCTION_INFO_V1(unrdf_expire);
PG_FUNCTION_INFO_V1(unrdf_segment_dues);

Datum
unrdf_alter_queue(PG_FUNCTION_ARGS)
{
	UnrdfSetQueue(PG_GETARG_TEXT_PP(0), PG_GETARG_JSONB_P(1));
	PG_RETURN_VOID();
}

/* unrdf.kept(job, part): UnrdfBodyOf. */
Datum
unrdf_kept(PG_FUNCTION_ARGS)
{
	Jsonb *body = UnrdfBodyOf(PG_GETARG_INT64(0), PG_GETARG_INT32(1));

	if (body == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(body);
}

/* unrdf.keep_events(pattern, keep): UnrdfKeepEvents. */
Datum
unrdf_keep_events(PG_FUNCTION_ARGS)
{
	int64 ms = PG_ARGISNULL(1) ? -1000 : UnrdfIntervalMillis(PG_GETARG_INTERVAL_P(1));

	UnrdfArgNotNull(fcinfo, 0, "pattern");
	if (!PG_ARGISNULL(1) && (ms < 0 || ms > UNRDF_KEPT_MOST * 1000))
		UnrdfArgRefuse("keep", "between 0 and 1000 years");
	UnrdfKeepEvents(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? -1 : (ms + 999) / 1000);
	PG_RETURN_VOID();
}

/* unrdf.expire(): UnrdfExpire. */
Datum
unrdf_expire(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(UnrdfExpire());
}

/* unrdf.segment_dues(): segments that are not empty. */
Datum
unrdf_segment_dues(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < UNRDF_SEGMENTS; i++)
	{
		TimestampTz due;
		Interval span = {UnrdfKeptSpan(i), 0, 0};
		Datum values[4] = {ObjectIdGetDatum(UnrdfRelid(UNRDF_KEPT + i)), IntervalPGetDatum(&span)};
		bool nulls[4] = {false};

		if (!UnrdfSegmentFilled(i, &due))
			continue;
		nulls[2] = due == 0;
		values[2] = TimestampTzGetDatum(due);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
