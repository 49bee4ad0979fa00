/*
 * plan.c: saved plans. The texts are constants of their callers; nothing is ever pasted into them.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "base/plan.h"

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
checked(UnrdfPlan *plan, int rc)
{
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
	return checked(plan, SPI_execute_plan(prepared(plan), values, nulls, read_only, 0));
}

/* UnrdfExecuteLatest runs a query under the newest snapshot, also where the transaction keeps an older one. */
uint64
UnrdfExecuteLatest(UnrdfPlan *plan, Datum *values, const char *nulls)
{
	return checked(plan, SPI_execute_snapshot(prepared(plan), values, nulls, GetLatestSnapshot(),
											  InvalidSnapshot, true, false, 0));
}

/* UnrdfResult returns a value of the last UnrdfExecute; row and column count from 0. */
Datum
UnrdfResult(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1, isnull);
}
