/*
 * enqueue.c: requests become jobs (accept.c), in the caller's transaction.
 *
 * Idempotency keys. Invariant: among the jobs of one (queue, key), at any time at most one has not ended, but for such as
 * ran when debounce (worker/unique.c) put a newer in their place; the key is the newest's. The key's bucket lock is held to the end of the transaction that looked, so a second enqueuer of the key waits for the first to commit or
 * roll back and then, under the newest snapshot, sees what it did. A bulk enqueue takes its buckets in ascending order
 * before the first look, so two of them cannot deadlock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "base/testkit.h"
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/job.h"

static UnrdfPlan newest_of_key = {
	"SELECT j.id, r.id IS NULL, j.enqueued_at FROM unrdf.job AS j"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) j.id"
	" WHERE j.queue OPERATOR(pg_catalog.=) $1 AND j.key OPERATOR(pg_catalog.=) $2 ORDER BY j.id DESC LIMIT 1",
	2,
	{INT4OID, TEXTOID}};

/* UnrdfEnqueueComplete makes a request a job that can be written; one that is enqueued anew was accepted before. Raises 22023. */
void
UnrdfEnqueueComplete(UnrdfEnqueue *request)
{
	if (request->job.retry_of == 0)
		UnrdfAccept(&request->job);
	else
		UnrdfAcceptAgain(&request->job);
}

static uint32
key_bucket(int32 queue, text *key)
{
	return UnrdfLockBucket(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), queue);
}

/* Returns the job that holds the key, or 0. The key's bucket is locked. */
static int64
holder_of_key(const UnrdfJob *job, int64 window_ms)
{
	Datum values[2];
	bool isnull;
	int64 id = 0;

	values[0] = Int32GetDatum(job->queue);
	values[1] = PointerGetDatum(job->key);
	SPI_connect();
	if (UnrdfExecuteLatest(&newest_of_key, values, NULL) == 1)
	{
		bool live = DatumGetBool(UnrdfResult(0, 1, &isnull));
		TimestampTz at = DatumGetTimestampTz(UnrdfResult(0, 2, &isnull));

		if (live || (window_ms > 0 && at > job->enqueued_at - window_ms * 1000))
			id = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	}
	SPI_finish();
	return id;
}

/* Writes the job, or returns the one that holds its key; 0 where there is no room and none is waited for. */
static int64
write_or_find(UnrdfJobWriter *w, UnrdfEnqueue *request)
{
	UnrdfJob *job = &request->job;
	int64 id = job->key ? holder_of_key(job, request->window_ms) : 0;

	if (id != 0)
		UnrdfCommitWaits();
	else if (UnrdfRoomTake(job->queue, 1, request->room))
		id = UnrdfJobWrite(w, job);
	return id;
}

/* UnrdfLockJobKey keeps others from enqueueing with a key of a queue until the transaction ends. */
void
UnrdfLockJobKey(int32 queue, text *key)
{
	UnrdfLock(UNRDF_LOCK_KEY, key_bucket(queue, key));
}

/* UnrdfKeyIsHeld tells whether a job that has not ended has the key of this one. It stays so to the transaction's end. */
bool
UnrdfKeyIsHeld(const UnrdfJob *job)
{
	UnrdfLockJobKey(job->queue, job->key);
	return holder_of_key(job, 0) != 0;
}

/*
 * UnrdfEnqueueWrite writes the job of a completed request, whoever holds its key; 0 where the queue is full and room was asked for if
 * there is any.
 */
int64
UnrdfEnqueueWrite(UnrdfEnqueue *request)
{
	UnrdfJobWriter *w = UnrdfJobWriterBegin(1);
	int64 id = 0;

	UnrdfQueueTakesJobs(request->job.queue);
	if (UnrdfRoomTake(request->job.queue, 1, request->room))
		id = UnrdfJobWrite(w, &request->job);
	UnrdfJobWriterEnd(w);
	CommandCounterIncrement();
	return id;
}

/* UnrdfEnqueueOne enqueues a job, or returns the one that holds its key; 0 as above. The request's fields have been checked. */
int64
UnrdfEnqueueOne(UnrdfEnqueue *request)
{
	UnrdfJobWriter *w;
	int64 id;

	UnrdfEnqueueComplete(request);
	if (request->job.key)
		UnrdfLockJobKey(request->job.queue, request->job.key);
	request->job.enqueued_at = UnrdfNow();
	w = UnrdfJobWriterBegin(1);
	UnrdfQueueTakesJobs(request->job.queue);
	id = write_or_find(w, request);
	UnrdfJobWriterEnd(w);
	UnrdfTestPoint(UNRDF_POINT_ENQUEUE);
	/* a second enqueue of the key in the same statement has to see this one */
	if (request->job.key)
		CommandCounterIncrement();
	return id;
}

static void
lock_keys(int32 queue, int n, text **keys)
{
	bool wanted[UNRDF_LOCK_BUCKETS] = {false};

	for (int i = 0; i < n; i++)
		if (keys[i])
			wanted[key_bucket(queue, keys[i])] = true;
	for (int b = 0; b < UNRDF_LOCK_BUCKETS; b++)
		if (wanted[b])
			UnrdfLock(UNRDF_LOCK_KEY, b);
}

/*
 * UnrdfEnqueueMany enqueues n jobs that differ in args, which may be changed, and keys (NULL: none has one) and stores their ids. Where
 * mismatches are wanted, args that do not fit the handler's schema are no error, and why is stored for who ends these jobs then.
 */
void
UnrdfEnqueueMany(UnrdfEnqueue *request, int n, Jsonb **args, text **keys, int64 *ids,
				 char **mismatches)
{
	UnrdfJobWriter *w;
	text **groups;

	groups = UnrdfAcceptMany(&request->job, n, args, mismatches);
	if (keys)
		lock_keys(request->job.queue, n, keys);
	request->job.enqueued_at = UnrdfNow();
	w = UnrdfJobWriterBegin(keys ? 1 : 500);
	UnrdfQueueTakesJobs(request->job.queue);
	if (keys == NULL && UnrdfRoomTake(request->job.queue, n, request->room))
		request->room = UNRDF_ROOM_FREE;
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		request->job.args = args[i];
		request->job.key = keys ? keys[i] : NULL;
		request->job.group_key = groups[i];
		UnrdfJobFlow(&request->job);
		if (request->job.key)
			UnrdfJobWriterFlush(w);
		ids[i] = write_or_find(w, request);
	}
	UnrdfJobWriterEnd(w);
}
