#ifndef UNRDF_SHMEM_H
#define UNRDF_SHMEM_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define UNRDF_MAX_DATABASES 64
#define UNRDF_LANE_BITS 20480
#define UNRDF_WAIT_BUCKETS 64
#define UNRDF_REASON_MAX 256
#define UNRDF_LWLOCKS 2

/* Whether checkpoints are published, and why not. */
typedef enum UnrdfPublishing
{
	UNRDF_PUBLISHING_UNKNOWN, /* not looked since the server's start */
	UNRDF_PUBLISHING_SIGNED,
	UNRDF_PUBLISHING_UNSIGNED, /* there is to be no key */
	UNRDF_PUBLISHING_WAITS,    /* for synchronous standbys */
	UNRDF_PUBLISHING_REFUSED
} UnrdfPublishing;

/* The processes that a database has one each of. */
typedef enum UnrdfProcessKind
{
	UNRDF_DISPATCHER,
	UNRDF_INTEGRATOR,
	UNRDF_PUBLISHER,
	UNRDF_RELEASER,
	UNRDF_COURIER,
	UNRDF_PROCESSES
} UnrdfProcessKind;

typedef struct UnrdfProcess
{
	int pid;      /* 0: none; under UnrdfShared->lock */
	Latch *latch; /* in shared memory, or NULL; under the lock, read without */
	TimestampTz since;
} UnrdfProcess;

/* When a standby saw what of a failover; 0: not. By the wall clock. */
typedef struct UnrdfFailoverTimes
{
	TimestampTz heard;    /* the last sign of the primary */
	TimestampTz noticed;  /* its silence was long enough */
	TimestampTz elected;  /* the leader key is ours */
	TimestampTz promoted; /* recovery has ended */
} UnrdfFailoverTimes;

/* One database with workers. dboid is set under UnrdfShared->lock by the launcher; the rest as noted. */
typedef struct UnrdfDatabase
{
	Oid dboid; /* InvalidOid: free */
	UnrdfProcess processes[UNRDF_PROCESSES];
	/* its dispatcher found no extension, when so many had been created; written by that, read by the launcher after its end */
	bool absent;
	uint32 installs;
	pg_atomic_uint32 epoch;          /* 0: no work in this epoch yet */
	pg_atomic_uint32 wants_epoch;    /* somebody waits for the dispatcher to make the epoch's row */
	pg_atomic_uint32 wants_releaser; /* there may be jobs that wait for others */
	pg_atomic_uint32 wants_courier;  /* there are subscriptions to events */
	pg_atomic_uint32 follows_receipts; /* the releaser wants to know of new receipts */
	pg_atomic_uint32 config;           /* counts changes of queues and handlers */
	pg_atomic_uint32 schedules;        /* counts changes of schedules */
	pg_atomic_uint64 ticked;           /* when somebody fired schedules last; 0: not yet */
	pg_atomic_uint64 first_write; /* when the epoch's first commit was acknowledged; 0: not yet */
	pg_atomic_uint64 integrated;  /* leaves integrated since the server's start */
	pg_atomic_uint64 dispatched;
	pg_atomic_uint64 published;          /* size of the newest checkpoint that is known */
	pg_atomic_uint32 checkpoints_wanted; /* counts requests to publish one at once */
	pg_atomic_uint32 checkpoints_tried;  /* the request up to which that was tried */
	ConditionVariable checkpoint_tried;  /* broadcast after every try */
	UnrdfPublishing publishing;          /* this and the next two under the lock */
	TimestampTz publishing_since;
	char publishing_reason[UNRDF_REASON_MAX];
	pg_atomic_uint64
		lanes[UNRDF_LANE_BITS / 64]; /* hashed lanes with new jobs, set by committers */
} UnrdfDatabase;

/* What all unrdf processes share. */
typedef struct UnrdfShared
{
	LWLock *lock;   /* protects databases[].dboid, pids and latches, and the launcher's */
	LWLock *depths; /* protects which numbers of queues there are (queue/depth.c); a leaf as well */
	uint64 start_token; /* differs for every start of the server */
	int launcher_pid;
	TimestampTz launcher_since;
	Latch *launcher;
	pg_atomic_uint32 installs; /* counts CREATE EXTENSION, so that the launcher looks again */
	UnrdfDatabase databases[UNRDF_MAX_DATABASES];
	pg_atomic_uint32 waiters[UNRDF_WAIT_BUCKETS];
	ConditionVariable ended[UNRDF_WAIT_BUCKETS]; /* broadcast when a job of the bucket has ended */
} UnrdfShared;

extern UnrdfShared *UnrdfShmem;

typedef void (*UnrdfShmemInitFn)(void *block);

extern void UnrdfShmemInit(void);
extern void UnrdfShmemRegister(const char *name, Size size, void **block, UnrdfShmemInitFn init);
extern void UnrdfRequirePreload(void);
extern UnrdfDatabase *UnrdfMyDatabase(void);
extern void UnrdfPublishingForget(UnrdfDatabase *db);
extern void UnrdfSetLatch(Latch *volatile *latch);

#endif /* UNRDF_SHMEM_H */
