/*
 * plan.c: saved plans. The texts are constants of their callers; nothing is ever pasted into them.
 *
 * Callers of the SQL functions have no rights on our tables, so plans run as the tables' owner, as those of foreign keys
 * do. CURRENT_USER in a plan is therefore that owner: who calls goes in as an argument. An error leaves the switch to the
 * (sub)transaction's abort, which undoes it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/catalog.h"
#include "base/plan.h"

typedef struct Caller
{
	Oid user;
	int security;
} Caller;

static Caller
become_owner(void)
{
	Oid job = UnrdfRelid(UNRDF_JOB);
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(job));
	Caller caller;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", job);
	GetUserIdAndSecContext(&caller.user, &caller.security);
	SetUserIdAndSecContext(((Form_pg_class) GETSTRUCT(tuple))->relowner,
						   caller.security | SECURITY_LOCAL_USERID_CHANGE);
	ReleaseSysCache(tuple);
	return caller;
}

static SPIPlanPtr
prepared(UnrdfPlan *plan)
{
	if (plan->plan == NULL)
	{
		SPIPlanPtr p = SPI_prepare(plan->sql, plan->nargs, plan->types);

		if (p == NULL || SPI_keepplan(p) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
				 SPI_result_code_string(SPI_result));
		plan->plan = p;
	}
	return plan->plan;
}

static uint64
finish(UnrdfPlan *plan, int rc, Caller caller)
{
	SetUserIdAndSecContext(caller.user, caller.security);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * UnrdfExecute runs a saved plan inside SPI_connect … SPI_finish and returns the number of rows; they are in
 * SPI_tuptable. read_only runs under the active snapshot, else under a new one. nulls may be NULL: none is.
 */
uint64
UnrdfExecute(UnrdfPlan *plan, Datum *values, const char *nulls, bool read_only)
{
	Caller caller = become_owner();
	int rc = SPI_execute_plan(prepared(plan), values, nulls, read_only, 0);

	return finish(plan, rc, caller);
}

/* UnrdfExecuteLatest runs a query under the newest snapshot, also where the transaction keeps an older one. */
uint64
UnrdfExecuteLatest(UnrdfPlan *plan, Datum *values, const char *nulls)
{
	Caller caller = become_owner();
	int rc = SPI_execute_snapshot(prepared(plan), values, nulls, GetLatestSnapshot(),
								  InvalidSnapshot, true, false, 0);

	return finish(plan, rc, caller);
}

/*
 * UnrdfExecuteAs runs a saved plan as some role, with its rights and not with the caller's: for calls of SQL functions that
 * have to be what the role's own would be. Raises 42704 where it was dropped.
 */
uint64
UnrdfExecuteAs(Oid role, UnrdfPlan *plan, Datum *values, const char *nulls)
{
	Caller caller;
	int rc;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("role with OID %u does not exist", role)));
	GetUserIdAndSecContext(&caller.user, &caller.security);
	SetUserIdAndSecContext(role, caller.security | SECURITY_LOCAL_USERID_CHANGE |
									 SECURITY_RESTRICTED_OPERATION);
	rc = SPI_execute_plan(prepared(plan), values, nulls, false, 0);
	return finish(plan, rc, caller);
}

/* UnrdfExecuteText runs a command that is used too rarely for a plan, as the tables' owner. */
void
UnrdfExecuteText(const char *sql)
{
	Caller caller;
	int rc;

	SPI_connect();
	caller = become_owner();
	rc = SPI_execute(sql, false, 0);
	SetUserIdAndSecContext(caller.user, caller.security);
	SPI_finish();
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
}

/* UnrdfResult returns a value of the last UnrdfExecute; row and column count from 0. */
Datum
UnrdfResult(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1, isnull);
}
