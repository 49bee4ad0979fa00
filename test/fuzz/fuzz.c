/*
 * fuzz.c
 *	  What the fuzz targets have in common.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long accepted;

/* test/fuzz/run looks for this line. */
static void
print_accepted(void)
{
	fprintf(stderr, "accepted inputs: %lu\n", accepted);
}

/* Says what does not hold, and ends the process so that libFuzzer keeps the input. */
void
fuzz_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

/* Counts an input that was accepted. */
void
fuzz_accepted(void)
{
	if (accepted++ == 0)
		atexit(print_accepted);
}

/* Whether n bytes at p are within a text. */
bool
fuzz_within(const char *p, size_t n, const char *text, size_t len)
{
	return p >= text && n <= len && (size_t) (p - text) <= len - n;
}

/* Whether two texts are the same. */
bool
fuzz_same(const char *a, size_t alen, const char *b, size_t blen)
{
	return alen == blen && (alen == 0 || memcmp(a, b, alen) == 0);
}
