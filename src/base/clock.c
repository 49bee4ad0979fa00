/*
 * clock.c: the only reader of time.
 *
 * What is shown or stored is of the wall clock, and so is when a job is due. What a process waits for, or measures, is in
 * ticks: somebody may set the wall clock back by an hour, and nothing must stand still for an hour then.
 */
#include "postgres.h"

#include <fcntl.h>
#include <math.h>
#include <time.h>
#include <unistd.h>

#include "datatype/timestamp.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/testkit.h"

/* UnrdfServerNow returns the wall clock that the server's own time-outs go by. */
TimestampTz
UnrdfServerNow(void)
{
	return GetCurrentTimestamp();
}

/* UnrdfNow returns the wall clock, which tests can set: by unrdf.clock_offset, or that of one database by the test kit. */
TimestampTz
UnrdfNow(void)
{
	return UnrdfServerNow() + unrdf_clock_offset * USECS_PER_SEC + UnrdfTestOffset();
}

/* UnrdfTicks returns microseconds of a clock that nobody sets, and that goes on while the machine sleeps: of use for differences only. */
int64
UnrdfTicks(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * USECS_PER_SEC + t.tv_nsec / 1000;
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

/* The milliseconds from one time to another, rounded up, between 0 and most. */
static long
millis_between(int64 now, int64 t, long most)
{
	if (t <= now)
		return 0;
	if ((t - now) / 1000 >= most)
		return most;
	return (long) ((t - now + 999) / 1000);
}

/* UnrdfMillisUntil returns the milliseconds from now until t, rounded up, between 0 and most. */
long
UnrdfMillisUntil(TimestampTz t, long most)
{
	return millis_between(UnrdfNow(), t, most);
}

/* UnrdfMillisUntilTick does the same for a time in ticks. */
long
UnrdfMillisUntilTick(int64 tick, long most)
{
	return millis_between(UnrdfTicks(), tick, most);
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
