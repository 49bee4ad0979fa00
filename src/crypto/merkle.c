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
 * Appends to proof what leads from a perfect subtree to the root of the tree of `size` leaves: the
 * siblings on the way, the lowest first.  source is asked for perfect subtrees only, O(log size)
 * times: the one ragged sibling that a proof can need is hashed here.  Returns the number of hashes
 * then in proof, or -1.
 */
static int
path_to_root(int level, uint64_t node, uint64_t size, UnrdfNodeSource source, void *arg,
			 uint8_t proof[64][UNRDF_HASH_LEN], int nproof)
{
	uint64_t last = (size - 1) >> level;

	for (; last > 0; level++)
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
 * The number of hashes that path_to_root gives for a node, where `last` is the last one of its level.
 *
 * Below the level where the paths of the two meet, every level gives a hash; above it the node is
 * on the right border, and only its left siblings do.
 */
static int
path_length(uint64_t node, uint64_t last)
{
	int length = 0;

	for (; node != last; last >>= 1)
	{
		length++;
		node >>= 1;
	}
	for (; node > 0; node >>= 1)
		length += (int) (node & 1);
	return length;
}

/*
 * Builds the inclusion proof of leaf `index` in a tree of `size` leaves (RFC 9162 section 2.1.3.1),
 * the sibling of the leaf first.
 *
 * Returns the number of hashes written to proof, or -1 where index >= size, size is over
 * UNRDF_TREE_SIZE_MAX, source fails or OpenSSL fails.
 */
int
unrdf_inclusion_proof(uint64_t index, uint64_t size, UnrdfNodeSource source, void *arg,
					  uint8_t proof[64][UNRDF_HASH_LEN])
{
	if (index >= size || size > UNRDF_TREE_SIZE_MAX)
		return -1;
	return path_to_root(0, index, size, source, arg, proof, 0);
}

/*
 * The number of hashes in the inclusion proof of leaf `index` in a tree of `size` leaves, or -1
 * where there is no such leaf or tree.
 */
int
unrdf_inclusion_length(uint64_t index, uint64_t size)
{
	if (index >= size || size > UNRDF_TREE_SIZE_MAX)
		return -1;
	return path_length(index, size - 1);
}

/* The level of the largest perfect subtree that ends where a tree of `size` leaves ends; size > 0. */
static int
last_subtree_level(uint64_t size)
{
	int level = 0;

	while (((size >> level) & 1) == 0)
		level++;
	return level;
}

/* Whether two tree sizes can have a consistency proof: 0 < old <= size. */
static bool
sizes_can_be_proved(uint64_t old, uint64_t size)
{
	return old > 0 && old <= size && size <= UNRDF_TREE_SIZE_MAX;
}

/*
 * Builds the proof that the tree of `old` leaves is a prefix of that of `size` leaves (RFC 9162
 * section 2.1.4.1).  It begins with the last perfect subtree of the old tree, unless that is the
 * whole old tree, and goes on as that subtree's path to the new root.
 *
 * Returns the number of hashes written to proof, none for equal sizes; or -1 where old is 0 (every
 * tree is consistent with the empty one, and no proof says so) or over size, size is over
 * UNRDF_TREE_SIZE_MAX, source fails or OpenSSL fails.
 */
int
unrdf_consistency_proof(uint64_t old, uint64_t size, UnrdfNodeSource source, void *arg,
						uint8_t proof[64][UNRDF_HASH_LEN])
{
	int level;
	int nproof = 0;
	uint64_t node;

	if (!sizes_can_be_proved(old, size))
		return -1;
	if (old == size)
		return 0;
	level = last_subtree_level(old);
	node = (old - 1) >> level;
	if (node > 0 && source(arg, level, node, proof[nproof++]) != 0)
		return -1;
	return path_to_root(level, node, size, source, arg, proof, nproof);
}

/*
 * The number of hashes in the consistency proof between two sizes, or -1 where there can be none.
 */
int
unrdf_consistency_length(uint64_t old, uint64_t size)
{
	int level;
	uint64_t node;

	if (!sizes_can_be_proved(old, size))
		return -1;
	if (old == size)
		return 0;
	level = last_subtree_level(old);
	node = (old - 1) >> level;
	return (node > 0 ? 1 : 0) + path_length(node, (size - 1) >> level);
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

/*
 * Computes both roots that a consistency proof between different sizes leads to (RFC 9162 section
 * 2.1.4.2).  The old tree's root is what the left siblings alone make.  Returns 0, or -1 where
 * OpenSSL fails.
 */
static int
roots_from_consistency(uint64_t old, uint64_t size, const uint8_t old_root[UNRDF_HASH_LEN],
					   const uint8_t (*proof)[UNRDF_HASH_LEN], uint8_t before[UNRDF_HASH_LEN],
					   uint8_t after[UNRDF_HASH_LEN])
{
	int level = last_subtree_level(old);
	uint64_t node = (old - 1) >> level;
	uint64_t last = (size - 1) >> level;
	int used = 0;

	memcpy(before, node > 0 ? proof[used++] : old_root, UNRDF_HASH_LEN);
	memcpy(after, before, UNRDF_HASH_LEN);
	for (; last > 0; node >>= 1, last >>= 1)
	{
		if ((node & 1) != 0)
		{
			if (unrdf_node_hash(proof[used], before, before) != 0 ||
				unrdf_node_hash(proof[used], after, after) != 0)
				return -1;
			used++;
		}
		else if (node < last && unrdf_node_hash(after, proof[used++], after) != 0)
			return -1;
	}
	return 0;
}

/*
 * Whether the proof shows that the tree of `old` leaves with root old_root is a prefix of the tree
 * of `size` leaves with root `root` (RFC 9162 section 2.1.4.2).  Anything malformed, old = 0 and an
 * OpenSSL failure are false.
 */
bool
unrdf_verify_consistency(uint64_t old, uint64_t size, const uint8_t old_root[UNRDF_HASH_LEN],
						 const uint8_t root[UNRDF_HASH_LEN], const uint8_t (*proof)[UNRDF_HASH_LEN],
						 int nproof)
{
	uint8_t before[UNRDF_HASH_LEN];
	uint8_t after[UNRDF_HASH_LEN];

	if (nproof < 0 || nproof != unrdf_consistency_length(old, size))
		return false;
	if (old == size)
		return memcmp(old_root, root, UNRDF_HASH_LEN) == 0;
	return roots_from_consistency(old, size, old_root, proof, before, after) == 0 &&
		   memcmp(before, old_root, UNRDF_HASH_LEN) == 0 &&
		   memcmp(after, root, UNRDF_HASH_LEN) == 0;
}

/* Descends from a subtree that differs to its first leaf that does. */
static int
descend(int level, uint64_t node, UnrdfNodeSource source, void *arg, UnrdfNodeSource other,
		void *other_arg, uint64_t *index)
{
	uint8_t hash[UNRDF_HASH_LEN];
	uint8_t other_hash[UNRDF_HASH_LEN];

	while (level > 0)
	{
		level--;
		node *= 2;
		if (source(arg, level, node, hash) != 0 || other(other_arg, level, node, other_hash) != 0)
			return -1;
		if (memcmp(hash, other_hash, UNRDF_HASH_LEN) == 0)
			node++;
	}
	*index = node;
	return 0;
}

/*
 * Finds the first of `size` leaves that two logs do not have in common, with at most 63 hashes of
 * perfect subtrees to either side of the way down.  Returns 0, with size in *index where there is none;
 * -1 where a source fails.
 */
int
unrdf_first_difference(uint64_t size, UnrdfNodeSource source, void *arg, UnrdfNodeSource other,
					   void *other_arg, uint64_t *index)
{
	uint8_t hash[UNRDF_HASH_LEN];
	uint8_t other_hash[UNRDF_HASH_LEN];
	uint64_t first = 0;
	int level;

	for (level = 62; level >= 0; level--)
	{
		uint64_t node = first >> level;

		if ((size >> level & 1) == 0)
			continue;
		if (source(arg, level, node, hash) != 0 || other(other_arg, level, node, other_hash) != 0)
			return -1;
		if (memcmp(hash, other_hash, UNRDF_HASH_LEN) != 0)
			return descend(level, node, source, arg, other, other_arg, index);
		first += UINT64_C(1) << level;
	}
	*index = size;
	return 0;
}
