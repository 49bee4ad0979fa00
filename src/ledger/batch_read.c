/*
 * batch_read.c: reads batches: proofs of their items, checks, and where they speak of a row.
 *
 * Of what is stored nothing is believed but what its receipt's payload leads to: a batch whose segments are not those that
 * its count takes lacks hashes, which is an answer and no error.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "ledger/batch.h"

#define WINDOW 128 /* keys read on each side of where one should be */

static const char HASHES_MISSING[] = "batch lacks hashes of its items";

/* UnrdfBatchReaderBegin opens the tables in the current memory context; the active snapshot has to stay until the end. */
void
UnrdfBatchReaderBegin(UnrdfBatchReader *reader)
{
	UnrdfLookupBegin(&reader->batches, UNRDF_BATCH_ROW, UNRDF_BATCH_PKEY);
	UnrdfLookupBegin(&reader->segments, UNRDF_BATCH_SEGMENT, UNRDF_BATCH_SEGMENT_PKEY);
	reader->n = 0;
}

/* UnrdfBatchReaderEnd closes everything. */
void
UnrdfBatchReaderEnd(UnrdfBatchReader *reader)
{
	UnrdfLookupEnd(&reader->segments);
	UnrdfLookupEnd(&reader->batches);
}

/* UnrdfBatchOpen goes on to a batch; false where there is none. */
bool
UnrdfBatchOpen(UnrdfBatchReader *reader, int64 receipt)
{
	TupleTableSlot *slot = reader->batches.slot;
	int64 count;

	reader->n = 0;
	reader->receipt = receipt;
	UnrdfLookupKey(&reader->batches, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(receipt));
	UnrdfLookupStart(&reader->batches);
	if (!UnrdfLookupNext(&reader->batches, ForwardScanDirection))
		return false;
	slot_getallattrs(slot);
	if (slot->tts_isnull[BATCH_N])
		return false;
	count = DatumGetInt64(slot->tts_values[BATCH_N]);
	reader->count = Max(count, 0);
	reader->audited =
		slot->tts_isnull[BATCH_AUDITED] ? 0 : DatumGetInt32(slot->tts_values[BATCH_AUDITED]);
	return true;
}

static bool
has_length(Datum value, bool isnull, Size len)
{
	return !isnull && toast_raw_datum_size(value) == len + VARHDRSZ;
}

/* Goes to the segment that has an item; false where it is not there, or not as it should be. */
static bool
load_segment(UnrdfBatchReader *reader, uint64 index)
{
	uint64 first = index - index % UNRDF_ITEM_SEGMENT;
	int n = (int) Min(reader->count - first, UNRDF_ITEM_SEGMENT);
	TupleTableSlot *slot = reader->segments.slot;

	if (reader->n > 0 && reader->first == first)
		return true;
	reader->n = 0;
	UnrdfLookupKey(&reader->segments, 1, BTEqualStrategyNumber, F_INT8EQ,
				   Int64GetDatum(reader->receipt));
	UnrdfLookupKey(&reader->segments, 2, BTEqualStrategyNumber, F_INT8EQ,
				   Int64GetDatum((int64) first));
	UnrdfLookupStart(&reader->segments);
	if (!UnrdfLookupNext(&reader->segments, ForwardScanDirection))
		return false;
	slot_getallattrs(slot);
	reader->keys = slot->tts_values[SEGMENT_KEYS];
	reader->salts = slot->tts_values[SEGMENT_SALTS];
	reader->leaves = slot->tts_values[SEGMENT_LEAVES];
	reader->nodes = slot->tts_values[SEGMENT_NODES];
	reader->erased = has_length(reader->salts, slot->tts_isnull[SEGMENT_SALTS], 0);
	if (!has_length(reader->keys, slot->tts_isnull[SEGMENT_KEYS],
					reader->audited ? (Size) n * UNRDF_ROW_KEY_LEN : 0) ||
		!(reader->erased ||
		  has_length(reader->salts, slot->tts_isnull[SEGMENT_SALTS], (Size) n * UNRDF_SALT_LEN)) ||
		!has_length(reader->leaves, slot->tts_isnull[SEGMENT_LEAVES], (Size) n * UNRDF_HASH_LEN) ||
		!has_length(reader->nodes, slot->tts_isnull[SEGMENT_NODES],
					(Size) (n / UNRDF_ITEM_GROUP) * UNRDF_HASH_LEN))
		return false;
	reader->first = first;
	reader->n = n;
	return true;
}

static bytea *
slice(Datum value, int from, int n, int len)
{
	return DatumGetByteaPSlice(value, from * len, n * len);
}

static int
subtree_of_leaves(const uint8 *leaves, int level, uint8 *out)
{
	uint8 left[UNRDF_HASH_LEN];
	uint8 right[UNRDF_HASH_LEN];
	Size half = level > 0 ? (Size) UNRDF_HASH_LEN << (level - 1) : 0;

	if (level == 0)
	{
		memcpy(out, leaves, UNRDF_HASH_LEN);
		return 0;
	}
	if (subtree_of_leaves(leaves, level - 1, left) != 0 ||
		subtree_of_leaves(leaves + half, level - 1, right) != 0)
		return -1;
	return unrdf_node_hash(left, right, out);
}

/* The hash of a perfect subtree: out of leaves up to a group's size, of groups' roots above. */
static int
read_node(void *arg, int level, uint64 index, uint8 *out)
{
	UnrdfBatchReader *reader = arg;
	uint8 right[UNRDF_HASH_LEN];
	bytea *bytes;
	int rc = 0;

	if (level > UNRDF_ITEM_GROUP_LEVEL)
	{
		if (read_node(arg, level - 1, 2 * index, out) != 0 ||
			read_node(arg, level - 1, 2 * index + 1, right) != 0)
			return -1;
		return unrdf_node_hash(out, right, out);
	}
	if (!load_segment(reader, index << level))
		return -1;
	index -= reader->first >> level;
	if (level == UNRDF_ITEM_GROUP_LEVEL)
	{
		bytes = slice(reader->nodes, (int) index, 1, UNRDF_HASH_LEN);
		memcpy(out, VARDATA_ANY(bytes), UNRDF_HASH_LEN);
	}
	else
	{
		bytes = slice(reader->leaves, (int) (index << level), 1 << level, UNRDF_HASH_LEN);
		rc = subtree_of_leaves((const uint8 *) VARDATA_ANY(bytes), level, out);
	}
	pfree(bytes);
	return rc;
}

/*
 * UnrdfBatchProve builds the inclusion proof of an item of the open batch, with the root that it leads to; false where there
 * is no such item, or its batch is not whole.
 */
bool
UnrdfBatchProve(UnrdfBatchReader *reader, uint64 index, UnrdfItemProof *proof)
{
	bytea *salt;

	proof->index = index;
	proof->count = reader->count;
	proof->n = unrdf_inclusion_proof(index, reader->count, read_node, reader, proof->hashes);
	if (proof->n < 0 || read_node(reader, 0, index, proof->leaf) != 0)
		return false;
	if (unrdf_root_from_inclusion(index, reader->count, proof->leaf,
								  (const uint8(*)[UNRDF_HASH_LEN]) proof->hashes, proof->n,
								  proof->root) != 0)
		return false;
	proof->erased = reader->erased;
	if (reader->erased)
		return true;
	salt = slice(reader->salts, (int) (index - reader->first), 1, UNRDF_SALT_LEN);
	memcpy(proof->salt, VARDATA_ANY(salt), UNRDF_SALT_LEN);
	return true;
}

/* Whether a payload has a member of this text; count is a number there. */
static bool
payload_says(Jsonb *payload, const char *name, const char *expected)
{
	JsonbValue value;
	char *text;

	if (payload == NULL || !JB_ROOT_IS_OBJECT(payload) ||
		getKeyJsonValueFromContainer(&payload->root, name, strlen(name), &value) == NULL)
		return false;
	if (value.type == jbvNumeric)
	{
		text =
			DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
		return strcmp(text, expected) == 0;
	}
	return value.type == jbvString && value.val.string.len == strlen(expected) &&
		   memcmp(value.val.string.val, expected, strlen(expected)) == 0;
}

static bool
payload_has_hash(Jsonb *payload, const char *name, const uint8 *hash)
{
	char hex[2 * UNRDF_HASH_LEN + 1];

	hex[hex_encode((const char *) hash, UNRDF_HASH_LEN, hex)] = '\0';
	return payload_says(payload, name, hex);
}

static bool
payload_has_root(Jsonb *payload, const char *name, const UnrdfRange *range)
{
	uint8 root[UNRDF_HASH_LEN];

	if (unrdf_range_root(range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	return payload_has_hash(payload, name, root);
}

/* UnrdfBatchHasRoot tells whether a batch's receipt, whose payload has been verified, says that its items have this root. */
bool
UnrdfBatchHasRoot(const UnrdfReceipt *r, const uint8 *root)
{
	return r->kind == UNRDF_BATCH && payload_has_hash(r->payload, "root", root);
}

/* The groups' roots that a segment should have, one after another. */
typedef struct Groups
{
	const uint8 *stored;
	bool differ;
} Groups;

static int
compare_node(void *arg, int level, uint64 index, const uint8 *hash)
{
	Groups *groups = arg;

	if (level != UNRDF_ITEM_GROUP_LEVEL)
		return 0;
	if (memcmp(groups->stored, hash, UNRDF_HASH_LEN) != 0)
		groups->differ = true;
	groups->stored += UNRDF_HASH_LEN;
	return 0;
}

/* What a batch's receipt has roots of. */
typedef struct Trees
{
	UnrdfRange items;
	UnrdfRange keys;
	UnrdfRange salts;
	bool erased; /* a segment's salts are gone */
} Trees;

/* Adds a loaded segment to the trees; false where its groups' roots are not those of its leaves. */
static bool
check_segment(UnrdfBatchReader *reader, Trees *trees)
{
	bytea *leaves = DatumGetByteaP(reader->leaves);
	bytea *nodes = DatumGetByteaP(reader->nodes);
	Groups groups = {(const uint8 *) VARDATA_ANY(nodes), false};

	for (int i = 0; i < reader->n; i++)
		if (unrdf_range_append(&trees->items,
							   (const uint8 *) VARDATA_ANY(leaves) + i * UNRDF_HASH_LEN,
							   compare_node, &groups) != 0)
			elog(ERROR, "SHA-256 failed");
	UnrdfSegmentAppend(&trees->keys, DatumGetByteaP(reader->keys));
	UnrdfSegmentAppend(&trees->salts, DatumGetByteaP(reader->salts));
	trees->erased = trees->erased || reader->erased;
	return !groups.differ;
}

/*
 * UnrdfBatchCheck checks that the open batch has the items that its receipt's payload promises: recomputes the roots from all
 * its leaves, keys and salts, one segment at a time. Returns the first reason why not, or NULL; reader->erased then says whether
 * salts are gone.
 */
const char *
UnrdfBatchCheck(UnrdfBatchReader *reader, const UnrdfReceipt *r)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf batch segment", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	const char *reason = NULL;
	Trees trees = {.erased = false};

	if (!payload_says(r->payload, "count", psprintf(UINT64_FORMAT, reader->count)))
		reason = "batch does not have as many items as its receipt says";
	for (uint64 first = 0; reason == NULL && first < reader->count; first += UNRDF_ITEM_SEGMENT)
	{
		CHECK_FOR_INTERRUPTS();
		if (!load_segment(reader, first))
			reason = HASHES_MISSING;
		else if (!check_segment(reader, &trees))
			reason = "batch has a hash that is not that of its items";
		MemoryContextReset(context);
	}
	if (reason == NULL && !payload_has_root(r->payload, "root", &trees.items))
		reason = "items do not have the root that the batch's receipt says";
	else if (reason == NULL && reader->audited &&
			 !payload_has_root(r->payload, "keys", &trees.keys))
		reason = "rows of the batch are not found by the keys that its receipt says";
	else if (reason == NULL && !trees.erased &&
			 !payload_has_root(r->payload, "salts", &trees.salts))
		reason = "salts of the items do not have the root that the batch's receipt says";
	reader->erased = trees.erased;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return reason;
}

/* Tells fn of the items from..from+n-1 of the loaded segment. */
static void
tell(UnrdfBatchReader *reader, int from, int n, UnrdfItemFn fn, void *arg)
{
	bytea *keys = slice(reader->keys, from, n, UNRDF_ROW_KEY_LEN);
	bytea *leaves = slice(reader->leaves, from, n, UNRDF_HASH_LEN);
	bytea *salts = reader->erased ? NULL : slice(reader->salts, from, n, UNRDF_SALT_LEN);

	for (int i = 0; i < n; i++)
		fn(arg, (const uint8 *) VARDATA_ANY(keys) + (Size) i * UNRDF_ROW_KEY_LEN,
		   reader->first + from + i,
		   salts ? (const uint8 *) VARDATA_ANY(salts) + (Size) i * UNRDF_SALT_LEN : NULL,
		   (const uint8 *) VARDATA_ANY(leaves) + (Size) i * UNRDF_HASH_LEN);
	pfree(keys);
	pfree(leaves);
	if (salts)
		pfree(salts);
}

/* UnrdfBatchItems tells fn of every item of the open batch of rows; false where it is not whole. */
bool
UnrdfBatchItems(UnrdfBatchReader *reader, UnrdfItemFn fn, void *arg)
{
	for (uint64 first = 0; first < reader->count; first += UNRDF_ITEM_SEGMENT)
	{
		if (!load_segment(reader, first))
			return false;
		tell(reader, 0, reader->n, fn, arg);
	}
	return true;
}

/* Where a key should be among n that are evenly spread. */
static int
guess(const uint8 *key, int n)
{
	uint32 high;

	memcpy(&high, key, sizeof(high));
	return (int) (((uint64) pg_ntoh32(high) * n) >> 32);
}

static void
find_in_segment(UnrdfBatchReader *reader, const uint8 *key, UnrdfItemFn fn, void *arg)
{
	int middle = guess(key, reader->n);

	for (int reach = WINDOW;; reach *= 8)
	{
		int from = Max(middle - reach, 0);
		int to = Min(middle + reach, reader->n);
		bytea *keys = slice(reader->keys, from, to - from, UNRDF_ROW_KEY_LEN);
		const char *last = VARDATA_ANY(keys) + (Size) (to - from - 1) * UNRDF_ROW_KEY_LEN;

		if ((from == 0 || memcmp(VARDATA_ANY(keys), key, UNRDF_ROW_KEY_LEN) < 0) &&
			(to == reader->n || memcmp(last, key, UNRDF_ROW_KEY_LEN) > 0))
		{
			for (int i = from; i < to; i++)
				if (memcmp(VARDATA_ANY(keys) + (Size) (i - from) * UNRDF_ROW_KEY_LEN, key,
						   UNRDF_ROW_KEY_LEN) == 0)
					tell(reader, i, 1, fn, arg);
			pfree(keys);
			return;
		}
		pfree(keys);
	}
}

/* UnrdfBatchFind tells fn of the items of the open batch that speak of a row; false where the batch is not whole. */
bool
UnrdfBatchFind(UnrdfBatchReader *reader, const uint8 *key, UnrdfItemFn fn, void *arg)
{
	for (uint64 first = 0; first < reader->count; first += UNRDF_ITEM_SEGMENT)
	{
		if (!load_segment(reader, first))
			return false;
		find_in_segment(reader, key, fn, arg);
	}
	return true;
}
