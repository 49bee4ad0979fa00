/*
 * sentinel.c: the process that watches the primary on a standby (cluster/sentinel.c), and the lease on a primary
 * (cluster/fence.c). One process for both, so that the fence is there when a promotion ends.
 *
 * It is connected to no database. Only a server that Patroni manages has it.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "cluster/cluster.h"
#include "worker/worker.h"

static void
set_pid(int pid)
{
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfCluster->pid = pid;
	LWLockRelease(UnrdfShmem->lock);
}

static void
at_exit(int code, Datum arg)
{
	set_pid(0);
}

/* Does what is due; returns the milliseconds between two steps. */
static int
step(void)
{
	static bool was_standby = false;

	if (RecoveryInProgress())
	{
		was_standby = true;
		UnrdfFenceStandby();
		UnrdfSentinelStep();
		return UNRDF_SENTINEL_INTERVAL;
	}
	if (was_standby)
		UnrdfSentinelPromoted();
	was_standby = false;
	UnrdfFenceStep();
	return UNRDF_FENCE_INTERVAL;
}

/* UnrdfSentinelMain is the entry point of the sentinel. */
void
UnrdfSentinelMain(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(at_exit, 0);
	set_pid(MyProcPid);
	context = AllocSetContextCreate(TopMemoryContext, "unrdf sentinel", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int64 began = UnrdfTicks();
		int interval;

		MemoryContextSwitchTo(context);
		interval = step();
		MemoryContextReset(context);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 UnrdfMillisUntilTick(began + interval * 1000, interval),
						 unrdf_wait_event("UnrdfSentinel"));
		ResetLatch(MyLatch);
		/* exit code 1: the postmaster starts a new one, unless it is shutting down */
		if (ProcDiePending)
			proc_exit(1);
		UnrdfWorkerInterrupts();
	}
}

/* UnrdfSentinelInit registers the sentinel where there is a cluster; called once, from _PG_init. */
void
UnrdfSentinelInit(void)
{
	if (UnrdfClusterManaged())
		UnrdfRegisterWorker("unrdf sentinel", "UnrdfSentinelMain", BGWORKER_SHMEM_ACCESS,
							BgWorkerStart_ConsistentState);
}
