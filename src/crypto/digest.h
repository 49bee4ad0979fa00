/*
 * digest.h
 *	  SHA-256, HMAC with it, and random bytes, from OpenSSL.
 *
 * Pure code: no PostgreSQL header, no allocation that the caller sees.  Not thread safe: the
 * random buffer belongs to the process.
 */
#ifndef UNRDF_DIGEST_H
#define UNRDF_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define UNRDF_HASH_LEN 32

/* A piece of a message; data may be NULL where len is 0. */
typedef struct UnrdfBytes
{
	const void *data;
	size_t len;
} UnrdfBytes;

extern int unrdf_sha256(const UnrdfBytes *parts, int nparts, uint8_t out[UNRDF_HASH_LEN]);
extern int unrdf_hmac_sha256(UnrdfBytes key, UnrdfBytes message, uint8_t out[UNRDF_HASH_LEN]);
extern int unrdf_random(void *out, size_t len);

#endif /* UNRDF_DIGEST_H */
