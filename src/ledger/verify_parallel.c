/*
 * verify_parallel.c: checks the whole log with the caller and parallel workers, and shows how far
 * that is.
 *
 * The caller finds the extents, starts the workers, checks roots and tiles alone, and then takes
 * leaves with the workers: whoever is free takes the next UNRDF_LEAF_RUN leaves from a shared
 * counter, so it makes no difference how many workers there are, or whether they come at all. They
 * read under the caller's snapshot and transaction: what the caller changed and did not commit is
 * checked too. What is wrong goes into a shared array of bounded size, from where the caller
 * returns it, sorted, when all are done. No locks: counters and places in the array are taken with
 * atomic adds.
 *
 * Progress is in UnrdfVerifyShmem where the library was preloaded and an entry was free, else only
 * this run knows of it. An entry belongs to the caller, which frees it on success, error and exit;
 * workers add to its counters.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "ledger/verify_log.h"

#define SHARED_KEY 1
#define MAX_EXTENTS 1000
#define MAX_FINDINGS 10000
#define MAX_WORKERS 1024
#define MAX_RUNS 8

typedef struct Counters
{
	pg_atomic_uint64 total;
	pg_atomic_uint64 done;
	pg_atomic_uint64 bad;
} Counters;

/* A running verify_all. */
typedef struct Run
{
	pg_atomic_uint32 pid;        /* 0: free */
	pg_atomic_uint64 started_at; /* 0: not to be shown; set last and cleared first */
	Oid dboid;
	Counters counters;
} Run;

typedef struct Finding
{
	bool is_receipt;
	int64 receipt;
	char reason[UNRDF_REASON_LEN];
} Finding;

/* In the parallel context's memory. */
typedef struct Shared
{
	int run;      /* in UnrdfVerifyShmem; -1: none */
	Counters own; /* used where there is no run */
	uint64 size;
	int nextents;
	UnrdfExtent extents[MAX_EXTENTS];
	pg_atomic_uint64 next;      /* the next part of the extents that nobody has taken */
	pg_atomic_uint32 nfindings; /* those that did not fit are counted too */
	Finding findings[MAX_FINDINGS];
} Shared;

static Run *UnrdfVerifyShmem = NULL;

extern PGDLLEXPORT void UnrdfVerifyWorkerMain(dsm_segment *segment, shm_toc *toc);

static void
init_counters(Counters *c)
{
	pg_atomic_init_u64(&c->total, 0);
	pg_atomic_init_u64(&c->done, 0);
	pg_atomic_init_u64(&c->bad, 0);
}

static void
init_runs(void *block)
{
	Run *runs = block;

	for (int i = 0; i < MAX_RUNS; i++)
	{
		pg_atomic_init_u32(&runs[i].pid, 0);
		pg_atomic_init_u64(&runs[i].started_at, 0);
		init_counters(&runs[i].counters);
	}
}

/* UnrdfVerifyInit asks for the shared memory that shows progress; called once, from _PG_init. */
void
UnrdfVerifyInit(void)
{
	UnrdfShmemRegister("unrdf verify", MAX_RUNS * sizeof(Run), (void **) &UnrdfVerifyShmem,
					   init_runs);
}

/* Takes an entry; -1 where there is none. */
static int
begin_run(void)
{
	for (int i = 0; UnrdfVerifyShmem && i < MAX_RUNS; i++)
	{
		Run *run = &UnrdfVerifyShmem[i];
		uint32 unused = 0;

		if (!pg_atomic_compare_exchange_u32(&run->pid, &unused, MyProcPid))
			continue;
		run->dboid = MyDatabaseId;
		pg_atomic_write_u64(&run->counters.total, 0);
		pg_atomic_write_u64(&run->counters.done, 0);
		pg_atomic_write_u64(&run->counters.bad, 0);
		pg_write_barrier();
		pg_atomic_write_u64(&run->started_at, (uint64) UnrdfNow());
		return i;
	}
	return -1;
}

static void
end_run(int code, Datum arg)
{
	int i = DatumGetInt32(arg);

	if (i < 0)
		return;
	pg_atomic_write_u64(&UnrdfVerifyShmem[i].started_at, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&UnrdfVerifyShmem[i].pid, 0);
}

static Counters *
counters(Shared *shared)
{
	return shared->run >= 0 ? &UnrdfVerifyShmem[shared->run].counters : &shared->own;
}

static void
add_finding(void *arg, const int64 *receipt, const char *reason)
{
	Shared *shared = arg;
	uint32 at = pg_atomic_fetch_add_u32(&shared->nfindings, 1);

	pg_atomic_fetch_add_u64(&counters(shared)->bad, 1);
	if (at >= MAX_FINDINGS)
		return;
	shared->findings[at].is_receipt = receipt != NULL;
	shared->findings[at].receipt = receipt ? *receipt : 0;
	strlcpy(shared->findings[at].reason, reason, UNRDF_REASON_LEN);
}

/*
 * The part of that number: UNRDF_LEAF_RUN leaves, and fewer where an extent begins or ends. False
 * after the last.
 */
static bool
part_of_number(const Shared *shared, uint64 number, uint64 *from, uint64 *to)
{
	for (int i = 0; i < shared->nextents; i++)
	{
		const UnrdfExtent *e = &shared->extents[i];
		uint64 first = e->from / UNRDF_LEAF_RUN;
		uint64 parts = (e->to - 1) / UNRDF_LEAF_RUN - first + 1;

		if (number < parts)
		{
			*from = Max(e->from, (first + number) * UNRDF_LEAF_RUN);
			*to = Min(e->to, (first + number + 1) * UNRDF_LEAF_RUN);
			return true;
		}
		number -= parts;
	}
	return false;
}

/* Takes leaves until there are none left. */
static void
check_leaves(Shared *shared, UnrdfAudit *audit)
{
	uint64 from;
	uint64 to;

	while (part_of_number(shared, pg_atomic_fetch_add_u64(&shared->next, 1), &from, &to))
	{
		UnrdfAuditLeaves(audit, from, to);
		pg_atomic_fetch_add_u64(&counters(shared)->done, to - from);
	}
}

/*
 * UnrdfVerifyWorkerMain is what a parallel worker does; the parallel context finds it by this name.
 */
void
UnrdfVerifyWorkerMain(dsm_segment *segment, shm_toc *toc)
{
	Shared *shared = shm_toc_lookup(toc, SHARED_KEY, false);
	UnrdfAudit *audit = palloc(sizeof(UnrdfAudit));

	pgstat_report_activity(STATE_RUNNING, "unrdf.verify_all()");
	UnrdfAuditBegin(audit, UNRDF_RECEIPTS_LOG, shared->size, add_finding, shared);
	check_leaves(shared, audit);
	UnrdfAuditEnd(audit);
}

/* The caller's part; the workers have to have ended after it. */
static void
lead(ParallelContext *context, Shared *shared)
{
	UnrdfAudit *audit = palloc0(sizeof(UnrdfAudit));

	audit->log = UNRDF_RECEIPTS_LOG;
	audit->report = add_finding;
	audit->arg = shared;
	shared->nextents = UnrdfAuditExtents(audit, shared->extents, MAX_EXTENTS);
	shared->size = audit->size;
	for (int i = 0; i < shared->nextents; i++)
		pg_atomic_fetch_add_u64(&counters(shared)->total,
								shared->extents[i].to - shared->extents[i].from);
	LaunchParallelWorkers(context);
	UnrdfAuditBegin(audit, UNRDF_RECEIPTS_LOG, shared->size, add_finding, shared);
	UnrdfAuditRoots(audit, shared->extents, shared->nextents);
	UnrdfAuditTiles(audit);
	check_leaves(shared, audit);
	UnrdfAuditEnd(audit);
	pfree(audit);
	WaitForParallelWorkersToFinish(context);
}

/* Receipts come first, by id; then the log's parts, by text. */
static int
compare_findings(const void *a, const void *b)
{
	const Finding *x = a;
	const Finding *y = b;

	if (x->is_receipt != y->is_receipt)
		return x->is_receipt ? -1 : 1;
	if (x->receipt != y->receipt)
		return x->receipt < y->receipt ? -1 : 1;
	return strcmp(x->reason, y->reason);
}

static void
put_row(ReturnSetInfo *result, const Finding *f)
{
	Datum values[2];
	bool nulls[2] = {!f->is_receipt, false};

	values[0] = Int64GetDatum(f->receipt);
	values[1] = CStringGetTextDatum(f->reason);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* Returns what was found: of each receipt one reason, the first by text. */
static void
put_findings(Shared *shared, ReturnSetInfo *result)
{
	uint32 found = pg_atomic_read_u32(&shared->nfindings);
	uint32 n = Min(found, MAX_FINDINGS);
	Finding *f = shared->findings;

	qsort(f, n, sizeof(Finding), compare_findings);
	for (uint32 i = 0; i < n; i++)
	{
		bool same_receipt = i > 0 && f[i].is_receipt && f[i].receipt == f[i - 1].receipt;

		if (!same_receipt && (i == 0 || compare_findings(&f[i], &f[i - 1]) != 0))
			put_row(result, &f[i]);
	}
	if (found > n)
	{
		Finding rest = {false, 0, ""};

		snprintf(rest.reason, sizeof(rest.reason), "%u more findings are not listed", found - n);
		put_row(result, &rest);
	}
}

static Shared *
make_shared(ParallelContext *context)
{
	Shared *shared;

	shm_toc_estimate_chunk(&context->estimator, sizeof(Shared));
	shm_toc_estimate_keys(&context->estimator, 1);
	InitializeParallelDSM(context);
	shared = shm_toc_allocate(context->toc, sizeof(Shared));
	init_counters(&shared->own);
	shared->nextents = 0;
	pg_atomic_init_u64(&shared->next, 0);
	pg_atomic_init_u32(&shared->nfindings, 0);
	shm_toc_insert(context->toc, SHARED_KEY, shared);
	return shared;
}

/* With the caller, as many processes as there are cores; no more than there are parts. */
static int
useful_workers(int workers)
{
	UnrdfLogHead head;
	uint64 parts;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	parts = head.size / UNRDF_LEAF_RUN;
	if (workers < 0)
		workers = Min((int) sysconf(_SC_NPROCESSORS_ONLN) - 1, max_parallel_workers);
	return (int) Min(Max(workers, 0), parts);
}

/* Leads, and frees the run whatever happens. */
static void
lead_guarded(ParallelContext *context, Shared *shared, int run)
{
	PG_ENSURE_ERROR_CLEANUP(end_run, Int32GetDatum(run));
	{
		lead(context, shared);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_run, Int32GetDatum(run));
	end_run(0, Int32GetDatum(run));
}

/*
 * UnrdfVerifyAll recomputes the whole log under the active snapshot and puts what is wrong into
 * result's tuplestore, up to 10,000 findings and one row saying how many more there were. workers
 * is how many parallel workers to ask for besides the caller, -1 for a sensible number; it works
 * with fewer, and with none. Raises 22023 for a number out of range.
 */
void
UnrdfVerifyAll(int workers, ReturnSetInfo *result)
{
	ParallelContext *context;
	Shared *shared;

	if (workers < -1 || workers > MAX_WORKERS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("workers must be between 0 and %d", MAX_WORKERS)));
	EnterParallelMode();
	context = CreateParallelContext("unrdf", "UnrdfVerifyWorkerMain", useful_workers(workers));
	shared = make_shared(context);
	shared->run = begin_run();
	lead_guarded(context, shared, shared->run);
	put_findings(shared, result);
	DestroyParallelContext(context);
	ExitParallelMode();
}

/*
 * UnrdfVerifyProgress puts one row per running verify_all of the current database into result's
 * tuplestore.
 */
void
UnrdfVerifyProgress(ReturnSetInfo *result)
{
	for (int i = 0; UnrdfVerifyShmem && i < MAX_RUNS; i++)
	{
		Run *run = &UnrdfVerifyShmem[i];
		uint64 started_at = pg_atomic_read_u64(&run->started_at);
		Datum values[5];
		bool nulls[5] = {false};

		pg_read_barrier();
		if (started_at == 0 || run->dboid != MyDatabaseId)
			continue;
		values[0] = Int32GetDatum((int32) pg_atomic_read_u32(&run->pid));
		values[1] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.total));
		values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.done));
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.bad));
		values[4] = TimestampTzGetDatum((TimestampTz) started_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
