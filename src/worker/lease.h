#ifndef UNRDF_LEASE_H
#define UNRDF_LEASE_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

/* Who may change a lease is what its state says: see lease.c. */
typedef enum UnrdfLeaseState
{
	UNRDF_LEASE_FREE,
	UNRDF_LEASE_TAKEN, /* being filled in */
	UNRDF_LEASE_HELD,
	UNRDF_LEASE_BUSY, /* a transaction has said what becomes of the job, and is open */
	UNRDF_LEASE_DONE, /* that transaction has committed */
	UNRDF_LEASE_LOST  /* its time was over, or its connection */
} UnrdfLeaseState;

/* What became of the job. */
typedef enum UnrdfLeaseResult
{
	UNRDF_LEASE_ENDED,   /* a receipt exists */
	UNRDF_LEASE_RETRY,   /* a failed attempt is recorded; due again at `due` */
	UNRDF_LEASE_SNOOZES, /* a snoozed one, likewise */
	UNRDF_LEASE_BACK     /* nothing was recorded; due again at once */
} UnrdfLeaseResult;

/* All but the word is written before HELD by the dispatcher, or in BUSY by the session whose transaction it is. */
typedef struct UnrdfLease
{
	pg_atomic_uint64 word; /* counter, state and deadline: see lease.c */
	int64 token;
	int64 job;
	uint64
		job_xid; /* who knows the id of a job of an extension that was dropped does not know this */
	int64
		hard; /* the deadline that heartbeats do not go beyond, in ticks; set when it is claimed */
	TimestampTz since;
	TimestampTz due;
	Oid dboid;
	Oid role; /* that claimed it */
	int32 queue;
	int32 handler;
	int32 attempt;
	int32 pid;  /* whose end ends it; 0: nobody's */
	int32 next; /* of the same claim, or -1 */
	ItemPointerData tid;
	uint8 result;
	bool failed; /* an attempt of the job has */
} UnrdfLease;

#define UNRDF_NO_DEADLINE PG_INT64_MAX

extern UnrdfLease *UnrdfLeases;

extern void UnrdfLeaseInit(void);
extern UnrdfLeaseState UnrdfLeaseStateOf(const UnrdfLease *lease);
extern bool UnrdfLeaseIsHeld(const UnrdfLease *lease);
extern int64 UnrdfLeaseDeadline(const UnrdfLease *lease);
extern int UnrdfLeaseReserve(void);
extern void UnrdfLeaseHold(int index, int32 epoch, int64 deadline);
extern void UnrdfLeaseFree(UnrdfLease *lease);
extern int UnrdfLeaseNext(int from);
extern UnrdfLease *UnrdfLeaseFind(int64 token);
extern bool UnrdfLeaseMove(UnrdfLease *lease, int64 token, UnrdfLeaseState from,
						   UnrdfLeaseState to);
extern bool UnrdfLeaseExpire(UnrdfLease *lease, int64 now);
extern bool UnrdfLeaseExtend(UnrdfLease *lease, int64 token, int64 deadline, int64 now);
extern void UnrdfLeaseShorten(UnrdfLease *lease, int64 token, int64 deadline);
extern void UnrdfLeaseMark(const UnrdfLease *lease);
extern void UnrdfLeasesTell(void);
extern void UnrdfLeaseTell(const UnrdfLease *lease);
extern uint32 UnrdfLeasesTold(void);
extern int UnrdfLeaseNextTold(int from);
extern void UnrdfLeaseCheckRole(Oid role);
extern bool UnrdfJobIsLeased(int64 job);
extern bool UnrdfLeaseIsOwn(int64 job);
extern void UnrdfLeaseCancel(Oid dboid, int64 job);
extern void UnrdfLeasesForget(Oid dboid);

#endif /* UNRDF_LEASE_H */
