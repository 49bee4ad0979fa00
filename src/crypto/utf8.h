/*
 * utf8.h
 *	  UTF-8 (RFC 3629), strictly.
 *
 * Pure code: no PostgreSQL header, no allocation.
 */
#ifndef UNRDF_UTF8_H
#define UNRDF_UTF8_H

#include <stddef.h>
#include <stdint.h>

extern int unrdf_utf8_length(const uint8_t *p, size_t left);

#endif /* UNRDF_UTF8_H */
