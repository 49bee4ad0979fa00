#ifndef UNRDF_LANE_H
#define UNRDF_LANE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

#include "base/follow.h"
#include "queue/bucket.h"
#include "queue/config.h"
#include "queue/job.h"

typedef struct UnrdfLane UnrdfLane;
typedef struct UnrdfLaneSet UnrdfLaneSet;
typedef struct UnrdfLaneQueue UnrdfLaneQueue;
typedef struct UnrdfShare UnrdfShare;
typedef struct UnrdfGroup UnrdfGroup;
typedef struct UnrdfFlow UnrdfFlow;

/* Where an entry is. */
typedef enum UnrdfPlace
{
	UNRDF_READY,   /* in its flow */
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
	UnrdfFlow *flow;
	int32 handler;
	int32 attempt; /* number of the next attempt, from 1 */
	int32 heap_index;
	ItemPointerData tid;
	uint8 place;
	uint8 kind;  /* UnrdfTaskKind */
	bool failed; /* an attempt has */
	bool suspect;
	bool due_unsaved; /* no table says that it is due only then */
	bool granted;     /* it counts in its group: it runs, or keeps its place there */
} UnrdfEntry;

/* What reads jobs: a lane's follower, or that of one flow which has more than is kept. */
typedef struct UnrdfReader
{
	dlist_node node; /* in the list of those that have more, if listed */
	bool listed;
	dlist_node member; /* in the list of all flows' readers */
	UnrdfLane *lane;
	UnrdfFlow *flow; /* NULL: the lane's */
	UnrdfFollower follower;
	bool behind;       /* there is something to read that the follower has no target for */
	uint64 again;      /* lowest xid of those that became due and were not kept; 0: none */
	uint64 met_until;  /* rows of transactions up to here may have been met before */
	uint64 read_until; /* all transaction ids below had been given out when it read last */
} UnrdfReader;

/* Something that lets jobs run again at a time: a rate limit. */
typedef struct UnrdfTimer
{
	pairingheap_node node;
	bool set;
	int64 at; /* ticks */
	UnrdfLaneQueue *queue;
	UnrdfGroup *group; /* NULL: the queue's own */
} UnrdfTimer;

/* A queue and its lanes, one per priority; all NULL where no job of that priority was seen. */
struct UnrdfLaneQueue
{
	dlist_node node;
	dlist_node alike; /* among those whose lanes share bits with its own */
	int32 id;
	UnrdfQueue settings;
	int32 running;
	UnrdfBucket bucket;
	UnrdfTimer timer;
	UnrdfLane *lanes[UNRDF_PRIORITIES];
};

/* Who runs a job: an executor, or a worker outside the server. */
typedef enum UnrdfSide
{
	UNRDF_INSIDE,
	UNRDF_OUTSIDE,
	UNRDF_SIDES
} UnrdfSide;

/* A lane among the others of one side. */
typedef struct UnrdfLaneSide
{
	pairingheap_node node;
	UnrdfLane *lane;
	int nready;
	int nfilled; /* flows that have something ready */
	int nactive; /* those of which something may run now */
	bool active;
	int level; /* its priority, or less where it has waited for long */
	int64 served;
	uint64 turn;
	uint64 now;         /* turn of the share served last */
	pairingheap shares; /* the active ones */
} UnrdfLaneSide;

/* One (queue, priority): what it has read, as shares of the queue, each of them one or more flows. */
struct UnrdfLane
{
	UnrdfReader reader;
	UnrdfLaneQueue *queue;
	int priority;
	UnrdfFlow *plain; /* of jobs that belong to no share and no group */
	uint64 floor;     /* what UnrdfLaneFloors found */
	UnrdfLaneSide sides[UNRDF_SIDES];
};

/* What identifies a flow within its lane. */
typedef struct UnrdfFlowKey
{
	int64 id;          /* unrdf.job.flow; 0: plain; negative: of a worker outside */
	uint64 share;      /* whose share of the queue it is; 0: nobody's */
	int32 weight;      /* of the share */
	const char *group; /* NULL: none */
} UnrdfFlowKey;

/* A place in the order of delayed jobs. */
typedef struct UnrdfDue
{
	TimestampTz at;
	int64 job;
} UnrdfDue;

/* Where a job of a lane is among those that are ready, and what closes its queue or group. */
typedef struct UnrdfStanding
{
	int64 before;      /* jobs of its lane that go first */
	bool exact;        /* else at least: it is unknown, or flows of the lane take turns */
	bool queue_rate;   /* its queue has no token */
	bool group_rate;   /* its group has none, or */
	bool group_full;   /* holds as many jobs as it may, */
	int group_running; /* so many */
	int64 open_at;     /* ticks at which there is a token again; 0: there is one */
} UnrdfStanding;

/* lane.c: what is known */
extern UnrdfLaneSet *UnrdfLaneSetCreate(MemoryContext context, Size memory, int64 now);
extern void UnrdfLaneSetMemory(UnrdfLaneSet *set, Size memory);
extern UnrdfLaneQueue *UnrdfLaneQueueFind(UnrdfLaneSet *set, int32 id);
extern UnrdfLaneQueue *UnrdfLaneQueueGet(UnrdfLaneSet *set, int32 id);
extern dlist_head *UnrdfLaneQueues(UnrdfLaneSet *set);
extern dlist_head *UnrdfLaneQueuesOfBit(UnrdfLaneSet *set, int bit);
extern UnrdfLane *UnrdfLaneGet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, int priority);
extern UnrdfEntry *UnrdfEntryFind(UnrdfLaneSet *set, int64 job);
extern int32 UnrdfEntryQueue(const UnrdfEntry *entry);
extern UnrdfEntry *UnrdfEntryAdd(UnrdfLaneSet *set, UnrdfFlow *flow, int64 job);
extern void UnrdfEntryPut(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz now);
extern void UnrdfEntryAdopt(UnrdfLaneSet *set, UnrdfEntry *entry);
extern UnrdfEntry *UnrdfEntryTake(UnrdfLaneSet *set);
extern UnrdfEntry *UnrdfOutsideTake(UnrdfLaneSet *set, const int32 *queues, int nqueues);
extern void UnrdfEntryOut(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntryBack(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntryDelay(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz due, bool saved,
							TimestampTz now);
extern void UnrdfEntryRemove(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfEntriesBecomeReady(UnrdfLaneSet *set, TimestampTz now);
extern TimestampTz UnrdfNextDue(UnrdfLaneSet *set);
extern int UnrdfReadyCount(UnrdfLaneSet *set);
extern int UnrdfRunnableCount(UnrdfLaneSet *set);
extern void UnrdfLanesStarved(UnrdfLaneSet *set, bool starved);
extern int UnrdfLaneCount(UnrdfLaneSet *set);
extern void UnrdfLaneFloors(UnrdfLaneSet *set, TimestampTz now);
extern UnrdfDue UnrdfHorizon(UnrdfLaneSet *set);
extern void UnrdfHorizonSet(UnrdfLaneSet *set, UnrdfDue horizon);
extern bool UnrdfHorizonMoves(UnrdfLaneSet *set, int *room);

/* reader.c: what is to be read */
extern void UnrdfReaderInit(UnrdfReader *reader, UnrdfLane *lane, UnrdfFlow *flow,
							MemoryContext context);
extern bool UnrdfReaderHasMore(const UnrdfReader *reader);
extern int UnrdfReaderRoom(UnrdfLaneSet *set, const UnrdfReader *reader);
extern bool UnrdfReadersAreFull(UnrdfLaneSet *set, int bit);
extern void UnrdfReaderNote(UnrdfLaneSet *set, UnrdfReader *reader);
extern dlist_head *UnrdfReaders(UnrdfLaneSet *set);
extern void UnrdfReaderAgain(UnrdfLaneSet *set, UnrdfReader *reader, uint64 xid);
extern bool UnrdfFlowTakes(UnrdfLaneSet *set, UnrdfFlow *flow, uint64 xid, int64 job);
extern void UnrdfReaderDone(UnrdfLaneSet *set, UnrdfReader *reader, uint64 next_xid);

/* choose.c: which is next */
extern UnrdfEntry *UnrdfEntryPeek(UnrdfLaneSet *set);
extern UnrdfEntry *UnrdfOutsidePeek(UnrdfLaneSet *set, const int32 *queues, int nqueues);
extern bool UnrdfEntryIsOpen(UnrdfLaneSet *set, const UnrdfEntry *entry);
extern void UnrdfEntryStanding(UnrdfLaneSet *set, UnrdfLane *lane, int64 flow_id,
							   const UnrdfEntry *entry, UnrdfStanding *s);
extern UnrdfFlow *UnrdfFlowFind(UnrdfLaneSet *set, UnrdfLane *lane, int64 id);
extern UnrdfFlow *UnrdfFlowMake(UnrdfLaneSet *set, UnrdfLane *lane, const UnrdfFlowKey *key);
extern void UnrdfFlowEnd(UnrdfLaneSet *set, UnrdfFlow *flow);
extern void UnrdfQueueSet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, const UnrdfQueue *settings);
extern void UnrdfLanesTick(UnrdfLaneSet *set, int64 now);
extern int64 UnrdfNextTick(UnrdfLaneSet *set);

#endif /* UNRDF_LANE_H */
