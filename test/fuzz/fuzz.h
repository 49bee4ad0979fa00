/*
 * fuzz.h
 *	  What the fuzz targets have in common.
 *
 * A target is called with arbitrary bytes.  It asserts what holds for all of them, and more for those that
 * are accepted; it counts these, as a target that accepts nothing would assert nothing.
 */
#ifndef UNRDF_FUZZ_H
#define UNRDF_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_TEXT_MAX (1 << 16) /* bytes that a target may write */

/* Ends the process where something that has to hold does not. */
#define must(condition)                                  \
	do                                                   \
	{                                                    \
		if (!(condition))                                \
			fuzz_failed(__FILE__, __LINE__, #condition); \
	} while (0)

extern void fuzz_failed(const char *file, int line, const char *condition);
extern void fuzz_accepted(void);
extern bool fuzz_within(const char *p, size_t n, const char *text, size_t len);
extern bool fuzz_same(const char *a, size_t alen, const char *b, size_t blen);

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif /* UNRDF_FUZZ_H */
