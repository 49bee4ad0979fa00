/*
 * floor.c: from where a new dispatcher has to read.
 *
 * Jobs stay in their table when they have ended, so a dispatcher that knew nothing would pass over all there ever were before
 * it finds the first that it can run. From time to time it therefore notes, in the one row of unrdf.dispatch_floor, a moment
 * and a transaction id for each lane.
 *
 * Invariant: a job of a lane whose transaction id is below the lane's floor has ended, or becomes due at that moment or later
 * by what unrdf.job.run_at and unrdf.attempt.retry_at say. So its successor finds every other job by reading lanes from their
 * floors on, and indexes of due times from that moment on. Once true this stays true: jobs only end, and what fails becomes
 * due later.
 *
 * Only the dispatcher writes it, from its own memory, in a transaction that commits asynchronously: a crash leaves an older
 * floor. What the floor relies on is older in the WAL, so it is not on disk, or on a standby, before that. A restore brings
 * rows with any transaction ids; the floor says how many restores there had been and counts for nothing after another one.
 * It does not belong to a dump.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/plan.h"
#include "worker/floor.h"

static UnrdfPlan read_floor = {
	"SELECT f.at, x.queue, x.priority, x.xid FROM unrdf.dispatch_floor AS f,"
	" ROWS FROM (pg_catalog.unnest(f.queues), pg_catalog.unnest(f.priorities), pg_catalog.unnest(f.xids))"
	" AS x (queue, priority, xid) WHERE f.restores OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};
static UnrdfPlan update_floor = {
	"UPDATE unrdf.dispatch_floor SET at = $1, restores = $2, queues = $3,"
	" priorities = $4, xids = $5",
	5,
	{TIMESTAMPTZOID, INT8OID, INT4ARRAYOID, INT2ARRAYOID, XID8ARRAYOID}};
static UnrdfPlan insert_floor = {
	"INSERT INTO unrdf.dispatch_floor VALUES ($1, $2, $3, $4, $5)",
	5,
	{TIMESTAMPTZOID, INT8OID, INT4ARRAYOID, INT2ARRAYOID, XID8ARRAYOID}};

/* UnrdfFloorRead makes the lanes that have a floor, if there is one from after the last restore. Inside a transaction. */
void
UnrdfFloorRead(UnrdfLaneSet *lanes, int64 restores)
{
	Datum values[1] = {Int64GetDatum(restores)};
	UnrdfDue horizon = {DT_NOEND, 0};
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecute(&read_floor, values, NULL, true);
	for (uint64 i = 0; i < n; i++)
	{
		UnrdfLaneQueue *queue = UnrdfLaneQueueGet(lanes, DatumGetInt32(UnrdfResult(i, 1, &isnull)));
		UnrdfLane *lane = UnrdfLaneGet(lanes, queue, DatumGetInt16(UnrdfResult(i, 2, &isnull)));

		lane->reader.follower.from = DatumGetUInt64(UnrdfResult(i, 3, &isnull));
		horizon.at = DatumGetTimestampTz(UnrdfResult(i, 0, &isnull));
		horizon.job = PG_INT64_MIN;
	}
	SPI_finish();
	UnrdfHorizonSet(lanes, horizon);
}

/* Fills three arrays with the lanes' keys and floors; returns how many there are. */
static int
collect(UnrdfLaneSet *lanes, Datum *queues, Datum *priorities, Datum *xids)
{
	dlist_iter iter;
	int n = 0;

	dlist_foreach (iter, UnrdfLaneQueues(lanes))
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, node, iter.cur);

		for (int p = 0; p < UNRDF_PRIORITIES; p++)
		{
			if (queue->lanes[p] == NULL)
				continue;
			queues[n] = Int32GetDatum(queue->id);
			priorities[n] = Int16GetDatum(p);
			xids[n++] = UInt64GetDatum(queue->lanes[p]->floor);
		}
	}
	return n;
}

/* UnrdfFloorWrite notes the floors of all lanes as of now. Inside a transaction. */
void
UnrdfFloorWrite(UnrdfLaneSet *lanes, int64 restores)
{
	int most = UnrdfLaneCount(lanes);
	Datum *queues = palloc(3 * most * sizeof(Datum));
	Datum *priorities = queues + most;
	Datum *xids = priorities + most;
	TimestampTz now = UnrdfNow();
	Datum values[5];
	int n;

	UnrdfLaneFloors(lanes, now);
	n = collect(lanes, queues, priorities, xids);
	/* what is due already may still have to be read again from the horizon on */
	values[0] = TimestampTzGetDatum(Min(now, UnrdfHorizon(lanes).at));
	values[1] = Int64GetDatum(restores);
	values[2] =
		PointerGetDatum(construct_array(queues, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[3] = PointerGetDatum(
		construct_array(priorities, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	values[4] = PointerGetDatum(
		construct_array(xids, n, XID8OID, sizeof(uint64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_connect();
	if (UnrdfExecute(&update_floor, values, NULL, false) == 0)
		UnrdfExecute(&insert_floor, values, NULL, false);
	SPI_finish();
}
