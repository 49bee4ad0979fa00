/*
 * cosignature.c: what witnesses say of our checkpoints (C2SP tlog-cosignature).
 *
 * Rows are written once; whoever brings a cosignature, it is kept only where it verifies under the key of a witness that was
 * made known. So nothing has to be trusted of the way it came.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/plan.h"
#include "crypto/note.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"
#include "ledger/witness.h"

static UnrdfPlan insert_witness = {
	"INSERT INTO unrdf.witness (key, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	2,
	{TEXTOID, TEXTOID}};
static UnrdfPlan list_witnesses = {"SELECT key FROM unrdf.witness", 0};
static UnrdfPlan insert_cosignature = {
	"INSERT INTO unrdf.cosignature (log, origin, size, key, line, cosigned_at) VALUES ($1, $2, $3, $4, $5, $6)"
	" ON CONFLICT DO NOTHING",
	6,
	{INT4OID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}};

/* UnrdfWitnessTrust makes a witness known by its verifier key. Raises 22023 for what is no such key. */
void
UnrdfWitnessTrust(const char *key, int len)
{
	UnrdfNoteKey k;
	Datum values[2];

	PreventCommandIfReadOnly("unrdf.trust_witness()");
	if (unrdf_note_key_parse(key, len, &k) != 0 || k.type != UNRDF_KEY_COSIGNATURE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("not a witness's verifier key: \"%.*s\"", len, key)));
	values[0] = PointerGetDatum(cstring_to_text_with_len(key, len));
	values[1] = PointerGetDatum(cstring_to_text_with_len(k.name, k.name_len));
	SPI_connect();
	UnrdfExecute(&insert_witness, values, NULL, false);
	SPI_finish();
}

/* Our checkpoint of a size, or the newest; false where there is none. */
static bool
find_own(const int64 *size, UnrdfPublished *p)
{
	UnrdfLogHead head;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	return head.size > 0 &&
		   UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, UnrdfEpochGet(head.epoch)->origin, size, p);
}

/*
 * UnrdfWitnessRequestBuild appends the request to have our newest checkpoint cosigned by a witness whose last one had `old`
 * leaves; false where no signed checkpoint was published. Raises 22023 where old is larger.
 */
bool
UnrdfWitnessRequestBuild(uint64 old, StringInfo out)
{
	UnrdfPublished p;
	UnrdfWitnessRequest r = {.old_size = old};
	StringInfoData note;
	UnrdfCanon c = {NULL, 0, 0};

	if (!find_own(NULL, &p) || *p.signatures == '\0')
		return false;
	if (old > 0)
	{
		UnrdfConsistency proof;
		int64 size = (int64) p.checkpoint.size;

		UnrdfProofOfConsistency(UNRDF_RECEIPTS_LOG, old, &size, &proof);
		r.n = proof.n;
		memcpy(r.proof, proof.hashes, proof.n * UNRDF_HASH_LEN);
	}
	initStringInfo(&note);
	UnrdfCheckpointText(&p, &note);
	r.checkpoint = note.data;
	r.checkpoint_len = note.len;
	unrdf_witness_request_format(&r, &c);
	enlargeStringInfo(out, c.len);
	c.buf = out->data + out->len;
	c.cap = c.len;
	c.len = 0;
	unrdf_witness_request_format(&r, &c);
	out->len += c.len;
	return true;
}

static const char *
line_of(const UnrdfNote *note, const UnrdfNoteKey *key, int *len)
{
	UnrdfNote one = *note;
	const char *end = note->signatures + note->signatures_len;

	/* the one that verifies by itself */
	for (const char *line = note->signatures; line < end;)
	{
		const char *newline = memchr(line, '\n', end - line);

		one.signatures = line;
		one.signatures_len = newline + 1 - line;
		if (unrdf_note_verify(&one, key, NULL) == UNRDF_SIGNED)
		{
			*len = (int) one.signatures_len;
			return line;
		}
		line = newline + 1;
	}
	return NULL;
}

/* Keeps one witness's cosignature of a note. Returns whether it is new. */
static bool
keep(const UnrdfPublished *p, const UnrdfNote *note, text *key_text)
{
	UnrdfNoteKey key;
	uint64 time;
	UnrdfSigned answer;
	Datum values[6];
	const char *line;
	int len;

	if (unrdf_note_key_parse(VARDATA_ANY(key_text), VARSIZE_ANY_EXHDR(key_text), &key) != 0)
		return false;
	answer = unrdf_note_verify(note, &key, &time);
	if (answer == UNRDF_FORGED)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a cosignature of witness \"%.*s\" does not verify",
							   (int) key.name_len, key.name)));
	if (answer == UNRDF_NOT_SIGNED || (line = line_of(note, &key, &len)) == NULL)
		return false;
	values[0] = Int32GetDatum(UNRDF_RECEIPTS_LOG);
	values[1] = CStringGetTextDatum(p->checkpoint.origin);
	values[2] = Int64GetDatum((int64) p->checkpoint.size);
	values[3] = PointerGetDatum(key_text);
	values[4] = PointerGetDatum(cstring_to_text_with_len(line, len));
	values[5] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) time));
	return UnrdfExecute(&insert_cosignature, values, NULL, false) == 1;
}

/*
 * UnrdfCosignaturesAdd keeps the cosignatures of known witnesses among the lines, for our checkpoint of *size leaves or the
 * newest, and returns how many are new. Raises 22023 for lines that are none, for a cosignature that does not verify, and where
 * there is no such checkpoint.
 */
int
UnrdfCosignaturesAdd(const int64 *size, const char *lines, int len)
{
	UnrdfPublished p;
	UnrdfNote note;
	StringInfoData own;
	SPITupleTable *witnesses;
	uint64 n;
	int kept = 0;

	PreventCommandIfReadOnly("unrdf.add_cosignatures()");
	if (!find_own(size, &p))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no such checkpoint")));
	initStringInfo(&own);
	p.signatures = p.cosignatures = "";
	UnrdfCheckpointText(&p, &own);
	appendBinaryStringInfo(&own, lines, len);
	if (unrdf_note_parse(own.data, own.len, &note) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("these are not a note's signature lines")));
	SPI_connect();
	n = UnrdfExecute(&list_witnesses, NULL, NULL, true);
	witnesses = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;

		kept +=
			keep(&p, &note,
				 DatumGetTextPP(SPI_getbinval(witnesses->vals[i], witnesses->tupdesc, 1, &isnull)));
	}
	SPI_finish();
	return kept;
}
