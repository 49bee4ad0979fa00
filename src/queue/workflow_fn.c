/*
 * workflow_fn.c: SQL-callable functions of workflows and of jobs that wait.
 */
#include "postgres.h"

#include "access/xact.h"
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
#include "queue/request.h"
#include "queue/workflow.h"

PG_FUNCTION_INFO_V1(unrdf_create_workflow);
PG_FUNCTION_INFO_V1(unrdf_enqueue_after);
PG_FUNCTION_INFO_V1(unrdf_fan_out);

/* Arguments of enqueue_after and fan_out, in their order. */
enum
{
	ARG_NEEDS,
	ARG_HANDLER,
	ARG_ARGS,
	ARG_QUEUE,
	ARG_PRIORITY,
	ARG_RUN_AT,
	ARG_MAX_ATTEMPTS,
	ARG_TIMEOUT,
	ARG_WAIT_FOR,
	ARG_ON_FAILURE,
	ARG_WORKFLOW,
	ARG_NAME,
	ARG_COMPENSATE,
	ARG_GROUP_KEY,
	ARG_TENANT
};

Datum
unrdf_create_workflow(PG_FUNCTION_ARGS)
{
	StringInfoData scratch;
	Jsonb *args;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.create_workflow()");
	args = PG_GETARG_JSONB_P(1);
	initStringInfo(&scratch);
	UnrdfCheckArgs(args, &scratch);
	PG_RETURN_INT64(
		UnrdfWorkflowCreate(UnrdfCheckedName(PG_GETARG_DATUM(0), "name"), args, PG_GETARG_BOOL(2)));
}

static UnrdfOnFailure
on_failure_of(Datum value)
{
	static const char *const names[] = {NULL, "fail", "skip", "continue", "hold"};
	char *name = TextDatumGetCString(value);

	for (int i = 1; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	UnrdfOutOfRange("on_failure", "fail, skip, continue or hold");
	pg_unreachable();
}

static void
read_needs(FunctionCallInfo fcinfo, UnrdfWaitRequest *request)
{
	Datum *ids;
	Datum *policies;
	int npolicies;

	request->nneeds = UnrdfElements(fcinfo, ARG_NEEDS, "needs", INT8OID, &ids, NULL);
	npolicies = UnrdfElements(fcinfo, ARG_ON_FAILURE, "on_failure", TEXTOID, &policies, NULL);
	if (npolicies != 1 && npolicies != request->nneeds)
		UnrdfOutOfRange("on_failure", "one for all needs, or one for each");
	request->needs = palloc0(request->nneeds * sizeof(UnrdfNeed));
	for (int i = 0; i < request->nneeds; i++)
	{
		request->needs[i].id = DatumGetInt64(ids[i]);
		request->needs[i].on_failure = on_failure_of(policies[npolicies == 1 ? 0 : i]);
	}
	/* also where nothing is needed */
	for (int i = 0; i < npolicies; i++)
		(void) on_failure_of(policies[i]);
}

/* "settled" is "all", whatever the needs' outcomes. */
static void
read_wait_for(FunctionCallInfo fcinfo, UnrdfWaitRequest *request)
{
	char *wait_for = text_to_cstring(PG_GETARG_TEXT_PP(ARG_WAIT_FOR));

	if (strcmp(wait_for, "any") == 0)
		request->waiting.any = true;
	else if (strcmp(wait_for, "settled") == 0)
		for (int i = 0; i < request->nneeds; i++)
			request->needs[i].on_failure = UNRDF_CONTINUE;
	else if (strcmp(wait_for, "all") != 0)
		UnrdfOutOfRange("wait_for", "all, any or settled");
}

static void
read_job(FunctionCallInfo fcinfo, UnrdfJob *job)
{
	job->handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(ARG_HANDLER));
	job->queue = UnrdfQueueId(PG_GETARG_TEXT_PP(ARG_QUEUE));
	job->priority = UnrdfRangeArg(fcinfo, ARG_PRIORITY, "priority", 0, UNRDF_PRIORITIES - 1);
	if (!PG_ARGISNULL(ARG_RUN_AT))
		job->run_at = UnrdfRunAtArg(fcinfo, ARG_RUN_AT);
	if (!PG_ARGISNULL(ARG_MAX_ATTEMPTS))
		job->max_attempts =
			UnrdfRangeArg(fcinfo, ARG_MAX_ATTEMPTS, "max_attempts", 1, UNRDF_MAX_ATTEMPTS);
	job->timeout_ms = PG_ARGISNULL(ARG_TIMEOUT)
						  ? -1
						  : (int) UnrdfIntervalArg(PG_GETARG_INTERVAL_P(ARG_TIMEOUT), "timeout");
	if (!PG_ARGISNULL(ARG_GROUP_KEY))
		job->group_key = UnrdfCheckedName(PG_GETARG_DATUM(ARG_GROUP_KEY), "group_key");
	if (!PG_ARGISNULL(ARG_TENANT))
		job->tenant = UnrdfCheckedName(PG_GETARG_DATUM(ARG_TENANT), "tenant");
	job->owner = GetUserId();
}

/* Reads what enqueue_after and fan_out share. */
static void
read_request(FunctionCallInfo fcinfo, const char *function, UnrdfWaitRequest *request)
{
	static const char *const required[] = {
		[ARG_NEEDS] = "needs",          [ARG_HANDLER] = "handler",   [ARG_ARGS] = "args",
		[ARG_QUEUE] = "queue",          [ARG_PRIORITY] = "priority", [ARG_WAIT_FOR] = "wait_for",
		[ARG_ON_FAILURE] = "on_failure"};

	UnrdfRequirePreload();
	PreventCommandIfReadOnly(function);
	memset(request, 0, sizeof(*request));
	for (int i = 0; i < lengthof(required); i++)
		if (required[i])
			UnrdfRequireNotNull(fcinfo, i, required[i]);
	read_job(fcinfo, &request->waiting.job);
	read_needs(fcinfo, request);
	read_wait_for(fcinfo, request);
	if (!PG_ARGISNULL(ARG_WORKFLOW))
	{
		request->waiting.workflow = PG_GETARG_INT64(ARG_WORKFLOW);
		if (request->waiting.workflow <= 0)
			UnrdfOutOfRange("workflow", "the id of a workflow");
	}
	if (!PG_ARGISNULL(ARG_NAME))
		request->waiting.name = UnrdfCheckedName(PG_GETARG_DATUM(ARG_NAME), "name");
	request->waiting.has_compensate = !PG_ARGISNULL(ARG_COMPENSATE);
	if (request->waiting.has_compensate)
		request->waiting.compensate = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(ARG_COMPENSATE));
}

Datum
unrdf_enqueue_after(PG_FUNCTION_ARGS)
{
	UnrdfWaitRequest request;
	StringInfoData scratch;
	Jsonb *args;
	int64 id;

	read_request(fcinfo, "unrdf.enqueue_after()", &request);
	initStringInfo(&scratch);
	args = PG_GETARG_JSONB_P(ARG_ARGS);
	UnrdfCheckArgs(args, &scratch);
	UnrdfWaitingEnqueue(&request, 1, &args, &id);
	PG_RETURN_INT64(id);
}

Datum
unrdf_fan_out(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	UnrdfWaitRequest request;
	StringInfoData scratch;
	Datum *values;
	Jsonb **args;
	int64 *ids;
	int n;

	read_request(fcinfo, "unrdf.fan_out()", &request);
	request.numbered = true;
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	n = UnrdfElements(fcinfo, ARG_ARGS, "args", JSONBOID, &values, NULL);
	initStringInfo(&scratch);
	args = palloc(n * sizeof(Jsonb *));
	ids = palloc(n * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		args[i] = DatumGetJsonbP(values[i]);
		UnrdfCheckArgs(args[i], &scratch);
	}
	if (n > 0)
		UnrdfWaitingEnqueue(&request, n, args, ids);
	for (int i = 0; i < n; i++)
	{
		Datum id = Int64GetDatum(ids[i]);
		bool not_null = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id, &not_null);
	}
	return (Datum) 0;
}
