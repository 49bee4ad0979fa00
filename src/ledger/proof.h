#ifndef UNRDF_PROOF_H
#define UNRDF_PROOF_H

#include "postgres.h"

#include "crypto/merkle.h"

/* An inclusion proof and all that is needed to check it. */
typedef struct UnrdfInclusion
{
	uint64 index;
	uint64 size;
	uint8 leaf[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	int n;
	uint8 hashes[64][UNRDF_HASH_LEN];
} UnrdfInclusion;

extern bool UnrdfProofBuild(int32 log, UnrdfInclusion *p);
extern bool UnrdfProofOfReceipt(int64 receipt, const int64 *size, UnrdfInclusion *p);

#endif /* UNRDF_PROOF_H */
