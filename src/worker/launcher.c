/*
 * launcher.c: the one process per server that starts a dispatcher in every database that has the extension.
 *
 * It is connected to no database and reads pg_database only. Whether a database has the extension is found out by its
 * dispatcher, which says so in shared memory and ends; the launcher remembers until CREATE EXTENSION is run somewhere. Invariant: what
 * it remembers was found out after all creations that are counted (UnrdfShmem->installs, raised behind their commits); what a
 * dispatcher found that began to look before the last of them is not believed, and another one looks. Who dies between its commit
 * and the count takes the server with it.
 * The postmaster restarts the launcher when it dies. Dispatchers outlive it: a new launcher finds them by their entries
 * in shared memory.
 *
 * An entry of UnrdfShared->databases is given out and taken back only here.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "cluster/cluster.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/worker.h"

#define MOST_DATABASES 1024
#define LOOK_INTERVAL 1000 /* ms between two looks */
#define RESTART_PAUSE USECS_PER_SEC

/* What the launcher remembers of a database. */
typedef struct Seen
{
	Oid dboid;
	bool present; /* in the last reading of pg_database */
	bool absent;  /* it has no extension */
	BackgroundWorkerHandle *handle;
	int64 started; /* ticks */
} Seen;

typedef struct Launcher
{
	MemoryContext context;
	Seen *seen;
	int nseen;
	uint32 installs;
	bool warned;
} Launcher;

static void
at_exit(int code, Datum arg)
{
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfShmem->launcher = NULL;
	UnrdfShmem->launcher_pid = 0;
	LWLockRelease(UnrdfShmem->lock);
}

static Seen *
see(Launcher *l, Oid dboid)
{
	for (int i = 0; i < l->nseen; i++)
		if (l->seen[i].dboid == dboid)
			return &l->seen[i];
	if (l->nseen == MOST_DATABASES)
		return NULL;
	memset(&l->seen[l->nseen], 0, sizeof(Seen));
	l->seen[l->nseen].dboid = dboid;
	return &l->seen[l->nseen++];
}

/* Reads pg_database. */
static void
read_databases(Launcher *l)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	for (int i = 0; i < l->nseen; i++)
		l->seen[i].present = false;
	UnrdfXactBegin("reading pg_database");
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		Seen *seen;

		/* a connection limit of -2 marks a database whose DROP was interrupted */
		if (form->datallowconn && !form->datistemplate && form->datconnlimit != -2 &&
			(seen = see(l, form->oid)) != NULL)
			seen->present = true;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	UnrdfXactCommit();
	MemoryContextSwitchTo(l->context);
	for (int i = l->nseen - 1; i >= 0; i--)
		if (!l->seen[i].present && l->seen[i].handle == NULL)
			l->seen[i] = l->seen[--l->nseen];
}

static UnrdfDatabase *
entry_of(Oid dboid, bool make)
{
	UnrdfDatabase *entry = NULL;
	UnrdfDatabase *unused = NULL;

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		UnrdfDatabase *db = &UnrdfShmem->databases[i];

		if (db->dboid == dboid)
			entry = db;
		else if (db->dboid == InvalidOid)
			unused = db;
	}
	if (entry == NULL && make && unused)
	{
		entry = unused;
		entry->dboid = dboid;
		entry->absent = false;
		pg_atomic_write_u32(&entry->epoch, 0);
		pg_atomic_write_u64(&entry->first_write, 0);
		pg_atomic_write_u64(&entry->integrated, 0);
		pg_atomic_write_u64(&entry->dispatched, 0);
		UnrdfPublishingForget(entry);
		pg_atomic_write_u64(&entry->ticked, 0);
	}
	LWLockRelease(UnrdfShmem->lock);
	return entry;
}

static void
release_entry(UnrdfDatabase *db)
{
	bool alive = false;

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < UNRDF_PROCESSES; i++)
		alive = alive || db->processes[i].pid != 0;
	if (!alive)
		db->dboid = InvalidOid;
	LWLockRelease(UnrdfShmem->lock);
}

/*
 * UnrdfEndUnlessInstalled ends a dispatcher whose database has no extension, and tells the launcher, which then starts none there
 * before somebody creates one. Creations are counted behind their commit, and read before the look: one that it does not see counts later.
 */
void
UnrdfEndUnlessInstalled(UnrdfDatabase *db)
{
	bool installed;

	db->installs = pg_atomic_read_u32(&UnrdfShmem->installs);
	UnrdfXactBegin("looking for the extension");
	installed = UnrdfInstalled();
	UnrdfXactCommit();
	db->absent = !installed;
	if (!installed)
		proc_exit(0);
}

/* Looks whether the dispatcher that was started has ended, and what it found. It may have ended long after it looked. */
static void
reap(Seen *seen, UnrdfDatabase *db)
{
	pid_t pid;

	if (seen->handle == NULL || GetBackgroundWorkerPid(seen->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(seen->handle);
	seen->handle = NULL;
	if (db && db->absent)
	{
		seen->absent = db->installs == pg_atomic_read_u32(&UnrdfShmem->installs);
		if (!seen->absent)
			seen->started = 0;
		UnrdfLeasesForget(db->dboid);
		release_entry(db);
	}
}

static void
start(Launcher *l, Seen *seen)
{
	UnrdfDatabase *db = entry_of(seen->dboid, true);
	const char *hint = "Raise max_worker_processes.";

	seen->started = UnrdfTicks();
	if (db == NULL)
		hint = "At most 64 databases can have unrdf's workers.";
	else if (db->processes[UNRDF_DISPATCHER].pid != 0 ||
			 UnrdfStartWorker("unrdf dispatcher", "UnrdfDispatcherMain",
							  ObjectIdGetDatum(seen->dboid), &seen->handle))
		return;
	if (!l->warned)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the dispatcher of database with OID %u", seen->dboid),
				 errhint("%s", hint)));
	l->warned = true;
}

static bool
is_present(const Launcher *l, Oid dboid)
{
	for (int i = 0; i < l->nseen; i++)
		if (l->seen[i].dboid == dboid)
			return l->seen[i].present;
	return false;
}

/*
 * Takes back what databases have left that were dropped, or that lost the extension: their entries and leases, and slots of dead
 * executors, which a dispatcher would have freed.
 */
static void
clean_up(const Launcher *l)
{
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		UnrdfDatabase *db = &UnrdfShmem->databases[i];

		if (db->dboid != InvalidOid && !is_present(l, db->dboid))
		{
			UnrdfLeasesForget(db->dboid);
			release_entry(db);
		}
	}
	for (int i = 0; i < unrdf_executor_slots; i++)
		if (UnrdfSlotGet(&UnrdfSlots[i]) == UNRDF_SLOT_DEAD &&
			entry_of(UnrdfSlots[i].dboid, false) == NULL)
			(void) UnrdfSlotSet(&UnrdfSlots[i], UNRDF_SLOT_DEAD, UNRDF_SLOT_FREE);
}

static void
step(Launcher *l)
{
	uint32 installs = pg_atomic_read_u32(&UnrdfShmem->installs);
	int64 now = UnrdfTicks();

	read_databases(l);
	for (int i = 0; i < l->nseen; i++)
	{
		Seen *seen = &l->seen[i];

		reap(seen, entry_of(seen->dboid, false));
		if (installs != l->installs)
			seen->absent = false;
		if (!seen->present || seen->absent || seen->handle || UnrdfHeld(seen->dboid) ||
			(now - seen->started < RESTART_PAUSE && installs == l->installs))
			continue;
		start(l, seen);
	}
	l->installs = installs;
	clean_up(l);
}

/* UnrdfLauncherMain is the entry point of the launcher. */
void
UnrdfLauncherMain(Datum arg)
{
	Launcher l;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	UnrdfWorkerSetup();
	UnrdfClusterPromoted();
	before_shmem_exit(at_exit, 0);
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	UnrdfShmem->launcher = MyLatch;
	UnrdfShmem->launcher_pid = MyProcPid;
	UnrdfShmem->launcher_since = UnrdfNow();
	LWLockRelease(UnrdfShmem->lock);
	memset(&l, 0, sizeof(l));
	l.context = AllocSetContextCreate(TopMemoryContext, "unrdf launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(l.context);
	l.seen = palloc(MOST_DATABASES * sizeof(Seen));
	for (;;)
	{
		step(&l);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_INTERVAL,
						 unrdf_wait_event("UnrdfLauncherIdle"));
		ResetLatch(MyLatch);
		/* exit code 1: the postmaster starts a new launcher, unless it is shutting down */
		if (ProcDiePending)
			proc_exit(1);
		UnrdfWorkerInterrupts();
	}
}

/* UnrdfLauncherInit registers the launcher; called once, from _PG_init. */
void
UnrdfLauncherInit(void)
{
	UnrdfRegisterWorker("unrdf launcher", "UnrdfLauncherMain",
						BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
						BgWorkerStart_RecoveryFinished);
}
