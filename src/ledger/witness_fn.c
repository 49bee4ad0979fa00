/*
 * witness_fn.c: the SQL functions about witnesses, of either side.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/datum.h"
#include "ledger/witness.h"

PG_FUNCTION_INFO_V1(unrdf_add_cosignatures);
PG_FUNCTION_INFO_V1(unrdf_add_witness_key);
PG_FUNCTION_INFO_V1(unrdf_trust_witness);
PG_FUNCTION_INFO_V1(unrdf_watch_log);
PG_FUNCTION_INFO_V1(unrdf_witness_check);
PG_FUNCTION_INFO_V1(unrdf_witness_cosign);
PG_FUNCTION_INFO_V1(unrdf_witness_request);

/* unrdf.trust_witness(key): UnrdfWitnessTrust. */
Datum
unrdf_trust_witness(PG_FUNCTION_ARGS)
{
	text *key = PG_GETARG_TEXT_PP(0);

	UnrdfWitnessTrust(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	PG_RETURN_VOID();
}

/* unrdf.watch_log(key): UnrdfWitnessWatch. */
Datum
unrdf_watch_log(PG_FUNCTION_ARGS)
{
	text *key = PG_GETARG_TEXT_PP(0);

	PreventCommandIfReadOnly("unrdf.watch_log()");
	UnrdfWitnessWatch(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	PG_RETURN_VOID();
}

/* unrdf.add_witness_key(): UnrdfWitnessKeyAdd. */
Datum
unrdf_add_witness_key(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("unrdf.add_witness_key()");
	PG_RETURN_TEXT_P(cstring_to_text(UnrdfWitnessKeyAdd()));
}

/* unrdf.witness_request(old_size): UnrdfWitnessRequestBuild; null where there is nothing to be cosigned. */
Datum
unrdf_witness_request(PG_FUNCTION_ARGS)
{
	int64 old = PG_GETARG_INT64(0);
	StringInfoData request;

	if (old < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("old_size must not be negative")));
	initStringInfo(&request);
	if (!UnrdfWitnessRequestBuild((uint64) old, &request))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(request.data, request.len));
}

/* unrdf.add_cosignatures(lines, size): UnrdfCosignaturesAdd; 0 for no lines. */
Datum
unrdf_add_cosignatures(PG_FUNCTION_ARGS)
{
	int64 size = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	text *lines;

	if (PG_ARGISNULL(0))
		PG_RETURN_INT32(0);
	lines = PG_GETARG_TEXT_PP(0);
	PG_RETURN_INT32(UnrdfCosignaturesAdd(PG_ARGISNULL(1) ? NULL : &size, VARDATA_ANY(lines),
										 VARSIZE_ANY_EXHDR(lines)));
}

/* unrdf.witness_check(request): UnrdfWitnessCheck. */
Datum
unrdf_witness_check(PG_FUNCTION_ARGS)
{
	text *request = PG_GETARG_TEXT_PP(0);
	UnrdfWitnessAnswer answer;
	Datum values[4] = {0};
	bool nulls[4] = {false};

	UnrdfWitnessCheck(VARDATA_ANY(request), VARSIZE_ANY_EXHDR(request), &answer);
	nulls[1] = answer.body == NULL;
	nulls[2] = nulls[3] = answer.origin == NULL;
	values[0] = Int32GetDatum(answer.status);
	if (answer.body)
		values[1] = CStringGetTextDatum(answer.body);
	if (answer.origin)
	{
		values[2] = CStringGetTextDatum(answer.origin);
		values[3] = Int64GetDatum((int64) answer.size);
	}
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.witness_cosign(origin, size): UnrdfWitnessCosign; null where it is not the newest checkpoint. */
Datum
unrdf_witness_cosign(PG_FUNCTION_ARGS)
{
	StringInfoData lines;

	initStringInfo(&lines);
	if (!UnrdfWitnessCosign(text_to_cstring(PG_GETARG_TEXT_PP(0)), (uint64) PG_GETARG_INT64(1),
							&lines))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(lines.data, lines.len));
}
