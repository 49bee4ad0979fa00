#ifndef UNRDF_LOCK_H
#define UNRDF_LOCK_H

#include "postgres.h"

/*
 * Heavyweight locks of ours, in the order in which one transaction may take several. All but the last two are held to the
 * transaction's end; all take part in deadlock detection.
 */
typedef enum UnrdfLockClass
{
	UNRDF_LOCK_TICKER = 1,   /* firing schedules */
	UNRDF_LOCK_EXPIRY,       /* emptying segments of what is kept for a time */
	UNRDF_LOCK_SCHEDULE,     /* a schedule, by the hash of its name */
	UNRDF_LOCK_SUBSCRIPTION, /* delivering events, or changing from where */
	UNRDF_LOCK_KEY,          /* idempotency keys, in buckets */
	UNRDF_LOCK_RELEASE,      /* jobs that wait, or their workflows, in buckets: released or ended */
	UNRDF_LOCK_EPOCH,        /* making an epoch's row */
	UNRDF_LOCK_SUBJECT,      /* chains of receipts, in buckets */
	UNRDF_LOCK_WITNESS,      /* logs that this is a witness for, in buckets */
	UNRDF_LOCK_LOG,          /* integrating; the key is the log */
	UNRDF_LOCK_PUBLISH,      /* likewise */
	UNRDF_LOCK_KEY_FILE,     /* changing the file of private keys, in all databases */
	UNRDF_LOCK_VERIFY,       /* verifying a log by ranges; the key is the log */
	UNRDF_LOCK_COUNT,        /* counting jobs; given back when they are counted */
	UNRDF_LOCK_QUESTION      /* asking the dispatcher; given back with the answer */
} UnrdfLockClass;

#define UNRDF_LOCK_BUCKETS 1024

extern void UnrdfLock(UnrdfLockClass class, uint32 key);
extern bool UnrdfTryLock(UnrdfLockClass class, uint32 key);
extern void UnrdfUnlock(UnrdfLockClass class, uint32 key);
extern uint32 UnrdfLockBucket(const char *bytes, int len, uint32 seed);

#endif /* UNRDF_LOCK_H */
