/*
 * checkpoint.c: reads published checkpoints, and exports receipts with them. Read only, also on a standby.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/datum.h"
#include "base/plan.h"
#include "crypto/base64.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"

#define COLUMNS                                                                                                                          \
	"SELECT size, root, published_at, replicated, stores, signatures, coalesce((SELECT pg_catalog.string_agg(c.line, '' ORDER BY c.key)" \
	" FROM unrdf.cosignature AS c WHERE c.log OPERATOR(pg_catalog.=) p.log AND c.origin OPERATOR(pg_catalog.=) p.origin"                 \
	" AND c.size OPERATOR(pg_catalog.=) p.size), '') FROM unrdf.checkpoint AS p"
#define OF_ORIGIN " WHERE log OPERATOR(pg_catalog.=) $1 AND origin OPERATOR(pg_catalog.=) $2"

static UnrdfPlan find_newest = {
	COLUMNS OF_ORIGIN " ORDER BY size DESC LIMIT 1", 2, {INT4OID, TEXTOID}};
static UnrdfPlan find_size = {
	COLUMNS OF_ORIGIN " AND size OPERATOR(pg_catalog.=) $3", 3, {INT4OID, TEXTOID, INT8OID}};

/* A text of the last query's row, in the caller's memory. */
static char *
result_text(int column)
{
	bool isnull;
	char *value = TextDatumGetCString(UnrdfResult(0, column, &isnull));
	char *copy = SPI_palloc(strlen(value) + 1);

	return strcpy(copy, value);
}

/*
 * UnrdfCheckpointFind reads a log's newest checkpoint, or the one of *size, as the active snapshot sees it; false where there
 * is none. A root that is none reads as zeros.
 */
bool
UnrdfCheckpointFind(int32 log, const char *origin, const int64 *size, UnrdfPublished *p)
{
	Datum values[3] = {Int32GetDatum(log), CStringGetTextDatum(origin),
					   Int64GetDatum(size ? *size : 0)};
	bool found;
	bool isnull;

	memset(p, 0, sizeof(*p));
	p->checkpoint.origin = origin;
	p->checkpoint.origin_len = strlen(origin);
	SPI_connect();
	found = UnrdfExecute(size ? &find_size : &find_newest, values, NULL, true) == 1;
	if (found)
	{
		bytea *root = DatumGetByteaPP(UnrdfResult(0, 1, &isnull));

		p->checkpoint.size = (uint64) DatumGetInt64(UnrdfResult(0, 0, &isnull));
		if (VARSIZE_ANY_EXHDR(root) == UNRDF_HASH_LEN)
			memcpy(p->checkpoint.root, VARDATA_ANY(root), UNRDF_HASH_LEN);
		p->published_at = DatumGetTimestampTz(UnrdfResult(0, 2, &isnull));
		p->replicated = DatumGetBool(UnrdfResult(0, 3, &isnull));
		p->stores = result_text(4);
		p->signatures = result_text(5);
		p->cosignatures = result_text(6);
	}
	SPI_finish();
	return found;
}

/* UnrdfLogOrigin returns the origin of the log whose newest tree this is; NULL while it is empty. */
const char *
UnrdfLogOrigin(const UnrdfLogHead *head)
{
	return head->size > 0 ? UnrdfEpochGet(head->epoch)->origin : NULL;
}

/*
 * UnrdfCheckpointOwn reads our newest checkpoint, or the one of *size, under the origin that the log has now; false where there
 * is none.
 */
bool
UnrdfCheckpointOwn(const int64 *size, UnrdfPublished *p)
{
	const char *origin;
	UnrdfLogHead head;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	origin = UnrdfLogOrigin(&head);
	return origin && UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, origin, size, p);
}

/* UnrdfCheckpointText appends a checkpoint's text: a signed note, unless there is no signature. */
void
UnrdfCheckpointText(const UnrdfPublished *p, StringInfo out)
{
	char body[512];
	UnrdfCanon c = {body, sizeof(body), 0};

	unrdf_checkpoint_format(&p->checkpoint, &c);
	if (c.len > c.cap)
		elog(ERROR, "checkpoint is too long");
	appendBinaryStringInfo(out, body, c.len);
	appendStringInfoChar(out, '\n');
	appendStringInfoString(out, p->signatures);
	appendStringInfoString(out, p->cosignatures);
}

static void
append_proof(const UnrdfInclusion *inclusion, const char *canonical, int len,
			 const char *checkpoint, int checkpoint_len, StringInfo out)
{
	char *extra = palloc(UNRDF_BASE64_LEN(len));
	UnrdfTlogProof proof = {.extra = extra,
							.extra_len = UNRDF_BASE64_LEN(len),
							.index = inclusion->index,
							.n = inclusion->n,
							.checkpoint = checkpoint,
							.checkpoint_len = checkpoint_len};
	UnrdfCanon length = {NULL, 0, 0};
	UnrdfCanon room;

	unrdf_base64_encode(canonical, len, extra);
	memcpy(proof.hashes, inclusion->hashes, inclusion->n * UNRDF_HASH_LEN);
	unrdf_tlog_proof_format(&proof, &length);
	room = UnrdfCanonRoom(out, length.len);
	unrdf_tlog_proof_format(&proof, &room);
	pfree(extra);
}

static void
disagrees(int64 size)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("log does not have the tree of its checkpoint of size " INT64_FORMAT, size),
			 errhint("Run unrdf.verify_all() to find what was changed.")));
}

/*
 * UnrdfExport appends a receipt's proof (C2SP tlog-proof) in the newest checkpoint, with its canonical JSON as extra data;
 * false while there is no receipt, or no checkpoint that has it. Raises XX001 where the log does not agree with the
 * checkpoint.
 */
bool
UnrdfExport(int64 receipt, StringInfo out)
{
	UnrdfLogHead head;
	UnrdfReceipt r;
	UnrdfPublished p;
	UnrdfInclusion inclusion;
	StringInfoData canonical;
	StringInfoData note;
	int64 size;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (!UnrdfReceiptFetch(receipt, &r) || !UnrdfCheckpointOwn(NULL, &p))
		return false;
	size = (int64) p.checkpoint.size;
	if (p.checkpoint.size > head.size)
		disagrees(size);
	if (!UnrdfProofOfReceipt(receipt, &size, &inclusion))
		return false;
	if (memcmp(inclusion.root, p.checkpoint.root, UNRDF_HASH_LEN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("log does not have the root of its checkpoint of size " INT64_FORMAT, size),
				 errhint("Run unrdf.verify_all() to find what was changed.")));
	initStringInfo(&canonical);
	initStringInfo(&note);
	UnrdfReceiptCanonical(&r, &canonical);
	UnrdfCheckpointText(&p, &note);
	append_proof(&inclusion, canonical.data, canonical.len, note.data, note.len, out);
	return true;
}
