/*
 * lane.c: what the dispatcher knows of pending jobs. Plain data of one process; no locks, no tables.
 *
 * Every entry is in exactly one place: in its flow's list (READY), in the heap of those that are not due yet (DELAYED), or
 * with an executor (OUT). A hash finds it by its job's id, so that a job that is met twice is known. What is read and kept is
 * reader.c's, which of the ready ones is next choose.c's.
 *
 * Memory is bounded. Half of it is divided among the lanes and flows. The other half is for delayed jobs. When that is full, those due last
 * are forgotten, and `horizon` is the first, by due time and id, that is not kept; the dispatcher reads them again, in that order, when
 * there is room (UnrdfHorizonMoves). A job that becomes due while there is no room for it is forgotten as well, and read
 * once more when there is (UnrdfReaderAgain).
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/memutils.h"

#include "queue/lane_set.h"

/* an entry, its share of the hash and of the heap */
#define BYTES_PER_ENTRY (sizeof(UnrdfEntry) + 64)
#define LEAST_WINDOW 64
#define LEAST_FLOW_WINDOW 16
#define LEAST_LANES 8
#define MOST_WINDOW 16384

typedef struct Known
{
	int64 job;
	UnrdfEntry *entry;
} Known;

typedef struct KnownQueue
{
	int32 id;
	UnrdfLaneQueue *queue;
} KnownQueue;

/* The window of n that share so many entries; in powers of two: those that are full do not become less so with every new one. */
static int
share_of_memory(Size entries, int n, int least)
{
	int parts = LEAST_LANES;

	while (parts < n)
		parts *= 2;
	return (int) Min(MOST_WINDOW, Max((Size) least, entries / parts));
}

/* UnrdfLaneSetMemory sets the memory, in bytes, that entries may use. */
void
UnrdfLaneSetMemory(UnrdfLaneSet *set, Size memory)
{
	Size entries = memory / BYTES_PER_ENTRY;
	int capacity = (int) Max(1024, entries / 2);

	set->window = share_of_memory(entries / 4, set->nlanes, LEAST_WINDOW);
	set->flow_window = share_of_memory(entries / 4, set->nflows, LEAST_FLOW_WINDOW);
	set->most_ready = (int) Max(1024, entries / 2);
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

/* UnrdfLaneSetCreate makes an empty set in a context of its own under `context`; now is in ticks. */
UnrdfLaneSet *
UnrdfLaneSetCreate(MemoryContext context, Size memory, int64 now)
{
	MemoryContext mine = AllocSetContextCreate(context, "unrdf lanes", ALLOCSET_DEFAULT_SIZES);
	UnrdfLaneSet *set = MemoryContextAllocZero(mine, sizeof(UnrdfLaneSet));
	HASHCTL known = {.keysize = sizeof(int64), .entrysize = sizeof(Known), .hcxt = mine};
	HASHCTL queues = {.keysize = sizeof(int32), .entrysize = sizeof(KnownQueue), .hcxt = mine};

	set->context = mine;
	set->began = set->now = now;
	set->entries =
		SlabContextCreate(mine, "unrdf entries", 4 * SLAB_DEFAULT_BLOCK_SIZE, sizeof(UnrdfEntry));
	set->known =
		hash_create("unrdf known jobs", 1024, &known, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	set->queue_ids =
		hash_create("unrdf known queues", 64, &queues, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&set->queues);
	for (int i = 0; i < (int) lengthof(set->alike); i++)
		dlist_init(&set->alike[i]);
	dlist_init(&set->readers);
	dlist_init(&set->flow_readers);
	UnrdfChooseInit(set);
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

/* UnrdfLaneQueuesOfBit returns the list, by `alike`, of the queues of which a lane has this bit (UnrdfLaneBit). */
dlist_head *
UnrdfLaneQueuesOfBit(UnrdfLaneSet *set, int bit)
{
	return &set->alike[bit / UNRDF_PRIORITIES];
}

/* UnrdfLaneQueueFind returns a known queue, or NULL. */
UnrdfLaneQueue *
UnrdfLaneQueueFind(UnrdfLaneSet *set, int32 id)
{
	KnownQueue *known = hash_search(set->queue_ids, &id, HASH_FIND, NULL);

	return known ? known->queue : NULL;
}

/* UnrdfLaneQueueGet returns a queue, which is made, with no limits, where it is new. */
UnrdfLaneQueue *
UnrdfLaneQueueGet(UnrdfLaneSet *set, int32 id)
{
	bool found;
	KnownQueue *known = hash_search(set->queue_ids, &id, HASH_ENTER, &found);
	UnrdfLaneQueue *queue;

	if (found)
		return known->queue;
	queue = MemoryContextAllocZero(set->context, sizeof(UnrdfLaneQueue));
	queue->id = id;
	queue->settings.weight = 1;
	queue->timer.queue = queue;
	dlist_push_tail(&set->queues, &queue->node);
	dlist_push_tail(UnrdfLaneQueuesOfBit(set, UnrdfLaneBit(id, 0)), &queue->alike);
	known->queue = queue;
	return queue;
}

/* UnrdfLaneGet returns a lane, which is made, with a reader at the beginning, where it is new. */
UnrdfLane *
UnrdfLaneGet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, int priority)
{
	UnrdfLane *lane = queue->lanes[priority];

	if (lane)
		return lane;
	lane = MemoryContextAllocZero(set->context, sizeof(UnrdfLane));
	lane->queue = queue;
	lane->priority = priority;
	UnrdfReaderInit(&lane->reader, lane, NULL, set->context);
	UnrdfLaneInit(set, lane);
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

/* UnrdfEntryQueue returns the id of an entry's queue. */
int32
UnrdfEntryQueue(const UnrdfEntry *entry)
{
	return queue_of(entry->flow)->id;
}

/* UnrdfEntryAdd makes a job known, as OUT; the caller fills it in and puts it somewhere. It must not be known. */
UnrdfEntry *
UnrdfEntryAdd(UnrdfLaneSet *set, UnrdfFlow *flow, int64 job)
{
	Known *known;
	UnrdfEntry *entry = MemoryContextAllocZero(set->entries, sizeof(UnrdfEntry));
	bool found;

	entry->job = job;
	entry->flow = flow;
	flow->nentries++;
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
	UnrdfFlow *flow = entry->flow;

	UnrdfUngrant(set, entry);
	hash_search(set->known, &entry->job, HASH_REMOVE, NULL);
	pfree(entry);
	flow->nentries--;
	UnrdfFlowEnd(set, flow);
}

static void
make_ready(UnrdfLaneSet *set, UnrdfEntry *entry, bool first)
{
	UnrdfFlow *flow = entry->flow;

	entry->place = UNRDF_READY;
	if (first || entry->granted)
		dlist_push_head(&flow->ready, &entry->node);
	else
		dlist_push_tail(&flow->ready, &entry->node);
	flow->nready++;
	flow->share->side->nready++;
	set->nready[side_of(flow)]++;
	UnrdfFlowChanged(set, flow);
}

/* Whether only the dispatcher knows when an entry is due, or that it keeps a place: it must not be forgotten. */
static bool
only_here(const UnrdfEntry *entry)
{
	return entry->due_unsaved || entry->granted;
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
		if (only_here(set->heap[i]))
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
	if (entry->attempt > 1 && UnrdfKeepsPlace(entry))
		UnrdfGrant(set, entry);
	if (!only_here(entry) && !is_before(entry, set->horizon.at, set->horizon.job))
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

/* UnrdfEntryAdopt counts an OUT entry that an executor had in hand before this dispatcher began. */
void
UnrdfEntryAdopt(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfStarted(set, entry);
}

/* UnrdfEntryOut takes a READY or DELAYED entry out, to be handed out. */
void
UnrdfEntryOut(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfFlow *flow = entry->flow;

	if (entry->place == UNRDF_READY)
	{
		dlist_delete(&entry->node);
		flow->nready--;
		set->nready[side_of(flow)]--;
		flow->share->side->nready--;
		if (flow->nready == 0)
		{
			set->hungry_known = false;
			UnrdfFlowIsDry(flow);
		}
	}
	else
		heap_remove(set, entry->heap_index);
	entry->place = UNRDF_OUT;
	UnrdfStarted(set, entry);
	UnrdfFlowChanged(set, flow);
}

static UnrdfEntry *
take(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	if (entry == NULL)
		return NULL;
	UnrdfServed(set, entry->flow);
	UnrdfEntryOut(set, entry);
	return entry;
}

/* UnrdfEntryTake takes out the entry that is next; the others have their turn before its like. NULL when there is none. */
UnrdfEntry *
UnrdfEntryTake(UnrdfLaneSet *set)
{
	return take(set, UnrdfEntryPeek(set));
}

/* UnrdfOutsideTake does so for a worker outside, of the queues that it asks for. Allocates nothing. */
UnrdfEntry *
UnrdfOutsideTake(UnrdfLaneSet *set, const int32 *queues, int nqueues)
{
	return take(set, UnrdfOutsidePeek(set, queues, nqueues));
}

/* UnrdfEntryBack returns an entry that was handed out and not run to the head of its flow. */
void
UnrdfEntryBack(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfStopped(set, entry, true);
	make_ready(set, entry, true);
}

/* UnrdfEntryDelay puts an entry that was handed out back until it is due, which a table says as well if it is saved. */
void
UnrdfEntryDelay(UnrdfLaneSet *set, UnrdfEntry *entry, TimestampTz due, bool saved, TimestampTz now)
{
	UnrdfStopped(set, entry, false);
	if (!UnrdfKeepsPlace(entry))
		UnrdfUngrant(set, entry);
	entry->due = due;
	entry->due_unsaved = !saved;
	UnrdfEntryPut(set, entry, now);
}

/* UnrdfEntryRemove forgets an entry that was handed out: its job has ended. */
void
UnrdfEntryRemove(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfStopped(set, entry, false);
	forget(set, entry);
}

/* Whether there is room for an entry that has become due. */
static bool
has_room(UnrdfLaneSet *set, const UnrdfEntry *entry)
{
	const UnrdfFlow *flow = entry->flow;

	return entry->granted || flow->nready < 2 * (flow->id == 0 ? set->window : set->flow_window);
}

/* UnrdfEntriesBecomeReady readies delayed entries that are due, or forgets them where there is no room. */
void
UnrdfEntriesBecomeReady(UnrdfLaneSet *set, TimestampTz now)
{
	while (set->nheap > 0 && set->heap[0]->due <= now)
	{
		UnrdfEntry *entry = set->heap[0];
		UnrdfFlow *flow = entry->flow;

		heap_remove(set, 0);
		if (has_room(set, entry))
		{
			make_ready(set, entry, false);
			continue;
		}
		if (flow->id == 0)
			UnrdfReaderAgain(set, &lane_of(flow)->reader, entry->xid);
		else if (flow->reader)
			UnrdfReaderAgain(set, flow->reader, entry->xid);
		else
			(void) UnrdfFlowTakes(set, flow, entry->xid, PG_INT64_MIN);
		forget(set, entry);
	}
}

/* UnrdfNextDue returns when the next delayed entry is due, or the horizon, or infinity. */
TimestampTz
UnrdfNextDue(UnrdfLaneSet *set)
{
	return set->nheap > 0 ? set->heap[0]->due : set->horizon.at;
}

/* UnrdfReadyCount returns how many entries for executors are READY. */
int
UnrdfReadyCount(UnrdfLaneSet *set)
{
	return set->nready[UNRDF_INSIDE];
}

/* UnrdfRunnableCount returns how many of these could run at once, if there were as many executors; about so many. */
int
UnrdfRunnableCount(UnrdfLaneSet *set)
{
	return set->nrunnable;
}

/* UnrdfLanesStarved is told whether executors have nothing to do. */
void
UnrdfLanesStarved(UnrdfLaneSet *set, bool starved)
{
	set->starved = starved;
}

/* UnrdfLaneCount returns how many lanes there are. */
int
UnrdfLaneCount(UnrdfLaneSet *set)
{
	return set->nlanes;
}

static uint64
floor_of(const UnrdfReader *reader)
{
	uint64 floor = UnrdfFollowFloor(&reader->follower);

	return reader->again != 0 ? Min(floor, reader->again) : floor;
}

/* Whether a new dispatcher, which reads from the floor on, has to come to an entry there. */
static bool
holds_floor(const UnrdfEntry *entry, TimestampTz now)
{
	return entry->place != UNRDF_DELAYED || entry->due <= now || only_here(entry);
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
			if (queue->lanes[p])
				queue->lanes[p]->floor = floor_of(&queue->lanes[p]->reader);
	}
	dlist_foreach (iter, &set->flow_readers)
	{
		UnrdfReader *reader = dlist_container(UnrdfReader, member, iter.cur);

		reader->lane->floor = Min(reader->lane->floor, floor_of(reader));
	}
	hash_seq_init(&seq, set->known);
	while ((known = hash_seq_search(&seq)) != NULL)
	{
		UnrdfEntry *entry = known->entry;
		UnrdfLane *lane = lane_of(entry->flow);

		if (holds_floor(entry, now))
			lane->floor = Min(lane->floor, entry->xid);
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
