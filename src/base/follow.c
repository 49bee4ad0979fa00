/*
 * follow.c: the follower, which reads the rows of an append-only table as they become visible, each exactly once.
 *
 * Ids commit out of order, so "id > last" skips rows. Rows here carry the top-level id of the transaction that wrote them
 * (pg_current_xact_id(): also for rows written under a savepoint), and what is new between two moments is what snapshot
 * S1 sees and S0 did not:
 *
 *   - rows of transactions that were in progress in S0 and are over in S1: one equality look-up for each of those, and
 *   - rows with S0.xmax <= xid < S1.xmax that were not in progress in S1: one range of the index on (…, xid, id).
 *
 * So neither does one long transaction hide anybody's rows, nor does it widen the range that is read. S0 and S1 are kept
 * as plain values and not as registered snapshots: a follower may stop in the middle of S1 for as long as it likes (its
 * owner's memory is full, its lane is paused) and holds back no vacuum. The rows themselves are read under a new snapshot
 * each time; it is later than S1, so it sees at least what S1 saw, and the xid test makes it no more. Aborted
 * transactions and rolled back savepoints leave rows that no snapshot sees. A prepared transaction is in progress.
 *
 * Invariant: rows returned so far = rows of the transactions over in S0, plus those of S1's transactions that come before
 * (part, last_xid, last_id) in reading order. Only the owning process changes a follower, inside a transaction; a process
 * that must not repeat after dying stores the position (UnrdfFollowWrite) in the transaction of its effects, all others
 * begin again and are idempotent.
 *
 * The first reading has no S0 and no upper bound; its owner may know a lower one. After a dump and restore stored xids are
 * those of another cluster: rows above S1.xmax are returned then, and may be returned a second time when this cluster's xids
 * come round. Consumers have a unique key for that.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/follow.h"

#define NO_LIMIT PG_UINT64_MAX

/* of the prefix's columns: queue, priority, flow */
static const Oid prefix_equal[UNRDF_FOLLOW_PREFIX] = {F_INT4EQ, F_INT2EQ, F_INT8EQ};

/* UnrdfFollowInit clears the position; context owns its memory from here on. */
void
UnrdfFollowInit(UnrdfFollower *f, MemoryContext context)
{
	f->context = context;
	f->started = f->reading = false;
	f->from = 0;
	f->from_id = PG_INT64_MIN;
	memset(&f->seen, 0, sizeof(f->seen));
	memset(&f->target, 0, sizeof(f->target));
	f->part = 0;
	f->last_xid = 0;
	f->last_id = PG_INT64_MIN;
}

static int
compare_xids(const void *a, const void *b)
{
	uint64 x = *(const uint64 *) a;
	uint64 y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Widens a 32-bit xid that is not far from next. */
static uint64
widen(TransactionId xid, FullTransactionId next)
{
	uint32 epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return ((uint64) epoch << 32) | xid;
}

/*
 * UnrdfXidSetTake fills a set with what a snapshot, just taken, says of transactions. The own one is in progress, which a
 * snapshot does not list. xip is allocated in context.
 */
void
UnrdfXidSetTake(UnrdfXidSet *set, Snapshot snap, MemoryContext context)
{
	FullTransactionId next = ReadNextFullTransactionId();
	FullTransactionId own = GetTopFullTransactionIdIfAny();

	set->xmin = widen(snap->xmin, next);
	set->xmax = widen(snap->xmax, next);
	set->nxip = snap->xcnt;
	set->xip = MemoryContextAlloc(context, (snap->xcnt + 1) * sizeof(uint64));
	for (uint32 i = 0; i < snap->xcnt; i++)
		set->xip[i] = widen(snap->xip[i], next);
	if (FullTransactionIdIsValid(own) && U64FromFullTransactionId(own) < set->xmax)
		set->xip[set->nxip++] = U64FromFullTransactionId(own);
	qsort(set->xip, set->nxip, sizeof(uint64), compare_xids);
}

/* Takes S1 from a snapshot of now. */
static void
take_target(UnrdfFollower *f, Snapshot snap)
{
	UnrdfXidSetTake(&f->target, snap, f->context);
	f->reading = true;
	f->part = f->started ? 0 : f->seen.nxip;
	f->last_xid = 0;
	f->last_id = PG_INT64_MIN;
	if (!f->started && f->from_id != PG_INT64_MIN)
	{
		f->last_xid = f->from;
		f->last_id = f->from_id - 1;
	}
}

/* UnrdfFollowEnd frees what a follower has; it is not to be used any more. */
void
UnrdfFollowEnd(UnrdfFollower *f)
{
	if (f->seen.xip)
		pfree(f->seen.xip);
	if (f->target.xip)
		pfree(f->target.xip);
}

/*
 * UnrdfFollowAgain begins anew, with a first reading of rows whose xids are at or above `from`, and of those that have not been
 * returned yet: of transactions that were in progress, which may be older.
 */
void
UnrdfFollowAgain(UnrdfFollower *f, uint64 from)
{
	uint64 floor = UnrdfFollowFloor(f);

	UnrdfFollowEnd(f);
	UnrdfFollowInit(f, f->context);
	f->from = Min(from, floor);
}

/* S1 is used up: it becomes S0. */
static void
finish_target(UnrdfFollower *f)
{
	if (f->seen.xip)
		pfree(f->seen.xip);
	f->seen = f->target;
	memset(&f->target, 0, sizeof(f->target));
	f->started = true;
	f->reading = false;
}

/* UnrdfFollowFrom begins with what a snapshot, which is the newest or nearly so, does not see. */
void
UnrdfFollowFrom(UnrdfFollower *f, Snapshot snapshot)
{
	UnrdfFollowAgain(f, 0);
	take_target(f, snapshot);
	finish_target(f);
}

/* UnrdfFollowFloor returns an xid at or above which every row is that has not been returned yet. */
uint64
UnrdfFollowFloor(const UnrdfFollower *f)
{
	if (f->started)
		return f->seen.xmin;
	if (!f->reading)
		return f->from;
	return Max(f->from, Min(f->target.xmin, f->last_xid));
}

/* UnrdfXidSetIsOver tells whether a transaction was over when the set was taken. */
bool
UnrdfXidSetIsOver(const UnrdfXidSet *set, uint64 xid)
{
	if (xid < set->xmin)
		return true;
	if (xid >= set->xmax)
		return false;
	return bsearch(&xid, set->xip, set->nxip, sizeof(uint64), compare_xids) == NULL;
}

/* Whether a row of this transaction belongs to S1 minus S0, in the range part. */
static bool
belongs(const UnrdfFollower *f, uint64 xid)
{
	if (xid >= f->target.xmax)
		return !f->started;
	return UnrdfXidSetIsOver(&f->target, xid);
}

typedef struct FollowScan
{
	UnrdfFollower *f;
	Relation table;
	Relation index;
	TupleTableSlot *slot;
	UnrdfFollowFn fn;
	void *arg;
	int left;
	int returned;
} FollowScan;

/*
 * Returns rows with from <= xid < to and, where from is a single xid, id > above, until enough were returned. True when
 * the range is used up.
 */
static bool
scan_range(FollowScan *s, uint64 from, uint64 to, int64 above)
{
	UnrdfFollower *f = s->f;
	ScanKeyData keys[UNRDF_FOLLOW_PREFIX + 3];
	int n = 0;
	IndexScanDesc scan;
	bool used_up = true;

	for (; n < f->nprefix; n++)
		ScanKeyInit(&keys[n], n + 1, BTEqualStrategyNumber, prefix_equal[n], f->prefix[n]);
	if (from + 1 == to)
	{
		ScanKeyInit(&keys[n++], f->nprefix + 1, BTEqualStrategyNumber, F_XID8EQ,
					UInt64GetDatum(from));
		ScanKeyInit(&keys[n++], f->nprefix + 2, BTGreaterStrategyNumber, F_INT8GT,
					Int64GetDatum(above));
	}
	else
	{
		ScanKeyInit(&keys[n++], f->nprefix + 1, BTGreaterEqualStrategyNumber, F_XID8GE,
					UInt64GetDatum(from));
		if (to != NO_LIMIT)
			ScanKeyInit(&keys[n++], f->nprefix + 1, BTLessStrategyNumber, F_XID8LT,
						UInt64GetDatum(to));
	}
	scan = unrdf_index_beginscan(s->table, s->index, GetActiveSnapshot(), n);
	index_rescan(scan, keys, n, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, s->slot))
	{
		bool isnull;
		uint64 xid = DatumGetUInt64(slot_getattr(s->slot, f->xid_column + 1, &isnull));
		int64 id = DatumGetInt64(slot_getattr(s->slot, f->id_column + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (f->part == f->seen.nxip && !belongs(f, xid))
			continue;
		if (s->left == 0)
		{
			used_up = false;
			break;
		}
		s->left--;
		s->returned++;
		f->last_xid = xid;
		f->last_id = id;
		s->fn(s->arg, s->slot, xid, id);
	}
	index_endscan(scan);
	return used_up;
}

/* Goes on where the part was left. True when the part is used up. */
static bool
scan_part(FollowScan *s)
{
	UnrdfFollower *f = s->f;
	uint64 from;
	uint64 to;

	if (f->part < f->seen.nxip)
	{
		from = f->seen.xip[f->part];
		if (!UnrdfXidSetIsOver(&f->target, from))
			return true;
		to = from + 1;
	}
	else
	{
		from = f->started ? f->seen.xmax : f->from;
		to = f->started ? f->target.xmax : NO_LIMIT;
	}
	if (f->last_xid >= from && f->last_id != PG_INT64_MIN)
	{
		if (!scan_range(s, f->last_xid, f->last_xid + 1, f->last_id))
			return false;
		from = f->last_xid + 1;
	}
	if (from >= to)
		return true;
	return scan_range(s, from, to, PG_INT64_MIN);
}

/*
 * UnrdfFollow calls fn for new rows, at most `most` of them, in the order of the index within each part, and returns how
 * many. Needs a transaction. The slot belongs to the scan. Transactions in progress in S0 and still in S1 are looked up
 * again next time: a snapshot lists every transaction in progress below its xmax.
 */
int
UnrdfFollow(UnrdfFollower *f, int most, UnrdfFollowFn fn, void *arg)
{
	FollowScan s = {f, NULL, NULL, NULL, fn, arg, most, 0};

	s.table = table_open(UnrdfRelid(f->table), AccessShareLock);
	s.index = index_open(UnrdfRelid(f->index), AccessShareLock);
	s.slot = table_slot_create(s.table, NULL);
	if (!f->reading)
		take_target(f, GetLatestSnapshot());
	PushActiveSnapshot(GetLatestSnapshot());
	for (;;)
	{
		bool last = f->part >= f->seen.nxip;

		if (!scan_part(&s))
			break;
		if (last)
		{
			finish_target(f);
			break;
		}
		f->part++;
		f->last_xid = 0;
		f->last_id = PG_INT64_MIN;
	}
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(s.slot);
	index_close(s.index, AccessShareLock);
	table_close(s.table, AccessShareLock);
	return s.returned;
}

/* UnrdfFollowedAll tells whether everything that S1 showed has been returned. */
bool
UnrdfFollowedAll(const UnrdfFollower *f)
{
	return f->started && !f->reading;
}

/* UnrdfFollowReturned tells whether a follower that has come to this position has returned a row. */
bool
UnrdfFollowReturned(const UnrdfFollower *f, uint64 xid, int64 id)
{
	const uint64 *late;
	int part = f->seen.nxip;

	if (f->started && UnrdfXidSetIsOver(&f->seen, xid))
		return true;
	if (!f->reading || !belongs(f, xid))
		return false;
	late = bsearch(&xid, f->seen.xip, f->seen.nxip, sizeof(uint64), compare_xids);
	if (late)
		part = (int) (late - f->seen.xip);
	if (part != f->part)
		return part < f->part;
	return xid < f->last_xid || (xid == f->last_xid && id <= f->last_id);
}

static void
write_set(const UnrdfXidSet *set, StringInfo out)
{
	appendStringInfo(out, UINT64_FORMAT ":" UINT64_FORMAT ":", set->xmin, set->xmax);
	for (int i = 0; i < set->nxip; i++)
		appendStringInfo(out, "%s" UINT64_FORMAT, i ? "," : "", set->xip[i]);
}

/* UnrdfFollowWrite appends the position as text: S0, as pg_snapshot, and within S1 what was read of it. */
void
UnrdfFollowWrite(const UnrdfFollower *f, StringInfo out)
{
	write_set(&f->seen, out);
	if (!f->reading)
		return;
	appendStringInfoChar(out, ' ');
	write_set(&f->target, out);
	appendStringInfo(out, " %d %d " UINT64_FORMAT " " INT64_FORMAT, f->started, f->part,
					 f->last_xid, f->last_id);
}

static bool
read_set(UnrdfXidSet *set, const char **text, MemoryContext context)
{
	char *end;
	int capacity = 8;

	set->xmin = strtou64(*text, &end, 10);
	if (*end != ':')
		return false;
	set->xmax = strtou64(end + 1, &end, 10);
	if (*end != ':')
		return false;
	end++;
	set->nxip = 0;
	set->xip = MemoryContextAlloc(context, capacity * sizeof(uint64));
	while (*end >= '0' && *end <= '9')
	{
		if (set->nxip == capacity)
		{
			capacity *= 2;
			set->xip = repalloc(set->xip, capacity * sizeof(uint64));
		}
		set->xip[set->nxip++] = strtou64(end, &end, 10);
		if (*end == ',')
			end++;
	}
	*text = end;
	return true;
}

/* UnrdfFollowRead restores a position that UnrdfFollowWrite wrote; false where it is not one. */
bool
UnrdfFollowRead(UnrdfFollower *f, const char *text)
{
	int started;

	if (!read_set(&f->seen, &text, f->context))
		return false;
	f->started = true;
	f->reading = false;
	if (*text == '\0')
		return true;
	text++;
	if (!read_set(&f->target, &text, f->context))
		return false;
	f->reading = true;
	if (sscanf(text, " %d %d " UINT64_FORMAT " " INT64_FORMAT, &started, &f->part, &f->last_xid,
			   &f->last_id) != 4)
		return false;
	f->started = started != 0;
	return true;
}
