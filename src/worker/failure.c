/*
 * failure.c: what is written about an attempt that failed or snoozed.
 *
 * The attempt's own transaction was rolled back, so this is another one: the attempt's row and, where it was the last, the
 * receipt that says dead. Both commit together, so a job is never dead without its reason. Dying before the commit leaves
 * the job pending with the attempt uncounted, which is the safe side. Each row says how many attempts have failed up to it,
 * which is what max_attempts and the pauses go by: a snoozed one has a number, and is no failure.
 *
 * Whoever ends a job says how many attempts it had (ending.c), and so does who counts (queue/depth.c). So an attempt is not
 * recorded of a job that has ended, or is being ended by a transaction that has not committed: each of the two writes its row first
 * and then looks for the other's, committed or not, so one of them sees the other.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/lookup.h"
#include "base/kept.h"
#include "base/plan.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/current.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "queue/retry.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/limit.h"

/* what is kept of a message, a detail, a hint or a context */
#define MAX_ERROR_TEXT 8192

static UnrdfPlan find_receipt = {
	"SELECT 1 FROM unrdf.receipt WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
static UnrdfPlan last_attempt = {
	"SELECT failures, n FROM unrdf.attempt WHERE job OPERATOR(pg_catalog.=) $1 ORDER BY n DESC LIMIT 1",
	1,
	{INT8OID}};

/* UnrdfMadeError returns an error that nobody raised. */
ErrorData *
UnrdfMadeError(int sqlstate, const char *message)
{
	ErrorData *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = sqlstate;
	error->message = pstrdup(message);
	return error;
}

/* UnrdfReceiptExists looks under the newest snapshot. */
bool
UnrdfReceiptExists(int64 id)
{
	Datum value = Int64GetDatum(id);
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(&find_receipt, &value, NULL) > 0;
	SPI_finish();
	return found;
}

static char *
clipped(const char *s)
{
	return pnstrdup(s, pg_mbcliplen(s, strlen(s), MAX_ERROR_TEXT));
}

static void
set_text(TupleTableSlot *slot, int column, const char *s)
{
	if (s)
		UnrdfAppendSet(slot, column, CStringGetTextDatum(clipped(s)));
}

static void
set_texts(TupleTableSlot *slot, const ErrorData *error)
{
	set_text(slot, ATTEMPT_MESSAGE, error->message ? error->message : "");
	set_text(slot, ATTEMPT_DETAIL, error->detail);
	set_text(slot, ATTEMPT_HINT, error->hint);
	set_text(slot, ATTEMPT_CONTEXT, error->context);
}

static void
append_member(StringInfo json, const char *name, const char *s)
{
	if (s == NULL)
		return;
	appendStringInfo(json, "%s\"%s\": ", json->len > 1 ? ", " : "", name);
	escape_json(json, clipped(s));
}

/* Keeps what an error said apart from the attempt's row. */
static void
keep_texts(const UnrdfJob *job, int32 n, TimestampTz at, TimestampTz until, const ErrorData *error)
{
	UnrdfKept *kept = UnrdfKeptBegin(1);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	append_member(&json, "message", error->message ? error->message : "");
	append_member(&json, "detail", error->detail);
	append_member(&json, "hint", error->hint);
	append_member(&json, "context", error->context);
	appendStringInfoChar(&json, '}');
	UnrdfKeptWrite(kept, job->id, n, at, until, UnrdfJsonbOf(json.data));
	UnrdfKeptEnd(kept);
}

/*
 * How many attempts of a job have failed. Its next one has a number above all: who died after the commit, before it could say so,
 * has written the one that the dispatcher still believes to be next.
 */
static int32
failures_of(int64 job, int32 *attempt)
{
	Datum value = Int64GetDatum(job);
	bool isnull;
	int32 n = 0;

	SPI_connect();
	if (UnrdfExecuteLatest(&last_attempt, &value, NULL) == 1)
	{
		n = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		*attempt = Max(*attempt, DatumGetInt32(UnrdfResult(0, 1, &isnull)) + 1);
	}
	SPI_finish();
	return n;
}

/* Writes an attempt's row; error NULL: it snoozed. */
static void
write_attempt(const UnrdfJob *job, int32 n, int32 failures, TimestampTz started_at,
			  TimestampTz finished_at, TimestampTz retry_at, ErrorData *error)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_ATTEMPT, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);
	TimestampTz until = UnrdfKeepUntil(job->retention, UNRDF_KEEP_ATTEMPTS, finished_at);

	UnrdfAppendSet(slot, ATTEMPT_JOB, Int64GetDatum(job->id));
	UnrdfAppendSet(slot, ATTEMPT_N, Int32GetDatum(n));
	UnrdfAppendSet(slot, ATTEMPT_EPOCH, Int32GetDatum(UnrdfCurrentEpoch()));
	UnrdfAppendSet(slot, ATTEMPT_STARTED_AT, TimestampTzGetDatum(started_at));
	UnrdfAppendSet(slot, ATTEMPT_FINISHED_AT, TimestampTzGetDatum(finished_at));
	if (retry_at != 0)
		UnrdfAppendSet(slot, ATTEMPT_RETRY_AT, TimestampTzGetDatum(retry_at));
	UnrdfAppendSet(slot, ATTEMPT_FAILURES, Int32GetDatum(failures));
	UnrdfAppendSet(slot, ATTEMPT_SNOOZED, BoolGetDatum(error == NULL));
	if (error)
	{
		set_text(slot, ATTEMPT_SQLSTATE, unpack_sql_state(error->sqlerrcode));
		if (until == 0)
			set_texts(slot, error);
		else
			keep_texts(job, n, finished_at, until, error);
	}
	UnrdfAppendEnd(append);
}

static void
write_dead_receipt(const UnrdfJob *job, int32 attempt, TimestampTz started_at)
{
	UnrdfEnding ending = {UNRDF_DEAD, NULL, NULL, started_at};
	UnrdfReceiptWriter *writer = UnrdfReceiptWriterBegin(1);

	UnrdfEndingWrite(writer, job, attempt, &ending);
	UnrdfReceiptWriterEnd(writer);
	UnrdfWakeIntegrator();
}

/*
 * Raises 23505, as the index of receipts does, where the job has ended; and 55P03 where a transaction ends it that has not
 * committed, or if `patient` waits for that. The attempt's row is there, so who comes to end it later gives way.
 */
static void
check_not_ended(int64 job, bool patient)
{
	bool found;
	TransactionId writer = UnrdfAnyRow(UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY, job, &found);

	for (; found; writer = UnrdfAnyRow(UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY, job, &found))
	{
		if (!TransactionIdIsValid(writer))
			ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
							errmsg("job " INT64_FORMAT " has ended", job)));
		if (!patient)
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("job " INT64_FORMAT " is being ended by another transaction", job)));
		XactLockTableWait(writer, NULL, NULL, XLTW_None);
	}
}

/*
 * UnrdfRecordFailure writes a failed attempt in the current transaction, under *attempt or, where that is taken, the next number, which
 * it tells, and returns the time of the next, after pause_ms, or where
 * that is negative as the handler says; or 0 where the job is dead now: this was its last, or `last` says that there shall be no other.
 * patient: it waits for a transaction that ends the job.
 */
TimestampTz
UnrdfRecordFailure(const UnrdfJob *job, int32 *attempt, bool last, int64 pause_ms, bool patient,
				   TimestampTz started_at, ErrorData *error)
{
	int32 failures = failures_of(job->id, attempt) + 1;
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	int32 most = job->max_attempts;
	TimestampTz now = UnrdfNow();
	TimestampTz retry_at = 0;

	if (most == 0)
		most = handler ? handler->max_attempts : 1;
	if (pause_ms < 0)
		pause_ms = UnrdfBackoffMillis(failures, handler ? handler->backoff_ms : 1000,
									  handler ? handler->backoff_cap_ms : 3600000,
									  pg_prng_double(&pg_global_prng_state));
	if (failures < most && !last)
		retry_at = now + 1000 * pause_ms;
	write_attempt(job, *attempt, failures, started_at, now, retry_at, error);
	check_not_ended(job->id, patient);
	if (retry_at == 0)
	{
		write_dead_receipt(job, *attempt, started_at);
		UnrdfDepthEnded(job->queue, UNRDF_DEAD, failures > 1);
	}
	else if (failures == 1)
		UnrdfDepthFailed(job->queue);
	return retry_at;
}

/* UnrdfRecordSnooze writes a snoozed attempt in the current transaction and returns the time of the next. attempt and patient as above. */
TimestampTz
UnrdfRecordSnooze(const UnrdfJob *job, int32 *attempt, int64 snooze_ms, bool patient,
				  TimestampTz started_at)
{
	TimestampTz now = UnrdfNow();
	TimestampTz retry_at = now + 1000 * snooze_ms;

	int32 failures = failures_of(job->id, attempt);

	write_attempt(job, *attempt, failures, started_at, now, retry_at, NULL);
	check_not_ended(job->id, patient);
	return retry_at;
}

/*
 * UnrdfTaskRecord writes down in the current transaction that a task's job snoozes (-1: does not) or else has failed, unless it has
 * ended. The task is told, in case that this commits.
 */
void
UnrdfTaskRecord(UnrdfTask *task, int64 snooze_ms, TimestampTz started, ErrorData *error)
{
	UnrdfJob job;

	task->retry_at = 0;
	if (!UnrdfReceiptExists(task->job) && UnrdfJobFetch(task->job, &job))
		task->retry_at =
			snooze_ms >= 0
				? UnrdfRecordSnooze(&job, &task->attempt, snooze_ms, false, started)
				: UnrdfRecordFailure(&job, &task->attempt, task->kind == UNRDF_TASK_CRASHED, -1,
									 false, started, error);
}

/* UnrdfTaskRecorded tells a task that what was recorded is committed. */
void
UnrdfTaskRecorded(UnrdfTask *task, bool snoozes)
{
	task->result = task->retry_at == 0 ? UNRDF_TASK_ENDED
				   : snoozes           ? UNRDF_TASK_SNOOZES
									   : UNRDF_TASK_RETRY;
}

/*
 * UnrdfTaskFailed writes down what became of a task whose job this process ran and that has no receipt, in a transaction of its
 * own: that it snoozes, if it asked for that, or else the error. Where even that fails, the job is tried again in a second.
 */
void
UnrdfTaskFailed(UnrdfTask *task, TimestampTz started, ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;
	int64 snooze_ms = UnrdfTimedOut() ? -1 : UnrdfCurrentJob.snooze_ms;

	if (UnrdfTimedOut())
	{
		error->sqlerrcode = ERRCODE_QUERY_CANCELED;
		error->message = "canceled: the job's time-out expired";
	}
	if (snooze_ms < 0)
		ereport(LOG, (errmsg("job " INT64_FORMAT " failed in attempt %d: %s", task->job,
							 task->attempt, error->message)));
	PG_TRY();
	{
		UnrdfXactBegin("recording what became of an attempt");
		UnrdfTaskRecord(task, snooze_ms, started, error);
		UnrdfTestPoint(UNRDF_POINT_FAIL_COMMIT);
		UnrdfXactCommit();
		UnrdfTestPoint(UNRDF_POINT_FAIL_COMMITTED);
		UnrdfTaskRecorded(task, snooze_ms >= 0);
	}
	PG_CATCH();
	{
		ErrorData *second;

		MemoryContextSwitchTo(context);
		second = CopyErrorData();
		FlushErrorState();
		UnrdfXactAbort();
		MemoryContextSwitchTo(context);
		ereport(LOG, (errmsg("could not record the failure of job " INT64_FORMAT ": %s", task->job,
							 second->message)));
		task->retry_at = UnrdfNow() + USECS_PER_SEC;
	}
	PG_END_TRY();
}
