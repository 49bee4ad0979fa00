/*
 * test_run.c: runs what is due, for tests of applications.
 *
 * The executors run jobs as they always do; this only waits until nothing is left that should run. What is due is so by the time of
 * the call: a job that failed and is to be tried later is not waited for, unless the test sets the clock first. Events that are to become
 * jobs are waited for as well, and so is the releaser, to whom jobs may wait: it has nothing left to do by what has ended until then. Nothing
 * tells when an attempt fails or an event has become a job, so it looks again after a pause. Schedules are fired by whoever is their clock, and jobs of
 * workers outside are the test's to claim.
 *
 * A job cannot be run inside the caller's transaction: the path from its row to its receipt is one transaction of an executor, and to run
 * it any other way would be to test something else.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/plan.h"
#include "base/testkit.h"
#include "queue/config.h"
#include "worker/worker.h"

#define LOOK_AGAIN 10 /* ms */

/* $1: the queue, or null for all that are not paused */
#define OF_QUEUE(id)                                                           \
	"CASE WHEN $1 IS NULL THEN NOT EXISTS (SELECT FROM unrdf.queue_state AS q" \
	" WHERE q.queue OPERATOR(pg_catalog.=) " id " AND q.paused) ELSE " id      \
	" OPERATOR(pg_catalog.=) $1 END"

static UnrdfPlan snapshot_now = {"SELECT pg_catalog.pg_current_snapshot()", 0};
static UnrdfPlan own_work = {
	"SELECT 1 FROM unrdf.job WHERE xid OPERATOR(pg_catalog.=) $1"
	" UNION ALL SELECT 1 FROM unrdf.waiting_job WHERE xid OPERATOR(pg_catalog.=) $1"
	" UNION ALL SELECT 1 FROM unrdf.event WHERE xid OPERATOR(pg_catalog.=) $1 LIMIT 1",
	1,
	{XID8OID}};
/* Jobs of workers outside are theirs to run. Of a strict group in which a failed job has to be tried first, no other is due before that is. */
static UnrdfPlan due_job = {
	"SELECT 1 FROM unrdf.job AS j"
	" LEFT JOIN LATERAL (SELECT t.retry_at FROM unrdf.attempt AS t"
	" WHERE t.job OPERATOR(pg_catalog.=) j.id ORDER BY t.n DESC LIMIT 1) AS a ON true"
	" WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id OPERATOR(pg_catalog.=) j.id)"
	" AND coalesce(a.retry_at, j.run_at, $2) OPERATOR(pg_catalog.<=) $2"
	" AND coalesce(j.flow, 0) OPERATOR(pg_catalog.>=) 0"
	" AND NOT EXISTS (SELECT FROM unrdf.queue_state AS q"
	" JOIN unrdf.job AS f ON f.queue OPERATOR(pg_catalog.=) q.queue"
	" AND f.group_key OPERATOR(pg_catalog.=) j.group_key"
	" CROSS JOIN LATERAL (SELECT t.retry_at FROM unrdf.attempt AS t"
	" WHERE t.job OPERATOR(pg_catalog.=) f.id ORDER BY t.n DESC LIMIT 1) AS b"
	" WHERE q.queue OPERATOR(pg_catalog.=) j.queue AND q.fifo OPERATOR(pg_catalog.=) 'wait'"
	" AND b.retry_at OPERATOR(pg_catalog.>) $2"
	" AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id OPERATOR(pg_catalog.=) f.id))"
	" AND " OF_QUEUE("j.queue") " LIMIT 1",
	2,
	{INT4OID, TIMESTAMPTZOID}};
static UnrdfPlan due_event = {
	"SELECT 1 FROM (SELECT x.id, coalesce(x.queue, h.queue, 0) AS queue FROM unrdf.subscription AS x"
	" LEFT JOIN unrdf.handler AS h ON h.id OPERATOR(pg_catalog.=) x.handler WHERE NOT x.paused) AS s,"
	" unrdf.subscription_lag(s.id) AS l"
	" WHERE l.events OPERATOR(pg_catalog.>) 0 AND " OF_QUEUE("s.queue") " LIMIT 1",
	1,
	{INT4OID}};
static UnrdfPlan count_ended = {
	"SELECT pg_catalog.count(*) FILTER (WHERE $1 IS NULL OR j.queue OPERATOR(pg_catalog.=) $1),"
	" pg_catalog.count(*) FROM unrdf.receipt AS r JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) r.id"
	" WHERE r.xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin($2)"
	" AND NOT pg_catalog.pg_visible_in_snapshot(r.xid, $2)",
	2,
	{INT4OID, PG_SNAPSHOTOID}};

static bool
finds(UnrdfPlan *plan, Datum *values, const char *nulls)
{
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(plan, values, nulls) > 0;
	SPI_finish();
	return found;
}

/* A snapshot of now, in the current memory context. */
static Datum
take_snapshot(void)
{
	Datum value;
	bool isnull;

	SPI_connect();
	UnrdfExecuteLatest(&snapshot_now, NULL, NULL);
	value = SPI_datumTransfer(UnrdfResult(0, 0, &isnull), false, -1);
	SPI_finish();
	return value;
}

/* How many jobs of the queue have ended since the snapshot; *all: of any queue. */
static int64
ended_since(Datum *values, const char *nulls, int64 *all)
{
	bool isnull;
	int64 n;

	SPI_connect();
	UnrdfExecuteLatest(&count_ended, values, nulls);
	n = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	*all = DatumGetInt64(UnrdfResult(0, 1, &isnull));
	SPI_finish();
	return n;
}

/* Raises 55000 for jobs and events that nobody sees before the caller's transaction commits. */
static void
check_own_work(void)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	Datum value = UInt64GetDatum(U64FromFullTransactionId(own));

	if (FullTransactionIdIsValid(own) && finds(&own_work, &value, NULL))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot run jobs or events of this transaction"),
						errhint("Nothing runs them before the transaction commits.")));
}

static void
check_not_paused(text *name, int32 id)
{
	if (UnrdfQueueRowSettings(UnrdfQueueRowById(id))->paused)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("queue \"%s\" is paused", text_to_cstring(name)),
						errhint("Call unrdf.resume_queue first.")));
}

static void
stop_asking(int code, Datum arg)
{
	UnrdfTestAsk(false);
}

/*
 * Waits until nothing is due by now, or `most` jobs have ended since the snapshot was taken, and returns how many have. Nothing is
 * due once a look finds nothing, and no job has ended since a look before which the releaser has settled.
 */
static int64
run(Datum *values, const char *nulls, Datum start, int64 most)
{
	Datum now = TimestampTzGetDatum(UnrdfNow());
	uint64 asked = 0;
	int64 ended_then = -1;

	for (;;)
	{
		bool settled = UnrdfTestSettled(asked);
		bool due;
		int64 ended;
		int64 all;

		values[1] = now;
		due = finds(&due_event, values, nulls) || finds(&due_job, values, nulls);
		values[1] = start;
		ended = ended_since(values, nulls, &all);
		if (ended >= most || (!due && settled && all == ended_then))
			return ended;
		if (!due && all != ended_then)
		{
			ended_then = all;
			asked = UnrdfTestSettle();
			continue;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_AGAIN,
						 unrdf_wait_event("UnrdfTestRunDue"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * UnrdfTestRunDue waits until nothing of a queue (NULL: of all that are not paused) is left that is due, or `most` jobs have ended, and
 * returns how many have. Jobs that are held run meanwhile. Raises 42704, 55000.
 */
int64
UnrdfTestRunDue(text *queue, int64 most)
{
	Datum values[2] = {0};
	char nulls[] = "  ";
	Datum start;
	int64 ended;

	UnrdfRequireTestKit();
	PreventCommandDuringRecovery("unrdf.test_run_due()");
	check_own_work();
	if (queue)
	{
		values[0] = Int32GetDatum(UnrdfQueueId(queue));
		check_not_paused(queue, DatumGetInt32(values[0]));
	}
	else
		nulls[0] = 'n';
	start = take_snapshot();
	UnrdfTestAsk(true);
	PG_ENSURE_ERROR_CLEANUP(stop_asking, (Datum) 0);
	{
		ended = run(values, nulls, start, most);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_asking, (Datum) 0);
	UnrdfTestAsk(false);
	return ended;
}
