/*
 * expiry.c: empties segments (base/kept.c) whose time has come.
 *
 * Time counts from a job's end, and when a body was written nobody knew that. So the bodies of a segment are looked at one by one: what may go
 * is left, the others are carried over into a later segment, and the segment is truncated; one transaction, which whoever dies in it
 * leaves undone. A body goes if its job has ended, its workflow is over, no job that needs it is still to end, and since then its rule's
 * time has passed. What cannot be told stays. Jobs are few that a segment still has when its time comes, unless
 * a queue stands still: what such a job has is carried over after a quarter of the job's age each time, so that this is done
 * some twenty times in a year and not every minute.
 *
 * Locks. Nobody waits for us, and we wait for nobody who might keep others waiting behind us. A look at the lock table says
 * whether somebody uses the segment, a dump for one: then it is left for the next time. While bodies are copied the segment is
 * locked against writers only; those write to later segments. For truncating it is locked against everybody, as soon as that can be had at
 * once: if not within a second, all is undone and left for the next time. One process at a time does this (UNRDF_LOCK_EXPIRY).
 *
 * The transaction need not be durable when it has committed: a crash, or a promotion, that loses it has the segment as it was.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/kept.h"
#include "base/lock.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "queue/event_retention.h"
#include "queue/retention.h"
#include "queue/waiting.h"
#include "worker/expiry.h"
#include "worker/restore.h"

#define PATIENCE USECS_PER_SEC /* for the moment when nobody uses a segment */
#define NAP 5                  /* ms */
#define MOST_COPIED (1024 * 1024)

static UnrdfPlan end_of_workflow = {
	"SELECT coalesce(pg_catalog.bool_and(r.id IS NOT NULL), true), pg_catalog.max(r.finished_at) FROM unrdf.waiting_job AS w"
	" LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) w.id WHERE w.workflow OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

/* Jobs that one was revived as, and those of them in turn, that have not ended. */
static UnrdfPlan open_revivals = {
	"WITH RECURSIVE revived (id) AS (SELECT $1 UNION ALL SELECT n.id FROM revived AS r, LATERAL ("
	"SELECT j.id FROM unrdf.job AS j WHERE j.retry_of OPERATOR(pg_catalog.=) r.id"
	" UNION SELECT w.id FROM unrdf.waiting_job AS w WHERE w.retry_of OPERATOR(pg_catalog.=) r.id) AS n)"
	" SELECT FROM revived AS r WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS e WHERE e.id OPERATOR(pg_catalog.=) r.id)",
	1,
	{INT8OID}};

/* When a workflow was over; 0: it is not. */
typedef struct WorkflowEnd
{
	int64 workflow;
	TimestampTz end;
} WorkflowEnd;

/* A segment that is being emptied. */
typedef struct Emptying
{
	int segment;
	TimestampTz now;
	MemoryContext outer;   /* of all this */
	MemoryContext row;     /* of one body's look-ups */
	MemoryContext context; /* of what was copied since the last flush */
	Size copied;
	UnrdfKept *kept;
	UnrdfIdLookup jobs;
	UnrdfIdLookup receipts;
	UnrdfIdLookup needing; /* receipts of jobs that need one */
	bool any_waiting;      /* the next three are used only then */
	UnrdfIdLookup waiting;
	UnrdfLookup needs;
	HTAB *workflows;
	bool any_event; /* waiters are known */
	List *waiters;  /* for events */
} Emptying;

static void
begin(Emptying *e)
{
	HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(WorkflowEnd)};

	e->now = UnrdfNow();
	e->outer = CurrentMemoryContext;
	e->row = AllocSetContextCreate(e->outer, "unrdf expiry", ALLOCSET_DEFAULT_SIZES);
	e->context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf carrying over", ALLOCSET_DEFAULT_SIZES);
	e->kept = UnrdfKeptBegin(64);
	UnrdfIdLookupBegin(&e->jobs, UNRDF_JOB, UNRDF_JOB_PKEY);
	UnrdfIdLookupBegin(&e->receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	e->any_waiting = UnrdfWaitingAny();
	if (!e->any_waiting)
		return;
	UnrdfIdLookupBegin(&e->needing, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	UnrdfIdLookupBegin(&e->waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	UnrdfLookupBegin(&e->needs, UNRDF_JOB_NEED, UNRDF_JOB_NEED_NEEDS_IDX);
	ctl.hcxt = CurrentMemoryContext;
	e->workflows =
		hash_create("unrdf ends of workflows", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
end(Emptying *e)
{
	UnrdfKeptEnd(e->kept);
	UnrdfIdLookupEnd(&e->jobs);
	UnrdfIdLookupEnd(&e->receipts);
	if (e->any_waiting)
	{
		UnrdfIdLookupEnd(&e->needing);
		UnrdfIdLookupEnd(&e->waiting);
		UnrdfLookupEnd(&e->needs);
		hash_destroy(e->workflows);
	}
	MemoryContextDelete(e->context);
	MemoryContextDelete(e->row);
}

static TimestampTz
workflow_end(Emptying *e, int64 workflow)
{
	Datum value = Int64GetDatum(workflow);
	WorkflowEnd *known;
	bool found;
	bool isnull;

	known = hash_search(e->workflows, &workflow, HASH_ENTER, &found);
	if (found)
		return known->end;
	SPI_connect();
	UnrdfExecute(&end_of_workflow, &value, NULL, true);
	known->end = DatumGetTimestampTz(UnrdfResult(0, 1, &isnull));
	if (isnull || !DatumGetBool(UnrdfResult(0, 0, &isnull)))
		known->end = 0;
	SPI_finish();
	return known->end;
}

/* Whether a job that has not ended needs this one. */
static bool
is_needed(Emptying *e, int64 job)
{
	bool isnull;
	bool needed = false;

	UnrdfLookupKey(&e->needs, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job));
	UnrdfLookupStart(&e->needs);
	while (!needed && UnrdfLookupNext(&e->needs, ForwardScanDirection))
		needed = !UnrdfIdLookupFind(
			&e->needing, DatumGetInt64(slot_getattr(e->needs.slot, NEED_JOB + 1, &isnull)));
	return needed;
}

/* Whether a job goes on that this one was revived as: it needs the results of steps. */
static bool
goes_on(int64 job)
{
	Datum value = Int64GetDatum(job);
	bool open;

	SPI_connect();
	open = UnrdfExecute(&open_revivals, &value, NULL, true) > 0;
	SPI_finish();
	return open;
}

/* When a job was over, with all that needs what it has; 0: it is not. */
static TimestampTz
end_of(Emptying *e, int64 job, int32 part)
{
	TimestampTz at;
	int64 workflow;
	bool isnull;

	if (!UnrdfIdLookupFind(&e->receipts, job) || (part < UNRDF_KEPT_RESULT && goes_on(job)))
		return 0;
	at = DatumGetTimestampTz(slot_getattr(e->receipts.rows.slot, RECEIPT_FINISHED_AT + 1, &isnull));
	if (!e->any_waiting)
		return at;
	if (is_needed(e, job))
		return 0;
	if (!UnrdfIdLookupFind(&e->waiting, job))
		return at;
	workflow = DatumGetInt64(slot_getattr(e->waiting.rows.slot, WAITING_WORKFLOW + 1, &isnull));
	return isnull ? at : workflow_end(e, workflow);
}

/* The row of a job, whether it waits for others or not; NULL: there is none. */
static TupleTableSlot *
find_job(Emptying *e, int64 job)
{
	if (UnrdfIdLookupFind(&e->jobs, job))
		return e->jobs.rows.slot;
	if (e->any_waiting && UnrdfIdLookupFind(&e->waiting, job))
		return e->waiting.rows.slot;
	return NULL;
}

/* Until when what belongs to nothing that is known stays: it is not for us to throw away. */
static TimestampTz
stays_for_long(const Emptying *e)
{
	return e->now + UnrdfKeptSpan(UNRDF_SEGMENTS - 1);
}

/* Until when the payload of an event has to stay. */
static TimestampTz
payload_stays_until(Emptying *e, int64 id)
{
	UnrdfEvent event;

	if (!UnrdfEventFetch(id, &event) || event.kept_until == 0)
		return stays_for_long(e);
	if (event.kept_until > e->now)
		return event.kept_until;
	if (!e->any_event)
	{
		MemoryContext old = MemoryContextSwitchTo(e->outer);

		e->waiters = UnrdfEventWaiters();
		e->any_event = true;
		MemoryContextSwitchTo(old);
	}
	if (!UnrdfEventIsAwaited(e->waiters, &event))
		return event.kept_until;
	return e->now + Max(event.kept_until - event.at, (e->now - event.at) / 4);
}

/* Until when a body has to stay. */
static TimestampTz
stays_until(Emptying *e, int64 id, int32 part)
{
	TupleTableSlot *slot = find_job(e, id);
	TimestampTz ended;
	TimestampTz enqueued;
	UnrdfJob job;
	UnrdfRetention rule = {0, {-1, -1, -1}};
	int64 keep;

	if (part == UNRDF_KEPT_EVENT)
		return payload_stays_until(e, id);
	if (slot)
	{
		UnrdfJobReadRow(slot, &job);
		UnrdfRetentionRead(job.retention, &rule);
	}
	keep = rule.keep[UnrdfKeepOf(part)];
	if (keep < 0)
		return stays_for_long(e);
	keep *= USECS_PER_SEC;
	enqueued = job.enqueued_at;
	ended = end_of(e, id, part);
	if (ended != 0)
		return ended + keep;
	return Max(e->now, job.run_at) + Max(keep, (e->now - enqueued) / 4);
}

/* Writes a body to a later segment. Where a ring comes round, before the segment was empty again, to the one before. */
static void
carry_over(Emptying *e, int64 job, int32 part, TimestampTz until, Datum body)
{
	int segment = UnrdfKeptSegment(e->now, &until);
	struct varlena *copy;
	MemoryContext old;

	if (segment == e->segment)
	{
		until -= UnrdfKeptSpan(segment);
		segment = UnrdfKeptBefore(segment);
	}
	old = MemoryContextSwitchTo(e->context);
	copy = PG_DETOAST_DATUM_COPY(body);
	MemoryContextSwitchTo(old);
	UnrdfKeptWriteTo(e->kept, segment, job, part, until, (Jsonb *) copy);
	e->copied += VARSIZE_ANY(copy) + 64;
	if (e->copied < MOST_COPIED)
		return;
	UnrdfKeptFlush(e->kept);
	MemoryContextReset(e->context);
	e->copied = 0;
}

static void
look_at_body(Emptying *e, TupleTableSlot *row)
{
	bool isnull;
	int64 job = DatumGetInt64(slot_getattr(row, KEPT_JOB + 1, &isnull));
	int32 part = DatumGetInt32(slot_getattr(row, KEPT_PART + 1, &isnull));
	MemoryContext old = MemoryContextSwitchTo(e->row);
	TimestampTz until = stays_until(e, job, part);

	MemoryContextSwitchTo(old);
	MemoryContextReset(e->row);
	if (until > e->now)
		carry_over(e, job, part, until, slot_getattr(row, KEPT_BODY + 1, &isnull));
}

/* Carries over what has to stay. */
static void
save_bodies(int segment)
{
	Emptying e = {segment};
	Relation table = table_open(UnrdfRelid(UNRDF_KEPT + segment), NoLock);
	TupleTableSlot *row = table_slot_create(table, NULL);
	TableScanDesc scan;

	PushActiveSnapshot(GetLatestSnapshot());
	begin(&e);
	scan = table_beginscan(table, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		look_at_body(&e, row);
	}
	table_endscan(scan);
	end(&e);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(row);
	table_close(table, NoLock);
}

static void
refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE), errmsg("somebody uses a segment of bodies")));
}

/* Takes the lock against everybody, without standing in a queue for it. Raises 55P03 where that takes too long. */
static void
lock_alone(Oid relid)
{
	int64 until = UnrdfTicks() + PATIENCE;

	while (!ConditionalLockRelationOid(relid, AccessExclusiveLock))
	{
		if (UnrdfTicks() >= until)
			refuse();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, NAP,
						 unrdf_wait_event("UnrdfExpiry"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
empty(void *arg)
{
	int segment = *(int *) arg;
	Oid relid = UnrdfRelid(UNRDF_KEPT + segment);

	if (!ConditionalLockRelationOid(relid, ExclusiveLock))
		refuse();
	save_bodies(segment);
	lock_alone(relid);
	UnrdfExecuteText(psprintf("TRUNCATE unrdf.kept_%d", segment));
}

/* Whether somebody else has a lock on a segment, or waits for one. */
static bool
is_used(int segment)
{
	LOCKTAG tag;
	int n;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, UnrdfRelid(UNRDF_KEPT + segment));
	(void) GetLockConflicts(&tag, AccessExclusiveLock, &n);
	return n > 0;
}

/* When a segment can be emptied as far as the first body is concerned that can be seen; 0 where none can. */
static TimestampTz
due_of(int segment, Relation table)
{
	TupleTableSlot *row = table_slot_create(table, NULL);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan_strat(table, snapshot, 0, NULL, true, false);
	TimestampTz due = 0;
	bool isnull;

	if (table_scan_getnextslot(scan, ForwardScanDirection, row))
		due =
			UnrdfKeptDue(segment, DatumGetTimestampTz(slot_getattr(row, KEPT_UNTIL + 1, &isnull)));
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(row);
	return due;
}

/*
 * UnrdfSegmentFilled tells whether a segment takes space, and is not being emptied now; and when it can be emptied as far as its oldest
 * body is concerned: bodies are in the order in which they were written. 0 where none can be seen: whoever wrote there has not
 * committed, or never did.
 */
bool
UnrdfSegmentFilled(int segment, TimestampTz *due)
{
	Oid relid = UnrdfRelid(UNRDF_KEPT + segment);
	Relation table;
	bool filled;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	table = table_open(relid, NoLock);
	filled = RelationGetNumberOfBlocks(table) > 0;
	*due = filled ? due_of(segment, table) : 0;
	table_close(table, AccessShareLock);
	return filled;
}

/* UnrdfSegmentsDue lists the segments whose time has come, and that nobody uses; returns how many. */
int
UnrdfSegmentsDue(int *segments)
{
	TimestampTz now = UnrdfNow();
	TimestampTz due;
	int n = 0;

	for (int i = 0; i < UNRDF_SEGMENTS; i++)
		if (UnrdfSegmentFilled(i, &due) && due <= now && !is_used(i))
			segments[n++] = i;
	return n;
}

/* UnrdfSegmentEmpty empties a segment in the current transaction; false where somebody uses it, or does the same, or a dump is loaded. */
bool
UnrdfSegmentEmpty(int segment)
{
	ErrorData *error;

	if (UnrdfRestoreRuns() || !UnrdfTryLock(UNRDF_LOCK_EXPIRY, 0))
		return false;
	error = UnrdfTry(empty, &segment);
	if (error && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	if (error)
		FreeErrorData(error);
	return error == NULL;
}

/* UnrdfExpire empties all segments whose time has come and that nobody uses, in the current transaction; returns how many. */
int
UnrdfExpire(void)
{
	int segments[UNRDF_SEGMENTS];
	int n = 0;
	int due;

	PreventCommandIfReadOnly("unrdf.expire()");
	due = UnrdfSegmentsDue(segments);
	for (int i = 0; i < due; i++)
		n += UnrdfSegmentEmpty(segments[i]);
	return n;
}

/* Empties a segment in a transaction of its own. */
static void
empty_alone(int segment)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		UnrdfXactBegin("emptying a segment");
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		(void) UnrdfSegmentEmpty(segment);
		UnrdfXactCommit();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		UnrdfXactAbort();
		ereport(LOG, (errmsg("could not empty segment kept_%d: %s", segment, error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* UnrdfExpireInBackground does what UnrdfExpire does, in an executor: a transaction for each segment. Raises nothing but FATAL. */
void
UnrdfExpireInBackground(void)
{
	MemoryContext context = CurrentMemoryContext;
	int segments[UNRDF_SEGMENTS];
	int n;

	UnrdfXactBegin("looking for segments that are due");
	n = UnrdfSegmentsDue(segments);
	UnrdfXactCommit();
	MemoryContextSwitchTo(context);
	for (int i = 0; i < n; i++)
		empty_alone(segments[i]);
}

/* UnrdfExpirerLook finds out, in a sweep, whether anything is kept for a time here. Inside a transaction. */
void
UnrdfExpirerLook(UnrdfExpirer *e, bool sweep)
{
	if (sweep)
		e->any = UnrdfRetentionAny() || !UnrdfNeverFilled(UNRDF_EVENT_RETENTION);
}

/* UnrdfExpirerStep has an idle executor look for segments that are due, when it is time for that, unless a suspect is on trial. */
void
UnrdfExpirerStep(UnrdfExpirer *e, UnrdfPool *pool, bool trial)
{
	int64 now = UnrdfTicks();

	if (!e->any || now < e->next || trial)
		return;
	for (int i = 0; i < pool->n; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_IDLE || pg_atomic_read_u32(&slot->stop))
			continue;
		e->next = now + unrdf_expiry_interval * INT64CONST(1000);
		memset(&slot->tasks[0], 0, sizeof(UnrdfTask));
		slot->tasks[0].kind = UNRDF_TASK_EXPIRE;
		slot->ntasks = 1;
		pool->idle--;
		pool->busy++;
		(void) UnrdfSlotSet(slot, UNRDF_SLOT_IDLE, UNRDF_SLOT_ASSIGNED);
		UnrdfSetLatch(&slot->latch);
		return;
	}
}
