/*
 * audit.c: which tables are audited, and their triggers.
 *
 * A table is known by the id of its row in unrdf.audited, which its triggers have as their argument and its receipts in their
 * subjects: renaming it changes nothing, and after dump and restore all three fit again. The triggers are made as the
 * extension's owner, since nobody else may execute their function: a table's owner cannot attach it by hand, and it refuses to
 * speak for a table that is not the one of its id. What an owner can do is to drop or disable the triggers; then rows change
 * without receipts, which unrdf.verify_table() finds.
 *
 * audit_table() locks the table against writers until its transaction ends. In that it attaches the triggers and writes a
 * receipt of all rows that exist, so that from there on each row has one. Both exist or neither does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "crypto/digest.h"
#include "ledger/audit.h"
#include "ledger/epoch.h"

#define COLUMNS_OF_AUDITED \
	"id, relation::pg_catalog.oid, key_columns, excluded_columns, secret, active"

static UnrdfPlan by_id = {"SELECT " COLUMNS_OF_AUDITED
						  " FROM unrdf.audited WHERE id OPERATOR(pg_catalog.=) $1",
						  1,
						  {INT4OID}};
static UnrdfPlan by_relation = {
	"SELECT " COLUMNS_OF_AUDITED
	" FROM unrdf.audited WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.regclass",
	1,
	{OIDOID}};
static UnrdfPlan insert = {
	"INSERT INTO unrdf.audited (relation, key_columns, excluded_columns, secret) VALUES ($1::pg_catalog.regclass, $2, $3, $4)"
	" ON CONFLICT (relation) DO UPDATE SET key_columns = excluded.key_columns, excluded_columns = excluded.excluded_columns,"
	" audited_at = pg_catalog.now(), active = true",
	4,
	{OIDOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAOID}};
static UnrdfPlan deactivate = {
	"UPDATE unrdf.audited SET active = false WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};

typedef struct TriggerKind
{
	const char *name;
	int16 event;
	bool has_old;
	bool has_new;
} TriggerKind;

static const TriggerKind kinds[] = {
	{"unrdf_audit_insert", TRIGGER_TYPE_INSERT, false, true},
	{"unrdf_audit_update", TRIGGER_TYPE_UPDATE, true, true},
	{"unrdf_audit_delete", TRIGGER_TYPE_DELETE, true, false},
	{"unrdf_audit_truncate", TRIGGER_TYPE_TRUNCATE, false, false},
};

static List *
names_of(Datum array)
{
	Datum *elements;
	int n;
	List *names = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL,
					  &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, TextDatumGetCString(elements[i]));
	return names;
}

static bool
find(UnrdfPlan *plan, Datum key, UnrdfAudited *audited)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext inner;
	bytea *secret;
	bool found;
	bool isnull;

	SPI_connect();
	found = UnrdfExecuteLatest(plan, &key, NULL) == 1;
	if (found)
	{
		inner = MemoryContextSwitchTo(context);
		audited->id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		audited->relation = DatumGetObjectId(UnrdfResult(0, 1, &isnull));
		audited->keys = names_of(UnrdfResult(0, 2, &isnull));
		audited->excluded = names_of(UnrdfResult(0, 3, &isnull));
		secret = DatumGetByteaPP(UnrdfResult(0, 4, &isnull));
		memset(audited->secret, 0, UNRDF_AUDIT_SECRET_LEN);
		memcpy(audited->secret, VARDATA_ANY(secret),
			   Min(VARSIZE_ANY_EXHDR(secret), UNRDF_AUDIT_SECRET_LEN));
		audited->active = DatumGetBool(UnrdfResult(0, 5, &isnull));
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	return found;
}

/* UnrdfAuditedFind reads what is known of a table; false where it was never audited. */
bool
UnrdfAuditedFind(Oid relation, UnrdfAudited *audited)
{
	return find(&by_relation, ObjectIdGetDatum(relation), audited);
}

/* UnrdfAuditedGet reads what is known of a table by its id; raises 55000 where there is none. */
void
UnrdfAuditedGet(int32 id, UnrdfAudited *audited)
{
	if (!find(&by_id, Int32GetDatum(id), audited))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no audited table %d", id),
				 errhint("Its triggers came without the rows of unrdf.audited. Drop them, or run "
						 "unrdf.audit_table().")));
}

/* UnrdfInherits tells whether a table that is no partition inherits, or is inherited from. */
bool
UnrdfInherits(Oid relation)
{
	return has_superclass(relation) || find_inheritance_children(relation, NoLock) != NIL;
}

/* Raises 42809 or 0A000 for what cannot be audited. */
static void
check_kind(Relation relation)
{
	char kind = relation->rd_rel->relkind;
	const char *why = NULL;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a table", RelationGetRelationName(relation))));
	if (relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		why = "It is temporary or unlogged: its rows do not outlive what its receipts do.";
	else if (relation->rd_rel->relispartition)
		why = "It is a partition: audit the table that it is a partition of.";
	else if (RelationGetNamespace(relation) == get_namespace_oid("unrdf", false))
		why = "It belongs to unrdf.";
	else if (kind == RELKIND_RELATION && UnrdfInherits(RelationGetRelid(relation)))
		why = "It inherits or is inherited from: no key is unique in all these tables.";
	if (why)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot audit table \"%s\"", RelationGetRelationName(relation)),
						errdetail_internal("%s", why)));
}

static List *
columns_of(Relation relation, const Form_pg_index index)
{
	List *names = NIL;

	for (int i = 0; i < index->indnkeyatts; i++)
	{
		AttrNumber column = index->indkey.values[i];

		if (column <= 0 || !TupleDescAttr(RelationGetDescr(relation), column - 1)->attnotnull)
			return NIL;
		names = lappend(
			names,
			pstrdup(NameStr(TupleDescAttr(RelationGetDescr(relation), column - 1)->attname)));
	}
	return names;
}

static bool
same_names(List *a, List *b)
{
	ListCell *x;
	ListCell *y;

	if (list_length(a) != list_length(b))
		return false;
	foreach (x, a)
	{
		bool found = false;

		foreach (y, b)
			found = found || strcmp(lfirst(x), lfirst(y)) == 0;
		if (!found)
			return false;
	}
	return true;
}

/*
 * The columns that name a row: those asked for, or the primary key's where that is NIL. Raises 55000 unless a unique index that
 * is checked at once keeps two rows from having the same, which is what makes writers of one row wait for each other.
 */
static List *
choose_keys(Relation relation, List *asked)
{
	ListCell *cell;
	List *keys = NIL;

	foreach (cell, RelationGetIndexList(relation))
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (keys == NIL && form->indisunique && form->indimmediate && form->indisvalid &&
			RelationGetIndexPredicate(index) == NIL && (asked != NIL || form->indisprimary))
		{
			List *columns = columns_of(relation, form);

			if (asked == NIL || same_names(asked, columns))
				keys = asked ? asked : columns;
		}
		index_close(index, AccessShareLock);
	}
	if (keys == NIL)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has no key to audit it by", RelationGetRelationName(relation)),
			 errhint(
				 "It needs a primary key, or a unique index of just the columns that are named, "
				 "none of which can be null; not a deferrable one.")));
	return keys;
}

/* Raises 42703 for a column that is not there, 22023 for one of the key. */
static void
check_excluded(Relation relation, List *keys, List *excluded)
{
	ListCell *cell;
	ListCell *key;

	foreach (cell, excluded)
	{
		if (get_attnum(RelationGetRelid(relation), lfirst(cell)) <= 0)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("column \"%s\" of table \"%s\" does not exist",
								   (char *) lfirst(cell), RelationGetRelationName(relation))));
		foreach (key, keys)
			if (strcmp(lfirst(cell), lfirst(key)) == 0)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("column \"%s\" is part of the key and cannot be excluded",
									   (char *) lfirst(cell))));
	}
}

static Oid
trigger_function(void)
{
	return LookupFuncName(list_make2(makeString("unrdf"), makeString("audit_statement")), 0, NULL,
						  false);
}

/* Drops our triggers of a relation, and no other that has one of their names. */
static void
detach(Oid relation)
{
	Relation triggers = table_open(TriggerRelationId, RowExclusiveLock);
	Oid function = trigger_function();
	ScanKeyData key;
	SysScanDesc rows;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	rows = systable_beginscan(triggers, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(rows)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		ObjectAddress address;

		if (form->tgfoid != function)
			continue;
		ObjectAddressSet(address, TriggerRelationId, form->oid);
		performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	}
	systable_endscan(rows);
	table_close(triggers, RowExclusiveLock);
	CommandCounterIncrement();
}

static TriggerTransition *
transition(const char *name, bool is_new)
{
	TriggerTransition *t = makeNode(TriggerTransition);

	t->name = pstrdup(name);
	t->isNew = is_new;
	t->isTable = true;
	return t;
}

static void
create_trigger(Oid relation, int32 id, const TriggerKind *kind, bool before)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);

	stmt->trigname = pstrdup(kind->name);
	stmt->args = list_make1(makeString(psprintf("%d", id)));
	stmt->timing = before ? TRIGGER_TYPE_BEFORE : TRIGGER_TYPE_AFTER;
	stmt->events = kind->event;
	if (kind->has_old)
		stmt->transitionRels = lappend(stmt->transitionRels, transition("unrdf_old", false));
	if (kind->has_new)
		stmt->transitionRels = lappend(stmt->transitionRels, transition("unrdf_new", true));
	CreateTrigger(stmt, NULL, relation, InvalidOid, InvalidOid, InvalidOid, trigger_function(),
				  InvalidOid, NULL, false, false);
	CommandCounterIncrement();
}

/* Gives a relation its triggers. Truncating reaches partitions by their own, which have to see the rows before they go. */
static void
attach(Oid relation, int32 id)
{
	bool partition = get_rel_relispartition(relation);
	bool partitioned = get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE;
	Oid user;
	int security;

	detach(relation);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, security | SECURITY_LOCAL_USERID_CHANGE);
	for (int i = 0; i < lengthof(kinds); i++)
	{
		bool truncate = kinds[i].event == TRIGGER_TYPE_TRUNCATE;

		if (!(truncate && partitioned))
			create_trigger(relation, id, &kinds[i], truncate && partition);
	}
	SetUserIdAndSecContext(user, security);
}

/* Locks a table of the caller's own. Raises 42P01, 42501. */
static Relation
open_own(Oid relid)
{
	if (get_rel_relkind(relid) == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation %u does not exist", relid)));
	if (!unrdf_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	return relation_open(relid, ShareRowExclusiveLock);
}

static Datum
array_of(List *names)
{
	Datum *elements = palloc((list_length(names) + 1) * sizeof(Datum));
	ListCell *cell;

	foreach (cell, names)
		elements[foreach_current_index(cell)] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(
		construct_array(elements, list_length(names), TEXTOID, -1, false, TYPALIGN_INT));
}

static void
enter(Oid relation, List *keys, List *excluded)
{
	char secret[UNRDF_AUDIT_SECRET_LEN];
	Datum values[4];

	if (unrdf_random(secret, sizeof(secret)) != 0)
		elog(ERROR, "could not generate random bytes");
	values[0] = ObjectIdGetDatum(relation);
	values[1] = array_of(keys);
	values[2] = array_of(excluded);
	values[3] = PointerGetDatum(cstring_to_text_with_len(secret, sizeof(secret)));
	SPI_connect();
	UnrdfExecute(&insert, values, NULL, false);
	SPI_finish();
	CommandCounterIncrement();
}

/*
 * UnrdfAuditTable audits a table from here on, with all its partitions, and returns its id; also once more, after columns or
 * partitions were added. NULL for keys: the primary key. Raises 42501 for a table of somebody else's, 42809 and 0A000 for what
 * is no table that can be audited, 55000 for one without a key, 42703 and 22023 for columns that are not there or needed.
 */
int32
UnrdfAuditTable(Oid relid, ArrayType *keys, ArrayType *excluded)
{
	UnrdfAudited audited;
	Relation relation;
	List *key_columns;
	List *excluded_columns = excluded ? names_of(PointerGetDatum(excluded)) : NIL;
	List *relations;
	ListCell *cell;
	bool known;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.audit_table()");
	(void) UnrdfCurrentEpoch();
	relation = open_own(relid);
	check_kind(relation);
	key_columns = choose_keys(relation, keys ? names_of(PointerGetDatum(keys)) : NIL);
	check_excluded(relation, key_columns, excluded_columns);
	relations = find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
	known = UnrdfAuditedFind(relid, &audited);
	enter(relid, key_columns, excluded_columns);
	(void) UnrdfAuditedFind(relid, &audited);
	foreach (cell, relations)
		attach(lfirst_oid(cell), audited.id);
	UnrdfAuditTableReceipt(&audited, relation, known ? UNRDF_UPDATE : UNRDF_CREATE, "audit");
	UnrdfAuditRows(&audited, relations, true, "audit");
	relation_close(relation, NoLock);
	return audited.id;
}

/* UnrdfUnauditTable takes the triggers off. Receipts stay. Raises 42501, 55000 where the table is not audited. */
void
UnrdfUnauditTable(Oid relid)
{
	UnrdfAudited audited;
	Relation relation;
	ListCell *cell;
	Datum id;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.unaudit_table()");
	(void) UnrdfCurrentEpoch();
	relation = open_own(relid);
	if (!UnrdfAuditedFind(relid, &audited) || !audited.active)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not audited", RelationGetRelationName(relation))));
	foreach (cell, find_all_inheritors(relid, ShareRowExclusiveLock, NULL))
		detach(lfirst_oid(cell));
	id = Int32GetDatum(audited.id);
	SPI_connect();
	UnrdfExecute(&deactivate, &id, NULL, false);
	SPI_finish();
	UnrdfAuditTableReceipt(&audited, relation, UNRDF_DELETE, "unaudit");
	relation_close(relation, NoLock);
}
