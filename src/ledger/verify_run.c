/*
 * verify_run.c: verification of a log that is too long for one transaction, by ranges, each in a transaction of its own.
 *
 * A run is rows of unrdf.verified, one per range, each beginning where the one before ends. A row is written in the
 * transaction that has verified the range, with what was found (unrdf.finding): whatever interrupts a run, the ranges that
 * are there were verified to their ends, and the next call of the same kind goes on behind the last. A run is complete with
 * the range that reaches the log's end of its time.
 *
 * Every range is tied to the newest root of its time, and begins with the tree that the one before ended with, so that the
 * ranges of a run are of one tree, though the log grows between them. What a run rests on where it goes on: the rows of
 * unrdf.verified, which who can forge receipts can forge as well; or the checkpoint that the caller had kept elsewhere and
 * hands in, from whose tree a run then begins. What was changed in rows of a range after it was verified is found by the next
 * run that has the range, not by this one.
 *
 * UNRDF_LOCK_VERIFY lets one session at a time choose and verify a range: two that verify at once share a run. The snapshot
 * is taken after the lock, or it would not have the last range's row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/datum.h"
#include "base/lock.h"
#include "base/plan.h"
#include "crypto/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"
#include "ledger/verify_range.h"

static UnrdfPlan find_last = {
	"SELECT run, stop, size, stop_root FROM unrdf.verified"
	" WHERE run OPERATOR(pg_catalog.=) coalesce($1, (SELECT pg_catalog.max(run) FROM unrdf.verified))"
	" ORDER BY first DESC LIMIT 1",
	1,
	{INT8OID}};
static UnrdfPlan find_begin = {"SELECT first, first_root FROM unrdf.verified"
							   " WHERE run OPERATOR(pg_catalog.=) $1 ORDER BY first LIMIT 1",
							   1,
							   {INT8OID}};
static UnrdfPlan count_findings = {
	"SELECT coalesce(pg_catalog.sum(findings), 0)::pg_catalog.int8 FROM unrdf.verified"
	" WHERE run OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};
static UnrdfPlan insert_range = {
	"INSERT INTO unrdf.verified (run, first, stop, size, first_root, stop_root, findings, at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	8,
	{INT8OID, INT8OID, INT8OID, INT8OID, BYTEAOID, BYTEAOID, INT8OID, TIMESTAMPTZOID}};
static UnrdfPlan insert_finding = {
	"INSERT INTO unrdf.finding (run, first, receipt, reason) VALUES ($1, $2, $3, $4)",
	4,
	{INT8OID, INT8OID, INT8OID, TEXTOID}};

/* A tree that a range goes on from. */
typedef struct Basis
{
	uint64 size;
	bool has_root;
	uint8 root[UNRDF_HASH_LEN];
} Basis;

/* Where a run is. */
typedef struct Position
{
	int64 run;
	Basis basis;
	bool complete;
} Position;

static void
read_basis(int size_column, int root_column, Basis *b)
{
	bool isnull;
	Datum root;

	b->size = (uint64) DatumGetInt64(UnrdfResult(0, size_column, &isnull));
	root = UnrdfResult(0, root_column, &isnull);
	b->has_root = !isnull && VARSIZE_ANY_EXHDR(DatumGetByteaPP(root)) == UNRDF_HASH_LEN;
	if (b->has_root)
		memcpy(b->root, VARDATA_ANY(DatumGetByteaPP(root)), UNRDF_HASH_LEN);
}

/* Reads where a run is, or the newest where run is NULL; false where there is none. */
static bool
find_run(const int64 *run, Position *p)
{
	Datum value = Int64GetDatum(run ? *run : 0);
	bool isnull;
	bool found;

	SPI_connect();
	found = UnrdfExecute(&find_last, &value, run ? " " : "n", true) == 1;
	if (found)
	{
		p->run = DatumGetInt64(UnrdfResult(0, 0, &isnull));
		p->complete =
			DatumGetInt64(UnrdfResult(0, 1, &isnull)) >= DatumGetInt64(UnrdfResult(0, 2, &isnull));
		read_basis(1, 3, &p->basis);
	}
	SPI_finish();
	return found;
}

/* Whether a run began at this basis. */
static bool
began_at(int64 run, const Basis *b)
{
	Datum value = Int64GetDatum(run);
	Basis begin = {0};

	SPI_connect();
	if (UnrdfExecute(&find_begin, &value, NULL, true) != 1)
		elog(ERROR, "run " INT64_FORMAT " has no range", run);
	read_basis(0, 1, &begin);
	SPI_finish();
	return begin.size == b->size && begin.has_root == b->has_root &&
		   memcmp(begin.root, b->root, UNRDF_HASH_LEN) == 0;
}

/*
 * Chooses what to do: the given run; or the newest, where that is not complete and began where this would begin; or a new
 * one. Raises 22023 for a run that there is not.
 */
static void
choose(const int64 *run, const text *since, Position *p)
{
	Basis begin = {0};
	bool found = find_run(run, p);

	if (run && !found)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no run " INT64_FORMAT, *run)));
	if (since)
	{
		UnrdfSinceRead(since, &begin.size, begin.root);
		begin.has_root = true;
	}
	if (run || (found && !p->complete && began_at(p->run, &begin)))
		return;
	p->run = found ? p->run + 1 : 1;
	p->basis = begin;
	p->complete = false;
}

static void
keep_findings(const Position *p, Tuplestorestate *findings)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(UnrdfFindingDesc(), &TTSOpsMinimalTuple);

	SPI_connect();
	while (tuplestore_gettupleslot(findings, true, false, slot))
	{
		Datum values[4] = {Int64GetDatum(p->run), Int64GetDatum((int64) p->basis.size)};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		values[2] = slot->tts_values[0];
		values[3] = slot->tts_values[1];
		UnrdfExecute(&insert_finding, values, slot->tts_isnull[0] ? "  n " : NULL, false);
	}
	SPI_finish();
	ExecDropSingleTupleTableSlot(slot);
}

/* Keeps what a verification of p's next range has come to. */
static void
keep_range(const Position *p, const UnrdfVerification *v, uint64 stop, const uint8 *stop_root,
		   int64 findings)
{
	Datum values[8] = {Int64GetDatum(p->run),
					   Int64GetDatum((int64) p->basis.size),
					   Int64GetDatum((int64) stop),
					   Int64GetDatum((int64) v->span.size),
					   UnrdfBytesDatum(p->basis.root, UNRDF_HASH_LEN),
					   0,
					   Int64GetDatum(findings),
					   TimestampTzGetDatum(UnrdfNow())};
	char nulls[] = "        ";

	if (!p->basis.has_root)
		nulls[4] = 'n';
	if (stop_root)
		values[5] = UnrdfBytesDatum(stop_root, UNRDF_HASH_LEN);
	else
		nulls[5] = 'n';
	SPI_connect();
	UnrdfExecute(&insert_range, values, nulls, false);
	SPI_finish();
}

static int64
findings_of(int64 run)
{
	Datum value = Int64GetDatum(run);
	int64 n;
	bool isnull;

	SPI_connect();
	UnrdfExecute(&count_findings, &value, NULL, false);
	n = DatumGetInt64(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return n;
}

/* The text of a checkpoint without signatures; NULL where the log has no origin. */
static char *
tree_text(uint64 size, const uint8 *root)
{
	char body[512];
	UnrdfCanon out = {body, sizeof(body), 0};
	UnrdfCheckpoint c = {.size = size};
	UnrdfLogHead head;
	const UnrdfEpoch *epoch;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	epoch = UnrdfEpochFind(head.epoch);
	if (epoch == NULL)
		return NULL;
	c.origin = epoch->origin;
	c.origin_len = strlen(epoch->origin);
	memcpy(c.root, root, UNRDF_HASH_LEN);
	unrdf_checkpoint_format(&c, &out);
	return out.len <= out.cap ? pnstrdup(body, out.len) : NULL;
}

/* Verifies the next range of a run, of at most `step` leaves. */
static void
verify_next(Position *p, int64 step, int workers, UnrdfVerifyStep *result)
{
	Tuplestorestate *findings = tuplestore_begin_heap(false, false, work_mem);
	UnrdfVerification v = {.workers = workers};
	UnrdfLogHead head;
	uint8 root[UNRDF_HASH_LEN];

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	v.span.log = UNRDF_RECEIPTS_LOG;
	v.span.from = p->basis.size;
	v.span.size = head.size;
	v.span.to = head.size > p->basis.size && head.size - p->basis.size > (uint64) step
					? p->basis.size + (uint64) step
					: UNRDF_LOG_END;
	v.old_root = p->basis.has_root ? p->basis.root : NULL;
	UnrdfVerifyRange(&v, findings);
	if (v.tree.known && unrdf_range_root(&v.tree.range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	/* of a log that is shorter than it was there is nothing left */
	result->stop = v.span.to == UNRDF_LOG_END ? p->basis.size : v.span.to;
	result->complete = result->stop >= v.span.size;
	keep_findings(p, findings);
	keep_range(p, &v, result->stop, v.tree.known ? root : NULL, tuplestore_tuple_count(findings));
	tuplestore_end(findings);
	result->findings = findings_of(p->run);
	if (result->complete && result->findings == 0 && v.tree.known)
		result->verified = tree_text(result->stop, root);
}

/*
 * UnrdfVerifyRun verifies the next range of a run, in the current transaction: of *run, or where that is NULL of one
 * that begins after the tree of the checkpoint `since` or, where that is NULL, at leaf 0: of the newest run, if that is
 * such a one and not complete, or else of a new one. A run that is complete is left alone. Raises 22023 for a step below
 * 1, for what is no checkpoint and for a run that there is not.
 */
void
UnrdfVerifyRun(const int64 *run, int64 step, int workers, const text *since,
			   UnrdfVerifyStep *result)
{
	Position p;

	PreventCommandIfReadOnly("unrdf.verify_step()");
	if (step < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a step has to have at least one leaf")));
	UnrdfLock(UNRDF_LOCK_VERIFY, UNRDF_RECEIPTS_LOG);
	PushActiveSnapshot(GetLatestSnapshot());
	choose(run, since, &p);
	memset(result, 0, sizeof(*result));
	result->run = p.run;
	result->first = result->stop = p.basis.size;
	result->complete = p.complete;
	if (p.complete)
		result->findings = findings_of(p.run);
	else
		verify_next(&p, step, workers, result);
	PopActiveSnapshot();
}
