/*
 * verify_log.c: checks a whole log, in parts that several processes can do at once.
 *
 *   extents   integrations follow each other without gap or overlap: one process, first
 *   leaves    receipts against their leaves, leaves against tiles, level 0 tiles against level 1:
 *             any number of processes, UNRDF_LEAF_RUN leaves at a time
 *   roots     every integration's root, from all leaves up to it; no receipt has two leaves, and
 *             none that the log should have has no leaf: one process
 *   tiles     there are all the tiles there should be, and no others; higher tiles against the
 *             next level: one process
 *
 * Together they tie every receipt's columns to the newest root. Each part reports what is wrong and
 * goes on. Memory is bounded: UnrdfAudit, one run of entries, and maintenance_work_mem for sorting
 * the receipts' ids, the rest of which goes to temporary files.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#include "base/compat.h"
#include "ledger/verify_log.h"

static void report(UnrdfAudit *a, const int64 *receipt, const char *format, ...)
	pg_attribute_printf(3, 4);

static void
report(UnrdfAudit *a, const int64 *receipt, const char *format, ...)
{
	char reason[UNRDF_REASON_LEN];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	a->report(a->arg, receipt, reason);
}

/*
 * UnrdfAuditBegin prepares for any of the parts but the first, under the active snapshot; size is
 * the log's.
 */
void
UnrdfAuditBegin(UnrdfAudit *a, int32 log, uint64 size, UnrdfReportFn report, void *arg)
{
	a->log = log;
	a->size = size;
	a->report = report;
	a->arg = arg;
	a->parent_level = 0;
	UnrdfCheckerBegin(&a->checker);
	UnrdfLookupBegin(&a->tiles, UNRDF_TILE, UNRDF_TILE_PKEY);
}

/* UnrdfAuditEnd closes everything. */
void
UnrdfAuditEnd(UnrdfAudit *a)
{
	UnrdfCheckerEnd(&a->checker);
	UnrdfLookupEnd(&a->tiles);
}

/* How many tiles of a level are full in this log. */
static uint64
full_tiles(const UnrdfAudit *a, int level)
{
	return level < UNRDF_TILE_LEVELS - 1 ? a->size >> (UNRDF_TILE_HEIGHT * (level + 1)) : 0;
}

/* Adds a row to the extents; false where that takes another one than the last. */
static bool
extend(UnrdfAudit *a, UnrdfExtent *last, uint64 first, int32 n)
{
	uint64 expected = last ? last->to : 0;

	if (first == expected && last)
	{
		last->to += n;
		return true;
	}
	if (first > expected)
		report(a, NULL, "leaves " UINT64_FORMAT " to " UINT64_FORMAT " are in no integration",
			   expected, first - 1);
	else if (first < expected)
		report(a, NULL, "integration at leaf " UINT64_FORMAT " begins inside the one before it",
			   first);
	return false;
}

/*
 * UnrdfAuditExtents finds what the integrations cover, reports gaps, overlaps and malformed rows,
 * sets a->size, and returns the number of extents, at most `most`; one, from leaf 0, in a log that
 * is whole. Of a, only log, report and arg have to be set.
 */
int
UnrdfAuditExtents(UnrdfAudit *a, UnrdfExtent *extents, int most)
{
	UnrdfLookup rows;
	int n = 0;

	a->size = 0;
	UnrdfLookupBegin(&rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_PKEY);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(a->log));
	UnrdfLookupStart(&rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		bool isnull;
		int64 first = DatumGetInt64(slot_getattr(rows.slot, INTEGRATION_FIRST + 1, &isnull));
		int32 count = DatumGetInt32(slot_getattr(rows.slot, INTEGRATION_N + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (!UnrdfIntegrationInBounds(first, count))
		{
			report(a, NULL, "integration at leaf " INT64_FORMAT " has %d leaves", first, count);
			continue;
		}
		if (!extend(a, n > 0 ? &extents[n - 1] : NULL, (uint64) first, count))
		{
			if (n == most)
			{
				report(a, NULL, "nothing from leaf " INT64_FORMAT " on was checked: too many gaps",
					   first);
				break;
			}
			extents[n].from = (uint64) first;
			extents[n].to = (uint64) first + count;
			n++;
		}
		a->size = Max(a->size, extents[n - 1].to);
	}
	UnrdfLookupEnd(&rows);
	return n;
}

/* Checks the root of a tile's hashes: what is stored with them, and in the tile above. Overwrites hashes. */
static void
check_tile_root(UnrdfAudit *a, int level, uint64 idx, uint8 (*hashes)[UNRDF_HASH_LEN],
				const uint8 *stored)
{
	uint64 parent = idx / UNRDF_TILE_WIDTH;
	uint8 root[UNRDF_HASH_LEN];

	if (UnrdfPerfectRoot(hashes, UNRDF_TILE_WIDTH, root) != 0)
		elog(ERROR, "SHA-256 failed");
	if (memcmp(root, stored, UNRDF_HASH_LEN) != 0)
		report(a, NULL, "tile " UINT64_FORMAT " of level %d does not have the root stored with it",
			   idx, level);
	if (parent >= full_tiles(a, level + 1))
		return;
	if (a->parent_level != level + 1 || a->parent_idx != parent)
	{
		uint8 parent_root[UNRDF_HASH_LEN];

		a->parent_level = level + 1;
		a->parent_idx = parent;
		a->parent_whole =
			UnrdfTileRead(&a->tiles, a->log, level + 1, parent, a->parent, parent_root);
	}
	if (a->parent_whole && memcmp(root, a->parent[idx % UNRDF_TILE_WIDTH], UNRDF_HASH_LEN) != 0)
		report(a, NULL,
			   "tile " UINT64_FORMAT " of level %d does not have the root that level %d has for it",
			   idx, level, level + 1);
}

/* Compares a level 0 tile with the leaves that were read, the first of which is leaf `from`. */
static void
check_leaf_tile(UnrdfAudit *a, uint64 idx, uint64 from, uint64 to)
{
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	uint64 first = idx * UNRDF_TILE_WIDTH;
	uint64 wrong_leaf = 0;
	int wrong = 0;

	if (idx >= full_tiles(a, 0) || !UnrdfTileRead(&a->tiles, a->log, 0, idx, hashes, root))
		return;
	for (uint64 leaf = Max(first, from); leaf < Min(first + UNRDF_TILE_WIDTH, to); leaf++)
		if (a->have[leaf - from] &&
			memcmp(a->leaves[leaf - from], hashes[leaf - first], UNRDF_HASH_LEN) != 0)
		{
			wrong++;
			wrong_leaf = leaf;
		}
	if (wrong == 1)
		report(a, &a->receipts[wrong_leaf - from],
			   "leaf " UINT64_FORMAT " has another hash in tile " UINT64_FORMAT " of level 0",
			   wrong_leaf, idx);
	else if (wrong > 1)
		report(a, NULL, "tile " UINT64_FORMAT " of level 0 has other hashes for %d of its leaves",
			   idx, wrong);
	check_tile_root(a, 0, idx, hashes, root);
}

/* Checks one receipt against its entry in the log. */
static void
check_entry(UnrdfAudit *a, const UnrdfLeafRun *run, const uint8 *entry)
{
	int64 receipt = UnrdfEntryReceipt(entry);
	const char *reason = UnrdfCheckReceipt(&a->checker, receipt);

	if (reason == NULL && memcmp(a->checker.leaf, UnrdfEntryLeaf(entry), UNRDF_HASH_LEN) != 0)
		reason = UnrdfLeafDiffers;
	if (reason == NULL &&
		(a->checker.receipt.xid < run->xid_min || a->checker.receipt.xid > run->xid_max))
		reason = UnrdfXidDiffers;
	if (reason)
		report(a, &receipt, "%s", reason);
}

static void
check_run(UnrdfAudit *a, const UnrdfLeafRun *run, uint64 from)
{
	for (int i = 0; i < run->count; i++)
	{
		const uint8 *entry = run->entries + i * UNRDF_LEAF_ENTRY;
		uint64 at = run->index - from + i;

		CHECK_FOR_INTERRUPTS();
		a->have[at] = true;
		a->receipts[at] = UnrdfEntryReceipt(entry);
		memcpy(a->leaves[at], UnrdfEntryLeaf(entry), UNRDF_HASH_LEN);
		if (i > 0 && a->receipts[at] <= a->receipts[at - 1])
			report(a, &a->receipts[at],
				   "entries of the integration at leaf " INT64_FORMAT " do not ascend", run->first);
		check_entry(a, run, entry);
	}
}

/*
 * UnrdfAuditLeaves checks leaves from <= index < to, at most UNRDF_LEAF_RUN, and the level 0 tiles
 * that they are in.
 */
void
UnrdfAuditLeaves(UnrdfAudit *a, uint64 from, uint64 to)
{
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;

	Assert(to - from <= UNRDF_LEAF_RUN);
	memset(a->have, false, sizeof(a->have));
	UnrdfLeafCursorBegin(&cursor, a->log, from, to);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
		check_run(a, run, from);
	UnrdfLeafCursorEnd(&cursor);
	for (uint64 tile = from / UNRDF_TILE_WIDTH; tile * UNRDF_TILE_WIDTH < to; tile++)
		check_leaf_tile(a, tile, from, to);
}

/*
 * The roots that are wrong one after another; a wrong leaf makes all from there on wrong, which is
 * one finding.
 */
typedef struct WrongRoots
{
	uint64 first; /* sizes of their trees */
	uint64 last;
	bool any;
} WrongRoots;

static void
report_wrong_roots(UnrdfAudit *a, WrongRoots *w)
{
	if (w->any && w->first == w->last)
		report(a, NULL, "root of the tree of size " UINT64_FORMAT " is not that of its leaves",
			   w->first);
	else if (w->any)
		report(a, NULL,
			   "roots of the trees of size " UINT64_FORMAT " to " UINT64_FORMAT
			   " are not those of their leaves",
			   w->first, w->last);
	w->any = false;
}

static void
check_root(UnrdfAudit *a, const UnrdfRange *range, const uint8 *stored, WrongRoots *w)
{
	uint8 root[UNRDF_HASH_LEN];

	if (unrdf_range_root(range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	if (memcmp(root, stored, UNRDF_HASH_LEN) == 0)
	{
		report_wrong_roots(a, w);
		return;
	}
	if (!w->any)
		w->first = range->size;
	w->last = range->size;
	w->any = true;
}

/*
 * Reads an extent's leaves in order: their ids go into the sort, their hashes into the tree, which
 * is known from leaf 0 on.
 */
static void
check_extent(UnrdfAudit *a, const UnrdfExtent *extent, Tuplesortstate *ids)
{
	bool rooted = extent->from == 0;
	uint64 next = extent->from;
	WrongRoots wrong = {0};
	UnrdfRange range;
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;

	unrdf_range_init(&range);
	UnrdfLeafCursorBegin(&cursor, a->log, extent->from, extent->to);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (run->index != next) /* of an overlapping row, which has its own extent */
			continue;
		if (run->torn)
		{
			report(a, NULL, "integration at leaf " INT64_FORMAT " does not have its %d leaves",
				   run->first, run->n);
			rooted = false;
			next = run->first + run->n;
			continue;
		}
		for (int i = 0; i < run->count; i++)
		{
			const uint8 *entry = run->entries + i * UNRDF_LEAF_ENTRY;

			tuplesort_putdatum(ids, Int64GetDatum(UnrdfEntryReceipt(entry)), false);
			if (rooted && unrdf_range_append(&range, UnrdfEntryLeaf(entry), NULL, NULL) != 0)
				elog(ERROR, "SHA-256 failed");
		}
		next += run->count;
		if (rooted && next == (uint64) (run->first + run->n))
			check_root(a, &range, run->root, &wrong);
	}
	UnrdfLeafCursorEnd(&cursor);
	report_wrong_roots(a, &wrong);
}

/* Reports every receipt that has more than one leaf, once. */
static void
check_duplicates(UnrdfAudit *a, Tuplesortstate *ids)
{
	Datum value;
	bool isnull;
	int64 last = 0;
	int64 times = 0;

	tuplesort_performsort(ids);
	while (unrdf_tuplesort_getdatum(ids, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		times = times > 0 && last == DatumGetInt64(value) ? times + 1 : 1;
		last = DatumGetInt64(value);
		if (times == 2)
			report(a, &last, "receipt has more than one leaf");
	}
}

/* Reports every receipt without a leaf whose transaction the log has gone past. */
static void
check_missing(UnrdfAudit *a, Tuplesortstate *ids)
{
	UnrdfLogHead head;
	UnrdfLookup rows;
	uint64 past;
	Datum value;
	bool isnull;
	bool more = unrdf_tuplesort_getdatum(ids, &value, &isnull);

	UnrdfLogHeadRead(a->log, &head);
	past = UnrdfLogPast(&head);
	UnrdfLookupBegin(&rows, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	UnrdfLookupStart(&rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		int64 receipt = DatumGetInt64(slot_getattr(rows.slot, RECEIPT_ID + 1, &isnull));
		uint64 xid = DatumGetUInt64(slot_getattr(rows.slot, RECEIPT_XID + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		while (more && DatumGetInt64(value) < receipt)
			more = unrdf_tuplesort_getdatum(ids, &value, &isnull);
		if (xid < past && (!more || DatumGetInt64(value) > receipt))
			report(a, &receipt, "%s", UnrdfLeafMissing);
	}
	UnrdfLookupEnd(&rows);
}

/*
 * UnrdfAuditRoots recomputes the root of every integration and finds receipts that were integrated
 * twice, or never.
 */
void
UnrdfAuditRoots(UnrdfAudit *a, const UnrdfExtent *extents, int n)
{
	Tuplesortstate *ids = tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false,
												maintenance_work_mem, NULL, TUPLESORT_RANDOMACCESS);

	for (int i = 0; i < n; i++)
		check_extent(a, &extents[i], ids);
	check_duplicates(a, ids);
	tuplesort_rescan(ids);
	check_missing(a, ids);
	tuplesort_end(ids);
}

static void
report_missing_tiles(UnrdfAudit *a, int level, uint64 from, uint64 to)
{
	if (from + 1 == to)
		report(a, NULL, "tile " UINT64_FORMAT " of level %d is missing", from, level);
	else if (from < to)
		report(a, NULL, "tiles " UINT64_FORMAT " to " UINT64_FORMAT " of level %d are missing",
			   from, to - 1, level);
}

/* Whether a stored value has this many bytes. */
static bool
has_bytes(TupleTableSlot *slot, int column, Size len)
{
	bool isnull;
	Datum value = slot_getattr(slot, column + 1, &isnull);

	return !isnull && toast_raw_datum_size(value) == VARHDRSZ + len;
}

/* Checks a tile's shape and, above level 0, its root. */
static void
check_tile(UnrdfAudit *a, int level, uint64 idx, TupleTableSlot *slot)
{
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];

	if (!has_bytes(slot, TILE_HASHES, sizeof(hashes)) || !has_bytes(slot, TILE_ROOT, sizeof(root)))
		report(a, NULL, "tile " UINT64_FORMAT " of level %d does not have 256 hashes and a root",
			   idx, level);
	else if (level > 0 && UnrdfTileRead(&a->tiles, a->log, level, idx, hashes, root))
		check_tile_root(a, level, idx, hashes, root);
}

/*
 * UnrdfAuditTiles checks that the full tiles are stored, no others, and each in its place; level 0
 * only for being there.
 */
void
UnrdfAuditTiles(UnrdfAudit *a)
{
	UnrdfLookup rows;
	int level = 0;
	uint64 next = 0; /* the tile of level that is expected */

	UnrdfLookupBegin(&rows, UNRDF_TILE, UNRDF_TILE_PKEY);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(a->log));
	UnrdfLookupStart(&rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		bool isnull;
		int32 this_level = DatumGetInt32(slot_getattr(rows.slot, TILE_LEVEL + 1, &isnull));
		int64 idx = DatumGetInt64(slot_getattr(rows.slot, TILE_IDX + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (this_level < 0 || idx < 0 || (uint64) idx >= full_tiles(a, this_level))
		{
			report(a, NULL, "tile " INT64_FORMAT " of level %d is not one of this log", idx,
				   this_level);
			continue;
		}
		for (; level < this_level; level++, next = 0)
			report_missing_tiles(a, level, next, full_tiles(a, level));
		report_missing_tiles(a, level, next, (uint64) idx);
		next = (uint64) idx + 1;
		check_tile(a, level, (uint64) idx, rows.slot);
	}
	UnrdfLookupEnd(&rows);
	for (; full_tiles(a, level) > 0; level++, next = 0)
		report_missing_tiles(a, level, next, full_tiles(a, level));
}
