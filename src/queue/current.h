#ifndef UNRDF_CURRENT_H
#define UNRDF_CURRENT_H

#include "postgres.h"

#include "queue/job.h"

/* The job that this process runs. */
typedef struct UnrdfCurrent
{
	const UnrdfJob *job; /* NULL: none */
	const char *handler; /* its name */
	int32 attempt;
	TimestampTz started;
	int64 snooze_ms; /* what it asked for; -1: nothing */
	ErrorContextCallback context;
} UnrdfCurrent;

extern UnrdfCurrent UnrdfCurrentJob;

extern int64 UnrdfRunningJob(void);
extern void UnrdfCurrentBegin(const UnrdfJob *job, const char *handler, int32 attempt,
							  TimestampTz started);
extern void UnrdfCurrentEnd(void);
extern void UnrdfCurrentForget(ErrorData *error);
extern void UnrdfSnooze(int64 ms);

#endif /* UNRDF_CURRENT_H */
