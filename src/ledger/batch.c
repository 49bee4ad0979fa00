/*
 * batch.c: the items of a receipt of kind batch.
 *
 * The receipt's payload has the count of the items and the root of a Merkle tree (RFC 9162) over them; and, over what each
 * segment has of them, a root of their salts and for rows of an audited table of the finding aid below. Of the items only hashes
 * are kept, in segments of 65,536, each written once when it is full, so that a batch of any size takes the memory of one.
 *
 * An item may be one of few, such as a row with a yes or a no in it: a plain hash could be guessed. So a leaf hash is over 16
 * random bytes, its salt, and the item's canonical JSON; each item has a salt of its own, for who is shown one must not learn
 * to guess its neighbours. Erasing takes the salts away: then nobody can guess an item from its leaf. Count, root and the
 * receipt's own salt stay, since they tell nothing of an item: who has kept one with its salt can have it proved for ever.
 *
 * Rows are found by 16 bytes that stand for their keys, by which the items of each segment are sorted: as these are evenly
 * spread, a row is looked for where it should be, in one or two slices of a segment. Who changes them hides items, and
 * verification of the receipt finds it by their root.
 *
 * All of a batch is written in the transaction that writes its receipt; a writer that dies leaves nothing. Nothing is locked.
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/append.h"
#include "base/compat.h"
#include "base/datum.h"
#include "ledger/batch.h"

#define BUCKETS 65536 /* of the first two bytes of a key */

typedef struct Entry
{
	uint8 key[UNRDF_ROW_KEY_LEN];
	uint8 salt[UNRDF_SALT_LEN];
	uint8 leaf[UNRDF_HASH_LEN];
} Entry;

struct UnrdfBatch
{
	int64 id;
	int32 audited; /* 0: items of an application, which have no keys */
	int n;         /* in the segment */
	int capacity;
	Entry *entries;
	UnrdfRange tree;
	UnrdfRange keys; /* trees over the segments' keys and salts */
	UnrdfRange salts;
	StringInfoData nodes; /* of the segment */
	MemoryContext context;
};

static void
check_hash(int rc)
{
	if (rc != 0)
		elog(ERROR, "SHA-256 failed");
}

/* UnrdfItemLeaf computes the leaf hash of an item that is given in canonical JSON. */
void
UnrdfItemLeaf(const uint8 *salt, const char *item, int len, uint8 *leaf)
{
	UnrdfBytes parts[2] = {{salt, UNRDF_SALT_LEN}, {item, len}};

	check_hash(unrdf_leaf_hash(parts, 2, leaf));
}

/*
 * UnrdfBatchBegin begins a batch of rows of an audited table, or of an application's items where audited is 0, in the current
 * memory context.
 */
UnrdfBatch *
UnrdfBatchBegin(int32 audited)
{
	UnrdfBatch *b = palloc0(sizeof(UnrdfBatch));

	b->context = CurrentMemoryContext;
	b->id = nextval_internal(UnrdfRelid(UNRDF_OPERATION_ID), false);
	b->audited = audited;
	b->capacity = UNRDF_ITEM_GROUP;
	b->entries = palloc(b->capacity * sizeof(Entry));
	unrdf_range_init(&b->tree);
	unrdf_range_init(&b->keys);
	unrdf_range_init(&b->salts);
	initStringInfo(&b->nodes);
	return b;
}

static int
bucket_of(const Entry *entry)
{
	return entry->key[0] << 8 | entry->key[1];
}

/*
 * Sorts the segment by key. Keys are hashes: dealt out by their first two bytes, which takes one pass, every entry is within
 * a few places of its own. A bucket's places are filled from its first one on; what is in those of others says nothing yet.
 */
static void
sort_entries(UnrdfBatch *b)
{
	int *start = palloc0((BUCKETS + 1) * sizeof(int));
	int *filled = palloc0(BUCKETS * sizeof(int));
	Entry *sorted = MemoryContextAlloc(b->context, b->capacity * sizeof(Entry));

	for (int i = 0; i < b->n; i++)
		start[bucket_of(&b->entries[i]) + 1]++;
	for (int i = 0; i < BUCKETS; i++)
		start[i + 1] += start[i];
	for (int i = 0; i < b->n; i++)
	{
		const Entry *entry = &b->entries[i];
		int bucket = bucket_of(entry);
		int place = start[bucket] + filled[bucket]++;

		for (; place > start[bucket] &&
			   memcmp(sorted[place - 1].key, entry->key, UNRDF_ROW_KEY_LEN) > 0;
			 place--)
			sorted[place] = sorted[place - 1];
		sorted[place] = *entry;
	}
	pfree(start);
	pfree(filled);
	pfree(b->entries);
	b->entries = sorted;
}

static int
keep_node(void *arg, int level, uint64 index, const uint8 *hash)
{
	if (level == UNRDF_ITEM_GROUP_LEVEL)
		appendBinaryStringInfo((StringInfo) arg, (const char *) hash, UNRDF_HASH_LEN);
	return 0;
}

/* A bytea of one member of each entry. */
static Datum
column_of(const UnrdfBatch *b, size_t offset, int len)
{
	bytea *bytes = palloc(VARHDRSZ + (Size) b->n * len);

	SET_VARSIZE(bytes, VARHDRSZ + b->n * len);
	for (int i = 0; i < b->n; i++)
		memcpy(VARDATA(bytes) + (Size) i * len, (char *) &b->entries[i] + offset, len);
	return PointerGetDatum(bytes);
}

/* UnrdfSegmentAppend adds what a segment has of one kind to the tree over that. */
void
UnrdfSegmentAppend(UnrdfRange *range, bytea *bytes)
{
	UnrdfBytes part = {VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)};
	uint8 hash[UNRDF_HASH_LEN];

	check_hash(unrdf_leaf_hash(&part, 1, hash));
	check_hash(unrdf_range_append(range, hash, NULL, NULL));
}

static void
flush(UnrdfBatch *b)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_BATCH_SEGMENT, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);
	uint64 first = b->tree.size;
	Datum keys;
	Datum salts;

	resetStringInfo(&b->nodes);
	if (b->audited)
		sort_entries(b);
	for (int i = 0; i < b->n; i++)
		check_hash(unrdf_range_append(&b->tree, b->entries[i].leaf, keep_node, &b->nodes));
	keys = column_of(b, offsetof(Entry, key), b->audited ? UNRDF_ROW_KEY_LEN : 0);
	salts = column_of(b, offsetof(Entry, salt), UNRDF_SALT_LEN);
	UnrdfSegmentAppend(&b->keys, DatumGetByteaPP(keys));
	UnrdfSegmentAppend(&b->salts, DatumGetByteaPP(salts));
	UnrdfAppendSet(slot, SEGMENT_RECEIPT, Int64GetDatum(b->id));
	UnrdfAppendSet(slot, SEGMENT_FIRST, Int64GetDatum((int64) first));
	UnrdfAppendSet(slot, SEGMENT_KEYS, keys);
	UnrdfAppendSet(slot, SEGMENT_SALTS, salts);
	UnrdfAppendSet(slot, SEGMENT_LEAVES, column_of(b, offsetof(Entry, leaf), UNRDF_HASH_LEN));
	UnrdfAppendSet(slot, SEGMENT_NODES, UnrdfBytesDatum(b->nodes.data, b->nodes.len));
	UnrdfAppendEnd(append);
	b->n = 0;
}

/* UnrdfBatchAdd adds an item by its canonical JSON, which is not kept; key is NULL for an application's. */
void
UnrdfBatchAdd(UnrdfBatch *b, const uint8 *key, const char *item, int len)
{
	Entry *entry;

	if (b->n == UNRDF_ITEM_SEGMENT)
	{
		MemoryContext segment =
			AllocSetContextCreate(b->context, "unrdf batch segment", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(segment);

		flush(b);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(segment);
	}
	else if (b->n == b->capacity)
	{
		b->capacity *= 4;
		b->entries = repalloc(b->entries, b->capacity * sizeof(Entry));
	}
	entry = &b->entries[b->n];
	if (key)
		memcpy(entry->key, key, UNRDF_ROW_KEY_LEN);
	if (unrdf_random(entry->salt, UNRDF_SALT_LEN) != 0)
		elog(ERROR, "could not generate random bytes");
	UnrdfItemLeaf(entry->salt, item, len, entry->leaf);
	b->n++;
}

static void
append_root(StringInfo out, const char *name, const UnrdfRange *range)
{
	uint8 root[UNRDF_HASH_LEN];

	check_hash(unrdf_range_root(range, root));
	appendStringInfo(out, "\"%s\": \"", name);
	enlargeStringInfo(out, 2 * UNRDF_HASH_LEN + 1);
	out->len += hex_encode((char *) root, UNRDF_HASH_LEN, out->data + out->len);
	appendStringInfoChar(out, '"');
}

/*
 * UnrdfBatchEnd writes what is left and returns the id that the batch's receipt has to have. Appends what its payload has to
 * say of the items to members, as members of a JSON object. There has to be an item.
 */
int64
UnrdfBatchEnd(UnrdfBatch *b, StringInfo members)
{
	UnrdfAppend *append;
	TupleTableSlot *slot;

	flush(b);
	append = UnrdfAppendBegin(UNRDF_BATCH_ROW, 1);
	slot = UnrdfAppendRow(append);
	UnrdfAppendSet(slot, BATCH_RECEIPT, Int64GetDatum(b->id));
	if (b->audited)
		UnrdfAppendSet(slot, BATCH_AUDITED, Int32GetDatum(b->audited));
	UnrdfAppendSet(slot, BATCH_N, Int64GetDatum((int64) b->tree.size));
	UnrdfAppendEnd(append);
	appendStringInfo(members, "\"count\": " UINT64_FORMAT ", ", b->tree.size);
	if (b->audited)
	{
		append_root(members, "keys", &b->keys);
		appendStringInfoString(members, ", ");
	}
	append_root(members, "root", &b->tree);
	appendStringInfoString(members, ", ");
	append_root(members, "salts", &b->salts);
	pfree(b->entries);
	pfree(b->nodes.data);
	return b->id;
}
