/*
 * record.c: receipts of operations that applications report, chained per subject.
 *
 * Invariant: the receipts of a subject have revisions 1, 2, 3 … in commit order, each with the leaf hash of the one
 * before. The subject's bucket lock, held to the transaction's end, makes writers of one subject wait for each other, so
 * the newest committed receipt, read under the newest snapshot, is the one to link to; the unique index on
 * (subject, revision) stands behind it. A writer that dies leaves nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/epoch.h"
#include "ledger/record.h"

/* an index entry has to fit */
#define MAX_SUBJECT 1024
#define MAX_OPERATION 1024

static UnrdfPlan newest = {
	"SELECT id, revision FROM unrdf.receipt WHERE subject OPERATOR(pg_catalog.=) $1 ORDER BY revision DESC LIMIT 1",
	1,
	{TEXTOID}};

static void
wake(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		UnrdfSetLatch(&db->integrator);
}

/* UnrdfWakeIntegrator lets the integrator look for receipts once the current transaction commits. */
void
UnrdfWakeIntegrator(void)
{
	UnrdfAtCommit(wake, 0);
}

/* Links r to the newest receipt of its subject. */
static void
link_to_previous(UnrdfReceipt *r, text *subject, StringInfo scratch)
{
	Datum value = PointerGetDatum(subject);
	UnrdfReceipt previous;
	int64 id = 0;
	bool isnull;

	r->revision = 1;
	SPI_connect();
	if (UnrdfExecuteLatest(&newest, &value, NULL) == 1)
	{
		id = DatumGetInt64(UnrdfResult(0, 0, &isnull));
		r->revision = DatumGetInt32(UnrdfResult(0, 1, &isnull)) + 1;
	}
	SPI_finish();
	if (r->revision == 1)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	if (!UnrdfReceiptFetch(id, &previous))
		elog(ERROR, "receipt " INT64_FORMAT " vanished", id);
	UnrdfReceiptLeaf(&previous, scratch, r->previous);
	r->has_previous = true;
	PopActiveSnapshot();
}

static void
check_limits(text *subject, Jsonb *payload, text *operation)
{
	if (VARSIZE_ANY_EXHDR(subject) == 0 || VARSIZE_ANY_EXHDR(subject) > MAX_SUBJECT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("subject must have between 1 and %d bytes", MAX_SUBJECT)));
	if (operation &&
		(VARSIZE_ANY_EXHDR(operation) == 0 || VARSIZE_ANY_EXHDR(operation) > MAX_OPERATION))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("operation must have between 1 and %d bytes", MAX_OPERATION)));
	if (payload && VARSIZE(payload) > (Size) unrdf_max_args_size * 1024)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("payload is larger than unrdf.max_args_size"),
						errdetail("It has %d bytes; the limit is %d kB.", (int) VARSIZE(payload),
								  unrdf_max_args_size)));
}

/*
 * UnrdfRecord writes a receipt about a subject in the current transaction and returns its id. payload may be NULL;
 * operation NULL means the kind's name. Raises 22023 and 54000 for what is too large, 22003 for numbers that canonical
 * JSON cannot carry.
 */
int64
UnrdfRecord(UnrdfKind kind, text *subject, Jsonb *payload, text *operation)
{
	UnrdfReceipt r = {0};
	UnrdfReceiptWriter *writer;
	StringInfoData scratch;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.record()");
	check_limits(subject, payload, operation);
	initStringInfo(&scratch);
	r.epoch = UnrdfCurrentEpoch();
	r.subject = VARDATA_ANY(subject);
	r.subject_len = VARSIZE_ANY_EXHDR(subject);
	UnrdfLock(UNRDF_LOCK_SUBJECT, UnrdfLockBucket(r.subject, r.subject_len, 0));
	link_to_previous(&r, subject, &scratch);
	r.id = nextval_internal(UnrdfRelid(UNRDF_OPERATION_ID), false);
	r.kind = kind;
	r.outcome = UNRDF_OK;
	r.attempt = 1;
	r.started_at = r.finished_at = UnrdfNow();
	r.operation = operation ? VARDATA_ANY(operation) : UnrdfKindNames[kind];
	r.operation_len = operation ? VARSIZE_ANY_EXHDR(operation) : strlen(UnrdfKindNames[kind]);
	r.actor = GetUserNameFromId(GetUserId(), false);
	r.actor_len = strlen(r.actor);
	r.payload = payload;
	UnrdfReceiptSeal(&r, payload, &scratch);
	writer = UnrdfReceiptWriterBegin(1);
	UnrdfReceiptWrite(writer, &r);
	UnrdfReceiptWriterEnd(writer);
	/* a second receipt of the same statement has to see this one */
	CommandCounterIncrement();
	pfree(scratch.data);
	UnrdfWakeIntegrator();
	return r.id;
}
