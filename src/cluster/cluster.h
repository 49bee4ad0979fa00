#ifndef UNRDF_CLUSTER_H
#define UNRDF_CLUSTER_H

#include "postgres.h"

#include "port/atomics.h"

#include "base/shmem.h"

#define UNRDF_MEMBER_MAX 128
#define UNRDF_FENCE_REASON_MAX 192
#define UNRDF_FENCE_INTERVAL 200   /* ms between two looks at the lease */
#define UNRDF_SENTINEL_INTERVAL 50 /* ms between two looks at the primary */
#define UNRDF_FENCE_GRACE \
	INT64CONST(2000000) /* us for a primary to find out whether it may be one */

/* What the fence does on this server. */
typedef enum UnrdfFenceState
{
	UNRDF_FENCE_OFF,
	UNRDF_FENCE_STANDBY, /* there is nothing to stop */
	UNRDF_FENCE_WAITING, /* a primary that had no lease yet */
	UNRDF_FENCE_ARMED,   /* a primary with a lease */
	UNRDF_FENCE_PAUSED,  /* Patroni leaves it alone, and so do we */
	UNRDF_FENCE_REFUSED, /* its settings cannot be right */
	UNRDF_FENCE_STOPPING
} UnrdfFenceState;

/* What the sentinel process shares with sessions. */
typedef struct UnrdfClusterShared
{
	pg_atomic_uint64 deadline; /* ticks from which on nothing is committed; 0: none */
	bool watched; /* the sentinel's own: since the server's start it has come to look */
	/* the rest under UnrdfShmem->lock */
	int pid; /* of the sentinel; 0: none */
	UnrdfFenceState fence;
	char reason[UNRDF_FENCE_REASON_MAX];
	UnrdfFailoverTimes times;
} UnrdfClusterShared;

extern UnrdfClusterShared *UnrdfCluster;

/* cluster.c */
extern void UnrdfClusterInit(void);
extern bool UnrdfClusterManaged(void);
extern void UnrdfClusterTimes(UnrdfFailoverTimes *times);
extern void UnrdfClusterPromoted(void);
extern void UnrdfFenceNote(UnrdfFenceState state, const char *reason);

/* fence.c */
extern void UnrdfFenceInit(void);
extern void UnrdfFenceStandby(void);
extern void UnrdfFenceStep(void);

/* sentinel.c */
extern void UnrdfSentinelStep(void);
extern void UnrdfSentinelPromoted(void);

#endif /* UNRDF_CLUSTER_H */
