#ifndef UNRDF_POOL_H
#define UNRDF_POOL_H

#include "postgres.h"

#include "worker/slot.h"

/* The executors of one database, as its dispatcher sees them. */
typedef struct UnrdfPool
{
	int n;      /* slots of ours */
	int *slots; /* their indexes */
	struct BackgroundWorkerHandle *
		*handles; /* by slot index; NULL where an earlier dispatcher started it */
	int idle;     /* counted by UnrdfPoolCount */
	int busy;
	int starting;
	TimestampTz oldest; /* since when the longest busy one is busy */
	int64 not_before;   /* ticks; no executor is started until then: the last start failed */
	bool warned;
} UnrdfPool;

extern void UnrdfPoolInit(UnrdfPool *pool);
extern void UnrdfPoolCount(UnrdfPool *pool);
extern int UnrdfPoolWaiting(UnrdfPool *pool, int64 micros);
extern void UnrdfPoolGrow(UnrdfPool *pool, int by);
extern void UnrdfPoolShrink(UnrdfPool *pool);
extern void UnrdfPoolRelease(UnrdfPool *pool, UnrdfSlot *slot);
extern void UnrdfPoolCheckStarts(UnrdfPool *pool);

#endif /* UNRDF_POOL_H */
