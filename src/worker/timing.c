/*
 * timing.c: how long handlers' jobs take, as the dispatcher sees it when it takes results. Private memory of one process;
 * it decides how many jobs share a transaction and how many executors are of use, and can be lost at any line.
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "queue/handler.h"
#include "worker/timing.h"

#define NO_GROUPS_FOR 32 /* successes after a failure */

struct UnrdfTimings
{
	HTAB *handlers;
};

/* UnrdfTimingsCreate makes an empty set, which lives as long as context. */
UnrdfTimings *
UnrdfTimingsCreate(MemoryContext context)
{
	HASHCTL ctl = {.keysize = sizeof(int32), .entrysize = sizeof(UnrdfTiming), .hcxt = context};
	UnrdfTimings *timings = MemoryContextAlloc(context, sizeof(UnrdfTimings));

	timings->handlers =
		hash_create("unrdf timings", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return timings;
}

static bool
wants_own_transaction(int32 id)
{
	const UnrdfHandler *handler = UnrdfHandlerById(id);

	return handler && (handler->own_transaction || UnrdfHandlerRepeats(handler));
}

/* UnrdfTimingKnow makes a handler known. Inside a transaction. */
void
UnrdfTimingKnow(UnrdfTimings *timings, int32 handler)
{
	bool found;
	UnrdfTiming *t = hash_search(timings->handlers, &handler, HASH_ENTER, &found);

	if (found)
		return;
	memset(&t->measured, 0, sizeof(UnrdfTiming) - offsetof(UnrdfTiming, measured));
	t->own_transaction = wants_own_transaction(handler);
}

/* UnrdfTimingFind returns what is known of a handler's jobs, or NULL. */
UnrdfTiming *
UnrdfTimingFind(UnrdfTimings *timings, int32 handler)
{
	return hash_search(timings->handlers, &handler, HASH_FIND, NULL);
}

/* UnrdfTimingsReread reads the handlers' settings again. Inside a transaction. */
void
UnrdfTimingsReread(UnrdfTimings *timings)
{
	HASH_SEQ_STATUS seq;
	UnrdfTiming *t;

	hash_seq_init(&seq, timings->handlers);
	while ((t = hash_seq_search(&seq)) != NULL)
		t->own_transaction = wants_own_transaction(t->handler);
}

/* UnrdfTimingTake takes in one task's result. */
void
UnrdfTimingTake(UnrdfTimings *timings, int32 handler, const UnrdfTask *task)
{
	UnrdfTiming *t = UnrdfTimingFind(timings, handler);

	if (t == NULL)
		return;
	if (task->result == UNRDF_TASK_RETRY || task->result == UNRDF_TASK_SNOOZES)
		t->failures = NO_GROUPS_FOR;
	else if (t->failures > 0)
		t->failures--;
	if (task->result != UNRDF_TASK_ENDED || task->kind != UNRDF_TASK_RUN)
		return;
	t->sum += task->micros;
	t->count++;
}

/* UnrdfTimingsAverage enters the figures of the group just taken in in the averages. */
void
UnrdfTimingsAverage(UnrdfTimings *timings, double cpu)
{
	HASH_SEQ_STATUS seq;
	UnrdfTiming *t;

	hash_seq_init(&seq, timings->handlers);
	while ((t = hash_seq_search(&seq)) != NULL)
	{
		double micros;

		if (t->count == 0)
			continue;
		micros = Max(1.0, (double) t->sum / t->count);
		t->micros = t->measured ? t->micros * 0.7 + micros * 0.3 : micros;
		t->cpu = t->measured ? t->cpu * 0.7 + cpu * 0.3 : cpu;
		t->measured = true;
		t->sum = t->count = 0;
	}
}
