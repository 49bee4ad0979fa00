#ifndef UNRDF_BATCH_H
#define UNRDF_BATCH_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/lookup.h"
#include "crypto/merkle.h"
#include "ledger/receipt.h"

#define UNRDF_ROW_KEY_LEN 16
#define UNRDF_ITEM_SEGMENT 65536
#define UNRDF_ITEM_GROUP 256 /* leaves under one of a segment's nodes */
#define UNRDF_ITEM_GROUP_LEVEL 8

/* A batch that is being written. */
typedef struct UnrdfBatch UnrdfBatch;

/* An item's place in its batch and what shows it. */
typedef struct UnrdfItemProof
{
	uint64 index;
	uint64 count;
	bool erased; /* the salt is gone */
	uint8 salt[UNRDF_SALT_LEN];
	uint8 leaf[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	int n;
	uint8 hashes[64][UNRDF_HASH_LEN];
} UnrdfItemProof;

/* A batch that is being read. */
typedef struct UnrdfBatchReader
{
	UnrdfLookup batches;
	UnrdfLookup segments;
	int64 receipt;
	uint64 count;
	int32 audited; /* 0: items of an application */
	bool erased;   /* the salts of the segment are gone */
	uint64 first;  /* of the segment that segments.slot has */
	int n;         /* its items; 0: it has none */
	Datum keys;
	Datum salts;
	Datum leaves;
	Datum nodes;
} UnrdfBatchReader;

/* Is told of an item of a batch of rows; salt is NULL where it was erased. */
typedef void (*UnrdfItemFn)(void *arg, const uint8 *key, uint64 index, const uint8 *salt,
							const uint8 *leaf);

extern UnrdfBatch *UnrdfBatchBegin(int32 audited);
extern void UnrdfBatchAdd(UnrdfBatch *b, const uint8 *key, const char *item, int len);
extern int64 UnrdfBatchEnd(UnrdfBatch *b, StringInfo members);

extern void UnrdfSegmentAppend(UnrdfRange *range, bytea *bytes);
extern void UnrdfItemLeaf(const uint8 *salt, const char *item, int len, uint8 *leaf);

/* batch_read.c */
extern void UnrdfBatchReaderBegin(UnrdfBatchReader *reader);
extern bool UnrdfBatchOpen(UnrdfBatchReader *reader, int64 receipt);
extern const char *UnrdfBatchCheck(UnrdfBatchReader *reader, const UnrdfReceipt *r);
extern bool UnrdfBatchHasRoot(const UnrdfReceipt *r, const uint8 *root);
extern bool UnrdfBatchProve(UnrdfBatchReader *reader, uint64 index, UnrdfItemProof *proof);
extern bool UnrdfBatchItems(UnrdfBatchReader *reader, UnrdfItemFn fn, void *arg);
extern bool UnrdfBatchFind(UnrdfBatchReader *reader, const uint8 *key, UnrdfItemFn fn, void *arg);
extern void UnrdfBatchReaderEnd(UnrdfBatchReader *reader);

#endif /* UNRDF_BATCH_H */
