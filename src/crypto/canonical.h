/*
 * canonical.h
 *	  The pieces of canonical JSON (JSON Canonicalization Scheme, RFC 8785).
 *
 * Pure code: no PostgreSQL header, no allocation.  Every function appends to a buffer of the
 * caller's, as snprintf would: a piece that does not fit is left out but counted.  When the caller
 * finds len > cap at the end, it makes room for len bytes and starts again.  No NUL is written.
 */
#ifndef UNRDF_CANONICAL_H
#define UNRDF_CANONICAL_H

#include <stddef.h>
#include <stdint.h>

typedef struct UnrdfCanon
{
	char *buf;
	size_t cap;
	size_t len; /* counts on past cap */
} UnrdfCanon;

extern void unrdf_canon_raw(UnrdfCanon *c, const char *s, size_t n);
extern int unrdf_canon_string(UnrdfCanon *c, const char *utf8, size_t n);
extern int unrdf_canon_double(UnrdfCanon *c, double d);
extern int unrdf_canon_decimal(UnrdfCanon *c, const char *text, size_t n);
extern void unrdf_canon_int64(UnrdfCanon *c, int64_t v);
extern void unrdf_canon_hex(UnrdfCanon *c, const uint8_t *p, size_t n);
extern void unrdf_canon_time(UnrdfCanon *c, int64_t usec_since_unix_epoch);
extern int unrdf_canon_compare_keys(const char *a, size_t alen, const char *b, size_t blen);

#endif /* UNRDF_CANONICAL_H */
