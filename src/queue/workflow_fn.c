/*
 * workflow_fn.c: SQL-callable functions of workflows and of jobs that wait.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/arg.h"
#include "base/shmem.h"
#include "queue/handler.h"
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
static const UnrdfRequestArgs request_args = {.handler = ARG_HANDLER,
											  .args = ARG_ARGS,
											  .queue = ARG_QUEUE,
											  .priority = ARG_PRIORITY,
											  .run_at = ARG_RUN_AT,
											  .max_attempts = ARG_MAX_ATTEMPTS,
											  .timeout = ARG_TIMEOUT,
											  .group_key = ARG_GROUP_KEY,
											  .tenant = ARG_TENANT};

Datum
unrdf_create_workflow(PG_FUNCTION_ARGS)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.create_workflow()");
	PG_RETURN_INT64(UnrdfWorkflowCreate(UnrdfArgName(PG_GETARG_DATUM(0), "name"),
										UnrdfReadArgs(fcinfo, 1), PG_GETARG_BOOL(2)));
}

static UnrdfOnFailure
on_failure_of(Datum value)
{
	static const char *const names[] = {NULL, "fail", "skip", "continue", "hold"};
	char *name = TextDatumGetCString(value);

	for (int i = 1; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	UnrdfArgRefuse("on_failure", "fail, skip, continue or hold");
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
		UnrdfArgRefuse("on_failure", "one for all needs, or one for each");
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
		UnrdfArgRefuse("wait_for", "all, any or settled");
}

/* Reads what enqueue_after and fan_out share. */
static void
read_request(FunctionCallInfo fcinfo, const char *function, UnrdfWaitRequest *request)
{
	memset(request, 0, sizeof(*request));
	UnrdfReadRequest(fcinfo, function, &request_args, &request->waiting.job);
	UnrdfArgNotNull(fcinfo, ARG_NEEDS, "needs");
	UnrdfArgNotNull(fcinfo, ARG_WAIT_FOR, "wait_for");
	UnrdfArgNotNull(fcinfo, ARG_ON_FAILURE, "on_failure");
	read_needs(fcinfo, request);
	read_wait_for(fcinfo, request);
	if (!PG_ARGISNULL(ARG_WORKFLOW))
	{
		request->waiting.workflow = PG_GETARG_INT64(ARG_WORKFLOW);
		if (request->waiting.workflow <= 0)
			UnrdfArgRefuse("workflow", "the id of a workflow");
	}
	if (!PG_ARGISNULL(ARG_NAME))
		request->waiting.name = UnrdfArgName(PG_GETARG_DATUM(ARG_NAME), "name");
	request->waiting.has_compensate = !PG_ARGISNULL(ARG_COMPENSATE);
	if (request->waiting.has_compensate)
		request->waiting.compensate = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(ARG_COMPENSATE));
}

Datum
unrdf_enqueue_after(PG_FUNCTION_ARGS)
{
	UnrdfWaitRequest request;
	Jsonb *args;
	int64 id;

	read_request(fcinfo, "unrdf.enqueue_after()", &request);
	args = UnrdfReadArgs(fcinfo, ARG_ARGS);
	UnrdfWaitingEnqueue(&request, 1, &args, &id);
	PG_RETURN_INT64(id);
}

Datum
unrdf_fan_out(PG_FUNCTION_ARGS)
{
	UnrdfWaitRequest request;
	Jsonb **args;
	int64 *ids;
	int n;

	read_request(fcinfo, "unrdf.fan_out()", &request);
	request.numbered = true;
	n = UnrdfReadManyArgs(fcinfo, ARG_ARGS, &args);
	ids = palloc(n * sizeof(int64));
	if (n > 0)
		UnrdfWaitingEnqueue(&request, n, args, ids);
	return UnrdfReturnIds(fcinfo, n, ids);
}
