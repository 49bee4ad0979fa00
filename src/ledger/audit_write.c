/*
 * audit_write.c: receipts of what statements do to the rows of audited tables.
 *
 * A statement that touches one row writes a receipt about that row: subject audit/<table>/row/<key's hash>, chained, with key
 * and row as payload. One that touches more writes one receipt of kind batch, subject audit/<table>/rows. So does one whose row
 * is too large for a payload: no row is refused. Truncating, and auditing itself, write one about the table: what older
 * receipts say of its rows is over with that.
 *
 * The order of two receipts about a row is that of their ids. Nothing is locked for that, so that auditing adds no deadlock:
 * who writes a row, or inserts one in place of it, waits for whoever wrote it last, by the row's lock or the unique index that
 * the key has to have, until that transaction ends; and a receipt's id is drawn after its row was written. For the same reason
 * the newest committed receipt of a row's subject is the one to link to. Batches have no chain: it would make all who write to
 * a table wait for each other. Truncating and auditing lock the table.
 *
 * An UPDATE that changes a key deletes the one row and creates the other. In a batch where keys move from row to row, a row
 * that exists outdoes the same key's deletion.
 *
 * The actor is the current user: who runs the statement, or the owner of the SECURITY DEFINER function that does, or of a table
 * whose foreign key cascades. The payload names the session's user as well.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/output.h"
#include "ledger/audit.h"
#include "ledger/record.h"

/* What one statement does to one table. */
typedef struct Writing
{
	const UnrdfAudited *audited;
	Relation relation;
	const char *operation;
	UnrdfShape *shape;
	UnrdfBatch *batch; /* NULL: a receipt of its own for each row */
} Writing;

static text *
subject_of(const UnrdfAudited *audited, const char *rest)
{
	return cstring_to_text(psprintf(UNRDF_AUDIT_SUBJECT_PREFIX "%d/%s", audited->id, rest));
}

/* Appends who and where, as the last members of a payload, and ends it. */
static void
append_circumstances(StringInfo json, Relation relation)
{
	appendStringInfoString(json, "\"session\": ");
	escape_json(json, GetUserNameFromId(GetSessionUserId(), false));
	appendStringInfoString(json, ", \"table\": ");
	escape_json(json, quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
												 RelationGetRelationName(relation)));
	appendStringInfoChar(json, '}');
}

/* The receipt of a batch: its payload names the columns that its rows have. */
static void
write_batch(Writing *w, UnrdfBatch *batch)
{
	StringInfoData payload;
	int64 id;

	initStringInfo(&payload);
	appendStringInfoChar(&payload, '{');
	id = UnrdfBatchEnd(batch, &payload);
	appendStringInfoString(&payload, ", \"columns\": [");
	for (int i = 0; i < w->shape->n; i++)
	{
		if (i > 0)
			appendStringInfoString(&payload, ", ");
		escape_json(&payload, w->shape->columns[i].bare_name);
	}
	appendStringInfoString(&payload, "], ");
	append_circumstances(&payload, w->relation);
	UnrdfWriteReceipt(id, UNRDF_BATCH, subject_of(w->audited, "rows"), false,
					  UnrdfJsonbOf(payload.data), cstring_to_text(w->operation));
}

static void
append_utf8(StringInfo json, const StringInfoData *utf8)
{
	appendStringInfoString(json, pg_any_to_server(utf8->data, utf8->len, PG_UTF8));
}

/* The receipt of one row, with its key. */
static void
write_row(Writing *w, UnrdfKind kind)
{
	char hex[2 * UNRDF_ROW_KEY_LEN + 1];
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"key\": ");
	append_utf8(&payload, &w->shape->key);
	if (kind != UNRDF_DELETE)
	{
		appendStringInfoString(&payload, ", \"row\": ");
		append_utf8(&payload, &w->shape->row);
	}
	appendStringInfoString(&payload, ", ");
	append_circumstances(&payload, w->relation);
	hex[hex_encode((const char *) w->shape->hash, UNRDF_ROW_KEY_LEN, hex)] = '\0';
	UnrdfWriteReceipt(0, kind, subject_of(w->audited, psprintf("row/%s", hex)), true,
					  UnrdfJsonbOf(payload.data), cstring_to_text(w->operation));
}

/* Says of the shape's last row that it exists now, or that it is gone. */
static void
say(Writing *w, UnrdfKind kind)
{
	UnrdfShape *shape = w->shape;
	UnrdfBatch *batch = w->batch;

	UnrdfShapeItem(shape, kind != UNRDF_DELETE);
	if (batch == NULL && shape->item.len <= unrdf_max_args_size * (int64) 1024)
	{
		write_row(w, kind);
		return;
	}
	if (batch == NULL)
		batch = UnrdfBatchBegin(w->audited->id);
	UnrdfBatchAdd(batch, shape->hash, shape->item.data, shape->item.len);
	if (batch != w->batch)
		write_batch(w, batch);
}

/* Makes the shape's key that of a slot's row. */
static void
key_of(UnrdfShape *shape, TupleTableSlot *slot, Datum *keys)
{
	slot_getallattrs(slot);
	for (int i = 0; i < shape->nkeys; i++)
		keys[i] = slot->tts_values[shape->columns[shape->keys[i]].attnum - 1];
	UnrdfShapeKey(shape, keys);
}

/* Goes through the statement's rows, which come in the same order from both tables of an UPDATE. */
static void
say_transitions(Writing *w, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	TupleDesc desc = RelationGetDescr(w->relation);
	TupleTableSlot *old_row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new_row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	UnrdfShape *shape = w->shape;
	Datum *keys = palloc(shape->nkeys * sizeof(Datum));
	uint8 hash[UNRDF_ROW_KEY_LEN];

	for (;;)
	{
		bool has_old = old_rows && tuplestore_gettupleslot(old_rows, true, false, old_row);
		bool has_new = new_rows && tuplestore_gettupleslot(new_rows, true, false, new_row);

		CHECK_FOR_INTERRUPTS();
		if (!has_old && !has_new)
			break;
		if (has_old)
		{
			key_of(shape, old_row, keys);
			memcpy(hash, shape->hash, UNRDF_ROW_KEY_LEN);
		}
		if (has_new)
			UnrdfShapeRow(shape, new_row);
		if (has_old && has_new && memcmp(hash, shape->hash, UNRDF_ROW_KEY_LEN) == 0)
		{
			say(w, UNRDF_UPDATE);
			continue;
		}
		if (has_old)
		{
			key_of(shape, old_row, keys);
			say(w, UNRDF_DELETE);
		}
		if (has_new)
		{
			UnrdfShapeRow(shape, new_row);
			say(w, UNRDF_CREATE);
		}
	}
	ExecDropSingleTupleTableSlot(old_row);
	ExecDropSingleTupleTableSlot(new_row);
}

static int64
count_of(Tuplestorestate *rows)
{
	return rows ? tuplestore_tuple_count(rows) : 0;
}

/* The rows of an INSERT, UPDATE or DELETE. */
static void
audit_rows(TriggerData *trigger, const UnrdfAudited *audited)
{
	Writing w = {.audited = audited, .relation = trigger->tg_relation};
	Tuplestorestate *old_rows = trigger->tg_oldtable;
	Tuplestorestate *new_rows = trigger->tg_newtable;
	int64 n = Max(count_of(old_rows), count_of(new_rows));
	int level;

	if (n == 0)
		return;
	w.operation = TRIGGER_FIRED_BY_INSERT(trigger->tg_event)   ? "insert"
				  : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update"
															   : "delete";
	level = UnrdfPinOutput();
	w.shape = UnrdfShapeMake(audited, RelationGetDescr(w.relation), NIL);
	if (n > 1)
		w.batch = UnrdfBatchBegin(audited->id);
	say_transitions(&w, old_rows, new_rows);
	if (w.batch)
		write_batch(&w, w.batch);
	UnrdfUnpinOutput(level);
}

static void
scan(Writing *w, Relation relation, UnrdfKind kind)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc rows = table_beginscan(relation, snapshot, 0, NULL);

	while (table_scan_getnextslot(rows, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (w->batch == NULL)
			w->batch = UnrdfBatchBegin(w->audited->id);
		UnrdfShapeRow(w->shape, slot);
		say(w, kind);
	}
	table_endscan(rows);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/*
 * UnrdfAuditRows writes one batch that says of all rows of these relations, by their oids, that they exist, or that they are
 * gone. The first is the audited table or one of its partitions; all are locked.
 */
void
UnrdfAuditRows(const UnrdfAudited *audited, List *relations, bool exist, const char *operation)
{
	Writing w = {.audited = audited, .operation = operation};
	int level = UnrdfPinOutput();
	ListCell *cell;

	w.relation = table_open(linitial_oid(relations), NoLock);
	foreach (cell, relations)
	{
		Relation relation = table_open(lfirst_oid(cell), NoLock);

		w.shape = UnrdfShapeMake(audited, RelationGetDescr(relation), NIL);
		if (RELKIND_HAS_STORAGE(relation->rd_rel->relkind))
			scan(&w, relation, exist ? UNRDF_CREATE : UNRDF_DELETE);
		table_close(relation, NoLock);
	}
	if (w.batch)
		write_batch(&w, w.batch);
	table_close(w.relation, NoLock);
	UnrdfUnpinOutput(level);
}

/*
 * UnrdfAuditTableReceipt writes a receipt about the table, which is locked against writers: with it ends what older ones say
 * of its rows.
 */
void
UnrdfAuditTableReceipt(const UnrdfAudited *audited, Relation relation, UnrdfKind kind,
					   const char *operation)
{
	StringInfoData payload;

	initStringInfo(&payload);
	appendStringInfoChar(&payload, '{');
	append_circumstances(&payload, relation);
	UnrdfWriteReceipt(0, kind, subject_of(audited, "table"), true, UnrdfJsonbOf(payload.data),
					  cstring_to_text(operation));
}

/*
 * UnrdfAuditStatement writes the receipts of a statement, for a trigger of the audited table or one of its partitions. Of a
 * partition that is truncated the rows are named: the table's others stay.
 */
void
UnrdfAuditStatement(TriggerData *trigger, const UnrdfAudited *audited)
{
	Relation relation = trigger->tg_relation;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf audit", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	if (!TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		audit_rows(trigger, audited);
	else if (relation->rd_rel->relispartition)
		UnrdfAuditRows(audited, list_make1_oid(RelationGetRelid(relation)), false, "truncate");
	else
		UnrdfAuditTableReceipt(audited, relation, UNRDF_DELETE, "truncate");
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
