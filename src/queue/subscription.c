/*
 * subscription.c: who gets a job for which events.
 *
 * A subscription's row is configuration; how far it has come is its newest row of unrdf.delivery (delivery.c), the first of which is
 * written here, with the subscription. Whoever changes either holds UNRDF_LOCK_SUBSCRIPTION of it to the end of the transaction; the
 * courier does not wait for that but looks again later.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/identity.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/event.h"
#include "queue/subscription.h"

#define SUBSCRIPTION_COLUMNS                                                                  \
	"SELECT id, pattern, handler, owner::pg_catalog.oid, queue, priority, max_behind, paused" \
	" FROM unrdf.subscription "

static UnrdfPlan list_all = {SUBSCRIPTION_COLUMNS "ORDER BY id", 0};
static UnrdfPlan find_one = {
	SUBSCRIPTION_COLUMNS "WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan insert_subscription = {
	"INSERT INTO unrdf.subscription (pattern, handler, owner, queue, priority, max_behind)"
	" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id",
	6,
	{TEXTOID, INT4OID, REGROLEOID, INT4OID, INT2OID, INT4OID}};
static UnrdfPlan delete_subscription = {
	"DELETE FROM unrdf.subscription WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan pause_subscription = {
	"UPDATE unrdf.subscription SET paused = $2 WHERE id OPERATOR(pg_catalog.=) $1",
	2,
	{INT4OID, BOOLOID}};

/* Reads a row of the last query. Inside SPI. */
static void
read_row(uint64 row, UnrdfSubscription *s, MemoryContext context)
{
	MemoryContext inner = MemoryContextSwitchTo(context);
	bool isnull;

	s->id = DatumGetInt32(UnrdfResult(row, 0, &isnull));
	s->pattern = DatumGetTextPCopy(UnrdfResult(row, 1, &isnull));
	s->handler = DatumGetInt32(UnrdfResult(row, 2, &isnull));
	s->owner = DatumGetObjectId(UnrdfResult(row, 3, &isnull));
	s->queue = DatumGetInt32(UnrdfResult(row, 4, &isnull));
	if (isnull)
		s->queue = -1;
	s->priority = DatumGetInt16(UnrdfResult(row, 5, &isnull));
	if (isnull)
		s->priority = -1;
	s->max_behind = DatumGetInt32(UnrdfResult(row, 6, &isnull));
	s->paused = DatumGetBool(UnrdfResult(row, 7, &isnull));
	MemoryContextSwitchTo(inner);
}

/* UnrdfSubscriptionList reads all subscriptions into the current memory context and returns how many there are. */
int
UnrdfSubscriptionList(UnrdfSubscription **list)
{
	MemoryContext context = CurrentMemoryContext;
	int n;

	SPI_connect();
	n = (int) UnrdfExecuteLatest(&list_all, NULL, NULL);
	*list = MemoryContextAlloc(context, (n + 1) * sizeof(UnrdfSubscription));
	for (int i = 0; i < n; i++)
		read_row(i, &(*list)[i], context);
	SPI_finish();
	return n;
}

/* UnrdfSubscriptionFind reads one; false where there is none. */
bool
UnrdfSubscriptionFind(int32 id, UnrdfSubscription *s)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = Int32GetDatum(id);
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(&find_one, &value, NULL) == 1;
	if (found)
		read_row(0, s, context);
	SPI_finish();
	return found;
}

/* Has dispatcher and courier look at the subscriptions once this transaction commits. */
static void
changed(void)
{
	UnrdfConfigChanged();
	UnrdfWakeCourier();
}

/* Locks and reads a subscription of the caller's own. Raises 42704, 42501. */
static void
lock_own(int32 id, const char *command, UnrdfSubscription *s)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly(command);
	UnrdfLock(UNRDF_LOCK_SUBSCRIPTION, id);
	if (!UnrdfSubscriptionFind(id, s))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("subscription %d does not exist", id)));
	if (!has_privs_of_role(GetUserId(), s->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of subscription %d", id)));
}

/* Moves a cursor to where somebody wants it. Raises 22023. */
static void
move_cursor(UnrdfCursor *cursor, const char *from)
{
	char *end;
	int64 id;

	if (strcmp(from, "now") == 0)
		UnrdfCursorPass(cursor);
	else if (strcmp(from, "beginning") == 0)
		UnrdfCursorAgain(cursor, 0);
	else
	{
		errno = 0;
		id = strtoi64(from, &end, 10);
		if (errno != 0 || end == from || *end != '\0' || id < 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("from_position must be now, beginning or the id of an event")));
		UnrdfCursorAgain(cursor, id);
	}
}

/*
 * UnrdfSubscribe makes a subscription of the current role, from a position on, and returns its id. handler and queue have been checked.
 * Raises 42602, 22023, 42710 where it has one to the same name with the same handler.
 */
int32
UnrdfSubscribe(UnrdfSubscription *s, const char *from)
{
	Datum values[6];
	char nulls[] = "      ";
	UnrdfCursor cursor;
	UnrdfDelivered first;
	bool isnull;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.on_event()");
	UnrdfCheckPattern(s->pattern);
	values[0] = PointerGetDatum(s->pattern);
	values[1] = Int32GetDatum(s->handler);
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = Int32GetDatum(s->queue);
	values[4] = Int16GetDatum(s->priority);
	values[5] = Int32GetDatum(s->max_behind);
	if (s->queue < 0)
		nulls[3] = 'n';
	if (s->priority < 0)
		nulls[4] = 'n';
	SPI_connect();
	if (UnrdfExecute(&insert_subscription, values, nulls, false) == 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("there is a subscription to \"%s\" with this handler already",
							   text_to_cstring(s->pattern))));
	s->id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	UnrdfLock(UNRDF_LOCK_SUBSCRIPTION, s->id);
	UnrdfCursorInit(&cursor, CurrentMemoryContext);
	UnrdfDeliveryRead(s->id, &cursor, &first);
	first.n = first.oldest_open = 1;
	/* from an event on: what is visible now has come, but for those from there on */
	if (strcmp(from, "beginning") != 0)
		UnrdfCursorPass(&cursor);
	if (strcmp(from, "now") != 0)
		move_cursor(&cursor, from);
	UnrdfDeliveryWrite(s->id, &first, &cursor, NULL, 0);
	changed();
	return s->id;
}

/* UnrdfUnsubscribe ends a subscription. Raises 42704, 42501. */
void
UnrdfUnsubscribe(int32 id)
{
	UnrdfSubscription s;
	Datum value = Int32GetDatum(id);

	lock_own(id, "unrdf.drop_on_event()", &s);
	SPI_connect();
	UnrdfExecute(&delete_subscription, &value, NULL, false);
	SPI_finish();
	changed();
}

/* UnrdfSubscriptionPause pauses a subscription or lets it go on. Raises 42704, 42501. */
void
UnrdfSubscriptionPause(int32 id, bool paused)
{
	UnrdfSubscription s;
	Datum values[2] = {Int32GetDatum(id), BoolGetDatum(paused)};

	lock_own(id, paused ? "unrdf.pause_subscription()" : "unrdf.resume_subscription()", &s);
	SPI_connect();
	UnrdfExecute(&pause_subscription, values, NULL, false);
	SPI_finish();
	changed();
}

/* UnrdfReplay moves a subscription to a position. Raises 42704, 42501, 22023, 54000. */
void
UnrdfReplay(int32 id, const char *from)
{
	UnrdfSubscription s;
	UnrdfCursor cursor;
	UnrdfDelivered delivery;

	lock_own(id, "unrdf.replay()", &s);
	UnrdfCursorInit(&cursor, CurrentMemoryContext);
	UnrdfDeliveryRead(id, &cursor, &delivery);
	move_cursor(&cursor, from);
	delivery.n++;
	UnrdfDeliveryWrite(id, &delivery, &cursor, NULL, 0);
	changed();
}

typedef struct Count
{
	const UnrdfSubscription *s;
	UnrdfEventReader reader;
	MemoryContext context;
	int64 events;
	TimestampTz oldest;
} Count;

static void
count_event(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Count *count = arg;
	MemoryContext old = MemoryContextSwitchTo(count->context);
	UnrdfEvent event;

	UnrdfEventRead(slot, &event);
	if (UnrdfPatternMatches(count->s->pattern, event.name) &&
		UnrdfEventReadable(&count->reader, &event))
	{
		count->oldest = count->events++ == 0 ? event.at : Min(count->oldest, event.at);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(count->context);
}

/*
 * UnrdfSubscriptionLag counts the events that a subscription has yet to get, among the next UNRDF_LAG_LOOKS that have any; *oldest is
 * when the first of them was emitted. 0 means that there is none. False where there is no such subscription, or it is none that the current role may see.
 */
bool
UnrdfSubscriptionLag(int32 id, int64 *events, TimestampTz *oldest)
{
	UnrdfSubscription s;
	UnrdfCursor cursor;
	UnrdfDelivered delivery;
	Count count = {&s};
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf lag", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	bool found = UnrdfSubscriptionFind(id, &s) &&
				 (UnrdfControls(s.owner) || has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA));

	if (found)
	{
		count.context = AllocSetContextCreate(context, "unrdf event", ALLOCSET_DEFAULT_SIZES);
		UnrdfEventReaderLoad(&count.reader, s.owner);
		UnrdfCursorInit(&cursor, context);
		UnrdfDeliveryRead(id, &cursor, &delivery);
		PushActiveSnapshot(GetLatestSnapshot());
		do
			(void) UnrdfCursorNext(&cursor, UNRDF_LAG_LOOKS, count_event, &count);
		while (count.events == 0 && !UnrdfCursorAtEnd(&cursor));
		PopActiveSnapshot();
		*events = count.events;
		*oldest = count.oldest;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return found;
}
