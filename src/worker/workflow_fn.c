/*
 * workflow_fn.c: SQL-callable functions of workflows that need receipts, and of steps.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/arg.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(unrdf_cancel_workflow);
PG_FUNCTION_INFO_V1(unrdf_step_done);
PG_FUNCTION_INFO_V1(unrdf_save_step);

Datum
unrdf_cancel_workflow(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(UnrdfCancelWorkflow(PG_GETARG_INT64(0), PG_GETARG_BOOL(1)));
}

Datum
unrdf_step_done(PG_FUNCTION_ARGS)
{
	Jsonb *result = UnrdfStepDone(UnrdfArgName(PG_GETARG_DATUM(0), "name"));

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(result);
}

Datum
unrdf_save_step(PG_FUNCTION_ARGS)
{
	UnrdfSaveStep(UnrdfArgName(PG_GETARG_DATUM(0), "name"), PG_GETARG_JSONB_P(1));
	PG_RETURN_VOID();
}
