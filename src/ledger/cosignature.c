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
#include "base/datum.h"
#include "base/plan.h"
#include "crypto/note.h"
#include "ledger/checkpoint.h"
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

/* UnrdfWitnessRequestAppend appends the request to have a checkpoint of ours cosigned by a witness whose last one had `old` leaves. */
void
UnrdfWitnessRequestAppend(uint64 old, const UnrdfPublished *p, StringInfo out)
{
	UnrdfWitnessRequest r = {.old_size = old};
	StringInfoData note;
	UnrdfCanon length = {NULL, 0, 0};
	UnrdfCanon room;

	if (old > 0)
	{
		UnrdfConsistency proof;
		int64 size = (int64) p->checkpoint.size;

		UnrdfProofOfConsistency(UNRDF_RECEIPTS_LOG, old, &size, &proof);
		r.n = proof.n;
		memcpy(r.proof, proof.hashes, proof.n * UNRDF_HASH_LEN);
	}
	initStringInfo(&note);
	UnrdfCheckpointText(p, &note);
	r.checkpoint = note.data;
	r.checkpoint_len = note.len;
	unrdf_witness_request_format(&r, &length);
	room = UnrdfCanonRoom(out, length.len);
	unrdf_witness_request_format(&r, &room);
}

/*
 * UnrdfWitnessRequestBuild appends the request for our newest checkpoint; false where no signed one was published. Raises
 * 22023 where old is larger.
 */
bool
UnrdfWitnessRequestBuild(uint64 old, StringInfo out)
{
	UnrdfPublished p;

	if (!UnrdfCheckpointOwn(NULL, &p) || *p.signatures == '\0')
		return false;
	UnrdfWitnessRequestAppend(old, &p, out);
	return true;
}

/* Lines that may be cosignatures of a checkpoint: the note that they make with its text. */
static bool
read_note(const UnrdfPublished *p, const char *lines, int len, StringInfo text, UnrdfNote *note)
{
	UnrdfPublished bare = *p;

	bare.signatures = bare.cosignatures = "";
	initStringInfo(text);
	UnrdfCheckpointText(&bare, text);
	appendBinaryStringInfo(text, lines, len);
	return unrdf_note_parse(text->data, text->len, note) == 0;
}

/* The line of a note that verifies by itself. */
static const char *
line_of(const UnrdfNote *note, const UnrdfNoteKey *key, int *len)
{
	UnrdfNote one = *note;
	const char *end = note->signatures + note->signatures_len;

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

/* Keeps one witness's cosignature, made at a time in seconds. Returns whether it is new. Inside SPI. */
static bool
keep(const UnrdfPublished *p, const UnrdfNote *note, const UnrdfNoteKey *key, text *key_text,
	 uint64 time)
{
	int len;
	const char *line = line_of(note, key, &len);
	Datum values[6];

	if (line == NULL)
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
 * Goes through the witnesses that are known. Returns how many have cosigned the note, or with keep_them how many of these are
 * new; -1 with *forged where one has not, though it is said to.
 */
static int
count(const UnrdfPublished *p, const UnrdfNote *note, bool keep_them, char **forged)
{
	SPITupleTable *witnesses;
	uint64 n;
	int counted = 0;

	SPI_connect();
	n = UnrdfExecute(&list_witnesses, NULL, NULL, true);
	witnesses = SPI_tuptable;
	for (uint64 i = 0; i < n && counted >= 0; i++)
	{
		bool isnull;
		text *key_text =
			DatumGetTextPP(SPI_getbinval(witnesses->vals[i], witnesses->tupdesc, 1, &isnull));
		UnrdfNoteKey key;
		UnrdfSigned answer;
		uint64 time;

		if (unrdf_note_key_parse(VARDATA_ANY(key_text), VARSIZE_ANY_EXHDR(key_text), &key) != 0)
			continue;
		answer = unrdf_note_verify(note, &key, &time);
		if (answer == UNRDF_FORGED)
		{
			*forged = SPI_palloc(key.name_len + 1);
			snprintf(*forged, key.name_len + 1, "%.*s", (int) key.name_len, key.name);
			counted = -1;
		}
		else if (answer == UNRDF_SIGNED)
			counted += !keep_them || keep(p, note, &key, key_text, time);
	}
	SPI_finish();
	return counted;
}

/* UnrdfWitnessesKnown returns how many witnesses unrdf.trust_witness() was told. */
int
UnrdfWitnessesKnown(void)
{
	int n;

	SPI_connect();
	n = (int) UnrdfExecute(&list_witnesses, NULL, NULL, true);
	SPI_finish();
	return n;
}

/*
 * UnrdfCosignaturesCheck returns how many known witnesses have cosigned a checkpoint with these lines; -1 where they are no
 * signature lines, or one of a known witness does not verify.
 */
int
UnrdfCosignaturesCheck(const UnrdfPublished *p, const char *lines, int len)
{
	StringInfoData text;
	UnrdfNote note;
	char *forged;

	return read_note(p, lines, len, &text, &note) ? count(p, &note, false, &forged) : -1;
}

/*
 * UnrdfCosignaturesKeep keeps the cosignatures of known witnesses among the lines for a checkpoint that is stored, and returns
 * how many are new. Raises 22023 for lines that are none, and for a cosignature that does not verify.
 */
int
UnrdfCosignaturesKeep(const UnrdfPublished *p, const char *lines, int len)
{
	StringInfoData text;
	UnrdfNote note;
	char *forged;
	int kept;

	if (!read_note(p, lines, len, &text, &note))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("these are not a note's signature lines")));
	kept = count(p, &note, true, &forged);
	if (kept < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a cosignature of witness \"%s\" does not verify", forged)));
	return kept;
}

/*
 * UnrdfCosignaturesAdd is UnrdfCosignaturesKeep for our checkpoint of *size leaves or the newest. Raises 22023 also where there
 * is no such checkpoint.
 */
int
UnrdfCosignaturesAdd(const int64 *size, const char *lines, int len)
{
	UnrdfPublished p;

	PreventCommandIfReadOnly("unrdf.add_cosignatures()");
	if (!UnrdfCheckpointOwn(size, &p))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no such checkpoint")));
	return UnrdfCosignaturesKeep(&p, lines, len);
}
