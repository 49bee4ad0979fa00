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

/* A consistency proof and all that is needed to check it. */
typedef struct UnrdfConsistency
{
	uint64 old;
	uint64 size;
	uint8 old_root[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	int n;
	uint8 hashes[64][UNRDF_HASH_LEN];
} UnrdfConsistency;

extern bool UnrdfProofBuild(int32 log, UnrdfInclusion *p);
extern bool UnrdfProofOfReceipt(int64 receipt, const int64 *size, UnrdfInclusion *p);
extern void UnrdfProofOfLeaf(int32 log, uint64 index, const int64 *size, UnrdfInclusion *p);
extern void UnrdfProofOfConsistency(int32 log, uint64 old, const int64 *size, UnrdfConsistency *p);
extern bool UnrdfRootOfSize(int32 log, uint64 size, uint8 *root);

extern Datum UnrdfProofDatum(uint8 (*proof)[UNRDF_HASH_LEN], int n);

#endif /* UNRDF_PROOF_H */
