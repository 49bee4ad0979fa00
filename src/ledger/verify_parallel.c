/*
 * verify_parallel.c: checks a range of the log, or all of it, with the caller and parallel workers, and
 * shows how far that is.
 *
 * The caller finds the extents, starts the workers, checks roots, tiles and checkpoints alone, and then
 * takes leaves with the workers: whoever is free takes the next UNRDF_LEAF_RUN leaves from a shared
 * counter, so it makes no difference how many workers there are, or whether they come at all. They
 * read under the caller's snapshot and transaction: what the caller changed and did not commit is
 * checked too. What is wrong goes into temporary files, one per process, from where the caller
 * returns it, sorted, when all are done: memory is bounded however much is wrong. No locks of our
 * own: counters are taken with atomic adds. The files go with the shared memory segment, or, where
 * there is none, with the caller's guard.
 *
 * Progress is in UnrdfVerifyShmem where the library was preloaded and an entry was free, else only
 * this run knows of it. An entry belongs to the caller, which frees it on success, error and exit;
 * workers add to its counters.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/sharedfileset.h"
#include "utils/builtins.h"
#include "utils/sharedtuplestore.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "ledger/verify_checkpoint.h"
#include "ledger/verify_log.h"
#include "ledger/verify_range.h"

#define SHARED_KEY 1
#define FINDINGS_KEY 2
#define MAX_EXTENTS 1000
#define MAX_WORKERS 1024
#define MAX_RUNS 8

typedef struct Counters
{
	pg_atomic_uint64 total;
	pg_atomic_uint64 done;
	pg_atomic_uint64 bad;
} Counters;

/* What the caller of a running verification does. */
typedef enum Phase
{
	PHASE_EXTENTS,
	PHASE_ROOTS,
	PHASE_TILES,
	PHASE_CHECKPOINTS,
	PHASE_LEAVES,
	PHASE_FINDINGS
} Phase;

static const char *const phase_names[] = {"extents",     "roots",  "tiles",
										  "checkpoints", "leaves", "findings"};

/* A running verification. */
typedef struct Run
{
	pg_atomic_uint32 pid;        /* 0: free */
	pg_atomic_uint64 started_at; /* 0: not to be shown; set last and cleared first */
	Oid dboid;
	pg_atomic_uint32 phase;
	pg_atomic_uint64 first; /* of the range */
	Counters counters;
} Run;

/* In the parallel context's memory. */
typedef struct Shared
{
	int run;      /* in UnrdfVerifyShmem; -1: none */
	Counters own; /* used where there is no run */
	UnrdfSpan span;
	int nextents;
	UnrdfExtent extents[MAX_EXTENTS];
	pg_atomic_uint64 next; /* the next part of the extents that nobody has taken */
	SharedFileSet files;
} Shared;

/* What one process reports with. */
typedef struct Reporter
{
	Shared *shared;
	SharedTuplestoreAccessor *findings;
	TupleDesc desc; /* receipt bigint, reason text */
	MemoryContext
		context; /* what is allocated with the first finding has to outlive who reports it */
} Reporter;

/* What the caller has to give back whatever happens. */
typedef struct Guard
{
	int run;
	SharedFileSet *files; /* NULL: they go with the segment */
} Guard;

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
		pg_atomic_init_u32(&runs[i].phase, 0);
		pg_atomic_init_u64(&runs[i].first, 0);
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

/* Takes an entry for a range that begins at leaf `first`; -1 where there is none. */
static int
begin_run(uint64 first)
{
	for (int i = 0; UnrdfVerifyShmem && i < MAX_RUNS; i++)
	{
		Run *run = &UnrdfVerifyShmem[i];
		uint32 unused = 0;

		if (!pg_atomic_compare_exchange_u32(&run->pid, &unused, MyProcPid))
			continue;
		run->dboid = MyDatabaseId;
		pg_atomic_write_u32(&run->phase, PHASE_EXTENTS);
		pg_atomic_write_u64(&run->first, first);
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
end(int code, Datum arg)
{
	const Guard *guard = (const Guard *) DatumGetPointer(arg);

	if (guard->files)
		SharedFileSetDeleteAll(guard->files);
	if (guard->run < 0)
		return;
	pg_atomic_write_u64(&UnrdfVerifyShmem[guard->run].started_at, 0);
	pg_write_barrier();
	pg_atomic_write_u32(&UnrdfVerifyShmem[guard->run].pid, 0);
}

static Counters *
counters(Shared *shared)
{
	return shared->run >= 0 ? &UnrdfVerifyShmem[shared->run].counters : &shared->own;
}

static void
show_phase(const Shared *shared, Phase phase)
{
	if (shared->run >= 0)
		pg_atomic_write_u32(&UnrdfVerifyShmem[shared->run].phase, phase);
}

/* UnrdfFindingDesc makes the descriptor of what is found: receipt bigint, reason text. */
TupleDesc
UnrdfFindingDesc(void)
{
	TupleDesc desc = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(desc, 1, "receipt", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "reason", TEXTOID, -1, 0);
	TupleDescInitEntryCollation(desc, 2, C_COLLATION_OID);
	return desc;
}

static void
add_finding(void *arg, const int64 *receipt, const char *reason)
{
	Reporter *reporter = arg;
	MemoryContext old = MemoryContextSwitchTo(reporter->context);
	Datum values[2] = {receipt ? Int64GetDatum(*receipt) : 0, CStringGetTextDatum(reason)};
	bool nulls[2] = {receipt == NULL, false};
	MinimalTuple tuple = unrdf_form_minimal_tuple(reporter->desc, values, nulls);

	sts_puttuple(reporter->findings, NULL, tuple);
	pg_atomic_fetch_add_u64(&counters(reporter->shared)->bad, 1);
	pfree(tuple);
	pfree(DatumGetPointer(values[1]));
	MemoryContextSwitchTo(old);
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
	Reporter reporter = {shared, NULL, UnrdfFindingDesc(), CurrentMemoryContext};

	pgstat_report_activity(STATE_RUNNING, "unrdf verification");
	SharedFileSetAttach(&shared->files, segment);
	reporter.findings = sts_attach(shm_toc_lookup(toc, FINDINGS_KEY, false),
								   ParallelWorkerNumber + 1, &shared->files);
	UnrdfAuditBegin(audit, &shared->span, add_finding, &reporter);
	check_leaves(shared, audit);
	UnrdfAuditEnd(audit);
	sts_end_write(reporter.findings);
}

/* The caller's part; the workers have to have ended after it. */
static void
lead(ParallelContext *context, Reporter *reporter, UnrdfVerification *v)
{
	Shared *shared = reporter->shared;
	UnrdfAudit *audit = palloc0(sizeof(UnrdfAudit));

	audit->span = v->span;
	audit->report = add_finding;
	audit->arg = reporter;
	shared->nextents = UnrdfAuditExtents(audit, shared->extents, MAX_EXTENTS);
	shared->span = v->span = audit->span;
	for (int i = 0; i < shared->nextents; i++)
		pg_atomic_fetch_add_u64(&counters(shared)->total,
								shared->extents[i].to - shared->extents[i].from);
	LaunchParallelWorkers(context);
	UnrdfAuditBegin(audit, &v->span, add_finding, reporter);
	show_phase(shared, PHASE_ROOTS);
	UnrdfAuditRoots(audit, shared->extents, shared->nextents, v->old_root, &v->tree);
	show_phase(shared, PHASE_TILES);
	UnrdfAuditTiles(audit);
	show_phase(shared, PHASE_CHECKPOINTS);
	UnrdfAuditCheckpoints(audit);
	show_phase(shared, PHASE_LEAVES);
	check_leaves(shared, audit);
	UnrdfAuditEnd(audit);
	pfree(audit);
	sts_end_write(reporter->findings);
	WaitForParallelWorkersToFinish(context);
	show_phase(shared, PHASE_FINDINGS);
}

/* Receipts come first, by id; then the log's parts, by text. */
static Tuplesortstate *
sort_findings(const Reporter *reporter)
{
	AttrNumber columns[] = {1, 2};
	Oid operators[] = {Int8LessOperator, TextLessOperator};
	Oid collations[] = {InvalidOid, C_COLLATION_OID};
	bool nulls_first[] = {false, false};
	Tuplesortstate *sort = tuplesort_begin_heap(reporter->desc, 2, columns, operators, collations,
												nulls_first, work_mem, NULL, TUPLESORT_NONE);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(reporter->desc, &TTSOpsMinimalTuple);
	MinimalTuple tuple;

	sts_begin_parallel_scan(reporter->findings);
	while ((tuple = sts_parallel_scan_next(reporter->findings, NULL)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		ExecStoreMinimalTuple(tuple, slot, false);
		tuplesort_puttupleslot(sort, slot);
	}
	sts_end_parallel_scan(reporter->findings);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_performsort(sort);
	return sort;
}

/* Returns what was found: of each receipt one reason, the first by text, and of the log each once. */
static void
put_findings(const Reporter *reporter, Tuplestorestate *result)
{
	Tuplesortstate *sort = sort_findings(reporter);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(reporter->desc, &TTSOpsMinimalTuple);
	int64 last_receipt = 0;
	char *last_reason = NULL;

	while (tuplesort_gettupleslot(sort, true, false, slot, NULL))
	{
		char *reason;
		bool repeated;

		slot_getallattrs(slot);
		reason = TextDatumGetCString(slot->tts_values[1]);
		if (slot->tts_isnull[0])
			repeated = last_reason && strcmp(reason, last_reason) == 0;
		else
			repeated = last_reason && DatumGetInt64(slot->tts_values[0]) == last_receipt;
		if (!repeated)
			tuplestore_puttupleslot(result, slot);
		last_receipt = slot->tts_isnull[0] ? 0 : DatumGetInt64(slot->tts_values[0]);
		if (last_reason)
			pfree(last_reason);
		last_reason = reason;
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(sort);
}

/* Makes what the processes share; the caller takes part as number 0. */
static void
make_shared(ParallelContext *context, Reporter *reporter)
{
	int participants = context->nworkers + 1;
	SharedTuplestore *findings;
	Shared *shared;

	shm_toc_estimate_chunk(&context->estimator, sizeof(Shared));
	shm_toc_estimate_chunk(&context->estimator, sts_estimate(participants));
	shm_toc_estimate_keys(&context->estimator, 2);
	InitializeParallelDSM(context);
	shared = shm_toc_allocate(context->toc, sizeof(Shared));
	init_counters(&shared->own);
	shared->nextents = 0;
	pg_atomic_init_u64(&shared->next, 0);
	SharedFileSetInit(&shared->files, context->seg);
	shm_toc_insert(context->toc, SHARED_KEY, shared);
	findings = shm_toc_allocate(context->toc, sts_estimate(participants));
	reporter->findings = sts_initialize(findings, participants, 0, 0, SHARED_TUPLESTORE_SINGLE_PASS,
										&shared->files, "findings");
	shm_toc_insert(context->toc, FINDINGS_KEY, findings);
	reporter->shared = shared;
	reporter->desc = UnrdfFindingDesc();
	reporter->context = CurrentMemoryContext;
}

/* With the caller, as many processes as there are cores; no more than there are parts. */
static int
useful_workers(const UnrdfVerification *v)
{
	uint64 parts = (Min(v->span.to, v->span.size) - v->span.from) / UNRDF_LEAF_RUN;
	int workers = v->workers;

	if (workers < 0)
		workers = Min((int) sysconf(_SC_NPROCESSORS_ONLN) - 1, max_parallel_workers);
	return (int) Min(Max(workers, 0), parts);
}

/* Says that there are fewer leaves than those that verification is to go on from; there is nothing to check then. */
static void
log_is_shorter(const UnrdfVerification *v, Tuplestorestate *findings, TupleDesc desc)
{
	char *reason = psprintf("log has " UINT64_FORMAT
							" leaves, and verification is to go on from " UINT64_FORMAT,
							v->span.size, v->span.from);
	Datum values[2] = {0, CStringGetTextDatum(reason)};
	bool nulls[2] = {true, false};

	tuplestore_putvalues(findings, desc, values, nulls);
}

/*
 * UnrdfVerifyRange recomputes v's range of the log, and what ties it to the newest root, under the active snapshot and puts
 * everything that is wrong into findings. It works with fewer workers than were asked for, and with none. Sets v->span and
 * v->tree. Raises 22023 for a number of workers out of range.
 */
void
UnrdfVerifyRange(UnrdfVerification *v, Tuplestorestate *findings)
{
	ParallelContext *context;
	Reporter reporter;
	Guard guard;

	if (v->workers < -1 || v->workers > MAX_WORKERS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("workers must be between 0 and %d", MAX_WORKERS)));
	v->tree.known = false;
	if (v->span.from > v->span.size)
	{
		log_is_shorter(v, findings, UnrdfFindingDesc());
		return;
	}
	EnterParallelMode();
	context = CreateParallelContext("unrdf", "UnrdfVerifyWorkerMain", useful_workers(v));
	make_shared(context, &reporter);
	reporter.shared->run = guard.run = begin_run(v->span.from);
	guard.files = context->seg ? NULL : &reporter.shared->files;
	PG_ENSURE_ERROR_CLEANUP(end, PointerGetDatum(&guard));
	{
		lead(context, &reporter, v);
		put_findings(&reporter, findings);
	}
	PG_END_ENSURE_ERROR_CLEANUP(end, PointerGetDatum(&guard));
	end(0, PointerGetDatum(&guard));
	DestroyParallelContext(context);
	ExitParallelMode();
}

/*
 * UnrdfVerifyProgress puts one row per running verification of the current database into result's
 * tuplestore.
 */
void
UnrdfVerifyProgress(ReturnSetInfo *result)
{
	for (int i = 0; UnrdfVerifyShmem && i < MAX_RUNS; i++)
	{
		Run *run = &UnrdfVerifyShmem[i];
		uint64 started_at = pg_atomic_read_u64(&run->started_at);
		Datum values[7];
		bool nulls[7] = {false};

		pg_read_barrier();
		if (started_at == 0 || run->dboid != MyDatabaseId)
			continue;
		values[0] = Int32GetDatum((int32) pg_atomic_read_u32(&run->pid));
		values[1] = CStringGetTextDatum(phase_names[pg_atomic_read_u32(&run->phase)]);
		values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&run->first));
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.total));
		values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.done));
		values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&run->counters.bad));
		values[6] = TimestampTzGetDatum((TimestampTz) started_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}
