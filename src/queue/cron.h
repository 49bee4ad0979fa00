/*
 * cron.h
 *	  Cron expressions, without a server: parsing, and the next time of a wall clock that fits.
 */
#ifndef UNRDF_CRON_H
#define UNRDF_CRON_H

#include <stdbool.h>
#include <stdint.h>

/* Sets of bits: bit n stands for n. */
typedef struct UnrdfCron
{
	uint64_t minutes;
	uint32_t hours;
	uint32_t days;     /* of the month, from 1 */
	uint32_t months;   /* from 1 */
	uint32_t weekdays; /* 0: Sunday */
	bool either_day;   /* day of month and day of week both restrict: one of them is enough */
	bool by_clock; /* minute or hour begins with a *: it follows the clock through its changes */
} UnrdfCron;

/* Why a text is no cron expression. */
typedef struct UnrdfCronError
{
	const char *field; /* NULL: the whole */
	const char *what;
} UnrdfCronError;

/* UnrdfFloorDiv divides and rounds down, also below 0. */
static inline int64_t
UnrdfFloorDiv(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

extern bool UnrdfCronIsOne(const char *text);
extern bool UnrdfCronParse(const char *text, UnrdfCron *cron, UnrdfCronError *error);
extern bool UnrdfCronNext(const UnrdfCron *cron, int64_t after, int64_t *next);

#endif /* UNRDF_CRON_H */
