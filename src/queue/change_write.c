/*
 * change_write.c: jobs of what statements do to the rows of tables.
 *
 * A job is enqueued in the statement's transaction, after the statement has changed its rows, so it comes to be with them or not at all.
 * A writer is never refused because of what his rows are: values are text, as PostgreSQL writes them whatever the session's settings,
 * so that no number is one that canonical JSON cannot carry, and a row that is too large for a job's arguments goes by its key.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/sysattr.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/output.h"
#include "queue/change.h"
#include "queue/job.h"

/* What one call of a trigger works with. */
typedef struct Writing
{
	const UnrdfChangeHandler *h;
	Relation relation;
	const char *event;
	Size limit; /* bytes that a job's arguments may have */
} Writing;

/* The rows of one job, of a statement. */
typedef struct Rows
{
	StringInfoData json;
	int n;
	int part; /* of the statement's, from 1 */
} Rows;

static bool
is_shown(Form_pg_attribute attribute)
{
	return !attribute->attisdropped && !unrdf_is_virtual(attribute);
}

static void
append_member(StringInfo json, bool first, const char *name)
{
	if (!first)
		appendStringInfoString(json, ", ");
	escape_json(json, name);
	appendStringInfoString(json, ": ");
}

/* Appends columns of a row as an object: those of a set, by their number as sets of an index have it, or all where it is NULL. */
static void
append_columns(StringInfo json, TupleDesc desc, TupleTableSlot *slot, Bitmapset *only)
{
	bool first = true;

	slot_getallattrs(slot);
	appendStringInfoChar(json, '{');
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Oid output;
		bool varlena;

		if (!is_shown(attribute) ||
			(only && !bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, only)))
			continue;
		append_member(json, first, NameStr(attribute->attname));
		first = false;
		if (slot->tts_isnull[i])
		{
			appendStringInfoString(json, "null");
			continue;
		}
		getTypeOutputInfo(attribute->atttypid, &output, &varlena);
		escape_json(json, OidOutputFunctionCall(output, slot->tts_values[i]));
	}
	appendStringInfoChar(json, '}');
}

/* Whether a row is certainly too large, without making text of it. */
static bool
is_large(TupleDesc desc, TupleTableSlot *slot, Size limit)
{
	Size size = 0;

	if (slot == NULL)
		return false;
	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
		if (is_shown(TupleDescAttr(desc, i)) && !slot->tts_isnull[i] &&
			TupleDescAttr(desc, i)->attlen == -1)
			size += toast_raw_datum_size(slot->tts_values[i]);
	return size > limit;
}

static bool
differs(TupleDesc desc, int i, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, i);

	if (old_row->tts_isnull[i] || new_row->tts_isnull[i])
		return old_row->tts_isnull[i] != new_row->tts_isnull[i];
	return !datum_image_eq(old_row->tts_values[i], new_row->tts_values[i], attribute->attbyval,
						   attribute->attlen);
}

/* Whether an update changed a column that counts. One that is no column any more, by that name, counts as changed. */
static bool
counts(const Writing *w, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	TupleDesc desc = RelationGetDescr(w->relation);
	ListCell *cell;

	if (w->h->columns == NIL || old_row == NULL || new_row == NULL)
		return true;
	slot_getallattrs(old_row);
	slot_getallattrs(new_row);
	foreach (cell, w->h->columns)
	{
		AttrNumber column = get_attnum(RelationGetRelid(w->relation), lfirst(cell));

		if (column <= 0 || differs(desc, column - 1, old_row, new_row))
			return true;
	}
	return false;
}

static void
append_changed(StringInfo json, TupleDesc desc, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	bool first = true;

	slot_getallattrs(old_row);
	slot_getallattrs(new_row);
	appendStringInfoChar(json, '[');
	for (int i = 0; i < desc->natts; i++)
	{
		if (!is_shown(TupleDescAttr(desc, i)) || !differs(desc, i, old_row, new_row))
			continue;
		if (!first)
			appendStringInfoString(json, ", ");
		first = false;
		escape_json(json, NameStr(TupleDescAttr(desc, i)->attname));
	}
	appendStringInfoChar(json, ']');
}

/* Appends the members that say what became of a row: old, new and changed; or key, changed and truncated. */
static void
append_change(const Writing *w, StringInfo json, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	TupleDesc desc = RelationGetDescr(w->relation);
	bool large = is_large(desc, old_row, w->limit) || is_large(desc, new_row, w->limit);
	int start = json->len;

	if (old_row && !large)
	{
		append_member(json, true, "old");
		append_columns(json, desc, old_row, NULL);
	}
	if (new_row && !large)
	{
		append_member(json, old_row == NULL, "new");
		append_columns(json, desc, new_row, NULL);
	}
	if (large || json->len - start > w->limit)
	{
		Bitmapset *key = RelationGetIndexAttrBitmap(w->relation, INDEX_ATTR_BITMAP_PRIMARY_KEY);

		json->len = start;
		append_member(json, true, "truncated");
		appendStringInfoString(json, "true");
		append_member(json, false, "key");
		if (bms_is_empty(key))
			appendStringInfoString(json, "null");
		else
			append_columns(json, desc, new_row ? new_row : old_row, key);
	}
	if (old_row && new_row)
	{
		append_member(json, false, "changed");
		append_changed(json, desc, old_row, new_row);
	}
}

/* Begins a job's arguments: whose change, and of which kind. */
static void
begin_args(const Writing *w, StringInfo json)
{
	initStringInfo(json);
	appendStringInfoChar(json, '{');
	append_member(json, true, "table");
	escape_json(json,
				quote_qualified_identifier(get_namespace_name(get_rel_namespace(w->h->relation)),
										   get_rel_name(w->h->relation)));
	append_member(json, false, "event");
	escape_json(json, w->event);
}

/* Enqueues a job, as who declared that changes become jobs. */
static void
enqueue(const Writing *w, StringInfo json)
{
	UnrdfEnqueue request = {0};

	appendStringInfoChar(json, '}');
	request.job.handler = w->h->handler;
	request.job.queue = w->h->queue;
	request.job.priority = w->h->priority;
	request.job.owner = w->h->owner;
	request.job.timeout_ms = -1;
	request.job.args = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data)));
	(void) UnrdfEnqueueOne(&request);
}

/* What a call works with. */
static Writing
writing(TriggerData *trigger, const UnrdfChangeHandler *h)
{
	Writing w = {.h = h, .relation = trigger->tg_relation};

	w.event = TRIGGER_FIRED_BY_INSERT(trigger->tg_event)   ? "insert"
			  : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "update"
			  : TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "delete"
														   : "truncate";
	w.limit = unrdf_max_args_size * (Size) 1024;
	return w;
}

/* UnrdfChangeRow enqueues a job of one row, for a row trigger. */
void
UnrdfChangeRow(TriggerData *trigger, const UnrdfChangeHandler *h)
{
	Writing w = writing(trigger, h);
	bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	TupleTableSlot *old_row =
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigslot;
	TupleTableSlot *new_row = update ? trigger->tg_newslot : trigger->tg_trigslot;
	StringInfoData json;
	int level;

	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		new_row = NULL;
	if (!counts(&w, old_row, new_row))
		return;
	level = UnrdfPinOutput();
	begin_args(&w, &json);
	appendStringInfoString(&json, ", ");
	append_change(&w, &json, old_row, new_row);
	UnrdfUnpinOutput(level);
	enqueue(&w, &json);
}

/* Enqueues a job of the rows so far, and begins anew. */
static void
enqueue_rows(const Writing *w, Rows *rows, bool more)
{
	StringInfoData json;

	if (rows->n == 0)
		return;
	begin_args(w, &json);
	appendStringInfo(&json, ", \"part\": %d, \"more\": %s, \"rows\": [", ++rows->part,
					 more ? "true" : "false");
	appendBinaryStringInfo(&json, rows->json.data, rows->json.len);
	appendStringInfoChar(&json, ']');
	enqueue(w, &json);
	resetStringInfo(&rows->json);
	rows->n = 0;
}

/* Adds what became of a row to the job; where it has no room for it, to the next one. */
static void
add_row(const Writing *w, Rows *rows, TupleTableSlot *old_row, TupleTableSlot *new_row)
{
	StringInfoData row;

	if (!counts(w, old_row, new_row))
		return;
	initStringInfo(&row);
	append_change(w, &row, old_row, new_row);
	if (rows->n == w->h->batch_size || rows->json.len + row.len > w->limit)
		enqueue_rows(w, rows, true);
	appendStringInfo(&rows->json, "%s{%s}", rows->n > 0 ? ", " : "", row.data);
	rows->n++;
}

/* Goes through the statement's rows, which come in the same order from both tables of an UPDATE. */
static void
write_rows(const Writing *w, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	TupleDesc desc = RelationGetDescr(w->relation);
	TupleTableSlot *old_row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new_row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf changed row", ALLOCSET_DEFAULT_SIZES);
	Rows rows = {.n = 0};

	initStringInfo(&rows.json);
	for (;;)
	{
		bool has_old = old_rows && tuplestore_gettupleslot(old_rows, true, false, old_row);
		bool has_new = new_rows && tuplestore_gettupleslot(new_rows, true, false, new_row);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (!has_old && !has_new)
			break;
		old = MemoryContextSwitchTo(row_context);
		add_row(w, &rows, has_old ? old_row : NULL, has_new ? new_row : NULL);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	enqueue_rows(w, &rows, false);
	ExecDropSingleTupleTableSlot(old_row);
	ExecDropSingleTupleTableSlot(new_row);
}

/* UnrdfChangeStatement enqueues jobs of a statement's rows, for a statement trigger; of a truncation one without. */
void
UnrdfChangeStatement(TriggerData *trigger, const UnrdfChangeHandler *h)
{
	Writing w = writing(trigger, h);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf changes", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int level = UnrdfPinOutput();

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		StringInfoData json;

		begin_args(&w, &json);
		enqueue(&w, &json);
	}
	else
		write_rows(&w, trigger->tg_oldtable, trigger->tg_newtable);
	UnrdfUnpinOutput(level);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
