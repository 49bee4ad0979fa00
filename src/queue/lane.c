/*
 * lane.c: what the dispatcher knows of pending jobs, and which is next. Plain data of one process; no locks, no tables.
 *
 * Every entry is in exactly one place: in its lane's list (READY), in the heap of those that are not due yet (DELAYED), or
 * with an executor (OUT). A hash finds it by its job's id, so that a job that is met twice is known.
 *
 * Memory is bounded. Half of it is divided among the lanes: a lane that is full is not read further, its jobs wait in
 * their table. The other half is for delayed jobs. When that is full, those due last are forgotten, and `horizon` is the
 * first, by due time and id, that is not kept; the dispatcher reads them again, in that order, when there is room
 * (UnrdfHorizonMoves). A job that becomes due while its lane is full is forgotten as well, and the lane read from there
 * once more when it has room (`again`). Invariant: a pending job that the followers have passed is known, or due
 * at or after the horizon, or its lane is to be read again.
 *
 * Order: the lowest priority number first; among queues of one priority in turn; within a lane first in, first out.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "queue/lane.h"

/* an entry, its share of the hash and of the heap */
#define BYTES_PER_ENTRY (sizeof(UnrdfEntry) + 64)
#define LEAST_WINDOW 64
#define LEAST_LANES 8
#define MOST_WINDOW 16384

typedef struct Known
{
	int64 job;
	UnrdfEntry *entry;
} Known;

struct UnrdfLaneSet
{
	MemoryContext context;
	MemoryContext entries; /* a slab */
	HTAB *known;
	dlist_head queues; /* in the order of their turns */
	int nlanes;
	int nready;
	int window; /* most ready entries that reading gives a lane; those that become due may double it */
	UnrdfEntry **heap; /* delayed, the earliest first */
	int nheap;
	int heap_capacity;
	UnrdfDue horizon;
};

/* UnrdfLaneSetMemory sets the memory, in bytes, that entries may use. */
void
UnrdfLaneSetMemory(UnrdfLaneSet *set, Size memory)
{
	Size entries = memory / BYTES_PER_ENTRY;
	int capacity = (int) Max(1024, entries / 2);
	int lanes = LEAST_LANES;

	/* in powers of two: lanes that are full already do not become less so with every new one */
	while (lanes < set->nlanes)
		lanes *= 2;
	set->window = (int) (entries / 4 / lanes);
	set->window = Min(MOST_WINDOW, Max(LEAST_WINDOW, set->window));
	if (capacity == set->heap_capacity)
		return;
	/* one more than the capacity: the overflow is seen when it is there */
	if (set->heap == NULL)
		set->heap = MemoryContextAllocHuge(set->context, (capacity + 1) * sizeof(UnrdfEntry *));
	else if (capacity > set->heap_capacity)
		set->heap = repalloc_huge(set->heap, (capacity + 1) * sizeof(UnrdfEntry *));
	else
		return;
	set->heap_capacity = capacity;
}

/* UnrdfLaneSetCreate makes an empty set in a context of its own under `context`. */
UnrdfLaneSet *
UnrdfLaneSetCreate(MemoryContext context, Size memory)
{
	MemoryContext mine = AllocSetContextCreate(context, "unrdf lanes", ALLOCSET_DEFAULT_SIZES);
	UnrdfLaneSet *set = MemoryContextAllocZero(mine, sizeof(UnrdfLaneSet));
	HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Known), .hcxt = mine};

	set->context = mine;
	set->entries =
		SlabContextCreate(mine, "unrdf entries", 4 * SLAB_DEFAULT_BLOCK_SIZE, sizeof(UnrdfEntry));
	set->known = hash_create("unrdf known jobs", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&set->queues);
	set->horizon.at = DT_NOEND;
	UnrdfLaneSetMemory(set, memory);
	return set;
}

/* UnrdfLaneQueues returns the list of UnrdfLaneQueue. */
dlist_head *
UnrdfLaneQueues(UnrdfLaneSet *set)
{
	return &set->queues;
}

/* UnrdfLaneQueueGet returns a queue, which is made where it is new. */
UnrdfLaneQueue *
UnrdfLaneQueueGet(UnrdfLaneSet *set, int32 id, bool *is_new)
{
	dlist_iter iter;
	UnrdfLaneQueue *queue;

	*is_new = false;
	dlist_foreach (iter, &set->queues)
	{
		queue = dlist_container(UnrdfLaneQueue, node, iter.cur);
		if (queue->id == id)
			return queue;
	}
	*is_new = true;
	queue = MemoryContextAllocZero(set->context, sizeof(UnrdfLaneQueue));
	queue->id = id;
	dlist_push_tail(&set->queues, &queue->node);
	return queue;
}

/* UnrdfLaneGet returns a lane, which is made, with a follower at the beginning, where it is new. */
UnrdfLane *
UnrdfLaneGet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, int priority)
{
	UnrdfLane *lane = queue->lanes[priority];

	if (lane)
		return lane;
	lane = MemoryContextAllocZero(set->context, sizeof(UnrdfLane));
	lane->queue = queue;
	lane->priority = priority;
	dlist_init(&lane->ready);
	lane->follower.table = UNRDF_JOB;
	lane->follower.index = UNRDF_JOB_LANE_IDX;
	lane->follower.nprefix = 2;
	lane->follower.prefix[0] = Int32GetDatum(queue->id);
	lane->follower.prefix[1] = Int16GetDatum(priority);
	lane->follower.xid_column = JOB_XID;
	lane->follower.id_column = JOB_ID;
	UnrdfFollowInit(&lane->follower, set->context);
	queue->lanes[priority] = lane;
	set->nlanes++;
	return lane;
}

/* UnrdfEntryFind returns a known job, or NULL. */
UnrdfEntry *
UnrdfEntryFind(UnrdfLaneSet *set, int64 job)
{
	Known *known = hash_search(set->known, &job, HASH_FIND, NULL);

	return known ? known->entry : NULL;
}

/* UnrdfEntryAdd makes a job known, as OUT; the caller fills it in and puts it somewhere. It must not be known. */
UnrdfEntry *
UnrdfEntryAdd(UnrdfLaneSet *set, UnrdfLane *lane, int64 job)
{
	Known *known;
	UnrdfEntry *entry = MemoryContextAllocZero(set->entries, sizeof(UnrdfEntry));
	bool found;

	entry->job = job;
	entry->lane = lane;
	entry->attempt = 1;
	entry->place = UNRDF_OUT;
	known = hash_search(set->known, &job, HASH_ENTER, &found);
	Assert(!found);
	known->entry = entry;
	return entry;
}

static bool
is_before(const UnrdfEntry *entry, TimestampTz at, int64 job)
{
	return entry->due < at || (entry->due == at && entry->job < job);
}

static void
heap_set(UnrdfLaneSet *set, int i, UnrdfEntry *entry)
{
	set->heap[i] = entry;
	entry->heap_index = i;
}

static void
heap_up(UnrdfLaneSet *set, int i)
{
	UnrdfEntry *entry = set->heap[i];

	while (i > 0 && is_before(entry, set->heap[(i - 1) / 2]->due, set->heap[(i - 1) / 2]->job))
	{
		heap_set(set, i, set->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_set(set, i, entry);
}

static void
heap_down(UnrdfLaneSet *set, int i)
{
	UnrdfEntry *entry = set->heap[i];

	for (;;)
	{
		int child = 2 * i + 1;

		if (child >= set->nheap)
			break;
		if (child + 1 < set->nheap &&
			is_before(set->heap[child + 1], set->heap[child]->due, set->heap[child]->job))
			child++;
		if (!is_before(set->heap[child], entry->due, entry->job))
			break;
		heap_set(set, i, set->heap[child]);
		i = child;
	}
	heap_set(set, i, entry);
}

static void
heap_remove(UnrdfLaneSet *set, int i)
{
	UnrdfEntry *last = set->heap[--set->nheap];

	if (i == set->nheap)
		return;
	heap_set(set, i, last);
	heap_up(set, i);
	heap_down(set, last->heap_index);
}

static int
compare_due(const void *a, const void *b)
{
	const UnrdfEntry *x = *(UnrdfEntry *const *) a;
	const UnrdfEntry *y = *(UnrdfEntry *const *) b;

	return is_before(x, y->due, y->job) ? -1 : 1;
}

static void
forget(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	hash_search(set->known, &entry->job, HASH_REMOVE, NULL);
	pfree(entry);
}

static void
make_ready(UnrdfLaneSet *set, UnrdfEntry *entry, bool first)
{
	entry->place = UNRDF_READY;
	if (first)
		dlist_push_head(&entry->lane->ready, &entry->node);
	else
		dlist_push_tail(&entry->lane->ready, &entry->node);
	entry->lane->nready++;
	set->nready++;
}

/* Keeps the earlier half of the delayed entries; a sorted array is a heap. */
static void
shrink_heap(UnrdfLaneSet *set)
{
	int keep = set->heap_capacity / 2;

	qsort(set->heap, set->nheap, sizeof(UnrdfEntry *), compare_due);
	for (int i = 0; i < keep; i++)
		set->heap[i]->heap_index = i;
	set->horizon.at = set->heap[keep]->due;
	set->horizon.job = set->heap[keep]->job;
	for (int i = keep; i < set->nheap; i++)
		if (set->heap[i]->due_unsaved)
			make_ready(set, set->heap[i], false); /* early, which does no harm */
		else
			forget(set, set->heap[i]);
	set->nheap = keep;
}

/* UnrdfEntryPut puts an OUT entry where it belongs by its due time; one beyond the horizon is forgotten. */
void
UnrdfEntryPut(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz now)
{
	if (entry->due <= now)
	{
		make_ready(set, entry, false);
		return;
	}
	if (!entry->due_unsaved && !is_before(entry, set->horizon.at, set->horizon.job))
	{
		forget(set, entry);
		return;
	}
	entry->place = UNRDF_DELAYED;
	heap_set(set, set->nheap++, entry);
	heap_up(set, set->nheap - 1);
	if (set->nheap > set->heap_capacity)
		shrink_heap(set);
}

static bool
open_for(const UnrdfLaneQueue *queue)
{
	return !queue->paused && (queue->max_running == 0 || queue->running < queue->max_running);
}

/* UnrdfEntryIsOpen tells whether an entry is READY and its queue lets it run. */
bool
UnrdfEntryIsOpen(const UnrdfEntry *entry)
{
	return entry->place == UNRDF_READY && open_for(entry->lane->queue);
}

/*
 * UnrdfEntryPeek returns the entry that is next; NULL where there is none, or none that may go before what has to be read
 * first.
 */
UnrdfEntry *
UnrdfEntryPeek(UnrdfLaneSet *set)
{
	dlist_iter iter;

	if (set->nready == 0)
		return NULL;
	for (int p = 0; p < UNRDF_PRIORITIES; p++)
	{
		bool more = false;

		dlist_foreach (iter, &set->queues)
		{
			UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, node, iter.cur);
			UnrdfLane *lane = queue->lanes[p];

			if (lane == NULL || !open_for(queue))
				continue;
			if (lane->nready > 0)
				return dlist_container(UnrdfEntry, node, dlist_head_node(&lane->ready));
			more = more || UnrdfLaneHasMore(lane);
		}
		if (more)
			return NULL;
	}
	return NULL;
}

/* UnrdfEntryOut takes a READY or DELAYED entry out, to be handed out. */
void
UnrdfEntryOut(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	if (entry->place == UNRDF_READY)
	{
		dlist_delete(&entry->node);
		entry->lane->nready--;
		set->nready--;
	}
	else
		heap_remove(set, entry->heap_index);
	entry->place = UNRDF_OUT;
	entry->lane->queue->running++;
}

/* UnrdfEntryTake takes out the entry that is next; its queue goes to the end of the turn. NULL when there is none. */
UnrdfEntry *
UnrdfEntryTake(UnrdfLaneSet *set)
{
	UnrdfEntry *entry = UnrdfEntryPeek(set);

	if (entry == NULL)
		return NULL;
	UnrdfEntryOut(set, entry);
	dlist_delete(&entry->lane->queue->node);
	dlist_push_tail(&set->queues, &entry->lane->queue->node);
	return entry;
}

/* UnrdfEntryBack returns an entry that was handed out and not run to the head of its lane. */
void
UnrdfEntryBack(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	entry->lane->queue->running--;
	make_ready(set, entry, true);
}

/* UnrdfEntryDelay puts an entry that was handed out back until it is due, which a table says as well if it is saved. */
void
UnrdfEntryDelay(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz due, bool saved, TimestampTz now)
{
	entry->lane->queue->running--;
	entry->due = due;
	entry->due_unsaved = !saved;
	UnrdfEntryPut(set, entry, now);
}

/* UnrdfEntryRemove forgets an entry that was handed out: its job has ended. */
void
UnrdfEntryRemove(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	entry->lane->queue->running--;
	forget(set, entry);
}

/* UnrdfEntriesBecomeReady moves delayed entries that are due to their lanes, or forgets them where those are full. */
void
UnrdfEntriesBecomeReady(UnrdfLaneSet *set, TimestampTz now)
{
	while (set->nheap > 0 && set->heap[0]->due <= now)
	{
		UnrdfEntry *entry = set->heap[0];

		heap_remove(set, 0);
		if (entry->lane->nready < 2 * set->window)
			make_ready(set, entry, false);
		else
		{
			entry->lane->again =
				Min(entry->lane->again ? entry->lane->again : entry->xid, entry->xid);
			forget(set, entry);
		}
	}
}

/* UnrdfNextDue returns when the next delayed entry is due, or the horizon, or infinity. */
TimestampTz
UnrdfNextDue(UnrdfLaneSet *set)
{
	return set->nheap > 0 ? set->heap[0]->due : set->horizon.at;
}

/* UnrdfLaneHasMore tells whether a lane has, or may have, jobs that could be read now if there is room. */
bool
UnrdfLaneHasMore(const UnrdfLane *lane)
{
	return lane->behind || lane->again != 0 || lane->follower.reading;
}

/* UnrdfLaneRoom returns how many more entries a lane may have; 0 until it is half empty, so that reads are few. */
int
UnrdfLaneRoom(UnrdfLaneSet *set, UnrdfLane *lane)
{
	return lane->nready > set->window / 2 ? 0 : set->window - lane->nready;
}

/* UnrdfReadyCount returns how many entries are READY. */
int
UnrdfReadyCount(UnrdfLaneSet *set)
{
	return set->nready;
}

/* UnrdfLaneCount returns how many lanes there are. */
int
UnrdfLaneCount(UnrdfLaneSet *set)
{
	return set->nlanes;
}

/*
 * UnrdfLaneFloors sets every lane's floor: its jobs with lower transaction ids have ended, or are delayed beyond now by what
 * their rows or their last attempts say.
 */
void
UnrdfLaneFloors(UnrdfLaneSet *set, TimestampTz now)
{
	dlist_iter iter;
	HASH_SEQ_STATUS seq;
	Known *known;

	dlist_foreach (iter, &set->queues)
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, node, iter.cur);

		for (int p = 0; p < UNRDF_PRIORITIES; p++)
		{
			UnrdfLane *lane = queue->lanes[p];

			if (lane == NULL)
				continue;
			lane->floor = UnrdfFollowFloor(&lane->follower);
			if (lane->again != 0)
				lane->floor = Min(lane->floor, lane->again);
		}
	}
	hash_seq_init(&seq, set->known);
	while ((known = hash_seq_search(&seq)) != NULL)
	{
		UnrdfEntry *entry = known->entry;

		if (entry->place != UNRDF_DELAYED || entry->due <= now || entry->due_unsaved)
			entry->lane->floor = Min(entry->lane->floor, entry->xid);
	}
}

/* UnrdfHorizon returns the place from which on delayed jobs are not kept. */
UnrdfDue
UnrdfHorizon(UnrdfLaneSet *set)
{
	return set->horizon;
}

/* UnrdfHorizonSet moves the horizon. */
void
UnrdfHorizonSet(UnrdfLaneSet *set, UnrdfDue horizon)
{
	set->horizon = horizon;
}

/* UnrdfHorizonMoves tells whether there is room to read delayed jobs from the horizon on, and for how many. */
bool
UnrdfHorizonMoves(UnrdfLaneSet *set, int *room)
{
	*room = set->heap_capacity / 2 - set->nheap;
	return set->horizon.at != DT_NOEND && set->nheap < set->heap_capacity / 4;
}
