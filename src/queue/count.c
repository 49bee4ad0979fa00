/*
 * count.c: counts the jobs of all queues, for those who want to know their numbers when nobody has counted yet (depth.c).
 *
 * What is open is found as a new dispatcher finds it: from the floor of each lane on, and from its moment on among the
 * times at which delayed jobs are due (worker/floor.c), so the work does not grow with the jobs that have ended. How many have
 * ended takes a look at all receipts, and how many wait for others, one at all jobs that ever did. Own rows of this transaction do
 * not count, they have notes. A job that ended while it waited has its enqueuer's transaction id in unrdf.job, as it has in
 * unrdf.waiting_job; one that was released has another.
 *
 * One process of a database counts at a time; the others wait for it and find the numbers.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "base/lock.h"
#include "base/plan.h"
#include "queue/depth.h"

static UnrdfPlan count_open = {
	"WITH floor AS (SELECT f.at, x.queue, x.priority, x.xid FROM unrdf.dispatch_floor AS f,"
	" ROWS FROM (pg_catalog.unnest(f.queues), pg_catalog.unnest(f.priorities), pg_catalog.unnest(f.xids))"
	" AS x (queue, priority, xid) WHERE f.restores OPERATOR(pg_catalog.=) (SELECT pg_catalog.count(*) FROM unrdf.restored)),"
	" open AS (SELECT j.id, j.queue, j.xid FROM unrdf.queue AS q"
	" CROSS JOIN pg_catalog.generate_series(0, 9) AS p (priority)"
	" LEFT JOIN floor AS f ON f.queue OPERATOR(pg_catalog.=) q.id AND f.priority OPERATOR(pg_catalog.=) p.priority"
	" CROSS JOIN LATERAL (SELECT k.id, k.queue, k.xid FROM unrdf.job AS k WHERE k.queue OPERATOR(pg_catalog.=) q.id"
	" AND k.priority OPERATOR(pg_catalog.=) p.priority::int2 AND k.xid OPERATOR(pg_catalog.>=) coalesce(f.xid, '0')) AS j"
	" UNION SELECT j.id, j.queue, j.xid FROM unrdf.job AS j"
	" WHERE j.run_at OPERATOR(pg_catalog.>=) (SELECT pg_catalog.min(f.at) FROM floor AS f)"
	" UNION SELECT j.id, j.queue, j.xid FROM unrdf.attempt AS a JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) a.job"
	" WHERE a.retry_at OPERATOR(pg_catalog.>=) (SELECT pg_catalog.min(f.at) FROM floor AS f))"
	" SELECT o.queue, pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE EXISTS"
	" (SELECT FROM unrdf.attempt AS a WHERE a.job OPERATOR(pg_catalog.=) o.id AND NOT a.snoozed))"
	" FROM open AS o WHERE o.xid OPERATOR(pg_catalog.<>) $1 AND NOT EXISTS (SELECT FROM unrdf.receipt AS r"
	" WHERE r.id OPERATOR(pg_catalog.=) o.id AND r.xid OPERATOR(pg_catalog.<>) $1) AND NOT EXISTS"
	" (SELECT FROM unrdf.waiting_job AS w WHERE w.id OPERATOR(pg_catalog.=) o.id AND w.xid OPERATOR(pg_catalog.=) o.xid)"
	" GROUP BY o.queue",
	1,
	{XID8OID}};
static UnrdfPlan count_waiting = {
	"SELECT w.queue, pg_catalog.count(*) FROM unrdf.waiting_job AS w WHERE w.xid OPERATOR(pg_catalog.<>) $1"
	" AND NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.id OPERATOR(pg_catalog.=) w.id AND j.xid OPERATOR(pg_catalog.<>) $1"
	" AND (j.xid OPERATOR(pg_catalog.<>) w.xid OR NOT EXISTS (SELECT FROM unrdf.receipt AS r"
	" WHERE r.id OPERATOR(pg_catalog.=) w.id AND r.xid OPERATOR(pg_catalog.=) $1))) GROUP BY w.queue",
	1,
	{XID8OID}};
static UnrdfPlan count_ended = {
	"SELECT j.queue, pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 1),"
	" pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 2),"
	" pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 3),"
	" pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 4)"
	" FROM unrdf.receipt AS r JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) r.id"
	" WHERE r.kind OPERATOR(pg_catalog.=) 1 AND r.xid OPERATOR(pg_catalog.<>) $1 GROUP BY j.queue",
	1,
	{XID8OID}};
static UnrdfPlan any_prepared = {
	"SELECT FROM pg_catalog.pg_prepared_xacts AS p"
	" WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database()",
	0};

static HTAB *
new_table(void)
{
	HASHCTL ctl = {
		.keysize = sizeof(int32), .entrysize = sizeof(UnrdfDepths), .hcxt = CurrentMemoryContext};

	return hash_create("unrdf depths", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* UnrdfDepthsOf returns a queue's entry in a table of numbers, with zeros where it is new. */
UnrdfDepths *
UnrdfDepthsOf(HTAB *numbers, int32 queue)
{
	bool found;
	UnrdfDepths *d = hash_search(numbers, &queue, HASH_ENTER, &found);

	if (!found)
		memset(d->n, 0, sizeof(d->n));
	return d;
}

/* Counts under the active snapshot: a plan's columns, behind the queue, are so many numbers from the first on. */
static void
count_rows(UnrdfPlan *plan, UnrdfNumber first, int columns, HTAB *numbers)
{
	Datum own = UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
	uint64 rows;
	bool isnull;

	SPI_connect();
	rows = UnrdfExecute(plan, &own, NULL, true);
	for (uint64 i = 0; i < rows; i++)
	{
		UnrdfDepths *d = UnrdfDepthsOf(numbers, DatumGetInt32(UnrdfResult(i, 0, &isnull)));

		for (int k = 0; k < columns; k++)
			d->n[first + k] = DatumGetInt64(UnrdfResult(i, k + 1, &isnull));
	}
	SPI_finish();
}

/* Whether there are prepared transactions of which nobody knows whether they had notes. */
static bool
any_is_prepared(void)
{
	bool any;

	SPI_connect();
	any = UnrdfExecuteLatest(&any_prepared, NULL, NULL) > 0;
	SPI_finish();
	return any;
}

/* Counts, and has it kept where that is possible. */
static void
count_anew(UnrdfCount count, HTAB *numbers)
{
	HTAB *counted = new_table();
	HASH_SEQ_STATUS seq;
	UnrdfDepths *d;
	Snapshot snapshot;
	uint32 attempt;

	UnrdfDepthAttach();
	if (any_is_prepared())
		UnrdfDepthMayBePrepared();
	attempt = UnrdfDepthBegin(count, &snapshot);
	PushActiveSnapshot(snapshot);
	if (count == UNRDF_COUNT_OPEN)
	{
		count_rows(&count_open, UNRDF_JOBS_OPEN, 2, counted);
		count_rows(&count_waiting, UNRDF_JOBS_WAITING, 1, counted);
	}
	else
		count_rows(&count_ended, UNRDF_JOBS_OK, 4, counted);
	PopActiveSnapshot();
	if (attempt != 0)
		(void) UnrdfDepthFinish(count, attempt, counted);
	hash_seq_init(&seq, counted);
	while ((d = hash_seq_search(&seq)) != NULL)
		for (int k = 0; k < UNRDF_NUMBERS; k++)
			UnrdfDepthsOf(numbers, d->queue)->n[k] += d->n[k];
	hash_destroy(counted);
}

/* Puts a count's numbers into a table. Who finds them unknown waits for who counts already. */
static void
read_count(UnrdfCount count, HTAB *numbers)
{
	if (UnrdfDepthRead(count, numbers))
		return;
	UnrdfLock(UNRDF_LOCK_COUNT, 0);
	if (!UnrdfDepthRead(count, numbers))
		count_anew(count, numbers);
	UnrdfUnlock(UNRDF_LOCK_COUNT, 0);
}

/*
 * UnrdfDepthsRead returns the numbers of all queues that have any, by queue, in a table in the current memory context; what
 * has ended only if it is asked for.
 */
HTAB *
UnrdfDepthsRead(bool ended)
{
	HTAB *numbers = new_table();

	read_count(UNRDF_COUNT_OPEN, numbers);
	if (ended)
		read_count(UNRDF_COUNT_ENDED, numbers);
	return numbers;
}

/* UnrdfQueueDepth returns how many jobs of a queue have not ended; those that this transaction enqueued are not among them. */
int64
UnrdfQueueDepth(int32 queue)
{
	HTAB *numbers;
	UnrdfDepths *d;
	int64 depth;

	if (UnrdfDepthOpen(queue, &depth))
		return depth;
	numbers = UnrdfDepthsRead(false);
	d = UnrdfDepthsOf(numbers, queue);
	depth = d->n[UNRDF_JOBS_OPEN] + d->n[UNRDF_JOBS_WAITING];
	hash_destroy(numbers);
	return depth;
}
