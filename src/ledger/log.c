/*
 * log.c: reads a log: its newest size and root, where a receipt's leaf is, and hashes of its tree.
 *
 * Everything is read under the active snapshot, which has to stay active until the reader, cursor
 * or search ends. Rows of unrdf.integration and unrdf.tile may have been forged: whatever is read
 * here is checked by whoever relies on it, and shapes that cannot be read (a value of the wrong
 * length, a row that is not there) are reported as missing, not raised.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "ledger/log.h"

#define TILE_SLOTS 2

/* What was read of a tile. Of one that is not full, or was not stored, what there is of it elsewhere. */
typedef struct Tile
{
	bool used;
	uint64 idx;
	struct varlena *stored; /* the stored hashes, which are read in groups; NULL: not stored */
	uint8 have[UNRDF_TILE_WIDTH / 8];
	uint8 subroots[UNRDF_TILE_GROUPS][UNRDF_HASH_LEN]; /* of one that is stored */
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
} Tile;

struct UnrdfNodeReader
{
	int32 log;
	MemoryContext context;
	UnrdfLookup tiles;
	Tile *cache[UNRDF_TILE_LEVELS][TILE_SLOTS];
	int victim[UNRDF_TILE_LEVELS];
};

/*
 * The bytes of a stored value that should have this length; false where it is null, or has another.
 */
static bool
read_bytes(Datum value, void *out, Size len)
{
	bytea *b;

	if (DatumGetPointer(value) == NULL || toast_raw_datum_size(value) != VARHDRSZ + len)
		return false;
	b = DatumGetByteaPP(value);
	memcpy(out, VARDATA_ANY(b), len);
	if ((Pointer) b != DatumGetPointer(value))
		pfree(b);
	return true;
}

/* Reads a hash; what is none reads as zeros, which is no hash of anything. */
static void
read_hash(Datum value, uint8 *out)
{
	if (!read_bytes(value, out, UNRDF_HASH_LEN))
		memset(out, 0, UNRDF_HASH_LEN);
}

/* Reads what a row of unrdf.integration says of the tree that it made. */
static void
read_head(TupleTableSlot *slot, UnrdfLogHead *head)
{
	Datum *v;

	slot_getsomeattrs(slot, INTEGRATION_ROOT + 1);
	v = slot->tts_values;
	head->size =
		(uint64) DatumGetInt64(v[INTEGRATION_FIRST]) + (uint64) DatumGetInt32(v[INTEGRATION_N]);
	head->epoch = DatumGetInt32(v[INTEGRATION_EPOCH]);
	if (DatumGetPointer(v[INTEGRATION_POSITION]) != NULL)
		head->position = TextDatumGetCString(v[INTEGRATION_POSITION]);
	read_hash(v[INTEGRATION_ROOT], head->root);
}

/*
 * UnrdfLogHeadRead reads a log's newest size and root. An empty log has size 0 and the root SHA-256
 * of nothing (RFC 9162, 2.1.1). head->position is allocated in the current memory context.
 */
void
UnrdfLogHeadRead(int32 log, UnrdfLogHead *head)
{
	UnrdfLookup rows;

	memset(head, 0, sizeof(*head));
	UnrdfLookupBegin(&rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_PKEY);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	UnrdfLookupStart(&rows);
	if (UnrdfLookupNext(&rows, BackwardScanDirection))
		read_head(rows.slot, head);
	else if (unrdf_tree_root(0, NULL, NULL, head->root) != 0)
		elog(ERROR, "SHA-256 failed");
	UnrdfLookupEnd(&rows);
}

/*
 * UnrdfLogHeadBefore reads the newest tree that the log had when it had at most `size` leaves; false where there is
 * none but the empty one.
 */
bool
UnrdfLogHeadBefore(int32 log, uint64 size, UnrdfLogHead *head)
{
	UnrdfLookup rows;
	bool found = false;

	memset(head, 0, sizeof(*head));
	UnrdfLookupBegin(&rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_PKEY);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	UnrdfLookupKey(&rows, 2, BTLessStrategyNumber, F_INT8LT, Int64GetDatum((int64) size));
	UnrdfLookupStart(&rows);
	while (!found && UnrdfLookupNext(&rows, BackwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		read_head(rows.slot, head);
		found = head->size <= size;
	}
	UnrdfLookupEnd(&rows);
	return found;
}

/* UnrdfEntryReceipt returns an entry's receipt id. */
int64
UnrdfEntryReceipt(const uint8 *entry)
{
	uint64 id;

	memcpy(&id, entry, sizeof(id));
	return (int64) pg_ntoh64(id);
}

/* UnrdfEntryLeaf returns an entry's leaf hash. */
const uint8 *
UnrdfEntryLeaf(const uint8 *entry)
{
	return entry + sizeof(uint64);
}

/* Reads entries of a row without reading the rest of a value that is stored out of line. */
static bytea *
read_entries(Datum leaves, int from, int count)
{
	return DatumGetByteaPSlice(leaves, from * UNRDF_LEAF_ENTRY, count * UNRDF_LEAF_ENTRY);
}

/* Whether the row's leaves are n entries. */
static bool
well_formed(Datum leaves, int32 n)
{
	return DatumGetPointer(leaves) != NULL &&
		   toast_raw_datum_size(leaves) == VARHDRSZ + (Size) n * UNRDF_LEAF_ENTRY;
}

/* UnrdfIntegrationInBounds tells whether a row's leaves can be leaves of a tree at all. */
bool
UnrdfIntegrationInBounds(int64 first, int32 n)
{
	return first >= 0 && n > 0 && first <= (int64) UNRDF_TREE_SIZE_MAX - n;
}

/* A search in a row's entries, which ascend by receipt id: it can be among those from <= i < to. */
typedef struct Search
{
	Datum leaves;
	int64 receipt;
	int from;
	int to;
} Search;

/* The first of the entries that have the receipt, if the row's landmarks are right. */
static int
place_by_landmarks(Datum landmarks, int64 receipt)
{
	bytea *b = DatumGetByteaPP(landmarks);
	const uint8 *ids = (uint8 *) VARDATA_ANY(b);
	int low = 0;
	int high = VARSIZE_ANY_EXHDR(b) / sizeof(uint64);

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (UnrdfEntryReceipt(ids + middle * sizeof(uint64)) <= receipt)
			low = middle + 1;
		else
			high = middle;
	}
	return Max(low - 1, 0) * UNRDF_LANDMARK_EVERY;
}

/* Reads entries from `at` on. Either finds the receipt's, or leaves fewer where it can be. */
static bool
probe(Search *s, int at, int *entry, uint8 *leaf)
{
	int first = Max(s->from, Min(at, s->to - UNRDF_LANDMARK_EVERY));
	int n = Min(UNRDF_LANDMARK_EVERY, s->to - first);
	bytea *slice = read_entries(s->leaves, first, n);
	const uint8 *entries = (uint8 *) VARDATA_ANY(slice);
	int64 lowest = UnrdfEntryReceipt(entries);
	int64 highest = UnrdfEntryReceipt(entries + (n - 1) * UNRDF_LEAF_ENTRY);
	bool found = false;

	for (int i = 0; i < n && !found; i++, entries += UNRDF_LEAF_ENTRY)
	{
		if (UnrdfEntryReceipt(entries) != s->receipt)
			continue;
		found = true;
		*entry = first + i;
		memcpy(leaf, UnrdfEntryLeaf(entries), UNRDF_HASH_LEN);
	}
	if (s->receipt > highest)
		s->from = first + n;
	else
		s->to = s->receipt < lowest ? first : s->from;
	pfree(slice);
	return found;
}

/*
 * Searches by the landmarks: where they say, then right after, which ends it for a receipt that the row does not have, and
 * then, since they may not be what they should, by halves.
 */
static bool
search(Search *s, Datum landmarks, int *entry, uint8 *leaf)
{
	int at = place_by_landmarks(landmarks, s->receipt);
	bool found = probe(s, at, entry, leaf);

	if (!found && s->from > at && s->from < s->to)
		found = probe(s, s->from, entry, leaf);
	while (!found && s->from < s->to)
		found = probe(s, s->from + (s->to - s->from) / 2, entry, leaf);
	return found;
}

/* Finds a receipt's entry in one row. */
static bool
find_in_row(TupleTableSlot *slot, int64 receipt, uint64 *index, uint8 *leaf)
{
	int64 first;
	int32 n;
	int entry;
	Search s = {0};

	slot_getallattrs(slot);
	first = DatumGetInt64(slot->tts_values[INTEGRATION_FIRST]);
	n = DatumGetInt32(slot->tts_values[INTEGRATION_N]);
	s.leaves = slot->tts_values[INTEGRATION_LEAVES];
	s.receipt = receipt;
	if (!UnrdfIntegrationInBounds(first, n) || !well_formed(s.leaves, n))
		return false;
	s.to = n;
	if (!search(&s, slot->tts_values[INTEGRATION_LANDMARKS], &entry, leaf))
		return false;
	*index = (uint64) first + entry;
	return true;
}

static bool
find_in_rows(UnrdfLookup *rows, int64 receipt, uint64 *index, uint8 *leaf)
{
	bool found = false;

	UnrdfLookupStart(rows);
	while (!found && UnrdfLookupNext(rows, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		found = find_in_row(rows->slot, receipt, index, leaf);
	}
	UnrdfLookupEnd(rows);
	return found;
}

/*
 * UnrdfLeafFind finds the leaf of a receipt that transaction xid wrote: its index and the hash
 * stored for it. False while it is not integrated. Looks only into integrations of about that
 * transaction.
 */
bool
UnrdfLeafFind(int32 log, int64 receipt, uint64 xid, uint64 *index, uint8 *leaf)
{
	UnrdfLookup rows;

	UnrdfLookupBegin(&rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_XID_IDX);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	UnrdfLookupKey(&rows, 2, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(xid));
	UnrdfLookupKey(&rows, 3, BTLessEqualStrategyNumber, F_XID8LE, UInt64GetDatum(xid));
	return find_in_rows(&rows, receipt, index, leaf);
}

/*
 * UnrdfLeafSearch does the same without the transaction id, in every integration there is: for
 * suspicious cases.
 */
bool
UnrdfLeafSearch(int32 log, int64 receipt, uint64 *index, uint8 *leaf)
{
	UnrdfLookup rows;

	UnrdfLookupBegin(&rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_PKEY);
	UnrdfLookupKey(&rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	return find_in_rows(&rows, receipt, index, leaf);
}

/*
 * UnrdfRowsFrom begins reading a log's rows of unrdf.integration, from the one that has leaf `from` on, in their order; from
 * 0, all there are. The caller ends the look-up.
 */
void
UnrdfRowsFrom(UnrdfLookup *rows, int32 log, uint64 from)
{
	int64 first = 0;
	bool isnull;

	UnrdfLookupBegin(rows, UNRDF_INTEGRATION, UNRDF_INTEGRATION_PKEY);
	if (from > 0)
	{
		/* the row that from lies in is the last that begins at or before it */
		UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
		UnrdfLookupKey(rows, 2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum((int64) from));
		UnrdfLookupStart(rows);
		if (UnrdfLookupNext(rows, BackwardScanDirection))
			first = DatumGetInt64(slot_getattr(rows->slot, INTEGRATION_FIRST + 1, &isnull));
	}
	UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	if (from > 0)
		UnrdfLookupKey(rows, 2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
	UnrdfLookupStart(rows);
}

/* UnrdfLeafCursorBegin begins reading the entries of leaves from <= index < to. */
void
UnrdfLeafCursorBegin(UnrdfLeafCursor *c, int32 log, uint64 from, uint64 to)
{
	c->from = from;
	c->to = to;
	c->in_row = false;
	c->slice = NULL;
	UnrdfRowsFrom(&c->rows, log, from);
}

/* Goes to the next row that has leaves of the range; false where there is none. */
static bool
next_row(UnrdfLeafCursor *c)
{
	UnrdfLeafRun *run = &c->run;

	while (UnrdfLookupNext(&c->rows, ForwardScanDirection))
	{
		Datum *v;

		slot_getallattrs(c->rows.slot);
		v = c->rows.slot->tts_values;
		run->first = DatumGetInt64(v[INTEGRATION_FIRST]);
		run->n = DatumGetInt32(v[INTEGRATION_N]);
		if (run->first >= (int64) c->to)
			return false;
		if (!UnrdfIntegrationInBounds(run->first, run->n) || run->first + run->n <= (int64) c->from)
			continue;
		run->xid_min = DatumGetUInt64(v[INTEGRATION_XID_MIN]);
		run->xid_max = DatumGetUInt64(v[INTEGRATION_XID_MAX]);
		read_hash(v[INTEGRATION_ROOT], run->root);
		run->torn = !well_formed(v[INTEGRATION_LEAVES], run->n);
		c->next = Max(run->first, (int64) c->from);
		return true;
	}
	return false;
}

/* UnrdfLeafCursorNext returns the next run, which lives until the next call; NULL at the end. */
const UnrdfLeafRun *
UnrdfLeafCursorNext(UnrdfLeafCursor *c)
{
	UnrdfLeafRun *run = &c->run;
	int64 end;

	if (c->slice)
		pfree(c->slice);
	c->slice = NULL;
	if (!c->in_row && !next_row(c))
		return NULL;
	end = Min(run->first + run->n, (int64) c->to);
	run->index = c->next;
	run->count = 0;
	run->entries = NULL;
	if (!run->torn)
	{
		run->count = (int) Min(end - c->next, UNRDF_LEAF_RUN);
		c->slice = read_entries(c->rows.slot->tts_values[INTEGRATION_LEAVES],
								(int) (c->next - run->first), run->count);
		run->entries = (uint8 *) VARDATA_ANY(c->slice);
	}
	c->next += run->count;
	c->in_row = !run->torn && c->next < end;
	return run;
}

/* UnrdfLeafCursorEnd closes everything. */
void
UnrdfLeafCursorEnd(UnrdfLeafCursor *c)
{
	if (c->slice)
		pfree(c->slice);
	UnrdfLookupEnd(&c->rows);
}

/* Finds a tile's row; false where it is not stored. */
static bool
find_tile(UnrdfLookup *tiles, int32 log, int level, uint64 idx)
{
	UnrdfLookupKey(tiles, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	UnrdfLookupKey(tiles, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(level));
	UnrdfLookupKey(tiles, 3, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) idx));
	UnrdfLookupStart(tiles);
	if (!UnrdfLookupNext(tiles, ForwardScanDirection))
		return false;
	slot_getallattrs(tiles->slot);
	return true;
}

/* UnrdfTileRead reads a stored tile; false where it is not stored, or not whole. */
bool
UnrdfTileRead(UnrdfLookup *tiles, int32 log, int level, uint64 idx, UnrdfTile *tile)
{
	Datum *v = tiles->slot->tts_values;

	return find_tile(tiles, log, level, idx) &&
		   read_bytes(v[TILE_ROOT], tile->root, sizeof(tile->root)) &&
		   read_bytes(v[TILE_SUBROOTS], tile->subroots, sizeof(tile->subroots)) &&
		   read_bytes(v[TILE_HASHES], tile->hashes, sizeof(tile->hashes));
}

/*
 * UnrdfPerfectRoot computes the root over n hashes, a power of two, and overwrites them. Non-zero
 * where SHA-256 fails.
 */
int
UnrdfPerfectRoot(uint8 (*hashes)[UNRDF_HASH_LEN], int n, uint8 *out)
{
	for (; n > 1; n /= 2)
		for (int i = 0; i < n / 2; i++)
			if (unrdf_node_hash(hashes[2 * i], hashes[2 * i + 1], hashes[i]) != 0)
				return -1;
	memcpy(out, hashes[0], UNRDF_HASH_LEN);
	return 0;
}

/*
 * UnrdfNodeReaderBegin begins reading a log's tree; everything is allocated in the current memory
 * context.
 */
UnrdfNodeReader *
UnrdfNodeReaderBegin(int32 log)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf nodes", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	UnrdfNodeReader *r = palloc0(sizeof(UnrdfNodeReader));

	r->log = log;
	r->context = context;
	UnrdfLookupBegin(&r->tiles, UNRDF_TILE, UNRDF_TILE_PKEY);
	MemoryContextSwitchTo(old);
	return r;
}

static void
set_have(Tile *tile, int i)
{
	tile->have[i / 8] |= 1 << (i % 8);
}

static bool
has_hash(const Tile *tile, int i)
{
	return tile->have[i / 8] & (1 << (i % 8));
}

/* Right of the full tiles, leaf hashes are in the integrations only. */
static void
load_leaves(UnrdfNodeReader *r, Tile *tile)
{
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;
	uint64 first = tile->idx * UNRDF_TILE_WIDTH;

	UnrdfLeafCursorBegin(&cursor, r->log, first, first + UNRDF_TILE_WIDTH);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
		for (int i = 0; i < run->count; i++)
		{
			int at = (int) (run->index - first) + i;

			memcpy(tile->hashes[at], UnrdfEntryLeaf(run->entries + i * UNRDF_LEAF_ENTRY),
				   UNRDF_HASH_LEN);
			set_have(tile, at);
		}
	UnrdfLeafCursorEnd(&cursor);
}

/* Right of the full tiles of a higher level, hashes are the roots of the full tiles below. */
static void
load_roots(UnrdfNodeReader *r, Tile *tile, int below)
{
	int64 first = (int64) (tile->idx * UNRDF_TILE_WIDTH);

	UnrdfLookupKey(&r->tiles, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(r->log));
	UnrdfLookupKey(&r->tiles, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(below));
	UnrdfLookupKey(&r->tiles, 3, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
	UnrdfLookupKey(&r->tiles, 3, BTLessEqualStrategyNumber, F_INT8LE,
				   Int64GetDatum(first + UNRDF_TILE_WIDTH - 1));
	UnrdfLookupStart(&r->tiles);
	while (UnrdfLookupNext(&r->tiles, ForwardScanDirection))
	{
		TupleTableSlot *slot = r->tiles.slot;
		bool isnull;
		int at = (int) (DatumGetInt64(slot_getattr(slot, TILE_IDX + 1, &isnull)) - first);

		if (read_bytes(slot_getattr(slot, TILE_ROOT + 1, &isnull), tile->hashes[at],
					   UNRDF_HASH_LEN))
			set_have(tile, at);
	}
}

/* Finds a stored tile, and reads of it what is in the row itself; false where it is not stored, or not whole. */
static bool
open_tile(UnrdfNodeReader *r, Tile *tile, int q)
{
	Datum *v = r->tiles.slot->tts_values;

	if (!find_tile(&r->tiles, r->log, q, tile->idx) || DatumGetPointer(v[TILE_HASHES]) == NULL ||
		toast_raw_datum_size(v[TILE_HASHES]) != VARHDRSZ + sizeof(tile->hashes) ||
		!read_bytes(v[TILE_SUBROOTS], tile->subroots, sizeof(tile->subroots)))
		return false;
	tile->stored = MemoryContextAlloc(r->context, VARSIZE_ANY(v[TILE_HASHES]));
	memcpy(tile->stored, DatumGetPointer(v[TILE_HASHES]), VARSIZE_ANY(v[TILE_HASHES]));
	return true;
}

/* Reads the hashes of a stored tile's group, unless they are there. */
static void
load_group(Tile *tile, int group)
{
	int at = group * UNRDF_TILE_GROUP;
	bytea *slice;

	if (has_hash(tile, at))
		return;
	slice = DatumGetByteaPSlice(PointerGetDatum(tile->stored), at * UNRDF_HASH_LEN,
								UNRDF_TILE_GROUP * UNRDF_HASH_LEN);
	memcpy(tile->hashes[at], VARDATA_ANY(slice), UNRDF_TILE_GROUP * UNRDF_HASH_LEN);
	pfree(slice);
	for (int i = 0; i < UNRDF_TILE_GROUP; i++)
		set_have(tile, at + i);
}

/* The tile of a level, from the cache or the tables; where it is not stored, only what it has. */
static Tile *
get_tile(UnrdfNodeReader *r, int q, uint64 idx)
{
	Tile *tile;

	for (int i = 0; i < TILE_SLOTS; i++)
		if (r->cache[q][i] && r->cache[q][i]->used && r->cache[q][i]->idx == idx)
			return r->cache[q][i];
	r->victim[q] = (r->victim[q] + 1) % TILE_SLOTS;
	if (r->cache[q][r->victim[q]] == NULL)
		r->cache[q][r->victim[q]] = MemoryContextAllocZero(r->context, sizeof(Tile));
	tile = r->cache[q][r->victim[q]];
	if (tile->stored)
		pfree(tile->stored);
	tile->stored = NULL;
	tile->used = false;
	tile->idx = idx;
	memset(tile->have, 0, sizeof(tile->have));
	if (!open_tile(r, tile, q))
	{
		if (q == 0)
			load_leaves(r, tile);
		else
			load_roots(r, tile, q - 1);
	}
	tile->used = true;
	return tile;
}

/* Copies the n hashes of a tile from `at` on; false where one is missing. */
static bool
copy_hashes(Tile *tile, int at, int n, uint8 (*out)[UNRDF_HASH_LEN])
{
	for (int group = at / UNRDF_TILE_GROUP; tile->stored && group * UNRDF_TILE_GROUP < at + n;
		 group++)
		load_group(tile, group);
	for (int i = at; i < at + n; i++)
		if (!has_hash(tile, i))
			return false;
	memcpy(out, tile->hashes[at], n * UNRDF_HASH_LEN);
	return true;
}

/*
 * UnrdfNodeRead is the UnrdfNodeSource of a reader: the hash of the perfect subtree at (level,
 * index). Non-zero where something that it is made of is missing. Reads of one tile the roots of its groups or one group, or
 * the roots stored with up to 255 tiles right below where that tile is not full yet.
 */
int
UnrdfNodeRead(void *reader, int level, uint64 index, uint8 *out)
{
	UnrdfNodeReader *r = reader;
	int q = level / UNRDF_TILE_HEIGHT;
	int height = level % UNRDF_TILE_HEIGHT;
	int n = 1 << height;
	uint64 first = index << height;
	int at = (int) (first % UNRDF_TILE_WIDTH);
	Tile *tile;
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];

	if (level < 0 || q >= UNRDF_TILE_LEVELS || index > (PG_UINT64_MAX >> level))
		return -1;
	tile = get_tile(r, q, first / UNRDF_TILE_WIDTH);
	if (tile->stored && height >= UNRDF_TILE_GROUP_HEIGHT)
	{
		n /= UNRDF_TILE_GROUP;
		memcpy(hashes, tile->subroots[at / UNRDF_TILE_GROUP], n * UNRDF_HASH_LEN);
	}
	else if (!copy_hashes(tile, at, n, hashes))
		return -1;
	return UnrdfPerfectRoot(hashes, n, out);
}

/* UnrdfNodeReaderEnd closes and frees the reader. */
void
UnrdfNodeReaderEnd(UnrdfNodeReader *r)
{
	UnrdfLookupEnd(&r->tiles);
	MemoryContextDelete(r->context);
}
