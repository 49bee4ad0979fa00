/*
 * schedule.c: schedules: what is enqueued when, and for whom.
 *
 * A row of unrdf.schedule is configuration: who owns it changes it, and nothing else does. Nothing is written to it when it
 * fires: where it stands is the newest row of unrdf.schedule_run that is not by hand, or `since`, where it was made, got
 * other times, or was resumed after that.
 *
 * Whoever changes a schedule holds its lock (UNRDF_LOCK_SCHEDULE, by its name, so that it holds for one that is yet to be
 * made) to the transaction's end, and so does whoever fires it (tick.c), who reads the row after that. So once a change has
 * committed, nothing is enqueued by what was before. A change that is not committed keeps its schedule from firing, and no other.
 *
 * A process that dies in between has changed nothing. New rows go past the executor, for its triggers know rows of a dump.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/commit.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/schedule.h"
#include "queue/timetable.h"

#define SCHEDULE_ROW                                                                                   \
	"SELECT s.id, s.owner, s.paused, s.catch_up, s.priority, s.overlap, s.since, " UNRDF_SCHEDULE_LAST \
	", s.name, s.cron, s.time_zone, s.handler, s.queue, s.args, s.args_version FROM unrdf.schedule AS s "

static UnrdfPlan schedule_by_id = {
	SCHEDULE_ROW "WHERE s.id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan schedule_by_name = {
	SCHEDULE_ROW "WHERE s.name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
static UnrdfPlan next_id = {
	"SELECT pg_catalog.nextval('unrdf.schedule_id_seq'::pg_catalog.regclass)", 0};
static UnrdfPlan update_schedule = {
	"UPDATE unrdf.schedule SET catch_up = $2, priority = $3, overlap = $4, cron = $5, time_zone = $6, handler = $7,"
	" queue = $8, args = $9, args_version = nullif($11, 0), since = CASE WHEN cron OPERATOR(pg_catalog.=) $5"
	" AND time_zone OPERATOR(pg_catalog.=) $6 THEN since ELSE $10 END"
	" WHERE id OPERATOR(pg_catalog.=) $1",
	11,
	{INT4OID, INT4OID, INT2OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID,
	 TIMESTAMPTZOID, INT4OID}};
static UnrdfPlan set_paused = {
	"UPDATE unrdf.schedule SET paused = $2, since = CASE WHEN $2 THEN since ELSE $3 END"
	" WHERE id OPERATOR(pg_catalog.=) $1 AND paused OPERATOR(pg_catalog.<>) $2",
	3,
	{INT4OID, BOOLOID, TIMESTAMPTZOID}};
static UnrdfPlan delete_schedule = {
	"DELETE FROM unrdf.schedule WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};

static const char *const overlap_names[] = {"queue", "skip", "cancel"};

/* UnrdfOverlapRead returns what a name stands for; raises 22023 for any other. */
UnrdfOverlap
UnrdfOverlapRead(text *name)
{
	char *s = text_to_cstring(name);

	for (int i = 0; i < lengthof(overlap_names); i++)
		if (strcmp(s, overlap_names[i]) == 0)
			return (UnrdfOverlap) i;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("overlap must be skip, queue or cancel, not \"%s\"", s)));
}

/* UnrdfCatchUpRead returns how many ticks skip, once or a number make up for; raises 22023 for anything else. */
int32
UnrdfCatchUpRead(text *name)
{
	char *s = text_to_cstring(name);
	char *end;
	long n;

	if (strcmp(s, "skip") == 0)
		return 0;
	if (strcmp(s, "once") == 0)
		return 1;
	n = strtol(s, &end, 10);
	if (end == s || *end != '\0' || n < 1 || n > UNRDF_CATCH_UP_MOST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("catch_up must be skip, once or a number between 1 and %d, not \"%s\"",
						UNRDF_CATCH_UP_MOST, s)));
	return (int32) n;
}

/* UnrdfScheduleLockKey returns the key of a schedule's lock. */
uint32
UnrdfScheduleLockKey(text *name)
{
	return hash_bytes((const unsigned char *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

static void
count_change(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		pg_atomic_fetch_add_u32(&db->schedules, 1);
}

/* Has who fires schedules read them again once this transaction commits; one that is prepared is seen within a minute. */
static void
changed(void)
{
	CommandCounterIncrement();
	UnrdfAtCommit(count_change, 0);
}

static text *
result_text(int column)
{
	bool isnull;
	Datum value = UnrdfResult(0, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

/* Reads the row that a plan finds into the current memory context; false where there is none. */
static bool
read_schedule(UnrdfPlan *plan, Datum key, UnrdfSchedule *s)
{
	MemoryContext context = CurrentMemoryContext;
	bool found;
	bool isnull;

	SPI_connect();
	found = UnrdfExecuteLatest(plan, &key, NULL) == 1;
	MemoryContextSwitchTo(context);
	if (found)
	{
		s->id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		s->owner = DatumGetObjectId(UnrdfResult(0, 1, &isnull));
		s->paused = DatumGetBool(UnrdfResult(0, 2, &isnull));
		s->catch_up = DatumGetInt32(UnrdfResult(0, 3, &isnull));
		s->priority = DatumGetInt16(UnrdfResult(0, 4, &isnull));
		if (isnull)
			s->priority = -1;
		s->overlap = UnrdfOverlapRead(result_text(5));
		s->since = DatumGetTimestampTz(UnrdfResult(0, 6, &isnull));
		s->last = DatumGetTimestampTz(UnrdfResult(0, 7, &isnull));
		s->name = result_text(8);
		s->cron = text_to_cstring(result_text(9));
		s->zone = text_to_cstring(result_text(10));
		s->handler = result_text(11);
		s->queue = result_text(12);
		s->args = DatumGetJsonbPCopy(UnrdfResult(0, 13, &isnull));
		s->args_version = DatumGetInt32(UnrdfResult(0, 14, &isnull));
		if (isnull)
			s->args_version = 0;
	}
	SPI_finish();
	return found;
}

/* UnrdfScheduleById reads a schedule as it is now into the current memory context; false where there is none. */
bool
UnrdfScheduleById(int32 id, UnrdfSchedule *s)
{
	return read_schedule(&schedule_by_id, Int32GetDatum(id), s);
}

static void
require_owner(const UnrdfSchedule *s)
{
	if (!has_privs_of_role(GetUserId(), s->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of schedule \"%s\"", text_to_cstring(s->name))));
}

/* UnrdfScheduleOwn locks and reads a schedule that the current role may change. Raises 42704, 42501. */
void
UnrdfScheduleOwn(text *name, UnrdfSchedule *s)
{
	UnrdfLock(UNRDF_LOCK_SCHEDULE, UnrdfScheduleLockKey(name));
	if (!read_schedule(&schedule_by_name, PointerGetDatum(name), s))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("schedule \"%s\" does not exist", text_to_cstring(name))));
	require_owner(s);
}

static void
insert(const UnrdfSchedule *s)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_SCHEDULE, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);
	bool isnull;

	SPI_connect();
	UnrdfExecute(&next_id, NULL, NULL, false);
	UnrdfAppendSet(slot, SCHEDULE_ID,
				   Int32GetDatum((int32) DatumGetInt64(UnrdfResult(0, 0, &isnull))));
	SPI_finish();
	UnrdfAppendSet(slot, SCHEDULE_OWNER, ObjectIdGetDatum(s->owner));
	UnrdfAppendSet(slot, SCHEDULE_CATCH_UP, Int32GetDatum(s->catch_up));
	if (s->priority >= 0)
		UnrdfAppendSet(slot, SCHEDULE_PRIORITY, Int16GetDatum(s->priority));
	UnrdfAppendSet(slot, SCHEDULE_PAUSED, BoolGetDatum(false));
	UnrdfAppendSet(slot, SCHEDULE_SINCE, TimestampTzGetDatum(s->since));
	UnrdfAppendSet(slot, SCHEDULE_NAME, PointerGetDatum(s->name));
	UnrdfAppendSet(slot, SCHEDULE_CRON, CStringGetTextDatum(s->cron));
	UnrdfAppendSet(slot, SCHEDULE_TIME_ZONE, CStringGetTextDatum(s->zone));
	UnrdfAppendSet(slot, SCHEDULE_OVERLAP, CStringGetTextDatum(overlap_names[s->overlap]));
	UnrdfAppendSet(slot, SCHEDULE_HANDLER, PointerGetDatum(s->handler));
	if (s->queue)
		UnrdfAppendSet(slot, SCHEDULE_QUEUE, PointerGetDatum(s->queue));
	UnrdfAppendSet(slot, SCHEDULE_ARGS, JsonbPGetDatum(s->args));
	if (s->args_version != 0)
		UnrdfAppendSet(slot, SCHEDULE_ARGS_VERSION, Int32GetDatum(s->args_version));
	UnrdfAppendEnd(append);
}

static void
update(const UnrdfSchedule *s, int32 id)
{
	char nulls[] = "           ";
	Datum values[11];

	values[0] = Int32GetDatum(id);
	values[1] = Int32GetDatum(s->catch_up);
	values[2] = Int16GetDatum(s->priority);
	values[3] = CStringGetTextDatum(overlap_names[s->overlap]);
	values[4] = CStringGetTextDatum(s->cron);
	values[5] = CStringGetTextDatum(s->zone);
	values[6] = PointerGetDatum(s->handler);
	values[7] = PointerGetDatum(s->queue);
	values[8] = JsonbPGetDatum(s->args);
	values[9] = TimestampTzGetDatum(s->since);
	values[10] = Int32GetDatum(s->args_version);
	if (s->priority < 0)
		nulls[2] = 'n';
	if (s->queue == NULL)
		nulls[7] = 'n';
	SPI_connect();
	UnrdfExecute(&update_schedule, values, nulls, false);
	SPI_finish();
}

/*
 * UnrdfScheduleSave makes a schedule of the current role, or changes one that it may change; it goes on from where it was unless its
 * times are others now. Everything in it has been checked. Returns when it is due next. Raises 42501.
 */
TimestampTz
UnrdfScheduleSave(UnrdfSchedule *s)
{
	UnrdfSchedule old;
	UnrdfTimetable t;
	TimestampTz next;

	UnrdfTimetableRead(s->cron, s->zone, &t);
	UnrdfTimetableCheckZone(&t, s->zone);
	UnrdfLock(UNRDF_LOCK_SCHEDULE, UnrdfScheduleLockKey(s->name));
	s->owner = GetUserId();
	s->since = UnrdfNow();
	if (!UnrdfTimetableNext(&t, s->since, &next))
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("a schedule that is never due: \"%s\"", s->cron)));
	if (read_schedule(&schedule_by_name, PointerGetDatum(s->name), &old))
	{
		require_owner(&old);
		update(s, old.id);
	}
	else
		insert(s);
	changed();
	return next;
}

/* UnrdfSchedulePause pauses a schedule, or resumes it: what was due in between is none of its ticks. Raises 42704, 42501. */
void
UnrdfSchedulePause(text *name, bool paused)
{
	UnrdfSchedule s;
	Datum values[3];

	UnrdfScheduleOwn(name, &s);
	values[0] = Int32GetDatum(s.id);
	values[1] = BoolGetDatum(paused);
	values[2] = TimestampTzGetDatum(UnrdfNow());
	SPI_connect();
	UnrdfExecute(&set_paused, values, NULL, false);
	SPI_finish();
	changed();
}

/* UnrdfScheduleDrop removes a schedule; its runs and jobs stay. Raises 42704, 42501. */
void
UnrdfScheduleDrop(text *name)
{
	UnrdfSchedule s;
	Datum id;

	UnrdfScheduleOwn(name, &s);
	id = Int32GetDatum(s.id);
	SPI_connect();
	UnrdfExecute(&delete_schedule, &id, NULL, false);
	SPI_finish();
	changed();
}
