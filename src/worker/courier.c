/*
 * courier.c: the process that makes jobs of events, one per database that has subscriptions.
 *
 * Each subscription has a cursor of its own (queue/cursor.c). A batch of one is one transaction: its events are read, their jobs written
 * in the order of the events, and the delivery's row with the jobs' ids and the position after them. So whatever dies between two
 * lines, an event has become one job of the subscription and the position says so, or neither. What this process remembers is a
 * cache of the newest delivery: marked unusable before it changes, and read anew where the table has another one.
 *
 * UNRDF_LOCK_SUBSCRIPTION is held to the transaction's end, against a session that moves, pauses or drops the subscription. The courier
 * does not wait for one that has it: it goes on with the others, and looks again later.
 *
 * A subscription whose jobs are not done, because it is slow or gone, gets no more of them once max_behind have not ended, and goes on when
 * a quarter of them has. Its events wait in their table, and hold up nobody. That is said in the log once, until it has caught up.
 *
 * An event becomes a job whatever is in it: one that does not fit the handler's schema becomes a dead one, or whoever emits could hold up
 * the subscription. What keeps jobs from being written at all, as a queue that is closed or a key that is not there, keeps the batch due.
 *
 * The first reading of the log of a dump waits for the restore's end, as the dispatcher does; after one everybody starts over.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/record.h"
#include "queue/depth.h"
#include "queue/event.h"
#include "queue/handler.h"
#include "queue/job.h"
#include "queue/subscription.h"
#include "worker/ending.h"
#include "worker/limit.h"
#include "worker/restore.h"
#include "worker/worker.h"

#define MOST_PER_BATCH 4096
#define MOST_AT_ONCE 64  /* events in memory */
#define PASSED_MOST 8192 /* events for others, after which the position is written all the same */
#define LOOK_FULL (USECS_PER_SEC / 10) /* when to look again at one that is full */
#define LOOK_FAILED USECS_PER_SEC
#define ENQUEUE_MOST \
	10000 /* ms for the jobs of the events in memory: a handler's key function is anybody's code */

/* A job that has not ended, as far as is known. */
typedef struct OpenJob
{
	int64 delivery;
	int64 job;
} OpenJob;

/* What is remembered of a subscription. */
typedef struct Following
{
	int32 id;
	MemoryContext context; /* of the rest */
	bool usable;
	UnrdfCursor cursor;
	UnrdfDelivered newest;
	OpenJob *open; /* in the order of their ids */
	int nopen;
	int capacity;
	int passed; /* events for others since the newest delivery */
	bool full;
	bool no_room; /* in the queue */
	bool warned;  /* of being full */
	bool failed;
	int64 look_at; /* ticks; not before */
} Following;

typedef struct Courier
{
	UnrdfDatabase *db;
	MemoryContext context;
	MemoryContext batch_context;
	uint32 config;
	int64 restores; /* -1: not counted yet */
	Following *all;
	int n;
} Courier;

/* One transaction of a subscription. */
typedef struct Batch
{
	const UnrdfSubscription *s;
	UnrdfEventReader reader;
	int64 *jobs;
	int njobs;
	int64 last_event;
	MemoryContext event_context; /* of the events in memory */
	Jsonb *args[MOST_AT_ONCE];
	char *mismatches[MOST_AT_ONCE]; /* why args do not fit the handler's schema; NULL: they do */
	int nargs;
} Batch;

static UnrdfPlan open_deliveries = {
	"SELECT n, jobs FROM unrdf.delivery WHERE subscription OPERATOR(pg_catalog.=) $1"
	" AND n OPERATOR(pg_catalog.>=) $2 ORDER BY n",
	2,
	{INT4OID, INT8OID}};

static void
forget(Following *f)
{
	MemoryContextReset(f->context);
	f->open = NULL;
	f->nopen = f->capacity = 0;
	f->usable = false;
}

static void
remember_open(Following *f, int64 delivery, const int64 *jobs, int n)
{
	if (f->nopen + n > f->capacity)
	{
		f->capacity = Max(f->nopen + n, 2 * f->capacity);
		if (f->open == NULL)
			f->open = MemoryContextAlloc(f->context, f->capacity * sizeof(OpenJob));
		else
			f->open = repalloc_huge(f->open, f->capacity * sizeof(OpenJob));
	}
	for (int i = 0; i < n; i++)
	{
		f->open[f->nopen].delivery = delivery;
		f->open[f->nopen++].job = jobs[i];
	}
}

/* Forgets open jobs that have ended. */
static void
prune(Following *f)
{
	UnrdfIdLookup receipts;
	int kept = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfIdLookupBegin(&receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	for (int i = 0; i < f->nopen; i++)
		if (!UnrdfIdLookupFind(&receipts, f->open[i].job))
			f->open[kept++] = f->open[i];
	UnrdfIdLookupEnd(&receipts);
	PopActiveSnapshot();
	f->nopen = kept;
}

/* Remembers what the table says. */
static void
load(Following *f)
{
	Datum values[2] = {Int32GetDatum(f->id)};
	uint64 n;
	bool isnull;

	forget(f);
	f->passed = 0;
	UnrdfCursorInit(&f->cursor, f->context);
	UnrdfDeliveryRead(f->id, &f->cursor, &f->newest);
	values[1] = Int64GetDatum(f->newest.oldest_open);
	SPI_connect();
	n = UnrdfExecuteLatest(&open_deliveries, values, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		ArrayType *jobs = DatumGetArrayTypeP(UnrdfResult(i, 1, &isnull));

		remember_open(f, DatumGetInt64(UnrdfResult(i, 0, &isnull)), (int64 *) ARR_DATA_PTR(jobs),
					  ArrayGetNItems(ARR_NDIM(jobs), ARR_DIMS(jobs)));
	}
	SPI_finish();
	prune(f);
}

/* Makes the job's arguments of an event that the subscription is for. */
static void
take_event(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Batch *batch = arg;
	MemoryContext old = MemoryContextSwitchTo(batch->event_context);
	UnrdfEvent event;

	UnrdfEventRead(slot, &event);
	if (UnrdfPatternMatches(batch->s->pattern, event.name) &&
		UnrdfEventReadable(&batch->reader, &event) && UnrdfEventLoad(&event))
	{
		batch->args[batch->nargs++] = UnrdfEventArgs(&event);
		batch->last_event = id;
	}
	MemoryContextSwitchTo(old);
}

/* What the receipt of a job says that does not fit its handler's schema. */
static Jsonb *
reason(const char *mismatch)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"reason\": \"the event does not fit the handler's schema\","
								  " \"detail\": ");
	escape_json(&json, mismatch);
	appendStringInfoChar(&json, '}');
	return UnrdfJsonbOf(json.data);
}

/* Ends those of the jobs just written that do not fit their handler's schema; job is any of them. */
static void
end_unfit(Batch *batch, UnrdfJob *job)
{
	UnrdfReceiptWriter *writer = NULL;

	for (int i = 0; i < batch->nargs; i++)
	{
		UnrdfEnding ending = {UNRDF_DEAD};

		if (batch->mismatches[i] == NULL)
			continue;
		if (writer == NULL)
			writer = UnrdfReceiptWriterBegin(MOST_AT_ONCE);
		job->id = batch->jobs[batch->njobs + i];
		job->args = batch->args[i];
		ending.result = reason(batch->mismatches[i]);
		UnrdfEndingWrite(writer, job, 0, &ending);
		UnrdfDepthEnded(job->queue, UNRDF_DEAD, false);
	}
	if (writer)
	{
		UnrdfReceiptWriterEnd(writer);
		UnrdfWakeIntegrator();
	}
}

/* Writes the jobs of the events in memory. */
static void
enqueue(Batch *batch)
{
	UnrdfEnqueue request = {0};
	MemoryContext old = MemoryContextSwitchTo(batch->event_context);

	request.job.handler = batch->s->handler;
	request.job.queue = batch->s->queue;
	request.job.priority = batch->s->priority;
	request.job.owner = batch->s->owner;
	request.job.timeout_ms = -1;
	if (batch->nargs > 0)
	{
		UnrdfLimitsBegin(ENQUEUE_MOST, 0);
		UnrdfEnqueueMany(&request, batch->nargs, batch->args, NULL, &batch->jobs[batch->njobs],
						 batch->mismatches);
		UnrdfLimitsEnd();
		end_unfit(batch, &request.job);
	}
	batch->njobs += batch->nargs;
	batch->nargs = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(batch->event_context);
}

/* Reads events, at most so many, and writes their jobs. Returns whether there may be more. */
static bool
read_events(Following *f, Batch *batch, int most)
{
	bool more = true;

	for (int done = 0; done < most && more;)
	{
		int n = UnrdfCursorNext(&f->cursor, Min(most - done, MOST_AT_ONCE), take_event, batch);

		if (batch->nargs > 0)
			UnrdfTestPoint(UNRDF_POINT_COURIER_READ);
		enqueue(batch);
		done += n;
		f->passed += n;
		more = !UnrdfCursorAtEnd(&f->cursor);
	}
	return more;
}

/* Writes how far the subscription is now, unless only a few events for others have come by. */
static bool
write_delivery(Following *f, const Batch *batch)
{
	if (batch->njobs == 0 && f->passed < PASSED_MOST)
		return false;
	if (batch->njobs > 0)
		UnrdfTestPoint(UNRDF_POINT_COURIER_ENQUEUED);
	f->newest.n++;
	f->newest.oldest_open = f->nopen > 0 ? f->open[0].delivery : f->newest.n;
	if (batch->last_event != 0)
		f->newest.last_event = batch->last_event;
	f->passed = 0;
	remember_open(f, f->newest.n, batch->jobs, batch->njobs);
	UnrdfDeliveryWrite(f->id, &f->newest, &f->cursor, batch->jobs, batch->njobs);
	return batch->njobs > 0;
}

/* How many jobs the subscription may get; 0 where it has to wait until more of them, or of its queue's, have ended. */
static int
room(Following *f, const UnrdfSubscription *s)
{
	int64 left = UnrdfRoomLeft(UnrdfQueueToEnqueue(s->queue, UnrdfHandlerById(s->handler)));
	int room;

	f->no_room = left == 0;
	if (s->max_behind - f->nopen < Min(MOST_PER_BATCH, s->max_behind))
		prune(f);
	room = s->max_behind - f->nopen;
	if (room > 0 && left > 0 && !(f->full && room < s->max_behind / 4))
	{
		f->full = false;
		return (int) Min(Min(room, left), MOST_PER_BATCH);
	}
	f->full |= left > 0;
	f->look_at = UnrdfTicks() + LOOK_FULL;
	return 0;
}

/* Raises what keeps a subscription from getting jobs that could run. */
static void
check_subscription(const UnrdfSubscription *s)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(s->owner)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("its owner, role %u, does not exist", s->owner)));
	if (UnrdfHandlerById(s->handler) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("its handler, %d, does not exist", s->handler)));
}

/* Says once that a subscription gets no more, if it has events to get. */
static void
warn_full(Following *f, const UnrdfSubscription *s)
{
	int64 events = 0;
	TimestampTz oldest;

	if (f->warned || !UnrdfSubscriptionLag(f->id, &events, &oldest) || events == 0)
		return;
	f->warned = true;
	if (f->no_room)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("subscription %d to \"%s\" waits for room in its queue", f->id,
						text_to_cstring(s->pattern)),
				 errdetail("The queue has as many jobs that have not ended as its max_depth says."),
				 errhint("See unrdf.subscriptions and unrdf.queue_depths.")));
	else
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("subscription %d to \"%s\" is full: %d of its jobs have not ended", f->id,
						text_to_cstring(s->pattern), f->nopen),
				 errdetail("It gets no more until a quarter of them has; its events wait."),
				 errhint("See unrdf.subscriptions.")));
}

/* Delivers a batch inside a transaction. Returns whether there may be more; *wrote tells whether there were jobs. */
static bool
deliver(Courier *c, Following *f, bool *wrote)
{
	UnrdfSubscription s;
	Batch batch = {&s};
	int most;
	bool more = false;

	if (!UnrdfTryLock(UNRDF_LOCK_SUBSCRIPTION, f->id))
	{
		f->look_at = UnrdfTicks() + LOOK_FULL;
		return false;
	}
	if (!UnrdfSubscriptionFind(f->id, &s) || s.paused)
		return false;
	check_subscription(&s);
	if (!f->usable || UnrdfDeliveryNewest(f->id) != f->newest.n)
		load(f);
	f->usable = false;
	most = room(f, &s);
	if (most == 0)
		warn_full(f, &s);
	else
	{
		batch.jobs = palloc(most * sizeof(int64));
		batch.event_context =
			AllocSetContextCreate(c->batch_context, "unrdf events", ALLOCSET_DEFAULT_SIZES);
		UnrdfEventReaderLoad(&batch.reader, s.owner);
		more = read_events(f, &batch, most);
		*wrote = write_delivery(f, &batch);
		if (!more)
			f->warned = false;
	}
	f->usable = true;
	return more;
}

/* A restore since the last look makes all positions worthless: end, and be started anew. Inside a transaction. */
static bool
restoring(Courier *c)
{
	UnrdfRestoreState restore;

	UnrdfRestoreRead(&restore);
	if (c->restores >= 0 && restore.count != c->restores)
		proc_exit(0);
	c->restores = restore.count;
	return restore.running;
}

/* After an error: rolled back, and said once. */
static void
recover(Courier *c, Following *f)
{
	ErrorData *error;

	UnrdfLimitsEnd();
	MemoryContextSwitchTo(c->batch_context);
	error = CopyErrorData();
	FlushErrorState();
	UnrdfXactAbort();
	if (UnrdfTimedOut())
		error->message = "the jobs of a few events take too long to write";
	forget(f);
	if (!f->failed)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not deliver events to subscription %d: %s", f->id, error->message)));
	f->failed = true;
	f->look_at = UnrdfTicks() + LOOK_FAILED;
}

/* Delivers a batch in a transaction of its own. Returns whether there may be more at once. */
static bool
serve(Courier *c, Following *f)
{
	volatile bool more = false;

	PG_TRY();
	{
		bool wrote = false;

		UnrdfXactBegin("delivering events");
		MemoryContextSwitchTo(c->batch_context);
		if (!restoring(c))
			more = deliver(c, f, &wrote);
		/* what was read may be of a restore that has begun since */
		if (wrote && UnrdfRestoreRuns())
			proc_exit(0);
		if (wrote)
			UnrdfTestPoint(UNRDF_POINT_COURIER_COMMIT);
		UnrdfXactCommit();
		f->failed = false;
		if (wrote)
			UnrdfTestPoint(UNRDF_POINT_COURIER_COMMITTED);
	}
	PG_CATCH();
	{
		recover(c, f);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(c->context);
	MemoryContextReset(c->batch_context);
	return more;
}

static Following *
find(Courier *c, int32 id)
{
	for (int i = 0; i < c->n; i++)
		if (c->all[i].id == id)
			return &c->all[i];
	return NULL;
}

/* Reads which subscriptions there are, and goes on with those that were there before. */
static void
read_config(Courier *c)
{
	UnrdfSubscription *list;
	Following *all;
	int n;

	c->config = pg_atomic_read_u32(&c->db->config);
	UnrdfXactBegin("reading subscriptions");
	MemoryContextSwitchTo(c->batch_context);
	n = UnrdfSubscriptionList(&list);
	all = MemoryContextAllocZero(c->context, (n + 1) * sizeof(Following));
	for (int i = 0; i < n; i++)
	{
		Following *known = find(c, list[i].id);

		if (known)
		{
			all[i] = *known;
			known->context = NULL;
			continue;
		}
		all[i].id = list[i].id;
		all[i].context =
			AllocSetContextCreate(c->context, "unrdf subscription", ALLOCSET_DEFAULT_SIZES);
	}
	UnrdfXactCommit();
	for (int i = 0; i < c->n; i++)
		if (c->all[i].context)
			MemoryContextDelete(c->all[i].context);
	if (c->all)
		pfree(c->all);
	c->all = all;
	c->n = n;
	MemoryContextSwitchTo(c->context);
	MemoryContextReset(c->batch_context);
}

/* Gives every subscription a batch. Returns how long nothing is to be done, in ms. */
static long
step(Courier *c)
{
	int64 now = UnrdfTicks();
	long wait = unrdf_sweep_interval;

	if (c->all == NULL || c->config != pg_atomic_read_u32(&c->db->config))
		read_config(c);
	/* the dispatcher starts a courier again where there is a subscription */
	if (c->n == 0)
		proc_exit(0);
	for (int i = 0; i < c->n; i++)
	{
		Following *f = &c->all[i];

		if (f->look_at <= now)
		{
			f->look_at = 0;
			if (serve(c, f))
				wait = 0;
		}
		if (f->look_at > 0)
			wait = Min(wait, UnrdfMillisUntilTick(f->look_at, unrdf_sweep_interval));
		UnrdfWorkerInterrupts();
	}
	return wait;
}

/* UnrdfCourierMain is the entry point of couriers; arg is the database's oid. */
void
UnrdfCourierMain(Datum arg)
{
	Courier c = {0};

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	UnrdfLimitsInit();
	c.context = AllocSetContextCreate(TopMemoryContext, "unrdf courier", ALLOCSET_DEFAULT_SIZES);
	c.batch_context = AllocSetContextCreate(c.context, "unrdf batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(c.context);
	c.db = UnrdfWorkerAttach(UNRDF_COURIER);
	c.restores = -1;
	for (;;)
	{
		long wait = step(&c);

		if (wait > 0)
			UnrdfWorkerWait(wait, unrdf_wait_event("UnrdfCourierIdle"));
	}
}
