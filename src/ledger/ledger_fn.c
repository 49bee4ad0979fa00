/*
 * ledger_fn.c: the SQL functions about receipts and their log. Those with _fn have the name of a
 * pure function in crypto/.
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/jsonb_canonical.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/record.h"
#include "ledger/verify.h"

PG_FUNCTION_INFO_V1(unrdf_canonical_json);
PG_FUNCTION_INFO_V1(unrdf_canonical_receipt);
PG_FUNCTION_INFO_V1(unrdf_inclusion_proof_fn);
PG_FUNCTION_INFO_V1(unrdf_integrate);
PG_FUNCTION_INFO_V1(unrdf_leaf_hash_fn);
PG_FUNCTION_INFO_V1(unrdf_leaf_index);
PG_FUNCTION_INFO_V1(unrdf_log_size);
PG_FUNCTION_INFO_V1(unrdf_record);
PG_FUNCTION_INFO_V1(unrdf_verify);
PG_FUNCTION_INFO_V1(unrdf_verify_all);
PG_FUNCTION_INFO_V1(unrdf_verify_inclusion_fn);
PG_FUNCTION_INFO_V1(unrdf_verify_progress);

static Datum
bytes_datum(const void *bytes, int len)
{
	bytea *b = palloc(VARHDRSZ + len);

	SET_VARSIZE(b, VARHDRSZ + len);
	memcpy(VARDATA(b), bytes, len);
	return PointerGetDatum(b);
}

/*
 * Canonical JSON is UTF-8; raises 22P05 where the database's encoding has not all its characters.
 */
static text *
text_of_utf8(char *utf8, int len)
{
	char *converted = pg_any_to_server(utf8, len, PG_UTF8);

	return cstring_to_text_with_len(converted, converted == utf8 ? len : (int) strlen(converted));
}

static Datum
record_datum(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
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
	values[1] = bytes_datum(head.root, UNRDF_HASH_LEN);
	PG_RETURN_DATUM(record_datum(fcinfo, values, nulls));
}

/*
 * unrdf.inclusion_proof(receipt, size): UnrdfProofOfReceipt; all null while the receipt is not in
 * that tree.
 */
Datum
unrdf_inclusion_proof_fn(PG_FUNCTION_ARGS)
{
	int64 size = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	UnrdfInclusion p;
	Datum values[5] = {0};
	bool nulls[5] = {true, true, true, true, true};
	Datum hashes[64];

	if (size < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("size must not be negative")));
	if (!PG_ARGISNULL(0) &&
		UnrdfProofOfReceipt(PG_GETARG_INT64(0), PG_ARGISNULL(1) ? NULL : &size, &p))
	{
		for (int i = 0; i < p.n; i++)
			hashes[i] = bytes_datum(p.hashes[i], UNRDF_HASH_LEN);
		values[0] = Int64GetDatum((int64) p.index);
		values[1] = Int64GetDatum((int64) p.size);
		values[2] = bytes_datum(p.leaf, UNRDF_HASH_LEN);
		values[3] = bytes_datum(p.root, UNRDF_HASH_LEN);
		values[4] =
			PointerGetDatum(construct_array(hashes, p.n, BYTEAOID, -1, false, TYPALIGN_INT));
		memset(nulls, false, sizeof(nulls));
	}
	PG_RETURN_DATUM(record_datum(fcinfo, values, nulls));
}

static bool
read_hash(bytea *b, uint8 *out)
{
	if (VARSIZE_ANY_EXHDR(b) != UNRDF_HASH_LEN)
		return false;
	memcpy(out, VARDATA_ANY(b), UNRDF_HASH_LEN);
	return true;
}

/* Reads a proof; -1 for what cannot be one. */
static int
read_proof(ArrayType *array, uint8 (*proof)[UNRDF_HASH_LEN])
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	Datum *hashes;

	if (ARR_NDIM(array) > 1 || n > 64 || array_contains_nulls(array))
		return -1;
	deconstruct_array(array, BYTEAOID, -1, false, TYPALIGN_INT, &hashes, NULL, &n);
	for (int i = 0; i < n; i++)
		if (!read_hash(DatumGetByteaPP(hashes[i]), proof[i]))
			return -1;
	return n;
}

/*
 * unrdf.verify_inclusion(leaf, index, tree_size, proof, root): RFC 9162, 2.1.3.2; false for
 * anything malformed.
 */
Datum
unrdf_verify_inclusion_fn(PG_FUNCTION_ARGS)
{
	uint8 leaf[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	uint8 proof[64][UNRDF_HASH_LEN];
	int64 index = PG_GETARG_INT64(1);
	int64 size = PG_GETARG_INT64(2);
	int n;

	if (index < 0 || size < 0 || !read_hash(PG_GETARG_BYTEA_PP(0), leaf) ||
		!read_hash(PG_GETARG_BYTEA_PP(4), root))
		PG_RETURN_BOOL(false);
	n = read_proof(PG_GETARG_ARRAYTYPE_P(3), proof);
	PG_RETURN_BOOL(n >= 0 &&
				   unrdf_verify_inclusion((uint64) index, (uint64) size, leaf,
										  (const uint8(*)[UNRDF_HASH_LEN]) proof, n, root));
}

/* unrdf.leaf_hash(data): RFC 9162, 2.1.1. */
Datum
unrdf_leaf_hash_fn(PG_FUNCTION_ARGS)
{
	bytea *data = PG_GETARG_BYTEA_PP(0);
	UnrdfBytes part;
	uint8 hash[UNRDF_HASH_LEN];

	part.data = VARDATA_ANY(data);
	part.len = VARSIZE_ANY_EXHDR(data);
	if (unrdf_leaf_hash(&part, 1, hash) != 0)
		elog(ERROR, "SHA-256 failed");
	PG_RETURN_DATUM(bytes_datum(hash, UNRDF_HASH_LEN));
}

/* unrdf.verify(receipt): UnrdfVerify. */
Datum
unrdf_verify(PG_FUNCTION_ARGS)
{
	static const char *const verdicts[] = {"ok", "pending", "missing", "bad"};
	const char *reason;
	UnrdfVerdict verdict = UnrdfVerify(PG_GETARG_INT64(0), &reason);
	Datum values[2] = {0};
	bool nulls[2] = {false, reason == NULL};

	values[0] = CStringGetTextDatum(verdicts[verdict]);
	if (reason)
		values[1] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(record_datum(fcinfo, values, nulls));
}

/* unrdf.verify_all(workers): UnrdfVerifyAll. */
Datum
unrdf_verify_all(PG_FUNCTION_ARGS)
{
	int workers = PG_ARGISNULL(0) ? -1 : PG_GETARG_INT32(0);

	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyAll(workers, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
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

/* unrdf.verify_progress(): UnrdfVerifyProgress. */
Datum
unrdf_verify_progress(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyProgress((ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
