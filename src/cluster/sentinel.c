/*
 * sentinel.c: a standby notes when its primary falls silent, and what became of that.
 *
 * A sign of the primary is any message that the WAL receiver gets; a primary that nobody writes to makes one a second (fence.c).
 * Silence is measured in ticks from when this process saw the last sign: nobody's wall clock counts. What is noted are moments of
 * this node's wall clock, in shared memory and, for the case that the server goes down in between, in FILE in the data
 * directory. After a promotion they become part of the failover's row and receipt (ledger/failover.c).
 *
 * Noting is always safe. Taking the lease away is not, so it is off by default (unrdf.sentinel_release): where most members
 * have not heard the leader for unrdf.sentinel_silence, each of them deletes the leader key if it is still the same, and Patroni
 * elects at once instead of waiting for the ttl. The leader is then silent or cut off from most members, and its fence, which
 * stops it after unrdf.fence_silence without an answer of etcd, or when it finds its key gone, has stopped it or will at its
 * next look. Only a leader that this process has heard before is suspected: not one to which it has yet to connect.
 *
 * One process, the worker of worker/sentinel.c. It may die at any line: what it knew is gone and it begins to measure anew.
 */
#include "postgres.h"

#include <unistd.h>

#include "replication/walreceiver.h"
#include "storage/fd.h"
#include "storage/spin.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "cluster/dcs.h"

#define FILE_NAME "unrdf_sentinel"
#define FILE_FORMAT "heard " INT64_FORMAT "\nnoticed " INT64_FORMAT "\nnode %s\n"
#define ASK_AFTER_MICROS INT64CONST(200000) /* of silence, before etcd is asked who leads */
#define ASK_EVERY_MICROS INT64CONST(200000)
#define ENDPOINT_MILLIS 500

/* What this process has seen. */
static struct
{
	TimestampTz receipt; /* the WAL receiver's own note of the last message */
	int64 heard;         /* ticks; 0: nothing yet */
	UnrdfFailoverTimes times;
	int64 asked;
	UnrdfLeader leader; /* as last read during this silence */
	int64 led_since;    /* ticks at which it was first read to be that one */
	bool led;           /* the silence began with this leader */
	bool released;
} seen;

/* Whether the WAL receiver has got a message since the last look. One that is yet to connect says that it has, when it begins. */
static bool
hear(void)
{
	TimestampTz receipt;
	bool connected;

	SpinLockAcquire(&WalRcv->mutex);
	receipt = WalRcv->lastMsgReceiptTime;
	connected = WalRcv->walRcvState == WALRCV_STREAMING && WalRcv->ready_to_display;
	SpinLockRelease(&WalRcv->mutex);
	if (!connected || receipt == seen.receipt)
		return false;
	seen.receipt = receipt;
	return true;
}

static void
share(void)
{
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfCluster->times = seen.times;
	LWLockRelease(UnrdfShmem->lock);
}

/* Keeps what was noticed in a file. */
static void
write_file(void)
{
	char *text = psprintf(FILE_FORMAT, seen.times.heard, seen.times.noticed, unrdf_node_name);
	const char *reason = UnrdfFileReplace(FILE_NAME, text, strlen(text), 0600);

	if (reason)
		ereport(LOG, (errmsg("sentinel: %s", reason)));
}

/* Notes that the primary has been silent for long enough. */
static void
notice(int64 silence)
{
	seen.times.noticed = UnrdfNow();
	share();
	ereport(LOG,
			(errmsg("sentinel: no sign of the primary for " INT64_FORMAT " ms", silence / 1000)));
	write_file();
}

/* A sign of the primary ends all that was noted of its silence. */
static void
heard(int64 now)
{
	if (seen.times.noticed)
	{
		ereport(LOG, (errmsg("sentinel: the primary was heard again after " INT64_FORMAT " ms",
							 (now - seen.heard) / 1000)));
		(void) unlink(FILE_NAME);
	}
	seen.heard = now;
	seen.times = (UnrdfFailoverTimes){.heard = UnrdfNow()};
	seen.released = false;
	seen.led = false;
	seen.leader.revision = 0;
	share();
}

/* Takes the lease from a leader that most members do not hear. */
static void
release(const UnrdfEtcd *etcd)
{
	bool most;
	bool released;

	if (UnrdfSuspect(etcd, &seen.leader, &most) != NULL || !most ||
		UnrdfLeaderRelease(etcd, &seen.leader, &released) != NULL)
		return;
	seen.released = true;
	if (released)
		ereport(
			LOG,
			(errmsg("sentinel: leader key of \"%s\" released, since most members do not hear it",
					seen.leader.holder)));
}

/* Looks who leads while the primary is silent. */
static void
ask(int64 now)
{
	UnrdfEtcd etcd = {.endpoints = unrdf_cluster_dcs, .timeout = ENDPOINT_MILLIS};
	UnrdfLeader leader;

	/* not beyond the moment at which the silence is to be noticed */
	etcd.until = seen.times.noticed ? now + 2 * ENDPOINT_MILLIS * 1000
									: seen.heard + unrdf_sentinel_silence * INT64CONST(1000);

	if (UnrdfLeaderRead(&etcd, false, &leader) != NULL || *leader.holder == '\0')
		return;
	if (leader.revision != seen.leader.revision)
	{
		seen.led = seen.leader.revision == 0 && !UnrdfLeaderIsMe(&leader);
		seen.led_since = now;
		seen.leader = leader;
		if (UnrdfLeaderIsMe(&leader))
		{
			seen.times.elected = UnrdfNow();
			share();
		}
	}
	if (unrdf_sentinel_release && seen.led && seen.times.noticed && !seen.released &&
		now - seen.led_since >= unrdf_sentinel_silence * INT64CONST(1000))
		release(&etcd);
}

/* UnrdfSentinelStep does what has to be done on a standby every UNRDF_SENTINEL_INTERVAL. */
void
UnrdfSentinelStep(void)
{
	int64 now = UnrdfTicks();
	int64 silence;

	if (unrdf_sentinel_silence == 0)
		return;
	if (hear())
		heard(now);
	if (seen.heard == 0)
		return;
	silence = now - seen.heard;
	if (seen.times.noticed == 0 && silence >= unrdf_sentinel_silence * INT64CONST(1000))
		notice(silence);
	if (silence >= ASK_AFTER_MICROS && now - seen.asked >= ASK_EVERY_MICROS)
	{
		seen.asked = now;
		ask(now);
	}
}

/* Reads the file where shared memory has nothing, because the server was started anew. */
static void
read_file(UnrdfFailoverTimes *times)
{
	char node[UNRDF_MEMBER_MAX];
	FILE *file = AllocateFile(FILE_NAME, "r");

	if (file == NULL)
		return;
	if (fscanf(file, "heard " INT64_FORMAT "\nnoticed " INT64_FORMAT "\nnode %127s", &times->heard,
			   &times->noticed, node) != 3 ||
		strcmp(node, unrdf_node_name) != 0)
		times->heard = times->noticed = 0; /* another node's, copied with its data directory */
	FreeFile(file);
}

/* UnrdfSentinelPromoted notes that recovery has ended, and with it a failover. */
void
UnrdfSentinelPromoted(void)
{
	UnrdfFailoverTimes times;

	UnrdfClusterPromoted();
	UnrdfClusterTimes(&times);
	if (times.heard == 0)
		read_file(&times);
	(void) unlink(FILE_NAME);
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfCluster->times = times;
	LWLockRelease(UnrdfShmem->lock);
}
