/*
 * waiting.c: jobs that wait for others.
 *
 * A job that waits is no row of unrdf.job, so nothing that runs jobs knows of it. Its row is in unrdf.waiting_job, written once in
 * the enqueuer's transaction under the id that it keeps, with a row of unrdf.job_need for each job that it needs. Its
 * wait is over when the same row is in unrdf.job: to be run, or together with a receipt that says why not. Both tables
 * have the id as their primary key, so a wait is over at most once.
 *
 * Needs exist when they are named, and so have smaller ids: no circle can come about, whoever enqueues what at once.
 *
 * Who moves a job on holds its release lock, to the end of the transaction, and looks only then, under a newer snapshot. The lock
 * is that of its workflow, or its own where it has none, in buckets. Sessions that cancel wait for it; the releaser, which
 * waits for nobody, comes back later (worker/release.c). Enqueueing takes no such lock: a job that comes into a workflow
 * that has ended is found by the releaser, as every job of a workflow passes through there.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"

#include "base/append.h"
#include "base/commit.h"
#include "base/lock.h"
#include "base/lookup.h"
#include "base/shmem.h"
#include "queue/depth.h"
#include "queue/waiting.h"

struct UnrdfWaitingWriter
{
	UnrdfAppend *jobs;
	UnrdfAppend *needs;
	UnrdfKept *kept;
	uint64 xid;
};

static void
wake(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db == NULL)
		return;
	pg_atomic_write_u32(&db->wants_releaser, 1);
	UnrdfSetLatch(&db->processes[UNRDF_RELEASER].latch);
	if (db->processes[UNRDF_RELEASER].pid == 0)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
}

/* UnrdfWakeReleaser lets the releaser look for waiting jobs once the current transaction commits. */
void
UnrdfWakeReleaser(void)
{
	UnrdfAtCommit(wake, 0);
}

/*
 * UnrdfWaitingAny tells whether a job has ever waited here, at the cost of a look at a table's size. Who enqueued it may have
 * prepared that transaction, or a dump brought it: then nobody has said so.
 */
bool
UnrdfWaitingAny(void)
{
	return !UnrdfNeverFilled(UNRDF_WAITING_JOB);
}

/* UnrdfReleaseBucket returns the bucket of a job's release lock; workflow is 0 where it has none. */
uint32
UnrdfReleaseBucket(int64 job, int64 workflow)
{
	int64 key = workflow ? workflow : job;

	return UnrdfLockBucket((const char *) &key, sizeof(key), 0);
}

/* UnrdfWaitingWriterBegin opens the tables for writing in the current transaction and memory context. */
UnrdfWaitingWriter *
UnrdfWaitingWriterBegin(int capacity)
{
	UnrdfWaitingWriter *w = palloc(sizeof(UnrdfWaitingWriter));

	w->jobs = UnrdfAppendBegin(UNRDF_WAITING_JOB, capacity);
	w->needs = UnrdfAppendBegin(UNRDF_JOB_NEED, 500);
	w->kept = UnrdfKeptBegin(capacity);
	w->xid = U64FromFullTransactionId(GetTopFullTransactionId());
	return w;
}

static void
write_need(UnrdfAppend *append, int64 job, const UnrdfNeed *need)
{
	TupleTableSlot *slot = UnrdfAppendRow(append);

	UnrdfAppendSet(slot, NEED_JOB, Int64GetDatum(job));
	UnrdfAppendSet(slot, NEED_NEEDS, Int64GetDatum(need->id));
	UnrdfAppendSet(slot, NEED_ON_FAILURE, Int16GetDatum(need->on_failure));
	if (need->retry_of != 0)
		UnrdfAppendSet(slot, NEED_RETRY_OF, Int64GetDatum(need->retry_of));
}

/*
 * UnrdfWaitingWrite gives a job its id, adds its row and those of its needs, and returns the id. What the job points to must
 * live until the writer ends. Raises 23505 where its workflow has a job of that name.
 */
int64
UnrdfWaitingWrite(UnrdfWaitingWriter *w, UnrdfWaiting *waiting, int nneeds, const UnrdfNeed *needs)
{
	TupleTableSlot *slot = UnrdfAppendRow(w->jobs);

	UnrdfJobNew(w->kept, &waiting->job);
	waiting->job.xid = w->xid;
	UnrdfJobSetRow(slot, &waiting->job);
	if (waiting->workflow != 0)
		UnrdfAppendSet(slot, WAITING_WORKFLOW, Int64GetDatum(waiting->workflow));
	if (waiting->name)
		UnrdfAppendSet(slot, WAITING_NAME, PointerGetDatum(waiting->name));
	UnrdfAppendSet(slot, WAITING_ANY, BoolGetDatum(waiting->any));
	if (waiting->has_compensate)
		UnrdfAppendSet(slot, WAITING_COMPENSATE, Int32GetDatum(waiting->compensate));
	if (waiting->compensates != 0)
		UnrdfAppendSet(slot, WAITING_COMPENSATES, Int64GetDatum(waiting->compensates));
	for (int i = 0; i < nneeds; i++)
		write_need(w->needs, waiting->job.id, &needs[i]);
	UnrdfDepthWaits(waiting->job.queue);
	UnrdfWakeReleaser();
	return waiting->job.id;
}

/* UnrdfWaitingWriterEnd writes what is left and makes all of it visible to this transaction. */
void
UnrdfWaitingWriterEnd(UnrdfWaitingWriter *w)
{
	UnrdfAppendEnd(w->jobs);
	UnrdfAppendEnd(w->needs);
	UnrdfKeptEnd(w->kept);
	pfree(w);
	CommandCounterIncrement();
}

/* UnrdfWaitingAddNeed gives a job one more need. */
void
UnrdfWaitingAddNeed(int64 job, const UnrdfNeed *need)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_JOB_NEED, 1);

	write_need(append, job, need);
	UnrdfAppendEnd(append);
}

/* UnrdfWaitingRead reads a row. What the job points to is in the slot or the current memory context. */
void
UnrdfWaitingRead(TupleTableSlot *slot, UnrdfWaiting *waiting)
{
	Datum *v;
	bool *isnull;

	UnrdfJobRead(slot, &waiting->job);
	v = slot->tts_values;
	isnull = slot->tts_isnull;
	waiting->workflow = isnull[WAITING_WORKFLOW] ? 0 : DatumGetInt64(v[WAITING_WORKFLOW]);
	waiting->name = isnull[WAITING_NAME] ? NULL : DatumGetTextPP(v[WAITING_NAME]);
	waiting->any = DatumGetBool(v[WAITING_ANY]);
	waiting->has_compensate = !isnull[WAITING_COMPENSATE];
	waiting->compensate = waiting->has_compensate ? DatumGetInt32(v[WAITING_COMPENSATE]) : 0;
	waiting->compensates = isnull[WAITING_COMPENSATES] ? 0 : DatumGetInt64(v[WAITING_COMPENSATES]);
}

/* UnrdfWaitingFetch reads a job's row under the newest snapshot into the current memory context; false where it never waited. */
bool
UnrdfWaitingFetch(int64 id, UnrdfWaiting *waiting)
{
	UnrdfLookup l;
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfLookupBegin(&l, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	UnrdfLookupKey(&l, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	UnrdfLookupStart(&l);
	found = UnrdfLookupNext(&l, ForwardScanDirection);
	if (found)
	{
		TupleTableSlot *copy = MakeSingleTupleTableSlot(
			CreateTupleDescCopy(l.slot->tts_tupleDescriptor), &TTSOpsHeapTuple);

		ExecCopySlot(copy, l.slot);
		UnrdfWaitingRead(copy, waiting);
	}
	UnrdfLookupEnd(&l);
	PopActiveSnapshot();
	return found;
}

/* UnrdfWaitingLock fetches a job that waits or waited, and waits for its release lock; false where it never waited. */
bool
UnrdfWaitingLock(int64 id, UnrdfWaiting *waiting)
{
	if (!UnrdfWaitingFetch(id, waiting))
		return false;
	UnrdfLock(UNRDF_LOCK_RELEASE, UnrdfReleaseBucket(id, waiting->workflow));
	return true;
}
