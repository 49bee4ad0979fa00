/*
 * integrator.c: the process that integrates. What it does, and why it may die anywhere, is in ledger/integrate.c.
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
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/log.h"
#include "worker/restore.h"
#include "worker/worker.h"

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
		UnrdfTestPoint(UNRDF_POINT_INTEGRATE_COMMIT);
	}
	UnrdfXactCommit();
	if (n > 0)
		UnrdfTestPoint(UNRDF_POINT_INTEGRATE_COMMITTED);
	return n > 0;
}

/* UnrdfIntegratorMain is the entry point of integrators; arg is the database's oid. */
void
UnrdfIntegratorMain(Datum arg)
{
	int64 restores = -1;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	(void) UnrdfWorkerAttach(UNRDF_INTEGRATOR);
	for (;;)
	{
		if (step(&restores))
			UnrdfWorkerInterrupts();
		else
			UnrdfWorkerWait(unrdf_sweep_interval, unrdf_wait_event("UnrdfIntegratorIdle"));
	}
}
