/*
 * verify_log.c: checks a range of a log's leaves, or all of them, in parts that several processes can do at once.
 *
 *   extents      integrations follow each other without gap or overlap: one process, first
 *   leaves       receipts against their leaves, leaves against tiles, level 0 tiles against level 1, no receipt has a
 *                leaf elsewhere: any number of processes, UNRDF_LEAF_RUN leaves at a time
 *   roots        every integration's and every checkpoint's root, from all leaves up to it; no receipt that the log
 *                should have by now has no leaf: one process
 *   tiles        there are all the tiles there should be, and no others; higher tiles against the next level: one process
 *   checkpoints  verify_checkpoint.c: one process
 *
 * What comes before the range is one hash for each bit of its first leaf's index, read from tiles and believed only as far
 * as they lead to the right roots: those of the range, and by a consistency proof that of the newest tree. So the parts
 * together tie the columns of the range's receipts to the newest root, and a range takes time for its own leaves and for
 * O(log n) tiles. A whole log is the range from leaf 0 to its end.
 *
 * Which receipts should have a leaf by now, the integrations' positions tell: those with transaction ids between that of
 * the last integration before the range and that of the last one in it. Each receipt is expected in one of consecutive ranges;
 * one that the sort does not have is looked up, as its leaf may be before the range.
 *
 * Two leaves of one receipt are seen where ids are sorted, if both are in the range. One that is not is looked for among the
 * integrations of about the receipt's transaction that come first in the index: of two leaves the one that comes second is
 * reported, when its range is checked.
 *
 * Each part reports what is wrong and goes on. Memory is bounded: UnrdfAudit, one run of entries, and
 * maintenance_work_mem for sorting the receipts' ids, the rest of which goes to temporary files.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#include "base/compat.h"
#include "ledger/verify_checkpoint.h"
#include "ledger/verify_log.h"

/* UnrdfAuditReport tells of something wrong: about a receipt, or where that is NULL about the log. */
void
UnrdfAuditReport(UnrdfAudit *a, const int64 *receipt, const char *format, ...)
{
	char reason[UNRDF_REASON_LEN];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	a->report(a->arg, receipt, reason);
}

/*
 * UnrdfAuditBegin prepares for any of the parts but the first, under the active snapshot; of the span, from and to are for
 * the parts that one process does.
 */
void
UnrdfAuditBegin(UnrdfAudit *a, const UnrdfSpan *span, UnrdfReportFn report, void *arg)
{
	a->span = *span;
	a->report = report;
	a->arg = arg;
	a->parent_level = 0;
	UnrdfCheckerBegin(&a->checker);
	UnrdfLookupBegin(&a->tiles, UNRDF_TILE, UNRDF_TILE_PKEY);
	UnrdfLookupBegin(&a->neighbours, UNRDF_INTEGRATION, UNRDF_INTEGRATION_XID_IDX);
}

/* UnrdfAuditEnd closes everything. */
void
UnrdfAuditEnd(UnrdfAudit *a)
{
	UnrdfCheckerEnd(&a->checker);
	UnrdfLookupEnd(&a->tiles);
	UnrdfLookupEnd(&a->neighbours);
}

static const char two_leaves[] = "receipt has more than one leaf";

/* How many tiles of a level are full in this log. */
static uint64
full_tiles(const UnrdfAudit *a, int level)
{
	return level < UNRDF_TILE_LEVELS - 1 ? a->span.size >> (UNRDF_TILE_HEIGHT * (level + 1)) : 0;
}

/* Adds leaves to the extents; false where that takes another one than the last. */
static bool
extend(UnrdfAudit *a, UnrdfExtent *last, uint64 from, uint64 to)
{
	uint64 expected = last ? last->to : a->span.from;

	if (from == expected && last)
	{
		last->to = to;
		return true;
	}
	if (from > expected)
		UnrdfAuditReport(a, NULL,
						 "leaves " UINT64_FORMAT " to " UINT64_FORMAT " are in no integration",
						 expected, from - 1);
	else if (from < expected)
		UnrdfAuditReport(
			a, NULL, "integration at leaf " UINT64_FORMAT " begins inside the one before it", from);
	return false;
}

/* The part of a row's leaves that is in the span; false where there is none. */
static bool
clip(const UnrdfAudit *a, int64 first, int32 n, UnrdfExtent *part)
{
	part->from = (uint64) first;
	part->to = (uint64) first + n;
	/* the row that the span begins in; all others are taken whole, so that overlaps are seen */
	if (part->from < a->span.from && part->to > a->span.from)
		part->from = a->span.from;
	part->to = Min(part->to, a->span.to);
	return part->from >= a->span.from && part->from < part->to;
}

/* Reports the leaves at the end of the span that no integration has. */
static void
check_end(UnrdfAudit *a, uint64 end)
{
	if (a->span.to == UNRDF_LOG_END)
		a->span.to = a->span.size = end;
	else if (end < a->span.to)
		UnrdfAuditReport(a, NULL,
						 "leaves " UINT64_FORMAT " to " UINT64_FORMAT " are in no integration", end,
						 a->span.to - 1);
}

/*
 * UnrdfAuditExtents finds what the integrations cover of the span, reports gaps, overlaps and malformed rows, and returns
 * the number of extents, at most `most`; one in a log that is whole. Of a, only span, report and arg have to be set; where
 * the span goes to UNRDF_LOG_END, its end and the log's size are set here.
 */
int
UnrdfAuditExtents(UnrdfAudit *a, UnrdfExtent *extents, int most)
{
	UnrdfLookup rows;
	UnrdfExtent part;
	uint64 end = a->span.from;
	int n = 0;

	UnrdfRowsFrom(&rows, a->span.log, a->span.from);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		bool isnull;
		int64 first = DatumGetInt64(slot_getattr(rows.slot, INTEGRATION_FIRST + 1, &isnull));
		int32 count = DatumGetInt32(slot_getattr(rows.slot, INTEGRATION_N + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (first >= 0 && (uint64) first >= a->span.to)
			break;
		if (!UnrdfIntegrationInBounds(first, count))
		{
			UnrdfAuditReport(a, NULL, "integration at leaf " INT64_FORMAT " has %d leaves", first,
							 count);
			continue;
		}
		if (!clip(a, first, count, &part))
			continue;
		if (!extend(a, n > 0 ? &extents[n - 1] : NULL, part.from, part.to))
		{
			if (n == most)
			{
				UnrdfAuditReport(a, NULL,
								 "nothing from leaf " INT64_FORMAT " on was checked: too many gaps",
								 first);
				break;
			}
			extents[n++] = part;
		}
		end = Max(end, extents[n - 1].to);
	}
	UnrdfLookupEnd(&rows);
	check_end(a, end);
	return n;
}

/* Computes the roots of a tile's groups and all its hashes' from the hashes, which it overwrites; tells whether they are those stored. */
static bool
check_subroots(UnrdfTile *tile, uint8 *root)
{
	uint8 subroots[UNRDF_TILE_GROUPS][UNRDF_HASH_LEN];
	bool same;

	for (int i = 0; i < UNRDF_TILE_GROUPS; i++)
		if (UnrdfPerfectRoot(&tile->hashes[i * UNRDF_TILE_GROUP], UNRDF_TILE_GROUP, subroots[i]) !=
			0)
			elog(ERROR, "SHA-256 failed");
	same = memcmp(subroots, tile->subroots, sizeof(subroots)) == 0;
	if (UnrdfPerfectRoot(subroots, UNRDF_TILE_GROUPS, root) != 0)
		elog(ERROR, "SHA-256 failed");
	return same;
}

/* Checks the roots over a tile's hashes: those stored with them, and the one in the tile above. Overwrites the hashes. */
static void
check_tile_root(UnrdfAudit *a, int level, uint64 idx, UnrdfTile *tile)
{
	uint64 parent = idx / UNRDF_TILE_WIDTH;
	uint8 root[UNRDF_HASH_LEN];

	if (!check_subroots(tile, root))
		UnrdfAuditReport(
			a, NULL, "tile " UINT64_FORMAT " of level %d does not have the subroots stored with it",
			idx, level);
	if (memcmp(root, tile->root, UNRDF_HASH_LEN) != 0)
		UnrdfAuditReport(a, NULL,
						 "tile " UINT64_FORMAT " of level %d does not have the root stored with it",
						 idx, level);
	if (parent >= full_tiles(a, level + 1))
		return;
	if (a->parent_level != level + 1 || a->parent_idx != parent)
	{
		a->parent_level = level + 1;
		a->parent_idx = parent;
		a->parent_whole = UnrdfTileRead(&a->tiles, a->span.log, level + 1, parent, &a->parent);
	}
	if (a->parent_whole &&
		memcmp(root, a->parent.hashes[idx % UNRDF_TILE_WIDTH], UNRDF_HASH_LEN) != 0)
		UnrdfAuditReport(a, NULL,
						 "tile " UINT64_FORMAT
						 " of level %d does not have the root that level %d has for it",
						 idx, level, level + 1);
}

/* Compares a level 0 tile with the leaves that were read, the first of which is leaf `from`. */
static void
check_leaf_tile(UnrdfAudit *a, uint64 idx, uint64 from, uint64 to)
{
	UnrdfTile tile;
	uint64 first = idx * UNRDF_TILE_WIDTH;
	uint64 wrong_leaf = 0;
	int wrong = 0;

	if (idx >= full_tiles(a, 0) || !UnrdfTileRead(&a->tiles, a->span.log, 0, idx, &tile))
		return;
	for (uint64 leaf = Max(first, from); leaf < Min(first + UNRDF_TILE_WIDTH, to); leaf++)
		if (a->have[leaf - from] &&
			memcmp(a->leaves[leaf - from], tile.hashes[leaf - first], UNRDF_HASH_LEN) != 0)
		{
			wrong++;
			wrong_leaf = leaf;
		}
	if (wrong == 1)
		UnrdfAuditReport(a, &a->receipts[wrong_leaf - from],
						 "leaf " UINT64_FORMAT " has another hash in tile " UINT64_FORMAT
						 " of level 0",
						 wrong_leaf, idx);
	else if (wrong > 1)
		UnrdfAuditReport(a, NULL,
						 "tile " UINT64_FORMAT " of level 0 has other hashes for %d of its leaves",
						 idx, wrong);
	check_tile_root(a, 0, idx, &tile);
}

/*
 * The highest transaction id that an integration before this run's in the index, and not wholly in the span, has in common
 * with it; 0: none. Only the receipts up to it can have a leaf there.
 */
static uint64
shared_xids(UnrdfAudit *a, const UnrdfLeafRun *run)
{
	UnrdfLookup *rows = &a->neighbours;
	uint64 shared = 0;
	bool isnull;

	UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(a->span.log));
	UnrdfLookupKey(rows, 2, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(run->xid_min));
	UnrdfLookupKey(rows, 2, BTLessEqualStrategyNumber, F_XID8LE, UInt64GetDatum(run->xid_max));
	UnrdfLookupStart(rows);
	while (shared == 0 && UnrdfLookupNext(rows, BackwardScanDirection))
	{
		int64 first = DatumGetInt64(slot_getattr(rows->slot, INTEGRATION_FIRST + 1, &isnull));
		int32 n = DatumGetInt32(slot_getattr(rows->slot, INTEGRATION_N + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (first != run->first && (first < (int64) a->span.from || first + n > (int64) a->span.to))
			shared = DatumGetUInt64(slot_getattr(rows->slot, INTEGRATION_XID_MAX + 1, &isnull));
	}
	return shared;
}

/* Whether the look-up of a receipt's leaf finds another one than this. */
static bool
has_another_leaf(const UnrdfAudit *a, int64 receipt, uint64 at)
{
	uint64 index;
	uint8 leaf[UNRDF_HASH_LEN];

	return UnrdfLeafFind(a->span.log, receipt, a->checker.receipt.xid, &index, leaf) && index != at;
}

/* Checks one receipt against its entry in the log, which is leaf `at`. */
static void
check_entry(UnrdfAudit *a, const UnrdfLeafRun *run, const uint8 *entry, uint64 at, uint64 shared)
{
	int64 receipt = UnrdfEntryReceipt(entry);
	const char *reason = UnrdfCheckReceipt(&a->checker, receipt);

	if (reason == NULL && memcmp(a->checker.leaf, UnrdfEntryLeaf(entry), UNRDF_HASH_LEN) != 0)
		reason = UnrdfLeafDiffers;
	if (reason == NULL &&
		(a->checker.receipt.xid < run->xid_min || a->checker.receipt.xid > run->xid_max))
		reason = UnrdfXidDiffers;
	if (reason == NULL && a->checker.receipt.xid <= shared && has_another_leaf(a, receipt, at))
		reason = two_leaves;
	if (reason)
		UnrdfAuditReport(a, &receipt, "%s", reason);
}

static void
check_run(UnrdfAudit *a, const UnrdfLeafRun *run, uint64 from)
{
	uint64 shared = shared_xids(a, run);

	for (int i = 0; i < run->count; i++)
	{
		const uint8 *entry = run->entries + i * UNRDF_LEAF_ENTRY;
		uint64 at = run->index - from + i;

		CHECK_FOR_INTERRUPTS();
		a->have[at] = true;
		a->receipts[at] = UnrdfEntryReceipt(entry);
		memcpy(a->leaves[at], UnrdfEntryLeaf(entry), UNRDF_HASH_LEN);
		if (i > 0 && a->receipts[at] <= a->receipts[at - 1])
			UnrdfAuditReport(a, &a->receipts[at],
							 "entries of the integration at leaf " INT64_FORMAT " do not ascend",
							 run->first);
		check_entry(a, run, entry, run->index + i, shared);
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
	UnrdfLeafCursorBegin(&cursor, a->span.log, from, to);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
		check_run(a, run, from);
	UnrdfLeafCursorEnd(&cursor);
	for (uint64 tile = from / UNRDF_TILE_WIDTH; tile * UNRDF_TILE_WIDTH < to; tile++)
		check_leaf_tile(a, tile, from, to);
}

/* A sort of receipts' ids; there are two of them at a time. */
static Tuplesortstate *
begin_sort(void)
{
	return tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false,
								 Max(maintenance_work_mem / 2, 64), NULL, TUPLESORT_RANDOMACCESS);
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
		UnrdfAuditReport(a, NULL,
						 "root of the tree of size " UINT64_FORMAT " is not that of its leaves",
						 w->first);
	else if (w->any)
		UnrdfAuditReport(a, NULL,
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
 * Reads an extent's leaves in order: their ids go into the sort, their hashes into the tree, which has to end where the
 * extent begins.
 */
static void
check_extent(UnrdfAudit *a, const UnrdfExtent *extent, Tuplesortstate *ids, UnrdfTree *tree)
{
	uint64 next = extent->from;
	WrongRoots wrong = {0};
	UnrdfPromises promises;
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;

	tree->known = tree->known && tree->range.size == extent->from;
	UnrdfPromisesBegin(&promises, a->span.log, extent->from, extent->to);
	UnrdfLeafCursorBegin(&cursor, a->span.log, extent->from, extent->to);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (run->index != next) /* of an overlapping row, which has its own extent */
			continue;
		if (run->torn)
		{
			UnrdfAuditReport(a, NULL,
							 "integration at leaf " INT64_FORMAT " does not have its %d leaves",
							 run->first, run->n);
			tree->known = false;
			next = run->first + run->n;
			continue;
		}
		for (int i = 0; i < run->count; i++)
		{
			const uint8 *entry = run->entries + i * UNRDF_LEAF_ENTRY;

			tuplesort_putdatum(ids, Int64GetDatum(UnrdfEntryReceipt(entry)), false);
			if (!tree->known)
				continue;
			if (unrdf_range_append(&tree->range, UnrdfEntryLeaf(entry), NULL, NULL) != 0)
				elog(ERROR, "SHA-256 failed");
			if (tree->range.size >= promises.size)
				UnrdfPromisesCheck(&promises, a, &tree->range);
		}
		next += run->count;
		if (tree->known && next == (uint64) (run->first + run->n))
			check_root(a, &tree->range, run->root, &wrong);
	}
	UnrdfLeafCursorEnd(&cursor);
	UnrdfPromisesEnd(&promises);
	report_wrong_roots(a, &wrong);
}

/* Begins with the tree of the leaves before the span, as the log's tiles have it. */
static void
begin_tree(UnrdfAudit *a, const uint8 *old_root, UnrdfTree *tree)
{
	uint64 size = a->span.from;
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(a->span.log);
	uint8 root[UNRDF_HASH_LEN];

	unrdf_range_init(&tree->range);
	tree->range.size = size;
	tree->known = true;
	for (int level = 0; level < 63 && tree->known; level++)
		if (size >> level & 1)
			tree->known =
				UnrdfNodeRead(reader, level, (size >> level) - 1, tree->range.hash[level]) == 0;
	UnrdfNodeReaderEnd(reader);
	if (!tree->known)
		UnrdfAuditReport(a, NULL, "log lacks hashes of the tree of size " UINT64_FORMAT, size);
	else if (unrdf_range_root(&tree->range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	else if (old_root && memcmp(root, old_root, UNRDF_HASH_LEN) != 0)
		UnrdfAuditReport(
			a, NULL, "tree of size " UINT64_FORMAT " is not the one that verification goes on from",
			size);
}

/* Checks that the tree at the span's end is a prefix of the newest one. */
static void
check_prefix(UnrdfAudit *a, const UnrdfTree *tree)
{
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(a->span.log);
	uint8 proof[64][UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	UnrdfLogHead head;
	int n;

	UnrdfLogHeadRead(a->span.log, &head);
	n = unrdf_consistency_proof(tree->range.size, head.size, UnrdfNodeRead, reader, proof);
	UnrdfNodeReaderEnd(reader);
	if (unrdf_range_root(&tree->range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	if (n < 0 || !unrdf_verify_consistency(tree->range.size, head.size, root, head.root,
										   (const uint8(*)[UNRDF_HASH_LEN]) proof, n))
		UnrdfAuditReport(a, NULL,
						 "tree of size " UINT64_FORMAT " is not a prefix of the newest tree",
						 tree->range.size);
}

/* Reports every receipt that has more than one leaf in the span, once. */
static void
check_duplicates(UnrdfAudit *a, Tuplesortstate *ids)
{
	Datum value;
	bool isnull;
	int64 last = 0;
	int64 times = 0;

	while (unrdf_tuplesort_getdatum(ids, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		times = times > 0 && last == DatumGetInt64(value) ? times + 1 : 1;
		last = DatumGetInt64(value);
		if (times == 2)
			UnrdfAuditReport(a, &last, "%s", two_leaves);
	}
}

/* The transaction id up to which the log had everything when it had at most size leaves. */
static uint64
past(const UnrdfAudit *a, uint64 size)
{
	UnrdfLogHead head;

	return UnrdfLogHeadBefore(a->span.log, size, &head) ? UnrdfLogPast(&head) : 0;
}

/* Sorts the ids of the receipts that should have got their leaves in the span, or before. */
static Tuplesortstate *
sort_expected(UnrdfAudit *a)
{
	Tuplesortstate *ids = begin_sort();
	UnrdfLookup rows;
	bool isnull;

	UnrdfLookupBegin(&rows, UNRDF_RECEIPT, UNRDF_RECEIPT_XID_IDX);
	UnrdfLookupKey(&rows, 1, BTGreaterEqualStrategyNumber, F_XID8GE,
				   UInt64GetDatum(past(a, a->span.from)));
	UnrdfLookupKey(&rows, 1, BTLessStrategyNumber, F_XID8LT, UInt64GetDatum(past(a, a->span.to)));
	UnrdfLookupStart(&rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		tuplesort_putdatum(ids, slot_getattr(rows.slot, RECEIPT_ID + 1, &isnull), false);
	}
	UnrdfLookupEnd(&rows);
	tuplesort_performsort(ids);
	return ids;
}

/* Whether a receipt that has no leaf in the span has one before. */
static bool
has_leaf(const UnrdfAudit *a, int64 receipt)
{
	UnrdfReceipt r;
	uint64 index;
	uint8 leaf[UNRDF_HASH_LEN];

	return UnrdfReceiptFetch(receipt, &r) &&
		   UnrdfLeafFind(a->span.log, receipt, r.xid, &index, leaf);
}

/* Reports every receipt without a leaf whose transaction the log has gone past. */
static void
check_missing(UnrdfAudit *a, Tuplesortstate *ids)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf missing leaf", ALLOCSET_DEFAULT_SIZES);
	Tuplesortstate *expected = sort_expected(a);
	Datum value;
	Datum wanted;
	bool isnull;
	bool more;

	more = unrdf_tuplesort_getdatum(ids, &value, &isnull);
	while (unrdf_tuplesort_getdatum(expected, &wanted, &isnull))
	{
		int64 receipt = DatumGetInt64(wanted);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		while (more && DatumGetInt64(value) < receipt)
			more = unrdf_tuplesort_getdatum(ids, &value, &isnull);
		if (more && DatumGetInt64(value) == receipt)
			continue;
		old = MemoryContextSwitchTo(context);
		if (!has_leaf(a, receipt))
			UnrdfAuditReport(a, &receipt, "%s", UnrdfLeafMissing);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	tuplesort_end(expected);
	MemoryContextDelete(context);
}

/*
 * Puts the ids before the span into the sort that are in one integration with leaves of it: that row's transactions are
 * expected where it ends.
 */
static void
put_begun(UnrdfAudit *a, Tuplesortstate *ids)
{
	UnrdfLogHead head;
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;

	(void) UnrdfLogHeadBefore(a->span.log, a->span.from, &head);
	UnrdfLeafCursorBegin(&cursor, a->span.log, head.size, a->span.from);
	while (a->span.from > 0 && (run = UnrdfLeafCursorNext(&cursor)) != NULL &&
		   run->first + run->n <= (int64) a->span.to)
		for (int i = 0; i < run->count; i++)
			tuplesort_putdatum(
				ids, Int64GetDatum(UnrdfEntryReceipt(run->entries + i * UNRDF_LEAF_ENTRY)), false);
	UnrdfLeafCursorEnd(&cursor);
}

/*
 * UnrdfAuditRoots recomputes the root of every integration and every checkpoint in the span, and finds receipts that
 * were integrated twice, or never. old_root is the root that the tree of the leaves before has to have; NULL where only
 * the newest root tells. tree becomes that of the leaves up to the span's end, where it is known.
 */
void
UnrdfAuditRoots(UnrdfAudit *a, const UnrdfExtent *extents, int n, const uint8 *old_root,
				UnrdfTree *tree)
{
	Tuplesortstate *ids = begin_sort();

	begin_tree(a, old_root, tree);
	put_begun(a, ids);
	for (int i = 0; i < n; i++)
		check_extent(a, &extents[i], ids, tree);
	tree->known = tree->known && tree->range.size == a->span.to;
	/* at the log's end the last integration's root was the newest */
	if (tree->known && a->span.to > 0 && (n == 0 || a->span.to < a->span.size))
		check_prefix(a, tree);
	tuplesort_performsort(ids);
	check_duplicates(a, ids);
	tuplesort_rescan(ids);
	check_missing(a, ids);
	tuplesort_end(ids);
}

static void
report_missing_tiles(UnrdfAudit *a, int level, uint64 from, uint64 to)
{
	if (from + 1 == to)
		UnrdfAuditReport(a, NULL, "tile " UINT64_FORMAT " of level %d is missing", from, level);
	else if (from < to)
		UnrdfAuditReport(a, NULL,
						 "tiles " UINT64_FORMAT " to " UINT64_FORMAT " of level %d are missing",
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
	UnrdfTile tile;

	if (!has_bytes(slot, TILE_HASHES, sizeof(tile.hashes)) ||
		!has_bytes(slot, TILE_SUBROOTS, sizeof(tile.subroots)) ||
		!has_bytes(slot, TILE_ROOT, sizeof(tile.root)))
		UnrdfAuditReport(a, NULL,
						 "tile " UINT64_FORMAT
						 " of level %d does not have 256 hashes, 16 subroots and a root",
						 idx, level);
	else if (level > 0 && UnrdfTileRead(&a->tiles, a->span.log, level, idx, &tile))
		check_tile_root(a, level, idx, &tile);
}

/* Begins reading the tiles of a level that have leaves of the span, beyond its ends where the log ends there. */
static void
start_level(const UnrdfAudit *a, UnrdfLookup *rows, int level, uint64 from, uint64 to)
{
	UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(a->span.log));
	UnrdfLookupKey(rows, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(level));
	if (a->span.from > 0)
		UnrdfLookupKey(rows, 3, BTGreaterEqualStrategyNumber, F_INT8GE,
					   Int64GetDatum((int64) from));
	if (a->span.to < a->span.size)
		UnrdfLookupKey(rows, 3, BTLessStrategyNumber, F_INT8LT, Int64GetDatum((int64) to));
	UnrdfLookupStart(rows);
}

static void
report_strange_tile(UnrdfAudit *a, int64 idx, int level)
{
	UnrdfAuditReport(a, NULL, "tile " INT64_FORMAT " of level %d is not one of this log", idx,
					 level);
}

static void
check_level(UnrdfAudit *a, UnrdfLookup *rows, int level)
{
	int height = UNRDF_TILE_HEIGHT * (level + 1);
	uint64 next = a->span.from >> height; /* the tile that is expected */
	uint64 end = full_tiles(a, level);

	if (a->span.to < a->span.size)
		end = Min(end, (a->span.to + ((uint64) 1 << height) - 1) >> height);
	start_level(a, rows, level, next, end);
	while (UnrdfLookupNext(rows, ForwardScanDirection))
	{
		bool isnull;
		int64 idx = DatumGetInt64(slot_getattr(rows->slot, TILE_IDX + 1, &isnull));

		CHECK_FOR_INTERRUPTS();
		if (idx < 0 || (uint64) idx >= end)
		{
			report_strange_tile(a, idx, level);
			continue;
		}
		report_missing_tiles(a, level, next, (uint64) idx);
		next = (uint64) idx + 1;
		check_tile(a, level, (uint64) idx, rows->slot);
	}
	report_missing_tiles(a, level, next, end);
}

/* Reports tiles of levels that no log has. */
static void
check_no_level(UnrdfAudit *a, UnrdfLookup *rows, StrategyNumber strategy, Oid operator, int level)
{
	bool isnull;

	UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(a->span.log));
	UnrdfLookupKey(rows, 2, strategy, operator, Int32GetDatum(level));
	UnrdfLookupStart(rows);
	while (UnrdfLookupNext(rows, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		report_strange_tile(a, DatumGetInt64(slot_getattr(rows->slot, TILE_IDX + 1, &isnull)),
							DatumGetInt32(slot_getattr(rows->slot, TILE_LEVEL + 1, &isnull)));
	}
}

/*
 * UnrdfAuditTiles checks that the full tiles of the span are stored, no others, and each in its place; level 0 only for
 * being there.
 */
void
UnrdfAuditTiles(UnrdfAudit *a)
{
	UnrdfLookup rows;

	UnrdfLookupBegin(&rows, UNRDF_TILE, UNRDF_TILE_PKEY);
	for (int level = 0; level < UNRDF_TILE_LEVELS - 1; level++)
		check_level(a, &rows, level);
	if (a->span.to == a->span.size)
	{
		check_no_level(a, &rows, BTLessStrategyNumber, F_INT4LT, 0);
		check_no_level(a, &rows, BTGreaterEqualStrategyNumber, F_INT4GE, UNRDF_TILE_LEVELS - 1);
	}
	UnrdfLookupEnd(&rows);
}
