/*
 * enqueue.c: requests become jobs, in the caller's transaction.
 *
 * Idempotency keys. Invariant: among the jobs of one (queue, key), at any time at most one has not ended. The key's bucket
 * lock is held to the end of the transaction that looked, so a second enqueuer of the key waits for the first to commit or
 * roll back and then, under the newest snapshot, sees what it did. A bulk enqueue takes its buckets in ascending order
 * before the first look, so two of them cannot deadlock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/jsonb_canonical.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "queue/config.h"
#include "queue/job.h"

static UnrdfPlan newest_of_key = {
	"SELECT j.id, r.id IS NULL, j.enqueued_at FROM unrdf.job AS j"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) j.id"
	" WHERE j.queue OPERATOR(pg_catalog.=) $1 AND j.key OPERATOR(pg_catalog.=) $2 ORDER BY j.id DESC LIMIT 1",
	2,
	{INT4OID, TEXTOID}};

/* UnrdfCheckArgs raises 54000 for arguments over unrdf.max_args_size and 22003 for numbers canonical JSON cannot carry. */
void
UnrdfCheckArgs(Jsonb *args, StringInfo scratch)
{
	if (VARSIZE(args) > (Size) unrdf_max_args_size * 1024)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("arguments are larger than unrdf.max_args_size"),
						errdetail("They have %d bytes; the limit is %d kB.", (int) VARSIZE(args),
								  unrdf_max_args_size)));
	resetStringInfo(scratch);
	UnrdfCanonicalJsonbInto(args, scratch);
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

/* Writes the job, or returns the one that holds its key. */
static int64
write_or_find(UnrdfJobWriter *w, UnrdfJob *job, int64 window_ms)
{
	int64 id;

	if (job->key == NULL)
		return UnrdfJobWrite(w, job);
	id = holder_of_key(job, window_ms);
	if (id == 0)
		return UnrdfJobWrite(w, job);
	UnrdfCommitWaits();
	return id;
}

/* UnrdfKeyIsHeld tells whether a job that has not ended has the key of this one. It stays so to the transaction's end. */
bool
UnrdfKeyIsHeld(const UnrdfJob *job)
{
	UnrdfLock(UNRDF_LOCK_KEY, key_bucket(job->queue, job->key));
	return holder_of_key(job, 0) != 0;
}

/* UnrdfEnqueueOne enqueues a job, or returns the one that holds its key. The request has been checked. */
int64
UnrdfEnqueueOne(UnrdfEnqueue *request)
{
	UnrdfJobWriter *w;
	int64 id;

	request->job.enqueued_at = UnrdfNow();
	UnrdfJobFlow(&request->job);
	if (request->job.key)
		UnrdfLock(UNRDF_LOCK_KEY, key_bucket(request->job.queue, request->job.key));
	w = UnrdfJobWriterBegin(1);
	UnrdfQueueTakesJobs(request->job.queue);
	id = write_or_find(w, &request->job, request->window_ms);
	UnrdfJobWriterEnd(w);
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

/* UnrdfEnqueueMany enqueues n jobs that differ in args and keys (NULL: none has one) and stores their ids. */
void
UnrdfEnqueueMany(UnrdfEnqueue *request, int n, Jsonb **args, text **keys, int64 *ids)
{
	UnrdfJobWriter *w = UnrdfJobWriterBegin(keys ? 1 : 500);
	text *group = request->job.group_key;

	UnrdfQueueTakesJobs(request->job.queue);
	request->job.enqueued_at = UnrdfNow();
	if (keys)
		lock_keys(request->job.queue, n, keys);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		request->job.args = args[i];
		request->job.key = keys ? keys[i] : NULL;
		request->job.group_key = group;
		UnrdfJobFlow(&request->job);
		if (request->job.key)
			UnrdfJobWriterFlush(w);
		ids[i] = write_or_find(w, &request->job, request->window_ms);
	}
	UnrdfJobWriterEnd(w);
}
