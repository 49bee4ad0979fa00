/*
 * kept.c: bodies that are kept for a time: arguments, results, and what failed attempts said.
 *
 * They are rows of segments, unrdf.kept_0 and so on, each of which holds what may go at about the same time, and is emptied as a
 * whole when that has come (worker/expiry.c). No row is deleted by itself, but by unrdf.erase.
 *
 * The segments are five rings of fourteen. Each segment of a ring stands for a span of time, and what may go within it is
 * there; so a body is kept for up to a span longer than was asked for. A body goes to the finest ring that reaches as far as it
 * has to stay, which is twelve spans: one span is that of now, and one may still have to be emptied. The tables are always the same ones, which
 * TRUNCATE makes empty, and not new ones that are dropped: so they are members of the extension, in every dump, gone with it, and
 * the place of a body can be computed from its times, without a look at anything.
 *
 * A body that had to stay longer than was thought when it was written has been carried over into a later segment. Who does not
 * find it where it was first looks everywhere; and where that finds nothing, once more with all segments locked: carrying
 * over and emptying is one transaction, so whoever looked at the later segment before it, and at the earlier one after it, has missed
 * the body, and nobody does who holds locks on both.
 *
 * Bodies are read under a snapshot that is taken once the segment is locked, and not under the caller's. A segment that
 * was emptied is so for every snapshot, also for one that is too old to see what was carried over. As bodies never change, a newer snapshot
 * shows nothing that an older one must not see: who asks has seen the job.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/kept.h"

#define RINGS 5
#define RING_SEGMENTS (UNRDF_SEGMENTS / RINGS)
#define REACH (RING_SEGMENTS - 2) /* spans that what may go is at most away */

static const int64 spans[RINGS] = {
	SECS_PER_MINUTE * USECS_PER_SEC, 10 * SECS_PER_MINUTE *USECS_PER_SEC,
	2 * SECS_PER_HOUR *USECS_PER_SEC, USECS_PER_DAY, 10 * USECS_PER_DAY};

struct UnrdfKept
{
	MemoryContext context;
	int capacity;
	int segment; /* that is open */
	UnrdfAppend *append;
};

/* UnrdfKeptSpan returns the microseconds that a segment stands for. */
int64
UnrdfKeptSpan(int segment)
{
	return spans[segment / RING_SEGMENTS];
}

/* UnrdfKeptBefore returns the segment of the span before. */
int
UnrdfKeptBefore(int segment)
{
	return segment % RING_SEGMENTS == 0 ? segment + RING_SEGMENTS - 1 : segment - 1;
}

/* The number of the span that a time is in; a span ends with its last moment. */
static int64
span_of(TimestampTz t, int64 span)
{
	return (Max(t, 1) - 1) / span + 1;
}

/* UnrdfKeptDue returns when a segment can be emptied as far as a body is concerned that may go at `until`. */
TimestampTz
UnrdfKeptDue(int segment, TimestampTz until)
{
	int64 span = UnrdfKeptSpan(segment);

	return span_of(until, span) * span;
}

/* UnrdfKeptSegment returns where a body is that was written at a time and may go at another. What no ring reaches is cut. */
int
UnrdfKeptSegment(TimestampTz at, TimestampTz *until)
{
	int ring = 0;

	while (ring < RINGS - 1 && *until - at > REACH * spans[ring])
		ring++;
	*until = Min(*until, at + REACH * spans[ring]);
	return ring * RING_SEGMENTS + (int) (span_of(*until, spans[ring]) % RING_SEGMENTS);
}

/* UnrdfKeptBegin prepares for writing bodies, with room for capacity of them between flushes, in the current memory context. */
UnrdfKept *
UnrdfKeptBegin(int capacity)
{
	UnrdfKept *kept = palloc0(sizeof(UnrdfKept));

	kept->context = CurrentMemoryContext;
	kept->capacity = capacity;
	return kept;
}

/* UnrdfKeptWriteTo adds a body to a segment; it must live until the flush. */
void
UnrdfKeptWriteTo(UnrdfKept *kept, int segment, int64 job, int32 part, TimestampTz until,
				 Jsonb *body)
{
	MemoryContext old = MemoryContextSwitchTo(kept->context);
	TupleTableSlot *slot;

	if (kept->append && kept->segment != segment)
	{
		UnrdfAppendEnd(kept->append);
		kept->append = NULL;
	}
	if (kept->append == NULL)
		kept->append = UnrdfAppendBegin(UNRDF_KEPT + segment, kept->capacity);
	kept->segment = segment;
	slot = UnrdfAppendRow(kept->append);
	MemoryContextSwitchTo(old);
	UnrdfAppendSet(slot, KEPT_JOB, Int64GetDatum(job));
	UnrdfAppendSet(slot, KEPT_PART, Int32GetDatum(part));
	UnrdfAppendSet(slot, KEPT_UNTIL, TimestampTzGetDatum(until));
	UnrdfAppendSet(slot, KEPT_BODY, JsonbPGetDatum(body));
}

/* UnrdfKeptWrite adds a body that is written now, at a time, and may go at another. */
void
UnrdfKeptWrite(UnrdfKept *kept, int64 job, int32 part, TimestampTz at, TimestampTz until,
			   Jsonb *body)
{
	int segment = UnrdfKeptSegment(at, &until);

	UnrdfKeptWriteTo(kept, segment, job, part, until, body);
}

/* UnrdfKeptFlush writes what there is so far. */
void
UnrdfKeptFlush(UnrdfKept *kept)
{
	if (kept->append)
		UnrdfAppendFlush(kept->append);
}

/* UnrdfKeptEnd writes what is left and closes; segments stay locked until the transaction ends. */
void
UnrdfKeptEnd(UnrdfKept *kept)
{
	if (kept->append)
		UnrdfAppendEnd(kept->append);
	pfree(kept);
}

/* Looks for a body in one segment, and copies it to the current memory context; NULL where it is not there. */
static Jsonb *
look(int segment, int64 job, int32 part)
{
	Relation table = table_open(UnrdfRelid(UNRDF_KEPT + segment), AccessShareLock);
	Relation index;
	Snapshot snapshot;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	ScanKeyData keys[2];
	Jsonb *body = NULL;
	bool isnull;

	if (RelationGetNumberOfBlocks(table) == 0)
	{
		table_close(table, AccessShareLock);
		return NULL;
	}
	index = index_open(UnrdfRelid(UNRDF_KEPT_PKEY + segment), AccessShareLock);
	slot = table_slot_create(table, NULL);
	/* the newest one that can be had in a parallel worker, too */
	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(table)));
	ScanKeyInit(&keys[0], KEPT_JOB + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job));
	ScanKeyInit(&keys[1], KEPT_PART + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(part));
	scan = unrdf_index_beginscan(table, index, snapshot, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
		body = DatumGetJsonbPCopy(slot_getattr(slot, KEPT_BODY + 1, &isnull));
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return body;
}

static Jsonb *
look_everywhere(int64 job, int32 part)
{
	Jsonb *body = NULL;

	for (int i = 0; i < UNRDF_SEGMENTS && body == NULL; i++)
		body = look(i, job, part);
	return body;
}

/* Looks everywhere while nothing is carried over. */
static Jsonb *
look_surely(int64 job, int32 part)
{
	Jsonb *body;

	for (int i = 0; i < UNRDF_SEGMENTS; i++)
		LockRelationOid(UnrdfRelid(UNRDF_KEPT + i), AccessShareLock);
	body = look_everywhere(job, part);
	for (int i = 0; i < UNRDF_SEGMENTS; i++)
		UnlockRelationOid(UnrdfRelid(UNRDF_KEPT + i), AccessShareLock);
	return body;
}

/* Which segments took space a moment ago. */
static const bool *
filled_segments(void)
{
	static bool filled[UNRDF_SEGMENTS];
	static int64 looked = 0;
	int64 now = UnrdfTicks();

	if (looked != 0 && now - looked < USECS_PER_SEC)
		return filled;
	looked = now;
	for (int i = 0; i < UNRDF_SEGMENTS; i++)
	{
		Relation table = table_open(UnrdfRelid(UNRDF_KEPT + i), AccessShareLock);

		filled[i] = RelationGetNumberOfBlocks(table) > 0;
		table_close(table, AccessShareLock);
	}
	return filled;
}

/*
 * UnrdfKeptGlance looks for a body that may be gone, in the current memory context; NULL where it is not seen at once. Cheap enough to
 * be asked for each of millions that are gone.
 */
Jsonb *
UnrdfKeptGlance(int64 job, int32 part, TimestampTz at, TimestampTz until)
{
	const bool *filled = filled_segments();
	Jsonb *body = look(UnrdfKeptSegment(at, &until), job, part);

	for (int i = 0; i < UNRDF_SEGMENTS && body == NULL; i++)
		if (filled[i])
			body = look(i, job, part);
	return body;
}

/* UnrdfKeptFind finds a body wherever it has been carried to; in the current memory context, or NULL where there is none. */
Jsonb *
UnrdfKeptFind(int64 job, int32 part, TimestampTz at, TimestampTz until)
{
	Jsonb *body = look(UnrdfKeptSegment(at, &until), job, part);

	if (body == NULL)
		body = look_everywhere(job, part);
	return body ? body : look_surely(job, part);
}

static void
erase_from(Relation table, Relation index, int64 job)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan = unrdf_index_beginscan(table, index, snapshot, 1);
	ScanKeyData key;

	ScanKeyInit(&key, KEPT_JOB + 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
		simple_table_tuple_delete(table, &slot->tts_tid, snapshot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/* UnrdfKeptErase deletes all bodies of a job. Nothing is carried over from its call to the transaction's end. */
void
UnrdfKeptErase(int64 job)
{
	for (int i = 0; i < UNRDF_SEGMENTS; i++)
		LockRelationOid(UnrdfRelid(UNRDF_KEPT + i), RowExclusiveLock);
	for (int i = 0; i < UNRDF_SEGMENTS; i++)
	{
		Relation table = table_open(UnrdfRelid(UNRDF_KEPT + i), NoLock);

		if (RelationGetNumberOfBlocks(table) > 0)
		{
			Relation index = index_open(UnrdfRelid(UNRDF_KEPT_PKEY + i), RowExclusiveLock);

			erase_from(table, index, job);
			index_close(index, NoLock);
		}
		table_close(table, NoLock);
	}
}
