/*
 * job.c: rows of unrdf.job. They are written once, in the enqueuer's transaction, and never changed.
 *
 * Arguments are in the row, or, where the job's rule says for how long they are kept (retention.c), in a segment (base/kept.c),
 * written in the same transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/kept.h"
#include "base/lookup.h"
#include "base/shmem.h"
#include "queue/depth.h"
#include "queue/config.h"
#include "queue/job.h"
#include "queue/retention.h"

struct UnrdfJobWriter
{
	UnrdfAppend *append;
	UnrdfKept *kept;
	uint64 xid;
};

/*
 * UnrdfLaneBit returns the bit of UnrdfDatabase.lanes that stands for a lane. Lanes of one priority may share one, and then
 * their queues share all.
 */
int
UnrdfLaneBit(int32 queue, int priority)
{
	StaticAssertStmt(UNRDF_LANE_BITS % UNRDF_PRIORITIES == 0, "a bit has one priority");
	return (int) (((uint32) queue * UNRDF_PRIORITIES + priority) % UNRDF_LANE_BITS);
}

static void
wake_lane(uint64 bit)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	uint64 mask = UINT64CONST(1) << (bit % 64);

	if (db == NULL)
		return;
	/* who set a bit that is still there has woken the dispatcher, which has not taken it yet, or left it: the lane is full */
	if ((pg_atomic_fetch_or_u64(&db->lanes[bit / 64], mask) & mask) == 0)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
}

/* UnrdfJobWriterBegin opens unrdf.job for writing in the current transaction and memory context. */
UnrdfJobWriter *
UnrdfJobWriterBegin(int capacity)
{
	UnrdfJobWriter *w = palloc(sizeof(UnrdfJobWriter));

	w->append = UnrdfAppendBegin(UNRDF_JOB, capacity);
	w->kept = UnrdfKeptBegin(capacity);
	w->xid = U64FromFullTransactionId(GetTopFullTransactionId());
	return w;
}

/* UnrdfJobArgsUntil returns when a job's arguments may go, as far as that is known when it is enqueued; 0: they are in its row. */
TimestampTz
UnrdfJobArgsUntil(const UnrdfJob *job)
{
	return UnrdfKeepUntil(job->retention, UNRDF_KEEP_ARGS, Max(job->enqueued_at, job->run_at));
}

/* UnrdfJobSetRow fills a row of unrdf.job, or of another table that begins with its columns. args and key stay where they are. */
void
UnrdfJobSetRow(TupleTableSlot *slot, const UnrdfJob *job)
{
	UnrdfAppendSet(slot, JOB_ID, Int64GetDatum(job->id));
	UnrdfAppendSet(slot, JOB_XID, UInt64GetDatum(job->xid));
	UnrdfAppendSet(slot, JOB_ENQUEUED_AT, TimestampTzGetDatum(job->enqueued_at));
	if (job->run_at != 0)
		UnrdfAppendSet(slot, JOB_RUN_AT, TimestampTzGetDatum(job->run_at));
	UnrdfAppendSet(slot, JOB_QUEUE, Int32GetDatum(job->queue));
	UnrdfAppendSet(slot, JOB_HANDLER, Int32GetDatum(job->handler));
	UnrdfAppendSet(slot, JOB_OWNER, ObjectIdGetDatum(job->owner));
	if (job->max_attempts != 0)
		UnrdfAppendSet(slot, JOB_MAX_ATTEMPTS, Int32GetDatum(job->max_attempts));
	if (job->timeout_ms >= 0)
		UnrdfAppendSet(slot, JOB_TIMEOUT_MS, Int32GetDatum(job->timeout_ms));
	UnrdfAppendSet(slot, JOB_PRIORITY, Int16GetDatum(job->priority));
	if (job->retry_of != 0)
		UnrdfAppendSet(slot, JOB_RETRY_OF, Int64GetDatum(job->retry_of));
	if (job->flow != 0)
		UnrdfAppendSet(slot, JOB_FLOW, Int64GetDatum(job->flow));
	if (job->key)
		UnrdfAppendSet(slot, JOB_KEY, PointerGetDatum(job->key));
	if (job->group_key)
		UnrdfAppendSet(slot, JOB_GROUP_KEY, PointerGetDatum(job->group_key));
	if (job->tenant)
		UnrdfAppendSet(slot, JOB_TENANT, PointerGetDatum(job->tenant));
	if (UnrdfJobArgsUntil(job) == 0)
		UnrdfAppendSet(slot, JOB_ARGS, JsonbPGetDatum(job->args));
	if (job->handler_version > 1)
		UnrdfAppendSet(slot, JOB_HANDLER_VERSION, Int32GetDatum(job->handler_version));
	if (job->debounced_since != 0)
		UnrdfAppendSet(slot, JOB_DEBOUNCED_SINCE, TimestampTzGetDatum(job->debounced_since));
	if (job->retention != 0)
		UnrdfAppendSet(slot, JOB_RETENTION, Int64GetDatum(job->retention));
}

/* UnrdfJobNew gives a job its id and its queue's rule, and adds its arguments to kept, if that says so. */
void
UnrdfJobNew(UnrdfKept *kept, UnrdfJob *job)
{
	TimestampTz until;

	job->id = nextval_internal(UnrdfRelid(UNRDF_OPERATION_ID), false);
	job->retention = UnrdfQueueRowSettings(UnrdfQueueRowById(job->queue))->retention;
	until = UnrdfJobArgsUntil(job);
	if (until != 0)
		UnrdfKeptWrite(kept, job->id, UNRDF_KEPT_ARGS, job->enqueued_at, until, job->args);
}

/* UnrdfJobWrite gives the job its id, adds its row and returns the id. args and key must live until the writer ends. */
int64
UnrdfJobWrite(UnrdfJobWriter *w, UnrdfJob *job)
{
	UnrdfJobNew(w->kept, job);
	UnrdfJobRelease(w, job);
	return job->id;
}

/* UnrdfJobRelease adds the row of a job that has its id; args and key must live until the writer flushes or ends. */
void
UnrdfJobRelease(UnrdfJobWriter *w, UnrdfJob *job)
{
	job->xid = w->xid;
	UnrdfJobSetRow(UnrdfAppendRow(w->append), job);
	UnrdfDepthEnqueued(job->queue);
	UnrdfAtCommit(wake_lane, UnrdfLaneBit(job->queue, job->priority));
}

/*
 * UnrdfJobWriteEnded adds the row of a job that ends in this transaction without having run. It keeps the transaction id of its
 * enqueuer, which followers are past, and wakes nobody.
 */
void
UnrdfJobWriteEnded(UnrdfJobWriter *w, const UnrdfJob *job)
{
	UnrdfJobSetRow(UnrdfAppendRow(w->append), job);
}

/* UnrdfJobWriterFlush writes the rows so far and makes them visible to this transaction. */
void
UnrdfJobWriterFlush(UnrdfJobWriter *w)
{
	UnrdfAppendFlush(w->append);
	UnrdfKeptFlush(w->kept);
	CommandCounterIncrement();
}

/* UnrdfJobWriterEnd writes what is left. */
void
UnrdfJobWriterEnd(UnrdfJobWriter *w)
{
	UnrdfAppendEnd(w->append);
	UnrdfKeptEnd(w->kept);
	pfree(w);
}

/* UnrdfJobReadRow reads a row, without arguments that are apart from it. key and args point into the slot or the current memory context. */
void
UnrdfJobReadRow(TupleTableSlot *slot, UnrdfJob *job)
{
	Datum *v;
	bool *isnull;

	slot_getallattrs(slot);
	v = slot->tts_values;
	isnull = slot->tts_isnull;
	job->id = DatumGetInt64(v[JOB_ID]);
	job->xid = DatumGetUInt64(v[JOB_XID]);
	job->enqueued_at = DatumGetTimestampTz(v[JOB_ENQUEUED_AT]);
	job->run_at = isnull[JOB_RUN_AT] ? 0 : DatumGetTimestampTz(v[JOB_RUN_AT]);
	job->queue = DatumGetInt32(v[JOB_QUEUE]);
	job->handler = DatumGetInt32(v[JOB_HANDLER]);
	job->owner = DatumGetObjectId(v[JOB_OWNER]);
	job->max_attempts = isnull[JOB_MAX_ATTEMPTS] ? 0 : DatumGetInt32(v[JOB_MAX_ATTEMPTS]);
	job->timeout_ms = isnull[JOB_TIMEOUT_MS] ? -1 : DatumGetInt32(v[JOB_TIMEOUT_MS]);
	job->priority = DatumGetInt16(v[JOB_PRIORITY]);
	job->retry_of = isnull[JOB_RETRY_OF] ? 0 : DatumGetInt64(v[JOB_RETRY_OF]);
	job->flow = isnull[JOB_FLOW] ? 0 : DatumGetInt64(v[JOB_FLOW]);
	job->key = isnull[JOB_KEY] ? NULL : DatumGetTextPP(v[JOB_KEY]);
	job->group_key = isnull[JOB_GROUP_KEY] ? NULL : DatumGetTextPP(v[JOB_GROUP_KEY]);
	job->tenant = isnull[JOB_TENANT] ? NULL : DatumGetTextPP(v[JOB_TENANT]);
	job->args = isnull[JOB_ARGS] ? NULL : DatumGetJsonbP(v[JOB_ARGS]);
	job->handler_version = isnull[JOB_HANDLER_VERSION] ? 1 : DatumGetInt32(v[JOB_HANDLER_VERSION]);
	job->debounced_since =
		isnull[JOB_DEBOUNCED_SINCE] ? 0 : DatumGetTimestampTz(v[JOB_DEBOUNCED_SINCE]);
	job->retention = isnull[JOB_RETENTION] ? 0 : DatumGetInt64(v[JOB_RETENTION]);
}

static void
find_args(UnrdfJob *job)
{
	TimestampTz until = job->args ? 0 : UnrdfJobArgsUntil(job);

	if (until != 0)
		job->args = UnrdfKeptFind(job->id, UNRDF_KEPT_ARGS, job->enqueued_at, until);
}

/* UnrdfJobRead reads a job. key and args point into the slot or the current memory context. */
void
UnrdfJobRead(TupleTableSlot *slot, UnrdfJob *job)
{
	UnrdfJobReadRow(slot, job);
	find_args(job);
}

/* UnrdfJobFetchRow reads a job's row under the active snapshot into the current memory context; false where there is none. */
bool
UnrdfJobFetchRow(int64 id, UnrdfJob *job)
{
	Relation table = table_open(UnrdfRelid(UNRDF_JOB), AccessShareLock);
	Relation index = index_open(UnrdfRelid(UNRDF_JOB_PKEY), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData key;
	IndexScanDesc scan;
	bool found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = unrdf_index_beginscan(table, index, GetActiveSnapshot(), 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
	{
		TupleTableSlot *copy = MakeSingleTupleTableSlot(
			CreateTupleDescCopy(RelationGetDescr(table)), &TTSOpsHeapTuple);

		ExecCopySlot(copy, slot);
		UnrdfJobReadRow(copy, job);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return found;
}

/* UnrdfJobFetch reads a job, with its arguments. */
bool
UnrdfJobFetch(int64 id, UnrdfJob *job)
{
	bool found = UnrdfJobFetchRow(id, job);

	if (found)
		find_args(job);
	return found;
}

/* UnrdfJobPriorityAfter returns the first priority after this one that a queue has any job of; UNRDF_PRIORITIES where there is none. */
int
UnrdfJobPriorityAfter(int32 queue, int priority)
{
	UnrdfLookup l;
	int found = UNRDF_PRIORITIES;
	bool isnull;

	UnrdfLookupBegin(&l, UNRDF_JOB, UNRDF_JOB_LANE_IDX);
	UnrdfLookupKey(&l, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(queue));
	UnrdfLookupKey(&l, 2, BTGreaterStrategyNumber, F_INT2GT, Int16GetDatum(priority));
	UnrdfLookupStart(&l);
	if (UnrdfLookupNext(&l, ForwardScanDirection))
		found = DatumGetInt16(slot_getattr(l.slot, JOB_PRIORITY + 1, &isnull));
	UnrdfLookupEnd(&l);
	return found;
}
