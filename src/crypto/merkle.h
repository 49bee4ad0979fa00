/*
 * merkle.h
 *	  The Merkle tree of RFC 9162 section 2.1 (the same tree as RFC 6962) over SHA-256.
 *
 * Pure code: no PostgreSQL header, no allocation.  A node is named by its level and its index in
 * that level: node (level, index) of a perfect subtree covers the 2^level leaves that begin at
 * index * 2^level.  Trees have at most 2^63 - 1 leaves.
 */
#ifndef UNRDF_MERKLE_H
#define UNRDF_MERKLE_H

#include "crypto/digest.h"

#include <stdbool.h>

#define UNRDF_LEAF_PARTS_MAX 7
#define UNRDF_TREE_SIZE_MAX ((uint64_t) INT64_MAX)

/* Compact range [0, size): hash[level] is valid where bit `level` of size is set. */
typedef struct UnrdfRange
{
	uint64_t size;
	uint8_t hash[64][UNRDF_HASH_LEN];
} UnrdfRange;

/* Is told of one completed perfect subtree; anything but 0 stops the append. */
typedef int (*UnrdfNodeSink)(void *arg, int level, uint64_t index,
							 const uint8_t hash[UNRDF_HASH_LEN]);

/* Gives the hash of one perfect subtree; anything but 0 means that it cannot. */
typedef int (*UnrdfNodeSource)(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN]);

extern int unrdf_leaf_hash(const UnrdfBytes *parts, int nparts, uint8_t out[UNRDF_HASH_LEN]);
extern int unrdf_node_hash(const uint8_t left[UNRDF_HASH_LEN], const uint8_t right[UNRDF_HASH_LEN],
						   uint8_t out[UNRDF_HASH_LEN]);

extern void unrdf_range_init(UnrdfRange *range);
extern int unrdf_range_append(UnrdfRange *range, const uint8_t leaf[UNRDF_HASH_LEN],
							  UnrdfNodeSink sink, void *arg);
extern int unrdf_range_root(const UnrdfRange *range, uint8_t out[UNRDF_HASH_LEN]);

extern int unrdf_tree_root(uint64_t size, UnrdfNodeSource source, void *arg,
						   uint8_t out[UNRDF_HASH_LEN]);
extern int unrdf_inclusion_proof(uint64_t index, uint64_t size, UnrdfNodeSource source, void *arg,
								 uint8_t proof[64][UNRDF_HASH_LEN]);
extern int unrdf_inclusion_length(uint64_t index, uint64_t size);
extern int unrdf_root_from_inclusion(uint64_t index, uint64_t size,
									 const uint8_t leaf[UNRDF_HASH_LEN],
									 const uint8_t (*proof)[UNRDF_HASH_LEN], int nproof,
									 uint8_t root[UNRDF_HASH_LEN]);
extern bool unrdf_verify_inclusion(uint64_t index, uint64_t size,
								   const uint8_t leaf[UNRDF_HASH_LEN],
								   const uint8_t (*proof)[UNRDF_HASH_LEN], int nproof,
								   const uint8_t root[UNRDF_HASH_LEN]);
extern int unrdf_consistency_proof(uint64_t old, uint64_t size, UnrdfNodeSource source, void *arg,
								   uint8_t proof[64][UNRDF_HASH_LEN]);
extern int unrdf_consistency_length(uint64_t old, uint64_t size);
extern bool unrdf_verify_consistency(uint64_t old, uint64_t size,
									 const uint8_t old_root[UNRDF_HASH_LEN],
									 const uint8_t root[UNRDF_HASH_LEN],
									 const uint8_t (*proof)[UNRDF_HASH_LEN], int nproof);

extern int unrdf_first_difference(uint64_t size, UnrdfNodeSource source, void *arg,
								  UnrdfNodeSource other, void *other_arg, uint64_t *index);

#endif /* UNRDF_MERKLE_H */
