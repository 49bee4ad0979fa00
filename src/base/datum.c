/*
 * datum.c: values that many functions make.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"

#include "base/datum.h"

/* UnrdfBytesDatum makes a bytea of len bytes, in the current memory context. */
Datum
UnrdfBytesDatum(const void *bytes, Size len)
{
	bytea *b = palloc(VARHDRSZ + len);

	SET_VARSIZE(b, VARHDRSZ + len);
	memcpy(VARDATA(b), bytes, len);
	return PointerGetDatum(b);
}

/* UnrdfCanonRoom makes room for len bytes at the end of a text, and counts them in: whoever calls writes all of them. */
UnrdfCanon
UnrdfCanonRoom(StringInfo out, size_t len)
{
	UnrdfCanon room = {NULL, len, 0};

	enlargeStringInfo(out, (int) len);
	room.buf = out->data + out->len;
	out->len += (int) len;
	out->data[out->len] = '\0';
	return room;
}

/* UnrdfRecordDatum makes the row that a function with OUT parameters returns. */
Datum
UnrdfRecordDatum(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}
