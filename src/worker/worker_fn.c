/*
 * worker_fn.c: SQL-callable functions of running jobs and of the processes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/arg.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/current.h"
#include "queue/handler.h"
#include "worker/lease.h"
#include "worker/progress.h"
#include "worker/restore.h"
#include "worker/slot.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(unrdf_cancel);
PG_FUNCTION_INFO_V1(unrdf_revive);
PG_FUNCTION_INFO_V1(unrdf_wait);
PG_FUNCTION_INFO_V1(unrdf_workers);
PG_FUNCTION_INFO_V1(unrdf_current_job);
PG_FUNCTION_INFO_V1(unrdf_progress);
PG_FUNCTION_INFO_V1(unrdf_snooze);
PG_FUNCTION_INFO_V1(unrdf_job_progress);
PG_FUNCTION_INFO_V1(unrdf_restore_begins);
PG_FUNCTION_INFO_V1(unrdf_restore_ends);
PG_FUNCTION_INFO_V1(unrdf_finish_restore);

Datum
unrdf_cancel(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(UnrdfCancelJob(PG_GETARG_INT64(0)));
}

Datum
unrdf_revive(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(UnrdfReviveJob(PG_GETARG_INT64(0)));
}

Datum
unrdf_wait(PG_FUNCTION_ARGS)
{
	const char *outcome;
	int64 timeout_ms = -1;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("job must not be null")));
	if (!PG_ARGISNULL(1))
	{
		timeout_ms = UnrdfIntervalMillis(PG_GETARG_INTERVAL_P(1));
		if (timeout_ms < 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("timeout must not be negative")));
	}
	outcome = UnrdfWaitJob(PG_GETARG_INT64(0), timeout_ms);
	if (outcome == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

enum
{
	W_PID,
	W_KIND,
	W_DATNAME,
	W_STATE,
	W_JOB,
	W_HANDLER,
	W_SINCE,
	W_JOBS,
	W_TRANSACTIONS,
	W_COLUMNS
};

typedef struct Row
{
	Datum values[W_COLUMNS];
	bool isnull[W_COLUMNS];
} Row;

static void
set(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->isnull[column] = false;
}

static void
begin_row(Row *row, int pid, const char *kind, Oid dboid, const char *state, TimestampTz since)
{
	char *datname = OidIsValid(dboid) ? get_database_name(dboid) : NULL;

	memset(row->isnull, true, sizeof(row->isnull));
	set(row, W_PID, Int32GetDatum(pid));
	set(row, W_KIND, CStringGetTextDatum(kind));
	if (datname)
	{
		Name name = palloc0(sizeof(NameData));

		namestrcpy(name, datname);
		set(row, W_DATNAME, NameGetDatum(name));
	}
	set(row, W_STATE, CStringGetTextDatum(state));
	set(row, W_SINCE, TimestampTzGetDatum(since));
}

static void
put(ReturnSetInfo *rsinfo, Row *row)
{
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row->values, row->isnull);
}

static void
put_databases(ReturnSetInfo *rsinfo)
{
	static const char *const kinds[] = {"dispatcher", "integrator", "publisher", "releaser",
										"courier"};
	Row row;

	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		UnrdfDatabase db;

		LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
		db = UnrdfShmem->databases[i];
		LWLockRelease(UnrdfShmem->lock);
		if (db.dboid == InvalidOid)
			continue;
		for (int kind = 0; kind < UNRDF_PROCESSES; kind++)
		{
			const UnrdfProcess *process = &db.processes[kind];

			if (process->pid == 0)
				continue;
			begin_row(&row, process->pid, kinds[kind], db.dboid, "running", process->since);
			if (kind == UNRDF_DISPATCHER)
				set(&row, W_JOBS, Int64GetDatum((int64) pg_atomic_read_u64(&db.dispatched)));
			if (kind == UNRDF_INTEGRATOR)
				set(&row, W_JOBS, Int64GetDatum((int64) pg_atomic_read_u64(&db.integrated)));
			put(rsinfo, &row);
		}
	}
}

static void
put_executors(ReturnSetInfo *rsinfo)
{
	static const char *const states[] = {"free", "starting", "idle", "running", "done", "dead"};
	Row row;

	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];
		UnrdfSlotState state = UnrdfSlotGet(slot);
		uint64 job = pg_atomic_read_u64(&slot->job);

		if (state == UNRDF_SLOT_FREE || state == UNRDF_SLOT_DEAD)
			continue;
		begin_row(&row, slot->pid, "executor", slot->dboid, states[state], slot->since);
		set(&row, W_JOBS, Int64GetDatum((int64) pg_atomic_read_u64(&slot->jobs)));
		set(&row, W_TRANSACTIONS, Int64GetDatum((int64) pg_atomic_read_u64(&slot->transactions)));
		if (job != 0)
		{
			const UnrdfHandler *h = NULL;

			if (slot->dboid == MyDatabaseId)
				h = UnrdfHandlerById(pg_atomic_read_u32(&slot->handler));
			set(&row, W_JOB, Int64GetDatum((int64) job));
			if (h)
				set(&row, W_HANDLER, CStringGetTextDatum(h->name));
		}
		put(rsinfo, &row);
	}
}

/* One row per job that a worker outside has in hand; the process is its connection's, where that is the lease. */
static void
put_leases(ReturnSetInfo *rsinfo)
{
	Row row;

	for (int i = UnrdfLeaseNext(0); i >= 0; i = UnrdfLeaseNext(i + 1))
	{
		const UnrdfLease *lease = &UnrdfLeases[i];
		const UnrdfHandler *h = NULL;

		if (!UnrdfLeaseIsHeld(lease))
			continue;
		begin_row(&row, lease->pid, "outside", lease->dboid, "running", lease->since);
		row.isnull[W_PID] = lease->pid == 0;
		set(&row, W_JOB, Int64GetDatum(lease->job));
		if (lease->dboid == MyDatabaseId)
			h = UnrdfHandlerById(lease->handler);
		if (h)
			set(&row, W_HANDLER, CStringGetTextDatum(h->name));
		put(rsinfo, &row);
	}
}

Datum
unrdf_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Row row;

	InitMaterializedSRF(fcinfo, 0);
	if (UnrdfShmem == NULL)
		return (Datum) 0;
	if (UnrdfShmem->launcher_pid != 0)
	{
		begin_row(&row, UnrdfShmem->launcher_pid, "launcher", InvalidOid, "running",
				  UnrdfShmem->launcher_since);
		put(rsinfo, &row);
	}
	put_databases(rsinfo);
	put_executors(rsinfo);
	put_leases(rsinfo);
	return (Datum) 0;
}

Datum
unrdf_current_job(PG_FUNCTION_ARGS)
{
	const UnrdfJob *job = UnrdfCurrentJob.job;
	TupleDesc desc;
	Datum values[9] = {0};
	bool isnull[9];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(isnull, job == NULL, sizeof(isnull));
	if (job)
	{
		char *queue = UnrdfQueueName(job->queue);

		values[0] = Int64GetDatum(job->id);
		values[1] = Int32GetDatum(UnrdfCurrentJob.attempt);
		values[2] = CStringGetTextDatum(UnrdfCurrentJob.handler);
		values[3] = queue ? CStringGetTextDatum(queue) : (Datum) 0;
		isnull[3] = queue == NULL;
		values[4] = Int32GetDatum(job->priority);
		values[5] = PointerGetDatum(job->key);
		isnull[5] = job->key == NULL;
		values[6] = ObjectIdGetDatum(job->owner);
		values[7] = TimestampTzGetDatum(job->enqueued_at);
		values[8] = TimestampTzGetDatum(UnrdfCurrentJob.started);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
}

Datum
unrdf_progress(PG_FUNCTION_ARGS)
{
	int64 total = -1;

	UnrdfArgNotNull(fcinfo, 0, "done");
	if (PG_GETARG_INT64(0) < 0)
		UnrdfArgRefuse("done", "at least 0");
	if (!PG_ARGISNULL(1) && (total = PG_GETARG_INT64(1)) < 0)
		UnrdfArgRefuse("total", "at least 0");
	UnrdfProgressSet(PG_GETARG_INT64(0), total, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	PG_RETURN_VOID();
}

Datum
unrdf_snooze(PG_FUNCTION_ARGS)
{
	int64 ms = UnrdfIntervalMillis(PG_GETARG_INTERVAL_P(0));

	if (ms < 0)
		UnrdfArgRefuse("delay", "at least 0");
	UnrdfSnooze(ms);
	PG_RETURN_VOID();
}

Datum
unrdf_job_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; UnrdfShmem && i < unrdf_executor_slots; i++)
	{
		Datum values[10] = {0};
		bool isnull[10] = {0};
		UnrdfProgress p;
		const UnrdfHandler *handler;
		int pid;

		if (!UnrdfProgressGet(&UnrdfSlots[i], &p, &pid))
			continue;
		handler = UnrdfHandlerById(p.handler);
		values[0] = Int64GetDatum(p.job);
		values[1] = Int32GetDatum(p.attempt);
		values[2] = CStringGetTextDatum(handler ? handler->name : "");
		values[3] = ObjectIdGetDatum(p.owner);
		values[4] = Int32GetDatum(pid);
		values[5] = Int64GetDatum(p.done);
		values[6] = Int64GetDatum(p.total);
		isnull[6] = p.total < 0;
		values[7] = CStringGetTextDatum(p.note);
		isnull[7] = !p.has_note;
		values[8] = TimestampTzGetDatum(p.started_at);
		values[9] = TimestampTzGetDatum(p.changed_at);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	return (Datum) 0;
}

Datum
unrdf_restore_begins(PG_FUNCTION_ARGS)
{
	UnrdfRestoreBegins();
	PG_RETURN_POINTER(NULL);
}

Datum
unrdf_restore_ends(PG_FUNCTION_ARGS)
{
	if (UnrdfRestoreRuns())
		UnrdfFinishRestore();
	PG_RETURN_TIMESTAMPTZ(UnrdfNow());
}

Datum
unrdf_finish_restore(PG_FUNCTION_ARGS)
{
	UnrdfFinishRestore();
	PG_RETURN_VOID();
}
