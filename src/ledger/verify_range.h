#ifndef UNRDF_VERIFY_RANGE_H
#define UNRDF_VERIFY_RANGE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

#include "ledger/verify_log.h"

/* A verification of a range of the log's leaves. */
typedef struct UnrdfVerification
{
	UnrdfSpan span;        /* its size is what the log is known to have */
	int workers;           /* besides the caller; -1: a sensible number */
	const uint8 *old_root; /* what the tree of span.from leaves has to have; NULL: nobody says */
	UnrdfTree tree;        /* afterwards, that of the leaves up to span.to */
} UnrdfVerification;

/* One step of a run that can be interrupted. */
typedef struct UnrdfVerifyStep
{
	int64 run;
	uint64 first; /* leaves first <= index < stop were verified */
	uint64 stop;
	int64 findings; /* of the whole run */
	bool complete;
	char *verified; /* text of the tree that was verified; NULL: not complete, or findings */
} UnrdfVerifyStep;

/* verify_range.c */
extern void UnrdfVerifyLeaves(int64 first, const int64 *stop, int workers,
							  Tuplestorestate *findings);
extern void UnrdfVerifyAll(int workers, const text *since, Tuplestorestate *findings);
extern void UnrdfSinceRead(const text *since, uint64 *size, uint8 *root);

/* verify_parallel.c */
extern TupleDesc UnrdfFindingDesc(void);
extern void UnrdfVerifyRange(UnrdfVerification *v, Tuplestorestate *findings);

/* verify_run.c */
extern void UnrdfVerifyRun(const int64 *run, int64 step, int workers, const text *since,
						   UnrdfVerifyStep *result);

#endif /* UNRDF_VERIFY_RANGE_H */
