#ifndef UNRDF_PLAN_H
#define UNRDF_PLAN_H

#include "postgres.h"

#include "executor/spi.h"

#define UNRDF_PLAN_ARGS 16

/* A saved plan: constant, fully qualified text and argument types, prepared on first use. */
typedef struct UnrdfPlan
{
	const char *sql;
	int nargs;
	Oid types[UNRDF_PLAN_ARGS];
	SPIPlanPtr plan;
} UnrdfPlan;

extern uint64 UnrdfExecute(UnrdfPlan *plan, Datum *values, const char *nulls, bool read_only);
extern uint64 UnrdfExecuteLatest(UnrdfPlan *plan, Datum *values, const char *nulls);
extern uint64 UnrdfExecuteAs(Oid role, UnrdfPlan *plan, Datum *values, const char *nulls);
extern void UnrdfExecuteText(const char *sql);
extern Datum UnrdfResult(uint64 row, int column, bool *isnull);

#endif /* UNRDF_PLAN_H */
