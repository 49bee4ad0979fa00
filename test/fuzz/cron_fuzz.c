/*
 * cron_fuzz.c
 *	  Cron expressions (src/queue/cron.c): what is accepted comes true, and the next time that it does is the one
 *	  that looking at every minute finds.
 */
#include "fuzz.h"
#include "queue/cron.h"

#include <string.h>
#include <time.h>

#define LOOK_MINUTES 3000

/* Whether a wall clock's time fits, by the C library's calendar. */
static bool
fits(const UnrdfCron *cron, int64_t at)
{
	time_t t = (time_t) at;
	struct tm tm;
	bool day;
	bool weekday;

	must(gmtime_r(&t, &tm) != NULL);
	day = cron->days >> tm.tm_mday & 1;
	weekday = cron->weekdays >> tm.tm_wday & 1;
	return tm.tm_sec == 0 && (cron->minutes >> tm.tm_min & 1) && (cron->hours >> tm.tm_hour & 1) &&
		   (cron->months >> (tm.tm_mon + 1) & 1) &&
		   (cron->either_day ? day || weekday : day && weekday);
}

static void
check_next(const UnrdfCron *cron, int64_t after)
{
	int64_t next;
	int64_t minute = UnrdfFloorDiv(after, 60) + 1;
	int i;

	must(UnrdfCronNext(cron, after, &next));
	must(next > after && fits(cron, next));
	for (i = 0; i < LOOK_MINUTES && minute * 60 < next; i++, minute++)
		must(!fits(cron, minute * 60));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[256];
	UnrdfCron cron;
	UnrdfCronError error = {NULL, NULL};
	int64_t after;
	size_t head = sizeof(uint32_t);
	uint32_t when;

	if (size < head || size - head >= sizeof(text))
		return 0;
	memcpy(&when, data, head);
	memcpy(text, data + head, size - head);
	text[size - head] = '\0';
	if (!UnrdfCronParse(text, &cron, &error))
	{
		must(error.what != NULL);
		return 0;
	}
	fuzz_accepted();
	must(UnrdfCronIsOne(text));
	must(cron.minutes != 0 && cron.minutes >> 60 == 0 && cron.hours != 0 && cron.hours >> 24 == 0);
	must(cron.days != 0 && !(cron.days & 1) && cron.months != 0 && !(cron.months & 1) &&
		 cron.months >> 13 == 0 && cron.weekdays != 0 && cron.weekdays >> 7 == 0);
	after = (int64_t) when * 2 - 4294967296; /* from 1833 to 2106 */
	check_next(&cron, after);
	check_next(&cron, after * 50);
	return 0;
}
