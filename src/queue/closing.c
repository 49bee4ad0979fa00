/*
 * closing.c: queues that take no more jobs, to be drained or dropped.
 *
 * A queue is closed by a row (unrdf.queue_state.draining) that commits first. Whoever enqueues takes the lock on unrdf.job, or
 * unrdf.waiting_job, that writing needs, which it keeps to its transaction's end, and only then looks whether the queue takes
 * jobs (UnrdfQueueTakesJobs). So once everybody who had that lock when the row had committed has ended, no job can come any
 * more: who takes it later sees the row. Nobody else is held up, and the path of an enqueue has no lock and no query more.
 * Compensations of a saga do come: they are what is left to do of jobs that were there.
 *
 * A queue is removed (dropped_at) when it is closed, shut in this sense, and has no open job; its state's row is locked then, so
 * that it is not opened meanwhile. Whoever needs a queue later, a schedule or a saga with compensations, locks the queue's row
 * first (UnrdfQueueHold), and who removes it looks only after having changed that row: one of them sees what the other did. unrdf.drain_queue() and unrdf.drop_queue() are procedures that commit between these
 * steps. Dying between any two leaves a queue that is closed, which unrdf.queues shows: call again, or resume it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/plan.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/depth.h"

#define LOOK_INTERVAL 20 /* ms */
/* how long who removes a queue waits for those who just then write jobs, which may be other queues' */
#define PATIENCE USECS_PER_SEC

static UnrdfPlan set_draining = {
	"INSERT INTO unrdf.queue_state AS s (queue, draining, changed_by) VALUES ($1, $2, $3)"
	" ON CONFLICT (queue) DO UPDATE SET draining = EXCLUDED.draining, changed_by = EXCLUDED.changed_by,"
	" changed_at = pg_catalog.now() WHERE s.draining OPERATOR(pg_catalog.<>) EXCLUDED.draining",
	3,
	{INT4OID, BOOLOID, REGROLEOID}};
static UnrdfPlan read_state = {"SELECT s.draining, s.paused FROM unrdf.queue_state AS s"
							   " WHERE s.queue OPERATOR(pg_catalog.=) $1",
							   1,
							   {INT4OID}};
static UnrdfPlan lock_state = {"SELECT s.draining, s.paused FROM unrdf.queue_state AS s"
							   " WHERE s.queue OPERATOR(pg_catalog.=) $1 FOR UPDATE",
							   1,
							   {INT4OID}};
static UnrdfPlan remove_queue = {
	"WITH shares AS (DELETE FROM unrdf.share WHERE queue OPERATOR(pg_catalog.=) $1),"
	" workers AS (DELETE FROM unrdf.queue_worker WHERE queue OPERATOR(pg_catalog.=) $1)"
	" UPDATE unrdf.queue SET dropped_at = pg_catalog.now() WHERE id OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};
static UnrdfPlan hold_queue = {
	"SELECT dropped_at IS NULL FROM unrdf.queue WHERE id OPERATOR(pg_catalog.=) $1 FOR SHARE",
	1,
	{INT4OID}};
/* what names a queue and will enqueue in it */
static UnrdfPlan find_user = {
	"SELECT x.who, x.hint FROM (SELECT pg_catalog.format('schedule \"%s\" enqueues in it', s.name) AS who,"
	" 'Remove it with unrdf.unschedule(), or have it enqueue elsewhere.' AS hint"
	" FROM unrdf.schedule AS s WHERE s.queue OPERATOR(pg_catalog.=) $1"
	" UNION ALL SELECT pg_catalog.format('it is that of handler \"%s\"', h.name),"
	" 'Register it with another queue, or none.'"
	" FROM unrdf.handler AS h WHERE h.queue OPERATOR(pg_catalog.=) $2"
	" UNION ALL SELECT pg_catalog.format('subscription %s enqueues in it', e.id),"
	" 'Remove it with unrdf.drop_on_event().'"
	" FROM unrdf.subscription AS e WHERE e.queue OPERATOR(pg_catalog.=) $2"
	" UNION ALL SELECT pg_catalog.format('change handler %s enqueues in it', c.id),"
	" 'Remove it with unrdf.drop_on_change().'"
	" FROM unrdf.change_handler AS c WHERE c.queue OPERATOR(pg_catalog.=) $2"
	" AND EXISTS (SELECT FROM pg_catalog.pg_class AS r WHERE r.oid OPERATOR(pg_catalog.=) c.relation))"
	" AS x ORDER BY x.who LIMIT 1",
	2,
	{TEXTOID, INT4OID}};

/* UnrdfQueueClose has a queue take no more jobs from this transaction's commit on, or again; false where that changes nothing. */
bool
UnrdfQueueClose(text *name, bool closed)
{
	Datum values[3];
	bool changed;

	PreventCommandIfReadOnly("unrdf.close_queue()");
	values[0] = Int32GetDatum(UnrdfQueueId(name));
	values[1] = BoolGetDatum(closed);
	values[2] = ObjectIdGetDatum(GetUserId());
	SPI_connect();
	changed = UnrdfExecute(&set_draining, values, NULL, false) > 0;
	SPI_finish();
	UnrdfConfigChanged();
	return changed;
}

/* Sleeps a little; false where the time is over. */
static bool
pause_until(int64 until)
{
	if (UnrdfTicks() >= until)
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 Max(1, UnrdfMillisUntilTick(until, LOOK_INTERVAL)),
					 unrdf_wait_event("UnrdfDrain"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Waits until those who may be writing to a table have ended; false where the time is over. */
static bool
wait_for_writers(UnrdfRel table, int64 until)
{
	LOCKTAG tag;
	VirtualTransactionId *who;
	int n;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, UnrdfRelid(table));
	who = GetLockConflicts(&tag, ShareLock, &n);
	for (int i = 0; i < n; i++)
		while (!VirtualXactLock(who[i], false))
			if (!pause_until(until))
				return false;
	return true;
}

/* Waits until those who may be enqueueing have ended; false where the time is over. */
static bool
wait_for_enqueuers(int64 until)
{
	return wait_for_writers(UNRDF_JOB, until) && wait_for_writers(UNRDF_WAITING_JOB, until);
}

/* Reads, or locks, a queue's state. Raises 55000 where it is not closed. */
static bool
check_closed(int32 queue, text *name, UnrdfPlan *plan)
{
	Datum value = Int32GetDatum(queue);
	bool closed = false;
	bool paused = false;
	bool isnull;

	SPI_connect();
	if ((plan == &read_state ? UnrdfExecuteLatest(plan, &value, NULL)
							 : UnrdfExecute(plan, &value, NULL, false)) == 1)
	{
		closed = DatumGetBool(UnrdfResult(0, 0, &isnull));
		paused = DatumGetBool(UnrdfResult(0, 1, &isnull));
	}
	SPI_finish();
	if (!closed)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("queue \"%s\" takes jobs", text_to_cstring(name)),
			 errhint("Somebody has resumed it. unrdf.drain_queue() has it take no more of them.")));
	return paused;
}

static int64
deadline(int64 timeout_ms)
{
	int64 now = UnrdfTicks();

	return timeout_ms < 0 || timeout_ms > (PG_INT64_MAX - now) / 1000 ? PG_INT64_MAX
																	  : now + timeout_ms * 1000;
}

/* UnrdfQueueIsShut waits, timeout_ms or (-1) for ever, until no job can come to a queue that was closed; false where one can. */
bool
UnrdfQueueIsShut(text *name, int64 timeout_ms)
{
	(void) check_closed(UnrdfQueueId(name), name, &read_state);
	return wait_for_enqueuers(deadline(timeout_ms));
}

/* UnrdfQueueIsDrained waits likewise until a queue that was closed has no open job. Raises 55000 where it is paused, or opened. */
bool
UnrdfQueueIsDrained(text *name, int64 timeout_ms)
{
	int32 queue = UnrdfQueueId(name);
	int64 until = deadline(timeout_ms);

	if (!UnrdfQueueIsShut(name, timeout_ms))
		return false;
	while (UnrdfQueueDepth(queue) > 0)
	{
		if (check_closed(queue, name, &read_state))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("queue \"%s\" is paused: it cannot be drained", text_to_cstring(name)),
					 errhint("Resume it first, with unrdf.resume_queue().")));
		if (!pause_until(until))
			return false;
	}
	return true;
}

/* UnrdfQueueHold keeps a queue from being removed before this transaction has ended; false where it was. */
bool
UnrdfQueueHold(int32 queue)
{
	Datum value = Int32GetDatum(queue);
	bool isnull;
	bool held;

	SPI_connect();
	held = UnrdfExecute(&hold_queue, &value, NULL, false) == 1 &&
		   DatumGetBool(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return held;
}

/* UnrdfQueueToUse returns the id of a queue that this transaction writes down; it is held. Raises 42704 where there is none. */
int32
UnrdfQueueToUse(text *name)
{
	int32 queue = UnrdfQueueId(name);

	if (!UnrdfQueueHold(queue))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("queue \"%s\" was dropped just now", text_to_cstring(name))));
	return queue;
}

/* UnrdfQueueCheckUnused raises 55006 for a queue that something enqueues in, or the jobs of a handler come to. */
void
UnrdfQueueCheckUnused(text *name, int32 queue)
{
	Datum values[2] = {PointerGetDatum(name), Int32GetDatum(queue)};
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&find_user, values, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("queue \"%s\" cannot be dropped: %s", text_to_cstring(name),
							   TextDatumGetCString(UnrdfResult(0, 0, &isnull))),
						errhint("%s", TextDatumGetCString(UnrdfResult(0, 1, &isnull)))));
	SPI_finish();
}

/*
 * UnrdfQueueRemove removes a queue that is shut. Raises 55006 where it has an open job or somebody uses it, 55000 where it takes
 * jobs, 55P03 where somebody writes jobs all that time: it may be into this queue, that was not shut then.
 */
void
UnrdfQueueRemove(text *name)
{
	int32 queue = UnrdfQueueId(name);
	Datum value = Int32GetDatum(queue);
	int64 depth;

	PreventCommandIfReadOnly("unrdf.remove_queue()");
	(void) check_closed(queue, name, &lock_state);
	if (!wait_for_enqueuers(UnrdfTicks() + PATIENCE))
		ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
						errmsg("queue \"%s\" may still get jobs", text_to_cstring(name)),
						errhint("unrdf.queue_is_shut() waits until it cannot.")));
	SPI_connect();
	UnrdfExecute(&remove_queue, &value, NULL, false);
	SPI_finish();
	UnrdfQueueCheckUnused(name, queue);
	depth = UnrdfQueueDepth(queue);
	if (depth > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("queue \"%s\" cannot be dropped: it has " INT64_FORMAT
							   " jobs that have not ended",
							   text_to_cstring(name), depth),
						errhint("Drain it first, or say what is to become of them: waiting => "
								"'cancel', or waiting => 'move', move_to => a queue. Jobs of "
								"workflows, and those that others need, are not moved.")));
	UnrdfConfigChanged();
}
