/*
 * choose.c: which of the ready jobs is next. Plain data of the dispatcher; no locks, no tables.
 *
 * What is ready is a tree, and whoever is active in it has something that may run now:
 *
 *     level (a priority) → lane (queue) → share (owner, tenant) → flow (group) → entries, first in, first out
 *
 * There is one such tree for executors and one for workers outside; they share lanes' readers, and the limits of queues and groups.
 *
 * At each step the child with the lowest turn is next, and its turn then grows by the inverse of its weight (stride
 * scheduling): children are served in proportion to their weights however much each of them has waiting. Who becomes active
 * begins at the turn of who was served last, so that having been away gives no credit. Flows have no weights, and may be very many:
 * they are served in turn, in a list, whose end is the place of who becomes active.
 *
 * A queue is closed while it is paused, runs as many as it may, or has no token; a group while it holds as many entries as
 * it may, or has no token. A lane is active if its queue is open and a share of it is, a share if one of its flows is, a flow
 * if it has entries and its group is open. Invariant: at the end of every function here and in lane.c that is so for all of them;
 * whatever opens or closes calls queue_changed, group_changed or UnrdfFlowChanged. What has no token has a timer (UnrdfLanesTick).
 *
 * Groups in strict order hold one entry at a time. One that failed and is to be tried again keeps its place while it is
 * delayed, so nothing of the group overtakes it; unless the queue has it skipped. Its place is known again after the dispatcher died:
 * the floor does not pass it (UnrdfLaneFloors), and an entry that is put with failed attempts takes its place (UnrdfEntryPut).
 *
 * Ageing: a lane that had something to run and was not served for unrdf.priority_ageing goes up one level, until it is served.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "queue/lane_set.h"

#define STRIDE (UINT64CONST(1) << 20)
#define AGEING_LOOK INT64CONST(1000000) /* most ticks between two looks at lanes that wait */

typedef struct FlowId
{
	UnrdfLane *lane;
	int64 id;
} FlowId;

typedef struct KnownFlow
{
	FlowId id;
	UnrdfFlow *flow;
} KnownFlow;

typedef struct ShareId
{
	UnrdfLaneSide *side;
	uint64 id;
} ShareId;

typedef struct KnownShare
{
	ShareId id;
	UnrdfShare *share;
} KnownShare;

typedef struct GroupId
{
	UnrdfLaneQueue *queue;
	uint64 hash;
} GroupId;

typedef struct KnownGroup
{
	GroupId id;
	UnrdfGroup *group;
} KnownGroup;

/* pairingheap_first is the one whose comparison with all others is the greatest. */
#define COMPARE_TURNS(type)                                                                       \
	static int compare_##type(const pairingheap_node *a, const pairingheap_node *b, void *unused) \
	{                                                                                             \
		uint64 x = pairingheap_const_container(type, node, a)->turn;                              \
		uint64 y = pairingheap_const_container(type, node, b)->turn;                              \
		return x < y ? 1 : x > y ? -1 : 0;                                                        \
	}
COMPARE_TURNS(UnrdfLaneSide)
COMPARE_TURNS(UnrdfShare)

static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *unused)
{
	int64 x = pairingheap_const_container(UnrdfTimer, node, a)->at;
	int64 y = pairingheap_const_container(UnrdfTimer, node, b)->at;

	return x < y ? 1 : x > y ? -1 : 0;
}

static void
init_heap(pairingheap *heap, pairingheap_comparator compare)
{
	heap->ph_compare = compare;
	heap->ph_arg = NULL;
	heap->ph_root = NULL;
}

/* UnrdfChooseInit makes the tree empty. */
void
UnrdfChooseInit(UnrdfLaneSet *set)
{
	HASHCTL flows = {
		.keysize = sizeof(FlowId), .entrysize = sizeof(KnownFlow), .hcxt = set->context};
	HASHCTL shares = {
		.keysize = sizeof(ShareId), .entrysize = sizeof(KnownShare), .hcxt = set->context};
	HASHCTL groups = {
		.keysize = sizeof(GroupId), .entrysize = sizeof(KnownGroup), .hcxt = set->context};

	for (int side = 0; side < UNRDF_SIDES; side++)
		for (int p = 0; p < UNRDF_PRIORITIES; p++)
			init_heap(&set->levels[side][p], compare_UnrdfLaneSide);
	init_heap(&set->timers, compare_timers);
	set->flows = hash_create("unrdf flows", 64, &flows, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	set->shares = hash_create("unrdf shares", 64, &shares, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	set->groups = hash_create("unrdf groups", 64, &groups, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static bool
queue_is_open(UnrdfLaneSet *set, UnrdfLaneQueue *queue)
{
	const UnrdfQueue *s = &queue->settings;

	return !s->paused && (s->max_running == 0 || queue->running < s->max_running) &&
		   UnrdfBucketHas(&queue->bucket, &s->rate, set->now);
}

static bool
group_is_open(UnrdfLaneSet *set, UnrdfGroup *group)
{
	const UnrdfQueue *s = &group->queue->settings;

	return (s->group_max_running == 0 || group->in < s->group_max_running) &&
		   UnrdfBucketHas(&group->bucket, &s->group_rate, set->now);
}

static void
set_timer(UnrdfLaneSet *set, UnrdfTimer *timer, int64 at)
{
	if (timer->set)
		pairingheap_remove(&set->timers, &timer->node);
	timer->at = at;
	timer->set = true;
	pairingheap_add(&set->timers, &timer->node);
}

static void
clear_timer(UnrdfLaneSet *set, UnrdfTimer *timer)
{
	if (timer->set)
		pairingheap_remove(&set->timers, &timer->node);
	timer->set = false;
}

/* The side's place in its arrays. */
static int
index_of(const UnrdfLaneSide *side)
{
	return (int) (side - side->lane->sides);
}

static pairingheap *
level_of(UnrdfLaneSet *set, const UnrdfLaneSide *side)
{
	return &set->levels[index_of(side)][side->level];
}

static uint64 *
level_now_of(UnrdfLaneSet *set, const UnrdfLaneSide *side)
{
	return &set->level_now[index_of(side)][side->level];
}

static void
side_changed(UnrdfLaneSet *set, UnrdfLaneSide *side)
{
	bool active = !pairingheap_is_empty(&side->shares) && queue_is_open(set, side->lane->queue);

	if (active == side->active)
		return;
	side->active = active;
	if (!active)
	{
		pairingheap_remove(level_of(set, side), &side->node);
		return;
	}
	side->level = side->lane->priority;
	side->served = set->now;
	side->turn = Max(side->turn, *level_now_of(set, side));
	pairingheap_add(level_of(set, side), &side->node);
}

static void
share_changed(UnrdfLaneSet *set, UnrdfShare *share)
{
	UnrdfLaneSide *side = share->side;
	bool active = !dlist_is_empty(&share->flows);

	if (active == share->active)
		return;
	share->active = active;
	if (active)
	{
		share->turn = Max(share->turn, side->now);
		pairingheap_add(&side->shares, &share->node);
	}
	else
		pairingheap_remove(&side->shares, &share->node);
	side_changed(set, side);
}

/* For how many of its ready entries a flow's group has places. */
static int
count_runnable(const UnrdfFlow *flow)
{
	const UnrdfGroup *group = flow->group;

	if (group == NULL || group->queue->settings.group_max_running == 0)
		return flow->nready;
	return Min(flow->nready, Max(0, group->queue->settings.group_max_running - group->in));
}

/* UnrdfFlowChanged makes a flow active or not, and what is above it: it has entries or has none, its group opened or closed. */
void
UnrdfFlowChanged(UnrdfLaneSet *set, UnrdfFlow *flow)
{
	UnrdfShare *share = flow->share;
	bool active = flow->nready > 0;
	int runnable = count_runnable(flow);

	if (side_of(flow) == UNRDF_INSIDE)
		set->nrunnable += runnable - flow->nrunnable;
	flow->nrunnable = runnable;
	if (flow->filled != active)
		share->side->nfilled += active ? 1 : -1;
	flow->filled = active;
	if (active && flow->group)
		active = dlist_container(UnrdfEntry, node, dlist_head_node(&flow->ready))->granted ||
				 group_is_open(set, flow->group);
	if (active == flow->active)
		return;
	flow->active = active;
	flow->share->side->nactive += active ? 1 : -1;
	if (active)
		dlist_push_tail(&share->flows, &flow->node);
	else
		dlist_delete(&flow->node);
	share_changed(set, share);
}

/* A queue opened or closed. */
static void
queue_changed(UnrdfLaneSet *set, UnrdfLaneQueue *queue)
{
	const UnrdfRate *rate = &queue->settings.rate;

	for (int p = 0; p < UNRDF_PRIORITIES; p++)
		if (queue->lanes[p])
			for (int side = 0; side < UNRDF_SIDES; side++)
				side_changed(set, &queue->lanes[p]->sides[side]);
	if (!UnrdfBucketHas(&queue->bucket, rate, set->now))
		set_timer(set, &queue->timer, UnrdfBucketReady(&queue->bucket, rate));
	else
		clear_timer(set, &queue->timer);
}

/* A group that nobody needs any more is forgotten, once its bucket is as if it had never been used. */
static bool
forget_group(UnrdfLaneSet *set, UnrdfGroup *group)
{
	const UnrdfRate *rate = &group->queue->settings.group_rate;
	GroupId id = {group->queue,
				  hash_bytes_extended((const unsigned char *) group->key, strlen(group->key), 0)};

	if (group->nflows > 0 || group->in > 0)
		return false;
	if (rate->per_second != 0 && UnrdfBucketFull(&group->bucket, rate) > set->now)
	{
		set_timer(set, &group->timer, UnrdfBucketFull(&group->bucket, rate));
		return true;
	}
	clear_timer(set, &group->timer);
	hash_search(set->groups, &id, HASH_REMOVE, NULL);
	pfree(unconstify(char *, group->key));
	pfree(group);
	return true;
}

/* A group opened or closed. */
static void
group_changed(UnrdfLaneSet *set, UnrdfGroup *group)
{
	const UnrdfRate *rate = &group->queue->settings.group_rate;
	dlist_iter iter;

	dlist_foreach (iter, &group->flows)
		UnrdfFlowChanged(set, dlist_container(UnrdfFlow, member, iter.cur));
	if (!UnrdfBucketHas(&group->bucket, rate, set->now))
		set_timer(set, &group->timer, UnrdfBucketReady(&group->bucket, rate));
	else
		clear_timer(set, &group->timer);
}

/* A lane that waits longer than unrdf.priority_ageing at its level goes up one. */
static void
age_side(UnrdfLaneSet *set, UnrdfLaneSide *side, int64 now)
{
	if (!side->active || side->level == 0 ||
		now - side->served < unrdf_priority_ageing * INT64CONST(1000))
		return;
	pairingheap_remove(level_of(set, side), &side->node);
	side->level--;
	side->served = now;
	side->turn = *level_now_of(set, side);
	pairingheap_add(level_of(set, side), &side->node);
}

static void
age_lanes(UnrdfLaneSet *set, int64 now)
{
	dlist_iter iter;

	set->ageing_at = now + Min(AGEING_LOOK, unrdf_priority_ageing * INT64CONST(250));
	dlist_foreach (iter, &set->queues)
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, node, iter.cur);

		for (int p = 1; p < UNRDF_PRIORITIES; p++)
			if (queue->lanes[p])
				for (int side = 0; side < UNRDF_SIDES; side++)
					age_side(set, &queue->lanes[p]->sides[side], now);
	}
}

/* UnrdfLanesTick opens what has a token by now, and lets those go up that have waited for long. */
void
UnrdfLanesTick(UnrdfLaneSet *set, int64 now)
{
	set->now = now;
	while (!pairingheap_is_empty(&set->timers))
	{
		UnrdfTimer *timer =
			pairingheap_container(UnrdfTimer, node, pairingheap_first(&set->timers));

		if (timer->at > now)
			break;
		clear_timer(set, timer);
		if (timer->group == NULL)
			queue_changed(set, timer->queue);
		else if (!forget_group(set, timer->group))
			group_changed(set, timer->group);
	}
	if (unrdf_priority_ageing > 0 && now >= set->ageing_at)
		age_lanes(set, now);
}

/* UnrdfNextTick returns when UnrdfLanesTick has something to do; PG_INT64_MAX for never. */
int64
UnrdfNextTick(UnrdfLaneSet *set)
{
	if (pairingheap_is_empty(&set->timers))
		return PG_INT64_MAX;
	return pairingheap_container(UnrdfTimer, node, pairingheap_first(&set->timers))->at;
}

/* Whether a reader has nothing ready of what could run in an executor, but more to read. */
static bool
is_hungry(UnrdfLaneSet *set, const UnrdfReader *reader)
{
	const UnrdfFlow *flow = reader->flow;

	if (flow == NULL)
		return reader->lane->sides[UNRDF_INSIDE].nready == 0;
	return flow->nready == 0 && flow->id > 0 &&
		   (flow->group == NULL || group_is_open(set, flow->group));
}

/* The most urgent priority of which something has to be read first. */
static int
hungry_priority(UnrdfLaneSet *set)
{
	dlist_iter iter;

	if (set->hungry_known)
		return set->hungry;
	set->hungry_known = true;
	set->hungry = UNRDF_PRIORITIES;
	dlist_foreach (iter, &set->readers)
	{
		UnrdfReader *reader = dlist_container(UnrdfReader, node, iter.cur);

		if (reader->lane->priority < set->hungry && is_hungry(set, reader) &&
			queue_is_open(set, reader->lane->queue))
			set->hungry = reader->lane->priority;
	}
	return set->hungry;
}

/* The entry that is next of an active side of a lane. */
static UnrdfEntry *
first_of(UnrdfLaneSide *side)
{
	UnrdfShare *share = pairingheap_container(UnrdfShare, node, pairingheap_first(&side->shares));
	UnrdfFlow *flow = dlist_container(UnrdfFlow, node, dlist_head_node(&share->flows));

	return dlist_container(UnrdfEntry, node, dlist_head_node(&flow->ready));
}

/*
 * UnrdfEntryPeek returns the entry that is next for an executor; NULL where there is none, or none that may go before what has to be read
 * first: of the same priority that may be somebody else's turn.
 */
UnrdfEntry *
UnrdfEntryPeek(UnrdfLaneSet *set)
{
	int hungry = set->nready[UNRDF_INSIDE] > 0 ? hungry_priority(set) : 0;

	for (int p = 0; p < hungry; p++)
	{
		pairingheap *level = &set->levels[UNRDF_INSIDE][p];

		if (!pairingheap_is_empty(level))
			return first_of(pairingheap_container(UnrdfLaneSide, node, pairingheap_first(level)));
	}
	return NULL;
}

/* Whether a lane is served before another. */
static bool
is_before(const UnrdfLaneSide *a, const UnrdfLaneSide *b)
{
	return a->level < b->level || (a->level == b->level && a->turn < b->turn);
}

/*
 * UnrdfOutsidePeek returns the entry that is next for a worker outside that asks for these queues. What has to be read first does
 * not keep it waiting: whoever asks takes what there is.
 */
UnrdfEntry *
UnrdfOutsidePeek(UnrdfLaneSet *set, const int32 *queues, int nqueues)
{
	UnrdfLaneSide *best = NULL;

	for (int i = 0; i < nqueues && set->nready[UNRDF_OUTSIDE] > 0; i++)
	{
		UnrdfLaneQueue *queue = UnrdfLaneQueueFind(set, queues[i]);

		for (int p = 0; queue && p < UNRDF_PRIORITIES; p++)
		{
			UnrdfLaneSide *side = queue->lanes[p] ? &queue->lanes[p]->sides[UNRDF_OUTSIDE] : NULL;

			if (side && side->active && (best == NULL || is_before(side, best)))
				best = side;
		}
	}
	return best ? first_of(best) : NULL;
}

/* UnrdfServed moves a flow, its share and its lane, all active, behind the others: an entry of it is about to be taken. */
void
UnrdfServed(UnrdfLaneSet *set, UnrdfFlow *flow)
{
	UnrdfShare *share = flow->share;
	UnrdfLaneSide *side = share->side;

	dlist_delete(&flow->node);
	dlist_push_tail(&share->flows, &flow->node);

	pairingheap_remove(&side->shares, &share->node);
	side->now = share->turn;
	share->turn += STRIDE / share->weight;
	pairingheap_add(&side->shares, &share->node);

	pairingheap_remove(level_of(set, side), &side->node);
	*level_now_of(set, side) = side->turn;
	side->level = side->lane->priority;
	side->turn =
		Max(side->turn, *level_now_of(set, side)) + STRIDE / side->lane->queue->settings.weight;
	side->served = set->now;
	pairingheap_add(level_of(set, side), &side->node);
}

/* UnrdfEntryIsOpen tells whether an entry is READY and its queue and group let it run. */
bool
UnrdfEntryIsOpen(UnrdfLaneSet *set, const UnrdfEntry *entry)
{
	UnrdfGroup *group = entry->flow->group;

	return entry->place == UNRDF_READY && queue_is_open(set, queue_of(entry->flow)) &&
		   (group == NULL || entry->granted || group_is_open(set, group));
}

/* Jobs that go before an entry in its flow; of one that is not known, all that are. */
static int64
count_before(UnrdfFlow *flow, const UnrdfEntry *entry)
{
	dlist_iter iter;
	int64 n = 0;

	if (entry == NULL)
		return flow->nready;
	dlist_foreach (iter, &flow->ready)
	{
		if (dlist_container(UnrdfEntry, node, iter.cur) == entry)
			break;
		n++;
	}
	return n;
}

static void
group_standing(UnrdfLaneSet *set, UnrdfGroup *group, UnrdfStanding *s)
{
	const UnrdfQueue *settings = &group->queue->settings;

	s->group_running = group->in;
	s->group_full = settings->group_max_running > 0 && group->in >= settings->group_max_running;
	s->group_rate = !UnrdfBucketHas(&group->bucket, &settings->group_rate, set->now);
	if (s->group_rate)
		s->open_at = UnrdfBucketReady(&group->bucket, &settings->group_rate);
}

/* UnrdfEntryStanding tells why a job of a lane is not next; entry is NULL where it is not known, or not READY. */
void
UnrdfEntryStanding(UnrdfLaneSet *set, UnrdfLane *lane, int64 flow_id, const UnrdfEntry *entry,
				   UnrdfStanding *s)
{
	UnrdfFlow *flow = entry ? entry->flow : UnrdfFlowFind(set, lane, flow_id);
	const UnrdfQueue *settings = &lane->queue->settings;

	memset(s, 0, sizeof(*s));
	if (flow)
		s->before = count_before(flow, entry);
	s->exact = entry && flow->nready == flow->share->side->nready;
	if (flow && flow->group && !(entry && entry->granted))
		group_standing(set, flow->group, s);
	s->queue_rate = !UnrdfBucketHas(&lane->queue->bucket, &settings->rate, set->now);
	if (s->queue_rate)
		s->open_at = Max(s->open_at, UnrdfBucketReady(&lane->queue->bucket, &settings->rate));
}

/* UnrdfKeepsPlace tells whether an entry that failed keeps what comes after it in its group waiting. */
bool
UnrdfKeepsPlace(const UnrdfEntry *entry)
{
	return entry->flow->group && queue_of(entry->flow)->settings.fifo == UNRDF_FIFO_WAIT;
}

/* UnrdfGrant gives an entry a place in its group. */
void
UnrdfGrant(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfGroup *group = entry->flow->group;

	if (group == NULL || entry->granted)
		return;
	entry->granted = true;
	group->in++;
	group_changed(set, group);
}

/* UnrdfUngrant takes it away. */
void
UnrdfUngrant(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfGroup *group = entry->flow->group;

	if (!entry->granted)
		return;
	entry->granted = false;
	group->in--;
	group_changed(set, group);
}

static bool
is_limited(const UnrdfQueue *settings)
{
	return settings->max_running != 0 || settings->rate.per_second != 0;
}

/* UnrdfStarted counts an entry that is handed out. */
void
UnrdfStarted(UnrdfLaneSet *set, UnrdfEntry *entry)
{
	UnrdfLaneQueue *queue = queue_of(entry->flow);
	UnrdfGroup *group = entry->flow->group;

	queue->running++;
	UnrdfBucketTake(&queue->bucket, &queue->settings.rate, set->now);
	if (group)
		UnrdfBucketTake(&group->bucket, &queue->settings.group_rate, set->now);
	UnrdfGrant(set, entry);
	if (is_limited(&queue->settings))
		queue_changed(set, queue);
}

/* UnrdfStopped counts one that came back; unused: it did not run. */
void
UnrdfStopped(UnrdfLaneSet *set, UnrdfEntry *entry, bool unused)
{
	UnrdfLaneQueue *queue = queue_of(entry->flow);
	UnrdfGroup *group = entry->flow->group;

	queue->running--;
	if (unused)
	{
		UnrdfBucketReturn(&queue->bucket, &queue->settings.rate);
		if (group)
			UnrdfBucketReturn(&group->bucket, &queue->settings.group_rate);
	}
	if (is_limited(&queue->settings))
		queue_changed(set, queue);
}

/* UnrdfQueueSet gives a queue its settings. */
void
UnrdfQueueSet(UnrdfLaneSet *set, UnrdfLaneQueue *queue, const UnrdfQueue *settings)
{
	HASH_SEQ_STATUS seq;
	KnownGroup *known;
	bool first = queue->settings.weight == 0;

	queue->settings = *settings;
	if (first || settings->rate.per_second == 0)
		UnrdfBucketBegin(&queue->bucket, &settings->rate, set->began, set->now);
	queue_changed(set, queue);
	hash_seq_init(&seq, set->groups);
	while ((known = hash_seq_search(&seq)) != NULL)
		if (known->group->queue == queue)
			group_changed(set, known->group);
}

static UnrdfShare *
share_get(UnrdfLaneSet *set, UnrdfLane *lane, const UnrdfFlowKey *key)
{
	UnrdfLaneSide *side = &lane->sides[key->id < 0 ? UNRDF_OUTSIDE : UNRDF_INSIDE];
	ShareId id = {side, key->share};
	bool found;
	KnownShare *known = hash_search(set->shares, &id, HASH_ENTER, &found);

	if (!found)
	{
		known->share = MemoryContextAllocZero(set->context, sizeof(UnrdfShare));
		known->share->side = side;
		known->share->id = key->share;
		dlist_init(&known->share->flows);
	}
	known->share->weight = key->weight;
	return known->share;
}

static UnrdfGroup *
group_get(UnrdfLaneSet *set, UnrdfLaneQueue *queue, const char *key)
{
	GroupId id = {queue, hash_bytes_extended((const unsigned char *) key, strlen(key), 0)};
	bool found;
	KnownGroup *known = hash_search(set->groups, &id, HASH_ENTER, &found);
	UnrdfGroup *group;

	if (found)
		return known->group;
	group = MemoryContextAllocZero(set->context, sizeof(UnrdfGroup));
	group->queue = queue;
	group->key = MemoryContextStrdup(set->context, key);
	group->timer.group = group;
	group->timer.queue = queue;
	dlist_init(&group->flows);
	UnrdfBucketBegin(&group->bucket, &queue->settings.group_rate, set->began, set->now);
	known->group = group;
	return group;
}

static UnrdfFlow *
make_flow(UnrdfLaneSet *set, UnrdfLane *lane, const UnrdfFlowKey *key)
{
	UnrdfFlow *flow = MemoryContextAllocZero(set->context, sizeof(UnrdfFlow));

	flow->id = key->id;
	flow->share = share_get(set, lane, key);
	flow->share->nflows++;
	dlist_init(&flow->ready);
	if (key->group)
	{
		flow->group = group_get(set, lane->queue, key->group);
		flow->group->nflows++;
		dlist_push_tail(&flow->group->flows, &flow->member);
	}
	return flow;
}

/* UnrdfLaneInit prepares a new lane for choosing, and makes its plain flow. */
void
UnrdfLaneInit(UnrdfLaneSet *set, UnrdfLane *lane)
{
	UnrdfFlowKey plain = {.weight = 1};

	for (int side = 0; side < UNRDF_SIDES; side++)
	{
		init_heap(&lane->sides[side].shares, compare_UnrdfShare);
		lane->sides[side].lane = lane;
	}
	lane->plain = make_flow(set, lane, &plain);
}

/* UnrdfFlowFind returns a lane's flow by its id, or NULL. */
UnrdfFlow *
UnrdfFlowFind(UnrdfLaneSet *set, UnrdfLane *lane, int64 id)
{
	FlowId key = {lane, id};
	KnownFlow *known;

	if (id == 0)
		return lane->plain;
	known = hash_search(set->flows, &key, HASH_FIND, NULL);
	return known ? known->flow : NULL;
}

/* UnrdfFlowMake makes one that UnrdfFlowFind has not found. */
UnrdfFlow *
UnrdfFlowMake(UnrdfLaneSet *set, UnrdfLane *lane, const UnrdfFlowKey *key)
{
	FlowId id = {lane, key->id};
	KnownFlow *known = hash_search(set->flows, &id, HASH_ENTER, NULL);

	known->flow = make_flow(set, lane, key);
	set->nflows++;
	return known->flow;
}

/* UnrdfFlowEnd forgets a flow that has nothing left, and its share and group if they have no other. */
void
UnrdfFlowEnd(UnrdfLaneSet *set, UnrdfFlow *flow)
{
	UnrdfShare *share = flow->share;
	UnrdfGroup *group = flow->group;
	FlowId id = {share->side->lane, flow->id};
	ShareId share_id = {share->side, share->id};

	if (flow->id == 0 || flow->nentries > 0 || flow->reader)
		return;
	hash_search(set->flows, &id, HASH_REMOVE, NULL);
	set->nflows--;
	if (group)
	{
		dlist_delete(&flow->member);
		group->nflows--;
		(void) forget_group(set, group);
	}
	pfree(flow);
	if (--share->nflows > 0)
		return;
	hash_search(set->shares, &share_id, HASH_REMOVE, NULL);
	pfree(share);
}
