/*
 * digest.c
 *	  SHA-256, HMAC with it, and random bytes, from OpenSSL.
 *
 * SHA256_Init and its sisters are deprecated since OpenSSL 3.0 (and still in 4.0) in favour of EVP,
 * which frees and allocates its state at every start: in a tree of short messages that costs half as
 * much again as the hashing.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define RANDOM_BUFFER_LEN 4096

/* The last random_left bytes are unused; those before them are wiped. */
static uint8_t random_buffer[RANDOM_BUFFER_LEN];
static size_t random_left = 0;
static bool random_watches_fork = false;

/*
 * SHA-256 (FIPS 180-4) of the concatenation of nparts pieces.
 *
 * Returns 0, or -1 where OpenSSL fails (out is then undefined).  Takes and keeps no memory of the
 * caller's.
 */
int
unrdf_sha256(const UnrdfBytes *parts, int nparts, uint8_t out[UNRDF_HASH_LEN])
{
	SHA256_CTX context;
	int i;

	if (!SHA256_Init(&context))
		return -1;
	for (i = 0; i < nparts; i++)
	{
		if (!SHA256_Update(&context, parts[i].data, parts[i].len))
			return -1;
	}
	return SHA256_Final(out, &context) ? 0 : -1;
}

/* HMAC (RFC 2104) with SHA-256 of one piece.  Returns as unrdf_sha256 does. */
int
unrdf_hmac_sha256(UnrdfBytes key, UnrdfBytes message, uint8_t out[UNRDF_HASH_LEN])
{
	return HMAC(EVP_sha256(), key.data, (int) key.len, message.data, message.len, out, NULL) ? 0
																							 : -1;
}

/* Runs in a new child: it must not hand out what its parent may hand out too. */
static void
forget_random_bytes(void)
{
	OPENSSL_cleanse(random_buffer, sizeof(random_buffer));
	random_left = 0;
}

static int
refill_random_buffer(void)
{
	if (!random_watches_fork)
	{
		if (pthread_atfork(NULL, NULL, forget_random_bytes) != 0)
			return -1;
		random_watches_fork = true;
	}
	if (RAND_bytes(random_buffer, sizeof(random_buffer)) != 1)
		return -1;
	random_left = sizeof(random_buffer);
	return 0;
}

/*
 * Fills out with len bytes of OpenSSL's random generator (RAND_bytes), good for salts and ids.
 *
 * Small requests are served from a buffer of the process, because RAND_bytes costs about a
 * microsecond however little is asked for.  Bytes are wiped from the buffer as they are handed
 * out, and a fork empties the child's buffer.  Returns 0, or -1 where OpenSSL fails (out must then
 * not be used).
 */
int
unrdf_random(void *out, size_t len)
{
	uint8_t *next;

	if (len > sizeof(random_buffer))
		return len <= INT32_MAX && RAND_bytes(out, (int) len) == 1 ? 0 : -1;
	if (random_left < len && refill_random_buffer() != 0)
		return -1;
	next = random_buffer + sizeof(random_buffer) - random_left;
	if (len > 0)
	{
		memcpy(out, next, len);
		OPENSSL_cleanse(next, len);
	}
	random_left -= len;
	return 0;
}
