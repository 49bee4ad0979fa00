/*
 * lock.c: heavyweight locks in the advisory space, under a class number that SQL's advisory functions cannot reach.
 *
 * What could be many in one transaction (keys, subjects) is hashed to buckets, so that a bulk statement cannot exhaust the
 * lock table; two that share a bucket wait for each other, nothing worse.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "base/lock.h"

/* SQL's pg_advisory_lock uses 1 and 2 */
#define ADVISORY_SPACE 0x5552

static LOCKTAG
tag_of(UnrdfLockClass class, uint32 key)
{
	LOCKTAG tag;
	Oid database = class == UNRDF_LOCK_KEY_FILE ? InvalidOid : MyDatabaseId;

	SET_LOCKTAG_ADVISORY(tag, database, class, key, ADVISORY_SPACE);
	return tag;
}

/* UnrdfLock takes a lock exclusively until the transaction ends. */
void
UnrdfLock(UnrdfLockClass class, uint32 key)
{
	LOCKTAG tag = tag_of(class, key);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* UnrdfTryLock takes it if it is free; false where somebody else has it. */
bool
UnrdfTryLock(UnrdfLockClass class, uint32 key)
{
	LOCKTAG tag = tag_of(class, key);

	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* UnrdfUnlock gives a lock back early, where it guarded nothing that the transaction wrote. */
void
UnrdfUnlock(UnrdfLockClass class, uint32 key)
{
	LOCKTAG tag = tag_of(class, key);

	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* UnrdfLockBucket maps a string to a bucket. */
uint32
UnrdfLockBucket(const char *bytes, int len, uint32 seed)
{
	uint64 hash = hash_bytes_extended((const unsigned char *) bytes, len, seed);

	return (uint32) (hash % UNRDF_LOCK_BUCKETS);
}
