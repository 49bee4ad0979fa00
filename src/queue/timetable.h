#ifndef UNRDF_TIMETABLE_H
#define UNRDF_TIMETABLE_H

#include "postgres.h"

#include "pgtime.h"
#include "utils/timestamp.h"

#include "queue/cron.h"

/* When something is due: a cron expression in a time zone, or an interval. */
typedef struct UnrdfTimetable
{
	int64 every; /* microseconds; 0: the cron expression */
	UnrdfCron cron;
	pg_tz *zone; /* NULL: the server does not know it (any more) */
} UnrdfTimetable;

extern void UnrdfTimetableRead(const char *cron, const char *zone, UnrdfTimetable *t);
extern void UnrdfTimetableCheckZone(const UnrdfTimetable *t, const char *zone);
extern bool UnrdfTimetableNext(const UnrdfTimetable *t, TimestampTz after, TimestampTz *next);

#endif /* UNRDF_TIMETABLE_H */
