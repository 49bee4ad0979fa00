/*
 * timetable.c: the times at which a schedule is due.
 *
 * An interval is due at its multiples since 1970-01-01 00:00 UTC, whatever the time zone: so everybody can tell them, and
 * they do not move when a schedule is made anew.
 *
 * A cron expression speaks of what clocks show in a time zone (cron.c), and clocks are moved. As in Vixie's cron there are two
 * kinds. Where minute or hour begins with a *, the schedule follows the clock: a time that the clock passes over is not due, one
 * that it shows twice is due twice. All others are fixed times: each is due once, at the first moment at which the clock shows
 * it, and one that the clock passes over is due at the moment at which the clock was moved. Other than Vixie's, that holds however far
 * it is moved: where a whole day was left out, what was due on it is due when the next one begins.
 *
 * Both come from spans of time in which a zone keeps its offset (pg_next_dst_boundary). Within one a wall clock's time minus
 * the offset is the moment that it is shown at. Times that differ may be due at one moment, in a gap; for a schedule that is one.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "queue/timetable.h"

#define UNIX_EPOCH ((int64) (UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
#define LONGEST_DAYS 3660                     /* of an interval */
#define LAST_SECOND INT64CONST(253402300799)  /* of the year 9999, since 1970 */
#define FIRST_SECOND INT64CONST(-62135596800) /* of the year 1 */
#define FARTHEST_OFFSET (36 * SECS_PER_HOUR)

static int64
read_interval(const char *text)
{
	Interval *i = DatumGetIntervalP(DirectFunctionCall3(
		interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	int64 days = i->day + i->time / USECS_PER_DAY;
	int64 micros;

	if (i->month != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a schedule's interval cannot have months or years: \"%s\"", text),
						errhint("They differ in length. Use a cron expression, as in @monthly.")));
	micros = days > LONGEST_DAYS || days < -LONGEST_DAYS ? 0 : i->day * USECS_PER_DAY + i->time;
	if (micros < USECS_PER_SEC || micros > LONGEST_DAYS * USECS_PER_DAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a schedule's interval must be between 1 second and %d days: \"%s\"",
							   LONGEST_DAYS, text)));
	return micros;
}

/*
 * UnrdfTimetableRead reads a cron expression or an interval, and a time zone. Raises 22023, and what interval's input
 * does, for what is neither; an unknown zone is left to UnrdfTimetableCheckZone.
 */
void
UnrdfTimetableRead(const char *cron, const char *zone, UnrdfTimetable *t)
{
	UnrdfCronError error;

	t->zone = pg_tzset(zone);
	t->every = 0;
	if (!UnrdfCronIsOne(cron))
		t->every = read_interval(cron);
	else if (!UnrdfCronParse(cron, &t->cron, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid cron expression \"%s\"", cron),
				 error.field ? errdetail("Field %s %s.", error.field, error.what)
							 : errdetail("It %s.", error.what),
				 errhint("It has the fields minute, hour, day of month, month and day of week, or "
						 "is a name such as @daily, or an interval such as 30 seconds.")));
}

/* UnrdfTimetableCheckZone raises 22023 where the server does not know the zone, or it counts leap seconds. */
void
UnrdfTimetableCheckZone(const UnrdfTimetable *t, const char *zone)
{
	if (t->zone == NULL || !pg_tz_acceptable(t->zone))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" not recognized", zone)));
}

/* The offset of a zone's clocks from UTC at a time, and the time from which they have another. */
static int64
offset_at(const UnrdfTimetable *t, pg_time_t at, pg_time_t *until)
{
	long before;
	long after;
	int is_dst;
	int change = pg_next_dst_boundary(&at, &before, &is_dst, until, &after, &is_dst, t->zone);

	if (change < 0)
		elog(ERROR, "could not find the offset of time zone \"%s\"", pg_get_timezone_name(t->zone));
	if (change == 0)
		*until = PG_INT64_MAX;
	return before;
}

/* The first moment at which clocks show a time, or at which they pass over it. */
static pg_time_t
first_shown(const UnrdfTimetable *t, int64 local)
{
	pg_time_t from = local - FARTHEST_OFFSET;
	pg_time_t until;
	int64 offset = offset_at(t, from, &until);

	while (local - offset >= until)
	{
		from = until;
		offset = offset_at(t, from, &until);
		if (local - offset < from)
			return from;
	}
	return local - offset;
}

/* The first moment after another at which a fixed time is due. */
static bool
next_fixed(const UnrdfTimetable *t, pg_time_t after, pg_time_t *next)
{
	pg_time_t until;
	int64 local = after + offset_at(t, after, &until);

	/* what is shown a second time was due the first time */
	do
	{
		if (!UnrdfCronNext(&t->cron, local, &local))
			return false;
		*next = first_shown(t, local);
	} while (*next <= after);
	return true;
}

/* The first moment after another at which the clock shows a time that fits. */
static bool
next_by_clock(const UnrdfTimetable *t, pg_time_t after, pg_time_t *next)
{
	pg_time_t from = after + 1;

	for (;;)
	{
		pg_time_t until;
		int64 offset = offset_at(t, from, &until);
		int64 local;

		if (!UnrdfCronNext(&t->cron, from + offset - 1, &local))
			return false;
		*next = local - offset;
		if (*next < until)
			return true;
		from = until;
	}
}

/*
 * UnrdfTimetableNext finds the first time later than another at which something is due; false where there is none in the
 * years that are supported, 1 to 9999. Where the zone is unknown, it goes by UTC.
 */
bool
UnrdfTimetableNext(const UnrdfTimetable *t, TimestampTz after, TimestampTz *next)
{
	pg_time_t second;

	if (TIMESTAMP_NOT_FINITE(after) || after > UNIX_EPOCH + LAST_SECOND * USECS_PER_SEC ||
		after < UNIX_EPOCH + FIRST_SECOND * USECS_PER_SEC)
		return false;
	second = UnrdfFloorDiv(after - UNIX_EPOCH, USECS_PER_SEC);
	if (t->every > 0)
		*next = UNIX_EPOCH + (UnrdfFloorDiv(after - UNIX_EPOCH, t->every) + 1) * t->every;
	else
	{
		UnrdfTimetable known = *t;

		if (known.zone == NULL)
			known.zone = pg_tzset("GMT");
		if (!(t->cron.by_clock ? next_by_clock(&known, second, &second)
							   : next_fixed(&known, second, &second)))
			return false;
		*next = UNIX_EPOCH + second * USECS_PER_SEC;
	}
	return *next <= UNIX_EPOCH + LAST_SECOND * USECS_PER_SEC;
}
