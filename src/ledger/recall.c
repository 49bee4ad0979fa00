/*
 * recall.c: builds inclusion proofs in the newest tree with hashes that this process has read before.
 *
 * Two proofs in one tree share most of their upper hashes, which cost the most: each is made of many
 * others. Perfect subtrees of at least a tile, and those at the right border, are kept from proof to
 * proof, the last one of each slot.
 *
 * Invariant: nothing here is ever out of date unnoticed. What is kept is of whatever snapshot, and
 * may be of a transaction that was rolled back or of a log that is gone; so a proof made with it
 * counts only when it leads to the root of the newest tree, which the caller has read anew, and no
 * other hashes lead there. Otherwise everything is forgotten, and the caller builds the proof from
 * the tables. Verification does not come here: it is the tables that it is to say something about.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "ledger/log.h"
#include "ledger/recall.h"

#define LEVELS 64
#define SLOTS 1024

/* A subtree of some level; log 0: none. */
typedef struct Known
{
	int32 log;
	uint64 index;
	uint8 hash[UNRDF_HASH_LEN];
} Known;

typedef struct Source
{
	int32 log;
	uint64 size;
	UnrdfNodeReader *reader;
} Source;

static Known *known[LEVELS];

/* The slot of a subtree that is kept; NULL for one that is not. */
static Known *
slot_of(const Source *s, int level, uint64 index)
{
	if (level < UNRDF_TILE_HEIGHT && index + 1 != s->size >> level)
		return NULL;
	if (known[level] == NULL)
		known[level] = MemoryContextAllocZero(TopMemoryContext, SLOTS * sizeof(Known));
	return &known[level][index % SLOTS];
}

/* An UnrdfNodeSource. */
static int
recall(void *source, int level, uint64 index, uint8 *out)
{
	Source *s = source;
	Known *k = slot_of(s, level, index);

	if (k && k->log == s->log && k->index == index)
	{
		memcpy(out, k->hash, UNRDF_HASH_LEN);
		return 0;
	}
	if (UnrdfNodeRead(s->reader, level, index, out) != 0)
		return -1;
	if (k)
	{
		k->log = s->log;
		k->index = index;
		memcpy(k->hash, out, UNRDF_HASH_LEN);
	}
	return 0;
}

static void
forget(void)
{
	for (int level = 0; level < LEVELS; level++)
		if (known[level])
			memset(known[level], 0, SLOTS * sizeof(Known));
}

/*
 * UnrdfRecallProof fills in p->hashes and p->n for a leaf of the newest tree, whose index, leaf, size
 * and root are in p. False where the proof does not lead to that root: build it from the tables.
 */
bool
UnrdfRecallProof(int32 log, UnrdfInclusion *p)
{
	Source s = {log, p->size, UnrdfNodeReaderBegin(log)};
	bool right;

	p->n = unrdf_inclusion_proof(p->index, p->size, recall, &s, p->hashes);
	right = unrdf_verify_inclusion(p->index, p->size, p->leaf,
								   (const uint8(*)[UNRDF_HASH_LEN]) p->hashes, p->n, p->root);
	UnrdfNodeReaderEnd(s.reader);
	if (!right)
		forget();
	return right;
}
