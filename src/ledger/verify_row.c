/*
 * verify_row.c: compares a row of an audited table with the last receipt that speaks of it.
 *
 * That is the one with the highest id among the newest of the row's own subject, found by index, and the newest batch that has
 * an item for it: those of the table are looked into from the newest back to the row's own receipt, each for the price of one
 * or two slices of every 65,536 items. Receipts from before the newest about the table itself (it was truncated, or audited
 * anew) say nothing any more.
 *
 * The row is read by a query of the caller's, so that it takes his rights; where row security would hide rows it is refused.
 * Canonical bytes are made of the row, and compared with what the receipt commits to: the receipt itself is verified, and its
 * payload has to lead to them. What this cannot see is a receipt that was taken away together with its place in the index:
 * verify_all finds that.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/jsonb_canonical.h"
#include "base/output.h"
#include "ledger/record.h"
#include "ledger/verify_row.h"

const char *const UnrdfRowVerdictNames[] = {"ok",      "deleted", "differs", "missing",
											"unknown", "erased",  "bad"};

/* A list of columns that receipts have named, and how rows with those are made. */
typedef struct Known
{
	List *columns;
	UnrdfShape *shape;
} Known;

/* Finds the newest receipt of a subject of the table; 0 where there is none. */
static int64
newest_of(UnrdfRowJudge *judge, const char *rest)
{
	char *subject = psprintf(UNRDF_AUDIT_SUBJECT_PREFIX "%d/%s", judge->audited.id, rest);
	bool isnull;

	UnrdfLookupKey(&judge->subjects, 1, BTEqualStrategyNumber, F_TEXTEQ,
				   CStringGetTextDatum(subject));
	UnrdfLookupStart(&judge->subjects);
	if (!UnrdfLookupNext(&judge->subjects, BackwardScanDirection))
		return 0;
	return DatumGetInt64(slot_getattr(judge->subjects.slot, RECEIPT_ID + 1, &isnull));
}

/* UnrdfJudgeQuery is what reads the table's rows. */
char *
UnrdfJudgeQuery(const UnrdfRowJudge *judge)
{
	Oid relation = judge->audited.relation;

	return psprintf("SELECT t.* FROM %s AS t",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
											   get_rel_name(relation)));
}

/*
 * UnrdfJudgeBegin prepares for judging rows under the active snapshot, inside SPI_connect, in the current memory context. Raises
 * 55000 for a table that is not audited, 42501 for one that the caller must not read.
 */
void
UnrdfJudgeBegin(UnrdfRowJudge *judge, Oid relation)
{
	SPIPlanPtr plan;

	memset(judge, 0, sizeof(UnrdfRowJudge));
	judge->context = CurrentMemoryContext;
	if (get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation %u does not exist", relation)));
	if (!UnrdfAuditedFind(relation, &judge->audited) || !judge->audited.active)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not audited", get_rel_name(relation))));
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	plan = SPI_prepare(psprintf("%s LIMIT 0", UnrdfJudgeQuery(judge)), 0, NULL);
	if (plan == NULL || SPI_execute_plan(plan, NULL, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read table %u", relation);
	MemoryContextSwitchTo(judge->context);
	judge->desc = CreateTupleDescCopy(SPI_tuptable->tupdesc);
	judge->whole = UnrdfShapeMake(&judge->audited, judge->desc, NIL);
	UnrdfBatchReaderBegin(&judge->batches);
	UnrdfLookupBegin(&judge->subjects, UNRDF_RECEIPT, UNRDF_RECEIPT_SUBJECT_IDX);
	judge->horizon = newest_of(judge, "table");
}

/* UnrdfJudgeEnd closes everything. */
void
UnrdfJudgeEnd(UnrdfRowJudge *judge)
{
	UnrdfLookupEnd(&judge->subjects);
	UnrdfBatchReaderEnd(&judge->batches);
}

/* The columns that a payload has a row of, or names for its items. */
static List *
columns_of(Jsonb *payload)
{
	List *columns = NIL;
	JsonbValue container;
	JsonbIterator *each;
	JsonbIteratorToken token;
	JsonbValue v;

	if (getKeyJsonValueFromContainer(&payload->root, "columns", 7, &container) == NULL &&
		getKeyJsonValueFromContainer(&payload->root, "row", 3, &container) == NULL)
		return NIL;
	if (container.type != jbvBinary)
		return NIL;
	each = JsonbIteratorInit(container.val.binary.data);
	while ((token = JsonbIteratorNext(&each, &v, true)) != WJB_DONE)
		if (token == WJB_KEY || (token == WJB_ELEM && v.type == jbvString))
			columns = lappend(columns, pnstrdup(v.val.string.val, v.val.string.len));
	return columns;
}

static bool
same_columns(List *a, List *b)
{
	ListCell *x;
	ListCell *y;

	if (list_length(a) != list_length(b))
		return false;
	forboth (x, a, y, b)
		if (strcmp(lfirst(x), lfirst(y)) != 0)
			return false;
	return true;
}

static bool
has_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return true;
	return false;
}

static List *
copy_names(List *names)
{
	List *copy = NIL;
	ListCell *cell;

	foreach (cell, names)
		copy = lappend(copy, pstrdup(lfirst(cell)));
	return copy;
}

/* How rows have to be made to be compared with what a payload says; NULL where the table has lost a column since. */
static UnrdfShape *
shape_for(UnrdfRowJudge *judge, Jsonb *payload, const char **reason)
{
	List *columns = columns_of(payload);
	MemoryContext old;
	ListCell *cell;
	Known *known;

	foreach (cell, judge->shapes)
		if (same_columns(((Known *) lfirst(cell))->columns, columns))
			return ((Known *) lfirst(cell))->shape;
	foreach (cell, judge->audited.keys)
		if (!list_length(columns))
			columns = lappend(columns, lfirst(cell));
	foreach (cell, columns)
		if (!has_column(judge->desc, lfirst(cell)))
		{
			*reason = psprintf("table has no column \"%s\" any more", (char *) lfirst(cell));
			return NULL;
		}
	old = MemoryContextSwitchTo(judge->context);
	known = palloc(sizeof(Known));
	known->columns = copy_names(columns);
	known->shape = UnrdfShapeMake(&judge->audited, judge->desc, known->columns);
	judge->shapes = lappend(judge->shapes, known);
	MemoryContextSwitchTo(old);
	return known->shape;
}

/* Whether the row in a payload is the shape's last. */
static bool
payload_has_row(Jsonb *payload, const UnrdfShape *shape)
{
	JsonbValue row;
	char *canonical;
	size_t len;

	if (getKeyJsonValueFromContainer(&payload->root, "row", 3, &row) == NULL)
		return false;
	canonical = UnrdfCanonicalJsonb(JsonbValueToJsonb(&row), &len);
	return len == shape->row.len && memcmp(canonical, shape->row.data, len) == 0;
}

/*
 * UnrdfJudgeReceipt compares a row, NULL where there is none, with a receipt of its own. *reason says more, or is NULL.
 */
UnrdfRowVerdict
UnrdfJudgeReceipt(UnrdfRowJudge *judge, int64 receipt, TupleTableSlot *live, const char **reason)
{
	UnrdfVerdict verdict = UnrdfVerify(receipt, reason, NULL);
	UnrdfReceipt r;
	UnrdfShape *shape;

	if (verdict == UNRDF_VERDICT_BAD || verdict == UNRDF_VERDICT_MISSING ||
		!UnrdfReceiptFetch(receipt, &r))
		return UNRDF_ROW_BAD;
	if (r.kind == UNRDF_DELETE && live)
		*reason = "its receipt says that the row was deleted";
	if (r.kind == UNRDF_DELETE)
		return live ? UNRDF_ROW_DIFFERS : UNRDF_ROW_DELETED;
	if (live == NULL)
		*reason = "its receipt says that there is a row";
	if (live == NULL)
		return UNRDF_ROW_MISSING;
	if (verdict == UNRDF_VERDICT_ERASED)
		return UNRDF_ROW_ERASED;
	shape = shape_for(judge, r.payload, reason);
	if (shape == NULL)
		return UNRDF_ROW_DIFFERS;
	UnrdfShapeRow(shape, live);
	if (payload_has_row(r.payload, shape))
		return UNRDF_ROW_OK;
	*reason = "row is not as its receipt says";
	return UNRDF_ROW_DIFFERS;
}

static bool
item_is(const UnrdfRowItem *item, UnrdfShape *shape, bool exists)
{
	uint8 leaf[UNRDF_HASH_LEN];

	UnrdfShapeItem(shape, exists);
	UnrdfItemLeaf(item->salt, shape->item.data, shape->item.len, leaf);
	return memcmp(leaf, item->leaf, UNRDF_HASH_LEN) == 0;
}

/*
 * UnrdfJudgeItems compares a row with the items that speak of it in a batch with this payload, which are known to be the
 * batch's. Where there is no row, whole has its key.
 */
UnrdfRowVerdict
UnrdfJudgeItems(UnrdfRowJudge *judge, Jsonb *payload, const UnrdfRowItem *items, int n,
				TupleTableSlot *live, const char **reason)
{
	UnrdfShape *shape = judge->whole;
	bool deleted = true;

	if (items[0].erased)
		return UNRDF_ROW_ERASED;
	if (live)
	{
		shape = shape_for(judge, payload, reason);
		if (shape == NULL)
			return UNRDF_ROW_DIFFERS;
		UnrdfShapeRow(shape, live);
	}
	for (int i = 0; i < n; i++)
	{
		if (live && item_is(&items[i], shape, true))
			return UNRDF_ROW_OK;
		deleted = deleted && item_is(&items[i], shape, false);
	}
	if (live)
		*reason = deleted ? "its receipt says that the row was deleted"
						  : "row is not as its receipt says";
	if (live)
		return UNRDF_ROW_DIFFERS;
	if (!deleted)
		*reason = "its receipt says that there is a row";
	return deleted ? UNRDF_ROW_DELETED : UNRDF_ROW_MISSING;
}

/* The items of one batch that speak of a row. */
typedef struct Found
{
	int n;
	UnrdfRowItem items[UNRDF_ROW_ITEMS];
} Found;

static void
collect(void *arg, const uint8 *key, uint64 index, const uint8 *salt, const uint8 *leaf)
{
	Found *found = arg;
	UnrdfRowItem *item = &found->items[found->n];

	if (found->n == UNRDF_ROW_ITEMS)
		return;
	item->index = index;
	item->erased = salt == NULL;
	if (salt)
		memcpy(item->salt, salt, UNRDF_SALT_LEN);
	memcpy(item->leaf, leaf, UNRDF_HASH_LEN);
	found->n++;
}

/* Finds the newest batch after a receipt that speaks of the key; 0 where there is none. Leaves it open. */
static int64
find_batch(UnrdfRowJudge *judge, const uint8 *key, int64 after, Found *found)
{
	UnrdfLookup batches;
	int64 receipt = 0;
	bool isnull;

	UnrdfLookupBegin(&batches, UNRDF_BATCH_ROW, UNRDF_BATCH_AUDITED_IDX);
	UnrdfLookupKey(&batches, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(judge->audited.id));
	UnrdfLookupKey(&batches, 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(after));
	UnrdfLookupStart(&batches);
	found->n = 0;
	while (found->n == 0 && UnrdfLookupNext(&batches, BackwardScanDirection))
	{
		receipt = DatumGetInt64(slot_getattr(batches.slot, BATCH_RECEIPT + 1, &isnull));
		if (!UnrdfBatchOpen(&judge->batches, receipt) ||
			!UnrdfBatchFind(&judge->batches, key, collect, found))
			break;
		if (found->n == 0)
			receipt = 0;
	}
	UnrdfLookupEnd(&batches);
	return receipt;
}

/* Judges a row by a batch: the receipt has to verify, and to prove the items that were found. */
static UnrdfRowVerdict
judge_batch(UnrdfRowJudge *judge, int64 receipt, const Found *found, TupleTableSlot *live,
			const char **reason)
{
	UnrdfVerdict verdict = UnrdfVerifyWithoutItems(receipt, reason);
	UnrdfItemProof proof;
	UnrdfReceipt r;

	if (verdict == UNRDF_VERDICT_BAD || verdict == UNRDF_VERDICT_MISSING ||
		!UnrdfReceiptFetch(receipt, &r))
		return UNRDF_ROW_BAD;
	for (int i = 0; i < Max(found->n, 1); i++)
		if (found->n == 0 || !UnrdfBatchProve(&judge->batches, found->items[i].index, &proof) ||
			!UnrdfBatchHasRoot(&r, proof.root))
		{
			*reason = "the row's item is not proved by its batch's receipt";
			return UNRDF_ROW_BAD;
		}
	return UnrdfJudgeItems(judge, r.payload, found->items, found->n, live, reason);
}

/* The values of a key that was given as text. Raises 22023 where there are too few or many, 22004 for a null. */
static Datum *
read_key(const UnrdfRowJudge *judge, ArrayType *key, Oid *types)
{
	UnrdfShape *shape = judge->whole;
	Datum *elements;
	bool *nulls;
	int n;

	deconstruct_array(key, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n != shape->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the key has %d values; the table's has %d columns", n, shape->nkeys)));
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute column =
			TupleDescAttr(judge->desc, shape->columns[shape->keys[i]].attnum - 1);
		Oid input;
		Oid io_param;

		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("values of a key must not be null")));
		types[i] = column->atttypid;
		getTypeInputInfo(types[i], &input, &io_param);
		elements[i] = OidInputFunctionCall(input, TextDatumGetCString(elements[i]), io_param,
										   column->atttypmod);
	}
	return elements;
}

/* The equality operator of a type, which the key's unique index has too, as SQL. Raises 42883 where there is none. */
static char *
equality_of(Oid type)
{
	Oid operator= lookup_type_cache(getBaseType(type), TYPECACHE_EQ_OPR)->eq_opr;
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char *sql;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("type %s has no equality operator", format_type_be(type))));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	sql = psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
				   NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return sql;
}

/* Reads the row of a key; NULL where there is none. */
static TupleTableSlot *
read_row(UnrdfRowJudge *judge, Oid *types, Datum *values)
{
	StringInfoData query;
	TupleTableSlot *slot;
	ListCell *cell;

	initStringInfo(&query);
	appendStringInfo(&query, "%s WHERE ", UnrdfJudgeQuery(judge));
	foreach (cell, judge->audited.keys)
	{
		int i = foreach_current_index(cell);

		appendStringInfo(&query, "%st.%s %s $%d", i == 0 ? "" : " AND ",
						 quote_identifier(lfirst(cell)), equality_of(types[i]), i + 1);
	}
	if (SPI_execute_with_args(query.data, list_length(judge->audited.keys), types, values, NULL,
							  true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", query.data);
	if (SPI_processed == 0)
		return NULL;
	slot = MakeSingleTupleTableSlot(judge->desc, &TTSOpsHeapTuple);
	ExecStoreHeapTuple(SPI_tuptable->vals[0], slot, false);
	return slot;
}

/*
 * UnrdfVerifyRow compares the row of a key, given as text in the order of the key's columns, with the last receipt that speaks
 * of it; *receipt is that, or 0. *reason says more, or is NULL. Raises what UnrdfJudgeBegin raises, and 22023 for a key of
 * another table.
 */
UnrdfRowVerdict
UnrdfVerifyRow(Oid relation, ArrayType *key, int64 *receipt, const char **reason)
{
	UnrdfRowJudge judge;
	UnrdfRowVerdict verdict;
	TupleTableSlot *live;
	Datum *values;
	Oid *types;
	char hex[2 * UNRDF_ROW_KEY_LEN + 1];
	int64 batch;
	Found found;
	int level = UnrdfPinOutput();
	MemoryContext context = CurrentMemoryContext;

	SPI_connect();
	UnrdfJudgeBegin(&judge, relation);
	types = palloc(judge.whole->nkeys * sizeof(Oid));
	values = read_key(&judge, key, types);
	UnrdfShapeKey(judge.whole, values);
	hex[hex_encode((const char *) judge.whole->hash, UNRDF_ROW_KEY_LEN, hex)] = '\0';
	live = read_row(&judge, types, values);
	*reason = NULL;
	*receipt = newest_of(&judge, psprintf("row/%s", hex));
	*receipt = *receipt < judge.horizon ? 0 : *receipt;
	batch = find_batch(&judge, judge.whole->hash, Max(*receipt, judge.horizon), &found);
	if (batch)
	{
		*receipt = batch;
		verdict = judge_batch(&judge, batch, &found, live, reason);
	}
	else if (*receipt)
		verdict = UnrdfJudgeReceipt(&judge, *receipt, live, reason);
	else
	{
		verdict = live ? UNRDF_ROW_UNKNOWN : UNRDF_ROW_DELETED;
		*reason = live ? NULL : "there is no such row, and no receipt of one";
	}
	if (*reason)
		*reason = MemoryContextStrdup(context, *reason);
	UnrdfJudgeEnd(&judge);
	SPI_finish();
	UnrdfUnpinOutput(level);
	return verdict;
}
