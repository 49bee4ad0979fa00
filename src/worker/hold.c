/*
 * hold.c: keeps workers out of a database while a command needs it to itself.
 *
 * DROP DATABASE, CREATE DATABASE … TEMPLATE, ALTER DATABASE … RENAME and SET TABLESPACE fail while anybody is connected, and
 * DROP EXTENSION waits for whoever uses the tables. A ProcessUtility hook puts a hold on the database, ends its workers,
 * waits until they are gone, runs the command, and lifts the hold; the launcher starts no worker in a database that is
 * held. Jobs that ran are rolled back and run again if the database or the extension is still there.
 *
 * The holds are a small shared table under UnrdfShared->lock. A hold is lifted on success, on error, and when its process
 * exits; DROP EXTENSION's lasts until its transaction ends, as its locks do.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "tcop/utility.h"

#include "base/commit.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "queue/depth.h"
#include "worker/slot.h"
#include "worker/worker.h"

#define MAX_HOLDS 16

typedef struct Hold
{
	Oid dboid; /* InvalidOid: free */
	int pid;
} Hold;

typedef struct Holds
{
	Hold holds[MAX_HOLDS];
	ConditionVariable gone; /* broadcast when a worker has ended */
} Holds;

static Holds *holds = NULL;
static ProcessUtility_hook_type prev_utility = NULL;
static bool holding = false; /* to the end of the transaction */

static void
init_holds(void *block)
{
	ConditionVariableInit(&((Holds *) block)->gone);
}

/* UnrdfHeld tells whether a database's workers have to stay away. */
bool
UnrdfHeld(Oid dboid)
{
	bool held = false;

	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	for (int i = 0; i < MAX_HOLDS; i++)
		if (holds->holds[i].dboid == dboid)
			held = true;
	LWLockRelease(UnrdfShmem->lock);
	return held;
}

/* UnrdfWorkerGone tells whoever waits for workers to end that one has. For exit callbacks. */
void
UnrdfWorkerGone(void)
{
	ConditionVariableBroadcast(&holds->gone);
	UnrdfSetLatch(&UnrdfShmem->launcher);
}

static void
lift_holds(void)
{
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS; i++)
		if (holds->holds[i].pid == MyProcPid)
			holds->holds[i].dboid = holds->holds[i].pid = 0;
	LWLockRelease(UnrdfShmem->lock);
	holding = false;
	UnrdfSetLatch(&UnrdfShmem->launcher);
}

static void
at_exit(int code, Datum arg)
{
	lift_holds();
}

static void
at_xact_event(XactEvent event, void *arg)
{
	if (holding && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
		lift_holds();
}

static void
put_hold(Oid dboid)
{
	static bool registered = false;
	bool done = false;

	if (!registered)
	{
		before_shmem_exit(at_exit, 0);
		RegisterXactCallback(at_xact_event, NULL);
		registered = true;
	}
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_HOLDS && !done; i++)
		if (holds->holds[i].dboid == InvalidOid)
		{
			holds->holds[i].dboid = dboid;
			holds->holds[i].pid = MyProcPid;
			done = true;
		}
	LWLockRelease(UnrdfShmem->lock);
	if (!done)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("too many commands are keeping workers out of databases at once")));
}

/* Signals a database's workers to end; returns how many there are. */
static int
end_workers(Oid dboid)
{
	int n = 0;

	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		UnrdfDatabase *db = &UnrdfShmem->databases[i];

		if (db->dboid != dboid)
			continue;
		for (int kind = 0; kind < UNRDF_PROCESSES; kind++)
			if (db->processes[kind].pid != 0 && ++n)
				kill(db->processes[kind].pid, SIGTERM);
	}
	LWLockRelease(UnrdfShmem->lock);
	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];
		UnrdfSlotState state = UnrdfSlotGet(slot);

		if (state == UNRDF_SLOT_FREE || state == UNRDF_SLOT_DEAD || slot->dboid != dboid)
			continue;
		n++;
		if (slot->pid != 0)
			kill(slot->pid, SIGTERM);
	}
	return n;
}

/* Ends a database's workers and keeps them away until lift_holds. */
static void
hold(Oid dboid)
{
	put_hold(dboid);
	ConditionVariablePrepareToSleep(&holds->gone);
	/* a worker that was just being started shows up a little later, so look again now and then */
	while (end_workers(dboid) > 0)
		(void) ConditionVariableTimedSleep(&holds->gone, 100, unrdf_wait_event("UnrdfHold"));
	ConditionVariableCancelSleep();
}

/* The database that a command needs for itself, or InvalidOid. */
static Oid
database_of(Node *stmt)
{
	if (IsA(stmt, DropdbStmt))
		return get_database_oid(((DropdbStmt *) stmt)->dbname, true);
	if (IsA(stmt, RenameStmt) && ((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
		return get_database_oid(((RenameStmt *) stmt)->subname, true);
	if (IsA(stmt, AlterDatabaseStmt) || IsA(stmt, CreatedbStmt))
	{
		bool create = IsA(stmt, CreatedbStmt);
		List *options =
			create ? ((CreatedbStmt *) stmt)->options : ((AlterDatabaseStmt *) stmt)->options;
		ListCell *lc;

		foreach (lc, options)
		{
			DefElem *option = lfirst_node(DefElem, lc);

			if (create && strcmp(option->defname, "template") == 0 && option->arg &&
				IsA(option->arg, String))
				return get_database_oid(strVal(option->arg), true);
			if (!create && strcmp(option->defname, "tablespace") == 0)
				return get_database_oid(((AlterDatabaseStmt *) stmt)->dbname, true);
		}
	}
	return InvalidOid;
}

static bool
drops_extension(Node *stmt)
{
	ListCell *lc;

	if (!IsA(stmt, DropStmt) || ((DropStmt *) stmt)->removeType != OBJECT_EXTENSION)
		return false;
	foreach (lc, ((DropStmt *) stmt)->objects)
		if (strcmp(strVal(lfirst(lc)), "unrdf") == 0)
			return true;
	return false;
}

static bool
creates_extension(Node *stmt)
{
	return IsA(stmt, CreateExtensionStmt) &&
		   strcmp(((CreateExtensionStmt *) stmt)->extname, "unrdf") == 0;
}

static void
installed(uint64 arg)
{
	UnrdfDepthForget();
	pg_atomic_fetch_add_u32(&UnrdfShmem->installs, 1);
	UnrdfSetLatch(&UnrdfShmem->launcher);
}

static void
next_utility(PlannedStmt *pstmt, const char *query, bool readOnlyTree,
			 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *env,
			 DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_utility)
		prev_utility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
}

/* Holds the database that a statement is about. Whether the hold ends with the statement; else it ends with the transaction. */
static bool
hold_for(Node *stmt)
{
	Oid dboid;

	if (UnrdfShmem == NULL || !IsTransactionState() || RecoveryInProgress())
		return false;
	dboid = database_of(stmt);
	if (OidIsValid(dboid))
	{
		hold(dboid);
		return true;
	}
	if (drops_extension(stmt))
	{
		hold(MyDatabaseId);
		holding = true;
	}
	return false;
}

static void
utility(PlannedStmt *pstmt, const char *query, bool readOnlyTree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	const bool held = hold_for(pstmt->utilityStmt);

	PG_TRY();
	{
		next_utility(pstmt, query, readOnlyTree, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		if (held)
			lift_holds();
	}
	PG_END_TRY();
	if (UnrdfShmem && creates_extension(pstmt->utilityStmt))
		UnrdfAtCommit(installed, 0);
}

/* UnrdfHoldInit registers the table of holds and the hook; called once, from _PG_init. */
void
UnrdfHoldInit(void)
{
	UnrdfShmemRegister("unrdf holds", sizeof(Holds), (void **) &holds, init_holds);
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
