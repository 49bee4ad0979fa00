/*
 * unique.c: enqueueing by rules of uniqueness that look at what became of a key's other jobs.
 *
 * Every rule is decided and acted on under the key's lock (queue/enqueue.c), which is held to the end of the transaction, and under
 * the newest snapshot: of any number of sessions that enqueue with a key, each sees what all before it did. So of each key
 * exactly as many jobs come into being as its rule allows, whatever commits, rolls back or dies when.
 *
 * Executors and dispatchers take no such lock: a job may begin, fail or end at any moment between the look and the commit. What is
 * decided is true of the moment of the look. Debounce ends the job that it replaces as cancel does, by the job's one receipt:
 * if the job's own comes first it is not replaced, and if not it has no effect, whether it had begun or not.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "base/clock.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "ledger/receipt.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/unique.h"
#include "worker/worker.h"

/* rows read of a key's jobs at a time, newest first */
#define PAGE 64

/* What is known of a job of a key. */
typedef struct Holder
{
	int64 id;
	TimestampTz enqueued_at;
	TimestampTz run_at; /* 0: at once */
	TimestampTz debounced_since;
	TimestampTz retry_at; /* of its last attempt; 0: there was none */
	int outcome;          /* 0: it has not ended */
	bool failed;          /* an attempt has */
	bool outside;
} Holder;

static const char *const state_names[] = {"scheduled", "pending", "running",  "retrying",
										  "succeeded", "dead",    "cancelled"};

static UnrdfPlan jobs_of_key = {
	"SELECT j.id, j.enqueued_at, j.run_at, j.debounced_since, r.outcome, a.retry_at, a.failures, j.flow FROM unrdf.job AS j"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) j.id"
	" LEFT JOIN LATERAL (SELECT t.retry_at, t.failures FROM unrdf.attempt AS t"
	" WHERE t.job OPERATOR(pg_catalog.=) j.id AND r.id IS NULL ORDER BY t.n DESC LIMIT 1) AS a ON true"
	" WHERE j.queue OPERATOR(pg_catalog.=) $1 AND j.key OPERATOR(pg_catalog.=) $2 AND j.id OPERATOR(pg_catalog.<) $3"
	" ORDER BY j.id DESC LIMIT $4",
	4,
	{INT4OID, TEXTOID, INT8OID, INT8OID}};

/* UnrdfStateOf returns a state's bit, or 0 for what is no state. */
int
UnrdfStateOf(const char *name)
{
	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(name, state_names[i]) == 0)
			return 1 << i;
	return 0;
}

static TimestampTz
time_or_0(uint64 row, int column)
{
	bool isnull;
	Datum value = UnrdfResult(row, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/* Reads up to `most` jobs of the request's key that are older than a job, newest first. Its key is locked. */
static int
read_holders(const UnrdfJob *job, int64 before, int most, Holder *holders)
{
	Datum values[4];
	bool isnull;
	int n;

	values[0] = Int32GetDatum(job->queue);
	values[1] = PointerGetDatum(job->key);
	values[2] = Int64GetDatum(before);
	values[3] = Int64GetDatum(most);
	SPI_connect();
	n = (int) UnrdfExecuteLatest(&jobs_of_key, values, NULL);
	for (int i = 0; i < n; i++)
	{
		Holder *h = &holders[i];
		Datum value;

		h->id = DatumGetInt64(UnrdfResult(i, 0, &isnull));
		h->enqueued_at = time_or_0(i, 1);
		h->run_at = time_or_0(i, 2);
		h->debounced_since = time_or_0(i, 3);
		value = UnrdfResult(i, 4, &isnull);
		h->outcome = isnull ? 0 : DatumGetInt16(value);
		h->retry_at = time_or_0(i, 5);
		value = UnrdfResult(i, 6, &isnull);
		h->failed = !isnull && DatumGetInt32(value) > 0;
		value = UnrdfResult(i, 7, &isnull);
		h->outside = !isnull && DatumGetInt64(value) < 0;
	}
	SPI_finish();
	return n;
}

/* Whether a job runs just now: an executor runs it, or a worker outside has claimed it. */
static bool
is_running(const Holder *h)
{
	return h->outside ? UnrdfJobIsLeased(h->id) : UnrdfSlotRuns(MyDatabaseId, h->id);
}

/* The state of a job, as unrdf.jobs has it. */
static int
state_of(const Holder *h, TimestampTz now)
{
	switch (h->outcome)
	{
		case UNRDF_OK:
			return UNRDF_STATE_SUCCEEDED;
		case UNRDF_DEAD:
			return UNRDF_STATE_DEAD;
		case UNRDF_CANCELLED:
			return UNRDF_STATE_CANCELLED;
	}
	if (is_running(h))
		return UNRDF_STATE_RUNNING;
	if (h->failed)
		return UNRDF_STATE_RETRYING;
	return (h->retry_at != 0 ? h->retry_at : h->run_at) > now ? UNRDF_STATE_SCHEDULED
															  : UNRDF_STATE_PENDING;
}

/* The newest job of the key in one of the states that was enqueued within the window; 0: none. */
static int64
find_holder(const UnrdfJob *job, int states, int64 window_ms)
{
	Holder holders[PAGE];
	int64 before = PG_INT64_MAX;
	int n = PAGE;

	/* most often the newest decides */
	for (int most = 1; n > 0; most = PAGE)
	{
		n = read_holders(job, before, most, holders);
		for (int i = 0; i < n; i++)
		{
			if (window_ms >= 0 && holders[i].enqueued_at <= job->enqueued_at - window_ms * 1000)
				return 0;
			if (state_of(&holders[i], job->enqueued_at) & states)
				return holders[i].id;
			before = holders[i].id;
		}
		if (n < most)
			return 0;
	}
	return 0;
}

static void
begin(UnrdfEnqueue *request)
{
	UnrdfEnqueueComplete(request);
	UnrdfLockJobKey(request->job.queue, request->job.key);
	request->job.enqueued_at = UnrdfNow();
}

/*
 * UnrdfEnqueueOnce enqueues a job, unless its key has one in one of the states (bits) that was enqueued within window_ms (-1: ever),
 * which then is returned.
 */
int64
UnrdfEnqueueOnce(UnrdfEnqueue *request, int states, int64 window_ms, bool *is_new)
{
	int64 id;

	begin(request);
	id = find_holder(&request->job, states, window_ms);
	*is_new = id == 0;
	if (*is_new)
		return UnrdfEnqueueWrite(request);
	UnrdfCommitWaits();
	return id;
}

/*
 * UnrdfDebounce enqueues a job that is due after delay_ms, but at most max_delay_ms (-1: no limit) after the first of those that
 * it replaces was enqueued. Raises 42501 where what it would replace is somebody else's.
 */
int64
UnrdfDebounce(UnrdfEnqueue *request, int64 delay_ms, int64 max_delay_ms)
{
	UnrdfJob *job = &request->job;
	Holder h;
	bool waits;

	begin(request);
	job->run_at = job->enqueued_at + delay_ms * 1000;
	job->debounced_since = job->enqueued_at;
	waits = read_holders(job, PG_INT64_MAX, 1, &h) == 1 && h.outcome == 0 && !is_running(&h);
	if (waits && UnrdfCancelJob(h.id))
		job->debounced_since = h.debounced_since != 0 ? h.debounced_since : h.enqueued_at;
	if (max_delay_ms >= 0)
		job->run_at = Min(job->run_at, job->debounced_since + max_delay_ms * 1000);
	return UnrdfEnqueueWrite(request);
}
