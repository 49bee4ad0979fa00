/*
 * failure.c: what is written about an attempt that failed.
 *
 * The attempt's own transaction was rolled back, so this is another one: the attempt's row and, where it was the last, the
 * receipt that says dead. Both commit together, so a job is never dead without its reason. Dying before the commit leaves
 * the job pending with the attempt uncounted, which is the safe side.
 *
 * Whoever ends a job says how many of its attempts have failed (ending.c), and so does who counts (queue/depth.c). So an
 * attempt is not recorded of a job that has ended, or is being ended by a transaction that has not committed: each of the two
 * writes its row first and then looks for the other's, committed or not, so one of them sees the other.
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
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "queue/depth.h"
#include "queue/retry.h"
#include "worker/executor.h"

/* what is kept of a message, a detail, a hint or a context */
#define MAX_ERROR_TEXT 8192

static UnrdfPlan find_receipt = {
	"SELECT 1 FROM unrdf.receipt WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};

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

static void
set_text(TupleTableSlot *slot, int column, const char *s)
{
	if (s)
		UnrdfAppendSet(slot, column,
					   PointerGetDatum(cstring_to_text_with_len(
						   s, pg_mbcliplen(s, strlen(s), MAX_ERROR_TEXT))));
}

static void
write_attempt(int64 job, int32 n, TimestampTz started_at, TimestampTz finished_at,
			  TimestampTz retry_at, ErrorData *error)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_ATTEMPT, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);

	UnrdfAppendSet(slot, ATTEMPT_JOB, Int64GetDatum(job));
	UnrdfAppendSet(slot, ATTEMPT_N, Int32GetDatum(n));
	UnrdfAppendSet(slot, ATTEMPT_EPOCH, Int32GetDatum(UnrdfCurrentEpoch()));
	UnrdfAppendSet(slot, ATTEMPT_STARTED_AT, TimestampTzGetDatum(started_at));
	UnrdfAppendSet(slot, ATTEMPT_FINISHED_AT, TimestampTzGetDatum(finished_at));
	if (retry_at != 0)
		UnrdfAppendSet(slot, ATTEMPT_RETRY_AT, TimestampTzGetDatum(retry_at));
	set_text(slot, ATTEMPT_SQLSTATE, unpack_sql_state(error->sqlerrcode));
	set_text(slot, ATTEMPT_MESSAGE, error->message ? error->message : "");
	set_text(slot, ATTEMPT_DETAIL, error->detail);
	set_text(slot, ATTEMPT_HINT, error->hint);
	set_text(slot, ATTEMPT_CONTEXT, error->context);
	UnrdfAppendEnd(append);
}

static void
write_dead_receipt(UnrdfJob *job, int32 attempt, TimestampTz started_at, TimestampTz finished_at)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	UnrdfReceipt r = {0};
	UnrdfReceiptWriter *writer;
	StringInfoData scratch;
	char *actor = GetUserNameFromId(job->owner, true);

	initStringInfo(&scratch);
	r.id = job->id;
	r.kind = UNRDF_EXECUTE;
	r.outcome = UNRDF_DEAD;
	r.epoch = UnrdfCurrentEpoch();
	r.attempt = attempt;
	r.started_at = started_at;
	r.finished_at = finished_at;
	r.operation = handler ? handler->name : "";
	r.operation_len = strlen(r.operation);
	r.actor = actor ? actor : psprintf("%u", job->owner);
	r.actor_len = strlen(r.actor);
	UnrdfReceiptSeal(&r, job->args, &scratch);
	writer = UnrdfReceiptWriterBegin(1);
	UnrdfReceiptWrite(writer, &r);
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
 * UnrdfRecordFailure writes a failed attempt in the current transaction. *retry_at becomes the time of the next, after
 * pause_ms, or where that is negative as the handler says; or 0 where the job is dead now: this was its last, or `last` says
 * that there shall be no other. patient: it waits for a transaction that ends the job.
 */
void
UnrdfRecordFailure(UnrdfJob *job, int32 attempt, bool last, int64 pause_ms, bool patient,
				   TimestampTz started_at, ErrorData *error, TimestampTz *retry_at)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	int32 most = job->max_attempts;
	TimestampTz now = UnrdfNow();

	if (most == 0)
		most = handler ? handler->max_attempts : 1;
	*retry_at = 0;
	if (pause_ms < 0)
		pause_ms = UnrdfBackoffMillis(attempt, handler ? handler->backoff_ms : 1000,
									  handler ? handler->backoff_cap_ms : 3600000,
									  pg_prng_double(&pg_global_prng_state));
	if (attempt < most && !last)
		*retry_at = now + 1000 * pause_ms;
	write_attempt(job->id, attempt, started_at, now, *retry_at, error);
	check_not_ended(job->id, patient);
	if (*retry_at == 0)
	{
		write_dead_receipt(job, attempt, started_at, now);
		UnrdfDepthEnded(job->queue, UNRDF_DEAD, attempt > 1);
	}
	else if (attempt == 1)
		UnrdfDepthFailed(job->queue);
}
