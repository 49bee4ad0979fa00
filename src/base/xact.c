/*
 * xact.c: transactions of worker processes, and savepoints.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/xact.h"

/* the server takes statistics of a process once a second; what came since the last time waits here */
static bool unflushed = false;

/* UnrdfXactBegin starts a transaction with an active snapshot and shows activity in pg_stat_activity. */
void
UnrdfXactBegin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	debug_query_string = activity;
}

/* UnrdfXactCommit commits what UnrdfXactBegin began, and flushes statistics. The memory context is TopMemoryContext after it. */
void
UnrdfXactCommit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	debug_query_string = NULL;
	unflushed = pgstat_report_stat(false) > 0;
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* UnrdfXactAbort rolls back whatever is open, also from within a failed transaction. */
void
UnrdfXactAbort(void)
{
	HOLD_INTERRUPTS();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	debug_query_string = NULL;
	unflushed = pgstat_report_stat(false) > 0;
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * UnrdfStatsUnflushed tells whether statistics wait to be reported, and reports them where flush is true: for a process
 * that goes idle. Autovacuum depends on them.
 */
bool
UnrdfStatsUnflushed(bool flush)
{
	if (unflushed && flush)
	{
		pgstat_report_stat(true);
		unflushed = false;
	}
	return unflushed;
}

/* UnrdfTry calls fn(arg) under a savepoint. Returns what it failed of, with nothing of it left, in the current memory context; or NULL. */
ErrorData *
UnrdfTry(void (*fn)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		fn(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* UnrdfTryUnique does so and returns true, or false where that violates a unique index. Raises whatever else it fails of. */
bool
UnrdfTryUnique(void (*fn)(void *arg), void *arg)
{
	ErrorData *error = UnrdfTry(fn, arg);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/* UnrdfFreshSnapshot makes what the current transaction wrote, and what others committed, visible from here on. */
void
UnrdfFreshSnapshot(void)
{
	CommandCounterIncrement();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}
