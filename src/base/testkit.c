/*
 * testkit.c: what tests can do to time, and what they can have happen at named places.
 *
 * There only is a kit where the server was started with unrdf.test_kit; else UnrdfTestKit is NULL, and time and places cost a look
 * at it. Everything is per database, in shared memory, and takes effect at once, whether or not the transaction that asks commits.
 * A crash or restart forgets it all: who is to crash the server at a place does so once.
 *
 * A database has its entry from its first use on, for as long as the server runs. Entries are found without a lock (the clock is
 * read under locks): an entry's dboid is written last. What is armed is under UnrdfShmem->lock.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/testkit.h"

typedef struct TestDatabase
{
	Oid dboid;                /* InvalidOid: free */
	pg_atomic_uint64 offset;  /* microseconds, an int64 */
	pg_atomic_uint32 held;    /* jobs run only while somebody asks for it */
	pg_atomic_uint32 asking;  /* so many do */
	pg_atomic_uint64 settle;  /* counts who waits for the releaser to have nothing left to do */
	pg_atomic_uint64 settled; /* up to whom it had nothing left */
	UnrdfTestPointState points[UNRDF_POINTS];
} TestDatabase;

struct UnrdfTestShared
{
	ConditionVariable released; /* broadcast when a point is armed or disarmed */
	TestDatabase databases[UNRDF_MAX_DATABASES];
};

UnrdfTestShared *UnrdfTestKit = NULL;

const UnrdfTestPointName UnrdfTestPoints[UNRDF_POINTS] = {
	[UNRDF_POINT_ENQUEUE] = {"enqueue", "a job's row is written, in the enqueuer's transaction"},
	[UNRDF_POINT_EMIT] = {"emit", "an event's row is written, in the emitter's transaction"},
	[UNRDF_POINT_TICK_COMMIT] = {"tick.commit",
								 "who fires schedules is about to commit jobs and ticks"},
	[UNRDF_POINT_TICK_COMMITTED] = {"tick.committed", "he has committed them"},
	[UNRDF_POINT_COURIER_READ] = {"courier.read", "the courier has read events for a subscription"},
	[UNRDF_POINT_COURIER_ENQUEUED] = {"courier.enqueued", "it has written their jobs"},
	[UNRDF_POINT_COURIER_COMMIT] = {"courier.commit", "it is about to commit jobs and position"},
	[UNRDF_POINT_COURIER_COMMITTED] = {"courier.committed", "it has committed them"},
	[UNRDF_POINT_RELEASE_COMMIT] = {"release.commit",
									"the releaser is about to commit what became of waiting jobs"},
	[UNRDF_POINT_RELEASE_COMMITTED] = {"release.committed", "it has committed that"},
	[UNRDF_POINT_DISPATCH] = {"dispatch", "the dispatcher is about to hand jobs to an executor"},
	[UNRDF_POINT_EXECUTE] = {"execute",
							 "an executor, or a session of its, is about to call a handler"},
	[UNRDF_POINT_EXECUTED] = {"executed", "the handler has returned"},
	[UNRDF_POINT_EXECUTE_COMMIT] = {"execute.commit",
									"the executor is about to commit effects and receipts"},
	[UNRDF_POINT_EXECUTE_COMMITTED] = {"execute.committed", "it has committed them"},
	[UNRDF_POINT_FAIL_COMMIT] = {"fail.commit",
								 "it is about to commit what a failed attempt leaves"},
	[UNRDF_POINT_FAIL_COMMITTED] = {"fail.committed", "it has committed that"},
	[UNRDF_POINT_CLAIM] = {"claim", "a worker outside has jobs in hand, in its transaction"},
	[UNRDF_POINT_COMPLETE] = {"complete",
							  "what a worker outside says of jobs is written, in its transaction"},
	[UNRDF_POINT_INTEGRATE_COMMIT] = {"integrate.commit",
									  "the integrator is about to commit leaves and tree"},
	[UNRDF_POINT_INTEGRATE_COMMITTED] = {"integrate.committed", "it has committed them"},
};

const char *const UnrdfTestActions[UNRDF_TEST_ACTIONS] = {
	[UNRDF_TEST_NOTHING] = "nothing", [UNRDF_TEST_ERROR] = "error", [UNRDF_TEST_EXIT] = "exit",
	[UNRDF_TEST_CRASH] = "crash",     [UNRDF_TEST_WAIT] = "wait",
};

static void
init_kit(void *block)
{
	UnrdfTestShared *kit = block;

	ConditionVariableInit(&kit->released);
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		pg_atomic_init_u64(&kit->databases[i].offset, 0);
		pg_atomic_init_u32(&kit->databases[i].held, 0);
		pg_atomic_init_u32(&kit->databases[i].asking, 0);
		pg_atomic_init_u64(&kit->databases[i].settle, 0);
		pg_atomic_init_u64(&kit->databases[i].settled, 0);
	}
}

/* UnrdfTestInit asks for the kit's memory where it is wanted; called once, from _PG_init, after the settings are known. */
void
UnrdfTestInit(void)
{
	if (unrdf_test_kit)
		UnrdfShmemRegister("unrdf test kit", sizeof(UnrdfTestShared), (void **) &UnrdfTestKit,
						   init_kit);
}

/* UnrdfRequireTestKit raises 55000 where there is no kit. */
void
UnrdfRequireTestKit(void)
{
	UnrdfRequirePreload();
	if (UnrdfTestKit == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there is no test kit"),
				 errhint("Set unrdf.test_kit = on and restart the server. Not where real "
						 "work is done.")));
}

/* The current database's entry, or NULL where nothing was asked for in it yet. */
static TestDatabase *
find_entry(void)
{
	static TestDatabase *mine = NULL;

	if (UnrdfTestKit == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	for (int i = 0; i < UNRDF_MAX_DATABASES && mine == NULL; i++)
		if (UnrdfTestKit->databases[i].dboid == MyDatabaseId)
			mine = &UnrdfTestKit->databases[i];
	return mine;
}

/* The current database's entry, made where there is none. Raises 53000. */
static TestDatabase *
make_entry(void)
{
	TestDatabase *entry = find_entry();

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < UNRDF_MAX_DATABASES && entry == NULL; i++)
		if (UnrdfTestKit->databases[i].dboid == InvalidOid ||
			UnrdfTestKit->databases[i].dboid == MyDatabaseId)
		{
			entry = &UnrdfTestKit->databases[i];
			entry->dboid = MyDatabaseId;
		}
	LWLockRelease(UnrdfShmem->lock);
	if (entry == NULL)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("the test kit has served %d databases already", UNRDF_MAX_DATABASES),
						errhint("Restart the server.")));
	return entry;
}

/* UnrdfTestOffset returns what the current database's clock is ahead by, in microseconds. */
int64
UnrdfTestOffset(void)
{
	TestDatabase *entry = find_entry();

	return entry ? (int64) pg_atomic_read_u64(&entry->offset) : 0;
}

static void
wake_dispatcher(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
}

/* UnrdfTestSetOffset sets it, and wakes the dispatcher. Raises 53000. */
void
UnrdfTestSetOffset(int64 micros)
{
	pg_atomic_write_u64(&make_entry()->offset, (uint64) micros);
	wake_dispatcher();
}

/* UnrdfTestHold has jobs run only between UnrdfTestAsk(true) and UnrdfTestAsk(false), or again by themselves. Raises 53000. */
void
UnrdfTestHold(bool hold)
{
	pg_atomic_write_u32(&make_entry()->held, hold);
	wake_dispatcher();
}

/* UnrdfTestAsk begins or ends somebody's asking that jobs run. Raises 53000. */
void
UnrdfTestAsk(bool begins)
{
	pg_atomic_fetch_add_u32(&make_entry()->asking, begins ? 1 : -1);
	wake_dispatcher();
}

/* UnrdfTestHolds tells whether no job is to be handed out now. */
bool
UnrdfTestHolds(void)
{
	TestDatabase *entry = find_entry();

	return entry && pg_atomic_read_u32(&entry->held) != 0 &&
		   pg_atomic_read_u32(&entry->asking) == 0;
}

/*
 * UnrdfTestSettle asks the releaser to look, and returns a number: once that has settled (UnrdfTestSettled), whatever
 * the ends that were visible before the call decide of waiting jobs is done. Raises 53000.
 */
uint64
UnrdfTestSettle(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	uint64 number = pg_atomic_add_fetch_u64(&make_entry()->settle, 1);

	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_RELEASER].latch);
	return number;
}

/* UnrdfTestSettled tells whether that is so. Where no job waits there is nothing to do. */
bool
UnrdfTestSettled(uint64 number)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	TestDatabase *entry = find_entry();

	return db == NULL || entry == NULL || pg_atomic_read_u32(&db->wants_releaser) == 0 ||
		   pg_atomic_read_u64(&entry->settled) >= number;
}

/* UnrdfTestToSettle returns what the releaser has to give to UnrdfTestHasSettled when it has begun after this and found nothing left. */
uint64
UnrdfTestToSettle(void)
{
	TestDatabase *entry = find_entry();

	return entry ? pg_atomic_read_u64(&entry->settle) : 0;
}

/* UnrdfTestHasSettled lets those go on who wait for it. Only the releaser calls it. */
void
UnrdfTestHasSettled(uint64 number)
{
	TestDatabase *entry = find_entry();

	if (entry)
		pg_atomic_write_u64(&entry->settled, number);
}

/* Waits until somebody arms or disarms the point. */
static void
wait_for_release(const UnrdfTestPointState *point)
{
	ConditionVariablePrepareToSleep(&UnrdfTestKit->released);
	for (;;)
	{
		bool released;

		LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
		released = point->pid != MyProcPid;
		LWLockRelease(UnrdfShmem->lock);
		if (released)
			break;
		ConditionVariableSleep(&UnrdfTestKit->released, unrdf_wait_event("UnrdfTestPoint"));
	}
	ConditionVariableCancelSleep();
}

/* UnrdfTestReach does what was asked for at this point, if its time has come. Raises 58000, or does not return. */
void
UnrdfTestReach(UnrdfTestPointId id)
{
	TestDatabase *entry = find_entry();
	UnrdfTestPointState *point;
	UnrdfTestAction action = UNRDF_TEST_NOTHING;

	if (entry == NULL)
		return;
	point = &entry->points[id];
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	if (point->action != UNRDF_TEST_NOTHING && ++point->reached == point->nth)
	{
		action = point->action;
		point->pid = MyProcPid;
	}
	LWLockRelease(UnrdfShmem->lock);
	if (action == UNRDF_TEST_NOTHING)
		return;
	ereport(LOG,
			(errmsg("test point \"%s\": %s", UnrdfTestPoints[id].name, UnrdfTestActions[action])));
	if (action == UNRDF_TEST_CRASH)
		(void) kill(MyProcPid, SIGKILL);
	else if (action == UNRDF_TEST_WAIT)
		wait_for_release(point);
	else
		ereport(action == UNRDF_TEST_EXIT ? FATAL : ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("forced failure at test point \"%s\"", UnrdfTestPoints[id].name)));
}

/*
 * UnrdfTestArm has an action happen when the point is reached for the nth time from now on, once; nothing disarms. Whoever waits there
 * goes on. Raises 53000.
 */
void
UnrdfTestArm(UnrdfTestPointId id, UnrdfTestAction action, int32 nth)
{
	UnrdfTestPointState *point = &make_entry()->points[id];

	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	point->action = action;
	point->nth = nth;
	point->reached = 0;
	point->pid = 0;
	LWLockRelease(UnrdfShmem->lock);
	ConditionVariableBroadcast(&UnrdfTestKit->released);
}

/* UnrdfTestPointRead copies what is known of a point. */
void
UnrdfTestPointRead(UnrdfTestPointId id, UnrdfTestPointState *state)
{
	TestDatabase *entry = find_entry();

	memset(state, 0, sizeof(*state));
	if (entry == NULL)
		return;
	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	*state = entry->points[id];
	LWLockRelease(UnrdfShmem->lock);
}
