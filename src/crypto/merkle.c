/*
 * merkle.c
 *	  The Merkle tree of RFC 9162 section 2.1 (the same tree as RFC 6962) over SHA-256.
 */
#include "crypto/merkle.h"

#include <string.h>

static const uint8_t LEAF_PREFIX = 0x00;
static const uint8_t NODE_PREFIX = 0x01;

/*
 * The hash of a leaf: SHA-256(0x00 || the concatenation of the pieces), RFC 9162 section 2.1.1.
 *
 * Returns 0, or -1 for more than UNRDF_LEAF_PARTS_MAX pieces or an OpenSSL failure.
 */
int
unrdf_leaf_hash(const UnrdfBytes *parts, int nparts, uint8_t out[UNRDF_HASH_LEN])
{
	UnrdfBytes prefixed[UNRDF_LEAF_PARTS_MAX + 1];

	if (nparts < 0 || nparts > UNRDF_LEAF_PARTS_MAX)
		return -1;
	prefixed[0].data = &LEAF_PREFIX;
	prefixed[0].len = 1;
	if (nparts > 0)
		memcpy(prefixed + 1, parts, sizeof(UnrdfBytes) * nparts);
	return unrdf_sha256(prefixed, nparts + 1, out);
}

/*
 * The hash of an inner node: SHA-256(0x01 || left || right), RFC 9162 section 2.1.1.
 *
 * out may be left or right.  Returns 0, or -1 for an OpenSSL failure.
 */
int
unrdf_node_hash(const uint8_t left[UNRDF_HASH_LEN], const uint8_t right[UNRDF_HASH_LEN],
				uint8_t out[UNRDF_HASH_LEN])
{
	uint8_t message[1 + 2 * UNRDF_HASH_LEN];
	UnrdfBytes whole = {message, sizeof(message)};

	message[0] = NODE_PREFIX;
	memcpy(message + 1, left, UNRDF_HASH_LEN);
	memcpy(message + 1 + UNRDF_HASH_LEN, right, UNRDF_HASH_LEN);
	return unrdf_sha256(&whole, 1, out);
}

/* Makes the range empty. */
void
unrdf_range_init(UnrdfRange *range)
{
	memset(range, 0, sizeof(*range));
}

/*
 * Appends one leaf hash to the range.
 *
 * sink (may be NULL) is told of every perfect subtree that the leaf completes, upwards from the
 * leaf itself.  Returns 0, the sink's answer where that is not 0, or -1 for a full tree or an
 * OpenSSL failure; in the latter cases the range is as before.
 */
int
unrdf_range_append(UnrdfRange *range, const uint8_t leaf[UNRDF_HASH_LEN], UnrdfNodeSink sink,
				   void *arg)
{
	uint8_t node[UNRDF_HASH_LEN];
	int level = 0;
	int answer;

	if (range->size >= UNRDF_TREE_SIZE_MAX)
		return -1;
	memcpy(node, leaf, UNRDF_HASH_LEN);
	for (;;)
	{
		if (sink != NULL && (answer = sink(arg, level, range->size >> level, node)) != 0)
			return answer;
		if (((range->size >> level) & 1) == 0)
			break;
		if (unrdf_node_hash(range->hash[level], node, node) != 0)
			return -1;
		level++;
	}
	memcpy(range->hash[level], node, UNRDF_HASH_LEN);
	range->size++;
	return 0;
}

/* A source of perfect subtrees that reads a compact range. */
static int
range_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	const UnrdfRange *range = arg;

	(void) index; /* only the border of [0, size) is asked for */
	memcpy(out, range->hash[level], UNRDF_HASH_LEN);
	return 0;
}

/*
 * Hashes the right border of a tree: the ragged subtree of the last (size mod 2^levels) leaves,
 * which must be at least one.  It is made of one perfect subtree for every bit of that number, the
 * smallest at the right.
 */
static int
border_root(uint64_t size, int levels, UnrdfNodeSource source, void *arg,
			uint8_t out[UNRDF_HASH_LEN])
{
	uint8_t node[UNRDF_HASH_LEN];
	bool started = false;
	int level;

	for (level = 0; level < levels; level++)
	{
		uint64_t count = size >> level; /* of perfect subtrees at this level */

		if ((count & 1) == 0)
			continue;
		if (source(arg, level, count - 1, started ? node : out) != 0)
			return -1;
		if (started && unrdf_node_hash(node, out, out) != 0)
			return -1;
		started = true;
	}
	return started ? 0 : -1;
}

/*
 * The root of a tree of `size` leaves (RFC 9162 section 2.1.1), from one call of source for every
 * bit set in size.  The root of the empty tree is SHA-256 of nothing.
 *
 * Returns 0, or -1 where size is over UNRDF_TREE_SIZE_MAX, source fails or OpenSSL fails.
 */
int
unrdf_tree_root(uint64_t size, UnrdfNodeSource source, void *arg, uint8_t out[UNRDF_HASH_LEN])
{
	if (size > UNRDF_TREE_SIZE_MAX)
		return -1;
	if (size == 0)
		return unrdf_sha256(NULL, 0, out);
	return border_root(size, 63, source, arg, out);
}

/* The root of the range's tree; returns as unrdf_tree_root does. */
int
unrdf_range_root(const UnrdfRange *range, uint8_t out[UNRDF_HASH_LEN])
{
	return unrdf_tree_root(range->size, range_node, (void *) range, out);
}

/*
 * Builds the inclusion proof of leaf `index` in a tree of `size` leaves (RFC 9162 section 2.1.3.1),
 * the sibling of the leaf first.
 *
 * source is asked for perfect subtrees only, O(log size) times: the one ragged sibling that a
 * proof can need is hashed here.  Returns the number of hashes written to proof, or -1 where
 * index >= size, size is over UNRDF_TREE_SIZE_MAX, source fails or OpenSSL fails.
 */
int
unrdf_inclusion_proof(uint64_t index, uint64_t size, UnrdfNodeSource source, void *arg,
					  uint8_t proof[64][UNRDF_HASH_LEN])
{
	int nproof = 0;
	int level;
	uint64_t node = index;
	uint64_t last;

	if (index >= size || size > UNRDF_TREE_SIZE_MAX)
		return -1;
	last = size - 1;
	for (level = 0; last > 0; level++)
	{
		uint64_t sibling = node ^ 1;

		if (sibling < size >> level)
		{
			if (source(arg, level, sibling, proof[nproof++]) != 0)
				return -1;
		}
		else if (sibling <= last)
		{
			if (border_root(size, level, source, arg, proof[nproof++]) != 0)
				return -1;
		}
		node >>= 1;
		last >>= 1;
	}
	return nproof;
}

/*
 * The number of hashes in the inclusion proof of leaf `index` in a tree of `size` leaves, or -1
 * where there is no such leaf or tree.
 *
 * Below the level where the paths of this leaf and of the last one meet, every level gives a
 * hash; above it the node is on the right border, and only its left siblings do.
 */
int
unrdf_inclusion_length(uint64_t index, uint64_t size)
{
	int length = 0;
	uint64_t node = index;
	uint64_t last;

	if (index >= size || size > UNRDF_TREE_SIZE_MAX)
		return -1;
	for (last = size - 1; node != last; last >>= 1)
	{
		length++;
		node >>= 1;
	}
	for (; node > 0; node >>= 1)
		length += (int) (node & 1);
	return length;
}

/*
 * Computes the root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).
 *
 * Returns 0, or -1 where the proof has not exactly the length that index and size demand, or
 * OpenSSL fails (root is then undefined).
 */
int
unrdf_root_from_inclusion(uint64_t index, uint64_t size, const uint8_t leaf[UNRDF_HASH_LEN],
						  const uint8_t (*proof)[UNRDF_HASH_LEN], int nproof,
						  uint8_t root[UNRDF_HASH_LEN])
{
	uint8_t hash[UNRDF_HASH_LEN];
	uint64_t node = index;
	uint64_t last = size - 1;
	int used = 0;

	if (nproof < 0 || nproof != unrdf_inclusion_length(index, size))
		return -1;
	memcpy(hash, leaf, UNRDF_HASH_LEN);
	for (; last > 0; node >>= 1, last >>= 1)
	{
		int failed = 0;

		if ((node & 1) != 0)
			failed = unrdf_node_hash(proof[used++], hash, hash);
		else if (node < last)
			failed = unrdf_node_hash(hash, proof[used++], hash);
		if (failed != 0)
			return -1;
	}
	memcpy(root, hash, UNRDF_HASH_LEN);
	return 0;
}

/*
 * Whether the proof shows that `leaf` is leaf number `index` of the tree of `size` leaves that has
 * this root (RFC 9162 section 2.1.3.2).  Anything malformed, and an OpenSSL failure, is false.
 *
 * A root alone does not fix the size: take both from the same signed checkpoint.
 */
bool
unrdf_verify_inclusion(uint64_t index, uint64_t size, const uint8_t leaf[UNRDF_HASH_LEN],
					   const uint8_t (*proof)[UNRDF_HASH_LEN], int nproof,
					   const uint8_t root[UNRDF_HASH_LEN])
{
	uint8_t computed[UNRDF_HASH_LEN];

	return unrdf_root_from_inclusion(index, size, leaf, proof, nproof, computed) == 0 &&
		   memcmp(computed, root, UNRDF_HASH_LEN) == 0;
}
