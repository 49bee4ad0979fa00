/*
 * verify_fn.c: the SQL functions that verify the log.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/datum.h"
#include "ledger/verify.h"
#include "ledger/verify_range.h"

PG_FUNCTION_INFO_V1(unrdf_verify_all);
PG_FUNCTION_INFO_V1(unrdf_verify_progress);
PG_FUNCTION_INFO_V1(unrdf_verify_range);
PG_FUNCTION_INFO_V1(unrdf_verify_step);

/* A number of workers; null is a sensible one. */
static int
workers_arg(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? -1 : PG_GETARG_INT32(i);
}

static const text *
text_arg(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : PG_GETARG_TEXT_PP(i);
}

/* unrdf.verify_all(workers, since): UnrdfVerifyAll. */
Datum
unrdf_verify_all(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyAll(workers_arg(fcinfo, 0), text_arg(fcinfo, 1),
				   ((ReturnSetInfo *) fcinfo->resultinfo)->setResult);
	return (Datum) 0;
}

/* unrdf.verify_range(first, stop, workers): UnrdfVerifyLeaves. Raises 22004 where first is null. */
Datum
unrdf_verify_range(PG_FUNCTION_ARGS)
{
	int64 stop = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("first must not be null")));
	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyLeaves(PG_GETARG_INT64(0), PG_ARGISNULL(1) ? NULL : &stop, workers_arg(fcinfo, 2),
					  ((ReturnSetInfo *) fcinfo->resultinfo)->setResult);
	return (Datum) 0;
}

/* unrdf.verify_step(run, step, workers, since): UnrdfVerifyRun. Raises 22004 where step is null. */
Datum
unrdf_verify_step(PG_FUNCTION_ARGS)
{
	int64 run = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	UnrdfVerifyStep s;
	Datum values[6] = {0};
	bool nulls[6] = {false};

	if (PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("step must not be null")));
	UnrdfVerifyRun(PG_ARGISNULL(0) ? NULL : &run, PG_GETARG_INT64(1), workers_arg(fcinfo, 2),
				   text_arg(fcinfo, 3), &s);
	values[0] = Int64GetDatum(s.run);
	values[1] = Int64GetDatum((int64) s.first);
	values[2] = Int64GetDatum((int64) s.stop);
	values[3] = Int64GetDatum(s.findings);
	values[4] = BoolGetDatum(s.complete);
	nulls[5] = s.verified == NULL;
	if (s.verified)
		values[5] = CStringGetTextDatum(s.verified);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify_progress(): UnrdfVerifyProgress. */
Datum
unrdf_verify_progress(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyProgress((ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
