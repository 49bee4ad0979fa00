/*
 * clock.c: the only reader of time.
 */
#include "postgres.h"

#include <time.h>

#include "datatype/timestamp.h"

#include "base/clock.h"

/* UnrdfNow returns the wall clock. */
TimestampTz
UnrdfNow(void)
{
	return GetCurrentTimestamp();
}

/* UnrdfUnixMicros converts a timestamp to microseconds since 1970-01-01 00:00 UTC. */
int64
UnrdfUnixMicros(TimestampTz t)
{
	return t + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* UnrdfMillisUntil returns the milliseconds from now until t, rounded up, between 0 and most. */
long
UnrdfMillisUntil(TimestampTz t, long most)
{
	TimestampTz now = UnrdfNow();

	if (t <= now)
		return 0;
	if ((t - now) / 1000 >= most)
		return most;
	return (long) ((t - now + 999) / 1000);
}

/* UnrdfCpuMicros returns the processor time this process has used, in microseconds. */
int64
UnrdfCpuMicros(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
		return 0;
	return (int64) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
