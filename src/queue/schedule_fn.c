/*
 * schedule_fn.c: SQL-callable functions of schedules.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/arg.h"
#include "base/clock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/request.h"
#include "queue/schedule.h"
#include "queue/timetable.h"

#define MOST_DUE_TIMES 10000
#define CLOCK_PATIENCE (2 * USECS_PER_MINUTE)

PG_FUNCTION_INFO_V1(unrdf_schedule);
PG_FUNCTION_INFO_V1(unrdf_unschedule);
PG_FUNCTION_INFO_V1(unrdf_pause_schedule);
PG_FUNCTION_INFO_V1(unrdf_resume_schedule);
PG_FUNCTION_INFO_V1(unrdf_run_schedule_now);
PG_FUNCTION_INFO_V1(unrdf_run_schedules);
PG_FUNCTION_INFO_V1(unrdf_schedule_due_times);
PG_FUNCTION_INFO_V1(unrdf_schedule_next);
PG_FUNCTION_INFO_V1(unrdf_clock_runs);

static UnrdfPlan advice = {"SELECT unrdf.clock_advice()", 0};

/* A schedule that nobody fires is worth a word. */
static void
note_missing_clock(void)
{
	bool isnull;
	Datum said;

	SPI_connect();
	UnrdfExecute(&advice, NULL, NULL, false);
	said = UnrdfResult(0, 0, &isnull);
	if (!isnull)
		ereport(NOTICE, (errmsg("nothing fires the schedules of this database"),
						 errhint("%s", TextDatumGetCString(said))));
	SPI_finish();
}

static void
check_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"name",      "cron",     "handler", "args",
										"time_zone", "catch_up", "overlap"};
	int len;

	for (int i = 0; i < lengthof(names); i++)
		UnrdfArgNotNull(fcinfo, i, names[i]);
	len = VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0));
	if (len == 0 || len >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a schedule must have between 1 and %d bytes", NAMEDATALEN - 1)));
}

/* Reads handler and args, which are checked and kept as a job's would be. */
static void
read_handler(FunctionCallInfo fcinfo, UnrdfSchedule *s)
{
	UnrdfHandler handler;

	s->handler = PG_GETARG_TEXT_PP(2);
	(void) UnrdfHandlerToEnqueue(s->handler);
	handler = *UnrdfHandlerByName(s->handler);
	s->args = UnrdfReadArgs(fcinfo, 3);
	UnrdfCheckFit(&handler, s->args);
	if (!OidIsValid(handler.key_function))
		return;
	s->args_version = handler.newest;
	s->args = UnrdfEnvelopeClose(&handler, s->args);
}

Datum
unrdf_schedule(PG_FUNCTION_ARGS)
{
	UnrdfSchedule s = {0};
	TimestampTz next;

	PreventCommandIfReadOnly("unrdf.schedule()");
	check_arguments(fcinfo);
	s.name = PG_GETARG_TEXT_PP(0);
	s.cron = text_to_cstring(PG_GETARG_TEXT_PP(1));
	read_handler(fcinfo, &s);
	s.zone = text_to_cstring(PG_GETARG_TEXT_PP(4));
	s.catch_up = UnrdfCatchUpRead(PG_GETARG_TEXT_PP(5));
	s.overlap = UnrdfOverlapRead(PG_GETARG_TEXT_PP(6));
	if (!PG_ARGISNULL(7))
	{
		s.queue = PG_GETARG_TEXT_PP(7);
		(void) UnrdfQueueToUse(s.queue);
	}
	s.priority =
		PG_ARGISNULL(8) ? -1 : UnrdfArgRange(fcinfo, 8, "priority", 0, UNRDF_PRIORITIES - 1);
	next = UnrdfScheduleSave(&s);
	note_missing_clock();
	PG_RETURN_TIMESTAMPTZ(next);
}

Datum
unrdf_unschedule(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("unrdf.unschedule()");
	UnrdfScheduleDrop(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

Datum
unrdf_pause_schedule(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("unrdf.pause_schedule()");
	UnrdfSchedulePause(PG_GETARG_TEXT_PP(0), true);
	PG_RETURN_VOID();
}

Datum
unrdf_resume_schedule(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("unrdf.resume_schedule()");
	UnrdfSchedulePause(PG_GETARG_TEXT_PP(0), false);
	PG_RETURN_VOID();
}

Datum
unrdf_run_schedule_now(PG_FUNCTION_ARGS)
{
	int64 job;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.run_schedule_now()");
	job = UnrdfFireByHand(PG_GETARG_TEXT_PP(0));
	if (job == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(job);
}

Datum
unrdf_run_schedules(PG_FUNCTION_ARGS)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.run_schedules()");
	UnrdfArgNotNull(fcinfo, 0, "wait");
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("unrdf.run_schedules() cannot run inside a transaction block"),
						errhint("It commits what it has enqueued. CALL it by itself.")));
	UnrdfRunSchedules(PG_GETARG_BOOL(0));
	PG_RETURN_VOID();
}

Datum
unrdf_schedule_due_times(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *zone = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int32 n = PG_GETARG_INT32(2);
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(3);
	UnrdfTimetable t;

	if (n < 1 || n > MOST_DUE_TIMES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("n must be between 1 and %d", MOST_DUE_TIMES)));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	UnrdfTimetableRead(text_to_cstring(PG_GETARG_TEXT_PP(0)), zone, &t);
	UnrdfTimetableCheckZone(&t, zone);
	for (int i = 0; i < n && UnrdfTimetableNext(&t, at, &at); i++)
	{
		Datum value = TimestampTzGetDatum(at);
		bool isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

Datum
unrdf_schedule_next(PG_FUNCTION_ARGS)
{
	UnrdfTimetable t;
	TimestampTz next;

	UnrdfTimetableRead(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
					   &t);
	if (!UnrdfTimetableNext(&t, PG_GETARG_TIMESTAMPTZ(2), &next))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

Datum
unrdf_clock_runs(PG_FUNCTION_ARGS)
{
	TimestampTz at = UnrdfTickedAt();

	PG_RETURN_BOOL(at != 0 && UnrdfNow() - at < CLOCK_PATIENCE);
}
