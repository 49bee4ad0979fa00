/*
 * limit.c: how long a job may take, how much memory, and how large its result may be.
 *
 * Time. A timer cancels the handler, again and again: a handler may catch query_canceled. One that goes on nevertheless loses
 * its process, which no handler can catch.
 *
 * Memory. PostgreSQL's memory contexts know no limit, so the kernel is asked to keep one: RLIMIT_DATA, the private memory of the
 * process, is set to what that has now and the job's limit above it. What goes beyond is refused by malloc, and the server makes
 * a 53200 of it as always when memory runs out; nothing is killed. Memory that the process has and does not use comes on top, so
 * a job gets what its limit says, or a little more; shared memory and parallel workers are not counted.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

#include "base/clock.h"
#include "base/guc.h"
#include "worker/limit.h"

#define TIMEOUT_REPEAT 1000 /* ms */
#define TIMEOUT_PATIENCE 5  /* repeats before the process ends */

static int user_timeout = USER_TIMEOUT;
static bool has_timeout = false;
static bool has_memory = false;
static struct rlimit usual;

/* set by the timer while a job runs */
static volatile sig_atomic_t timed_out = 0;

static void
on_timeout(void)
{
	timed_out++;
	QueryCancelPending = true;
	if (timed_out > TIMEOUT_PATIENCE)
		ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* UnrdfLimitsInit prepares the process; called once, when it is connected. */
void
UnrdfLimitsInit(void)
{
	user_timeout = RegisterTimeout(USER_TIMEOUT, on_timeout);
}

/* The process's private memory in bytes; 0 where the kernel does not say. */
static int64
private_memory(void)
{
	static int fd = -1;
	char text[128];
	ssize_t n = -1;
	long pages = 0;

	if (fd < 0)
		fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* size, resident, shared, text, lib, data */
	if (sscanf(text, "%*d %*d %*d %*d %*d %ld", &pages) != 1)
		return 0;
	return pages * sysconf(_SC_PAGESIZE);
}

static void
limit_memory(int64 memory)
{
	int64 now = private_memory();
	struct rlimit wanted;

	if (now == 0 || getrlimit(RLIMIT_DATA, &usual) != 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("this system does not tell how much memory a process has")));
	wanted = usual;
	wanted.rlim_cur = Min(usual.rlim_cur, (rlim_t) (now + memory));
	if (setrlimit(RLIMIT_DATA, &wanted) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR), errmsg("could not limit a job's memory: %m")));
	has_memory = true;
}

/* UnrdfLimitsForget makes UnrdfTimedOut false until a job comes to the end of its time. */
void
UnrdfLimitsForget(void)
{
	timed_out = 0;
}

/* UnrdfLimitsBegin sets the limits of a job; 0: none. They end with UnrdfLimitsEnd, also after an error. */
void
UnrdfLimitsBegin(int timeout_ms, int64 memory)
{
	UnrdfLimitsForget();
	if (memory > 0)
		limit_memory(memory);
	if (timeout_ms > 0)
	{
		has_timeout = true;
		enable_timeout_every(user_timeout,
							 TimestampTzPlusMilliseconds(UnrdfServerNow(), timeout_ms),
							 TIMEOUT_REPEAT);
	}
}

/* UnrdfLimitsEnd ends the limits, where there are any. */
void
UnrdfLimitsEnd(void)
{
	if (has_timeout)
		disable_timeout(user_timeout, false);
	has_timeout = false;
	if (has_memory)
		(void) setrlimit(RLIMIT_DATA, &usual);
	has_memory = false;
}

/* UnrdfTimedOut tells whether the last job came to the end of its time: whatever it raised then is our doing. */
bool
UnrdfTimedOut(void)
{
	return timed_out != 0;
}

/* UnrdfCheckResult raises 54000 for a result that is larger than the handler's may be, or unrdf.max_args_size where it says nothing. */
void
UnrdfCheckResult(const UnrdfHandler *handler, Jsonb *result)
{
	int64 most = handler->max_result_size > 0 ? handler->max_result_size
											  : unrdf_max_args_size * INT64CONST(1024);

	if (VARSIZE(result) > most)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("result is larger than handler \"%s\" may return", handler->name),
						errdetail("It has %d bytes; the limit is " INT64_FORMAT ".",
								  (int) VARSIZE(result), most)));
}
