/*
 * sign.h
 *	  Ed25519 signatures (RFC 8032), from OpenSSL.
 *
 * Pure code: no PostgreSQL header, no allocation that the caller sees.
 */
#ifndef UNRDF_SIGN_H
#define UNRDF_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNRDF_SEED_LEN 32 /* the private key of RFC 8032 section 5.1.5 */
#define UNRDF_PUBLIC_KEY_LEN 32
#define UNRDF_SIGNATURE_LEN 64

extern int unrdf_new_seed(uint8_t seed[UNRDF_SEED_LEN]);
extern int unrdf_public_key(const uint8_t seed[UNRDF_SEED_LEN],
							uint8_t public_key[UNRDF_PUBLIC_KEY_LEN]);
extern int unrdf_sign(const uint8_t seed[UNRDF_SEED_LEN], const void *message, size_t len,
					  uint8_t signature[UNRDF_SIGNATURE_LEN]);
extern bool unrdf_verify_signature(const uint8_t public_key[UNRDF_PUBLIC_KEY_LEN],
								   const void *message, size_t len,
								   const uint8_t signature[UNRDF_SIGNATURE_LEN]);

#endif /* UNRDF_SIGN_H */
