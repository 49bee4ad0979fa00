/*
 * event_retention.c: for how long payloads of events are kept.
 *
 * An event whose name has a rule, the one with the longest pattern, has its payload in a segment (base/kept.c), as a job of a queue
 * that has one; the event's row says until when. It goes once that time has passed and every subscription that is to get the
 * event has got it: what a subscription still waits for stays, however long it is paused or full. Later, the event itself is there, and
 * comes no more when a subscription goes back to before it: a job without what it is about would be a wrong one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/lookup.h"
#include "base/plan.h"
#include "queue/event_retention.h"
#include "queue/subscription.h"

static UnrdfPlan set_rule = {
	"INSERT INTO unrdf.event_retention (pattern, keep, set_by) VALUES ($1, $2, $3)"
	" ON CONFLICT (pattern) DO UPDATE SET keep = EXCLUDED.keep, set_by = EXCLUDED.set_by,"
	" set_at = pg_catalog.now()",
	3,
	{TEXTOID, INT8OID, REGROLEOID}};
static UnrdfPlan delete_rule = {
	"DELETE FROM unrdf.event_retention WHERE pattern OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
static UnrdfPlan list_rules = {"SELECT pattern, keep FROM unrdf.event_retention"
							   " ORDER BY pg_catalog.octet_length(pattern) DESC",
							   0};

/* A subscription, as far as it has come. */
typedef struct Waiter
{
	UnrdfSubscription s;
	UnrdfEventReader reader;
	UnrdfCursor cursor;
} Waiter;

/* UnrdfKeepEvents sets for how many seconds payloads of events of a pattern are kept; -1: for ever. Raises 42602. */
void
UnrdfKeepEvents(text *pattern, int64 seconds)
{
	Datum values[3] = {PointerGetDatum(pattern), Int64GetDatum(seconds),
					   ObjectIdGetDatum(GetUserId())};

	PreventCommandIfReadOnly("unrdf.keep_events()");
	UnrdfCheckPattern(pattern);
	SPI_connect();
	UnrdfExecute(seconds < 0 ? &delete_rule : &set_rule, values, NULL, false);
	SPI_finish();
}

/* UnrdfEventKeep returns for how many seconds the payload of an event of this name is kept; -1: for ever. */
int64
UnrdfEventKeep(const text *name)
{
	int64 keep = -1;
	uint64 n;
	bool isnull;

	if (UnrdfNeverFilled(UNRDF_EVENT_RETENTION))
		return -1;
	SPI_connect();
	n = UnrdfExecuteLatest(&list_rules, NULL, NULL);
	for (uint64 i = 0; i < n && keep < 0; i++)
		if (UnrdfPatternMatches(DatumGetTextPP(UnrdfResult(i, 0, &isnull)), name))
			keep = DatumGetInt64(UnrdfResult(i, 1, &isnull));
	SPI_finish();
	return keep;
}

/* UnrdfEventWaiters returns all subscriptions, as far as they have come, in the current memory context. */
List *
UnrdfEventWaiters(void)
{
	UnrdfSubscription *all;
	int n = UnrdfSubscriptionList(&all);
	List *waiters = NIL;

	for (int i = 0; i < n; i++)
	{
		Waiter *w = palloc0(sizeof(Waiter));
		UnrdfDelivered newest;

		w->s = all[i];
		UnrdfEventReaderLoad(&w->reader, w->s.owner);
		UnrdfCursorInit(&w->cursor, CurrentMemoryContext);
		UnrdfDeliveryRead(w->s.id, &w->cursor, &newest);
		waiters = lappend(waiters, w);
	}
	return waiters;
}

/* UnrdfEventIsAwaited tells whether a subscription is still to get an event. */
bool
UnrdfEventIsAwaited(List *waiters, const UnrdfEvent *event)
{
	ListCell *cell;

	foreach (cell, waiters)
	{
		Waiter *w = lfirst(cell);

		if (UnrdfPatternMatches(w->s.pattern, event->name) &&
			!UnrdfCursorReturned(&w->cursor, event->xid, event->id) &&
			UnrdfEventReadable(&w->reader, event))
			return true;
	}
	return false;
}
