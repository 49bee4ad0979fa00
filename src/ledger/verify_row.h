#ifndef UNRDF_VERIFY_ROW_H
#define UNRDF_VERIFY_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/jsonb.h"

#include "base/lookup.h"
#include "ledger/audit.h"
#include "ledger/verify.h"

/* What comes of comparing a row with the last receipt that speaks of it. */
typedef enum UnrdfRowVerdict
{
	UNRDF_ROW_OK,
	UNRDF_ROW_DELETED, /* there is none, as its receipt says */
	UNRDF_ROW_DIFFERS,
	UNRDF_ROW_MISSING,
	UNRDF_ROW_UNKNOWN,
	UNRDF_ROW_ERASED,
	UNRDF_ROW_BAD /* its receipt does not verify */
} UnrdfRowVerdict;

extern const char *const UnrdfRowVerdictNames[];

/* An item of a batch that speaks of a row. */
typedef struct UnrdfRowItem
{
	uint64 index;
	bool erased;
	uint8 salt[UNRDF_SALT_LEN];
	uint8 leaf[UNRDF_HASH_LEN];
} UnrdfRowItem;

#define UNRDF_ROW_ITEMS 2 /* of one row in one batch: its deletion and its creation */

/* What judging the rows of one table takes. */
typedef struct UnrdfRowJudge
{
	MemoryContext context; /* owns everything here */
	UnrdfAudited audited;
	TupleDesc desc; /* of live rows */
	UnrdfShape *whole;
	List *shapes; /* for the columns that receipts have named so far */
	UnrdfBatchReader batches;
	UnrdfLookup subjects;
	int64 horizon; /* what receipts up to this one say of rows is over */
} UnrdfRowJudge;

extern void UnrdfJudgeBegin(UnrdfRowJudge *judge, Oid relation);
extern void UnrdfJudgeEnd(UnrdfRowJudge *judge);
extern char *UnrdfJudgeQuery(const UnrdfRowJudge *judge);
extern UnrdfRowVerdict UnrdfJudgeReceipt(UnrdfRowJudge *judge, int64 receipt, TupleTableSlot *live,
										 const char **reason);
extern UnrdfRowVerdict UnrdfJudgeItems(UnrdfRowJudge *judge, Jsonb *payload,
									   const UnrdfRowItem *items, int n, TupleTableSlot *live,
									   const char **reason);
extern UnrdfRowVerdict UnrdfVerifyRow(Oid relation, ArrayType *key, int64 *receipt,
									  const char **reason);

/* verify_table.c */
extern void UnrdfVerifyTable(Oid relation, ReturnSetInfo *result);

#endif /* UNRDF_VERIFY_ROW_H */
