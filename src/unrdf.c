/*
 * unrdf.c: module entry.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "cluster/cluster.h"
#include "ledger/verify.h"
#include "queue/depth.h"
#include "worker/claim.h"
#include "worker/crash.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/why.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

/* _PG_init sets everything up when preloaded; loaded later, there are functions but no workers. */
void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	UnrdfGucInit();
	UnrdfShmemInit();
	UnrdfTestInit();
	UnrdfClusterInit();
	UnrdfDepthInit();
	UnrdfSlotInit();
	UnrdfLeaseInit();
	UnrdfClaimInit();
	UnrdfCrashInit();
	UnrdfVerifyInit();
	UnrdfWhyInit();
	UnrdfHoldInit();
	UnrdfLauncherInit();
	UnrdfSentinelInit();
}
