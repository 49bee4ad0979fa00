/*
 * change.c: which changes of tables become jobs, and the triggers for that.
 *
 * What unrdf.on_change() declares is a row of unrdf.change_handler, which its triggers name by its id, so that renaming changes nothing, and
 * after dump and restore both fit again. The row says as whom the jobs run: who declared it, and not who writes. So a writer needs no
 * rights on jobs, and can have nothing run but that handler, with what the table's rows are. Three things keep others from having that
 * done in the declarer's name: the trigger functions are not for PUBLIC, a trigger has to be for an event that was declared and to have the
 * name that only one of a table can have, and whoever declared it has to own the table still.
 *
 * The triggers are made as who calls, who parses the condition with his own search_path and rights; PostgreSQL keeps it as it keeps that
 * of any trigger. It is parsed as one expression, so it can be nothing else. It runs as who writes, like any expression of a table.
 *
 * Row triggers of a partitioned table reach its partitions by themselves, also later ones. Statement triggers do not, so partitions get
 * their own, for what is written to them by their names.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/change.h"

static UnrdfPlan find_handler = {
	"SELECT id, relation::pg_catalog.oid, handler, owner::pg_catalog.oid, queue, priority, columns,"
	" per_row, batch_size, events FROM unrdf.change_handler WHERE id OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};
static UnrdfPlan insert_handler = {
	"INSERT INTO unrdf.change_handler (relation, handler, owner, queue, priority, events, condition,"
	" columns, per_row, batch_size) VALUES ($1::pg_catalog.oid::pg_catalog.regclass, $2, $3, $4, $5,"
	" $6, $7, $8, $9, $10) RETURNING id",
	10,
	{OIDOID, INT4OID, REGROLEOID, INT4OID, INT2OID, TEXTARRAYOID, TEXTOID, TEXTARRAYOID, BOOLOID,
	 INT4OID}};
static UnrdfPlan delete_handler = {
	"DELETE FROM unrdf.change_handler WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};

typedef struct EventKind
{
	const char *name;
	int16 event;
	bool has_old;
	bool has_new;
} EventKind;

static const EventKind kinds[] = {
	{"insert", TRIGGER_TYPE_INSERT, false, true},
	{"update", TRIGGER_TYPE_UPDATE, true, true},
	{"delete", TRIGGER_TYPE_DELETE, true, false},
	{"truncate", TRIGGER_TYPE_TRUNCATE, false, false},
};

/* The names in an array of text without nulls. */
static List *
names_of(ArrayType *array)
{
	Datum *elements;
	int n;
	List *names = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, TextDatumGetCString(elements[i]));
	return names;
}

/* The kinds of event that are asked for, as bits. Raises 22023 for others, for one twice and for none. */
static uint32
kinds_of(ArrayType *events)
{
	uint32 wanted = 0;
	ListCell *cell;

	foreach (cell, names_of(events))
	{
		uint32 kind = 0;

		for (int i = 0; i < lengthof(kinds); i++)
			if (strcmp(lfirst(cell), kinds[i].name) == 0)
				kind = 1 << i;
		if (kind == 0 || (wanted & kind))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"%s\" is no event, or is there twice", (char *) lfirst(cell)),
							errhint("Events are insert, update, delete and truncate.")));
		wanted |= kind;
	}
	if (wanted == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("events must name one")));
	return wanted;
}

/* UnrdfChangeHandlerFind reads what was declared, into the current memory context; false where there is nothing. */
bool
UnrdfChangeHandlerFind(int32 id, UnrdfChangeHandler *h)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = Int32GetDatum(id);
	bool isnull;
	bool found;

	SPI_connect();
	found = UnrdfExecuteLatest(&find_handler, &value, NULL) == 1;
	if (found)
	{
		MemoryContext inner = MemoryContextSwitchTo(context);
		Datum columns;

		h->id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		h->relation = DatumGetObjectId(UnrdfResult(0, 1, &isnull));
		h->handler = DatumGetInt32(UnrdfResult(0, 2, &isnull));
		h->owner = DatumGetObjectId(UnrdfResult(0, 3, &isnull));
		h->queue = DatumGetInt32(UnrdfResult(0, 4, &isnull));
		if (isnull)
			h->queue = -1;
		h->priority = DatumGetInt16(UnrdfResult(0, 5, &isnull));
		if (isnull)
			h->priority = -1;
		columns = UnrdfResult(0, 6, &isnull);
		h->columns = isnull ? NIL : names_of(DatumGetArrayTypeP(columns));
		h->per_row = DatumGetBool(UnrdfResult(0, 7, &isnull));
		h->batch_size = DatumGetInt32(UnrdfResult(0, 8, &isnull));
		h->events = kinds_of(DatumGetArrayTypeP(UnrdfResult(0, 9, &isnull)));
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	return found;
}

static Oid
trigger_function(bool per_row)
{
	char *name = per_row ? "change_row" : "change_statement";

	return LookupFuncName(list_make2(makeString("unrdf"), makeString(name)), 0, NULL, false);
}

static char *
trigger_name(int32 id, const char *event)
{
	return psprintf("unrdf_change_%d_%s", id, event);
}

/* Whether a trigger has one of the names that the triggers of what was declared can have. */
static bool
has_name(const char *name, int32 id)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(name, trigger_name(id, kinds[i].name)) == 0)
			return true;
	return false;
}

/*
 * UnrdfChangeDeclared tells whether a trigger that fires is one of those that were made for what was declared, and not one that
 * somebody made who may create triggers on the table.
 */
bool
UnrdfChangeDeclared(const UnrdfChangeHandler *h, TriggerData *trigger)
{
	Oid relation = RelationGetRelid(trigger->tg_relation);
	bool truncate = TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event);
	int kind = TRIGGER_FIRED_BY_INSERT(trigger->tg_event)   ? 0
			   : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? 1
			   : TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? 2
															: 3;

	if ((h->events & (1 << kind)) == 0 ||
		strcmp(trigger->tg_trigger->tgname, trigger_name(h->id, kinds[kind].name)) != 0 ||
		(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) != 0) != (h->per_row && !truncate))
		return false;
	return h->relation == relation ||
		   (!truncate && list_member_oid(get_partition_ancestors(relation), h->relation));
}

/* Drops the triggers of what was declared from a relation. Those of partitions that were cloned go with their parents. */
static void
detach(Oid relation, int32 id)
{
	Relation triggers = table_open(TriggerRelationId, RowExclusiveLock);
	ObjectAddresses *found = new_object_addresses();
	Oid row = trigger_function(true);
	Oid statement = trigger_function(false);
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

		if ((form->tgfoid != row && form->tgfoid != statement) || OidIsValid(form->tgparentid) ||
			!has_name(NameStr(form->tgname), id))
			continue;
		ObjectAddressSet(address, TriggerRelationId, form->oid);
		add_exact_object_address(&address, found);
	}
	systable_endscan(rows);
	table_close(triggers, RowExclusiveLock);
	performMultipleDeletions(found, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	free_object_addresses(found);
	CommandCounterIncrement();
}

/* Parses one expression, and nothing else. Raises 42601. */
static Node *
parse_condition(const char *text)
{
	List *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, statements)->stmt);
	ResTarget *target;

	if (select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
		select->distinctClause || select->intoClause || select->fromClause || select->whereClause ||
		select->groupClause || select->havingClause || select->windowClause ||
		select->valuesLists || select->sortClause || select->limitOffset || select->limitCount ||
		select->lockingClause || select->withClause)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("condition must be one expression"),
						errhint("It is what stands in CREATE TRIGGER … WHEN (…), as in "
								"'NEW.amount > 100'.")));
	target = linitial_node(ResTarget, select->targetList);
	if (target->name || IsA(target->val, MultiAssignRef))
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("condition must be one expression")));
	return target->val;
}

static TriggerTransition *
transition(char *name, bool is_new)
{
	TriggerTransition *t = makeNode(TriggerTransition);

	t->name = name;
	t->isNew = is_new;
	t->isTable = true;
	return t;
}

/* Gives a relation the trigger of one kind of event. A truncation has no rows: it is a statement's, and always counts. */
static void
create_trigger(Oid relation, const UnrdfChangeHandler *h, const EventKind *kind, text *condition)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);
	bool row = h->per_row && kind->event != TRIGGER_TYPE_TRUNCATE;
	char *source = condition ? text_to_cstring(condition) : NULL;

	stmt->trigname = trigger_name(h->id, kind->name);
	stmt->args = list_make1(makeString(psprintf("%d", h->id)));
	stmt->row = row;
	stmt->timing = TRIGGER_TYPE_AFTER;
	stmt->events = kind->event;
	if (row && source)
		stmt->whenClause = parse_condition(source);
	if (!row && kind->has_old)
		stmt->transitionRels = lappend(stmt->transitionRels, transition("unrdf_old", false));
	if (!row && kind->has_new)
		stmt->transitionRels = lappend(stmt->transitionRels, transition("unrdf_new", true));
	CreateTrigger(stmt, source, relation, InvalidOid, InvalidOid, InvalidOid, trigger_function(row),
				  InvalidOid, NULL, false, false);
	CommandCounterIncrement();
}

/* Locks a table of the caller's own. Raises 42P01, 42501, 42809, 0A000. */
static Relation
open_own(Oid relid)
{
	Relation relation;
	const char *why = NULL;

	if (get_rel_relkind(relid) == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation %u does not exist", relid)));
	if (!unrdf_owns_relation(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(relid));
	relation = relation_open(relid, ShareRowExclusiveLock);
	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a table", RelationGetRelationName(relation))));
	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		why = "It is temporary.";
	else if (RelationGetNamespace(relation) == get_namespace_oid("unrdf", false))
		why = "It belongs to unrdf.";
	else if (relation->rd_rel->relkind == RELKIND_RELATION &&
			 find_inheritance_children(relid, NoLock) != NIL)
		why = "It is inherited from: rows of the other tables would change unseen.";
	if (why)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot follow changes of table \"%s\"", RelationGetRelationName(relation)),
				 errdetail_internal("%s", why)));
	return relation;
}

/* Raises 42703 for a column that is not there. */
static void
check_columns(Relation relation, ArrayType *columns)
{
	ListCell *cell;

	if (columns == NULL)
		return;
	foreach (cell, names_of(columns))
		if (get_attnum(RelationGetRelid(relation), lfirst(cell)) <= 0)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("column \"%s\" of table \"%s\" does not exist",
								   (char *) lfirst(cell), RelationGetRelationName(relation))));
}

static int32
enter(const UnrdfChangeRequest *request)
{
	const UnrdfChangeHandler *h = &request->handler;
	Datum values[10];
	char nulls[] = "          ";
	bool isnull;
	int32 id;

	values[0] = ObjectIdGetDatum(h->relation);
	values[1] = Int32GetDatum(h->handler);
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = Int32GetDatum(h->queue);
	values[4] = Int16GetDatum(h->priority);
	values[5] = PointerGetDatum(request->events);
	values[6] = PointerGetDatum(request->condition);
	values[7] = PointerGetDatum(request->columns);
	values[8] = BoolGetDatum(h->per_row);
	values[9] = Int32GetDatum(h->batch_size);
	if (h->queue < 0)
		nulls[3] = 'n';
	if (h->priority < 0)
		nulls[4] = 'n';
	if (request->condition == NULL)
		nulls[6] = 'n';
	if (request->columns == NULL)
		nulls[7] = 'n';
	SPI_connect();
	UnrdfExecute(&insert_handler, values, nulls, false);
	id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	return id;
}

/* Those that get a kind's trigger: the table, and of a partitioned one the partitions where no clone reaches them. */
static List *
relations_for(const UnrdfChangeHandler *h, const EventKind *kind)
{
	if (h->per_row || kind->event == TRIGGER_TYPE_TRUNCATE)
		return list_make1_oid(h->relation);
	return find_all_inheritors(h->relation, ShareRowExclusiveLock, NULL);
}

/*
 * UnrdfOnChange declares that changes of a table become jobs, and returns the id of that. handler and queue have been checked. Raises
 * 42501 for a table of somebody else's, 42809 and 0A000 for what is no table that has changes to be seen, 22023, 42703, 42601, and what
 * CREATE TRIGGER says of a condition.
 */
int32
UnrdfOnChange(UnrdfChangeRequest *request)
{
	UnrdfChangeHandler *h = &request->handler;
	Relation relation;

	h->events = kinds_of(request->events);
	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.on_change()");
	if (request->condition && !h->per_row)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a condition is about rows, and per is not \"row\"")));
	relation = open_own(h->relation);
	check_columns(relation, request->columns);
	h->id = enter(request);
	for (int i = 0; i < lengthof(kinds); i++)
	{
		ListCell *cell;

		if ((h->events & (1 << i)) == 0)
			continue;
		foreach (cell, relations_for(h, &kinds[i]))
			create_trigger(lfirst_oid(cell), h, &kinds[i], request->condition);
	}
	relation_close(relation, NoLock);
	return h->id;
}

/* UnrdfDropOnChange ends that. Raises 42704, and 42501 for who neither declared it nor owns the table. */
void
UnrdfDropOnChange(int32 id)
{
	UnrdfChangeHandler h;
	ListCell *cell;
	Datum value = Int32GetDatum(id);
	bool exists;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.drop_on_change()");
	if (!UnrdfChangeHandlerFind(id, &h))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("change handler %d does not exist", id)));
	exists = get_rel_relkind(h.relation) != '\0';
	if (!has_privs_of_role(GetUserId(), h.owner) &&
		!(exists && unrdf_owns_relation(h.relation, GetUserId())))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of change handler %d, or of its table", id)));
	if (exists)
		foreach (cell, find_all_inheritors(h.relation, ShareRowExclusiveLock, NULL))
			detach(lfirst_oid(cell), id);
	SPI_connect();
	UnrdfExecute(&delete_handler, &value, NULL, false);
	SPI_finish();
}
