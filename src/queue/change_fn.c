/*
 * change_fn.c: SQL-callable functions of changes that become jobs.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/arg.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "queue/change.h"
#include "queue/handler.h"
#include "queue/job.h"
#include "queue/request.h"

PG_FUNCTION_INFO_V1(unrdf_on_change);
PG_FUNCTION_INFO_V1(unrdf_drop_on_change);
PG_FUNCTION_INFO_V1(unrdf_change_row);
PG_FUNCTION_INFO_V1(unrdf_change_statement);

/* An array without nulls. */
static ArrayType *
names(FunctionCallInfo fcinfo, int arg, const char *name)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(arg);

	if (array_contains_nulls(array))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("elements of %s must not be null", name)));
	return array;
}

/* unrdf.on_change(relation, handler, events, condition, columns, per, queue, priority, batch_size): UnrdfOnChange. */
Datum
unrdf_on_change(PG_FUNCTION_ARGS)
{
	static const char *const required[] = {"relation", "handler", "events", NULL,        NULL,
										   "per",      NULL,      NULL,     "batch_size"};
	UnrdfChangeRequest request = {0};
	UnrdfChangeHandler *h = &request.handler;
	char *per;

	for (int i = 0; i < lengthof(required); i++)
		if (required[i])
			UnrdfArgNotNull(fcinfo, i, required[i]);
	per = text_to_cstring(PG_GETARG_TEXT_PP(5));
	h->per_row = strcmp(per, "row") == 0;
	if (!h->per_row && strcmp(per, "statement") != 0)
		UnrdfArgRefuse("per", "row or statement");
	h->relation = PG_GETARG_OID(0);
	h->handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(1));
	request.events = names(fcinfo, 2, "events");
	request.condition = PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3);
	request.columns = PG_ARGISNULL(4) ? NULL : names(fcinfo, 4, "columns");
	UnrdfReadPlace(fcinfo, 6, 7, &h->queue, &h->priority);
	h->batch_size = UnrdfArgRange(fcinfo, 8, "batch_size", 1, 1000000);
	PG_RETURN_INT32(UnrdfOnChange(&request));
}

/* unrdf.drop_on_change(id): UnrdfDropOnChange. */
Datum
unrdf_drop_on_change(PG_FUNCTION_ARGS)
{
	UnrdfDropOnChange(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

static void
not_a_trigger(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					errmsg("%s is for the triggers that unrdf.on_change() makes", what)));
}

/* What a trigger's argument names, read once per statement. Raises 39P01 where it is not for this trigger, 42501. */
static const UnrdfChangeHandler *
handler_of(FunctionCallInfo fcinfo, bool row, const char *what)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	UnrdfChangeHandler *h = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) != 0) != row || trigger->tg_trigger->tgnargs != 1)
		not_a_trigger(what);
	if (h)
		return h;
	UnrdfRequirePreload();
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	h = palloc0(sizeof(UnrdfChangeHandler));
	if (!UnrdfChangeHandlerFind(pg_strtoint32(trigger->tg_trigger->tgargs[0]), h) ||
		!UnrdfChangeDeclared(h, trigger))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" of table \"%s\" is not one that was declared",
						trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation)),
				 errhint("Drop it, and run unrdf.on_change() where it is wanted.")));
	if (!unrdf_owns_relation(h->relation, h->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("who declared change handler %d does not own table \"%s\" any more", h->id,
						get_rel_name(h->relation)),
				 errhint("End it with unrdf.drop_on_change(%d), and have the table's owner declare "
						 "another.",
						 h->id)));
	fcinfo->flinfo->fn_extra = h;
	MemoryContextSwitchTo(old);
	return h;
}

/* unrdf.change_row(): UnrdfChangeRow. */
Datum
unrdf_change_row(PG_FUNCTION_ARGS)
{
	const UnrdfChangeHandler *h = handler_of(fcinfo, true, "unrdf.change_row()");

	UnrdfChangeRow((TriggerData *) fcinfo->context, h);
	PG_RETURN_POINTER(NULL);
}

/* unrdf.change_statement(): UnrdfChangeStatement. */
Datum
unrdf_change_statement(PG_FUNCTION_ARGS)
{
	const UnrdfChangeHandler *h = handler_of(fcinfo, false, "unrdf.change_statement()");

	UnrdfChangeStatement((TriggerData *) fcinfo->context, h);
	PG_RETURN_POINTER(NULL);
}
