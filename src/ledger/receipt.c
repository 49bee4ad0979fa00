/*
 * receipt.c: receipts as rows and as canonical JSON.
 *
 * The canonical form (RFC 8785) is rebuilt from the row whenever it is needed; it is stored nowhere. It commits to payload
 * and result through hashes over salt ‖ canonical JSON, so that both, and the salt, can be erased while everything else
 * keeps verifying. The columns are a receipt's truth; whoever changes one changes its leaf hash.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/datum.h"
#include "base/jsonb_canonical.h"
#include "base/kept.h"
#include "crypto/canonical.h"
#include "crypto/merkle.h"
#include "ledger/epoch.h"
#include "ledger/receipt.h"

const char *const UnrdfKindNames[] = {NULL, "execute", "create", "update", "delete", "batch"};
const char *const UnrdfOutcomeNames[] = {NULL, "ok", "dead", "cancelled", "skipped"};
static const char *const delivery_names[] = {NULL, "at least once"};

struct UnrdfReceiptWriter
{
	UnrdfAppend *append;
	UnrdfKept *kept;
	MemoryContext context; /* of one flush's values */
	FullTransactionId xid;
	int capacity;
	int n;
};

/* UnrdfSaltedHash computes SHA-256(salt ‖ canonical JSON of value); a NULL value is the JSON null. scratch is overwritten. */
void
UnrdfSaltedHash(const uint8 *salt, Jsonb *value, StringInfo scratch, uint8 *hash)
{
	UnrdfBytes parts[2];

	resetStringInfo(scratch);
	if (value)
		UnrdfCanonicalJsonbInto(value, scratch);
	else
		appendStringInfoString(scratch, "null");
	parts[0].data = salt;
	parts[0].len = UNRDF_SALT_LEN;
	parts[1].data = scratch->data;
	parts[1].len = scratch->len;
	if (unrdf_sha256(parts, 2, hash) != 0)
		elog(ERROR, "SHA-256 failed");
}

/*
 * UnrdfReceiptSeal draws the salt and computes the payload's and result's hashes. payload is what the receipt is about,
 * whether stored in it or not. Raises 22003 for a number that canonical JSON cannot carry.
 */
void
UnrdfReceiptSeal(UnrdfReceipt *r, Jsonb *payload, StringInfo scratch)
{
	if (unrdf_random(r->salt, UNRDF_SALT_LEN) != 0)
		elog(ERROR, "could not generate random bytes");
	UnrdfSaltedHash(r->salt, payload, scratch, r->payload_hash);
	r->has_result = r->result != NULL;
	if (r->has_result)
		UnrdfSaltedHash(r->salt, r->result, scratch, r->result_hash);
}

/* UnrdfReceiptWriterBegin opens the receipts for writing, in the current transaction and memory context. */
UnrdfReceiptWriter *
UnrdfReceiptWriterBegin(int capacity)
{
	UnrdfReceiptWriter *w = palloc0(sizeof(UnrdfReceiptWriter));

	w->append = UnrdfAppendBegin(UNRDF_RECEIPT, capacity);
	w->kept = UnrdfKeptBegin(capacity);
	w->context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf receipts", ALLOCSET_DEFAULT_SIZES);
	w->xid = GetTopFullTransactionId();
	w->capacity = capacity;
	return w;
}

/* UnrdfReceiptWrite adds a receipt; payload and result must live until the writer ends, the rest is copied. */
void
UnrdfReceiptWrite(UnrdfReceiptWriter *w, const UnrdfReceipt *r)
{
	TupleTableSlot *slot;
	MemoryContext old;

	if (w->n == w->capacity)
	{
		UnrdfAppendFlush(w->append);
		MemoryContextReset(w->context);
		w->n = 0;
	}
	w->n++;
	slot = UnrdfAppendRow(w->append);
	old = MemoryContextSwitchTo(w->context);
	UnrdfAppendSet(slot, RECEIPT_ID, Int64GetDatum(r->id));
	UnrdfAppendSet(slot, RECEIPT_XID, UInt64GetDatum(U64FromFullTransactionId(w->xid)));
	UnrdfAppendSet(slot, RECEIPT_STARTED_AT, TimestampTzGetDatum(r->started_at));
	UnrdfAppendSet(slot, RECEIPT_FINISHED_AT, TimestampTzGetDatum(r->finished_at));
	UnrdfAppendSet(slot, RECEIPT_EPOCH, Int32GetDatum(r->epoch));
	UnrdfAppendSet(slot, RECEIPT_ATTEMPT, Int32GetDatum(r->attempt));
	if (r->revision > 0)
		UnrdfAppendSet(slot, RECEIPT_REVISION, Int32GetDatum(r->revision));
	UnrdfAppendSet(slot, RECEIPT_KIND, Int16GetDatum(r->kind));
	UnrdfAppendSet(slot, RECEIPT_OUTCOME, Int16GetDatum(r->outcome));
	UnrdfAppendSet(slot, RECEIPT_OPERATION,
				   PointerGetDatum(cstring_to_text_with_len(r->operation, r->operation_len)));
	UnrdfAppendSet(slot, RECEIPT_ACTOR,
				   PointerGetDatum(cstring_to_text_with_len(r->actor, r->actor_len)));
	if (r->subject)
		UnrdfAppendSet(slot, RECEIPT_SUBJECT,
					   PointerGetDatum(cstring_to_text_with_len(r->subject, r->subject_len)));
	UnrdfAppendSet(slot, RECEIPT_SALT, UnrdfBytesDatum(r->salt, UNRDF_SALT_LEN));
	UnrdfAppendSet(slot, RECEIPT_PAYLOAD_HASH, UnrdfBytesDatum(r->payload_hash, UNRDF_HASH_LEN));
	if (r->has_result)
		UnrdfAppendSet(slot, RECEIPT_RESULT_HASH, UnrdfBytesDatum(r->result_hash, UNRDF_HASH_LEN));
	if (r->has_previous)
		UnrdfAppendSet(slot, RECEIPT_PREVIOUS, UnrdfBytesDatum(r->previous, UNRDF_HASH_LEN));
	if (r->payload)
		UnrdfAppendSet(slot, RECEIPT_PAYLOAD, JsonbPGetDatum(r->payload));
	if (r->result && r->result_until == 0)
		UnrdfAppendSet(slot, RECEIPT_RESULT, JsonbPGetDatum(r->result));
	if (r->delivery != UNRDF_EXACTLY_ONCE)
		UnrdfAppendSet(slot, RECEIPT_DELIVERY, Int16GetDatum(r->delivery));
	if (r->result && r->result_until != 0)
		UnrdfKeptWrite(w->kept, r->id, UNRDF_KEPT_RESULT, r->finished_at, r->result_until,
					   r->result);
	MemoryContextSwitchTo(old);
}

/* UnrdfReceiptWriterEnd writes what is left. Raises 23505 where a receipt of the same id is there. */
void
UnrdfReceiptWriterEnd(UnrdfReceiptWriter *w)
{
	UnrdfAppendEnd(w->append);
	UnrdfKeptEnd(w->kept);
	MemoryContextDelete(w->context);
	pfree(w);
}

/* Copies a bytea of exactly len bytes; a column of another length reads as zeros, and so fails to verify. */
static void
read_bytes(Datum value, uint8 *out, int len)
{
	bytea *b = DatumGetByteaPP(value);

	if (VARSIZE_ANY_EXHDR(b) == len)
		memcpy(out, VARDATA_ANY(b), len);
	else
		memset(out, 0, len);
}

static const char *
read_text(Datum value, int *len)
{
	text *t = DatumGetTextPP(value);

	*len = VARSIZE_ANY_EXHDR(t);
	return VARDATA_ANY(t);
}

/* UnrdfReceiptRead reads a row. Strings and jsonb point into the slot or the current memory context. */
void
UnrdfReceiptRead(TupleTableSlot *slot, UnrdfReceipt *r)
{
	Datum *v;
	bool *isnull;

	slot_getallattrs(slot);
	v = slot->tts_values;
	isnull = slot->tts_isnull;
	r->id = DatumGetInt64(v[RECEIPT_ID]);
	r->xid = DatumGetUInt64(v[RECEIPT_XID]);
	r->started_at = DatumGetTimestampTz(v[RECEIPT_STARTED_AT]);
	r->finished_at = DatumGetTimestampTz(v[RECEIPT_FINISHED_AT]);
	r->epoch = DatumGetInt32(v[RECEIPT_EPOCH]);
	r->attempt = DatumGetInt32(v[RECEIPT_ATTEMPT]);
	r->revision = isnull[RECEIPT_REVISION] ? 0 : DatumGetInt32(v[RECEIPT_REVISION]);
	r->kind = DatumGetInt16(v[RECEIPT_KIND]);
	r->outcome = DatumGetInt16(v[RECEIPT_OUTCOME]);
	r->delivery =
		isnull[RECEIPT_DELIVERY] ? UNRDF_EXACTLY_ONCE : DatumGetInt16(v[RECEIPT_DELIVERY]);
	r->operation = read_text(v[RECEIPT_OPERATION], &r->operation_len);
	r->actor = read_text(v[RECEIPT_ACTOR], &r->actor_len);
	r->subject = NULL;
	if (!isnull[RECEIPT_SUBJECT])
		r->subject = read_text(v[RECEIPT_SUBJECT], &r->subject_len);
	r->erased = toast_raw_datum_size(v[RECEIPT_SALT]) == VARHDRSZ;
	read_bytes(v[RECEIPT_SALT], r->salt, UNRDF_SALT_LEN);
	read_bytes(v[RECEIPT_PAYLOAD_HASH], r->payload_hash, UNRDF_HASH_LEN);
	r->has_result = !isnull[RECEIPT_RESULT_HASH];
	if (r->has_result)
		read_bytes(v[RECEIPT_RESULT_HASH], r->result_hash, UNRDF_HASH_LEN);
	r->has_previous = !isnull[RECEIPT_PREVIOUS];
	if (r->has_previous)
		read_bytes(v[RECEIPT_PREVIOUS], r->previous, UNRDF_HASH_LEN);
	r->payload = isnull[RECEIPT_PAYLOAD] ? NULL : DatumGetJsonbP(v[RECEIPT_PAYLOAD]);
	r->result = isnull[RECEIPT_RESULT] ? NULL : DatumGetJsonbP(v[RECEIPT_RESULT]);
}

/*
 * UnrdfReceiptFetch reads the receipt of an id as the active snapshot sees it; false where there is none. What it points
 * to is copied to the current memory context.
 */
bool
UnrdfReceiptFetch(int64 id, UnrdfReceipt *r)
{
	Relation table = table_open(UnrdfRelid(UNRDF_RECEIPT), AccessShareLock);
	Relation index = index_open(UnrdfRelid(UNRDF_RECEIPT_PKEY), AccessShareLock);
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
		UnrdfReceiptRead(copy, r);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return found;
}

static void
member_string(UnrdfCanon *c, const char *name, const char *value, int len)
{
	char *utf8 = pg_server_to_any(value, len, PG_UTF8);

	unrdf_canon_raw(c, name, strlen(name));
	if (unrdf_canon_string(c, utf8, utf8 == value ? len : strlen(utf8)) != 0)
		ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
						errmsg("receipt has a string that is not valid UTF-8")));
}

static void
member_int(UnrdfCanon *c, const char *name, int64 value)
{
	unrdf_canon_raw(c, name, strlen(name));
	unrdf_canon_int64(c, value);
}

static void
member_hex(UnrdfCanon *c, const char *name, const uint8 *bytes)
{
	unrdf_canon_raw(c, name, strlen(name));
	unrdf_canon_hex(c, bytes, UNRDF_HASH_LEN);
}

static void
member_time(UnrdfCanon *c, const char *name, TimestampTz t)
{
	unrdf_canon_raw(c, name, strlen(name));
	unrdf_canon_time(c, UnrdfUnixMicros(t));
}

/* Names an out-of-range kind, outcome or delivery of a forged row. */
static const char *
name_of(const char *const *names, int n, int value)
{
	return value >= 1 && value < n ? names[value] : "invalid";
}

/* The members in the order of RFC 8785. An absent member is absent, never null. */
static void
canonical(UnrdfCanon *c, const UnrdfReceipt *r, const UnrdfEpoch *epoch)
{
	const char *kind = name_of(UnrdfKindNames, lengthof(UnrdfKindNames), r->kind);
	const char *outcome = name_of(UnrdfOutcomeNames, lengthof(UnrdfOutcomeNames), r->outcome);
	const char *delivery = name_of(delivery_names, lengthof(delivery_names), r->delivery);
	char job[32];

	member_string(c, "{\"actor\":", r->actor, r->actor_len);
	member_int(c, ",\"attempt\":", r->attempt);
	if (r->delivery != UNRDF_EXACTLY_ONCE)
		member_string(c, ",\"delivery\":", delivery, strlen(delivery));
	member_int(c, ",\"epoch\":", r->epoch);
	member_time(c, ",\"finished\":", r->finished_at);
	member_int(c, ",\"id\":", r->id);
	member_string(c, ",\"kind\":", kind, strlen(kind));
	member_string(c, ",\"node\":", epoch->node, strlen(epoch->node));
	member_string(c, ",\"operation\":", r->operation, r->operation_len);
	member_string(c, ",\"origin\":", epoch->origin, strlen(epoch->origin));
	member_string(c, ",\"outcome\":", outcome, strlen(outcome));
	member_hex(c, ",\"payload\":", r->payload_hash);
	if (r->has_previous)
		member_hex(c, ",\"previous\":", r->previous);
	if (r->has_result)
		member_hex(c, ",\"result\":", r->result_hash);
	if (r->revision > 0)
		member_int(c, ",\"revision\":", r->revision);
	member_time(c, ",\"started\":", r->started_at);
	if (r->subject)
		member_string(c, ",\"subject\":", r->subject, r->subject_len);
	else
	{
		snprintf(job, sizeof(job), "job/" INT64_FORMAT, r->id);
		member_string(c, ",\"subject\":", job, strlen(job));
	}
	member_int(c, ",\"version\":", 1);
	unrdf_canon_raw(c, "}", 1);
}

/* UnrdfReceiptCanonical replaces out's contents by the receipt's canonical JSON. Raises where its epoch is unknown. */
void
UnrdfReceiptCanonical(const UnrdfReceipt *r, StringInfo out)
{
	const UnrdfEpoch *epoch = UnrdfEpochGet(r->epoch);
	UnrdfCanon c;

	resetStringInfo(out);
	for (;;)
	{
		c.buf = out->data;
		c.cap = out->maxlen - 1;
		c.len = 0;
		canonical(&c, r, epoch);
		if (c.len <= c.cap)
			break;
		enlargeStringInfo(out, c.len + 1);
	}
	out->len = c.len;
	out->data[out->len] = '\0';
}

/* UnrdfReceiptLeaf computes the receipt's leaf hash; scratch is overwritten with its canonical JSON. */
void
UnrdfReceiptLeaf(const UnrdfReceipt *r, StringInfo scratch, uint8 *leaf)
{
	UnrdfBytes part;

	UnrdfReceiptCanonical(r, scratch);
	part.data = scratch->data;
	part.len = scratch->len;
	if (unrdf_leaf_hash(&part, 1, leaf) != 0)
		elog(ERROR, "SHA-256 failed");
}
