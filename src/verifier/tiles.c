/*
 * tiles.c
 *	  Checks that one checkpoint's tree is a prefix of another's, with a directory of tiles
 *	  (C2SP tlog-tiles).
 *
 * The tiles are not believed: out of them a consistency proof is made, and that has to verify against
 * the roots of both checkpoints.
 */
#include "verifier/tiles.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEIGHT 8
#define WIDTH 256
#define LEVELS 8
#define PATH_MAX_LEN 4096

/* The tile read last on each level, of a tree of `size` leaves. */
typedef struct Reader
{
	const char *directory;
	uint64_t size;
	int width[LEVELS]; /* 0: none was read */
	uint64_t n[LEVELS];
	uint8_t hashes[LEVELS][WIDTH][UNRDF_HASH_LEN];
} Reader;

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
read_tile(Reader *r, int level, uint64_t n)
{
	uint64_t count = r->size >> (HEIGHT * level);
	int width = count - n * WIDTH >= WIDTH ? WIDTH : (int) (count - n * WIDTH);
	char number[64];
	char path[PATH_MAX_LEN];
	int len;

	if (r->width[level] > 0 && r->n[level] == n)
		return true;
	number_path(n, number);
	if (width == WIDTH)
		len = snprintf(path, sizeof(path), "%s/tile/%d/%s", r->directory, level, number);
	else
		len =
			snprintf(path, sizeof(path), "%s/tile/%d/%s.p/%d", r->directory, level, number, width);
	r->width[level] = 0;
	if (len < 0 || len >= (int) sizeof(path) || !read_file(path, width, r->hashes[level]))
		return false;
	r->width[level] = width;
	r->n[level] = n;
	return true;
}

/* An UnrdfNodeSource: the hash of a perfect subtree, from the tile that has the level below or its own. */
static int
read_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	Reader *r = arg;
	int tile_level = level / HEIGHT;
	int n = 1 << level % HEIGHT;
	uint64_t first = index << level % HEIGHT;
	uint8_t hashes[WIDTH][UNRDF_HASH_LEN];
	int at = (int) (first % WIDTH);
	int i;

	if (tile_level >= LEVELS || !read_tile(r, tile_level, first / WIDTH) ||
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

/*
 * Whether the old checkpoint's tree is a prefix of the newer one's, with the tiles of the newer in a
 * directory.  Returns why that is not shown, or NULL.
 */
const char *
unrdf_tiles_consistent(const char *directory, const UnrdfCheckpoint *old,
					   const UnrdfCheckpoint *newer)
{
	static Reader reader;
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
	n = unrdf_consistency_proof(old->size, newer->size, read_node, &reader, proof);
	if (n < 0)
		return "a tile is missing or has another size";
	return unrdf_verify_consistency(old->size, newer->size, old->root, newer->root,
									(const uint8_t(*)[UNRDF_HASH_LEN]) proof, n)
			   ? NULL
			   : "the tiles do not show the old tree in the newer one";
}
