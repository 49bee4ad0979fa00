#ifndef UNRDF_RELEASE_H
#define UNRDF_RELEASE_H

#include "postgres.h"

#include "utils/hsearch.h"

#include "base/lookup.h"
#include "ledger/receipt.h"
#include "queue/waiting.h"

/* What a need means for the job that has it. */
typedef enum UnrdfEdge
{
	UNRDF_EDGE_OPEN, /* it has not ended */
	UNRDF_EDGE_MET,
	UNRDF_EDGE_FAILED,
	UNRDF_EDGE_SKIPPED,
	UNRDF_EDGE_HELD
} UnrdfEdge;

/* What is to be done with a job that waits. */
typedef enum UnrdfVerdict
{
	UNRDF_WAITS,
	UNRDF_RUNS,
	UNRDF_DIES,  /* a need failed */
	UNRDF_SKIPS, /* likewise */
	UNRDF_VOID   /* its workflow has ended */
} UnrdfVerdict;

typedef struct UnrdfDecision
{
	UnrdfVerdict verdict;
	int64 need; /* that decided it; 0: none */
} UnrdfDecision;

/* Decides on waiting jobs, from one transaction to the next. */
typedef struct UnrdfDecider
{
	MemoryContext context;
	HTAB *watches; /* by job; may be forgotten at any time */
	UnrdfLookup needs;
	UnrdfIdLookup receipts;
} UnrdfDecider;

extern UnrdfEdge UnrdfEdgeOf(int outcome, UnrdfOnFailure on_failure);
extern void UnrdfDeciderInit(UnrdfDecider *d, MemoryContext context);
extern void UnrdfDeciderBegin(UnrdfDecider *d);
extern void UnrdfDeciderEnd(UnrdfDecider *d);
extern bool UnrdfDeciderConcerns(UnrdfDecider *d, int64 job, int64 need, UnrdfEdge edge,
								 bool *anew);
extern void UnrdfDecide(UnrdfDecider *d, int64 job, bool any, bool anew, UnrdfDecision *decision);

#endif /* UNRDF_RELEASE_H */
