#ifndef UNRDF_LANE_H
#define UNRDF_LANE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#include "base/follow.h"
#include "queue/job.h"

typedef struct UnrdfLane UnrdfLane;
typedef struct UnrdfLaneSet UnrdfLaneSet;

/* Where an entry is. */
typedef enum UnrdfPlace
{
	UNRDF_READY,   /* in its lane */
	UNRDF_DELAYED, /* in the heap, by due */
	UNRDF_OUT      /* handed out */
} UnrdfPlace;

/* A job that the dispatcher knows of. */
typedef struct UnrdfEntry
{
	dlist_node node;
	int64 job;
	uint64 xid;
	TimestampTz due;
	UnrdfLane *lane;
	int32 handler;
	int32 attempt; /* number of the next attempt, from 1 */
	int32 heap_index;
	ItemPointerData tid;
	uint8 place;
	uint8 kind; /* UnrdfTaskKind */
	bool suspect;
	bool due_unsaved; /* no table says that it is due only then */
} UnrdfEntry;

/* A queue's lanes, one per priority; all NULL where no job of that priority was seen. */
typedef struct UnrdfLaneQueue
{
	dlist_node node;
	int32 id;
	bool paused;
	int32 max_running; /* 0: no limit */
	int32 running;
	UnrdfLane *lanes[UNRDF_PRIORITIES];
} UnrdfLaneQueue;

/* One (queue, priority): a follower and what it has read and nobody has taken. */
struct UnrdfLane
{
	UnrdfLaneQueue *queue;
	int priority;
	UnrdfFollower follower;
	dlist_head ready;
	int nready;
	bool behind;      /* there is something to read that the follower has no target for */
	uint64 again;     /* lowest xid of those that became due and were not kept; 0: none */
	uint64 met_until; /* the first reading met rows of transactions up to here, later than its S1 */
	uint64 floor;     /* what UnrdfLaneFloors found */
};

/* A place in the order of delayed jobs. */
typedef struct UnrdfDue
{
	TimestampTz at;
	int64 job;
} UnrdfDue;

extern UnrdfLaneSet *UnrdfLaneSetCreate(MemoryContext context, Size memory);
extern void UnrdfLaneSetMemory(UnrdfLaneSet *set, Size memory);
extern UnrdfLaneQueue *UnrdfLaneQueueGet(UnrdfLaneSet *set, int32 id, bool *is_new);
extern dlist_head *UnrdfLaneQueues(UnrdfLaneSet *set);
extern UnrdfLane *UnrdfLaneGet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, int priority);
extern UnrdfEntry *UnrdfEntryFind(UnrdfLaneSet *set, int64 job);
extern UnrdfEntry *UnrdfEntryAdd(UnrdfLaneSet *set, UnrdfLane *lane, int64 job);
extern void UnrdfEntryPut(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz now);
extern UnrdfEntry *UnrdfEntryTake(UnrdfLaneSet *set);
extern UnrdfEntry *UnrdfEntryPeek(UnrdfLaneSet *set);
extern bool UnrdfEntryIsOpen(const UnrdfEntry *entry);
extern void UnrdfEntryOut(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntryBack(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntryDelay(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz due, bool saved,
							TimestampTz now);
extern void UnrdfEntryRemove(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntriesBecomeReady(UnrdfLaneSet *set, TimestampTz now);
extern TimestampTz UnrdfNextDue(UnrdfLaneSet *set);
extern bool UnrdfLaneHasMore(const UnrdfLane *lane);
extern int UnrdfLaneRoom(UnrdfLaneSet *set, UnrdfLane *lane);
extern int UnrdfReadyCount(UnrdfLaneSet *set);
extern int UnrdfLaneCount(UnrdfLaneSet *set);
extern void UnrdfLaneFloors(UnrdfLaneSet *set, TimestampTz now);
extern UnrdfDue UnrdfHorizon(UnrdfLaneSet *set);
extern void UnrdfHorizonSet(UnrdfLaneSet *set, UnrdfDue horizon);
extern bool UnrdfHorizonMoves(UnrdfLaneSet *set, int *room);

#endif /* UNRDF_LANE_H */
