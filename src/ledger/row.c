/*
 * row.c: rows of audited tables as canonical JSON.
 *
 * A row is {"column": "value", …}: a moment as receipts have it, every other value as the text that its type's output function
 * gives, so that there is none that cannot be carried (numbers of any size and scale, NaN, infinity) and 1.50 stays another
 * thing than 1.5; NULL as null. Text that is not well-formed UTF-8, which databases of encoding SQL_ASCII can have, is
 * {"hex": "…"}. What the text of a value depends on beside the value is pinned while it is made: a row has the same bytes in
 * every session.
 *
 * A key is ["value", …] in the order of the key's columns; what stands for it outside payloads is a hash over the audited
 * table's secret and that, since subjects are never erased and are shown to strangers: nobody without the secret can find
 * out by trying which key a receipt speaks of.
 *
 * An item of a batch is {"key": …, "row": …}, or {"deleted": "the key's hash"}. Names of tables are in neither.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "crypto/canonical.h"
#include "ledger/row.h"

/* What unrdf_canon_raw() does, for pieces that are shorter than a call is long. */
static inline void
put(UnrdfCanon *c, const char *bytes, size_t len)
{
	if (likely(c->len + len <= c->cap))
		memcpy(c->buf + c->len, bytes, len);
	c->len += len;
}

/* Appends text of the server's encoding as a JSON string. */
static void
append_text(UnrdfCanon *c, const char *text, int len)
{
	const char *utf8 = text;

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
		utf8 = pg_server_to_any(text, len, PG_UTF8);
	if (utf8 != text)
		len = strlen(utf8);
	if (unrdf_canon_string(c, utf8, len) == 0)
		return;
	put(c, "{\"hex\":", 7);
	unrdf_canon_hex(c, (const uint8 *) utf8, len);
	put(c, "}", 1);
}

static void
append_value(UnrdfCanon *c, UnrdfRowColumn *column, Datum value)
{
	char digits[MAXINT8LEN + 1];
	text *inner;
	char *output;

	if (column->type == TEXTOID || column->type == VARCHAROID)
	{
		inner = DatumGetTextPP(value);
		append_text(c, VARDATA_ANY(inner), VARSIZE_ANY_EXHDR(inner));
	}
	else if (column->type == INT4OID || column->type == INT8OID)
	{
		put(c, "\"", 1);
		unrdf_canon_raw(
			c, digits,
			pg_lltoa(column->type == INT4OID ? DatumGetInt32(value) : DatumGetInt64(value),
					 digits));
		put(c, "\"", 1);
	}
	else if (column->type == TIMESTAMPTZOID && !TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
		unrdf_canon_time(c, UnrdfUnixMicros(DatumGetTimestampTz(value)));
	else
	{
		output = OutputFunctionCall(&column->output, value);
		append_text(c, output, strlen(output));
	}
}

/* Begins to write to out from its start, without making room. */
static UnrdfCanon
begin(StringInfo out)
{
	UnrdfCanon c = {out->data, out->maxlen - 1, 0};

	return c;
}

/* Ends what begin() began; false where it has to be done again, with the room that there is now. */
static bool
fits(const UnrdfCanon *c, StringInfo out)
{
	if (c->len > c->cap)
	{
		resetStringInfo(out);
		if (c->len > MaxAllocSize / 2)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg("row is too large for canonical JSON")));
		enlargeStringInfo(out, (int) c->len + 1);
		return false;
	}
	out->len = (int) c->len;
	out->data[out->len] = '\0';
	return true;
}

static int
compare_columns(const void *a, const void *b)
{
	const UnrdfRowColumn *x = a;
	const UnrdfRowColumn *y = b;

	return unrdf_canon_compare_keys(x->utf8, strlen(x->utf8), y->utf8, strlen(y->utf8));
}

static bool
has_name(List *names, const char *name)
{
	ListCell *cell;

	foreach (cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* Finds the key's columns, and that all others that are named are there. Raises 55000 where they are not. */
static void
find_named(UnrdfShape *shape, TupleDesc desc, List *columns)
{
	List *named = list_concat_copy(columns, columns ? NIL : shape->audited->excluded);
	ListCell *cell;

	foreach (cell, shape->audited->keys)
	{
		int i = 0;

		while (i < shape->n && strcmp(shape->columns[i].bare_name, lfirst(cell)) != 0)
			i++;
		if (i < shape->n)
			shape->keys[shape->nkeys++] = i;
		else
			named = lappend(named, lfirst(cell));
	}
	foreach (cell, named)
	{
		int i = 0;

		while (i < desc->natts &&
			   (TupleDescAttr(desc, i)->attisdropped ||
				strcmp(NameStr(TupleDescAttr(desc, i)->attname), lfirst(cell)) != 0))
			i++;
		if (i == desc->natts)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("audited table has no column \"%s\" any more", (char *) lfirst(cell)),
					 errhint("Run unrdf.audit_table() again.")));
	}
}

static void
add_column(UnrdfShape *shape, Form_pg_attribute attribute)
{
	UnrdfRowColumn *column = &shape->columns[shape->n++];
	StringInfoData name;
	UnrdfCanon c;
	Oid output;
	bool varlena;

	column->bare_name = pstrdup(NameStr(attribute->attname));
	column->utf8 = GetDatabaseEncoding() == PG_SQL_ASCII
					   ? column->bare_name
					   : pg_server_to_any(column->bare_name, strlen(column->bare_name), PG_UTF8);
	initStringInfo(&name);
	do
	{
		c = begin(&name);
		put(&c, ",", 1);
		append_text(&c, column->bare_name, strlen(column->bare_name));
		put(&c, ":", 1);
	} while (!fits(&c, &name));
	column->name = name.data;
	column->name_len = name.len;
	column->attnum = attribute->attnum;
	column->type = getBaseType(attribute->atttypid);
	getTypeOutputInfo(attribute->atttypid, &output, &varlena);
	fmgr_info(output, &column->output);
}

/*
 * UnrdfShapeMake prepares for rows of a descriptor: with the columns of these names, or all but the excluded ones where
 * columns is NIL. Raises 55000 where a column that is named is not there. Lives in the current memory context.
 */
UnrdfShape *
UnrdfShapeMake(const UnrdfAudited *audited, TupleDesc desc, List *columns)
{
	UnrdfShape *shape = palloc0(sizeof(UnrdfShape));

	shape->audited = audited;
	shape->values =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf row values", ALLOCSET_DEFAULT_SIZES);
	shape->columns = palloc0(desc->natts * sizeof(UnrdfRowColumn));
	shape->keys = palloc0(list_length(audited->keys) * sizeof(int));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && !unrdf_is_virtual(attribute) &&
			(columns ? has_name(columns, NameStr(attribute->attname))
					 : !has_name(audited->excluded, NameStr(attribute->attname))))
			add_column(shape, attribute);
	}
	qsort(shape->columns, shape->n, sizeof(UnrdfRowColumn), compare_columns);
	shape->columns[0].name[0] = '{';
	find_named(shape, desc, columns);
	initStringInfo(&shape->row);
	initStringInfo(&shape->key);
	initStringInfo(&shape->item);
	return shape;
}

static void
hash_key(UnrdfShape *shape)
{
	UnrdfBytes parts[2] = {{shape->audited->secret, UNRDF_AUDIT_SECRET_LEN},
						   {shape->key.data, shape->key.len}};
	uint8 hash[UNRDF_HASH_LEN];

	if (unrdf_sha256(parts, 2, hash) != 0)
		elog(ERROR, "SHA-256 failed");
	memcpy(shape->hash, hash, UNRDF_ROW_KEY_LEN);
}

static void
append_row(UnrdfShape *shape, TupleTableSlot *slot, UnrdfCanon *c)
{
	for (int i = 0; i < shape->n; i++)
	{
		UnrdfRowColumn *column = &shape->columns[i];

		put(c, column->name, column->name_len);
		column->start = (int) c->len;
		if (slot->tts_isnull[column->attnum - 1])
			put(c, "null", 4);
		else
			append_value(c, column, slot->tts_values[column->attnum - 1]);
		column->len = (int) c->len - column->start;
	}
	put(c, "}", 1);
}

/* UnrdfShapeRow makes row, key and hash those of a slot's row. */
void
UnrdfShapeRow(UnrdfShape *shape, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(shape->values);
	UnrdfCanon c;

	slot_getallattrs(slot);
	do
	{
		c = begin(&shape->row);
		append_row(shape, slot, &c);
	} while (!fits(&c, &shape->row));
	do
	{
		c = begin(&shape->key);
		for (int i = 0; i < shape->nkeys; i++)
		{
			UnrdfRowColumn *column = &shape->columns[shape->keys[i]];

			put(&c, i == 0 ? "[" : ",", 1);
			put(&c, shape->row.data + column->start, column->len);
		}
		put(&c, "]", 1);
	} while (!fits(&c, &shape->key));
	hash_key(shape);
	MemoryContextSwitchTo(old);
	MemoryContextReset(shape->values);
}

/* UnrdfShapeKey makes key and hash those of a row that is not there. */
void
UnrdfShapeKey(UnrdfShape *shape, const Datum *keys)
{
	MemoryContext old = MemoryContextSwitchTo(shape->values);
	UnrdfCanon c;

	do
	{
		c = begin(&shape->key);
		for (int i = 0; i < shape->nkeys; i++)
		{
			put(&c, i == 0 ? "[" : ",", 1);
			append_value(&c, &shape->columns[shape->keys[i]], keys[i]);
		}
		put(&c, "]", 1);
	} while (!fits(&c, &shape->key));
	hash_key(shape);
	MemoryContextSwitchTo(old);
	MemoryContextReset(shape->values);
}

/* UnrdfShapeItem makes item say that the last row exists, or that the key's was deleted, for which its hash is enough. */
void
UnrdfShapeItem(UnrdfShape *shape, bool exists)
{
	UnrdfCanon c;

	do
	{
		c = begin(&shape->item);
		if (exists)
		{
			put(&c, "{\"key\":", 7);
			put(&c, shape->key.data, shape->key.len);
			put(&c, ",\"row\":", 7);
			put(&c, shape->row.data, shape->row.len);
		}
		else
		{
			put(&c, "{\"deleted\":", 11);
			unrdf_canon_hex(&c, shape->hash, UNRDF_ROW_KEY_LEN);
		}
		put(&c, "}", 1);
	} while (!fits(&c, &shape->item));
}
