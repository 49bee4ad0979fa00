/*
 * test_fn.c: SQL-callable functions of the test kit.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/clock.h"
#include "base/testkit.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(unrdf_clock);
PG_FUNCTION_INFO_V1(unrdf_test_set_time);
PG_FUNCTION_INFO_V1(unrdf_test_advance);
PG_FUNCTION_INFO_V1(unrdf_test_real_time);
PG_FUNCTION_INFO_V1(unrdf_test_hold);
PG_FUNCTION_INFO_V1(unrdf_test_run_due);
PG_FUNCTION_INFO_V1(unrdf_test_fail_at);
PG_FUNCTION_INFO_V1(unrdf_test_clear);
PG_FUNCTION_INFO_V1(unrdf_test_point_state);

/* unrdf.clock(): UnrdfNow. */
Datum
unrdf_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(UnrdfNow());
}

static Datum
set_time(TimestampTz t)
{
	if (TIMESTAMP_NOT_FINITE(t))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("the clock cannot be set to infinity")));
	UnrdfTestSetOffset(UnrdfTestOffset() + (t - UnrdfNow()));
	PG_RETURN_TIMESTAMPTZ(t);
}

/* unrdf.test_set_time(new_time). */
Datum
unrdf_test_set_time(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	return set_time(PG_GETARG_TIMESTAMPTZ(0));
}

/* unrdf.test_advance(by). */
Datum
unrdf_test_advance(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	return set_time(DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_pl_interval, TimestampTzGetDatum(UnrdfNow()), PG_GETARG_DATUM(0))));
}

/* unrdf.test_real_time(). */
Datum
unrdf_test_real_time(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	UnrdfTestSetOffset(0);
	PG_RETURN_TIMESTAMPTZ(UnrdfNow());
}

/* unrdf.test_hold(hold): UnrdfTestHold. */
Datum
unrdf_test_hold(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	UnrdfTestHold(PG_GETARG_BOOL(0));
	PG_RETURN_VOID();
}

/* unrdf.test_run_due(queue, max): UnrdfTestRunDue. */
Datum
unrdf_test_run_due(PG_FUNCTION_ARGS)
{
	int64 most = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);

	if (most < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max must be positive")));
	PG_RETURN_INT64(UnrdfTestRunDue(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0), most));
}

static UnrdfTestPointId
point_arg(FunctionCallInfo fcinfo, int arg)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(arg));

	for (int i = 0; i < UNRDF_POINTS; i++)
		if (strcmp(name, UnrdfTestPoints[i].name) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("test point \"%s\" does not exist", name),
			 errhint("unrdf.test_points has those that do.")));
}

static UnrdfTestAction
action_arg(FunctionCallInfo fcinfo, int arg)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(arg));

	for (int i = UNRDF_TEST_NOTHING + 1; i < UNRDF_TEST_ACTIONS; i++)
		if (strcmp(name, UnrdfTestActions[i]) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("action must be error, exit, crash or wait")));
}

/* unrdf.test_fail_at(point, nth, action): UnrdfTestArm. */
Datum
unrdf_test_fail_at(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("point, nth and action must not be null")));
	if (PG_GETARG_INT32(1) < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("nth must be positive")));
	UnrdfTestArm(point_arg(fcinfo, 0), action_arg(fcinfo, 2), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* unrdf.test_clear(point): UnrdfTestArm. */
Datum
unrdf_test_clear(PG_FUNCTION_ARGS)
{
	UnrdfRequireTestKit();
	if (!PG_ARGISNULL(0))
		UnrdfTestArm(point_arg(fcinfo, 0), UNRDF_TEST_NOTHING, 0);
	else
		for (int i = 0; i < UNRDF_POINTS; i++)
			UnrdfTestArm(i, UNRDF_TEST_NOTHING, 0);
	PG_RETURN_VOID();
}

/* unrdf.test_point_state(): UnrdfTestPointRead of all. */
Datum
unrdf_test_point_state(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	UnrdfRequireTestKit();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < UNRDF_POINTS; i++)
	{
		UnrdfTestPointState state;
		Datum values[6];
		bool nulls[6] = {false};

		UnrdfTestPointRead(i, &state);
		values[0] = CStringGetTextDatum(UnrdfTestPoints[i].name);
		values[1] = CStringGetTextDatum(UnrdfTestPoints[i].description);
		values[2] = CStringGetTextDatum(UnrdfTestActions[state.action]);
		values[3] = Int32GetDatum(state.nth);
		values[4] = Int32GetDatum(state.reached);
		values[5] = Int32GetDatum(state.pid);
		nulls[2] = nulls[3] = nulls[4] = state.action == UNRDF_TEST_NOTHING;
		nulls[5] = state.pid == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
