/*
 * checkpoint.h
 *	  Texts of a transparency log: the body of a checkpoint (C2SP tlog-checkpoint), the proof that an
 *	  entry is in the log (C2SP tlog-proof), and the request to a witness (C2SP tlog-witness).
 *
 * Pure code: no PostgreSQL header, no allocation.  What is parsed points into the caller's text.
 */
#ifndef UNRDF_CHECKPOINT_H
#define UNRDF_CHECKPOINT_H

#include "crypto/canonical.h"
#include "crypto/merkle.h"

/* A tree's size and root, under the name of its log. */
typedef struct UnrdfCheckpoint
{
	const char *origin;
	size_t origin_len;
	uint64_t size;
	uint8_t root[UNRDF_HASH_LEN];
	const char *extensions; /* lines */
	size_t extensions_len;
} UnrdfCheckpoint;

/* An entry's place in a log and what shows it. */
typedef struct UnrdfTlogProof
{
	const char *extra; /* base 64; NULL: none.  Nothing vouches for it */
	size_t extra_len;
	uint64_t index;
	int n;
	uint8_t hashes[64][UNRDF_HASH_LEN];
	const char *checkpoint; /* a signed note */
	size_t checkpoint_len;
} UnrdfTlogProof;

/* A request to a witness (C2SP tlog-witness, add-checkpoint). */
typedef struct UnrdfWitnessRequest
{
	uint64_t old_size;
	int n;
	uint8_t proof[64][UNRDF_HASH_LEN];
	const char *checkpoint; /* a signed note */
	size_t checkpoint_len;
} UnrdfWitnessRequest;

extern bool unrdf_origin_is_good(const char *origin, size_t len);
extern int unrdf_checkpoint_parse(const char *text, size_t len, UnrdfCheckpoint *c);
extern void unrdf_checkpoint_format(const UnrdfCheckpoint *c, UnrdfCanon *out);
extern int unrdf_tlog_proof_parse(const char *text, size_t len, UnrdfTlogProof *p);
extern void unrdf_tlog_proof_format(const UnrdfTlogProof *p, UnrdfCanon *out);
extern int unrdf_witness_request_parse(const char *text, size_t len, UnrdfWitnessRequest *r);
extern void unrdf_witness_request_format(const UnrdfWitnessRequest *r, UnrdfCanon *out);

#endif /* UNRDF_CHECKPOINT_H */
