#ifndef UNRDF_LANE_SET_H
#define UNRDF_LANE_SET_H

#include "postgres.h"

#include "utils/hsearch.h"

#include "base/shmem.h"
#include "queue/lane.h"

/* What lane.c, reader.c and choose.c share, and nobody else sees. */
struct UnrdfLaneSet
{
	MemoryContext context;
	MemoryContext entries; /* a slab */
	int64 began;           /* ticks; rates count from here */
	int64 now;             /* ticks, as last told */
	HTAB *known;           /* entries by job */
	HTAB *queue_ids;
	HTAB *flows;  /* by lane and id; the plain ones are in no hash */
	HTAB *shares; /* by lane and id */
	HTAB *groups; /* by queue and key */
	dlist_head queues;
	dlist_head alike[UNRDF_LANE_BITS / UNRDF_PRIORITIES]; /* queues, by their lanes' bits */
	int nlanes;
	int nflows; /* not plain */
	int nready[UNRDF_SIDES];
	int nrunnable;  /* of those inside, about so many could run at once */
	bool starved;   /* executors had nothing to do when last looked */
	int most_ready; /* of a side, over all lanes */
	int window; /* most ready entries that reading gives a lane; those that become due may double it */
	int flow_window;
	UnrdfEntry **heap; /* delayed, the earliest first */
	int nheap;
	int heap_capacity;
	UnrdfDue horizon;
	dlist_head readers;      /* those that have more to read */
	dlist_head flow_readers; /* those of flows */
	/* of each side */
	pairingheap levels[UNRDF_SIDES][UNRDF_PRIORITIES]; /* active lanes, by whose turn it is */
	uint64 level_now[UNRDF_SIDES][UNRDF_PRIORITIES];   /* turn of the lane served last */
	bool hungry_known;
	int hungry;      /* the most urgent priority of which something has to be read first */
	int64 ageing_at; /* ticks of the next look at who has waited for long */
	pairingheap timers;
};

/* The jobs of one key of one queue: they are limited together. */
struct UnrdfGroup
{
	UnrdfLaneQueue *queue;
	dlist_head flows;
	int nflows;
	int in; /* granted entries */
	UnrdfBucket bucket;
	UnrdfTimer timer;
	const char *key;
};

/* Part of a lane's side that is served in turn with others, by weight. */
struct UnrdfShare
{
	UnrdfLaneSide *side;
	uint64 id;
	int32 weight;
	int nflows;
	bool active;
	pairingheap_node node;
	uint64 turn;
	dlist_head flows; /* the active ones, in the order in which they are served */
};

/* Ready entries in their order that have share and group in common. */
struct UnrdfFlow
{
	int64 id;
	UnrdfShare *share;
	UnrdfGroup *group; /* NULL: none */
	dlist_node member; /* of the group's */
	dlist_head ready;
	int nready;
	int nrunnable;       /* of these, for as many its group has places */
	int nentries;        /* ready or not */
	UnrdfReader *reader; /* NULL: the lane's reads it, and all of it is kept */
	bool filled;         /* has ready entries */
	bool active;         /* which may run now */
	dlist_node node;     /* in the share's list, if active */
};

static inline UnrdfLane *
lane_of(const UnrdfFlow *flow)
{
	return flow->share->side->lane;
}

/* Which side of its lane a flow is of. */
static inline UnrdfSide
side_of(const UnrdfFlow *flow)
{
	return flow->id < 0 ? UNRDF_OUTSIDE : UNRDF_INSIDE;
}

static inline UnrdfLaneQueue *
queue_of(const UnrdfFlow *flow)
{
	return flow->share->side->lane->queue;
}

/* reader.c, for lane.c */
extern void UnrdfFlowIsDry(UnrdfFlow *flow);

/* choose.c, for lane.c */
extern void UnrdfChooseInit(UnrdfLaneSet *set);
extern void UnrdfLaneInit(UnrdfLaneSet *set, UnrdfLane *lane);
extern void UnrdfFlowChanged(UnrdfLaneSet *set, UnrdfFlow *flow);
extern void UnrdfServed(UnrdfLaneSet *set, UnrdfFlow *flow);
extern void UnrdfGrant(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfUngrant(UnrdfLaneSet *set, UnrdfEntry *entry);
extern bool UnrdfKeepsPlace(const UnrdfEntry *entry);
extern void UnrdfStarted(UnrdfLaneSet *set, UnrdfEntry *entry);
extern void UnrdfStopped(UnrdfLaneSet *set, UnrdfEntry *entry, bool unused);

#endif /* UNRDF_LANE_SET_H */
