/*
 * process.c: what all worker processes have in common.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "queue/room.h"
#include "worker/worker.h"

#define STATS_DELAY 500 /* ms */

static void
describe(BackgroundWorker *worker, const char *kind, const char *function, int flags)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = flags;
	strlcpy(worker->bgw_library_name, "unrdf", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_name, kind, BGW_MAXLEN);
	strlcpy(worker->bgw_type, kind, BGW_MAXLEN);
}

/* UnrdfRegisterWorker registers a worker that the postmaster starts, and starts again a second after it died. From _PG_init only. */
void
UnrdfRegisterWorker(const char *kind, const char *function, int flags, BgWorkerStartTime start)
{
	BackgroundWorker worker;

	describe(&worker, kind, function, flags);
	worker.bgw_start_time = start;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/*
 * UnrdfStartWorker registers a dynamic worker that is not restarted by the postmaster; the caller's latch is set when its
 * state changes. False when there is no free background worker slot. *handle is palloc'd in the current memory context.
 */
bool
UnrdfStartWorker(const char *kind, const char *function, Datum arg, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	describe(&worker, kind, function, BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION);
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = arg;
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* UnrdfWorkerSetup makes a connected worker safe: reload on SIGHUP, no time-outs, a search_path nobody can plant things in. */
void
UnrdfWorkerSetup(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	(void) UnrdfRoomMayWait(false);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_type, PGC_USERSET, PGC_S_OVERRIDE);
	pgstat_report_appname(MyBgworkerEntry->bgw_type);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
at_exit(int code, Datum arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	UnrdfProcess *process = (UnrdfProcess *) DatumGetPointer(arg);

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	process->latch = NULL;
	process->pid = 0;
	LWLockRelease(UnrdfShmem->lock);
	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
	UnrdfWorkerGone();
}

/* UnrdfWorkerAttach makes this process known as its database's, until it ends, and returns the database. It ends here where that has no workers. */
UnrdfDatabase *
UnrdfWorkerAttach(UnrdfProcessKind kind)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	UnrdfProcess *process;

	if (db == NULL)
		proc_exit(0);
	process = &db->processes[kind];
	before_shmem_exit(at_exit, PointerGetDatum(process));
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	process->latch = MyLatch;
	process->pid = MyProcPid;
	process->since = UnrdfNow();
	LWLockRelease(UnrdfShmem->lock);
	return db;
}

/*
 * UnrdfWorkerInterrupts handles what arrived while idle. Told to end, an idle worker does so without the FATAL line that a
 * transaction in progress deserves. A cancel has nothing to cancel.
 */
void
UnrdfWorkerInterrupts(void)
{
	if (ProcDiePending)
		proc_exit(0);
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * UnrdfWorkerWait sleeps until the latch is set or timeout_ms have passed (-1: no time-out), or a little while has passed
 * and statistics had to be reported.
 */
void
UnrdfWorkerWait(long timeout_ms, uint32 wait_event)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	bool stats = UnrdfStatsUnflushed(false);
	int woken;

	if (stats && (timeout_ms < 0 || timeout_ms > STATS_DELAY))
		timeout_ms = STATS_DELAY;
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	woken = WaitLatch(MyLatch, events, timeout_ms, wait_event);
	if (stats && (woken & WL_TIMEOUT))
		(void) UnrdfStatsUnflushed(true);
	ResetLatch(MyLatch);
	UnrdfWorkerInterrupts();
}
