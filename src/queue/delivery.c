/*
 * delivery.c: rows of unrdf.delivery, by which a subscription knows how far it has come.
 *
 * Appended, and not rewritten in place: with every batch a row would leave a dead one behind, for as long as anybody's snapshot is open.
 *
 * Invariant: rows of a subscription are numbered without gap, and its newest one is the truth. Whoever writes a row holds
 * UNRDF_LOCK_SUBSCRIPTION of it and has read the newest one since; were that not so, the primary key would refuse the second of two
 * rows n, and with it the jobs of its transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/plan.h"
#include "queue/subscription.h"

static UnrdfPlan newest_number = {
	"SELECT n FROM unrdf.delivery WHERE subscription OPERATOR(pg_catalog.=) $1"
	" ORDER BY n DESC LIMIT 1",
	1,
	{INT4OID}};
static UnrdfPlan newest_delivery = {
	"SELECT r.at, r.event, d.n, d.oldest_open, d.last_event, d.position, d.restored_at"
	" FROM (SELECT pg_catalog.max(at) AS at, coalesce(pg_catalog.max(event), 0) AS event"
	" FROM unrdf.restored) AS r"
	" LEFT JOIN LATERAL (SELECT * FROM unrdf.delivery AS t"
	" WHERE t.subscription OPERATOR(pg_catalog.=) $1 ORDER BY t.n DESC LIMIT 1) AS d ON true",
	1,
	{INT4OID}};

/* UnrdfDeliveryNewest returns the number of a subscription's newest row; 0 where there is none. */
int64
UnrdfDeliveryNewest(int32 subscription)
{
	Datum value = Int32GetDatum(subscription);
	int64 n = 0;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&newest_number, &value, NULL) == 1)
		n = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return n;
}

/* A time of the last query's row; 0 where it is null. Inside SPI. */
static TimestampTz
time_result(int column)
{
	bool isnull;
	Datum value = UnrdfResult(0, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/*
 * UnrdfDeliveryRead reads the newest row (n is 0 where there is none), and its position into a cursor that was made by UnrdfCursorInit.
 * One that came by a restore is made good for this cluster. Raises XX001 where it is malformed.
 */
void
UnrdfDeliveryRead(int32 subscription, UnrdfCursor *cursor, UnrdfDelivered *newest)
{
	Datum value = Int32GetDatum(subscription);
	Datum last;
	bool isnull;

	memset(newest, 0, sizeof(*newest));
	SPI_connect();
	UnrdfExecuteLatest(&newest_delivery, &value, NULL);
	newest->restored_at = time_result(0);
	newest->n = DatumGetInt64(UnrdfResult(0, 2, &isnull));
	if (!isnull)
	{
		newest->oldest_open = DatumGetInt64(UnrdfResult(0, 3, &isnull));
		last = UnrdfResult(0, 4, &isnull);
		newest->last_event = isnull ? 0 : DatumGetInt64(last);
		UnrdfCursorRead(cursor, TextDatumGetCString(UnrdfResult(0, 5, &isnull)));
		if (time_result(6) != newest->restored_at)
			UnrdfCursorAfterRestore(cursor, DatumGetInt64(UnrdfResult(0, 1, &isnull)));
	}
	else
		newest->n = 0;
	SPI_finish();
}

/* UnrdfDeliveryWrite writes a row: its jobs, and the position after them. */
void
UnrdfDeliveryWrite(int32 subscription, const UnrdfDelivered *delivery, const UnrdfCursor *cursor,
				   const int64 *jobs, int njobs)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_DELIVERY, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);
	Datum *ids = palloc((njobs + 1) * sizeof(Datum));
	StringInfoData position;

	for (int i = 0; i < njobs; i++)
		ids[i] = Int64GetDatum(jobs[i]);
	initStringInfo(&position);
	UnrdfCursorWrite(cursor, &position);
	UnrdfAppendSet(slot, DELIVERY_SUBSCRIPTION, Int32GetDatum(subscription));
	UnrdfAppendSet(slot, DELIVERY_N, Int64GetDatum(delivery->n));
	UnrdfAppendSet(slot, DELIVERY_AT, TimestampTzGetDatum(UnrdfNow()));
	if (delivery->restored_at != 0)
		UnrdfAppendSet(slot, DELIVERY_RESTORED_AT, TimestampTzGetDatum(delivery->restored_at));
	UnrdfAppendSet(slot, DELIVERY_OLDEST_OPEN, Int64GetDatum(delivery->oldest_open));
	if (delivery->last_event != 0)
		UnrdfAppendSet(slot, DELIVERY_LAST_EVENT, Int64GetDatum(delivery->last_event));
	UnrdfAppendSet(slot, DELIVERY_POSITION,
				   PointerGetDatum(cstring_to_text_with_len(position.data, position.len)));
	UnrdfAppendSet(slot, DELIVERY_JOBS,
				   PointerGetDatum(construct_array(ids, njobs, INT8OID, sizeof(int64),
												   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
	UnrdfAppendEnd(append);
}
