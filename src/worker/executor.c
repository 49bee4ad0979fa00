/*
 * executor.c: the pool process that runs jobs.
 *
 * Invariant: a job's effects and its receipt commit in one transaction or not at all, and at most one receipt of a job's id
 * ever commits (receipt_pkey). So whatever makes a job run twice, a crash between two lines, a cancel that came too late,
 * a job handed out again after a restart, the second run rolls back with all its effects.
 *
 * Short jobs share a transaction, without savepoints: if any fails, all of them roll back and each is done again by itself.
 * Each sees what its neighbours did before it, as if they had committed. Where one takes much longer than was expected, the
 * transaction ends with it and the rest goes back to the dispatcher. Only the single run of a job counts as an attempt
 * and only there a failure is recorded (failure.c).
 *
 * While the receipts of a group are written, another transaction may hold the same id: unrdf.cancel() in a session that has
 * not committed yet. The group does not wait for it longer than GROUP_LOCK_TIMEOUT, so one such session cannot hold up its
 * neighbours; the job in question then waits alone, under its own time-out.
 *
 * A procedure or a command cannot run in the executor's transaction: it has a session of its owner's (session.c), for whose end the
 * executor waits.
 *
 * The exit callback is registered before those of the backend proper, and so runs after them: by the time the slot says
 * DEAD, the transaction has been rolled back.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/identity.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/current.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "queue/job.h"
#include "worker/crash.h"
#include "worker/executor.h"
#include "worker/limit.h"
#include "worker/expiry.h"
#include "worker/slot.h"
#include "worker/worker.h"

#define GROUP_LOCK_TIMEOUT 200 /* ms; far above what extending a table takes */
#define MAX_CALLS 16
#define GROUP_LATE 8 /* times unrdf.group_time after which a group is cut short */

/* A handler's function, looked up once per transaction. */
typedef struct Call
{
	UnrdfHandler handler;
	Oid executable_by; /* whose right to execute it was checked last */
	int nargs;
	bool returns_json;
	FmgrInfo flinfo;
} Call;

/* One transaction of an executor. */
typedef struct Run
{
	UnrdfSlot *slot;
	MemoryContext context;     /* of the transaction's receipts, results and calls */
	MemoryContext job_context; /* of one job */
	StringInfoData scratch;
	Relation jobs;
	TupleTableSlot *row;
	UnrdfReceiptWriter *writer;
	int32 epoch;
	Call *calls;
	int ncalls;
	Oid actor;
	char actor_name[NAMEDATALEN];
} Run;

static MemoryContext executor_context = NULL;

static void
at_exit(int code, Datum arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	UnrdfCrashClear((int) (UnrdfMySlot - UnrdfSlots));
	pg_atomic_write_u64(&UnrdfMySlot->job, 0);
	UnrdfMySlot->latch = NULL;
	/* the dispatcher may be changing it, too */
	while (!UnrdfSlotSet(UnrdfMySlot, UnrdfSlotGet(UnrdfMySlot), UNRDF_SLOT_DEAD))
		;
	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
	UnrdfWorkerGone();
}

static void
begin_run(Run *run, UnrdfSlot *slot, int capacity)
{
	memset(run, 0, sizeof(*run));
	run->slot = slot;
	UnrdfEnsureEpoch();
	UnrdfXactBegin(capacity == 1 ? "running a job" : "running jobs");
	run->context =
		AllocSetContextCreate(TopTransactionContext, "unrdf run", ALLOCSET_DEFAULT_SIZES);
	run->job_context = AllocSetContextCreate(run->context, "unrdf job", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(run->context);
	initStringInfo(&run->scratch);
	run->epoch = UnrdfCurrentEpoch();
	run->jobs = table_open(UnrdfRelid(UNRDF_JOB), AccessShareLock);
	run->row = table_slot_create(run->jobs, NULL);
	run->writer = UnrdfReceiptWriterBegin(Min(capacity, 256));
	run->calls = palloc(MAX_CALLS * sizeof(Call));
}

static void
broadcast(void)
{
	for (int i = 0; i < UnrdfMySlot->ntasks; i++)
		if (UnrdfMySlot->tasks[i].result == UNRDF_TASK_ENDED)
			UnrdfJobEnded(UnrdfMySlot->tasks[i].job);
}

static void
end_run(Run *run)
{
	UnrdfReceiptWriterEnd(run->writer);
	ExecDropSingleTupleTableSlot(run->row);
	table_close(run->jobs, NoLock);
	UnrdfWakeIntegrator();
	UnrdfXactCommit();
}

static void
commit_run(Run *run)
{
	UnrdfMySlot->running = -1;
	pg_atomic_write_u64(&UnrdfMySlot->job, 0);
	UnrdfTestPoint(UNRDF_POINT_EXECUTE_COMMIT);
	end_run(run);
	UnrdfTestPoint(UNRDF_POINT_EXECUTE_COMMITTED);
	UnrdfCrashClear((int) (UnrdfMySlot - UnrdfSlots));
	UnrdfCleanSession();
	pg_atomic_fetch_add_u64(&UnrdfMySlot->transactions, 1);
}

/* Reads the task's job; by its place, or else by its id. False where it is gone. */
static bool
read_job(Run *run, UnrdfTask *task, UnrdfJob *job)
{
	if (ItemPointerIsValid(&task->tid) &&
		table_tuple_fetch_row_version(run->jobs, &task->tid, GetActiveSnapshot(), run->row))
	{
		UnrdfJobRead(run->row, job);
		if (job->id == task->job)
			return true;
	}
	return UnrdfJobFetch(task->job, job);
}

static Call *
make_call(Run *run, const UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerOf(job);
	Call *call;

	if (handler == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("handler with id %d does not exist", job->handler)));
	if (run->ncalls == MAX_CALLS)
		run->ncalls = 0;
	call = &run->calls[run->ncalls];
	call->handler = *handler;
	call->nargs = UnrdfHandlerArgs(handler->function, handler->kind);
	call->returns_json = get_func_rettype(call->handler.function) == JSONBOID;
	call->executable_by = InvalidOid;
	fmgr_info_cxt(call->handler.function, &call->flinfo, run->context);
	run->ncalls++;
	return call;
}

/* Whether a call is what runs a job. A handler may have changed since the call was made, and jobs may keep to its versions. */
static bool
is_for(const Call *call, const UnrdfJob *job)
{
	const UnrdfHandler *handler = &call->handler;

	return handler->id == job->handler && handler->newest >= job->handler_version &&
		   (!handler->pinned || handler->version == job->handler_version);
}

/* Returns the call that runs a job, checked to be executable by the job's owner. */
static Call *
find_call(Run *run, const UnrdfJob *job)
{
	Call *call = NULL;

	for (int i = 0; i < run->ncalls; i++)
		if (is_for(&run->calls[i], job))
			call = &run->calls[i];
	if (call == NULL)
		call = make_call(run, job);
	if (call->executable_by != job->owner)
	{
		UnrdfCheckRights(call->handler.function, job->owner, call->handler.name);
		call->executable_by = job->owner;
	}
	return call;
}

/*
 * A restricted operation refuses temporary relations, and types only in newer minor releases. Whatever else there is
 * would stay in pg_temp, which other owners' jobs may have in front of their search_path.
 */
static void
refuse_temporary_objects(void)
{
	if (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("a handler cannot create temporary objects")));
}

/* Copies a result to the run's context. Raises 54000 for one that is too large. */
static Jsonb *
keep_result(Run *run, const UnrdfHandler *handler, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);
	Jsonb *result = DatumGetJsonbPCopy(value);

	MemoryContextSwitchTo(old);
	UnrdfCheckResult(handler, result);
	return result;
}

/* Calls the handler as the job's owner. Its result, if any, is copied to the run's context. */
static Jsonb *
call_handler(Run *run, Call *call, UnrdfJob *job, int32 attempt, TimestampTz started)
{
	LOCAL_FCINFO(fcinfo, 2);
	UnrdfIdentity before;
	Datum value;
	Jsonb *args = UnrdfJobArgs(&call->handler, job);

	InitFunctionCallInfoData(*fcinfo, &call->flinfo, call->nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = call->nargs == 1 ? JsonbPGetDatum(args) : Int64GetDatum(job->id);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(args);
	fcinfo->args[1].isnull = false;
	UnrdfLimitsBegin(job->timeout_ms >= 0 ? job->timeout_ms : call->handler.timeout_ms,
					 call->handler.memory_limit);
	UnrdfBecome(job->owner, &before);
	UnrdfCurrentBegin(job, call->handler.name, attempt, started);
	/* a restricted operation may not defer, so what is INITIALLY DEFERRED has to be immediate beforehand */
	UnrdfFireDeferredTriggers();
	UnrdfTestPoint(UNRDF_POINT_EXECUTE);
	value = FunctionCallInvoke(fcinfo);
	UnrdfTestPoint(UNRDF_POINT_EXECUTED);
	UnrdfFireDeferredTriggers();
	refuse_temporary_objects();
	UnrdfCurrentEnd();
	UnrdfRestore(&before);
	UnrdfLimitsEnd();
	if (fcinfo->isnull || !call->returns_json)
		return NULL;
	return keep_result(run, &call->handler, value);
}

static void
write_receipt(Run *run, UnrdfTask *task, UnrdfJob *job, Call *call, Jsonb *result,
			  TimestampTz started, TimestampTz finished)
{
	UnrdfReceipt r = {0};

	r.id = job->id;
	r.kind = UNRDF_EXECUTE;
	r.outcome = UNRDF_OK;
	r.epoch = run->epoch;
	r.attempt = task->attempt;
	r.started_at = started;
	r.finished_at = finished;
	r.operation = call->handler.name;
	r.operation_len = strlen(call->handler.name);
	r.actor = run->actor_name;
	r.actor_len = strlen(run->actor_name);
	r.result = result;
	r.result_until = UnrdfKeepUntil(job->retention, UNRDF_KEEP_RESULTS, finished);
	UnrdfReceiptSeal(&r, job->args, &run->scratch);
	UnrdfReceiptWrite(run->writer, &r);
	UnrdfDepthEnded(job->queue, UNRDF_OK, task->failed);
}

static void
become_actor(Run *run, Oid owner)
{
	char *name;

	if (run->actor == owner)
		return;
	name = GetUserNameFromId(owner, false);
	strlcpy(run->actor_name, name, NAMEDATALEN);
	run->actor = owner;
}

/*
 * Runs one job inside the run's transaction. Where its handler cannot be run so, nothing is done, and its owner, who has a
 * session of his own for it, is returned; else InvalidOid.
 */
static Oid
run_job(Run *run, UnrdfTask *task, bool alone)
{
	MemoryContext old = MemoryContextSwitchTo(run->job_context);
	UnrdfSlot *slot = run->slot;
	UnrdfJob job;
	Call *call;
	Jsonb *result;
	TimestampTz started;
	TimestampTz finished;
	Oid session_of = InvalidOid;

	slot->running = (int) (task - slot->tasks);
	if (read_job(run, task, &job))
	{
		call = find_call(run, &job);
		become_actor(run, job.owner);
		started = UnrdfNow();
		slot->since = started;
		pg_atomic_write_u32(&slot->handler, job.handler);
		pg_atomic_write_u32(&slot->queue, job.queue);
		pg_atomic_write_u32(&slot->attempt, task->attempt);
		pg_atomic_write_u32(&slot->failed, task->failed);
		pg_atomic_write_u64(&slot->job, job.id);
		UnrdfCrashNote((int) (slot - UnrdfSlots), MyDatabaseId, job.id, alone);
		if (call->handler.kind != UNRDF_FUNCTION)
		{
			UnrdfCheckSessionOwner(job.owner);
			session_of = job.owner;
		}
		else
		{
			result = call_handler(run, call, &job, task->attempt, started);
			finished = UnrdfNow();
			write_receipt(run, task, &job, call, result, started, finished);
			task->micros = (int32) Min(finished - started, PG_INT32_MAX);
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->job_context);
	return session_of;
}

static void
forget_running(void)
{
	UnrdfCrashClear((int) (UnrdfMySlot - UnrdfSlots));
	pg_atomic_write_u64(&UnrdfMySlot->job, 0);
}

/* After an error: everything is rolled back, and the error, if wanted, copied to the executor's context. */
static ErrorData *
recover(void)
{
	ErrorData *error;

	UnrdfLimitsEnd();
	MemoryContextSwitchTo(executor_context);
	error = CopyErrorData();
	FlushErrorState();
	UnrdfCurrentForget(error);
	UnrdfXactAbort();
	forget_running();
	UnrdfCleanSession();
	MemoryContextSwitchTo(executor_context);
	return error;
}

/*
 * Runs tasks in one transaction: all of them, or the first few where those took long. False where that failed; then nothing of
 * it remains.
 */
static bool
run_group(UnrdfSlot *slot)
{
	volatile bool ok = true;

	PG_TRY();
	{
		Run run;
		int n = 0;
		int64 late = UnrdfTicks() + GROUP_LATE * unrdf_group_time;

		begin_run(&run, slot, slot->ntasks);
		do
		{
			if (n > 0)
				UnrdfFreshSnapshot();
			if (OidIsValid(run_job(&run, &slot->tasks[n++], false)))
				ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
								errmsg("a job of the group needs a session of its own")));
		} while (n < slot->ntasks && UnrdfTicks() < late);
		LockTimeout = GROUP_LOCK_TIMEOUT;
		commit_run(&run);
		LockTimeout = 0;
		for (int i = 0; i < n; i++)
			slot->tasks[i].result = UNRDF_TASK_ENDED;
	}
	PG_CATCH();
	{
		LockTimeout = 0;
		FreeErrorData(recover());
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/* Runs one task in a transaction of its own, unless its job has ended. Returns the error that stopped it, or NULL. */
static ErrorData *
run_single(UnrdfSlot *slot, UnrdfTask *task)
{
	ErrorData *volatile error = NULL;
	volatile Oid session_of = InvalidOid;

	PG_TRY();
	{
		Run run;

		begin_run(&run, slot, 1);
		if (!UnrdfReceiptExists(task->job))
			session_of = run_job(&run, task, pg_atomic_read_u32(&slot->alone) != 0);
		if (OidIsValid(session_of))
			end_run(&run);
		else
		{
			commit_run(&run);
			task->result = UNRDF_TASK_ENDED;
		}
	}
	PG_CATCH();
	{
		error = recover();
	}
	PG_END_TRY();
	if (OidIsValid(session_of))
	{
		error = UnrdfRunInSession(task, session_of);
		forget_running();
	}
	return error;
}

static ErrorData *
lost_error(void)
{
	return UnrdfMadeError(
		ERRCODE_CONNECTION_FAILURE,
		"the worker that had claimed the job is lost: its lease, or its connection, has ended");
}

/* Writes down attempts of workers outside that are lost, in one transaction: many end with one connection. False as run_group. */
static bool
record_lost(UnrdfSlot *slot)
{
	volatile bool ok = true;

	PG_TRY();
	{
		UnrdfEnsureEpoch();
		UnrdfXactBegin("recording lost attempts");
		for (int i = 0; i < slot->ntasks; i++)
			UnrdfTaskRecord(&slot->tasks[i], -1, slot->tasks[i].since, lost_error());
		UnrdfXactCommit();
		for (int i = 0; i < slot->ntasks; i++)
			UnrdfTaskRecorded(&slot->tasks[i], false);
	}
	PG_CATCH();
	{
		FreeErrorData(recover());
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

static void
run_task(UnrdfSlot *slot, UnrdfTask *task)
{
	TimestampTz started = task->kind == UNRDF_TASK_LOST ? task->since : UnrdfNow();
	ErrorData *error = NULL;

	UnrdfLimitsForget();
	UnrdfCurrentJob.snooze_ms = -1;
	MemoryContextSwitchTo(executor_context);
	if (task->kind == UNRDF_TASK_RUN)
		error = run_single(slot, task);
	else if (task->kind == UNRDF_TASK_LOST)
		error = lost_error();
	else if (task->kind == UNRDF_TASK_DIED)
		error = UnrdfMadeError(ERRCODE_ADMIN_SHUTDOWN, "the executor ended while it ran the job");
	else
		error =
			UnrdfMadeError(ERRCODE_CRASH_SHUTDOWN, "the server crashed while it ran the job alone");
	MemoryContextSwitchTo(executor_context);
	slot->running = -1;
	if (error)
		UnrdfTaskFailed(task, started, error);
	MemoryContextReset(executor_context);
}

static void
run_tasks(UnrdfSlot *slot)
{
	int64 cpu = UnrdfBusyMicros();
	int64 started = UnrdfTicks();
	int ended = 0;

	/* a cancel that came when there was nothing to cancel */
	QueryCancelPending = false;
	if (slot->tasks[0].kind == UNRDF_TASK_EXPIRE)
	{
		UnrdfExpireInBackground();
		return;
	}
	if (slot->tasks[0].kind == UNRDF_TASK_LOST ? !record_lost(slot)
											   : slot->ntasks == 1 || !run_group(slot))
		for (int i = 0; i < slot->ntasks; i++)
			if (slot->tasks[i].result == UNRDF_TASK_UNTOUCHED)
				run_task(slot, &slot->tasks[i]);
	MemoryContextReset(executor_context);
	for (int i = 0; i < slot->ntasks; i++)
		ended += slot->tasks[i].result == UNRDF_TASK_ENDED;
	pg_atomic_fetch_add_u64(&slot->jobs, ended);
	slot->busy_micros = UnrdfBusyMicros() - cpu;
	slot->wall_micros = UnrdfTicks() - started;
}

/* UnrdfExecutorMain is the entry point of executors; arg is the slot's index. */
void
UnrdfExecutorMain(Datum arg)
{
	UnrdfDatabase *db;

	UnrdfMySlot = &UnrdfSlots[DatumGetInt32(arg)];
	before_shmem_exit(at_exit, 0);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(UnrdfMySlot->dboid, InvalidOid, 0);
	UnrdfWorkerSetup();
	UnrdfLimitsInit();
	executor_context =
		AllocSetContextCreate(TopMemoryContext, "unrdf executor", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(executor_context);
	db = UnrdfMyDatabase();
	UnrdfMySlot->latch = MyLatch;
	UnrdfMySlot->pid = MyProcPid;
	UnrdfSlotSet(UnrdfMySlot, UNRDF_SLOT_STARTING, UNRDF_SLOT_IDLE);
	UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
	for (;;)
	{
		if (UnrdfSlotGet(UnrdfMySlot) == UNRDF_SLOT_ASSIGNED)
		{
			run_tasks(UnrdfMySlot);
			broadcast();
			UnrdfSlotSet(UnrdfMySlot, UNRDF_SLOT_ASSIGNED, UNRDF_SLOT_DONE);
			UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
			continue;
		}
		if (pg_atomic_read_u32(&UnrdfMySlot->stop) && UnrdfSlotGet(UnrdfMySlot) == UNRDF_SLOT_IDLE)
			proc_exit(0);
		UnrdfWorkerWait(-1, unrdf_wait_event("UnrdfExecutorIdle"));
	}
}
