/*
 * tiles.c
 *	  Checks that one checkpoint's tree is a prefix of another's, with a directory of tiles
 *	  (C2SP tlog-tiles).
 *
 * The tiles are not believed: out of them a consistency proof is made, and that has to verify against
 * the roots of both checkpoints.
 */
#include "verifier/tiles.h"

#include "crypto/merkle.h"
#include "crypto/tile.h"

#include <string.h>

/*
 * Whether the old checkpoint's tree is a prefix of the newer one's, with the tiles of the newer in a
 * directory.  Returns why that is not shown, or NULL.
 */
const char *
unrdf_tiles_consistent(const char *directory, const UnrdfCheckpoint *old,
					   const UnrdfCheckpoint *newer)
{
	static UnrdfTileReader reader;
	uint8_t proof[64][UNRDF_HASH_LEN];
	int n;

	if (old->origin_len != newer->origin_len ||
		memcmp(old->origin, newer->origin, old->origin_len) != 0)
		return "the checkpoints are of different logs";
	if (old->size > newer->size)
		return "the old checkpoint is the larger one";
	if (old->size == 0)
		return NULL;
	memset(&reader, 0, sizeof(reader));
	reader.directory = directory;
	reader.size = newer->size;
	n = unrdf_consistency_proof(old->size, newer->size, unrdf_tile_node, &reader, proof);
	if (n < 0)
		return "a tile is missing or has another size";
	return unrdf_verify_consistency(old->size, newer->size, old->root, newer->root,
									(const uint8_t(*)[UNRDF_HASH_LEN]) proof, n)
			   ? NULL
			   : "the tiles do not show the old tree in the newer one";
}
