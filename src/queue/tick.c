/*
 * tick.c: what a schedule does when it is due.
 *
 * A tick is a (schedule, due time). Invariant: of a tick there is at most one row of unrdf.schedule_run, its primary key sees to
 * that, and a tick's job and its row commit together. So whoever fires it, also a second time after a crash at any line, on
 * another node after a failover, or beside somebody else: it is enqueued once or, where the row says so, not at all. Rows are written in
 * the order in which ticks are due, and what is due later than the newest is yet to be dealt with: no tick is lost.
 *
 * Ticks up to GRACE late are on time: the clock comes once a minute, and may be held up. Where one is later than that, the clock was
 * away, and catch_up says how many of the newest are made up for; one that is on time fires in any case, as the last. Those that
 * are left out are counted in the next row.
 *
 * The schedule's lock is held to the transaction's end (schedule.c), so of two that are about to enqueue for one schedule, a
 * tick and one by hand, the second sees the first's job. Enqueueing is a call of unrdf.enqueue() as the schedule's owner: what that
 * refuses is refused here, and is the owner's to mend. It is written down in place of the job, and the schedule goes on. What
 * failed for no fault of the schedule, such as a disk that is full, is not: the tick stays due and is tried again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/plan.h"
#include "base/xact.h"
#include "queue/handler.h"
#include "queue/room.h"
#include "queue/schedule.h"
#include "queue/timetable.h"

#define GRACE (2 * USECS_PER_MINUTE)
#define RETRY USECS_PER_SEC
#define PATIENCE 200 /* ms */
#define MAX_MESSAGE 1024

/* What became of a tick. */
typedef struct Run
{
	const char *action;
	int64 missed; /* ticks left out before it */
	int64 job;    /* 0: none */
	bool by_hand;
	TimestampTz due;
	ErrorData *error;
} Run;

static UnrdfPlan unended_job = {
	"SELECT r.job FROM (SELECT x.job FROM unrdf.schedule_run AS x"
	" WHERE x.schedule OPERATOR(pg_catalog.=) $1 AND x.job IS NOT NULL ORDER BY x.job DESC LIMIT 1) AS r"
	" WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS e WHERE e.id OPERATOR(pg_catalog.=) r.job)",
	1,
	{INT4OID}};
static UnrdfPlan last_by_hand = {
	"SELECT r.due_at FROM unrdf.schedule_run AS r WHERE r.schedule OPERATOR(pg_catalog.=) $1 AND r.by_hand"
	" ORDER BY r.due_at DESC LIMIT 1",
	1,
	{INT4OID}};
static UnrdfPlan enqueue = {"SELECT unrdf.enqueue($1, $2, queue => $3, priority => $4)",
							4,
							{TEXTOID, JSONBOID, TEXTOID, INT4OID}};
static UnrdfPlan cancel = {"SELECT unrdf.cancel($1)", 1, {INT8OID}};

/* The newest job that the schedule has enqueued, unless it has ended; 0. */
static int64
find_unended(int32 schedule)
{
	Datum value = Int32GetDatum(schedule);
	bool isnull;
	int64 job = 0;

	SPI_connect();
	if (UnrdfExecuteLatest(&unended_job, &value, NULL) == 1)
		job = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return job;
}

/* Whoever holds the job's end, as a session that has cancelled it and not committed, is not waited for long. */
static void
cancel_as_owner(const UnrdfSchedule *s, int64 job)
{
	Datum value = Int64GetDatum(job);
	int patience = LockTimeout;

	SPI_connect();
	LockTimeout = PATIENCE;
	PG_TRY();
	{
		UnrdfExecuteAs(s->owner, &cancel, &value, NULL);
	}
	PG_FINALLY();
	{
		LockTimeout = patience;
	}
	PG_END_TRY();
	SPI_finish();
}

/* The arguments that the schedule was given. Raises what UnrdfJobArgs does. */
static Jsonb *
args_of(const UnrdfSchedule *s)
{
	const UnrdfHandler *handler;
	UnrdfJob job = {.args = s->args, .handler_version = s->args_version};

	if (s->args_version == 0)
		return s->args;
	handler = UnrdfHandlerByName(s->handler);
	job.handler = handler->id;
	return UnrdfJobArgs(handler, &job);
}

static int64
enqueue_as_owner(const UnrdfSchedule *s)
{
	Datum values[4];
	char nulls[] = "    ";
	bool isnull;
	bool may_wait;
	int64 job;

	values[0] = PointerGetDatum(s->handler);
	values[1] = JsonbPGetDatum(args_of(s));
	values[2] = PointerGetDatum(s->queue);
	values[3] = Int32GetDatum(s->priority);
	if (s->queue == NULL)
		nulls[2] = 'n';
	if (s->priority < 0)
		nulls[3] = 'n';
	SPI_connect();
	/* others are due as well */
	may_wait = UnrdfRoomMayWait(false);
	PG_TRY();
	{
		UnrdfExecuteAs(s->owner, &enqueue, values, nulls);
	}
	PG_FINALLY();
	{
		(void) UnrdfRoomMayWait(may_wait);
	}
	PG_END_TRY();
	job = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return job;
}

static void
write_run(const UnrdfSchedule *s, const Run *run)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_SCHEDULE_RUN, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);

	UnrdfAppendSet(slot, RUN_SCHEDULE, Int32GetDatum(s->id));
	UnrdfAppendSet(slot, RUN_OWNER, ObjectIdGetDatum(s->owner));
	UnrdfAppendSet(slot, RUN_DUE_AT, TimestampTzGetDatum(run->due));
	UnrdfAppendSet(slot, RUN_FIRED_AT, TimestampTzGetDatum(UnrdfNow()));
	if (run->job != 0)
		UnrdfAppendSet(slot, RUN_JOB, Int64GetDatum(run->job));
	UnrdfAppendSet(slot, RUN_MISSED, Int64GetDatum(run->missed));
	UnrdfAppendSet(slot, RUN_BY_HAND, BoolGetDatum(run->by_hand));
	UnrdfAppendSet(slot, RUN_ACTION, CStringGetTextDatum(run->action));
	if (run->error)
	{
		const char *message = run->error->message ? run->error->message : "";

		UnrdfAppendSet(slot, RUN_SQLSTATE,
					   CStringGetTextDatum(unpack_sql_state(run->error->sqlerrcode)));
		UnrdfAppendSet(slot, RUN_MESSAGE,
					   PointerGetDatum(cstring_to_text_with_len(
						   message, pg_mbcliplen(message, strlen(message), MAX_MESSAGE))));
	}
	UnrdfAppendEnd(append);
	/* the schedule's next tick has to see it, and its job */
	CommandCounterIncrement();
}

/* Enqueues the schedule's job, as far as overlap allows, and writes the run. */
static void
fire(const UnrdfSchedule *s, Run *run)
{
	int64 unended = s->overlap == UNRDF_OVERLAP_QUEUE ? 0 : find_unended(s->id);

	run->action = "skipped";
	if (unended == 0 || s->overlap == UNRDF_OVERLAP_CANCEL)
	{
		if (unended != 0)
			cancel_as_owner(s, unended);
		run->job = enqueue_as_owner(s);
		run->action = "enqueued";
	}
	write_run(s, run);
}

/* Whether an error says nothing about the schedule. */
static bool
is_transient(int code)
{
	int category = ERRCODE_TO_CATEGORY(code);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_SYSTEM_ERROR) ||
		   category == ERRCODE_TO_CATEGORY(ERRCODE_INTERNAL_ERROR) ||
		   code == ERRCODE_LOCK_NOT_AVAILABLE;
}

typedef struct Tick
{
	const UnrdfSchedule *schedule;
	const UnrdfTimetable *times;
	Run *run;
} Tick;

static void
fire_tick(void *arg)
{
	const Tick *tick = arg;

	UnrdfTimetableCheckZone(tick->times, tick->schedule->zone);
	fire(tick->schedule, tick->run);
}

/* Fires a tick, or writes down why it could not be; false where it has to be tried again. */
static bool
fire_or_explain(const UnrdfSchedule *s, const UnrdfTimetable *t, TimestampTz due, int64 missed)
{
	Run run = {.due = due, .missed = missed};
	Tick tick = {s, t, &run};
	ErrorData *error = UnrdfTry(fire_tick, &tick);

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(LOG, (errmsg("schedule \"%s\" could not enqueue its job: %s", text_to_cstring(s->name),
						 error->message)));
	if (is_transient(error->sqlerrcode))
		return false;
	run.action = "failed";
	run.job = 0;
	run.error = error;
	write_run(s, &run);
	return true;
}

/*
 * Chooses the first of the ticks due at `first` and later that fires now, and counts those before it. Where none does, due is
 * the newest of them and false returned.
 */
static bool
choose(const UnrdfSchedule *s, const UnrdfTimetable *t, TimestampTz now, TimestampTz first,
	   TimestampTz *due, int64 *missed)
{
	int keep = Max(s->catch_up, 1);
	TimestampTz *newest;
	TimestampTz at = first;
	int64 n = 0;

	*due = first;
	*missed = 0;
	if (now - first <= GRACE)
		return true;
	newest = palloc(keep * sizeof(TimestampTz));
	do
	{
		CHECK_FOR_INTERRUPTS();
		newest[n++ % keep] = at;
	} while (UnrdfTimetableNext(t, at, &at) && at <= now);
	*missed = n - Min(n, keep);
	*due = newest[*missed % keep];
	if (s->catch_up > 0 || now - *due <= GRACE)
		return true;
	*missed = n - 1;
	return false;
}

/*
 * UnrdfFireDue fires the ticks of a schedule that are due, at most so many, in the current transaction; the schedule is
 * locked. Returns how many rows it wrote. *next becomes the time of the next tick, or the one at which to try again.
 */
int
UnrdfFireDue(const UnrdfSchedule *s, TimestampTz now, int most, TimestampTz *next)
{
	UnrdfTimetable t;
	TimestampTz due;
	int64 missed;
	int n = 0;

	UnrdfTimetableRead(s->cron, s->zone, &t);
	if (!UnrdfTimetableNext(&t, s->last, next))
		*next = DT_NOEND;
	if (*next > now)
		return 0;
	if (!choose(s, &t, now, *next, &due, &missed))
	{
		write_run(s, &(Run){.action = "missed", .due = due, .missed = missed + 1});
		if (!UnrdfTimetableNext(&t, due, next))
			*next = DT_NOEND;
		return 1;
	}
	for (*next = due; *next <= now && n < most; n++, missed = 0)
	{
		if (!fire_or_explain(s, &t, *next, missed))
		{
			*next = now + RETRY;
			break;
		}
		if (!UnrdfTimetableNext(&t, *next, next))
			*next = DT_NOEND;
	}
	return n;
}

/*
 * UnrdfFireByHand enqueues a schedule's job now, paused or not, for who may change it, and returns it; 0 where its last one has
 * not ended and overlap is skip. It is no tick: those go on as if it had not been. Raises 42704, 42501, and what enqueue does.
 */
int64
UnrdfFireByHand(text *name)
{
	UnrdfSchedule s;
	Run run = {.by_hand = true, .due = UnrdfNow()};
	Datum id;
	bool isnull;

	UnrdfScheduleOwn(name, &s);
	id = Int32GetDatum(s.id);
	SPI_connect();
	/* the clock may have been set back, and is not that fine */
	if (UnrdfExecuteLatest(&last_by_hand, &id, NULL) == 1)
		run.due = Max(run.due, DatumGetTimestampTz(UnrdfResult(0, 0, &isnull)) + 1);
	SPI_finish();
	fire(&s, &run);
	return run.job;
}
