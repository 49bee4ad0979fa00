/*
 * publisher.c: the process that publishes checkpoints. What it does, and why it may die anywhere, is in ledger/publish.c.
 *
 * It is apart from the integrator because it asks others, which may take their time: integrating does not wait for that.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "cluster/cluster.h"
#include "ledger/checkpoint.h"
#include "ledger/failover.h"
#include "worker/restore.h"
#include "worker/worker.h"

#define RETRY_MILLIS 20   /* while standbys have not flushed what is to be published */
#define RECORD_MILLIS 200 /* while a failover is not recorded */

/* Whether a dump is being loaded. After one everything that this process knows may be of another log: it begins anew. */
static bool
restore_runs(void)
{
	static int64 restores = -1;
	UnrdfRestoreState state;

	UnrdfRestoreRead(&state);
	if (restores >= 0 && state.count != restores)
		proc_exit(0);
	restores = state.count;
	return state.running;
}

/* Publishes a checkpoint when it is time, or somebody asked. Returns when to look again, in ticks. */
static int64
publish(UnrdfDatabase *db, int64 due)
{
	uint32 wanted = pg_atomic_read_u32(&db->checkpoints_wanted);
	bool done;

	if (UnrdfTicks() < due && wanted == pg_atomic_read_u32(&db->checkpoints_tried))
		return due;
	done = UnrdfPublish(restore_runs);
	pg_atomic_write_u32(&db->checkpoints_tried, wanted);
	ConditionVariableBroadcast(&db->checkpoint_tried);
	return UnrdfTicks() +
		   (done ? unrdf_checkpoint_interval : Min(RETRY_MILLIS, unrdf_checkpoint_interval)) *
			   INT64CONST(1000);
}

/* Records the promotion that this start of the server may have been. Returns whether that is done with. */
static bool
record_failover(void)
{
	UnrdfFailoverTimes times;
	bool restoring;

	UnrdfXactBegin("looking for a restore");
	restoring = restore_runs();
	UnrdfXactCommit();
	UnrdfClusterTimes(&times);
	return !restoring && UnrdfFailoverRecord(&times);
}

/* Whether the stores were set anew since the last look; the first is none. */
static bool
stores_changed(void)
{
	static char *seen = NULL;
	bool changed = seen && strcmp(seen, unrdf_checkpoint_stores) != 0;

	if (seen && !changed)
		return false;
	if (seen)
		pfree(seen);
	seen = MemoryContextStrdup(TopMemoryContext, unrdf_checkpoint_stores);
	return changed;
}

/* UnrdfPublisherMain is the entry point of publishers; arg is the database's oid. */
void
UnrdfPublisherMain(Datum arg)
{
	MemoryContext context;
	UnrdfDatabase *db;
	int64 due = 0;
	bool recorded = false;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	db = UnrdfWorkerAttach(UNRDF_PUBLISHER);
	context = AllocSetContextCreate(TopMemoryContext, "unrdf publisher", ALLOCSET_DEFAULT_SIZES);
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfPublishingForget(db);
	LWLockRelease(UnrdfShmem->lock);
	for (;;)
	{
		MemoryContextSwitchTo(context);
		if (stores_changed())
			due = 0;
		due = publish(db, due);
		recorded = recorded || record_failover();
		MemoryContextReset(context);
		UnrdfWorkerWait(
			UnrdfMillisUntilTick(due, recorded ? unrdf_checkpoint_interval : RECORD_MILLIS),
			unrdf_wait_event("UnrdfPublisherIdle"));
	}
}
