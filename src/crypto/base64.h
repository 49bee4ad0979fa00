/*
 * base64.h
 *	  Base 64 (RFC 4648 section 4), strictly.
 *
 * Pure code: no PostgreSQL header, no allocation.
 */
#ifndef UNRDF_BASE64_H
#define UNRDF_BASE64_H

#include <stddef.h>
#include <stdint.h>

#define UNRDF_BASE64_LEN(n) (((n) + 2) / 3 * 4)

extern void unrdf_base64_encode(const void *data, size_t n, char *out);
extern int unrdf_base64_decode(const char *text, size_t n, uint8_t *out, size_t cap);

#endif /* UNRDF_BASE64_H */
