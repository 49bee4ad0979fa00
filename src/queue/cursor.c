/*
 * cursor.c: how far a subscription has come among the events.
 *
 * That is a follower's position (base/follow.c), which is exact: each event comes once, when it becomes visible. Going back breaks with it:
 * the follower begins anew, and its first reading meets every event there is. Which of them are to come is said by the position
 * before, which is kept until that first reading is over: an event comes if it has an id from which on they shall come again, or if
 * the position before has not returned it. So an event that became visible between the two, or does so later with a lower id, is
 * not lost by going back. Who goes back while the first reading is still under way adds another level in front.
 *
 * A restore is the same thing: transaction ids of another cluster end to mean anything, but as plain numbers they still say which of the
 * restored events the old position has returned. Restored events, known by their ids, come by once more when this cluster's transaction
 * ids reach theirs, and are left out then.
 *
 * Invariant: what UnrdfCursorWrite writes and UnrdfCursorRead reads is the whole state. Who stores it in the transaction of what came of
 * the events gets each event once.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/lookup.h"
#include "queue/cursor.h"

static void
init_level(UnrdfCursorLevel *l, MemoryContext context)
{
	memset(l, 0, sizeof(*l));
	l->follower.table = UNRDF_EVENT;
	l->follower.index = UNRDF_EVENT_XID_IDX;
	l->follower.xid_column = EVENT_XID;
	l->follower.id_column = EVENT_ID;
	UnrdfFollowInit(&l->follower, context);
	l->again = UNRDF_NEVER_AGAIN;
}

/* UnrdfCursorInit makes a cursor that is before all events; context owns its memory from here on. */
void
UnrdfCursorInit(UnrdfCursor *c, MemoryContext context)
{
	c->context = context;
	c->n = 1;
	init_level(&c->levels[0], context);
}

/* UnrdfCursorPass goes past all events that are visible now, and forgets what was before. Needs a transaction. */
void
UnrdfCursorPass(UnrdfCursor *c)
{
	int64 restored = c->levels[0].restored;

	UnrdfCursorInit(c, c->context);
	c->levels[0].restored = restored;
	UnrdfFollowFrom(&c->levels[0].follower, GetLatestSnapshot());
}

/* Puts a new level in front. Raises 54000 where there are too many. */
static UnrdfCursorLevel *
push_level(UnrdfCursor *c)
{
	if (c->n == UNRDF_CURSOR_LEVELS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("subscription is still on its way from %d replays",
							   UNRDF_CURSOR_LEVELS - 1),
						errhint("Let it catch up first.")));
	memmove(&c->levels[1], &c->levels[0], c->n * sizeof(c->levels[0]));
	c->n++;
	init_level(&c->levels[0], c->context);
	return &c->levels[0];
}

/* The lowest transaction id among events from an id on. The snapshot has to be later than the position before. */
static uint64
lowest_xid(int64 from)
{
	UnrdfLookup l;
	uint64 lowest = PG_UINT64_MAX;
	bool isnull;

	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfLookupBegin(&l, UNRDF_EVENT, UNRDF_EVENT_PKEY);
	UnrdfLookupKey(&l, EVENT_ID + 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(from));
	UnrdfLookupStart(&l);
	while (UnrdfLookupNext(&l, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		lowest = Min(lowest, DatumGetUInt64(slot_getattr(l.slot, EVENT_XID + 1, &isnull)));
	}
	UnrdfLookupEnd(&l);
	PopActiveSnapshot();
	return lowest;
}

static bool
has_begun(const UnrdfCursorLevel *l)
{
	return l->follower.started || l->follower.reading;
}

/* UnrdfCursorAgain makes events from an id on come again; those that have not come yet come in any case. */
void
UnrdfCursorAgain(UnrdfCursor *c, int64 from)
{
	UnrdfCursorLevel *l = &c->levels[0];
	int64 restored = l->restored;

	if (!has_begun(l))
	{
		l->again = Min(l->again, from);
		return;
	}
	l = push_level(c);
	l->again = from;
	l->restored = restored;
}

/*
 * UnrdfCursorAfterRestore makes a cursor that came with a dump one of this cluster, in which events up to `restored` came by a
 * restore.
 */
void
UnrdfCursorAfterRestore(UnrdfCursor *c, int64 restored)
{
	UnrdfCursorLevel *l = push_level(c);

	l->restored = restored;
	l->foreign = true;
}

/* Whether the events up to level k have returned this one. */
static bool
returned(const UnrdfCursor *c, int k, uint64 xid, int64 id)
{
	const UnrdfCursorLevel *l = &c->levels[k];

	if (l->follower.started && id <= l->restored)
		return true;
	if (UnrdfFollowReturned(&l->follower, xid, id))
		return true;
	if (l->follower.started || k + 1 == c->n || id >= l->again || (l->foreign && id > l->restored))
		return false;
	return returned(c, k + 1, xid, id);
}

/* UnrdfCursorReturned tells whether an event does not come any more. */
bool
UnrdfCursorReturned(const UnrdfCursor *c, uint64 xid, int64 id)
{
	return returned(c, 0, xid, id);
}

typedef struct Filter
{
	UnrdfCursor *cursor;
	UnrdfFollowFn fn;
	void *arg;
} Filter;

static void
filter(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Filter *f = arg;
	UnrdfCursor *c = f->cursor;
	UnrdfCursorLevel *l = &c->levels[0];

	if (l->follower.started && id <= l->restored)
		return;
	if (!l->follower.started && c->n > 1 && id < l->again && !(l->foreign && id > l->restored) &&
		returned(c, 1, xid, id))
		return;
	f->fn(f->arg, slot, xid, id);
}

/* Where the first reading has to begin: a lower transaction id has no event that is to come. */
static uint64
first_xid(const UnrdfCursor *c)
{
	const UnrdfCursorLevel *l = &c->levels[0];
	uint64 from = 0;

	if (c->n > 1 && !l->foreign && c->levels[1].follower.started)
		from = UnrdfFollowFloor(&c->levels[1].follower);
	if (from > 0 && l->again != UNRDF_NEVER_AGAIN)
		from = Min(from, lowest_xid(l->again));
	return from;
}

/*
 * UnrdfCursorNext reads up to `most` events, calls fn for those that are to come and returns how many it has read. Needs a
 * transaction with an active snapshot.
 */
int
UnrdfCursorNext(UnrdfCursor *c, int most, UnrdfFollowFn fn, void *arg)
{
	Filter f = {c, fn, arg};
	UnrdfFollower *follower = &c->levels[0].follower;
	int n;

	if (!has_begun(&c->levels[0]))
		follower->from = first_xid(c);
	n = UnrdfFollow(follower, most, filter, &f);
	if (follower->started)
		c->n = 1;
	return n;
}

/* UnrdfCursorAtEnd tells whether everything that was visible at the last look has come. */
bool
UnrdfCursorAtEnd(const UnrdfCursor *c)
{
	return UnrdfFollowedAll(&c->levels[0].follower);
}

/* UnrdfCursorWrite appends the cursor as text: for each level again, restored, foreign and the follower's position. */
void
UnrdfCursorWrite(const UnrdfCursor *c, StringInfo out)
{
	for (int i = 0; i < c->n; i++)
	{
		const UnrdfCursorLevel *l = &c->levels[i];

		appendStringInfo(out, "%s" INT64_FORMAT " " INT64_FORMAT " %d;", i ? "|" : "", l->again,
						 l->restored, l->foreign);
		if (has_begun(l))
			UnrdfFollowWrite(&l->follower, out);
	}
}

static bool
read_level(UnrdfCursorLevel *l, char *text)
{
	char *position = strchr(text, ';');
	int foreign;

	if (position == NULL ||
		sscanf(text, INT64_FORMAT " " INT64_FORMAT " %d;", &l->again, &l->restored, &foreign) != 3)
		return false;
	l->foreign = foreign != 0;
	return position[1] == '\0' || UnrdfFollowRead(&l->follower, position + 1);
}

/* UnrdfCursorRead makes a cursor that was made by UnrdfCursorInit what UnrdfCursorWrite wrote; raises XX001 for anything else. */
void
UnrdfCursorRead(UnrdfCursor *c, const char *text)
{
	char *rest = pstrdup(text);
	char *level;

	for (c->n = 0; (level = strsep(&rest, "|")) != NULL; c->n++)
	{
		if (c->n < UNRDF_CURSOR_LEVELS)
			init_level(&c->levels[c->n], c->context);
		if (c->n >= UNRDF_CURSOR_LEVELS || !read_level(&c->levels[c->n], level))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("\"%s\" is no position of a subscription", text)));
	}
}
