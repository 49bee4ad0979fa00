/*
 * ticker.c: what the clock calls every minute: fires the schedules that are due, until the next call.
 *
 * The clock is pg_cron, or any other that runs CALL unrdf.run_schedules(). It says only that a minute has begun. A call
 * fires all that is due and then stays, if anything is due up to the end of its minute, that end included: it is there when the next minute
 * begins, which another process would yet have to be started for.
 *
 * Which schedules there are, and when each is due, is private memory, read anew when the count of changes in shared memory is
 * another. That only saves looking: what fires, and that it fires once, is decided under the schedule's lock, from its row (tick.c). So
 * calls may overlap. UNRDF_LOCK_TICKER has one of them act at a time, and the others wait: each leaves at the end of the minute in which it
 * was called, so there are never many.
 *
 * A batch of ticks is a transaction, with a savepoint each, so few that their number does no harm to others' snapshots. A process
 * that dies loses the batch, whose ticks stay due. Between transactions the call has no snapshot, and so holds back no VACUUM while it sleeps.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "queue/schedule.h"
#include "queue/timetable.h"

#define BATCH 32           /* ticks in one transaction */
#define LOOK_INTERVAL 1000 /* ms between two looks at the count of changes */

/* A schedule, and when to look at it. */
typedef struct Entry
{
	int32 id;
	uint32 lock_key;
	TimestampTz next;
} Entry;

typedef struct Ticker
{
	MemoryContext context; /* of this, for the whole call */
	MemoryContext scratch; /* of one schedule */
	UnrdfDatabase *db;     /* NULL: has no workers yet, and nobody to count changes */
	uint32 changes;
	bool known;
	bool fired;     /* in this transaction */
	bool restoring; /* rows of a dump may be on their way, which say what was fired */
	Entry *entries;
	uint64 n;
} Ticker;

static UnrdfPlan list_schedules = {"SELECT s.id, s.name, s.cron, s.time_zone, " UNRDF_SCHEDULE_LAST
								   " FROM unrdf.schedule AS s WHERE NOT s.paused",
								   0};
static UnrdfPlan restore_runs = {"SELECT FROM unrdf.restoring", 0};

/* Inside SPI. */
static void
read_entries(Ticker *t)
{
	bool isnull;

	MemoryContextReset(t->context);
	t->n = UnrdfExecuteLatest(&list_schedules, NULL, NULL);
	t->entries = MemoryContextAllocHuge(t->context, Max(t->n, 1) * sizeof(Entry));
	for (uint64 i = 0; i < t->n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(t->scratch);
		Entry *entry = &t->entries[i];
		UnrdfTimetable times;

		entry->id = DatumGetInt32(UnrdfResult(i, 0, &isnull));
		entry->lock_key = UnrdfScheduleLockKey(DatumGetTextPP(UnrdfResult(i, 1, &isnull)));
		UnrdfTimetableRead(TextDatumGetCString(UnrdfResult(i, 2, &isnull)),
						   TextDatumGetCString(UnrdfResult(i, 3, &isnull)), &times);
		if (!UnrdfTimetableNext(&times, DatumGetTimestampTz(UnrdfResult(i, 4, &isnull)),
								&entry->next))
			entry->next = DT_NOEND;
		MemoryContextSwitchTo(old);
		MemoryContextReset(t->scratch);
	}
}

/* Reads which schedules there are, if that may have changed. The count is read first, so a change that it has is seen. */
static void
look(Ticker *t)
{
	uint32 changes = t->db ? pg_atomic_read_u32(&t->db->schedules) : 0;

	SPI_connect();
	t->restoring = UnrdfExecuteLatest(&restore_runs, NULL, NULL) > 0;
	if (!t->known || t->db == NULL || t->changes != changes)
	{
		read_entries(t);
		t->changes = changes;
		t->known = true;
	}
	SPI_finish();
}

/* Fires what is due of one schedule; somebody who is changing it has it put off for a second. */
static int
fire_entry(Ticker *t, Entry *entry, TimestampTz now, int most)
{
	MemoryContext old = MemoryContextSwitchTo(t->scratch);
	UnrdfSchedule s;
	int n = 0;

	/* whoever writes has to have one; it is gone again before anything waits */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!UnrdfTryLock(UNRDF_LOCK_SCHEDULE, entry->lock_key))
		entry->next = now + USECS_PER_SEC;
	else if (!UnrdfScheduleById(entry->id, &s) || s.paused)
		entry->next = DT_NOEND;
	else
		n = UnrdfFireDue(&s, now, most, &entry->next);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextReset(t->scratch);
	return n;
}

/* Fires up to a batch of what is due; whether there may be more. *next becomes the time of the first that is not. */
static bool
fire_batch(Ticker *t, TimestampTz *next)
{
	TimestampTz now = UnrdfNow();
	int n = 0;

	*next = DT_NOEND;
	t->fired = false;
	if (t->restoring)
		return false;
	for (uint64 i = 0; i < t->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (t->entries[i].next <= now)
		{
			int fired = fire_entry(t, &t->entries[i], now, BATCH - n);

			t->fired |= fired > 0;
			/* one that did not fire was locked all the same */
			n += Max(fired, 1);
		}
		if (n == BATCH)
			return true;
		*next = Min(*next, t->entries[i].next);
	}
	return false;
}

static void
sleep_until(TimestampTz next)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 UnrdfMillisUntil(next, LOOK_INTERVAL), unrdf_wait_event("UnrdfTicker"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * UnrdfRunSchedules fires what is due and, where it may wait, what becomes due up to the end of this minute. It commits, and so is
 * for procedures outside of transaction blocks only.
 */
void
UnrdfRunSchedules(bool wait)
{
	Ticker t = {.db = UnrdfMyDatabase()};
	TimestampTz now = UnrdfNow();
	TimestampTz leave_at = now - now % USECS_PER_MINUTE + USECS_PER_MINUTE;
	int64 leave_tick = UnrdfTicks() + (leave_at - now);
	TimestampTz next;
	bool more;

	if (t.db)
		pg_atomic_write_u64(&t.db->ticked, (uint64) now);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	t.context = AllocSetContextCreate(CurrentMemoryContext, "unrdf ticker", ALLOCSET_DEFAULT_SIZES);
	t.scratch =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf schedule", ALLOCSET_DEFAULT_SIZES);
	SPI_commit();
	for (;;)
	{
		UnrdfLock(UNRDF_LOCK_TICKER, 0);
		look(&t);
		more = fire_batch(&t, &next);
		if (t.fired)
			UnrdfTestPoint(UNRDF_POINT_TICK_COMMIT);
		SPI_commit();
		if (t.fired)
			UnrdfTestPoint(UNRDF_POINT_TICK_COMMITTED);
		if (more)
			continue;
		if (!wait || next > leave_at || UnrdfTicks() >= leave_tick)
			break;
		UnrdfLock(UNRDF_LOCK_TICKER, 0);
		sleep_until(next);
	}
	SPI_finish();
}

/* UnrdfTickedAt returns when schedules were last fired here since the server's start; 0: not yet. */
TimestampTz
UnrdfTickedAt(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	return db ? (TimestampTz) pg_atomic_read_u64(&db->ticked) : 0;
}
