/*
 * outside.c: what workers outside ask for and say.
 *
 * A job that a worker outside runs has its effects elsewhere, so it is run at least once: a worker that is slow, or cannot be
 * heard, may still be at it when another one begins. What holds nevertheless: at any time one lease of a job is valid, a token whose lease
 * has passed on changes nothing (lease.c), and one receipt of a job commits. Effects in this database, written in the
 * transaction that completes the job, happen once.
 *
 * Receipts and attempts are written in the caller's transaction, under a savepoint. Another transaction may have ended the
 * job, by unrdf.cancel: then the unique id decides. A batch in which that happens is written one by one.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/lookup.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "base/xact.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/record.h"
#include "queue/depth.h"
#include "queue/handler.h"
#include "worker/ending.h"
#include "worker/executor.h"
#include "worker/held.h"
#include "worker/limit.h"
#include "worker/outside.h"

/* how long who does not wait waits for a dispatcher that does not answer */
#define PATIENCE (10 * USECS_PER_SEC)

/* What is said of jobs: that they snooze, or have failed, or else succeeded. */
typedef struct Said
{
	int64 snooze_ms; /* 0: they do not */
	const UnrdfOutsideFailure *failures;
	Jsonb **results; /* NULL: none */
} Said;

/* One of the jobs that a call is about. */
typedef struct Ending
{
	UnrdfLease *lease;
	UnrdfJob job;
	Jsonb *result;
	const UnrdfOutsideFailure *failure; /* NULL: it has not failed */
} Ending;

typedef struct Endings
{
	Ending *items;
	int n;
	int64 snooze_ms;
} Endings;

/* unrdf.job, as jobs of leases are read from it. */
typedef struct Jobs
{
	Relation rel;
	BlockNumber blocks; /* a place that was noted may be of a table that was longer */
	TupleTableSlot *row;
	TupleTableSlot *copy; /* of the row; what was read of it lives as long as the memory context */
} Jobs;

static void
open_jobs(Jobs *jobs)
{
	jobs->rel = table_open(UnrdfRelid(UNRDF_JOB), AccessShareLock);
	jobs->blocks = RelationGetNumberOfBlocks(jobs->rel);
	jobs->row = table_slot_create(jobs->rel, NULL);
	jobs->copy = MakeSingleTupleTableSlot(RelationGetDescr(jobs->rel), &TTSOpsHeapTuple);
	PushActiveSnapshot(GetLatestSnapshot());
}

static void
close_jobs(Jobs *jobs)
{
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(jobs->row);
	ExecDropSingleTupleTableSlot(jobs->copy);
	table_close(jobs->rel, NoLock);
}

/* Reads the job of a lease; false where it is gone. */
static bool
read_job(Jobs *jobs, const UnrdfLease *lease, UnrdfJob *job)
{
	ItemPointerData tid = lease->tid;
	bool found = false;

	if (ItemPointerIsValid(&tid) && ItemPointerGetBlockNumber(&tid) < jobs->blocks &&
		table_tuple_fetch_row_version(jobs->rel, &tid, GetActiveSnapshot(), jobs->row))
	{
		ExecStoreHeapTuple(ExecCopySlotHeapTuple(jobs->row), jobs->copy, false);
		UnrdfJobRead(jobs->copy, job);
		found = job->id == lease->job;
	}
	if (!found)
		found = UnrdfJobFetch(lease->job, job);
	return found && job->xid == lease->job_xid;
}

/* Sets the deadline that no heartbeat goes beyond. */
static void
limit_lease(UnrdfLease *lease, int64 token, const UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);
	int32 timeout = job->timeout_ms >= 0 ? job->timeout_ms : handler ? handler->timeout_ms : 0;

	if (timeout == 0)
		return;
	lease->hard = UnrdfTicks() + timeout * INT64CONST(1000);
	if (UnrdfLeaseDeadline(lease) <= lease->hard)
		return;
	UnrdfLeaseShorten(lease, token, lease->hard);
	UnrdfLeaseTell(lease);
}

static TimestampTz
deadline_of(const UnrdfLease *lease)
{
	int64 deadline = UnrdfLeaseDeadline(lease);

	return deadline == UNRDF_NO_DEADLINE ? DT_NOEND : UnrdfNow() + (deadline - UnrdfTicks());
}

static void
open_args(void *arg)
{
	UnrdfJob *job = arg;
	const UnrdfHandler *handler = UnrdfHandlerOf(job);

	if (handler)
		job->args = UnrdfJobArgs(handler, job);
}

/* Opens the arguments of a claimed job, where they are encrypted. Where they cannot be, its attempt has failed here, and false is returned. */
static bool
can_be_opened(UnrdfJob *job, int64 token)
{
	const UnrdfHandler *handler = UnrdfHandlerOf(job);
	UnrdfOutsideFailure failure = {.pause_ms = -1};
	ErrorData *error;
	int64 refused;

	if (handler == NULL || !handler->encrypted || job->args == NULL)
		return true;
	error = UnrdfTry(open_args, job);
	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	failure.message = error->message;
	failure.sqlstate = error->sqlerrcode;
	(void) UnrdfFailJobs(&token, 1, &failure, &refused);
	return false;
}

/*
 * Reads the jobs of leases; those of jobs that have ended, or are gone, end here, and those whose arguments cannot be opened. Returns
 * how many are left.
 */
static int
read_claimed(UnrdfLease **leases, int n, UnrdfClaimed *claimed)
{
	Jobs jobs;
	UnrdfIdLookup receipts;
	int left = 0;

	open_jobs(&jobs);
	UnrdfIdLookupBegin(&receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	for (int i = 0; i < n; i++)
	{
		UnrdfClaimed *c = &claimed[left];

		if (UnrdfIdLookupFind(&receipts, leases[i]->job) || !read_job(&jobs, leases[i], &c->job))
		{
			UnrdfHeldEnded(leases[i]);
			continue;
		}
		c->token = leases[i]->token;
		c->attempt = leases[i]->attempt;
		if (!can_be_opened(&c->job, c->token))
			continue;
		limit_lease(leases[i], c->token, &c->job);
		c->deadline = deadline_of(leases[i]);
		left++;
	}
	UnrdfIdLookupEnd(&receipts);
	close_jobs(&jobs);
	return left;
}

/*
 * UnrdfClaimJobs claims up to claim->n jobs; where there are none, it waits for wait_ms (-1: for ever), without polling. The
 * claim's queues, number and lease have been filled in. Raises 53400 where too many sessions wait.
 */
int
UnrdfClaimJobs(UnrdfClaim *claim, UnrdfConfigSeen *seen, int64 wait_ms, UnrdfClaimed **jobs)
{
	UnrdfLease **leases = palloc(claim->n * sizeof(UnrdfLease *));
	int64 until = UnrdfTicks() + (wait_ms == 0 ? PATIENCE : wait_ms * 1000);
	int n;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.claim()");
	*jobs = palloc(claim->n * sizeof(UnrdfClaimed));
	claim->dboid = MyDatabaseId;
	claim->role = GetUserId();
	claim->latch = MyLatch;
	claim->at_once = wait_ms == 0;
	if (wait_ms < 0)
		until = PG_INT64_MAX;
	do
	{
		n = UnrdfHeldClaim(claim, seen, until, leases);
		if (n == 0)
			return 0;
		n = read_claimed(leases, n, *jobs);
	} while (n == 0);
	UnrdfTestPoint(UNRDF_POINT_CLAIM);
	return n;
}

static void
write_receipt(UnrdfReceiptWriter *writer, const Ending *item)
{
	UnrdfEnding ending = {UNRDF_OK, NULL, item->result, item->lease->since};

	UnrdfEndingWrite(writer, &item->job, item->lease->attempt, &ending);
	UnrdfDepthEnded(item->job.queue, UNRDF_OK, item->lease->failed);
}

static TimestampTz
write_failure(const Ending *item)
{
	ErrorData error = {0};
	int32 attempt = item->lease->attempt;

	error.sqlerrcode = item->failure->sqlstate;
	error.message = unconstify(char *, item->failure->message);
	return UnrdfRecordFailure(&item->job, &attempt, item->failure->last, item->failure->pause_ms,
							  true, item->lease->since, &error);
}

/* Writes what became of jobs, in a savepoint. */
static void
write_items(void *arg)
{
	Endings *items = arg;
	UnrdfReceiptWriter *writer = UnrdfReceiptWriterBegin(Min(items->n, 256));

	for (int i = 0; i < items->n; i++)
	{
		Ending *item = &items->items[i];
		int32 attempt = item->lease->attempt;
		TimestampTz retry_at = 0;

		CHECK_FOR_INTERRUPTS();
		if (item->failure)
			retry_at = write_failure(item);
		else if (items->snooze_ms > 0)
			retry_at =
				UnrdfRecordSnooze(&item->job, &attempt, items->snooze_ms, true, item->lease->since);
		else
			write_receipt(writer, item);
		UnrdfHeldResult(item->lease,
						retry_at == 0   ? UNRDF_LEASE_ENDED
						: item->failure ? UNRDF_LEASE_RETRY
										: UNRDF_LEASE_SNOOZES,
						retry_at);
	}
	UnrdfReceiptWriterEnd(writer);
	CommandCounterIncrement();
}

/* Writes all, or one by one where another transaction has ended a job. The tokens of those go to `refused`; returns how many. */
static int
write_all(Endings *all, int64 *refused)
{
	int n = 0;

	if (all->n == 0 || UnrdfTryUnique(write_items, all))
		return 0;
	for (int i = 0; i < all->n; i++)
	{
		Endings one = {&all->items[i], 1, all->snooze_ms};

		if (all->n > 1 && UnrdfTryUnique(write_items, &one))
			continue;
		refused[n++] = one.items->lease->token;
		UnrdfHeldEnded(one.items->lease);
	}
	return n;
}

/* Raises 54000 for a result that is larger than the job's handler may return. */
static void
check_result(const UnrdfJob *job, Jsonb *result)
{
	const UnrdfHandler *handler = UnrdfHandlerOf(job);

	if (handler && result)
		UnrdfCheckResult(handler, result);
}

/* Writes what became of the jobs of tokens. Returns how many were refused. */
static int
end_jobs(const int64 *tokens, int n, const Said *said, int64 *refused)
{
	Endings all = {palloc0(Max(1, n) * sizeof(Ending)), 0, said->snooze_ms};
	Jobs jobs;
	int nrefused = 0;

	open_jobs(&jobs);
	for (int i = 0; i < n; i++)
	{
		Ending *item = &all.items[all.n];

		item->lease = UnrdfHeldDecide(tokens[i]);
		if (item->lease == NULL || !read_job(&jobs, item->lease, &item->job) ||
			item->job.args == NULL)
		{
			refused[nrefused++] = tokens[i];
			if (item->lease)
				UnrdfHeldEnded(item->lease);
			continue;
		}
		item->result = said->results ? said->results[i] : NULL;
		item->failure = said->failures ? &said->failures[i] : NULL;
		check_result(&item->job, item->result);
		all.n++;
	}
	close_jobs(&jobs);
	nrefused += write_all(&all, refused + nrefused);
	UnrdfTestPoint(UNRDF_POINT_COMPLETE);
	UnrdfWakeIntegrator();
	return nrefused;
}

/* UnrdfCompleteJobs ends jobs with their receipts. Stores the tokens of leases that have passed on, and returns how many. */
int
UnrdfCompleteJobs(const int64 *tokens, int n, Jsonb **results, int64 *refused)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.complete()");
	return end_jobs(tokens, n, &(Said){.results = results}, refused);
}

/* UnrdfFailJobs records failed attempts, as UnrdfCompleteJobs. */
int
UnrdfFailJobs(const int64 *tokens, int n, const UnrdfOutsideFailure *failures, int64 *refused)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.fail()");
	return end_jobs(tokens, n, &(Said){.failures = failures}, refused);
}

/* UnrdfSnoozeJobs records attempts that snooze, which are no failures, as UnrdfCompleteJobs. */
int
UnrdfSnoozeJobs(const int64 *tokens, int n, int64 delay_ms, int64 *refused)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.snooze()");
	return end_jobs(tokens, n, &(Said){.snooze_ms = delay_ms}, refused);
}

/* UnrdfReleaseJobs gives jobs back, to be handed out again at once; nothing is recorded. As UnrdfCompleteJobs. */
int
UnrdfReleaseJobs(const int64 *tokens, int n, int64 *refused)
{
	int nrefused = 0;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.release()");
	for (int i = 0; i < n; i++)
	{
		UnrdfLease *lease = UnrdfHeldDecide(tokens[i]);

		if (lease)
			UnrdfHeldResult(lease, UNRDF_LEASE_BACK, 0);
		else
			refused[nrefused++] = tokens[i];
	}
	return nrefused;
}

/* UnrdfHeartbeat makes leases last for lease_ms from now, at least; at once, not at the transaction's end. As UnrdfCompleteJobs. */
int
UnrdfHeartbeat(const int64 *tokens, int n, int64 lease_ms, int64 *lost)
{
	int nlost = 0;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.heartbeat()");
	for (int i = 0; i < n; i++)
	{
		UnrdfLease *lease = UnrdfLeaseFind(tokens[i]);
		int64 now = UnrdfTicks();

		if (lease)
			UnrdfLeaseCheckRole(lease->role);
		if (lease == NULL ||
			!UnrdfLeaseExtend(lease, tokens[i], Min(now + lease_ms * 1000, lease->hard), now))
			lost[nlost++] = tokens[i];
	}
	return nlost;
}
