/*
 * current.c: the job that this process runs, for what the handler calls.
 *
 * While it runs, every line that the process logs and every error has a line of context that names the job, without any cost
 * for a job that logs nothing. It is the outermost, so the last: a failed attempt's row, which is the job's anyway, leaves it out.
 *
 * A snooze is an error that ends the attempt, and a note that outlives it: a handler that catches the error is as much at its
 * end as one that does not.
 */
#include "postgres.h"

#include "queue/current.h"

#define CONTEXT_BEGINS "unrdf job "

UnrdfCurrent UnrdfCurrentJob = {.snooze_ms = -1};

static void
name_job(void *arg)
{
	errcontext(CONTEXT_BEGINS INT64_FORMAT ", attempt %d, handler \"%s\"", UnrdfCurrentJob.job->id,
			   UnrdfCurrentJob.attempt, UnrdfCurrentJob.handler);
}

/* UnrdfRunningJob returns the id of the job that this process runs; 0: none. */
int64
UnrdfRunningJob(void)
{
	return UnrdfCurrentJob.job ? UnrdfCurrentJob.job->id : 0;
}

/* UnrdfCurrentBegin makes a job the current one. job and handler have to live until it ends. */
void
UnrdfCurrentBegin(const UnrdfJob *job, const char *handler, int32 attempt, TimestampTz started)
{
	UnrdfCurrentJob.job = job;
	UnrdfCurrentJob.handler = handler;
	UnrdfCurrentJob.attempt = attempt;
	UnrdfCurrentJob.started = started;
	UnrdfCurrentJob.snooze_ms = -1;
	UnrdfCurrentJob.context.callback = name_job;
	UnrdfCurrentJob.context.arg = NULL;
	UnrdfCurrentJob.context.previous = error_context_stack;
	error_context_stack = &UnrdfCurrentJob.context;
}

/* UnrdfCurrentEnd ends what UnrdfCurrentBegin began; raises what ends an attempt that snoozes, where the handler caught it. */
void
UnrdfCurrentEnd(void)
{
	if (UnrdfCurrentJob.snooze_ms >= 0)
		UnrdfSnooze(UnrdfCurrentJob.snooze_ms);
	error_context_stack = UnrdfCurrentJob.context.previous;
	UnrdfCurrentJob.job = NULL;
}

/* UnrdfCurrentForget does the same after an error, and takes the job's line out of the error's context. */
void
UnrdfCurrentForget(ErrorData *error)
{
	char *last = error->context ? strrchr(error->context, '\n') : NULL;
	char *line = last ? last + 1 : error->context;

	UnrdfCurrentJob.job = NULL;
	if (line == NULL || strncmp(line, CONTEXT_BEGINS, strlen(CONTEXT_BEGINS)) != 0)
		return;
	if (last)
		*last = '\0';
	else
		error->context = NULL;
}

/* UnrdfSnooze ends the attempt. Raises 55000 outside of a job. */
void
UnrdfSnooze(int64 ms)
{
	if (UnrdfCurrentJob.job == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("unrdf.snooze() can only be called by a job")));
	UnrdfCurrentJob.snooze_ms = ms;
	/* of this class, because OTHERS in PL/pgSQL does not catch it */
	ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the job snoozes")));
}
