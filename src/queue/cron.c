/*
 * cron.c: cron expressions as Vixie's cron reads them. Pure: no server, no time zone, no clock.
 *
 * Five fields: minute, hour, day of month, month, day of week. A field is a list of *, a number, or a range of two, and *
 * and ranges may have a step. Months and days of the week have names; 7 is Sunday. Where day of month and day of week both do not
 * begin with a *, a day that fits either fits. @hourly and the like stand for five fields.
 *
 * Times are seconds of a wall clock since 1970-01-01 00:00 of that clock: what its hands show, wherever it hangs. What
 * the hands do when they are moved is timetable.c's.
 */
#include "queue/cron.h"

#include <string.h>

#define MINUTES_PER_DAY 1440
#define SEARCHED_DAYS 14620 /* a 29th of February that is a Sunday may be forty years away */

typedef struct Field
{
	const char *name;
	int low;
	int high;
	const char *names; /* three letters each, the first stands for `low` */
} Field;

static const Field minute_field = {"minute", 0, 59, ""};
static const Field hour_field = {"hour", 0, 23, ""};
static const Field day_field = {"day of month", 1, 31, ""};
static const Field month_field = {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"};
static const Field weekday_field = {"day of week", 0, 7, "sunmontuewedthufrisat"};

static const char *const macros[][2] = {
	{"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
	{"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
	{"@annually", "0 0 1 1 *"},
};

/* What is being read. */
typedef struct Reader
{
	const char *p;
	const Field *field;
	const char *error; /* NULL: none yet */
} Reader;

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

static bool
ends_field(char c)
{
	return c == '\0' || is_space(c);
}

static bool
fail(Reader *r, const char *what)
{
	r->error = what;
	return false;
}

static bool
read_digits(Reader *r, int *value)
{
	if (!is_digit(*r->p))
		return fail(r, "is not made of numbers, names, *, -, / and ,");
	for (*value = 0; is_digit(*r->p); r->p++)
		if (*value < 1000) /* enough to be out of every range */
			*value = *value * 10 + (*r->p - '0');
	return true;
}

/* Reads one of the field's names, if there is one. */
static bool
read_name(Reader *r, int *value)
{
	const char *names = r->field->names;

	for (int i = 0; names[i] != '\0'; i += 3)
		if (lower(r->p[0]) == names[i] && lower(r->p[1]) == names[i + 1] &&
			lower(r->p[2]) == names[i + 2])
		{
			r->p += 3;
			*value = r->field->low + i / 3;
			return true;
		}
	return false;
}

static bool
read_value(Reader *r, int *value)
{
	if (read_name(r, value))
		return true;
	if (!read_digits(r, value))
		return false;
	if (*value < r->field->low || *value > r->field->high)
		return fail(r, "is out of range");
	return true;
}

/* Reads *, a value or a range into its ends; whether it may have a step. */
static bool
read_range(Reader *r, int *from, int *to, bool *may_step)
{
	*may_step = true;
	*from = r->field->low;
	*to = r->field->high;
	if (*r->p == '*')
	{
		r->p++;
		return true;
	}
	if (!read_value(r, from))
		return false;
	*to = *from;
	*may_step = *r->p == '-';
	if (!*may_step)
		return true;
	r->p++;
	if (!read_value(r, to))
		return false;
	/* a week that ends with Sunday */
	if (r->field == &weekday_field && *to == 0 && *from > 0)
		*to = 7;
	return *from <= *to || fail(r, "has a range that ends before it begins");
}

static bool
read_step(Reader *r, bool may_step, int *step)
{
	*step = 1;
	if (*r->p != '/')
		return true;
	if (!may_step)
		return fail(r, "has a step without a range: write 5-59/10 for 5/10");
	r->p++;
	if (!read_digits(r, step))
		return false;
	if (*step < 1 || *step > r->field->high - r->field->low + 1)
		return fail(r, "has a step that is out of range");
	return true;
}

/* Reads a field and what is before it into a set; whether it begins with a *. */
static bool
read_field(Reader *r, const Field *field, uint64_t *set, bool *star)
{
	r->field = field;
	while (is_space(*r->p))
		r->p++;
	*set = 0;
	*star = *r->p == '*';
	for (;; r->p++)
	{
		int from;
		int to;
		int step;
		bool may_step;

		if (!read_range(r, &from, &to, &may_step) || !read_step(r, may_step, &step))
			return false;
		for (int value = from; value <= to; value += step)
			*set |= UINT64_C(1) << value;
		if (ends_field(*r->p))
			return true;
		if (*r->p != ',')
			return fail(r, "is not made of numbers, names, *, -, / and ,");
	}
}

static int
count_words(const char *text)
{
	int n = 0;

	for (const char *p = text; *p != '\0'; p++)
		n += !is_space(*p) && ends_field(p[1]);
	return n;
}

/* UnrdfCronIsOne tells whether a text looks like a cron expression, good or bad, and not like an interval. */
bool
UnrdfCronIsOne(const char *text)
{
	while (is_space(*text))
		text++;
	return *text == '@' || *text == '\0' || count_words(text) == 5 || strchr(text, '*') != NULL;
}

/* The five fields that a text which begins with @ stands for; NULL for an unknown one. */
static const char *
expand_macro(const char *text)
{
	size_t len = 0;

	while (!ends_field(text[len]))
		len++;
	if (count_words(text) == 1)
		for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++)
			if (strlen(macros[i][0]) == len && strncmp(macros[i][0], text, len) == 0)
				return macros[i][1];
	return NULL;
}

static bool
give_up(UnrdfCronError *error, const char *field, const char *what)
{
	error->field = field;
	error->what = what;
	return false;
}

/* UnrdfCronParse reads a terminated text. Where it is no expression that ever comes true: false, and why. */
bool
UnrdfCronParse(const char *text, UnrdfCron *cron, UnrdfCronError *error)
{
	Reader r = {text, NULL, NULL};
	uint64_t hours;
	uint64_t days;
	uint64_t months;
	uint64_t weekdays;
	bool minute_star;
	bool hour_star;
	bool day_star;
	bool month_star;
	bool weekday_star;
	int64_t next;

	while (is_space(*r.p))
		r.p++;
	if (*r.p == '@' && (r.p = expand_macro(r.p)) == NULL)
		return give_up(error, NULL,
					   "is not one of @hourly, @daily, @midnight, @weekly, @monthly, "
					   "@yearly and @annually");
	if (count_words(r.p) != 5)
		return give_up(error, NULL, "does not have five fields");
	if (!read_field(&r, &minute_field, &cron->minutes, &minute_star) ||
		!read_field(&r, &hour_field, &hours, &hour_star) ||
		!read_field(&r, &day_field, &days, &day_star) ||
		!read_field(&r, &month_field, &months, &month_star) ||
		!read_field(&r, &weekday_field, &weekdays, &weekday_star))
		return give_up(error, r.field->name, r.error);
	cron->hours = (uint32_t) hours;
	cron->days = (uint32_t) days;
	cron->months = (uint32_t) months;
	cron->weekdays = (uint32_t) (weekdays | weekdays >> 7) & 0x7f;
	cron->either_day = !day_star && !weekday_star;
	cron->by_clock = minute_star || hour_star;
	if (!UnrdfCronNext(cron, 0, &next))
		return give_up(error, NULL, "never comes true: no such month has such a day");
	return true;
}

/* The civil date of a day since 1970-01-01, of the proleptic Gregorian calendar, which repeats every 400 years. */
static void
civil_date(int64_t day, int *month, int *day_of_month)
{
	int64_t d = day + 719468; /* since 0000-03-01 */
	int in_era = (int) (d - UnrdfFloorDiv(d, 146097) * 146097);
	int year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int in_year = in_era - (365 * year + year / 4 - year / 100);
	int from_march = (5 * in_year + 2) / 153;

	*day_of_month = in_year - (153 * from_march + 2) / 5 + 1;
	*month = from_march < 10 ? from_march + 3 : from_march - 9;
}

static bool
day_fits(const UnrdfCron *cron, int64_t day)
{
	int month;
	int day_of_month;
	int weekday = (int) (day + 4 - UnrdfFloorDiv(day + 4, 7) * 7); /* 1970-01-01 was a Thursday */
	bool by_month;
	bool by_week;

	civil_date(day, &month, &day_of_month);
	if (!(cron->months >> month & 1))
		return false;
	by_month = cron->days >> day_of_month & 1;
	by_week = cron->weekdays >> weekday & 1;
	return cron->either_day ? by_month || by_week : by_month && by_week;
}

/* The first minute of a day that fits, from one on; -1 where there is none. */
static int
minute_that_fits(const UnrdfCron *cron, int from)
{
	for (int minute = from; minute < MINUTES_PER_DAY; minute++)
		if (!(cron->hours >> (minute / 60) & 1))
			minute += 59 - minute % 60;
		else if (cron->minutes >> (minute % 60) & 1)
			return minute;
	return -1;
}

/* UnrdfCronNext finds the first time after another that fits; false where there is none for forty years. */
bool
UnrdfCronNext(const UnrdfCron *cron, int64_t after, int64_t *next)
{
	int64_t first = UnrdfFloorDiv(after, 60) + 1;
	int64_t today = UnrdfFloorDiv(first, MINUTES_PER_DAY);
	int from = (int) (first - today * MINUTES_PER_DAY);

	for (int64_t day = today; day < today + SEARCHED_DAYS; day++, from = 0)
	{
		int minute = day_fits(cron, day) ? minute_that_fits(cron, from) : -1;

		if (minute >= 0)
		{
			*next = (day * MINUTES_PER_DAY + minute) * 60;
			return true;
		}
	}
	return false;
}
