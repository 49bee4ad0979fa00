/*
 * cluster.c: what the sentinel process shares with everybody else, and whether its settings can be right.
 *
 * One writer, the sentinel (worker/sentinel.c). The deadline is atomic, since every commit looks at it; the rest is under
 * UnrdfShmem->lock. A server that starts has a deadline already: a primary that cannot find out whether it may be one has
 * UNRDF_FENCE_GRACE for that.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "cluster/cluster.h"

UnrdfClusterShared *UnrdfCluster = NULL;

static void
init_shared(void *block)
{
	UnrdfClusterShared *shared = block;

	pg_atomic_init_u64(&shared->deadline,
					   unrdf_fence ? (uint64) (UnrdfTicks() + UNRDF_FENCE_GRACE) : 0);
	shared->fence = unrdf_fence ? UNRDF_FENCE_WAITING : UNRDF_FENCE_OFF;
}

/* UnrdfClusterManaged tells whether the settings say that Patroni manages this server. */
bool
UnrdfClusterManaged(void)
{
	return *unrdf_cluster_dcs != '\0';
}

static void
refuse(const char *what, const char *hint)
{
	ereport(FATAL, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("%s", what), errhint("%s", hint)));
}

/* Raises where settings contradict each other: a server that believes in a fence that is none must not start. */
static void
check_settings(void)
{
	if (UnrdfClusterManaged() && (*unrdf_cluster_path == '\0' || *unrdf_node_name == '\0'))
		refuse(
			"unrdf.cluster_dcs needs unrdf.cluster_path and unrdf.node_name",
			"Set them to Patroni's namespace and scope, as in /service/main, and to the member's name.");
	if (unrdf_fence && !UnrdfClusterManaged())
		refuse("unrdf.fence needs unrdf.cluster_dcs", "Without a lease there is nothing to watch.");
	if (unrdf_sentinel_release &&
		(!unrdf_fence || unrdf_fence_silence == 0 ||
		 unrdf_fence_silence + 2 * UNRDF_FENCE_INTERVAL > unrdf_sentinel_silence))
		refuse(
			"unrdf.sentinel_release needs unrdf.fence, and unrdf.fence_silence at least 400 ms below "
			"unrdf.sentinel_silence",
			"A primary that cannot be heard has to have stopped before its lease is taken.");
}

/* UnrdfClusterInit checks the settings and registers shared memory; called once, from _PG_init, after the settings. */
void
UnrdfClusterInit(void)
{
	check_settings();
	UnrdfShmemRegister("unrdf cluster", sizeof(UnrdfClusterShared), (void **) &UnrdfCluster,
					   init_shared);
	UnrdfFenceInit();
}

/* UnrdfClusterTimes reads when what of the last failover was seen here. */
void
UnrdfClusterTimes(UnrdfFailoverTimes *times)
{
	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	*times = UnrdfCluster->times;
	LWLockRelease(UnrdfShmem->lock);
}

/* UnrdfClusterPromoted notes when recovery ended, or there was none. Who comes first notes it: the launcher, a few milliseconds after. */
void
UnrdfClusterPromoted(void)
{
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	if (UnrdfCluster->times.promoted == 0)
		UnrdfCluster->times.promoted = UnrdfNow();
	LWLockRelease(UnrdfShmem->lock);
}

/* UnrdfFenceNote makes known what the fence does, and says so in the server's log where it is something else. */
void
UnrdfFenceNote(UnrdfFenceState state, const char *reason)
{
	bool same;

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	same = UnrdfCluster->fence == state &&
		   strncmp(UnrdfCluster->reason, reason, UNRDF_FENCE_REASON_MAX - 1) == 0;
	UnrdfCluster->fence = state;
	strlcpy(UnrdfCluster->reason, reason, UNRDF_FENCE_REASON_MAX);
	LWLockRelease(UnrdfShmem->lock);
	if (same)
		return;
	if (state == UNRDF_FENCE_ARMED)
		ereport(LOG, (errmsg("fence: this server has the leader lease")));
	else if (state == UNRDF_FENCE_PAUSED)
		ereport(LOG, (errmsg("fence: Patroni is paused, the lease is not looked at")));
	else if (state == UNRDF_FENCE_REFUSED)
		ereport(WARNING, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("fence is off: %s", reason)));
}
