/*
 * difference_test.c
 *	  Unit tests of the search for the first leaf that two logs do not have in common (src/crypto/merkle.c).
 *
 * Node hashes stand for their leaves: a source gives for a subtree whether the changed leaf is in it, which
 * is all that the search may look at.
 */
#include "crypto/merkle.h"
#include "tap.h"

#include <string.h>

#define SIZE_MAX_SMALL 300
#ifndef TRIALS
#define TRIALS 100000
#endif

/* A log whose leaves are others from `changed` on. */
typedef struct Log
{
	uint64_t size;
	uint64_t changed;
	int reads;
	int fail_after; /* -1: never */
} Log;

static int
node_of(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	Log *log = arg;
	uint64_t first = index << level;

	log->reads++;
	if (log->fail_after >= 0 && log->reads > log->fail_after)
		return -1;
	if (first >> level != index || first + (UINT64_C(1) << level) > log->size)
		return -1; /* not a perfect subtree of this log */
	memset(out, 0, UNRDF_HASH_LEN);
	out[0] = (uint8_t) level;
	memcpy(out + 8, &index, sizeof(index));
	out[31] = first + (UINT64_C(1) << level) > log->changed;
	return 0;
}

static bool
finds(uint64_t size, uint64_t other_size, uint64_t changed)
{
	Log a = {size, UINT64_MAX, 0, -1};
	Log b = {other_size, changed, 0, -1};
	uint64_t common = size < other_size ? size : other_size;
	uint64_t index;

	return unrdf_first_difference(common, node_of, &a, node_of, &b, &index) == 0 &&
		   index == (changed < common ? changed : common) && a.reads == b.reads && a.reads <= 126;
}

void
test_difference(void)
{
	bool small = true;
	bool large = true;
	bool failures = true;
	uint64_t size;
	uint64_t i;
	int n;

	for (size = 0; size <= SIZE_MAX_SMALL; size++)
		for (i = 0; i <= size; i++)
			small = small && finds(size, size, i) && finds(size, size + 7, i) &&
					finds(size + 1, size, i);
	ok(small, "the first difference is found in all logs of up to 300 leaves");
	for (n = 0; n < TRIALS; n++)
	{
		size = 1 + (random64() >> 1) % UNRDF_TREE_SIZE_MAX;
		large = large && finds(size, UNRDF_TREE_SIZE_MAX, random64() % size);
	}
	ok(large, "and in large ones, with at most 126 hashes of each");
	for (n = 0; n < 20; n++)
	{
		Log a = {1000, UINT64_MAX, 0, n};
		Log b = {1000, 1, 0, -1};

		failures = failures &&
				   (unrdf_first_difference(1000, node_of, &a, node_of, &b, &i) == -1) == (n < 10);
	}
	ok(failures, "a hash that is missing is told");
}
