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
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/identity.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "queue/depth.h"
#include "queue/job.h"
#include "worker/crash.h"
#include "worker/executor.h"
#include "worker/slot.h"
#include "worker/worker.h"

#define GROUP_LOCK_TIMEOUT 200 /* ms; far above what extending a table takes */
#define GROUP_LATE 8           /* times unrdf.group_time after which a group is cut short */
#define TIMEOUT_REPEAT 1000    /* ms */
#define TIMEOUT_PATIENCE 5     /* repeats before the process ends */

/* A handler's function, looked up once per transaction. */
typedef struct Call
{
	int32 handler;
	Oid executable_by; /* whose right to execute it was checked last */
	int nargs;
	bool returns_json;
	int32 timeout_ms;
	FmgrInfo flinfo;
	char name[NAMEDATALEN];
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

static UnrdfSlot *my_slot = NULL;
static MemoryContext executor_context = NULL;
static int user_timeout = USER_TIMEOUT;

/* set by the timer while a job runs */
static volatile sig_atomic_t timed_out = 0;

/* UnrdfRunningJob returns the job that this process runs; 0: none. */
int64
UnrdfRunningJob(void)
{
	return my_slot ? (int64) pg_atomic_read_u64(&my_slot->job) : 0;
}

static void
at_exit(int code, Datum arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	UnrdfCrashClear((int) (my_slot - UnrdfSlots));
	pg_atomic_write_u64(&my_slot->job, 0);
	my_slot->latch = NULL;
	/* the dispatcher may be changing it, too */
	while (!UnrdfSlotSet(my_slot, UnrdfSlotGet(my_slot), UNRDF_SLOT_DEAD))
		;
	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
	UnrdfWorkerGone();
}

/*
 * The time-out cancels the handler, again and again: a handler may catch query_canceled. One that goes on nevertheless
 * loses its process, which no handler can catch.
 */
static void
on_timeout(void)
{
	timed_out++;
	QueryCancelPending = true;
	if (timed_out > TIMEOUT_PATIENCE)
		ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
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
	run->calls = palloc(16 * sizeof(Call));
}

static void
broadcast(void)
{
	for (int i = 0; i < my_slot->ntasks; i++)
		if (my_slot->tasks[i].result == UNRDF_TASK_ENDED)
			UnrdfJobEnded(my_slot->tasks[i].job);
}

static void
commit_run(Run *run)
{
	my_slot->running = -1;
	pg_atomic_write_u64(&my_slot->job, 0);
	UnrdfReceiptWriterEnd(run->writer);
	ExecDropSingleTupleTableSlot(run->row);
	table_close(run->jobs, NoLock);
	UnrdfWakeIntegrator();
	UnrdfXactCommit();
	UnrdfCrashClear((int) (my_slot - UnrdfSlots));
	UnrdfCleanSession();
	pg_atomic_fetch_add_u64(&my_slot->transactions, 1);
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
make_call(Run *run, int32 id)
{
	const UnrdfHandler *handler = UnrdfHandlerById(id);
	Call *call;

	if (handler == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("handler with id %d does not exist", id)));
	if (run->ncalls == 16)
		run->ncalls = 0;
	call = &run->calls[run->ncalls];
	call->nargs = UnrdfHandlerArgs(handler->function);
	call->returns_json = get_func_rettype(handler->function) == JSONBOID;
	call->handler = id;
	call->executable_by = InvalidOid;
	call->timeout_ms = handler->timeout_ms;
	strlcpy(call->name, handler->name, NAMEDATALEN);
	fmgr_info_cxt(handler->function, &call->flinfo, run->context);
	run->ncalls++;
	return call;
}

/* Returns the call of a handler, checked to be executable by the job's owner. */
static Call *
find_call(Run *run, const UnrdfJob *job)
{
	Call *call = NULL;

	for (int i = 0; i < run->ncalls; i++)
		if (run->calls[i].handler == job->handler)
			call = &run->calls[i];
	if (call == NULL)
		call = make_call(run, job->handler);
	if (call->executable_by != job->owner)
	{
		UnrdfCheckRights(call->flinfo.fn_oid, job->owner, call->name);
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

/* Calls the handler as the job's owner. Its result, if any, is copied to the run's context. */
static Jsonb *
call_handler(Run *run, Call *call, UnrdfJob *job)
{
	LOCAL_FCINFO(fcinfo, 2);
	UnrdfIdentity before;
	Datum value;
	Jsonb *result = NULL;
	int timeout = job->timeout_ms >= 0 ? job->timeout_ms : call->timeout_ms;

	if (job->args == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("arguments of job " INT64_FORMAT " are gone", job->id)));
	InitFunctionCallInfoData(*fcinfo, &call->flinfo, call->nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = call->nargs == 1 ? JsonbPGetDatum(job->args) : Int64GetDatum(job->id);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(job->args);
	fcinfo->args[1].isnull = false;
	timed_out = 0;
	if (timeout > 0)
		enable_timeout_every(user_timeout, TimestampTzPlusMilliseconds(UnrdfServerNow(), timeout),
							 TIMEOUT_REPEAT);
	UnrdfBecome(job->owner, &before);
	/* a restricted operation may not defer, so what is INITIALLY DEFERRED has to be immediate beforehand */
	UnrdfFireDeferredTriggers();
	value = FunctionCallInvoke(fcinfo);
	UnrdfFireDeferredTriggers();
	refuse_temporary_objects();
	UnrdfRestore(&before);
	if (timeout > 0)
		disable_timeout(user_timeout, false);
	if (!fcinfo->isnull && call->returns_json)
	{
		MemoryContext old = MemoryContextSwitchTo(run->context);

		result = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	return result;
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
	r.operation = call->name;
	r.operation_len = strlen(call->name);
	r.actor = run->actor_name;
	r.actor_len = strlen(run->actor_name);
	r.result = result;
	UnrdfReceiptSeal(&r, job->args, &run->scratch);
	UnrdfReceiptWrite(run->writer, &r);
	UnrdfDepthEnded(job->queue, UNRDF_OK, task->attempt > 1);
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

/* Runs one job inside the run's transaction. */
static void
run_job(Run *run, UnrdfTask *task, bool alone)
{
	MemoryContext old = MemoryContextSwitchTo(run->job_context);
	UnrdfSlot *slot = run->slot;
	UnrdfJob job;
	Call *call;
	Jsonb *result;
	TimestampTz started;
	TimestampTz finished;

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
		pg_atomic_write_u64(&slot->job, job.id);
		UnrdfCrashNote((int) (slot - UnrdfSlots), MyDatabaseId, job.id, alone);
		result = call_handler(run, call, &job);
		finished = UnrdfNow();
		write_receipt(run, task, &job, call, result, started, finished);
		task->micros = (int32) Min(finished - started, PG_INT32_MAX);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->job_context);
}

/* After an error: everything is rolled back, and the error, if wanted, copied to the executor's context. */
static ErrorData *
recover(void)
{
	ErrorData *error;

	disable_timeout(user_timeout, false);
	MemoryContextSwitchTo(executor_context);
	error = CopyErrorData();
	FlushErrorState();
	UnrdfXactAbort();
	UnrdfCrashClear((int) (my_slot - UnrdfSlots));
	UnrdfCleanSession();
	pg_atomic_write_u64(&my_slot->job, 0);
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
			run_job(&run, &slot->tasks[n++], false);
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

	PG_TRY();
	{
		Run run;

		begin_run(&run, slot, 1);
		if (!UnrdfReceiptExists(task->job))
			run_job(&run, task, pg_atomic_read_u32(&slot->alone) != 0);
		commit_run(&run);
		task->result = UNRDF_TASK_ENDED;
	}
	PG_CATCH();
	{
		error = recover();
	}
	PG_END_TRY();
	return error;
}

static ErrorData *
made_error(int sqlstate, const char *message)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = sqlstate;
	error->message = pstrdup(message);
	return error;
}

/* Writes down a failed attempt in the current transaction, unless the job has ended. */
static void
record_failure(UnrdfTask *task, TimestampTz started, ErrorData *error)
{
	UnrdfJob job;

	task->retry_at = 0;
	if (!UnrdfReceiptExists(task->job) && UnrdfJobFetch(task->job, &job))
		UnrdfRecordFailure(&job, task->attempt, task->kind == UNRDF_TASK_CRASHED, -1, false,
						   started, error, &task->retry_at);
}

static void
failure_recorded(UnrdfTask *task)
{
	task->result = task->retry_at != 0 ? UNRDF_TASK_RETRY : UNRDF_TASK_ENDED;
}

static ErrorData *
lost_error(void)
{
	return made_error(
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
			record_failure(&slot->tasks[i], slot->tasks[i].since, lost_error());
		UnrdfXactCommit();
		for (int i = 0; i < slot->ntasks; i++)
			failure_recorded(&slot->tasks[i]);
	}
	PG_CATCH();
	{
		FreeErrorData(recover());
		ok = false;
	}
	PG_END_TRY();
	return ok;
}

/* Writes down a failed attempt. Where even that fails, the job is tried again in a second. */
static void
fail(UnrdfTask *task, TimestampTz started, ErrorData *error)
{
	if (timed_out)
	{
		error->sqlerrcode = ERRCODE_QUERY_CANCELED;
		error->message = "canceled: the job's time-out expired";
	}
	ereport(LOG, (errmsg("job " INT64_FORMAT " failed in attempt %d: %s", task->job, task->attempt,
						 error->message)));
	PG_TRY();
	{
		UnrdfXactBegin("recording a failed attempt");
		record_failure(task, started, error);
		UnrdfXactCommit();
		failure_recorded(task);
	}
	PG_CATCH();
	{
		ErrorData *second = recover();

		ereport(LOG, (errmsg("could not record the failure of job " INT64_FORMAT ": %s", task->job,
							 second->message)));
		task->retry_at = UnrdfNow() + USECS_PER_SEC;
	}
	PG_END_TRY();
}

static void
run_task(UnrdfSlot *slot, UnrdfTask *task)
{
	TimestampTz started = task->kind == UNRDF_TASK_LOST ? task->since : UnrdfNow();
	ErrorData *error = NULL;

	timed_out = 0;
	MemoryContextSwitchTo(executor_context);
	if (task->kind == UNRDF_TASK_RUN)
		error = run_single(slot, task);
	else if (task->kind == UNRDF_TASK_LOST)
		error = lost_error();
	else if (task->kind == UNRDF_TASK_DIED)
		error = made_error(ERRCODE_ADMIN_SHUTDOWN, "the executor ended while it ran the job");
	else
		error = made_error(ERRCODE_CRASH_SHUTDOWN, "the server crashed while it ran the job alone");
	MemoryContextSwitchTo(executor_context);
	slot->running = -1;
	if (error)
		fail(task, started, error);
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

	my_slot = &UnrdfSlots[DatumGetInt32(arg)];
	before_shmem_exit(at_exit, 0);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(my_slot->dboid, InvalidOid, 0);
	UnrdfWorkerSetup();
	user_timeout = RegisterTimeout(USER_TIMEOUT, on_timeout);
	executor_context =
		AllocSetContextCreate(TopMemoryContext, "unrdf executor", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(executor_context);
	db = UnrdfMyDatabase();
	my_slot->latch = MyLatch;
	my_slot->pid = MyProcPid;
	UnrdfSlotSet(my_slot, UNRDF_SLOT_STARTING, UNRDF_SLOT_IDLE);
	UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
	for (;;)
	{
		if (UnrdfSlotGet(my_slot) == UNRDF_SLOT_ASSIGNED)
		{
			run_tasks(my_slot);
			broadcast();
			UnrdfSlotSet(my_slot, UNRDF_SLOT_ASSIGNED, UNRDF_SLOT_DONE);
			UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
			continue;
		}
		if (pg_atomic_read_u32(&my_slot->stop) && UnrdfSlotGet(my_slot) == UNRDF_SLOT_IDLE)
			proc_exit(0);
		UnrdfWorkerWait(-1, unrdf_wait_event("UnrdfExecutorIdle"));
	}
}
