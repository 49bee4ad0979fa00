/*
 * reader.c: what the dispatcher has to read, and what of it is kept. Plain data of one process.
 *
 * A lane has a follower, which reads all of it. Plain jobs stay in their order, so a lane whose plain jobs fill its window is
 * simply not read further, and neither is one in which very many groups have jobs, while executors are busy. Flows (a share's, a group's) must
 * not wait for each other: what they have is kept up to a window of their own, and a flow that has more gets a follower for itself,
 * by the index on (queue, priority, flow), which begins at the first job that was not kept. From then on the lane's follower passes
 * the flow's jobs by, and says so (`behind`). As soon as all is read and nothing of the flow is ready, its reader is given up, or there would
 * be one for every key that has ever had many jobs; until the lane's follower is beyond what the other has met, rows are looked up
 * before they are taken for new (`met_until`).
 *
 * Invariant: a pending job that a lane's follower has passed is known, or delayed beyond the horizon, or is to be read by its
 * flow's reader, or by the lane's once more (`again`).
 */
#include "postgres.h"

#include "queue/lane_set.h"

/* flows that are choice enough: each of many executors finds several */
#define ENOUGH_FLOWS 512
/* microseconds since a lane was served after which it counts as standing still */
#define FLOWING INT64CONST(20000)

/* UnrdfReaderInit makes a reader of a lane, or of a flow of it, that begins at the first row. */
void
UnrdfReaderInit(UnrdfReader *reader, UnrdfLane *lane, UnrdfFlow *flow, MemoryContext context)
{
	UnrdfFollower *f = &reader->follower;

	memset(reader, 0, sizeof(*reader));
	reader->lane = lane;
	reader->flow = flow;
	f->table = UNRDF_JOB;
	f->index = flow ? UNRDF_JOB_FLOW_IDX : UNRDF_JOB_LANE_IDX;
	f->nprefix = flow ? 3 : 2;
	f->prefix[0] = Int32GetDatum(lane->queue->id);
	f->prefix[1] = Int16GetDatum(lane->priority);
	f->prefix[2] = Int64GetDatum(flow ? flow->id : 0);
	f->xid_column = JOB_XID;
	f->id_column = JOB_ID;
	UnrdfFollowInit(f, context);
}

/* UnrdfReaderHasMore tells whether there are, or may be, jobs that could be read now if there is room. */
bool
UnrdfReaderHasMore(const UnrdfReader *reader)
{
	return reader->behind || reader->again != 0 || reader->follower.reading;
}

/* UnrdfReaderNote lists a reader that has more, and no other. To be called whenever that may have changed. */
void
UnrdfReaderNote(UnrdfLaneSet *set, UnrdfReader *reader)
{
	bool more = UnrdfReaderHasMore(reader);

	set->hungry_known = false;
	if (more == reader->listed)
		return;
	reader->listed = more;
	if (more)
		dlist_push_tail(&set->readers, &reader->node);
	else
		dlist_delete(&reader->node);
}

/* UnrdfReaders returns the list of those that have more to read. */
dlist_head *
UnrdfReaders(UnrdfLaneSet *set)
{
	return &set->readers;
}

/* Whether executors have nothing to do, or those of other lanes go before a lane of which nothing may run just now. */
static bool
lacks_choice(const UnrdfLaneSet *set, const UnrdfLaneSide *side)
{
	return set->starved || (side->nactive == 0 && set->now - side->served > FLOWING);
}

/*
 * How many entries of a lane count as what it keeps. Its plain jobs do. So do those of its flows where these are many: more would only
 * fill memory. The fewer there are to take turns, or, where executors lack work, of which something may run, the less they count;
 * and not at all where they are shares of owners or tenants: somebody may be behind the jobs of all others.
 */
static int
lane_keeps(const UnrdfLaneSet *set, const UnrdfLane *lane)
{
	const UnrdfLaneSide *side = &lane->sides[UNRDF_INSIDE];
	int choice = Min(lacks_choice(set, side) ? side->nactive : side->nfilled, ENOUGH_FLOWS);

	if (lane->queue->settings.share_by != UNRDF_SHARE_NONE)
		return lane->plain->nready;
	return Max(lane->plain->nready, (int) ((int64) side->nready * choice / ENOUGH_FLOWS));
}

/* UnrdfReaderRoom returns how many jobs may be read; 0 until what there is is half used up, so that reads are few. */
int
UnrdfReaderRoom(UnrdfLaneSet *set, const UnrdfReader *reader)
{
	int kept = reader->flow ? reader->flow->nready : lane_keeps(set, reader->lane);
	int window = reader->flow ? set->flow_window : set->window;
	UnrdfSide side = reader->flow ? side_of(reader->flow) : UNRDF_INSIDE;

	if (kept > window / 2 ||
		(set->nready[side] >= set->most_ready && reader->lane->sides[side].nready > 0))
		return 0;
	return window - kept;
}

/*
 * UnrdfReadersAreFull tells whether there are new jobs for a bit's lanes, and none of them has room. Those that have none are told
 * that there is something to read. A lane that may come into being counts as one with room.
 */
bool
UnrdfReadersAreFull(UnrdfLaneSet *set, int bit)
{
	bool any = false;
	bool room = false;
	dlist_iter iter;

	dlist_foreach (iter, UnrdfLaneQueuesOfBit(set, bit))
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, alike, iter.cur);
		UnrdfLane *lane = queue->lanes[bit % UNRDF_PRIORITIES];

		any = true;
		if (lane == NULL || UnrdfReaderRoom(set, &lane->reader) > 0)
		{
			room = true;
			continue;
		}
		lane->reader.behind = true;
		UnrdfReaderNote(set, &lane->reader);
	}
	return any && !room;
}

/* UnrdfReaderAgain has jobs from this transaction on read once more. */
void
UnrdfReaderAgain(UnrdfLaneSet *set, UnrdfReader *reader, uint64 xid)
{
	reader->again = reader->again ? Min(reader->again, xid) : xid;
	UnrdfReaderNote(set, reader);
}

/*
 * UnrdfFlowTakes tells whether a flow keeps a job of this transaction that its lane has read, or read before where the job is
 * PG_INT64_MIN. If not, the flow's own reader comes to it: it begins there, where a lane that reads in order has not left anything before.
 */
bool
UnrdfFlowTakes(UnrdfLaneSet *set, UnrdfFlow *flow, uint64 xid, int64 job)
{
	uint64 floor;

	if (flow->reader)
	{
		flow->reader->behind = true;
		UnrdfReaderNote(set, flow->reader);
		return false;
	}
	if (flow->id == 0 || flow->nready < set->flow_window)
		return true;
	flow->reader = MemoryContextAlloc(set->context, sizeof(UnrdfReader));
	UnrdfReaderInit(flow->reader, lane_of(flow), flow, set->context);
	/* what the lane has not come to yet may be older */
	floor = UnrdfFollowFloor(&lane_of(flow)->reader.follower);
	flow->reader->follower.from = Min(xid, floor);
	if (floor >= xid)
		flow->reader->follower.from_id = job;
	flow->reader->behind = true;
	dlist_push_tail(&set->flow_readers, &flow->reader->member);
	UnrdfReaderNote(set, flow->reader);
	return false;
}

/* UnrdfFlowIsDry gives up the reader of a flow that has nothing ready, if that has come to its end. */
void
UnrdfFlowIsDry(UnrdfFlow *flow)
{
	UnrdfReader *reader = flow->reader;

	if (reader == NULL || reader->listed)
		return;
	reader->lane->reader.met_until = Max(reader->lane->reader.met_until, reader->read_until);
	dlist_delete(&reader->member);
	UnrdfFollowEnd(&reader->follower);
	pfree(reader);
	flow->reader = NULL;
}

/*
 * UnrdfReaderDone is told that a reader has read; all transaction ids below next_xid have been given out. A flow's reader that
 * has come to its end may be given up, and is not to be used any more.
 */
void
UnrdfReaderDone(UnrdfLaneSet *set, UnrdfReader *reader, uint64 next_xid)
{
	UnrdfFlow *flow = reader->flow;

	reader->read_until = next_xid;
	UnrdfReaderNote(set, reader);
	if (flow == NULL || flow->nready > 0)
		return;
	UnrdfFlowIsDry(flow);
	UnrdfFlowEnd(set, flow);
}
