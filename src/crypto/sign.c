/*
 * sign.c
 *	  Ed25519 signatures (RFC 8032), from OpenSSL.
 *
 * Libraries differ in which malformed keys and signatures they accept; ours are those that OpenSSL
 * accepts.
 */
#include "crypto/sign.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

/* Draws a private key.  Returns 0, or -1 where OpenSSL fails. */
int
unrdf_new_seed(uint8_t seed[UNRDF_SEED_LEN])
{
	return RAND_priv_bytes(seed, UNRDF_SEED_LEN) == 1 ? 0 : -1;
}

/*
 * The public key that belongs to a private one (RFC 8032 section 5.1.5).  Returns 0, or -1 where
 * OpenSSL fails.
 */
int
unrdf_public_key(const uint8_t seed[UNRDF_SEED_LEN], uint8_t public_key[UNRDF_PUBLIC_KEY_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, UNRDF_SEED_LEN);
	size_t len = UNRDF_PUBLIC_KEY_LEN;
	int good = key != NULL && EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1;

	EVP_PKEY_free(key);
	return good ? 0 : -1;
}

/* Signs a message (RFC 8032 section 5.1.6).  Returns 0, or -1 where OpenSSL fails. */
int
unrdf_sign(const uint8_t seed[UNRDF_SEED_LEN], const void *message, size_t len,
		   uint8_t signature[UNRDF_SIGNATURE_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, UNRDF_SEED_LEN);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t written = UNRDF_SIGNATURE_LEN;
	int good = key != NULL && context != NULL &&
			   EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
			   EVP_DigestSign(context, signature, &written, message, len) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return good && written == UNRDF_SIGNATURE_LEN ? 0 : -1;
}

/*
 * Whether a signature is one of the message by this key (RFC 8032 section 5.1.7).  What is no key,
 * and an OpenSSL failure, is false.
 */
bool
unrdf_verify_signature(const uint8_t public_key[UNRDF_PUBLIC_KEY_LEN], const void *message,
					   size_t len, const uint8_t signature[UNRDF_SIGNATURE_LEN])
{
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, UNRDF_PUBLIC_KEY_LEN);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = key != NULL && context != NULL &&
				EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
				EVP_DigestVerify(context, signature, UNRDF_SIGNATURE_LEN, message, len) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return good;
}
