/*
 * tile.h
 *	  A log's tiles in a directory (C2SP tlog-tiles): their names, and the hashes that they give.
 *
 * No PostgreSQL header, no allocation.  This is the one file here that reads files.
 */
#ifndef UNRDF_CRYPTO_TILE_H
#define UNRDF_CRYPTO_TILE_H

#include "crypto/digest.h"

#define UNRDF_TILE_HEIGHT 8
#define UNRDF_TILE_WIDTH 256
#define UNRDF_TILE_LEVELS 8
#define UNRDF_TILE_PATH_MAX 4096

/* Reads the tiles of a tree of `size` leaves; keeps the one read last of each level.  Begins zeroed, but for the first two. */
typedef struct UnrdfTileReader
{
	const char *directory;
	uint64_t size;
	int width[UNRDF_TILE_LEVELS]; /* 0: none was read */
	uint64_t n[UNRDF_TILE_LEVELS];
	uint8_t hashes[UNRDF_TILE_LEVELS][UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
} UnrdfTileReader;

extern int unrdf_tile_path(const char *directory, const char *level, uint64_t n, int width,
						   char out[UNRDF_TILE_PATH_MAX]);
extern int unrdf_tile_node(void *reader, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN]);

#endif /* UNRDF_CRYPTO_TILE_H */
