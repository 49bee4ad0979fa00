#ifndef UNRDF_CLAIM_H
#define UNRDF_CLAIM_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/latch.h"

#define UNRDF_CLAIM_QUEUES 64
#define UNRDF_CLAIM_JOBS 10000

/* What a session asks its dispatcher for. */
typedef struct UnrdfClaim
{
	Oid dboid;
	Oid role;
	Latch *latch;
	int32 pid;    /* where the connection is the lease; else 0 */
	int64 lease;  /* how long, in microseconds; -1: without end */
	bool at_once; /* an answer is wanted also where there is nothing */
	int32 n;
	int32 nqueues;
	int32 queues[UNRDF_CLAIM_QUEUES];
} UnrdfClaim;

extern void UnrdfClaimInit(void);

/* for sessions: claim.c */
extern int UnrdfClaimAsk(const UnrdfClaim *claim);
extern bool UnrdfClaimAnswer(int slot, int *first);
extern bool UnrdfClaimWithdraw(int slot, int *first);

/* for the dispatcher */
extern bool UnrdfClaimsWait(void);
extern int UnrdfClaimSlots(void);
extern uint64 UnrdfClaimRead(int slot, UnrdfClaim *claim);
extern bool UnrdfClaimFill(int slot, uint64 asked, int first);

#endif /* UNRDF_CLAIM_H */
