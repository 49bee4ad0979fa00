/*
 * ledger_fn.c: the SQL functions about receipts and their log.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/datum.h"
#include "base/jsonb_canonical.h"
#include "ledger/log.h"
#include "ledger/record.h"
#include "ledger/verify.h"

PG_FUNCTION_INFO_V1(unrdf_canonical_json);
PG_FUNCTION_INFO_V1(unrdf_canonical_receipt);
PG_FUNCTION_INFO_V1(unrdf_erase);
PG_FUNCTION_INFO_V1(unrdf_integrate);
PG_FUNCTION_INFO_V1(unrdf_leaf_index);
PG_FUNCTION_INFO_V1(unrdf_log_size);
PG_FUNCTION_INFO_V1(unrdf_record);
PG_FUNCTION_INFO_V1(unrdf_verify);

/*
 * Canonical JSON is UTF-8; raises 22P05 where the database's encoding has not all its characters.
 */
static text *
text_of_utf8(char *utf8, int len)
{
	char *converted = pg_any_to_server(utf8, len, PG_UTF8);

	return cstring_to_text_with_len(converted, converted == utf8 ? len : (int) strlen(converted));
}

/*
 * unrdf.record(kind, subject, payload, operation): UnrdfRecord. Raises 22004 for nulls, 22023 for
 * an unknown kind.
 */
Datum
unrdf_record(PG_FUNCTION_ARGS)
{
	char *name;
	UnrdfKind kind = 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("%s must not be null", PG_ARGISNULL(0) ? "kind" : "subject")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	for (int k = UNRDF_CREATE; k <= UNRDF_DELETE; k++)
		if (strcmp(name, UnrdfKindNames[k]) == 0)
			kind = k;
	if (kind == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot record an operation of kind \"%s\"", name),
						errhint("It is create, update or delete.")));
	PG_RETURN_INT64(UnrdfRecord(kind, PG_GETARG_TEXT_PP(1),
								PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2),
								PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3)));
}

/* unrdf.erase(receipt, reason): UnrdfErase. */
Datum
unrdf_erase(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(UnrdfErase(PG_GETARG_INT64(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* unrdf.canonical_receipt(receipt): null where there is none. */
Datum
unrdf_canonical_receipt(PG_FUNCTION_ARGS)
{
	UnrdfReceipt r;
	StringInfoData out;

	if (!UnrdfReceiptFetch(PG_GETARG_INT64(0), &r))
		PG_RETURN_NULL();
	initStringInfo(&out);
	UnrdfReceiptCanonical(&r, &out);
	PG_RETURN_TEXT_P(text_of_utf8(out.data, out.len));
}

/* unrdf.canonical_json(value): RFC 8785. */
Datum
unrdf_canonical_json(PG_FUNCTION_ARGS)
{
	size_t len;
	char *json = UnrdfCanonicalJsonb(PG_GETARG_JSONB_P(0), &len);

	PG_RETURN_TEXT_P(text_of_utf8(json, (int) len));
}

/* unrdf.leaf_index(receipt): null while it is not integrated. */
Datum
unrdf_leaf_index(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	UnrdfReceipt r;
	uint64 index;
	uint8 leaf[UNRDF_HASH_LEN];

	if (!UnrdfReceiptFetch(id, &r) || !UnrdfLeafFind(UNRDF_RECEIPTS_LOG, id, r.xid, &index, leaf))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) index);
}

/* unrdf.log_size(): size and root. */
Datum
unrdf_log_size(PG_FUNCTION_ARGS)
{
	UnrdfLogHead head;
	Datum values[2];
	bool nulls[2] = {false};

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	values[0] = Int64GetDatum((int64) head.size);
	values[1] = UnrdfBytesDatum(head.root, UNRDF_HASH_LEN);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify(receipt): UnrdfVerify. */
Datum
unrdf_verify(PG_FUNCTION_ARGS)
{
	const char *reason;
	UnrdfEvidence e = {0};
	UnrdfVerdict verdict = UnrdfVerify(PG_GETARG_INT64(0), &reason, &e);
	bool verified = verdict == UNRDF_VERDICT_OK || verdict == UNRDF_VERDICT_ERASED ||
					verdict == UNRDF_VERDICT_EXPIRED;
	Datum values[6] = {CStringGetTextDatum(UnrdfVerdictNames[verdict]),
					   0,
					   CStringGetTextDatum(UnrdfEvidenceNames[e.class]),
					   Int64GetDatum((int64) e.size),
					   Int32GetDatum(e.cosigned),
					   Int32GetDatum(e.witnesses)};
	bool nulls[6] = {false,     reason == NULL, !verified, !verified || e.size == 0,
					 !verified, !verified};

	if (reason)
		values[1] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.integrate(): UnrdfIntegrate until there is nothing left. */
Datum
unrdf_integrate(PG_FUNCTION_ARGS)
{
	int64 total = 0;
	int64 n;

	while ((n = UnrdfIntegrate(INT_MAX)) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		CommandCounterIncrement();
		total += n;
	}
	PG_RETURN_INT64(total);
}
