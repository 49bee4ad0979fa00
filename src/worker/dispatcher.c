/*
 * dispatcher.c: the one process per database that decides what runs next.
 *
 * Everything it knows is private memory (queue/lane.c) filled by followers, one per lane, and can be lost at any line: the
 * tables say which jobs have no receipt. One dispatcher per database: the launcher starts it and waits for its end before
 * it starts another. It hands jobs out through slots (slot.c) and writes nothing but from where its successor has to read
 * (floor.c), and the epoch's row (ledger/epoch.c).
 *
 * A new dispatcher first makes known what executors already have in hand, as handed out, and only then reads lanes, so no
 * job is handed out twice while its executor lives. A lane's first reading meets jobs that ended long ago; those that have a
 * receipt are left out and those with failed attempts go on from there.
 *
 * An executor that dies, or cannot say what it wrote, may have committed what it does not tell: a receipt, a failed attempt. Its
 * jobs stay OUT, in a list, until the tables have been asked (settle); if the dispatcher dies first, its successor asks them anyway.
 *
 * Jobs that ran when the server crashed are suspects (crash.c). They are made known before any other job, and as long as one
 * of them could run, it runs alone or nothing runs.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "queue/config.h"
#include "queue/lane.h"
#include "queue/subscription.h"
#include "queue/waiting.h"
#include "worker/claim.h"
#include "worker/crash.h"
#include "worker/expiry.h"
#include "worker/floor.h"
#include "worker/granter.h"
#include "worker/helper.h"
#include "worker/past.h"
#include "worker/pool.h"
#include "worker/restore.h"
#include "worker/slot.h"
#include "worker/timing.h"
#include "worker/why.h"
#include "worker/worker.h"

#define READ_MOST 8192    /* rows per lane and transaction */
#define SLOW_MICROS 20000 /* a wait for an executor worth starting another */

typedef struct Dispatcher
{
	UnrdfDatabase *db;
	UnrdfLaneSet *lanes;
	UnrdfPool pool;
	UnrdfGranter *granter;
	uint32 flushed_epoch; /* its row is on disk */
	UnrdfTimings *timings;
	UnrdfSuspect *suspects;
	int nsuspects;
	bool trial; /* a suspect runs */
	uint32 config;
	int64 restores; /* -1: not counted yet */
	bool restoring;
	uint64 restored_until; /* restored rows with a transaction id up to here may be met again */
	int64 next_sweep;      /* ticks */
	int64 next_floor;
	bool floor_rises; /* jobs have ended since it was noted */
	UnrdfHelper helpers[UNRDF_PROCESSES];
	int cores;
	UnrdfExpirer expirer;
	dlist_head
		unsure; /* entries, OUT, of which it is not known what their executors have written */
	/* while reading */
	UnrdfReader *reader;
	bool probing; /* what is read may have been known, and have ended, before */
	UnrdfPast past;
} Dispatcher;

static UnrdfPlan list_queues = {"SELECT id FROM unrdf.queue", 0};
static UnrdfPlan delayed_jobs = {
	"SELECT x.id, x.due FROM ((SELECT id, run_at AS due FROM unrdf.job"
	" WHERE (run_at, id) OPERATOR(pg_catalog.>=) ($1, $2) ORDER BY run_at, id LIMIT $3)"
	" UNION ALL (SELECT job, retry_at FROM unrdf.attempt"
	" WHERE (retry_at, job) OPERATOR(pg_catalog.>=) ($1, $2) ORDER BY retry_at, job LIMIT $3)) AS x"
	" ORDER BY x.due, x.id LIMIT $3",
	3,
	{TIMESTAMPTZOID, INT8OID, INT8OID}};

/*
 * Reads the queues' settings, makes new ones known and handlers read again. Inside a transaction. The count of changes is
 * read first, the tables under a later snapshot: a change that the count has is seen.
 */
static void
read_config(Dispatcher *d)
{
	uint64 n;
	int32 *ids;
	UnrdfSubscription *subscriptions;
	bool isnull;

	d->config = pg_atomic_read_u32(&d->db->config);
	SPI_connect();
	n = UnrdfExecuteLatest(&list_queues, NULL, NULL);
	ids = SPI_palloc(n * sizeof(int32));
	for (uint64 i = 0; i < n; i++)
		ids[i] = DatumGetInt32(UnrdfResult(i, 0, &isnull));
	SPI_finish();
	for (uint64 i = 0; i < n; i++)
		UnrdfQueueSet(d->lanes, UnrdfLaneQueueGet(d->lanes, ids[i]),
					  UnrdfQueueRowSettings(UnrdfQueueRowById(ids[i])));
	pfree(ids);
	UnrdfTimingsReread(d->timings);
	pg_atomic_write_u32(&d->db->wants_courier, UnrdfSubscriptionList(&subscriptions) > 0);
}

/* A restore since the last look makes all positions worthless: end, and be started anew. */
static void
check_restore(Dispatcher *d)
{
	UnrdfRestoreState restore;

	UnrdfRestoreRead(&restore);
	if (d->restores >= 0 && restore.count != d->restores)
		proc_exit(0);
	d->restores = restore.count;
	if (restore.running && !d->restoring)
		ereport(LOG,
				(errmsg("a restore is under way: jobs wait until it is complete"),
				 errhint("After a data-only or partial restore, call unrdf.finish_restore().")));
	d->restoring = restore.running;
	d->restored_until = restore.until;
}

static void
mark_suspect(Dispatcher *d, UnrdfEntry *entry)
{
	for (int i = 0; i < d->nsuspects; i++)
		if (d->suspects[i].job == entry->job)
		{
			entry->suspect = !d->suspects[i].alone;
			if (d->suspects[i].alone)
				entry->kind = UNRDF_TASK_CRASHED;
		}
}

/* Makes the flow of a job, as its queue's settings and the job have it. */
static UnrdfFlow *
make_flow(Dispatcher *d, UnrdfLane *lane, const UnrdfJob *job)
{
	UnrdfFlowKey key = {.id = job->flow};

	key.share = UnrdfShareOf(job, &key.weight);
	key.group = job->group_key ? text_to_cstring(job->group_key) : NULL;
	return UnrdfFlowMake(d->lanes, lane, &key);
}

/* The flow of a row that has one. */
static UnrdfFlow *
flow_of_row(Dispatcher *d, UnrdfLane *lane, TupleTableSlot *slot, int64 id)
{
	UnrdfFlow *flow = UnrdfFlowFind(d->lanes, lane, id);
	UnrdfJob job;

	if (flow)
		return flow;
	UnrdfJobReadRow(slot, &job);
	return make_flow(d, lane, &job);
}

/*
 * A follower's row becomes an entry, unless its flow has a reader of its own. A job with a time may have been known by it before
 * the follower came to its row.
 */
static void
admit(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Dispatcher *d = arg;
	UnrdfFlow *flow = d->reader->flow;
	UnrdfEntry *entry;
	TimestampTz run_at;
	bool isnull;
	int64 flow_id = DatumGetInt64(slot_getattr(slot, JOB_FLOW + 1, &isnull));

	if (flow == NULL)
	{
		flow = isnull ? d->reader->lane->plain : flow_of_row(d, d->reader->lane, slot, flow_id);
		if (!UnrdfFlowTakes(d->lanes, flow, xid, id))
			return;
	}
	run_at = DatumGetTimestampTz(slot_getattr(slot, JOB_RUN_AT + 1, &isnull));
	if (isnull)
		run_at = DT_NOBEGIN;
	else if (!d->probing)
	{
		UnrdfPastBegin(&d->past);
		d->probing = true;
	}
	if (UnrdfEntryFind(d->lanes, id) || (d->probing && UnrdfPastEnded(&d->past, id)))
	{
		UnrdfFlowEnd(d->lanes, flow);
		return;
	}
	entry = UnrdfEntryAdd(d->lanes, flow, id);
	entry->xid = xid;
	entry->handler = DatumGetInt32(slot_getattr(slot, JOB_HANDLER + 1, &isnull));
	entry->tid = slot->tts_tid;
	entry->due = run_at;
	UnrdfTimingKnow(d->timings, entry->handler);
	if (d->probing)
		UnrdfPastApply(&d->past, entry);
	UnrdfEntryPut(d->lanes, entry, UnrdfNow());
}

/*
 * A reader that is wanted stays behind until its follower has taken a target: what it goes on reading of an earlier one does
 * not have what has come since, and nobody says so a second time.
 */
static void
read_jobs(Dispatcher *d, UnrdfReader *reader, bool wanted)
{
	UnrdfFollower *follower = &reader->follower;
	int room = Min(READ_MOST, UnrdfReaderRoom(d->lanes, reader));
	uint64 next;
	bool first;

	reader->behind |= wanted;
	UnrdfReaderNote(d->lanes, reader);
	if (room == 0)
		return;
	if (reader->again != 0 && UnrdfFollowedAll(follower))
	{
		UnrdfFollowAgain(follower, reader->again);
		reader->again = 0;
	}
	if (!follower->reading)
		reader->behind = false;
	d->reader = reader;
	first = !follower->started;
	d->probing = first || follower->seen.xmin <= Max(d->restored_until, reader->met_until);
	if (d->probing)
		UnrdfPastBegin(&d->past);
	UnrdfFollow(follower, room, admit, d);
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	if (first)
		reader->met_until = next;
	if (d->probing)
		UnrdfPastEnd(&d->past);
	UnrdfReaderDone(d->lanes, reader, next);
}

/* Reads the lanes of a queue, those that have come into being as well. */
static void
read_queue(Dispatcher *d, UnrdfLaneQueue *queue)
{
	for (int p = UnrdfJobPriorityAfter(queue->id, -1); p < UNRDF_PRIORITIES;
		 p = UnrdfJobPriorityAfter(queue->id, p))
		(void) UnrdfLaneGet(d->lanes, queue, p);
	for (int p = 0; p < UNRDF_PRIORITIES; p++)
		if (queue->lanes[p])
			read_jobs(d, &queue->lanes[p]->reader, true);
}

/* Reads the lanes that a bit stands for. */
static void
read_hinted(Dispatcher *d, int bit)
{
	int p = bit % UNRDF_PRIORITIES;
	dlist_iter iter;

	dlist_foreach (iter, UnrdfLaneQueuesOfBit(d->lanes, bit))
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, alike, iter.cur);

		if (queue->lanes[p] || UnrdfJobPriorityAfter(queue->id, p - 1) == p)
			read_jobs(d, &UnrdfLaneGet(d->lanes, queue, p)->reader, true);
	}
}

/* Reads what there is to read; all lanes in a sweep. Inside a transaction. */
static void
read_lanes(Dispatcher *d, const uint64 *hints, bool sweep)
{
	dlist_mutable_iter each;
	dlist_iter iter;

	if (sweep)
		dlist_foreach (iter, UnrdfLaneQueues(d->lanes))
			read_queue(d, dlist_container(UnrdfLaneQueue, node, iter.cur));
	else
		for (int i = 0; i < UNRDF_LANE_BITS / 64; i++)
			for (uint64 left = hints[i]; left != 0; left &= left - 1)
				read_hinted(d, 64 * i + pg_rightmost_one_pos64(left));
	UnrdfLaneSetMemory(d->lanes, unrdf_dispatcher_memory * (Size) 1024);
	dlist_foreach_modify (each, UnrdfReaders(d->lanes))
		read_jobs(d, dlist_container(UnrdfReader, node, each.cur), false);
}

/* Whether something has more to read, and room for it. */
static bool
reader_waits(Dispatcher *d)
{
	dlist_iter iter;

	dlist_foreach (iter, UnrdfReaders(d->lanes))
		if (UnrdfReaderRoom(d->lanes, dlist_container(UnrdfReader, node, iter.cur)) > 0)
			return true;
	return false;
}

/* Makes a job known by its id, unless it has ended. Inside a transaction. Returns NULL or an entry that is OUT. */
static UnrdfEntry *
load_entry(Dispatcher *d, int64 id)
{
	UnrdfJob job;
	UnrdfLane *lane;
	UnrdfFlow *flow;
	UnrdfEntry *entry;

	if (UnrdfEntryFind(d->lanes, id) || !UnrdfJobFetchRow(id, &job) || UnrdfPastEnded(&d->past, id))
		return NULL;
	lane = UnrdfLaneGet(d->lanes, UnrdfLaneQueueGet(d->lanes, job.queue), job.priority);
	flow = UnrdfFlowFind(d->lanes, lane, job.flow);
	entry = UnrdfEntryAdd(d->lanes, flow ? flow : make_flow(d, lane, &job), id);
	entry->xid = job.xid;
	entry->handler = job.handler;
	ItemPointerSetInvalid(&entry->tid);
	entry->due = job.run_at ? job.run_at : DT_NOBEGIN;
	UnrdfTimingKnow(d->timings, job.handler);
	UnrdfPastApply(&d->past, entry);
	return entry;
}

/*
 * Reads delayed jobs from the horizon on, where there is room for them. Inside a transaction. The snapshot has to be later
 * than those that followers read under: what they saw beyond the horizon and forgot has to be seen here, or the horizon
 * passes it.
 */
static void
move_horizon(Dispatcher *d, int room)
{
	Datum values[3];
	uint64 n;
	int64 *ids;
	UnrdfDue horizon = UnrdfHorizon(d->lanes);
	bool isnull;

	values[0] = TimestampTzGetDatum(horizon.at);
	values[1] = Int64GetDatum(horizon.job);
	values[2] = Int64GetDatum(room);
	horizon.at = DT_NOEND;
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	n = UnrdfExecute(&delayed_jobs, values, NULL, true);
	ids = SPI_palloc(Max(1, n) * sizeof(int64));
	for (uint64 i = 0; i < n; i++)
		ids[i] = DatumGetInt64(UnrdfResult(i, 0, &isnull));
	if (n == room)
	{
		horizon.at = DatumGetTimestampTz(UnrdfResult(n - 1, 1, &isnull));
		horizon.job = ids[n - 1] + 1;
	}
	SPI_finish();
	UnrdfHorizonSet(d->lanes, horizon);
	UnrdfPastBegin(&d->past);
	for (uint64 i = 0; i < n; i++)
	{
		UnrdfEntry *entry = load_entry(d, ids[i]);

		/* those that are due as well: UnrdfEntriesBecomeReady knows which lanes are full */
		if (entry)
			UnrdfEntryPut(d->lanes, entry, DT_NOBEGIN);
	}
	UnrdfPastEnd(&d->past);
	PopActiveSnapshot();
	pfree(ids);
}

/*
 * Goes on with jobs of which it is not known whether their executors wrote down what became of them. Inside a transaction. Where
 * they did not, `due` says when to try again, or since when a job was lost.
 */
static void
settle(Dispatcher *d)
{
	if (dlist_is_empty(&d->unsure))
		return;
	UnrdfPastBegin(&d->past);
	while (!dlist_is_empty(&d->unsure))
	{
		UnrdfEntry *entry = dlist_container(UnrdfEntry, node, dlist_pop_head_node(&d->unsure));
		UnrdfTaskKind kind = entry->kind;
		TimestampTz due = entry->due;
		int32 attempt = entry->attempt;

		if (kind == UNRDF_TASK_LOST)
			entry->kind = UNRDF_TASK_RUN;
		UnrdfPastApply(&d->past, entry);
		if (UnrdfPastEnded(&d->past, entry->job))
			UnrdfEntryRemove(d->lanes, entry);
		else if (entry->attempt != attempt)
		{
			entry->kind = UNRDF_TASK_RUN;
			UnrdfEntryDelay(d->lanes, entry, entry->due, true, UnrdfNow());
		}
		else if (kind == UNRDF_TASK_LOST)
			UnrdfGranterLose(d->granter, entry, due);
		else if (due > UnrdfNow())
			UnrdfEntryDelay(d->lanes, entry, due, false, UnrdfNow());
		else
			UnrdfEntryBack(d->lanes, entry);
	}
	UnrdfPastEnd(&d->past);
}

/*
 * Takes the hints that can be acted on; false where there is none. Where a queue is paused, or jobs come faster than they run,
 * lanes are full: their bits are left, so that who sets one that is set wakes nobody, and they remember that they are
 * wanted. A bit that a lane with room shares, or one that may come into being, is taken.
 */
static bool
take_hints(Dispatcher *d, uint64 *hints)
{
	bool any = false;

	for (int i = 0; i < UNRDF_LANE_BITS / 64; i++)
	{
		hints[i] = pg_atomic_read_u64(&d->db->lanes[i]);
		for (uint64 left = hints[i]; left != 0; left &= left - 1)
		{
			int bit = pg_rightmost_one_pos64(left);

			if (UnrdfReadersAreFull(d->lanes, 64 * i + bit))
				hints[i] &= ~(UINT64CONST(1) << bit);
		}
		if (hints[i])
			pg_atomic_fetch_and_u64(&d->db->lanes[i], ~hints[i]);
		any |= hints[i] != 0;
	}
	return any;
}

/* Looks at the tables, if there is a reason to. */
static void
look(Dispatcher *d)
{
	uint64 hints[UNRDF_LANE_BITS / 64];
	int64 now = UnrdfTicks();
	bool sweep = now >= d->next_sweep;
	bool config = d->config != pg_atomic_read_u32(&d->db->config);
	int room;
	bool horizon = UnrdfHorizonMoves(d->lanes, &room);
	bool hinted = take_hints(d, hints);

	if (!hinted && !sweep && !config && !horizon && !reader_waits(d) && dlist_is_empty(&d->unsure))
		return;
	UnrdfXactBegin("reading jobs");
	if (sweep || config)
		check_restore(d);
	if (sweep && UnrdfWaitingAny())
		pg_atomic_write_u32(&d->db->wants_releaser, 1);
	UnrdfExpirerLook(&d->expirer, sweep);
	if (config)
		read_config(d);
	if (!d->restoring)
	{
		settle(d);
		read_lanes(d, hints, sweep || config);
		if (horizon)
			move_horizon(d, room);
		/* what was read may be of a restore that has begun since; its receipts are about to come */
		if (UnrdfRestoreRuns())
			proc_exit(0);
	}
	UnrdfXactCommit();
	if (sweep)
	{
		d->next_sweep = now + unrdf_sweep_interval * INT64CONST(1000);
		UnrdfPoolCheckStarts(&d->pool);
	}
}

static void
acquit(Dispatcher *d, UnrdfEntry *entry)
{
	if (!entry->suspect && entry->kind != UNRDF_TASK_CRASHED)
		return;
	entry->suspect = false;
	UnrdfCrashAcquit(MyDatabaseId, entry->job);
}

/* Takes one task's result; of an executor that died, and of that the task that it ran then. */
static void
take_result(Dispatcher *d, UnrdfTask *task, bool dead, bool culprit)
{
	UnrdfEntry *entry = UnrdfEntryFind(d->lanes, task->job);

	if (entry == NULL)
		return;
	UnrdfTimingTake(d->timings, entry->handler, task);
	d->floor_rises |= task->result != UNRDF_TASK_UNTOUCHED;
	if (task->result == UNRDF_TASK_ENDED)
	{
		acquit(d, entry);
		UnrdfEntryRemove(d->lanes, entry);
	}
	else if (task->result == UNRDF_TASK_RETRY || task->result == UNRDF_TASK_SNOOZES)
	{
		acquit(d, entry);
		entry->kind = UNRDF_TASK_RUN;
		entry->attempt = task->attempt + 1;
		entry->failed |= task->result == UNRDF_TASK_RETRY;
		UnrdfEntryDelay(d->lanes, entry, task->retry_at, true, UnrdfNow());
	}
	else if ((dead && !culprit) || task->retry_at != 0)
	{
		bool lost = dead && task->kind == UNRDF_TASK_LOST;

		if (lost)
			entry->kind = UNRDF_TASK_LOST;
		entry->due = lost ? task->since : dead ? DT_NOBEGIN : task->retry_at;
		dlist_push_tail(&d->unsure, &entry->node);
	}
	else if (task->kind == UNRDF_TASK_LOST)
		UnrdfGranterLose(d->granter, entry, task->since);
	else
	{
		if (culprit)
			entry->kind = UNRDF_TASK_DIED;
		UnrdfEntryBack(d->lanes, entry);
	}
}

/* Takes the results of executors that are done or dead. Backwards: what is not run goes back to the head of its lane. */
static void
take_results(Dispatcher *d)
{
	for (int i = d->pool.n - 1; i >= 0; i--)
	{
		UnrdfSlot *slot = &UnrdfSlots[d->pool.slots[i]];
		UnrdfSlotState state = UnrdfSlotGet(slot);
		double cpu;

		if (state != UNRDF_SLOT_DONE && state != UNRDF_SLOT_DEAD)
			continue;
		cpu =
			slot->wall_micros > 0 ? Min(1.0, slot->busy_micros / (double) slot->wall_micros) : 1.0;
		for (int t = slot->ntasks - 1; t >= 0; t--)
			take_result(d, &slot->tasks[t], state == UNRDF_SLOT_DEAD,
						state == UNRDF_SLOT_DEAD && t == slot->running);
		UnrdfTimingsAverage(d->timings, cpu);
		slot->ntasks = 0;
		if (pg_atomic_read_u32(&slot->alone))
			d->trial = false;
		pg_atomic_write_u32(&slot->alone, 0);
		if (state == UNRDF_SLOT_DONE)
			UnrdfSlotSet(slot, UNRDF_SLOT_DONE, UNRDF_SLOT_IDLE);
		else
			UnrdfPoolRelease(&d->pool, slot);
	}
}

/* Whether a job has to have a transaction of its own. */
static bool
goes_alone(const UnrdfEntry *entry, const UnrdfTiming *t)
{
	return entry->kind != UNRDF_TASK_RUN || t == NULL || !t->measured || t->own_transaction ||
		   t->failures > 0;
}

/* Fills a slot with jobs that together take about unrdf.group_time, at most `most`. */
static void
fill(Dispatcher *d, UnrdfSlot *slot, int most)
{
	double total = 0;
	UnrdfEntry *entry;

	slot->ntasks = 0;
	while (slot->ntasks < most && (entry = UnrdfEntryPeek(d->lanes)) != NULL)
	{
		UnrdfTiming *t = UnrdfTimingFind(d->timings, entry->handler);
		bool single = goes_alone(entry, t);

		if (slot->ntasks > 0 && (single || total + t->micros > unrdf_group_time))
			break;
		UnrdfEntryTake(d->lanes);
		UnrdfSlotAdd(slot, entry);
		if (single)
			break;
		total += t->micros;
	}
}

static void
assign(Dispatcher *d, UnrdfSlot *slot)
{
	UnrdfTestPoint(UNRDF_POINT_DISPATCH);
	pg_atomic_fetch_add_u64(&d->db->dispatched, slot->ntasks);
	d->pool.idle--;
	d->pool.busy++;
	/* where that fails the executor has just died, and its tasks are taken back as those of a dead one */
	(void) UnrdfSlotSet(slot, UNRDF_SLOT_IDLE, UNRDF_SLOT_ASSIGNED);
	UnrdfSetLatch(&slot->latch);
}

/*
 * Returns a suspect that could run now, or one that was found out and has to end; NULL where there is none. Before the latter
 * has its receipt nothing else may run: if that crashed the server, who was found out would be innocent again.
 */
static UnrdfEntry *
ready_suspect(Dispatcher *d)
{
	for (int i = 0; i < d->nsuspects; i++)
	{
		UnrdfEntry *entry = UnrdfEntryFind(d->lanes, d->suspects[i].job);

		if (entry && (entry->suspect || entry->kind == UNRDF_TASK_CRASHED) &&
			UnrdfEntryIsOpen(d->lanes, entry))
			return entry;
	}
	return NULL;
}

/* Runs a suspect when nothing else does. */
static void
hold_trial(Dispatcher *d, UnrdfEntry *entry)
{
	for (int i = 0; i < d->pool.n && d->pool.busy == 0 && !d->trial; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[d->pool.slots[i]];

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_IDLE || pg_atomic_read_u32(&slot->stop))
			continue;
		slot->ntasks = 0;
		UnrdfEntryOut(d->lanes, entry);
		UnrdfSlotAdd(slot, entry);
		pg_atomic_write_u32(&slot->alone, 1);
		d->trial = true;
		assign(d, slot);
	}
}

static void
hand_out(Dispatcher *d)
{
	UnrdfEntry *suspect = ready_suspect(d);

	if (suspect)
	{
		hold_trial(d, suspect);
		return;
	}
	for (int i = 0; i < d->pool.n && !d->trial; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[d->pool.slots[i]];

		if (UnrdfReadyCount(d->lanes) == 0 && !UnrdfGranterRecords(d->granter))
			return;
		if (UnrdfSlotGet(slot) != UNRDF_SLOT_IDLE || pg_atomic_read_u32(&slot->stop))
			continue;
		if (UnrdfGranterRecords(d->granter))
			UnrdfGranterRecord(d->granter, slot);
		else
			fill(d, slot,
				 Min(UNRDF_TASKS, Max(1, UnrdfRunnableCount(d->lanes) / Max(1, d->pool.idle))));
		if (slot->ntasks == 0)
			return;
		assign(d, slot);
	}
}

/*
 * How many executors can be of use at once for jobs like this one: those that compute share the processors. What was measured
 * says nothing of those that take far longer and wait: they may wait for a lock, and for ever.
 */
static int
useful(Dispatcher *d, const UnrdfTiming *t)
{
	if (t == NULL || !t->measured || t->cpu < 0.01)
		return unrdf_max_executors;
	return (int) (d->cores / t->cpu) + 1 +
		   UnrdfPoolWaiting(&d->pool, Max(SLOW_MICROS, 10 * (int64) t->micros));
}

/* Starts executors when jobs wait and those that are there are slow to come back. */
static void
adjust_pool(Dispatcher *d)
{
	UnrdfPool *pool = &d->pool;
	UnrdfEntry *entry = UnrdfEntryPeek(d->lanes);
	TimestampTz now = UnrdfNow();
	UnrdfTiming *t;
	int most;

	if (pool->n < unrdf_min_executors)
		UnrdfPoolGrow(pool, unrdf_min_executors - pool->n);
	if (entry == NULL || d->trial || entry->suspect || pool->idle > 0 || pool->starting > 0)
		return;
	t = UnrdfTimingFind(d->timings, entry->handler);
	most = Min(unrdf_max_executors, Max(unrdf_min_executors, useful(d, t)));
	if (pool->n >= most)
		return;
	if ((t && t->measured && t->micros >= SLOW_MICROS) || now - pool->oldest >= SLOW_MICROS)
		UnrdfPoolGrow(pool,
					  Min(most - pool->n, Min(UnrdfReadyCount(d->lanes), Max(1, pool->n / 2))));
}

static UnrdfEntry *
load_leased(void *arg, int64 job)
{
	return load_entry(arg, job);
}

/* Makes known what executors and workers outside have in hand from an earlier dispatcher, and the suspects. */
static void
adopt(Dispatcher *d)
{
	UnrdfXactBegin("adopting executors");
	check_restore(d);
	read_config(d);
	UnrdfFloorRead(d->lanes, d->restores);
	UnrdfPastBegin(&d->past);
	for (int i = 0; i < d->pool.n; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[d->pool.slots[i]];
		UnrdfSlotState state = UnrdfSlotGet(slot);

		if (state != UNRDF_SLOT_ASSIGNED && state != UNRDF_SLOT_DONE && state != UNRDF_SLOT_DEAD)
			continue;
		for (int t = 0; t < slot->ntasks; t++)
		{
			UnrdfEntry *entry = load_entry(d, slot->tasks[t].job);

			if (entry)
				UnrdfEntryAdopt(d->lanes, entry);
		}
	}
	UnrdfGranterAdopt(d->granter, load_leased, d);
	for (int i = 0; i < d->nsuspects; i++)
	{
		UnrdfEntry *entry = load_entry(d, d->suspects[i].job);

		if (entry == NULL)
			continue;
		mark_suspect(d, entry);
		UnrdfEntryPut(d->lanes, entry, UnrdfNow());
	}
	UnrdfPastEnd(&d->past);
	UnrdfXactCommit();
}

/* Notes the floor when it is time and it has risen. */
static void
keep_floor(Dispatcher *d)
{
	int64 now = UnrdfTicks();

	if (!d->floor_rises || now < d->next_floor || d->restoring)
		return;
	d->floor_rises = false;
	d->next_floor = now + unrdf_floor_interval * INT64CONST(1000);
	UnrdfXactBegin("noting how far jobs have ended");
	check_restore(d);
	if (!d->restoring)
		UnrdfFloorWrite(d->lanes, d->restores);
	UnrdfXactCommit();
}

static long
time_to_wait(Dispatcher *d)
{
	long ms = UnrdfMillisUntil(UnrdfNextDue(d->lanes), unrdf_sweep_interval);

	ms = Min(ms, UnrdfMillisUntilTick(
					 Min(Min(d->next_sweep, UnrdfNextTick(d->lanes)), UnrdfGranterNext(d->granter)),
					 ms));
	if (!d->restoring && reader_waits(d))
		return 0;
	/* jobs wait for an executor: look again whether more are needed */
	if (UnrdfReadyCount(d->lanes) > 0 && d->pool.n < unrdf_max_executors)
		ms = Min(ms, SLOW_MICROS / 1000);
	return ms;
}

/*
 * Grants jobs to workers outside that wait for some. Their tokens name the epoch, so its row has to survive a crash: the next start
 * would take the same number.
 */
static void
grant(Dispatcher *d)
{
	uint32 epoch;

	if (!UnrdfClaimsWait())
		return;
	UnrdfEnsureEpoch();
	epoch = pg_atomic_read_u32(&d->db->epoch);
	if (epoch != d->flushed_epoch)
		XLogFlush(UnrdfWalEnd());
	d->flushed_epoch = epoch;
	UnrdfGranterGrant(d->granter, epoch, !reader_waits(d));
}

static void
step(Dispatcher *d)
{
	if (!d->restoring && pg_atomic_exchange_u32(&d->db->wants_epoch, 0))
		UnrdfEnsureEpoch();
	take_results(d);
	d->floor_rises |= UnrdfGranterTake(d->granter);
	UnrdfHelpersKeep(d->helpers, &d->pool.warned);
	look(d);
	UnrdfLanesTick(d->lanes, UnrdfTicks());
	UnrdfEntriesBecomeReady(d->lanes, UnrdfNow());
	UnrdfPoolCount(&d->pool);
	/* who pauses or limits a queue, and enqueues in it after that, sees it obeyed: its settings are read again first */
	if (!d->restoring && d->config == pg_atomic_read_u32(&d->db->config))
	{
		UnrdfExpirerStep(&d->expirer, &d->pool, d->trial);
		if (!UnrdfTestHolds())
			hand_out(d);
		UnrdfLanesStarved(d->lanes, d->pool.idle > 0);
		grant(d);
	}
	UnrdfWhyAnswer(d->db, d->lanes, &d->pool, d->trial);
	adjust_pool(d);
	UnrdfPoolShrink(&d->pool);
	keep_floor(d);
}

static void
init(Dispatcher *d)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "unrdf dispatcher", ALLOCSET_DEFAULT_SIZES);

	memset(d, 0, sizeof(*d));
	MemoryContextSwitchTo(context);
	d->db = UnrdfWorkerAttach(UNRDF_DISPATCHER);
	d->lanes = UnrdfLaneSetCreate(context, unrdf_dispatcher_memory * (Size) 1024, UnrdfTicks());
	d->timings = UnrdfTimingsCreate(context);
	d->granter = UnrdfGranterCreate(d->lanes);
	d->nsuspects = UnrdfCrashSuspects(MyDatabaseId, &d->suspects);
	d->cores = (int) Max(1, sysconf(_SC_NPROCESSORS_ONLN));
	dlist_init(&d->unsure);
	d->restores = -1;
	d->floor_rises = true;
	d->next_floor = UnrdfTicks() + unrdf_floor_interval * INT64CONST(1000);
	UnrdfPoolInit(&d->pool);
}

/* UnrdfDispatcherMain is the entry point of dispatchers; arg is the database's oid. */
void
UnrdfDispatcherMain(Datum arg)
{
	Dispatcher d;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE); /* for the floor */
	init(&d);
	/* the extension may have been dropped and created again: whoever needs the epoch next looks for its row */
	pg_atomic_write_u32(&d.db->epoch, 0);
	UnrdfEndUnlessInstalled(d.db);
	adopt(&d);
	for (;;)
	{
		step(&d);
		UnrdfWorkerWait(time_to_wait(&d), unrdf_wait_event("UnrdfDispatcherIdle"));
		UnrdfLaneSetMemory(d.lanes, unrdf_dispatcher_memory * (Size) 1024);
	}
}
