#ifndef UNRDF_WAITING_H
#define UNRDF_WAITING_H

#include "postgres.h"

#include "base/lookup.h"
#include "queue/job.h"

/* What becomes of a job where one that it needs ends without success. */
typedef enum UnrdfOnFailure
{
	UNRDF_FAIL = 1, /* it is dead */
	UNRDF_SKIP,     /* it is skipped */
	UNRDF_CONTINUE, /* as if that had succeeded */
	UNRDF_HOLD      /* it waits until that was revived, and succeeds */
} UnrdfOnFailure;

/* A row of unrdf.waiting_job: a job as it is to be, and what it belongs to. */
typedef struct UnrdfWaiting
{
	UnrdfJob job;
	int64 workflow; /* 0: none */
	text *name;     /* within the workflow; NULL: none */
	bool any;       /* one need that succeeds is enough */
	int32 compensate;
	bool has_compensate;
	int64 compensates; /* 0: it is no compensation */
} UnrdfWaiting;

typedef struct UnrdfNeed
{
	int64 id;
	UnrdfOnFailure on_failure;
	int64 retry_of; /* 0: none; the need that this one was revived from */
} UnrdfNeed;

/* A set of waiting jobs being written. */
typedef struct UnrdfWaitingWriter UnrdfWaitingWriter;

extern UnrdfWaitingWriter *UnrdfWaitingWriterBegin(int capacity);
extern int64 UnrdfWaitingWrite(UnrdfWaitingWriter *w, UnrdfWaiting *waiting, int nneeds,
							   const UnrdfNeed *needs);
extern void UnrdfWaitingWriterEnd(UnrdfWaitingWriter *w);
extern void UnrdfWaitingAddNeed(int64 job, const UnrdfNeed *need);
extern void UnrdfWaitingRead(TupleTableSlot *slot, UnrdfWaiting *waiting);
extern bool UnrdfWaitingFetch(int64 id, UnrdfWaiting *waiting);
extern bool UnrdfWaitingLock(int64 id, UnrdfWaiting *waiting);
extern bool UnrdfWaitingAny(void);
extern uint32 UnrdfReleaseBucket(int64 job, int64 workflow);
extern void UnrdfWakeReleaser(void);

#endif /* UNRDF_WAITING_H */
