#ifndef UNRDF_VERIFY_H
#define UNRDF_VERIFY_H

#include "postgres.h"

#include "funcapi.h"
#include "lib/stringinfo.h"

#include "base/lookup.h"
#include "ledger/evidence.h"
#include "ledger/expired.h"
#include "ledger/log.h"
#include "ledger/receipt.h"

typedef enum UnrdfVerdict
{
	UNRDF_VERDICT_OK,
	UNRDF_VERDICT_ERASED,
	UNRDF_VERDICT_EXPIRED,
	UNRDF_VERDICT_PENDING,
	UNRDF_VERDICT_MISSING,
	UNRDF_VERDICT_BAD
} UnrdfVerdict;

extern const char *const UnrdfVerdictNames[];

/* What checking receipts one after another needs. */
typedef struct UnrdfChecker
{
	MemoryContext context; /* of one receipt, reset by the next */
	UnrdfIdLookup receipts;
	UnrdfIdLookup jobs;
	UnrdfLookup subjects;
	StringInfoData scratch;
	bool without_items;   /* what a batch has beside its receipt is left alone */
	int64 erasure;        /* the receipt of what erased the one checked last; 0: nothing did */
	UnrdfRule rule;       /* that a job named last */
	int expired;          /* what is gone by it of the one checked last */
	UnrdfReceipt receipt; /* the one checked last, as far as it could be read */
	uint8 leaf[UNRDF_HASH_LEN]; /* its leaf hash, recomputed, unless there was a reason */
} UnrdfChecker;

/* Fixed texts, so that they can be compared and cost nothing. */
extern const char UnrdfReceiptMissing[];
extern const char UnrdfLeafDiffers[];
extern const char UnrdfLeafMissing[];
extern const char UnrdfXidDiffers[];

extern void UnrdfCheckerBegin(UnrdfChecker *c);
extern const char *UnrdfCheckReceipt(UnrdfChecker *c, int64 id);
extern const char *UnrdfCheckerRead(TupleTableSlot *slot, UnrdfReceipt *r);
extern void UnrdfCheckerEnd(UnrdfChecker *c);
extern uint64 UnrdfLogPast(const UnrdfLogHead *head);
extern UnrdfVerdict UnrdfVerify(int64 receipt, const char **reason, UnrdfEvidence *evidence);

extern UnrdfVerdict UnrdfVerifyWithoutItems(int64 receipt, const char **reason);
extern UnrdfVerdict UnrdfVerifyItem(int64 receipt, int64 index, Jsonb *item, const char **reason);

/* verify_parallel.c */
extern void UnrdfVerifyInit(void);
extern void UnrdfVerifyProgress(ReturnSetInfo *result);

#endif /* UNRDF_VERIFY_H */
