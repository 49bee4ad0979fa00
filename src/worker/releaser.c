/*
 * releaser.c: the one process per database that ends waits: it moves jobs from unrdf.waiting_job to unrdf.job, to run or ended.
 *
 * Invariant: a job waits exactly as long as its needs, under the newest snapshot, say so (release.c), give or take the time to
 * look. The releaser follows two tables: waiting jobs, and receipts. A job that came is decided on, and so is every job that
 * needs one that ended. None is missed. Say job J needs N. If N's receipt was returned before J was visible, J is returned later
 * and decided on under a later snapshot than that which returned the receipt: it sees it. If J was decided on when the
 * receipt was not visible, that is returned later, and those who need N are looked up under a later snapshot than J's: it
 * sees J. One of the two is the case, whichever commits first, and if both commit at once: what is visible stays so, and snapshots
 * of one process follow each other. The same holds for two needs that end at once.
 *
 * Nothing is stored: a new releaser takes a snapshot, begins to follow receipts from there, and decides on every job that waits
 * in it. So it may die at any line. It is the only one who releases; who ends waiting jobs elsewhere holds their release lock
 * (queue/waiting.c). The releaser tries that lock before it takes the snapshot to decide under, and comes back to a job whose lock
 * is taken. Where a saga fails (workflow.c) it waits for executors that are about to commit, and not for long: a worker outside may have
 * completed a job in a transaction that stays open. Then it comes back, too.
 *
 * Receipts are followed while some job that came through here has not ended, which is counted: rows returned against receipts
 * returned. Both are returned exactly once. After a restore they may be twice; then those are not counted off, and the
 * releaser follows receipts for longer than it would have to.
 *
 * A transaction that only releases commits without waiting for the disk: whatever could rest on it is later in the WAL.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/follow.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/record.h"
#include "queue/depth.h"
#include "queue/workflow.h"
#include "worker/ending.h"
#include "worker/release.h"
#include "worker/restore.h"
#include "worker/worker.h"

#define READ_MOST 8192  /* rows of a table per transaction */
#define WRITE_MOST 256  /* rows between flushes */
#define AGAIN_MILLIS 50 /* while a release lock is somebody else's */
#define PATIENCE 100    /* ms, for whoever is about to end a job of a saga that fails */

/* A job to decide on. */
typedef struct Candidate
{
	int64 job;
	int64 workflow; /* once it was looked up */
	bool any;       /* likewise */
	bool anew;      /* all of its needs have to be looked at */
} Candidate;

/* A job that has ended. */
typedef struct Ended
{
	int64 job;
	uint64 xid;
	int outcome;
} Ended;

typedef struct Candidates
{
	Candidate *items;
	int n;
	int capacity;
} Candidates;

typedef struct Releaser
{
	UnrdfDatabase *db;
	MemoryContext context;
	UnrdfFollower waiting;
	UnrdfFollower receipts;
	bool following; /* receipts */
	int64 open;     /* jobs that were returned and have not ended */
	int64 restores; /* -1: not counted yet */
	uint64 restored_until;
	UnrdfDecider decider;
	Candidates candidates;
	Candidates postponed; /* to be candidates again */
	Candidates failures;  /* jobs of workflows that ended without success */
	/* in one transaction */
	bool released; /* or ended, some */
	bool receipts_written;
	Ended *ended;
	int nended;
	UnrdfIdLookup *past; /* receipts at the moment from which on they are followed */
	uint8 locks[UNRDF_LOCK_BUCKETS];
	int64 ended_workflow; /* the last one that was looked at */
	bool is_ended;
} Releaser;

enum
{
	LOCK_UNTRIED,
	LOCK_HELD,
	LOCK_TAKEN
};

/*
 * Whether a job that ended so fails the saga that it is a step of: nobody needs it, or somebody needs just it to succeed. Who
 * waits for any of several fails by itself where none succeeds.
 */
static UnrdfPlan find_failed_saga = {
	"SELECT 1 FROM unrdf.workflow AS w WHERE w.id OPERATOR(pg_catalog.=) $1 AND w.saga"
	" AND NOT EXISTS (SELECT FROM unrdf.workflow_end AS e WHERE e.workflow OPERATOR(pg_catalog.=) w.id)"
	" AND (NOT EXISTS (SELECT FROM unrdf.job_need AS n WHERE n.needs OPERATOR(pg_catalog.=) $2)"
	" OR EXISTS (SELECT FROM unrdf.job_need AS n JOIN unrdf.waiting_job AS d ON d.id OPERATOR(pg_catalog.=) n.job"
	" WHERE n.needs OPERATOR(pg_catalog.=) $2 AND n.on_failure OPERATOR(pg_catalog.=) 1 AND NOT d.wait_any))",
	2,
	{INT8OID, INT8OID}};

static Candidate *
add(Releaser *r, Candidates *list, int64 job)
{
	if (list->n == list->capacity)
	{
		list->capacity = list->capacity ? 2 * list->capacity : 256;
		if (list->items == NULL)
			list->items = MemoryContextAllocHuge(r->context, list->capacity * sizeof(Candidate));
		else
			list->items = repalloc_huge(list->items, list->capacity * sizeof(Candidate));
	}
	memset(&list->items[list->n], 0, sizeof(Candidate));
	list->items[list->n].job = job;
	return &list->items[list->n++];
}

static void
add_failure(Releaser *r, int64 job, int64 workflow)
{
	add(r, &r->failures, job)->workflow = workflow;
}

/* Whether a saga may have failed with this. */
static bool
is_failure(TupleTableSlot *waiting, int outcome, int64 *workflow)
{
	bool no_workflow;
	bool no_compensation;

	*workflow = DatumGetInt64(slot_getattr(waiting, WAITING_WORKFLOW + 1, &no_workflow));
	(void) slot_getattr(waiting, WAITING_COMPENSATES + 1, &no_compensation);
	return !no_workflow && no_compensation && (outcome == UNRDF_DEAD || outcome == UNRDF_CANCELLED);
}

/* A waiting job's row is returned. When receipts have just begun to be followed, it may have ended before. */
static void
take_waiting(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Releaser *r = arg;

	if (r->past && UnrdfIdLookupFind(r->past, id))
	{
		bool isnull;
		int64 workflow;
		int outcome = DatumGetInt16(slot_getattr(r->past->rows.slot, RECEIPT_OUTCOME + 1, &isnull));

		if (is_failure(slot, outcome, &workflow))
			add_failure(r, id, workflow);
		return;
	}
	r->open++;
	add(r, &r->candidates, id)->anew = true;
}

static void
take_receipt(void *arg, TupleTableSlot *slot, uint64 xid, int64 id)
{
	Releaser *r = arg;
	bool isnull;

	if (DatumGetInt16(slot_getattr(slot, RECEIPT_KIND + 1, &isnull)) != UNRDF_EXECUTE)
		return;
	r->ended[r->nended].job = id;
	r->ended[r->nended].xid = xid;
	r->ended[r->nended++].outcome = DatumGetInt16(slot_getattr(slot, RECEIPT_OUTCOME + 1, &isnull));
}

/*
 * Begins to follow receipts from a snapshot on, and reads all waiting jobs that have not been returned yet, compared with the
 * receipts of that snapshot.
 */
static void
begin_following(Releaser *r)
{
	UnrdfIdLookup past;

	pg_atomic_write_u32(&r->db->follows_receipts, 1);
	pg_memory_barrier();
	UnrdfFreshSnapshot();
	UnrdfFollowFrom(&r->receipts, GetActiveSnapshot());
	UnrdfIdLookupBegin(&past, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	r->past = &past;
	UnrdfFollow(&r->waiting, INT_MAX, take_waiting, r);
	r->past = NULL;
	UnrdfIdLookupEnd(&past);
	r->following = true;
}

/* Reads what is new. Returns whether there may be more. */
static bool
read_news(Releaser *r)
{
	int n;

	r->ended = palloc(READ_MOST * sizeof(Ended));
	r->nended = 0;
	if (!r->following)
	{
		begin_following(r);
		return r->candidates.n > 0 || r->failures.n > 0;
	}
	n = UnrdfFollow(&r->waiting, READ_MOST, take_waiting, r);
	return UnrdfFollow(&r->receipts, READ_MOST, take_receipt, r) > 0 || n > 0;
}

static int
compare_ended(const void *a, const void *b)
{
	const Ended *x = a;
	const Ended *y = b;

	return x->job < y->job ? -1 : x->job > y->job;
}

static void
find_dependents(Releaser *r, UnrdfLookup *needs, const Ended *ended)
{
	UnrdfLookupKey(needs, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(ended->job));
	UnrdfLookupStart(needs);
	while (UnrdfLookupNext(needs, ForwardScanDirection))
	{
		bool isnull;
		int64 job = DatumGetInt64(slot_getattr(needs->slot, NEED_JOB + 1, &isnull));
		int on_failure = DatumGetInt16(slot_getattr(needs->slot, NEED_ON_FAILURE + 1, &isnull));
		bool anew;

		CHECK_FOR_INTERRUPTS();
		if (UnrdfDeciderConcerns(&r->decider, job, ended->job,
								 UnrdfEdgeOf(ended->outcome, on_failure), &anew))
			add(r, &r->candidates, job)->anew = anew;
	}
}

/* Finds whom the jobs that have ended concern, and of which workflows they were. Under a snapshot that sees their receipts. */
static void
follow_ended(Releaser *r)
{
	UnrdfLookup needs;
	UnrdfIdLookup waiting;

	if (r->nended == 0)
		return;
	qsort(r->ended, r->nended, sizeof(Ended), compare_ended);
	UnrdfLookupBegin(&needs, UNRDF_JOB_NEED, UNRDF_JOB_NEED_NEEDS_IDX);
	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	for (int i = 0; i < r->nended; i++)
	{
		const Ended *ended = &r->ended[i];
		int64 workflow;

		find_dependents(r, &needs, ended);
		if (!UnrdfIdLookupFind(&waiting, ended->job))
			continue;
		if (ended->xid > r->restored_until)
			r->open--;
		if (is_failure(waiting.rows.slot, ended->outcome, &workflow))
			add_failure(r, ended->job, workflow);
	}
	UnrdfIdLookupEnd(&waiting);
	UnrdfLookupEnd(&needs);
}

/* Tries a release lock; false where it is somebody else's. */
static bool
try_lock(Releaser *r, uint32 bucket)
{
	if (r->locks[bucket] == LOCK_UNTRIED)
		r->locks[bucket] = UnrdfTryLock(UNRDF_LOCK_RELEASE, bucket) ? LOCK_HELD : LOCK_TAKEN;
	return r->locks[bucket] == LOCK_HELD;
}

static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	return x->job < y->job ? -1 : x->job > y->job;
}

/* Puts candidates in order, each once. */
static void
sort_candidates(Candidates *list)
{
	int kept = 0;

	if (list->n == 0)
		return;
	qsort(list->items, list->n, sizeof(Candidate), compare_candidates);
	for (int i = 1; i < list->n; i++)
		if (list->items[i].job == list->items[kept].job)
			list->items[kept].anew |= list->items[i].anew;
		else
			list->items[++kept] = list->items[i];
	list->n = kept + 1;
}

/* Keeps of the candidates those whose locks could be taken. */
static void
lock_candidates(Releaser *r)
{
	Candidates *list = &r->candidates;
	UnrdfIdLookup waiting;
	int kept = 0;

	sort_candidates(list);
	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	for (int i = 0; i < list->n; i++)
	{
		Candidate c = list->items[i];
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (!UnrdfIdLookupFind(&waiting, c.job))
			continue;
		c.any = DatumGetBool(slot_getattr(waiting.rows.slot, WAITING_ANY + 1, &isnull));
		c.workflow = DatumGetInt64(slot_getattr(waiting.rows.slot, WAITING_WORKFLOW + 1, &isnull));
		if (isnull)
			c.workflow = 0;
		if (try_lock(r, UnrdfReleaseBucket(c.job, c.workflow)))
			list->items[kept++] = c;
		else
			*add(r, &r->postponed, c.job) = c;
	}
	list->n = kept;
	UnrdfIdLookupEnd(&waiting);
}

static void
end_saga(void *arg)
{
	const Candidate *f = arg;
	UnrdfWorkflow workflow;

	if (UnrdfWorkflowFind(f->workflow, &workflow))
		UnrdfWorkflowEnd(f->workflow, "failed", f->job, 0, GetUserNameFromId(workflow.owner, false),
						 true);
}

/*
 * Ends a failed saga, under its lock; false where that has to be tried again: one of its jobs is about to be ended by somebody else, who
 * may not commit for long.
 */
static bool
try_to_end_saga(Candidate *f)
{
	int patience = LockTimeout;
	ErrorData *error;

	LockTimeout = PATIENCE;
	error = UnrdfTry(end_saga, f);
	LockTimeout = patience;
	if (error && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	return error == NULL;
}

/* Ends the sagas that have failed, if their locks can be had. */
static void
end_sagas(Releaser *r)
{
	int kept = 0;

	for (int i = 0; i < r->failures.n; i++)
	{
		Candidate f = r->failures.items[i];
		Datum values[2] = {Int64GetDatum(f.workflow), Int64GetDatum(f.job)};
		bool failed;

		if (!try_lock(r, UnrdfReleaseBucket(0, f.workflow)))
		{
			r->failures.items[kept++] = f;
			continue;
		}
		SPI_connect();
		failed = UnrdfExecuteLatest(&find_failed_saga, values, NULL) > 0;
		SPI_finish();
		if (failed && !try_to_end_saga(&f))
			r->failures.items[kept++] = f;
		r->receipts_written |= failed;
		r->released |= failed;
	}
	r->failures.n = kept;
}

/* Whether a job's workflow has ended, which its compensations outlive. */
static bool
is_void(Releaser *r, const Candidate *c, TupleTableSlot *waiting)
{
	UnrdfWorkflow workflow;
	bool no_compensation;

	(void) slot_getattr(waiting, WAITING_COMPENSATES + 1, &no_compensation);
	if (c->workflow == 0 || !no_compensation)
		return false;
	if (r->ended_workflow != c->workflow)
	{
		r->is_ended = UnrdfWorkflowFind(c->workflow, &workflow) && workflow.ended;
		r->ended_workflow = c->workflow;
	}
	return r->is_ended;
}

static void
end_waiting(Releaser *r, const UnrdfJob *job, const UnrdfDecision *decision)
{
	UnrdfEnding ending = {UNRDF_CANCELLED, NULL, NULL};

	if (decision->verdict == UNRDF_VOID)
		ending.result = UnrdfJsonbOf("{\"reason\": \"workflow has ended\"}");
	else
	{
		ending.outcome = decision->verdict == UNRDF_DIES ? UNRDF_DEAD : UNRDF_SKIPPED;
		ending.result = UnrdfJsonbOf(
			psprintf("{\"reason\": \"a needed job did not succeed\", \"need\": " INT64_FORMAT "}",
					 decision->need));
	}
	UnrdfEndWaiting(job, &ending);
	UnrdfEndingTell(job);
	r->receipts_written = true;
}

/* Does what was decided of a job. What it points to is left in the current memory context. */
static void
act(Releaser *r, UnrdfJobWriter *writer, TupleTableSlot *waiting, TupleTableSlot *copy,
	const UnrdfDecision *decision)
{
	UnrdfWaiting row;

	ExecStoreHeapTuple(ExecCopySlotHeapTuple(waiting), copy, false);
	UnrdfWaitingRead(copy, &row);
	if (decision->verdict == UNRDF_RUNS)
	{
		UnrdfJobRelease(writer, &row.job);
		UnrdfDepthReleased(row.job.queue);
	}
	else
		end_waiting(r, &row.job, decision);
}

/* Decides on the candidates and does what was decided. */
static void
release(Releaser *r)
{
	UnrdfJobWriter *writer = UnrdfJobWriterBegin(WRITE_MOST);
	UnrdfIdLookup waiting;
	UnrdfIdLookup jobs;
	TupleTableSlot *copy;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf released jobs", ALLOCSET_DEFAULT_SIZES);
	int acted = 0;

	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	UnrdfIdLookupBegin(&jobs, UNRDF_JOB, UNRDF_JOB_PKEY);
	copy = MakeSingleTupleTableSlot(waiting.rows.slot->tts_tupleDescriptor, &TTSOpsHeapTuple);
	UnrdfDeciderBegin(&r->decider);
	for (int i = 0; i < r->candidates.n; i++)
	{
		const Candidate *c = &r->candidates.items[i];
		UnrdfDecision decision = {UNRDF_VOID};
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (UnrdfIdLookupFind(&jobs, c->job) || !UnrdfIdLookupFind(&waiting, c->job))
			continue;
		old = MemoryContextSwitchTo(context);
		if (!is_void(r, c, waiting.rows.slot))
			UnrdfDecide(&r->decider, c->job, c->any, c->anew, &decision);
		if (decision.verdict != UNRDF_WAITS)
		{
			act(r, writer, waiting.rows.slot, copy, &decision);
			acted++;
		}
		MemoryContextSwitchTo(old);
		if (acted % WRITE_MOST == WRITE_MOST - 1)
		{
			UnrdfJobWriterFlush(writer);
			MemoryContextReset(context);
		}
	}
	UnrdfDeciderEnd(&r->decider);
	UnrdfIdLookupEnd(&jobs);
	UnrdfIdLookupEnd(&waiting);
	r->released |= acted > 0;
	UnrdfJobWriterEnd(writer);
	ExecDropSingleTupleTableSlot(copy);
	MemoryContextDelete(context);
}

/* Deals with what was read. Inside a transaction. */
static void
deal(Releaser *r)
{
	UnrdfFreshSnapshot();
	follow_ended(r);
	for (int i = 0; i < r->postponed.n; i++)
		*add(r, &r->candidates, r->postponed.items[i].job) = r->postponed.items[i];
	r->postponed.n = 0;
	memset(r->locks, LOCK_UNTRIED, sizeof(r->locks));
	r->ended_workflow = 0;
	end_sagas(r);
	lock_candidates(r);
	/* what others did under a lock that is ours now is seen from here on */
	UnrdfFreshSnapshot();
	release(r);
	r->candidates.n = 0;
}

/* After a restore everything that this process knows may be wrong: it begins anew. */
static bool
restore_runs(Releaser *r)
{
	UnrdfRestoreState restore;

	UnrdfRestoreRead(&restore);
	if (r->restores >= 0 && restore.count != r->restores)
		proc_exit(0);
	r->restores = restore.count;
	r->restored_until = restore.until;
	return restore.running;
}

/* Reads and deals with what is new. Inside a transaction. Returns whether there may be more. */
static bool
work(Releaser *r)
{
	bool more;

	if (restore_runs(r))
		return false;
	more = read_news(r);
	if (!more && r->postponed.n + r->failures.n == 0)
		return false;
	deal(r);
	/* what was read may be of a restore that has begun since */
	if (restore_runs(r))
		proc_exit(0);
	if (!r->receipts_written)
		(void) set_config_option("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE,
								 GUC_ACTION_LOCAL, true, 0, false);
	return more;
}

/* Returns whether there may be more to do at once. */
static bool
step(Releaser *r)
{
	uint64 settles = UnrdfTestToSettle();
	bool more;

	UnrdfXactBegin("releasing jobs");
	r->released = r->receipts_written = false;
	more = work(r);
	if (r->released)
		UnrdfTestPoint(UNRDF_POINT_RELEASE_COMMIT);
	UnrdfXactCommit();
	if (r->released)
		UnrdfTestPoint(UNRDF_POINT_RELEASE_COMMITTED);
	if (more || r->postponed.n + r->failures.n > 0)
		return more;
	UnrdfTestHasSettled(settles);
	if (r->open <= 0)
	{
		pg_atomic_write_u32(&r->db->follows_receipts, 0);
		r->following = false;
	}
	return false;
}

static void
init(Releaser *r)
{
	memset(r, 0, sizeof(*r));
	r->context = AllocSetContextCreate(TopMemoryContext, "unrdf releaser", ALLOCSET_DEFAULT_SIZES);
	r->restores = -1;
	r->waiting.table = UNRDF_WAITING_JOB;
	r->waiting.index = UNRDF_WAITING_JOB_XID_IDX;
	r->waiting.xid_column = JOB_XID;
	r->waiting.id_column = JOB_ID;
	UnrdfFollowInit(&r->waiting, r->context);
	r->receipts.table = UNRDF_RECEIPT;
	r->receipts.index = UNRDF_RECEIPT_XID_IDX;
	r->receipts.xid_column = RECEIPT_XID;
	r->receipts.id_column = RECEIPT_ID;
	UnrdfFollowInit(&r->receipts, r->context);
	UnrdfDeciderInit(&r->decider, r->context);
}

/* UnrdfReleaserMain is the entry point of releasers; arg is the database's oid. */
void
UnrdfReleaserMain(Datum arg)
{
	Releaser r;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	UnrdfWorkerSetup();
	init(&r);
	r.db = UnrdfWorkerAttach(UNRDF_RELEASER);
	for (;;)
	{
		if (step(&r))
			UnrdfWorkerInterrupts();
		else
			UnrdfWorkerWait(r.postponed.n + r.failures.n > 0 ? AGAIN_MILLIS : unrdf_sweep_interval,
							unrdf_wait_event("UnrdfReleaserIdle"));
	}
}
