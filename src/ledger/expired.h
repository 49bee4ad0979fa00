#ifndef UNRDF_EXPIRED_H
#define UNRDF_EXPIRED_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "ledger/receipt.h"

/* What of a job's bodies is not there, and need not be. */
#define UNRDF_EXPIRED_ARGS 1
#define UNRDF_EXPIRED_RESULT 2

/* A rule for how long a queue's jobs are kept, as its receipt has it. */
typedef struct UnrdfRule
{
	int64 id;           /* of the receipt; 0: none was read yet */
	int32 queue;        /* that it is asked about */
	const char *reason; /* why it is none; NULL: it is one */
	int64 keep_args;    /* seconds; -1: for ever */
	int64 keep_results;
} UnrdfRule;

extern const char *UnrdfBodiesFind(UnrdfRule *rule, TupleTableSlot *job, UnrdfReceipt *r,
								   Jsonb **args, int *expired);
extern char *UnrdfExpiredReason(const UnrdfRule *rule, int expired);

#endif /* UNRDF_EXPIRED_H */
