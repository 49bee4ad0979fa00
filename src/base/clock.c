/*
 * clock.c: the only reader of time.
 */
#include "postgres.h"

#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

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

/*
 * UnrdfIntervalMillis returns an interval's length in milliseconds, rounded up; what is beyond any use is cut. A month counts
 * as 30 days, a day as 24 hours.
 */
int64
UnrdfIntervalMillis(const Interval *i)
{
	const double most = 1e15;
	double ms = i->time / 1000.0 + (i->day + i->month * 30.0) * 86400000.0;

	return (int64) ceil(Min(most, Max(-most, ms)));
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

/*
 * UnrdfBusyMicros returns the microseconds that this process has spent on a processor or waiting for one, so that the rest
 * of a span is what it slept. Where the kernel does not say, only the time on a processor.
 */
int64
UnrdfBusyMicros(void)
{
	static int fd = -2;
	char text[64];
	ssize_t n = -1;
	uint64 ran;
	uint64 queued;
	struct timespec t;

	if (fd == -2)
		fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = pread(fd, text, sizeof(text) - 1, 0);
	if (n > 0)
	{
		text[n] = '\0';
		if (sscanf(text, UINT64_FORMAT " " UINT64_FORMAT, &ran, &queued) == 2)
			return (int64) ((ran + queued) / 1000);
	}
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
		return 0;
	return (int64) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}
