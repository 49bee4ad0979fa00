/*
 * session.c: the process that runs one procedure or command, as the job's owner.
 *
 * What commits on its own cannot run inside an executor's transaction, nor in its process: that is a superuser's, restricted for
 * the time of a transaction only. So the executor starts a process that has never been anybody but the owner, and waits for its
 * end. The process reads the job from the executor's slot, runs it, and writes the receipt in a transaction that begins after the
 * last commit of a procedure, or after the command; or the failed attempt. It leaves what became of it in the slot's task.
 *
 * At least once: whoever dies after a commit of the procedure's, or after the command, and before the receipt's commit, leaves a
 * job without a receipt, which runs again. Receipts of such handlers say so, also those that say dead or cancelled: part of the
 * effects may be there. Never twice at once: the executor does not end before its session has, and the slot's task is nobody
 * else's until then. Where both are killed, shared memory goes with them and so does everything that ran.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/current.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/limit.h"
#include "worker/slot.h"
#include "worker/worker.h"

/* What the session runs; in its own memory context, as it outlives transactions. */
typedef struct Session
{
	MemoryContext context;
	UnrdfTask *task;
	UnrdfJob job;
	UnrdfHandler handler;
	int nargs;
	Jsonb *args;
	char *command; /* its text: of a procedure, what is shown of it */
	TimestampTz started;
} Session;

/* UnrdfCheckSessionOwner raises 28000 for a role that cannot have a session. */
void
UnrdfCheckSessionOwner(Oid owner)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool may = false;

	if (HeapTupleIsValid(tuple))
	{
		may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	if (!may)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" is not permitted to log in",
						GetUserNameFromId(owner, true) ? GetUserNameFromId(owner, true) : "?"),
				 errdetail("A procedure or command runs in a session of the job's owner.")));
}

/* Waits for the session's end, whatever this process is told meanwhile: a cancel is passed on, an end ends the session first. */
static void
wait_for_session(BackgroundWorkerHandle *handle)
{
	bool told = false;
	pid_t pid;

	while (GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
	{
		int session = (int) pg_atomic_read_u32(&UnrdfMySlot->session_pid);

		if (QueryCancelPending && session != 0)
		{
			QueryCancelPending = false;
			kill(session, SIGINT);
		}
		if (ProcDiePending && !told)
		{
			told = true;
			TerminateBackgroundWorker(handle);
		}
		if (ProcSignalBarrierPending)
			ProcessProcSignalBarrier();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
						 unrdf_wait_event("UnrdfSession"));
		ResetLatch(MyLatch);
	}
}

/*
 * UnrdfRunInSession has a session of the owner's run the task of this executor's slot. What became of it is in the task, unless
 * an error is returned: that the session ended before its time.
 */
ErrorData *
UnrdfRunInSession(UnrdfTask *task, Oid owner)
{
	BackgroundWorkerHandle *handle;

	UnrdfMySlot->session_owner = owner;
	pg_atomic_write_u32(&UnrdfMySlot->session_pid, 0);
	if (!UnrdfStartWorker("unrdf session", "UnrdfSessionMain",
						  Int32GetDatum((int32) (UnrdfMySlot - UnrdfSlots)), &handle))
	{
		ereport(WARNING, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						  errmsg("could not start the session of job " INT64_FORMAT
								 ": all background worker slots are taken",
								 task->job),
						  errhint("Raise max_worker_processes.")));
		task->retry_at = UnrdfNow() + USECS_PER_SEC;
		return NULL;
	}
	wait_for_session(handle);
	pfree(handle);
	pg_atomic_write_u32(&UnrdfMySlot->session_pid, 0);
	if (task->result != UNRDF_TASK_UNTOUCHED || task->retry_at != 0 || ProcDiePending)
		return NULL;
	return UnrdfMadeError(ERRCODE_ADMIN_SHUTDOWN, "the session that ran the job ended");
}

/* Runs one utility command as a client's session would: outside of any transaction block. */
static void
run_utility(Session *s, Node *utility, CommandTag tag)
{
	PlannedStmt *statement = makeNode(PlannedStmt);
	Portal portal;

	statement->commandType = CMD_UTILITY;
	statement->canSetTag = true;
	statement->utilityStmt = utility;
	statement->stmt_location = -1;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* what is run must outlive the transactions that it commits */
	MemoryContextSwitchTo(s->context);
	pgstat_report_activity(STATE_RUNNING, s->command);
	debug_query_string = s->command;
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, s->command, tag, list_make1(statement), NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	unrdf_portal_run(portal, None_Receiver);
	PortalDrop(portal, false);
}

static Const *
constant(Oid type, int len, Datum value, bool by_value)
{
	return makeConst(type, -1, InvalidOid, len, value, false, by_value);
}

static void
call_procedure(Session *s)
{
	CallStmt *call = makeNode(CallStmt);
	Const *args = constant(JSONBOID, -1, JsonbPGetDatum(s->args), false);
	List *list = list_make1(args);

	if (s->nargs == 2)
		list = lcons(constant(INT8OID, sizeof(int64), Int64GetDatum(s->job.id), FLOAT8PASSBYVAL),
					 list);
	call->funcexpr = makeFuncExpr(s->handler.function, VOIDOID, list, InvalidOid, InvalidOid,
								  COERCE_EXPLICIT_CALL);
	run_utility(s, (Node *) call, CMDTAG_CALL);
}

/* Whether a command is one that has to run outside of transactions, in one of its forms. Nothing else has a reason to be here. */
static bool
is_for_outside(const Node *utility)
{
	switch (nodeTag(utility))
	{
		case T_VacuumStmt:
		case T_IndexStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
		case T_DropStmt:
		case T_AlterTableStmt:
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
		case T_AlterSystemStmt:
			return true;
		default:
			return false;
	}
}

/* Asks the handler's function for the command, in a transaction of its own. */
static void
ask_for_command(Session *s)
{
	LOCAL_FCINFO(fcinfo, 2);
	FmgrInfo flinfo;
	Datum value;

	UnrdfXactBegin("asking for a command");
	fmgr_info(s->handler.function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, s->nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = s->nargs == 1 ? JsonbPGetDatum(s->args) : Int64GetDatum(s->job.id);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(s->args);
	fcinfo->args[1].isnull = false;
	value = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("handler \"%s\" returned no command", s->handler.name)));
	s->command = MemoryContextStrdup(s->context, TextDatumGetCString(value));
	UnrdfXactCommit();
	MemoryContextSwitchTo(s->context);
}

static void
run_command(Session *s)
{
	List *parsed;
	RawStmt *raw;

	ask_for_command(s);
	parsed = pg_parse_query(s->command);
	raw = list_length(parsed) == 1 ? linitial_node(RawStmt, parsed) : NULL;
	if (raw == NULL || !is_for_outside(raw->stmt))
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("handler \"%s\" returned what cannot be run as a command", s->handler.name),
			 errhint(
				 "It has to return one command that runs outside of transactions, such as VACUUM.")));
	run_utility(s, raw->stmt, CreateCommandTag(raw->stmt));
}

/* Reads job and handler. False where the job has ended. */
static bool
prepare(Session *s)
{
	const UnrdfHandler *handler;
	bool todo;

	UnrdfEnsureEpoch();
	UnrdfXactBegin("reading a job");
	MemoryContextSwitchTo(s->context);
	todo = !UnrdfReceiptExists(s->task->job) && UnrdfJobFetch(s->task->job, &s->job);
	if (todo)
	{
		handler = UnrdfHandlerOf(&s->job);
		if (handler == NULL || handler->kind == UNRDF_FUNCTION)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("the job's handler has changed")));
		s->handler = *handler;
		s->nargs = UnrdfHandlerArgs(handler->function, handler->kind);
		UnrdfCheckRights(s->handler.function, GetUserId(), s->handler.name);
		s->args = UnrdfJobArgs(&s->handler, &s->job);
		s->command = psprintf("CALL %s", format_procedure(s->handler.function));
	}
	UnrdfXactCommit();
	MemoryContextSwitchTo(s->context);
	return todo;
}

/* Writes the receipt in the transaction that the procedure or command left behind, and commits. */
static void
finish(Session *s)
{
	UnrdfEnding ending = {UNRDF_OK, NULL, NULL, s->started};
	UnrdfReceiptWriter *writer;
	StringInfoData text;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (s->handler.kind == UNRDF_COMMAND)
	{
		initStringInfo(&text);
		escape_json(&text, s->command);
		ending.result = UnrdfJsonbOf(text.data);
		UnrdfCheckResult(&s->handler, ending.result);
	}
	writer = UnrdfReceiptWriterBegin(1);
	UnrdfEndingWrite(writer, &s->job, s->task->attempt, &ending);
	UnrdfReceiptWriterEnd(writer);
	UnrdfDepthEnded(s->job.queue, UNRDF_OK, s->task->failed);
	UnrdfWakeIntegrator();
	UnrdfTestPoint(UNRDF_POINT_EXECUTE_COMMIT);
	UnrdfXactCommit();
	UnrdfTestPoint(UNRDF_POINT_EXECUTE_COMMITTED);
	s->task->micros = (int32) Min(UnrdfNow() - s->started, PG_INT32_MAX);
}

static void
run(Session *s)
{
	if (prepare(s))
	{
		int timeout = s->job.timeout_ms >= 0 ? s->job.timeout_ms : s->handler.timeout_ms;

		UnrdfLimitsBegin(timeout, s->handler.memory_limit);
		UnrdfCurrentBegin(&s->job, s->handler.name, s->task->attempt, s->started);
		UnrdfTestPoint(UNRDF_POINT_EXECUTE);
		if (s->handler.kind == UNRDF_PROCEDURE)
			call_procedure(s);
		else
			run_command(s);
		UnrdfTestPoint(UNRDF_POINT_EXECUTED);
		UnrdfCurrentEnd();
		UnrdfLimitsEnd();
		finish(s);
	}
	s->task->result = UNRDF_TASK_ENDED;
	UnrdfJobEnded(s->task->job);
}

static void
run_or_fail(Session *s)
{
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		run(s);
	}
	PG_CATCH();
	{
		UnrdfLimitsEnd();
		MemoryContextSwitchTo(s->context);
		error = CopyErrorData();
		FlushErrorState();
		UnrdfCurrentForget(error);
		UnrdfXactAbort();
		MemoryContextSwitchTo(s->context);
	}
	PG_END_TRY();
	if (error)
		UnrdfTaskFailed(s->task, s->started, error);
}

/* UnrdfSessionMain is the entry point of sessions; arg is the index of the executor's slot. */
void
UnrdfSessionMain(Datum arg)
{
	Session s = {0};

	UnrdfMySlot = &UnrdfSlots[DatumGetInt32(arg)];
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(UnrdfMySlot->dboid, UnrdfMySlot->session_owner, 0);
	UnrdfWorkerSetup();
	UnrdfLimitsInit();
	pg_atomic_write_u32(&UnrdfMySlot->session_pid, MyProcPid);
	s.context = AllocSetContextCreate(TopMemoryContext, "unrdf session", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(s.context);
	s.task = &UnrdfMySlot->tasks[UnrdfMySlot->running];
	s.started = UnrdfNow();
	run_or_fail(&s);
	proc_exit(0);
}
