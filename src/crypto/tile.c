/*
 * tile.c
 *	  A log's tiles in a directory (C2SP tlog-tiles).
 */
#include "crypto/tile.h"

#include "crypto/merkle.h"

#include <stdio.h>
#include <string.h>

/* Writes a tile's number as folders: three digits each, all but the last after an x. */
static void
number_path(uint64_t n, char out[64])
{
	char rest[64];

	snprintf(out, 64, "%03d", (int) (n % 1000));
	for (n /= 1000; n > 0; n /= 1000)
	{
		memcpy(rest, out, sizeof(rest));
		snprintf(out, 64, "x%03d/%.58s", (int) (n % 1000), rest);
	}
}

/*
 * Writes the path of tile number n of a level ("entries": the leaves' bytes) that has `width` hashes.
 * Returns 0, or -1 where it is too long.
 */
int
unrdf_tile_path(const char *directory, const char *level, uint64_t n, int width,
				char out[UNRDF_TILE_PATH_MAX])
{
	char number[64];
	int len;

	number_path(n, number);
	if (width == UNRDF_TILE_WIDTH)
		len = snprintf(out, UNRDF_TILE_PATH_MAX, "%s/tile/%s/%s", directory, level, number);
	else
		len = snprintf(out, UNRDF_TILE_PATH_MAX, "%s/tile/%s/%s.p/%d", directory, level, number,
					   width);
	return len < 0 || len >= UNRDF_TILE_PATH_MAX ? -1 : 0;
}

/* Reads exactly `width` hashes from a file; false where there are not so many, or more. */
static bool
read_file(const char *path, int width, uint8_t (*hashes)[UNRDF_HASH_LEN])
{
	FILE *f = fopen(path, "rb");
	bool good;

	if (f == NULL)
		return false;
	good = fread(hashes, UNRDF_HASH_LEN, width, f) == (size_t) width && fgetc(f) == EOF;
	fclose(f);
	return good;
}

static bool
read_tile(UnrdfTileReader *r, int level, uint64_t n)
{
	uint64_t count = r->size >> (UNRDF_TILE_HEIGHT * level);
	uint64_t left = count - n * UNRDF_TILE_WIDTH;
	int width = left >= UNRDF_TILE_WIDTH ? UNRDF_TILE_WIDTH : (int) left;
	char path[UNRDF_TILE_PATH_MAX];
	char name[16];

	if (r->width[level] > 0 && r->n[level] == n)
		return true;
	snprintf(name, sizeof(name), "%d", level);
	r->width[level] = 0;
	if (unrdf_tile_path(r->directory, name, n, width, path) != 0 ||
		!read_file(path, width, r->hashes[level]))
		return false;
	r->width[level] = width;
	r->n[level] = n;
	return true;
}

/*
 * An UnrdfNodeSource over an UnrdfTileReader: the hash of a perfect subtree of its tree, from the tile
 * that has its level, or the one below.  What is read is not to be believed.
 */
int
unrdf_tile_node(void *reader, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	UnrdfTileReader *r = reader;
	int tile_level = level / UNRDF_TILE_HEIGHT;
	int n = 1 << level % UNRDF_TILE_HEIGHT;
	uint64_t first = index << level % UNRDF_TILE_HEIGHT;
	uint8_t hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
	int at = (int) (first % UNRDF_TILE_WIDTH);
	int i;

	if (tile_level >= UNRDF_TILE_LEVELS || !read_tile(r, tile_level, first / UNRDF_TILE_WIDTH) ||
		at + n > r->width[tile_level])
		return -1;
	memcpy(hashes, r->hashes[tile_level][at], (size_t) n * UNRDF_HASH_LEN);
	for (; n > 1; n /= 2)
		for (i = 0; i < n / 2; i++)
			if (unrdf_node_hash(hashes[2 * i], hashes[2 * i + 1], hashes[i]) != 0)
				return -1;
	memcpy(out, hashes[0], UNRDF_HASH_LEN);
	return 0;
}
