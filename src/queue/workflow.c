/*
 * workflow.c: jobs that belong together, and requests for jobs that wait.
 *
 * A workflow is a row of unrdf.workflow, and its jobs are those rows of unrdf.waiting_job that name it. It is open: whoever may
 * adds jobs to it, also its own jobs while they run, until it was cancelled or, as a saga, has failed. Then it has a row in
 * unrdf.workflow_end. That is looked at here only to refuse early what would come to nothing: between two transactions
 * the releaser decides (waiting.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/identity.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/workflow.h"

static UnrdfPlan insert_workflow = {
	"INSERT INTO unrdf.workflow (name, owner, saga, args) VALUES ($1, $2, $3, $4) RETURNING id",
	4,
	{TEXTOID, REGROLEOID, BOOLOID, JSONBOID}};
static UnrdfPlan find_workflow = {
	"SELECT w.owner, w.saga, EXISTS (SELECT FROM unrdf.workflow_end AS e WHERE e.workflow OPERATOR(pg_catalog.=) w.id)"
	" FROM unrdf.workflow AS w WHERE w.id OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};
/* UnrdfWorkflowCreate makes a workflow of the current role and returns its id. */
int64
UnrdfWorkflowCreate(text *name, Jsonb *args, bool saga)
{
	Datum values[4];
	bool isnull;
	int64 id;

	values[0] = PointerGetDatum(name);
	values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = BoolGetDatum(saga);
	values[3] = JsonbPGetDatum(args);
	SPI_connect();
	UnrdfExecute(&insert_workflow, values, NULL, false);
	id = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return id;
}

/* UnrdfWorkflowFind reads a workflow under the newest snapshot; false where there is none. */
bool
UnrdfWorkflowFind(int64 id, UnrdfWorkflow *workflow)
{
	Datum value = Int64GetDatum(id);
	bool isnull;
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(&find_workflow, &value, NULL) == 1;
	if (found)
	{
		workflow->id = id;
		workflow->owner = DatumGetObjectId(UnrdfResult(0, 0, &isnull));
		workflow->saga = DatumGetBool(UnrdfResult(0, 1, &isnull));
		workflow->ended = DatumGetBool(UnrdfResult(0, 2, &isnull));
	}
	SPI_finish();
	return found;
}

/*
 * UnrdfWorkflowFetchOwn reads a workflow that the current role may add jobs to, or to_end it, which operators may as well. Raises
 * 42704 or 42501.
 */
void
UnrdfWorkflowFetchOwn(int64 id, bool to_end, UnrdfWorkflow *workflow)
{
	if (!UnrdfWorkflowFind(id, workflow))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("workflow " INT64_FORMAT " does not exist", id)));
	if (!(to_end ? UnrdfControls(workflow->owner)
				 : has_privs_of_role(GetUserId(), workflow->owner)))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of workflow " INT64_FORMAT, id)));
}

/* UnrdfWorkflowCheckOpen raises 55000 where a workflow has ended. */
void
UnrdfWorkflowCheckOpen(const UnrdfWorkflow *workflow)
{
	if (workflow->ended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("workflow " INT64_FORMAT " was cancelled or has failed", workflow->id)));
}

static int
compare_needs(const void *a, const void *b)
{
	int64 x = ((const UnrdfNeed *) a)->id;
	int64 y = ((const UnrdfNeed *) b)->id;

	return x < y ? -1 : x > y;
}

/* The owner of a job, whether it waits for others or not. Raises 42704. */
static Oid
owner_of(UnrdfIdLookup *jobs, UnrdfIdLookup *waiting, int64 id)
{
	bool isnull;

	if (UnrdfIdLookupFind(jobs, id))
		return DatumGetObjectId(slot_getattr(jobs->rows.slot, JOB_OWNER + 1, &isnull));
	if (!UnrdfIdLookupFind(waiting, id))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("job " INT64_FORMAT " does not exist", id)));
	return DatumGetObjectId(slot_getattr(waiting->rows.slot, JOB_OWNER + 1, &isnull));
}

/* Needs have to exist, to be named once, and to be jobs that one may see. */
static void
check_needs(UnrdfWaitRequest *request)
{
	bool sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA);
	UnrdfIdLookup jobs;
	UnrdfIdLookup waiting;

	if (request->nneeds == 0)
		return;
	qsort(request->needs, request->nneeds, sizeof(UnrdfNeed), compare_needs);
	/* they may have been enqueued by the same statement */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfIdLookupBegin(&jobs, UNRDF_JOB, UNRDF_JOB_PKEY);
	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	for (int i = 0; i < request->nneeds; i++)
	{
		int64 id = request->needs[i].id;
		Oid owner = owner_of(&jobs, &waiting, id);

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && id == request->needs[i - 1].id)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("job " INT64_FORMAT " is needed twice", id)));
		if (!sees_all && !has_privs_of_role(GetUserId(), owner))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("must be owner of job " INT64_FORMAT " to need it", id)));
	}
	UnrdfIdLookupEnd(&waiting);
	UnrdfIdLookupEnd(&jobs);
	PopActiveSnapshot();
}

static void
check_workflow(const UnrdfWaiting *waiting)
{
	UnrdfWorkflow workflow;

	if (waiting->workflow == 0)
	{
		if (waiting->name || waiting->has_compensate)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("%s needs a workflow", waiting->name ? "name" : "compensate")));
		return;
	}
	UnrdfWorkflowFetchOwn(waiting->workflow, false, &workflow);
	UnrdfWorkflowCheckOpen(&workflow);
	if (waiting->has_compensate && !workflow.saga)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workflow " INT64_FORMAT " is no saga", workflow.id),
				 errhint("Only the steps of a workflow that was created with saga => true have "
						 "compensations.")));
}

/* What a step is given, its compensation is given, too: that must not be stored as it is where the step's is not (envelope.c). */
static void
check_compensation(const UnrdfWaiting *waiting)
{
	const UnrdfHandler *handler = UnrdfHandlerById(waiting->job.handler);

	if (!waiting->has_compensate || handler == NULL || !OidIsValid(handler->key_function))
		return;
	handler = UnrdfHandlerById(waiting->compensate);
	if (handler && !OidIsValid(handler->key_function))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("handler \"%s\" does not encrypt its arguments, which the step's handler does",
					handler->name),
			 errhint("Register it with encrypt_args: a compensation gets its step's arguments.")));
}

/* UnrdfWaitingEnqueue enqueues n jobs that wait, whose args may be changed, and stores their ids. Raises 22023, 42704, 42501, 55000, 23505. */
void
UnrdfWaitingEnqueue(UnrdfWaitRequest *request, int n, Jsonb **args, int64 *ids)
{
	UnrdfWaitingWriter *w;
	text *name = request->waiting.name;
	text **groups;

	check_workflow(&request->waiting);
	check_compensation(&request->waiting);
	check_needs(request);
	groups = UnrdfAcceptMany(&request->waiting.job, n, args, NULL);
	request->waiting.job.enqueued_at = UnrdfNow();
	w = UnrdfWaitingWriterBegin(Min(n, 500));
	UnrdfQueueTakesJobs(request->waiting.job.queue);
	(void) UnrdfRoomTake(request->waiting.job.queue, n, UNRDF_ROOM_NEEDED);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (name && request->numbered)
			request->waiting.name =
				cstring_to_text(psprintf("%s/%d", text_to_cstring(name), i + 1));
		request->waiting.job.args = args[i];
		request->waiting.job.group_key = groups[i];
		UnrdfJobFlow(&request->waiting.job);
		ids[i] = UnrdfWaitingWrite(w, &request->waiting, request->nneeds, request->needs);
	}
	UnrdfWaitingWriterEnd(w);
}
