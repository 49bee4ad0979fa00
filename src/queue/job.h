#ifndef UNRDF_JOB_H
#define UNRDF_JOB_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/kept.h"
#include "queue/room.h"

#define UNRDF_PRIORITIES 10
#define UNRDF_DEFAULT_PRIORITY 5
#define UNRDF_MAX_ATTEMPTS 1000

/* A job's row. 0 in max_attempts and -1 in timeout_ms mean the handler's. */
typedef struct UnrdfJob
{
	int64 id;
	uint64 xid;
	TimestampTz enqueued_at;
	TimestampTz run_at; /* 0: at once */
	int32 queue;
	int32 handler;
	Oid owner;
	int32 max_attempts;
	int32 timeout_ms;
	int16 priority;
	int64 retry_of;  /* 0: not a retry */
	int64 flow;      /* 0: neither group nor share; negative: a worker outside runs it */
	text *key;       /* NULL: none; so the next two */
	text *group_key; /* what limits and order per group go by */
	text *tenant;    /* whose share of the queue it is */
	Jsonb *args; /* as stored: an envelope where the handler's are encrypted; NULL: they are gone */
	int32 handler_version;
	TimestampTz debounced_since; /* 0: replaces none */
	int64 retention;             /* the rule for how long it is kept (retention.h); 0: for ever */
} UnrdfJob;

/* What enqueue was asked for besides handler and args. */
typedef struct UnrdfEnqueue
{
	UnrdfJob job;    /* id, xid and handler_version are filled in, and -1 in queue and priority */
	int64 window_ms; /* of the key */
	UnrdfRoomNeed room;
} UnrdfEnqueue;

/* A set of jobs being written. Their arguments may be apart from their rows. */
typedef struct UnrdfJobWriter UnrdfJobWriter;

extern UnrdfJobWriter *UnrdfJobWriterBegin(int capacity);
extern void UnrdfJobSetRow(TupleTableSlot *slot, const UnrdfJob *job);
extern TimestampTz UnrdfJobArgsUntil(const UnrdfJob *job);
extern void UnrdfJobNew(UnrdfKept *kept, UnrdfJob *job);
extern int64 UnrdfJobWrite(UnrdfJobWriter *w, UnrdfJob *job);
extern void UnrdfJobRelease(UnrdfJobWriter *w, UnrdfJob *job);
extern void UnrdfJobWriteEnded(UnrdfJobWriter *w, const UnrdfJob *job);
extern void UnrdfJobWriterFlush(UnrdfJobWriter *w);
extern void UnrdfJobWriterEnd(UnrdfJobWriter *w);
extern void UnrdfJobReadRow(TupleTableSlot *slot, UnrdfJob *job);
extern void UnrdfJobRead(TupleTableSlot *slot, UnrdfJob *job);
extern bool UnrdfJobFetchRow(int64 id, UnrdfJob *job);
extern int UnrdfJobPriorityAfter(int32 queue, int priority);
extern bool UnrdfJobFetch(int64 id, UnrdfJob *job);
extern int UnrdfLaneBit(int32 queue, int priority);

/* Whether a worker outside the server runs a job. */
static inline bool
UnrdfJobIsOutside(const UnrdfJob *job)
{
	return job->flow < 0;
}

/* enqueue.c */
extern void UnrdfEnqueueComplete(UnrdfEnqueue *request);
extern void UnrdfLockJobKey(int32 queue, text *key);
extern int64 UnrdfEnqueueWrite(UnrdfEnqueue *request);
extern void UnrdfCheckArgs(Jsonb *args, StringInfo scratch);
extern bool UnrdfKeyIsHeld(const UnrdfJob *job);
extern int64 UnrdfEnqueueOne(UnrdfEnqueue *request);
extern void UnrdfEnqueueMany(UnrdfEnqueue *request, int n, Jsonb **args, text **keys, int64 *ids,
							 char **mismatches);

#endif /* UNRDF_JOB_H */
