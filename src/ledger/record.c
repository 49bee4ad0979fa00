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
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/guc.h"
#include "base/jsonb_canonical.h"
#include "base/kept.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/batch.h"
#include "ledger/epoch.h"
#include "ledger/failover.h"
#include "ledger/record.h"

/* an index entry has to fit */
#define MAX_SUBJECT 1024
#define MAX_OPERATION 1024

/* what unrdf.erase() writes, and nobody else */
#define ERASE "erase"
#define RECEIPT_SUBJECT_PREFIX "receipt/"

/* rules for how long a queue's jobs are kept */
#define RETENTION_SUBJECT_PREFIX "retention/"

static UnrdfPlan newest = {
	"SELECT id, revision FROM unrdf.receipt WHERE subject OPERATOR(pg_catalog.=) $1 ORDER BY revision DESC LIMIT 1",
	1,
	{TEXTOID}};

static UnrdfPlan erase_receipt = {
	"UPDATE unrdf.receipt SET salt = '', payload = NULL, result = NULL"
	" WHERE id OPERATOR(pg_catalog.=) $1 AND pg_catalog.octet_length(salt) OPERATOR(pg_catalog.>) 0"
	" AND kind OPERATOR(pg_catalog.<>) 5",
	1,
	{INT8OID}};
static UnrdfPlan erase_batch = {
	"UPDATE unrdf.batch_segment SET salts = ''"
	" WHERE receipt OPERATOR(pg_catalog.=) $1 AND pg_catalog.octet_length(salts) OPERATOR(pg_catalog.>) 0",
	1,
	{INT8OID}};
static UnrdfPlan erase_job = {
	"UPDATE unrdf.job SET args = '{}' WHERE id OPERATOR(pg_catalog.=) $1 RETURNING retention",
	1,
	{INT8OID}};
static UnrdfPlan erase_waiting_job = {
	"UPDATE unrdf.waiting_job SET args = '{}' WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
static UnrdfPlan erase_steps = {
	"UPDATE unrdf.job_step SET result = NULL WHERE job OPERATOR(pg_catalog.=) $1", 1, {INT8OID}};
static UnrdfPlan erase_attempts = {
	"UPDATE unrdf.attempt SET message = CASE WHEN sqlstate IS NOT NULL THEN 'erased' END, detail = NULL, hint = NULL, context = NULL"
	" WHERE job OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

static void
wake(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db == NULL)
		return;
	UnrdfSetLatch(&db->processes[UNRDF_INTEGRATOR].latch);
	if (pg_atomic_read_u32(&db->follows_receipts))
		UnrdfSetLatch(&db->processes[UNRDF_RELEASER].latch);
}

/* UnrdfWakeIntegrator lets those who follow receipts look for them once the current transaction commits. */
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

static bool
has_prefix(text *subject, const char *prefix)
{
	int len = strlen(prefix);

	return VARSIZE_ANY_EXHDR(subject) >= len && memcmp(VARDATA_ANY(subject), prefix, len) == 0;
}

/* Raises 22023 where a name is kept for receipts that we write ourselves: verification believes what those say. */
static void
check_reserved(text *subject, text *operation)
{
	if (has_prefix(subject, UNRDF_AUDIT_SUBJECT_PREFIX))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("subjects that begin with \"" UNRDF_AUDIT_SUBJECT_PREFIX
							   "\" are kept for rows of audited tables")));
	if (has_prefix(subject, UNRDF_FAILOVER_SUBJECT_PREFIX))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("subjects that begin with \"" UNRDF_FAILOVER_SUBJECT_PREFIX
							   "\" are kept for failovers")));
	if (has_prefix(subject, RETENTION_SUBJECT_PREFIX))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("subjects that begin with \"" RETENTION_SUBJECT_PREFIX
							   "\" are kept for what queues keep")));
	if (has_prefix(subject, RECEIPT_SUBJECT_PREFIX) ||
		(operation && VARSIZE_ANY_EXHDR(operation) == strlen(ERASE) &&
		 memcmp(VARDATA_ANY(operation), ERASE, strlen(ERASE)) == 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("subjects that begin with \"" RECEIPT_SUBJECT_PREFIX
							   "\" and operation \"" ERASE "\" are kept for unrdf.erase()")));
}

/*
 * UnrdfWriteReceipt writes a receipt about a subject and returns its id; id is 0 where none was drawn. Whoever calls keeps
 * others from writing about the subject until the transaction ends, or leaves the receipt unchained.
 */
int64
UnrdfWriteReceipt(int64 id, UnrdfKind kind, text *subject, bool chained, Jsonb *payload,
				  text *operation)
{
	UnrdfReceipt r = {0};
	UnrdfReceiptWriter *writer;
	StringInfoData scratch;

	initStringInfo(&scratch);
	r.epoch = UnrdfCurrentEpoch();
	r.subject = VARDATA_ANY(subject);
	r.subject_len = VARSIZE_ANY_EXHDR(subject);
	if (chained)
		link_to_previous(&r, subject, &scratch);
	r.id = id ? id : nextval_internal(UnrdfRelid(UNRDF_OPERATION_ID), false);
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

static void
lock_subject(text *subject)
{
	UnrdfLock(UNRDF_LOCK_SUBJECT,
			  UnrdfLockBucket(VARDATA_ANY(subject), VARSIZE_ANY_EXHDR(subject), 0));
}

/* UnrdfJsonbOf reads JSON that was made here, in the server's encoding. */
Jsonb *
UnrdfJsonbOf(const char *json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

/*
 * UnrdfRecord writes a receipt about a subject in the current transaction and returns its id. payload may be NULL;
 * operation NULL means the kind's name. Raises 22023 and 54000 for what is too large or reserved, 22003 for numbers that
 * canonical JSON cannot carry.
 */
int64
UnrdfRecord(UnrdfKind kind, text *subject, Jsonb *payload, text *operation)
{
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.record()");
	check_limits(subject, payload, operation);
	check_reserved(subject, operation);
	/* as before the receipt's own lock: who waits for the epoch holds nothing */
	(void) UnrdfCurrentEpoch();
	lock_subject(subject);
	return UnrdfWriteReceipt(0, kind, subject, true, payload, operation);
}

/* UnrdfRetentionSubject is what receipts of a queue's rules of retention speak of. */
char *
UnrdfRetentionSubject(int32 queue)
{
	return psprintf(RETENTION_SUBJECT_PREFIX "%d", queue);
}

/* UnrdfRecordRetention writes a receipt of a queue's rule of retention, in the current transaction, and returns its id. */
int64
UnrdfRecordRetention(int32 queue, Jsonb *rule)
{
	text *subject = cstring_to_text(UnrdfRetentionSubject(queue));

	UnrdfRequirePreload();
	(void) UnrdfCurrentEpoch();
	lock_subject(subject);
	return UnrdfWriteReceipt(0, UNRDF_UPDATE, subject, true, rule, NULL);
}

/* Adds the elements of an array of jsonb to a batch. Raises 22004 for a null, 22023 where there is none. */
static void
add_items(UnrdfBatch *batch, ArrayType *items)
{
	ArrayIterator each = array_create_iterator(items, 0, NULL);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf batch item", ALLOCSET_DEFAULT_SIZES);
	StringInfoData canonical;
	Datum item;
	bool isnull;

	if (ArrayGetNItems(ARR_NDIM(items), ARR_DIMS(items)) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a batch needs an item")));
	initStringInfo(&canonical);
	while (array_iterate(each, &item, &isnull))
	{
		MemoryContext old;

		if (isnull)
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("items of a batch must not be null")));
		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&canonical);
		old = MemoryContextSwitchTo(context);
		UnrdfCanonicalJsonbInto(DatumGetJsonbP(item), &canonical);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		UnrdfBatchAdd(batch, NULL, canonical.data, canonical.len);
	}
	array_free_iterator(each);
	MemoryContextDelete(context);
}

/*
 * UnrdfRecordBatch writes one receipt about a subject for many items, in the current transaction, and returns its id. The
 * items are not kept. Raises what UnrdfRecord raises, 22004 for an item that is null, 22023 where there is none.
 */
int64
UnrdfRecordBatch(text *subject, ArrayType *items, text *operation)
{
	UnrdfBatch *batch;
	StringInfoData payload;
	int64 id;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.record_batch()");
	check_limits(subject, NULL, operation);
	check_reserved(subject, operation);
	(void) UnrdfCurrentEpoch();
	lock_subject(subject);
	batch = UnrdfBatchBegin(0);
	add_items(batch, items);
	initStringInfo(&payload);
	appendStringInfoChar(&payload, '{');
	id = UnrdfBatchEnd(batch, &payload);
	appendStringInfoChar(&payload, '}');
	return UnrdfWriteReceipt(id, UNRDF_BATCH, subject, true, UnrdfJsonbOf(payload.data), operation);
}

/*
 * Takes payload, result, arguments and what failed attempts said out of their rows; of a batch its items' salts,
 * since its payload has only what proves them. False where there is no receipt, or no more.
 */
static bool
take_out(int64 receipt)
{
	Datum value = Int64GetDatum(receipt);
	bool kept_for_ever = true;
	bool found;

	SPI_connect();
	found = UnrdfExecute(&erase_receipt, &value, NULL, false) == 1;
	if (found)
	{
		if (UnrdfExecute(&erase_job, &value, NULL, false) > 0)
			(void) UnrdfResult(0, 0, &kept_for_ever);
		UnrdfExecute(&erase_waiting_job, &value, NULL, false);
		UnrdfExecute(&erase_steps, &value, NULL, false);
		UnrdfExecute(&erase_attempts, &value, NULL, false);
		if (!kept_for_ever)
			UnrdfKeptErase(receipt);
	}
	else
		found = UnrdfExecute(&erase_batch, &value, NULL, false) > 0;
	SPI_finish();
	return found;
}

/*
 * UnrdfErase takes out what a receipt has only the hashes of, and the salt without which nobody can guess it from them, and
 * writes a receipt that says so; returns its id. Receipt, chain and proofs stay as they are. Raises 22023 without a reason,
 * 42704 where there is no receipt, or where it was erased before.
 */
int64
UnrdfErase(int64 receipt, const char *reason)
{
	text *subject = cstring_to_text(psprintf(RECEIPT_SUBJECT_PREFIX INT64_FORMAT, receipt));
	StringInfoData json;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.erase()");
	if (*reason == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("an erasure needs a reason")));
	(void) UnrdfCurrentEpoch();
	lock_subject(subject);
	if (!take_out(receipt))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("there is nothing to erase of receipt " INT64_FORMAT, receipt),
						errdetail("There is no such receipt, or it was erased.")));
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"reason\": ");
	escape_json(&json, reason);
	appendStringInfoChar(&json, '}');
	return UnrdfWriteReceipt(0, UNRDF_DELETE, subject, true, UnrdfJsonbOf(json.data),
							 cstring_to_text(ERASE));
}
