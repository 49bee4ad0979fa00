/*
 * integrate.c: gives committed receipts their index in the log and extends its tree.
 *
 * Invariant: the rows of unrdf.integration are contiguous from leaf 0; each holds the root of the tree up to its end, and
 * the follower's position after it. Tiles are written in the transaction of the integration that fills them. So every
 * state that commits is whole, and dying between any two lines leaves the state before.
 *
 * One writer at a time: UNRDF_LOCK_LOG, held to the transaction's end. The newest row, read after the lock was granted, is
 * the truth; what this process remembers (compact range, unfinished tiles, follower) is a cache, used only while its size
 * and root are those of the newest row and otherwise rebuilt from it. The cache is marked unusable before it changes, so
 * an error or a rolled back transaction cannot leave it ahead of the table.
 *
 * The position belongs to the transaction ids of one cluster. Where the newest row's epoch names another cluster, the
 * table came by dump and restore: the follower begins anew, and every row is looked up in the log first. Restored rows
 * come by once more when this cluster's transaction ids reach theirs; until then every row above the last restored xid's
 * mark is looked up as well.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "port/pg_bswap.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/commit.h"
#include "base/datum.h"
#include "base/follow.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/log.h"
#include "ledger/receipt.h"

#define MOST_PER_STEP 8192

/* What this process remembers of the log. */
typedef struct State
{
	bool usable;
	MemoryContext context;
	UnrdfRange range;
	uint8 root[UNRDF_HASH_LEN];
	UnrdfTile partial[UNRDF_TILE_LEVELS]; /* without their roots */
	UnrdfFollower follower;
	uint64 restored_until; /* rows with an xid up to here may come twice */
} State;

typedef struct Leaf
{
	int64 id;
	uint64 xid;
	uint8 hash[UNRDF_HASH_LEN];
} Leaf;

/* One step's work. */
typedef struct Step
{
	Leaf *leaves;
	int n;
	MemoryContext row_context;
	StringInfoData scratch;
	UnrdfAppend *tiles;
} Step;

static UnrdfPlan restored_until = {"SELECT xid FROM unrdf.restored ORDER BY xid DESC LIMIT 1", 0};

static State state;

static void
read_node(UnrdfNodeReader *reader, int level, uint64 index, uint8 *out)
{
	if (UnrdfNodeRead(reader, level, index, out) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("log has no hash at level %d, index " UINT64_FORMAT, level, index)));
}

/* Reads what the last, unfinished tile of a level has of the nodes of a level of the tree. */
static void
read_partial(UnrdfNodeReader *reader, int level, uint64 size, int width,
			 uint8 (*out)[UNRDF_HASH_LEN])
{
	uint64 n = size >> level;

	for (uint64 i = n & ~(uint64) (width - 1); i < n; i++)
		read_node(reader, level, i, out[i % width]);
}

/* Rebuilds compact range and unfinished tiles of a tree of this size. */
static void
rebuild_tree(uint64 size)
{
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(UNRDF_RECEIPTS_LOG);

	unrdf_range_init(&state.range);
	state.range.size = size;
	for (int level = 0; level < 63; level++)
		if ((size >> level) & 1)
			read_node(reader, level, (size >> level) - 1, state.range.hash[level]);
	for (int q = 0; q < UNRDF_TILE_LEVELS && (size >> (UNRDF_TILE_HEIGHT * q)) > 0; q++)
	{
		int level = UNRDF_TILE_HEIGHT * q;

		read_partial(reader, level, size, UNRDF_TILE_WIDTH, state.partial[q].hashes);
		read_partial(reader, level + UNRDF_TILE_GROUP_HEIGHT, size, UNRDF_TILE_GROUPS,
					 state.partial[q].subroots);
	}
	UnrdfNodeReaderEnd(reader);
}

static uint64
read_restored_until(void)
{
	uint64 until = 0;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&restored_until, NULL, NULL) == 1)
	{
		Datum value = UnrdfResult(0, 0, &isnull);

		if (!isnull)
			until = DatumGetUInt64(value);
	}
	SPI_finish();
	return until;
}

/* Makes the state that of the newest row. */
static void
rebuild(const UnrdfLogHead *head)
{
	if (state.context == NULL)
		state.context =
			AllocSetContextCreate(TopMemoryContext, "unrdf integrator", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(state.context);
	state.follower.table = UNRDF_RECEIPT;
	state.follower.index = UNRDF_RECEIPT_XID_IDX;
	state.follower.nprefix = 0;
	state.follower.xid_column = RECEIPT_XID;
	state.follower.id_column = RECEIPT_ID;
	UnrdfFollowInit(&state.follower, state.context);
	rebuild_tree(head->size);
	if (unrdf_range_root(&state.range, state.root) != 0)
		elog(ERROR, "SHA-256 failed");
	if (memcmp(state.root, head->root, UNRDF_HASH_LEN) != 0)
	{
		UnrdfPublishingSet(UNRDF_PUBLISHING_REFUSED,
						   psprintf("log of size " UINT64_FORMAT
									" does not have the root that was stored for it",
									head->size));
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("log of size " UINT64_FORMAT
							   " does not have the root that was stored for it",
							   head->size),
						errhint("Run unrdf.verify_all() to find what was changed.")));
	}
	state.restored_until = read_restored_until();
	if (head->position == NULL)
		return;
	if (UnrdfEpochGet(head->epoch)->system_identifier != GetSystemIdentifier())
		state.restored_until = PG_UINT64_MAX;
	else if (!UnrdfFollowRead(&state.follower, head->position))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("log of size " UINT64_FORMAT " has a malformed position", head->size)));
}

static void
collect(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Step *step = arg;
	Leaf *leaf = &step->leaves[step->n];
	MemoryContext old = MemoryContextSwitchTo(step->row_context);
	UnrdfReceipt r;
	uint64 index;
	uint8 hash[UNRDF_HASH_LEN];

	UnrdfReceiptRead(slot, &r);
	leaf->id = id;
	leaf->xid = xid;
	UnrdfReceiptLeaf(&r, &step->scratch, leaf->hash);
	if (xid > state.restored_until || !UnrdfLeafFind(UNRDF_RECEIPTS_LOG, id, xid, &index, hash))
		step->n++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(step->row_context);
}

/* Writes a tile that has just become full. */
static void
write_tile(Step *step, int q, uint64 idx, const uint8 *root)
{
	TupleTableSlot *slot = UnrdfAppendRow(step->tiles);
	const UnrdfTile *tile = &state.partial[q];

	memset(slot->tts_isnull, false, TILE_COLUMNS * sizeof(bool));
	slot->tts_values[TILE_LOG] = Int32GetDatum(UNRDF_RECEIPTS_LOG);
	slot->tts_values[TILE_LEVEL] = Int32GetDatum(q);
	slot->tts_values[TILE_IDX] = Int64GetDatum((int64) idx);
	slot->tts_values[TILE_ROOT] = UnrdfBytesDatum(root, UNRDF_HASH_LEN);
	slot->tts_values[TILE_SUBROOTS] = UnrdfBytesDatum(tile->subroots, sizeof(tile->subroots));
	slot->tts_values[TILE_HASHES] = UnrdfBytesDatum(tile->hashes, sizeof(tile->hashes));
}

/*
 * Remembers what tiles have. A hash of a tile's level, unless a leaf's, is the root of a tile of the level below, which it
 * makes full.
 */
static int
sink(void *arg, int level, uint64 index, const uint8 *hash)
{
	int q = level / UNRDF_TILE_HEIGHT;

	if (level % UNRDF_TILE_HEIGHT == UNRDF_TILE_GROUP_HEIGHT)
		memcpy(state.partial[q].subroots[index % UNRDF_TILE_GROUPS], hash, UNRDF_HASH_LEN);
	if (level % UNRDF_TILE_HEIGHT != 0)
		return 0;
	if (q > 0)
		write_tile(arg, q - 1, index, hash);
	memcpy(state.partial[q].hashes[index % UNRDF_TILE_WIDTH], hash, UNRDF_HASH_LEN);
	return 0;
}

static int
compare_leaves(const void *a, const void *b)
{
	int64 x = ((const Leaf *) a)->id;
	int64 y = ((const Leaf *) b)->id;

	return x < y ? -1 : x > y;
}

/* Writes the step's row; the tree has been extended already. */
static void
write_integration(Step *step, uint64 first)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_INTEGRATION, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);
	bytea *leaves = palloc(VARHDRSZ + step->n * UNRDF_LEAF_ENTRY);
	uint64 *landmarks = palloc((step->n / UNRDF_LANDMARK_EVERY + 1) * sizeof(uint64));
	int nlandmarks = 0;
	uint64 xid_min = PG_UINT64_MAX;
	uint64 xid_max = 0;
	StringInfoData position;

	SET_VARSIZE(leaves, VARHDRSZ + step->n * UNRDF_LEAF_ENTRY);
	for (int i = 0; i < step->n; i++)
	{
		char *entry = VARDATA(leaves) + i * UNRDF_LEAF_ENTRY;
		uint64 id = pg_hton64((uint64) step->leaves[i].id);

		if (i % UNRDF_LANDMARK_EVERY == 0)
			landmarks[nlandmarks++] = id;
		memcpy(entry, &id, sizeof(id));
		memcpy(entry + sizeof(id), step->leaves[i].hash, UNRDF_HASH_LEN);
		xid_min = Min(xid_min, step->leaves[i].xid);
		xid_max = Max(xid_max, step->leaves[i].xid);
	}
	initStringInfo(&position);
	UnrdfFollowWrite(&state.follower, &position);
	memset(slot->tts_isnull, false, INTEGRATION_COLUMNS * sizeof(bool));
	slot->tts_values[INTEGRATION_LOG] = Int32GetDatum(UNRDF_RECEIPTS_LOG);
	slot->tts_values[INTEGRATION_FIRST] = Int64GetDatum((int64) first);
	slot->tts_values[INTEGRATION_N] = Int32GetDatum(step->n);
	slot->tts_values[INTEGRATION_EPOCH] = Int32GetDatum(UnrdfCurrentEpoch());
	slot->tts_values[INTEGRATION_XID_MIN] = UInt64GetDatum(xid_min);
	slot->tts_values[INTEGRATION_XID_MAX] = UInt64GetDatum(xid_max);
	slot->tts_values[INTEGRATION_AT] = TimestampTzGetDatum(UnrdfNow());
	slot->tts_values[INTEGRATION_POSITION] =
		PointerGetDatum(cstring_to_text_with_len(position.data, position.len));
	slot->tts_values[INTEGRATION_ROOT] = UnrdfBytesDatum(state.root, UNRDF_HASH_LEN);
	slot->tts_values[INTEGRATION_LANDMARKS] =
		UnrdfBytesDatum(landmarks, nlandmarks * sizeof(uint64));
	slot->tts_values[INTEGRATION_LEAVES] = PointerGetDatum(leaves);
	UnrdfAppendEnd(append);
}

static void
count(uint64 n)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		pg_atomic_fetch_add_u64(&db->integrated, n);
}

/* Extends the tree by the collected leaves. They are sorted by id, so that a receipt is found in its row without reading all. */
static void
extend(Step *step)
{
	uint64 first = state.range.size;

	qsort(step->leaves, step->n, sizeof(Leaf), compare_leaves);
	step->tiles = UnrdfAppendBegin(UNRDF_TILE, 64);
	for (int i = 0; i < step->n; i++)
		if (unrdf_range_append(&state.range, step->leaves[i].hash, sink, step) != 0)
			elog(ERROR, "SHA-256 failed");
	UnrdfAppendEnd(step->tiles);
	if (unrdf_range_root(&state.range, state.root) != 0)
		elog(ERROR, "SHA-256 failed");
	write_integration(step, first);
	UnrdfAtCommit(count, step->n);
}

/*
 * UnrdfIntegrate integrates up to `most` receipts in the current transaction and returns how many; 0 when there was none.
 * Waits for another integrator's transaction to end. Raises XX001 where the log does not have the root it should.
 */
int64
UnrdfIntegrate(int most)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf integration", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Step step = {0};
	UnrdfLogHead head;

	PreventCommandIfReadOnly("unrdf.integrate()");
	UnrdfLock(UNRDF_LOCK_LOG, UNRDF_RECEIPTS_LOG);
	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (!state.usable || state.range.size != head.size ||
		memcmp(state.root, head.root, UNRDF_HASH_LEN) != 0)
	{
		state.usable = false;
		rebuild(&head);
	}
	state.usable = false;
	most = Min(most, MOST_PER_STEP);
	step.leaves = palloc(most * sizeof(Leaf));
	step.row_context = AllocSetContextCreate(context, "unrdf receipt", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&step.scratch);
	while (UnrdfFollow(&state.follower, most, collect, &step) > 0 && step.n == 0)
		CHECK_FOR_INTERRUPTS();
	if (step.n > 0)
		extend(&step);
	/* once a step of this cluster ends with everything read, its position is good for a rebuild */
	state.usable =
		!(step.n > 0 && state.restored_until == PG_UINT64_MAX && UnrdfFollowedAll(&state.follower));
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return step.n;
}
