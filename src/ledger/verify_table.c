/*
 * verify_table.c: compares all rows of an audited table with the last receipts that speak of them.
 *
 * Two sorts, in temporary files where they do not fit into work_mem, by the hash that stands for a row's key: what receipts
 * say, the newest first, and the rows themselves. Both are then gone through together. So a table with n rows, and m items
 * in the receipts that speak of it, takes O((n + m) log (n + m)), however many batches there are. Every batch is verified
 * once, with all its items; beyond the sorts only what is known of batches is kept in memory, a few dozen bytes for each.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/datum.h"
#include "base/output.h"
#include "ledger/record.h"
#include "ledger/verify_row.h"

#define FETCH_ROWS 1000

/* What a receipt says of a row, as it is sorted: bytes that compare as they should. */
typedef struct Said
{
	uint8 key[UNRDF_ROW_KEY_LEN];
	uint64 age; /* in network order; falls with the receipt's id */
	uint64 index;
	uint8 is_item; /* of a batch; else the receipt is the row's own */
	uint8 erased;
	uint8 salt[UNRDF_SALT_LEN];
	uint8 leaf[UNRDF_HASH_LEN];
} Said;

/* What a batch's receipt says. */
typedef struct Payload
{
	int64 receipt;
	Jsonb *payload;
} Payload;

typedef struct Walk
{
	UnrdfRowJudge judge;
	ReturnSetInfo *result;
	Tuplesortstate *said;
	Tuplesortstate *rows;
	HTAB *payloads;
	MemoryContext row_context; /* of one row */
	int64 receipt;             /* whose items are being collected */
	bool has_said;             /* next is one that has not been judged by */
	Said next;
	bool has_row; /* so is row */
	uint8 row_key[UNRDF_ROW_KEY_LEN];
	TupleTableSlot *row;
} Walk;

static int64
receipt_of(const Said *said)
{
	return (int64) (PG_UINT64_MAX - pg_ntoh64(said->age));
}

/* Adds what was found wrong. */
static void
report(Walk *w, Datum key, bool no_key, UnrdfRowVerdict verdict, int64 receipt, const char *reason)
{
	Datum values[4] = {key};
	bool nulls[4] = {no_key, false, receipt == 0, reason == NULL};

	values[1] = CStringGetTextDatum(UnrdfRowVerdictNames[verdict]);
	values[2] = Int64GetDatum(receipt);
	if (reason)
		values[3] = CStringGetTextDatum(reason);
	tuplestore_putvalues(w->result->setResult, w->result->setDesc, values, nulls);
}

static void
put_said(Walk *w, const Said *said)
{
	Datum bytes = UnrdfBytesDatum(said, sizeof(Said));

	tuplesort_putdatum(w->said, bytes, false);
	pfree(DatumGetPointer(bytes));
}

static void
put_item(void *arg, const uint8 *key, uint64 index, const uint8 *salt, const uint8 *leaf)
{
	Walk *w = arg;
	Said said = {.is_item = 1, .erased = salt == NULL, .index = index};

	memcpy(said.key, key, UNRDF_ROW_KEY_LEN);
	said.age = pg_hton64(PG_UINT64_MAX - (uint64) w->receipt);
	if (salt)
		memcpy(said.salt, salt, UNRDF_SALT_LEN);
	memcpy(said.leaf, leaf, UNRDF_HASH_LEN);
	put_said(w, &said);
}

/* Collects the items of all batches of the table. One that does not verify speaks for no row, and is reported. */
static void
put_batches(Walk *w)
{
	UnrdfLookup batches;
	MemoryContext old = MemoryContextSwitchTo(w->judge.context);

	UnrdfLookupBegin(&batches, UNRDF_BATCH_ROW, UNRDF_BATCH_AUDITED_IDX);
	UnrdfLookupKey(&batches, 1, BTEqualStrategyNumber, F_INT4EQ,
				   Int32GetDatum(w->judge.audited.id));
	UnrdfLookupKey(&batches, 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(w->judge.horizon));
	UnrdfLookupStart(&batches);
	while (UnrdfLookupNext(&batches, ForwardScanDirection))
	{
		UnrdfVerdict verdict;
		const char *reason;
		bool isnull;

		MemoryContextSwitchTo(w->row_context);
		w->receipt = DatumGetInt64(slot_getattr(batches.slot, BATCH_RECEIPT + 1, &isnull));
		verdict = UnrdfVerify(w->receipt, &reason, NULL);
		if (verdict == UNRDF_VERDICT_BAD || verdict == UNRDF_VERDICT_MISSING)
			report(w, (Datum) 0, true, UNRDF_ROW_BAD, w->receipt, reason);
		else if (UnrdfBatchOpen(&w->judge.batches, w->receipt))
			UnrdfBatchItems(&w->judge.batches, put_item, w);
		MemoryContextReset(w->row_context);
	}
	UnrdfLookupEnd(&batches);
	MemoryContextSwitchTo(old);
}

/* Reads the key's hash at the end of a row's subject. */
static bool
read_subject(TupleTableSlot *slot, int prefix, uint8 *key)
{
	bool isnull;
	text *subject = DatumGetTextPP(slot_getattr(slot, RECEIPT_SUBJECT + 1, &isnull));

	char *hex = text_to_cstring(subject) + prefix;

	if (strspn(hex, "0123456789abcdef") != 2 * UNRDF_ROW_KEY_LEN ||
		hex[2 * UNRDF_ROW_KEY_LEN] != '\0')
		return false;
	(void) hex_decode(hex, 2 * UNRDF_ROW_KEY_LEN, (char *) key);
	return true;
}

/* Collects the receipts of single rows. */
static void
put_receipts(Walk *w)
{
	char *prefix = psprintf(UNRDF_AUDIT_SUBJECT_PREFIX "%d/row/", w->judge.audited.id);
	char *end = psprintf(UNRDF_AUDIT_SUBJECT_PREFIX "%d/row0", w->judge.audited.id);
	UnrdfLookup *subjects = &w->judge.subjects;
	MemoryContext old;

	UnrdfLookupKey(subjects, 1, BTGreaterEqualStrategyNumber, F_TEXT_GE,
				   CStringGetTextDatum(prefix));
	UnrdfLookupKey(subjects, 1, BTLessStrategyNumber, F_TEXT_LT, CStringGetTextDatum(end));
	UnrdfLookupStart(subjects);
	while (UnrdfLookupNext(subjects, ForwardScanDirection))
	{
		Said said = {.is_item = 0};
		int64 receipt;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(w->row_context);
		receipt = DatumGetInt64(slot_getattr(subjects->slot, RECEIPT_ID + 1, &isnull));
		said.age = pg_hton64(PG_UINT64_MAX - (uint64) receipt);
		if (receipt > w->judge.horizon && read_subject(subjects->slot, strlen(prefix), said.key))
			put_said(w, &said);
		MemoryContextSwitchTo(old);
		MemoryContextReset(w->row_context);
	}
}

static void
put_row(Walk *w, TupleTableSlot *slot)
{
	MinimalTuple tuple = ExecCopySlotMinimalTuple(slot);
	Size len = UNRDF_ROW_KEY_LEN + tuple->t_len;
	bytea *bytes = palloc(VARHDRSZ + len);

	UnrdfShapeRow(w->judge.whole, slot);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), w->judge.whole->hash, UNRDF_ROW_KEY_LEN);
	memcpy(VARDATA(bytes) + UNRDF_ROW_KEY_LEN, tuple, tuple->t_len);
	tuplesort_putdatum(w->rows, PointerGetDatum(bytes), false);
}

/* Collects the table's rows, as the caller may read them. */
static void
put_rows(Walk *w)
{
	SPIPlanPtr plan = SPI_prepare(UnrdfJudgeQuery(&w->judge), 0, NULL);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(w->judge.desc, &TTSOpsHeapTuple);
	Portal cursor;

	if (plan == NULL)
		elog(ERROR, "could not read the table");
	cursor = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	do
	{
		MemoryContext old;

		SPI_cursor_fetch(cursor, true, FETCH_ROWS);
		old = MemoryContextSwitchTo(w->row_context);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			CHECK_FOR_INTERRUPTS();
			ExecStoreHeapTuple(SPI_tuptable->vals[i], slot, false);
			put_row(w, slot);
			MemoryContextReset(w->row_context);
		}
		MemoryContextSwitchTo(old);
		ExecClearTuple(slot);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(cursor);
	ExecDropSingleTupleTableSlot(slot);
}

static void
next_said(Walk *w)
{
	Datum value;
	bool isnull;

	w->has_said = unrdf_tuplesort_getdatum(w->said, &value, &isnull);
	if (w->has_said)
		memcpy(&w->next, VARDATA_ANY(DatumGetPointer(value)), sizeof(Said));
}

static void
next_row(Walk *w)
{
	Datum value;
	bool isnull;
	char *bytes;
	MinimalTuple tuple;
	Size len;

	w->has_row = unrdf_tuplesort_getdatum(w->rows, &value, &isnull);
	if (!w->has_row)
		return;
	bytes = VARDATA_ANY(DatumGetPointer(value));
	len = VARSIZE_ANY_EXHDR(DatumGetPointer(value)) - UNRDF_ROW_KEY_LEN;
	memcpy(w->row_key, bytes, UNRDF_ROW_KEY_LEN);
	tuple = MemoryContextAlloc(w->judge.context, len);
	memcpy(tuple, bytes + UNRDF_ROW_KEY_LEN, len);
	ExecStoreMinimalTuple(tuple, w->row, true);
}

/* Takes what the newest receipt says of next's row, and passes over what older ones say. Returns the number of items. */
static int
take_said(Walk *w, Said *first, UnrdfRowItem *items)
{
	int n = 0;

	*first = w->next;
	do
	{
		if (w->next.age == first->age && n < UNRDF_ROW_ITEMS)
		{
			items[n].index = w->next.index;
			items[n].erased = w->next.erased != 0;
			memcpy(items[n].salt, w->next.salt, UNRDF_SALT_LEN);
			memcpy(items[n++].leaf, w->next.leaf, UNRDF_HASH_LEN);
		}
		next_said(w);
	} while (w->has_said && memcmp(w->next.key, first->key, UNRDF_ROW_KEY_LEN) == 0);
	return n;
}

/* The payload of a batch's receipt, which has been verified; kept, since rows ask for it in any order. */
static Jsonb *
payload_of(Walk *w, int64 receipt)
{
	bool found;
	Payload *entry = hash_search(w->payloads, &receipt, HASH_ENTER, &found);

	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(w->judge.context);
		UnrdfReceipt r;

		if (!UnrdfReceiptFetch(receipt, &r))
			elog(ERROR, "receipt " INT64_FORMAT " vanished", receipt);
		entry->payload = r.payload;
		MemoryContextSwitchTo(old);
	}
	return entry->payload;
}

/* The key of a row, as far as it is known. */
static Datum
key_of(Walk *w, TupleTableSlot *live, const Said *said, bool *unknown)
{
	UnrdfReceipt r;
	JsonbValue key;

	*unknown = false;
	if (live)
	{
		UnrdfShapeRow(w->judge.whole, live);
		return JsonbPGetDatum(UnrdfJsonbOf(
			pg_any_to_server(w->judge.whole->key.data, w->judge.whole->key.len, PG_UTF8)));
	}
	*unknown = said->is_item || !UnrdfReceiptFetch(receipt_of(said), &r) || r.payload == NULL ||
			   !JB_ROOT_IS_OBJECT(r.payload) ||
			   getKeyJsonValueFromContainer(&r.payload->root, "key", 3, &key) == NULL;
	return *unknown ? (Datum) 0 : JsonbPGetDatum(JsonbValueToJsonb(&key));
}

/* Judges one row, or the lack of it, by what was said of it. */
static void
judge_row(Walk *w, TupleTableSlot *live, const Said *said, const UnrdfRowItem *items, int n)
{
	UnrdfRowVerdict verdict = UNRDF_ROW_UNKNOWN;
	const char *reason = NULL;
	bool unknown;
	Datum key;

	if (said && said->is_item)
	{
		memcpy(w->judge.whole->hash, said->key, UNRDF_ROW_KEY_LEN);
		verdict =
			UnrdfJudgeItems(&w->judge, payload_of(w, receipt_of(said)), items, n, live, &reason);
	}
	else if (said)
		verdict = UnrdfJudgeReceipt(&w->judge, receipt_of(said), live, &reason);
	if (verdict == UNRDF_ROW_OK || verdict == UNRDF_ROW_DELETED)
		return;
	key = key_of(w, live, said, &unknown);
	report(w, key, unknown, verdict, said ? receipt_of(said) : 0, reason);
}

/* Goes through both sorts together. */
static void
merge(Walk *w)
{
	tuplesort_performsort(w->said);
	tuplesort_performsort(w->rows);
	next_said(w);
	next_row(w);
	while (w->has_said || w->has_row)
	{
		int order = !w->has_said  ? 1
					: !w->has_row ? -1
								  : memcmp(w->next.key, w->row_key, UNRDF_ROW_KEY_LEN);
		MemoryContext old = MemoryContextSwitchTo(w->row_context);
		UnrdfRowItem items[UNRDF_ROW_ITEMS];
		Said said;
		int n = 0;

		CHECK_FOR_INTERRUPTS();
		if (order <= 0)
			n = take_said(w, &said, items);
		judge_row(w, order >= 0 ? w->row : NULL, order <= 0 ? &said : NULL, items, n);
		if (order >= 0)
			next_row(w);
		MemoryContextSwitchTo(old);
		MemoryContextReset(w->row_context);
	}
}

static HTAB *
make_payloads(void)
{
	HASHCTL control = {
		.keysize = sizeof(int64), .entrysize = sizeof(Payload), .hcxt = CurrentMemoryContext};

	return hash_create("unrdf batches", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static Tuplesortstate *
begin_sort(void)
{
	return tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false, work_mem, NULL, 0);
}

/*
 * UnrdfVerifyTable puts every row that is not as the last receipt about it says into the result: key, verdict, receipt, reason.
 * Where a batch said that a row exists which is missing, its key is not known. Raises what UnrdfJudgeBegin raises.
 */
void
UnrdfVerifyTable(Oid relation, ReturnSetInfo *result)
{
	Walk w = {.result = result};
	int level = UnrdfPinOutput();

	SPI_connect();
	UnrdfJudgeBegin(&w.judge, relation);
	w.row_context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf verified row", ALLOCSET_DEFAULT_SIZES);
	w.payloads = make_payloads();
	w.row = MakeSingleTupleTableSlot(w.judge.desc, &TTSOpsMinimalTuple);
	w.said = begin_sort();
	w.rows = begin_sort();
	put_batches(&w);
	put_receipts(&w);
	put_rows(&w);
	merge(&w);
	tuplesort_end(w.said);
	tuplesort_end(w.rows);
	ExecDropSingleTupleTableSlot(w.row);
	UnrdfJudgeEnd(&w.judge);
	SPI_finish();
	UnrdfUnpinOutput(level);
}
