#ifndef UNRDF_DEPTH_SET_H
#define UNRDF_DEPTH_SET_H

/* What depth.c, which keeps the numbers, and room.c, which limits them, know of each other. */

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"

#include "base/shmem.h"
#include "queue/depth.h"

#define UNRDF_PLACES 16384      /* of queues; a power of two */
#define UNRDF_MOST_QUEUES 12288 /* in all databases, since the server's start */
#define UNRDF_MOST_XIDS 512     /* in progress in a snapshot that can be made known */

/* One queue. A place is free where its database is invalid, and is not given back. */
typedef struct UnrdfCounter
{
	Oid dboid;
	int32 queue;
	pg_atomic_uint64 n[UNRDF_NUMBERS];
	pg_atomic_uint64 reserved;
	pg_atomic_uint32 waiters; /* for room */
	ConditionVariable room;
} UnrdfCounter;

/* What is known of a count. */
typedef struct UnrdfKnown
{
	bool begun; /* the snapshot is that of a count, notes are added */
	bool done;  /* and what was counted has been added */
	uint32 attempt;
	uint64 xmin;
	uint64 xmax;
	int nxip;
	uint64 xip[UNRDF_MOST_XIDS];
} UnrdfKnown;

typedef struct UnrdfBase
{
	Oid dboid;
	bool full;     /* a queue of it has no counter: nothing can be kept */
	bool prepared; /* a prepared transaction may have had notes */
	UnrdfKnown known[UNRDF_COUNTS];
} UnrdfBase;

typedef struct UnrdfDepthSet
{
	int finishing; /* COMMIT PREPARED under way, in all databases */
	int nqueues;
	pg_atomic_uint32 waiters; /* in all queues */
	UnrdfBase bases[UNRDF_MAX_DATABASES];
	UnrdfCounter counters[UNRDF_PLACES];
} UnrdfDepthSet;

/* What this transaction does to a queue's numbers, on a level of savepoints. */
typedef struct UnrdfNote
{
	int32 queue;
	int level;
	int64 n[UNRDF_NUMBERS];
	int64 reserved;
	int64 spent; /* of the places of jobs that it has ended */
} UnrdfNote;

extern UnrdfDepthSet *UnrdfDepthShared;

/* depth.c */
extern UnrdfBase *UnrdfDepthBase(void);
extern UnrdfCounter *UnrdfDepthCounter(int32 queue, bool make);
extern int64 UnrdfDepthOf(UnrdfCounter *c);
extern UnrdfNote *UnrdfDepthNote(int32 queue);
extern UnrdfNote UnrdfDepthOwn(int32 queue);
extern bool UnrdfDepthReserves(void);
extern void UnrdfDepthUnreserve(UnrdfCounter *c, int64 n);
extern void UnrdfDepthWakeAll(void);

#endif /* UNRDF_DEPTH_SET_H */
