/*
 * integrator.c: the process that integrates and publishes checkpoints. What it does, and why it may die anywhere, is in
 * ledger/integrate.c and ledger/publish.c.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "ledger/checkpoint.h"
#include "ledger/log.h"
#include "worker/restore.h"
#include "worker/worker.h"

#define RETRY_MILLIS 20 /* while standbys have not flushed what is to be published */

static void
at_exit(int code, Datum arg)
{
	UnrdfDatabase *db = (UnrdfDatabase *) DatumGetPointer(arg);

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	db->integrator = NULL;
	db->integrator_pid = 0;
	LWLockRelease(UnrdfShmem->lock);
	UnrdfSetLatch(&db->dispatcher);
	UnrdfWorkerGone();
}

/* Returns whether there may be more. */
static bool
step(int64 *restores)
{
	int64 n = 0;
	UnrdfRestoreState restore;

	UnrdfXactBegin("integrating receipts");
	UnrdfRestoreRead(&restore);
	if (*restores >= 0 && restore.count != *restores)
		proc_exit(0);
	*restores = restore.count;
	if (!restore.running)
		n = UnrdfIntegrate(INT_MAX);
	/* these may be of a restore that has begun since, and their log be about to come: leave none of it */
	if (n > 0)
	{
		UnrdfRestoreRead(&restore);
		if (restore.running || restore.count != *restores)
			proc_exit(0);
	}
	UnrdfXactCommit();
	return n > 0;
}

/* Publishes a checkpoint when it is time, or somebody asked. Returns when to look again. */
static TimestampTz
publish(UnrdfDatabase *db, TimestampTz due)
{
	uint32 wanted = pg_atomic_read_u32(&db->checkpoints_wanted);
	TimestampTz now = UnrdfNow();
	UnrdfRestoreState restore;
	bool done = true;

	if (now < due && wanted == pg_atomic_read_u32(&db->checkpoints_tried))
		return due;
	UnrdfXactBegin("publishing a checkpoint");
	UnrdfRestoreRead(&restore);
	if (!restore.running)
		done = UnrdfPublish();
	UnrdfXactCommit();
	pg_atomic_write_u32(&db->checkpoints_tried, wanted);
	ConditionVariableBroadcast(&db->checkpoint_tried);
	return now + (done ? unrdf_checkpoint_interval : Min(RETRY_MILLIS, unrdf_checkpoint_interval)) *
					 INT64CONST(1000);
}

/* UnrdfIntegratorMain is the entry point of integrators; arg is the database's oid. */
void
UnrdfIntegratorMain(Datum arg)
{
	UnrdfDatabase *db;
	int64 restores = -1;
	TimestampTz due = DT_NOBEGIN;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	db = UnrdfMyDatabase();
	if (db == NULL)
		proc_exit(0);
	before_shmem_exit(at_exit, PointerGetDatum(db));
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	db->integrator = MyLatch;
	db->integrator_pid = MyProcPid;
	db->integrator_since = UnrdfNow();
	UnrdfPublishingForget(db);
	LWLockRelease(UnrdfShmem->lock);
	for (;;)
	{
		bool more = step(&restores);

		due = publish(db, due);
		if (more)
			UnrdfWorkerInterrupts();
		else
			UnrdfWorkerWait(UnrdfMillisUntil(due, unrdf_sweep_interval),
							unrdf_wait_event("UnrdfIntegratorIdle"));
	}
}
