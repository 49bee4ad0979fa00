/*
 * witness.c: cosigns the checkpoints of other logs (C2SP tlog-witness).
 *
 * A cosignature says: this is the largest tree of this log that I have seen, and it has all that I saw before as prefixes. So
 * per origin the trees cosigned form one chain, and a log that shows different trees to different people cannot have both
 * cosigned.
 *
 * Invariant: nothing is signed that is not stored, committed and the newest of its origin. Comparing with the newest row and
 * storing the new one happen under the origin's bucket lock, held to the commit; otherwise an older request that was checked
 * before a newer one was stored could roll the log back. The signature is made in another transaction after that commit
 * (unrdf.witness_add_checkpoint() is a procedure for this reason): a caller who rolls back, or a crash, leaves no signature
 * without its row. Dying between the two leaves a row that was not signed yet; asking once more has it signed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "crypto/checkpoint.h"
#include "ledger/keys.h"
#include "ledger/witness.h"

#define OK 200
#define BAD_REQUEST 400
#define FORBIDDEN 403
#define NOT_FOUND 404
#define CONFLICT 409
#define UNPROCESSABLE 422

static UnrdfPlan watched_keys = {
	"SELECT key FROM unrdf.witness_log WHERE origin OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
static UnrdfPlan insert_watched = {
	"INSERT INTO unrdf.witness_log (origin, key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	2,
	{TEXTOID, TEXTOID}};
static UnrdfPlan newest = {"SELECT size, root, checkpoint, at, xid FROM unrdf.witnessed"
						   " WHERE origin OPERATOR(pg_catalog.=) $1 ORDER BY size DESC LIMIT 1",
						   1,
						   {TEXTOID}};
static UnrdfPlan insert_witnessed = {
	"INSERT INTO unrdf.witnessed (origin, size, root, checkpoint, at, xid)"
	" VALUES ($1, $2, $3, $4, $5, pg_catalog.pg_current_xact_id())",
	5,
	{TEXTOID, INT8OID, BYTEAOID, TEXTOID, TIMESTAMPTZOID}};

/* The newest tree of an origin that was cosigned. */
typedef struct Seen
{
	bool any;
	uint64 size; /* 0 where there is none */
	uint8 root[UNRDF_HASH_LEN];
	char *checkpoint;
	TimestampTz at;
	uint64 xid; /* of the transaction that stored it */
} Seen;

/* Raises 55000 where this server is no witness. */
static void
require_name(void)
{
	UnrdfRequirePreload();
	if (*unrdf_witness_name == '\0')
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("this server is no witness"), errhint("Set unrdf.witness_name.")));
}

/* Reads the witness's keys; raises 55000 where there are none that can be used. The caller wipes them. */
static int
get_signers(UnrdfSigner *signers)
{
	const char *reason;
	int n = UnrdfSignersRead(unrdf_witness_name, UNRDF_KEY_COSIGNATURE, signers, &reason);

	if (n < 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("%s", reason)));
	if (n == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("witness \"%s\" has no key", unrdf_witness_name),
						errhint("Run unrdf.add_witness_key().")));
	return n;
}

/*
 * UnrdfWitnessKeyAdd draws a key for this witness and returns its public half, palloc'd. Raises 55000 where this server is
 * no witness, F0000 where the key file cannot be used.
 */
char *
UnrdfWitnessKeyAdd(void)
{
	UnrdfSigner signer;
	const char *reason;
	char *key;

	require_name();
	reason = UnrdfSignerAdd(unrdf_witness_name, UNRDF_KEY_COSIGNATURE, &signer);
	if (reason)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("%s", reason)));
	key = UnrdfKeyText(&signer.key);
	UnrdfSignersWipe(&signer, 1);
	return key;
}

/* UnrdfWitnessWatch makes a log known by its verifier key, whose name is the log's origin. Raises 22023 for what is no such key. */
void
UnrdfWitnessWatch(const char *key, int len)
{
	UnrdfNoteKey k;
	Datum values[2];

	if (unrdf_note_key_parse(key, len, &k) != 0 || k.type != UNRDF_KEY_ED25519)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("not a log's verifier key: \"%.*s\"", len, key)));
	values[0] = PointerGetDatum(cstring_to_text_with_len(k.name, k.name_len));
	values[1] = PointerGetDatum(cstring_to_text_with_len(key, len));
	SPI_connect();
	UnrdfExecute(&insert_watched, values, NULL, false);
	SPI_finish();
}

/* Whether a checkpoint is signed by a key that is known for its origin; 404 and 403 where not, else 200. */
static int
check_signature(const char *origin, const UnrdfNote *note)
{
	Datum value = CStringGetTextDatum(origin);
	bool is_signed = false;
	bool forged = false;
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecuteLatest(&watched_keys, &value, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		text *stored = DatumGetTextPP(UnrdfResult(i, 0, &isnull));
		UnrdfNoteKey key;
		UnrdfSigned answer;

		if (unrdf_note_key_parse(VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored), &key) != 0)
			continue;
		answer = unrdf_note_verify(note, &key, NULL);
		is_signed |= answer == UNRDF_SIGNED;
		forged |= answer == UNRDF_FORGED;
	}
	SPI_finish();
	if (n == 0)
		return NOT_FOUND;
	return is_signed && !forged ? OK : FORBIDDEN;
}

/* Reads the newest row of an origin under the newest snapshot. */
static void
read_seen(const char *origin, Seen *seen)
{
	Datum value = CStringGetTextDatum(origin);
	bool isnull;

	memset(seen, 0, sizeof(*seen));
	SPI_connect();
	if (UnrdfExecuteLatest(&newest, &value, NULL) == 1)
	{
		bytea *root = DatumGetByteaPP(UnrdfResult(0, 1, &isnull));
		char *checkpoint = TextDatumGetCString(UnrdfResult(0, 2, &isnull));

		seen->any = true;
		seen->size = (uint64) DatumGetInt64(UnrdfResult(0, 0, &isnull));
		if (VARSIZE_ANY_EXHDR(root) == UNRDF_HASH_LEN)
			memcpy(seen->root, VARDATA_ANY(root), UNRDF_HASH_LEN);
		seen->checkpoint = SPI_palloc(strlen(checkpoint) + 1);
		strcpy(seen->checkpoint, checkpoint);
		seen->at = DatumGetTimestampTz(UnrdfResult(0, 3, &isnull));
		seen->xid = DatumGetUInt64(UnrdfResult(0, 4, &isnull));
	}
	SPI_finish();
}

/* Whether the tree of the checkpoint goes on from what was seen: the status. Size and old size are known to fit. */
static int
check_growth(const UnrdfWitnessRequest *r, const UnrdfCheckpoint *c, const Seen *seen)
{
	uint8 empty[UNRDF_HASH_LEN];

	if (r->old_size != seen->size)
		return CONFLICT;
	if (c->size == 0)
		return r->n == 0 && unrdf_tree_root(0, NULL, NULL, empty) == 0 &&
					   memcmp(c->root, empty, UNRDF_HASH_LEN) == 0
				   ? OK
				   : UNPROCESSABLE;
	if (r->old_size == c->size && memcmp(c->root, seen->root, UNRDF_HASH_LEN) != 0)
		return CONFLICT;
	if (r->old_size == 0 || r->old_size == c->size)
		return r->n == 0 ? OK : UNPROCESSABLE;
	return unrdf_verify_consistency(r->old_size, c->size, seen->root, c->root,
									(const uint8(*)[UNRDF_HASH_LEN]) r->proof, r->n)
			   ? OK
			   : UNPROCESSABLE;
}

static void
store(const char *origin, const UnrdfCheckpoint *c, const UnrdfWitnessRequest *r)
{
	Datum values[5];

	values[0] = CStringGetTextDatum(origin);
	values[1] = Int64GetDatum((int64) c->size);
	values[2] = UnrdfBytesDatum(c->root, UNRDF_HASH_LEN);
	values[3] = PointerGetDatum(cstring_to_text_with_len(r->checkpoint, r->checkpoint_len));
	values[4] = TimestampTzGetDatum(UnrdfNow());
	SPI_connect();
	UnrdfExecute(&insert_witnessed, values, NULL, false);
	SPI_finish();
}

/* Compares with what was seen of the log, under its lock, and stores what goes on from it. */
static void
compare_and_store(const UnrdfWitnessRequest *r, const UnrdfCheckpoint *c,
				  UnrdfWitnessAnswer *answer)
{
	Seen seen;

	UnrdfLock(UNRDF_LOCK_WITNESS, UnrdfLockBucket(answer->origin, strlen(answer->origin), 0));
	read_seen(answer->origin, &seen);
	answer->status = check_growth(r, c, &seen);
	if (answer->status == CONFLICT)
		answer->body = psprintf(UINT64_FORMAT "\n", seen.size);
	else if (answer->status == UNPROCESSABLE)
		answer->body = "the consistency proof does not verify\n";
	else if (!seen.any || c->size > seen.size)
		store(answer->origin, c, r);
	answer->size = c->size;
}

/*
 * UnrdfWitnessCheck answers a request to cosign a checkpoint, short of the cosignature, and stores the checkpoint where the
 * answer is 200. Whatever the request says is answered, not raised. Raises 55000 where this server is no witness.
 */
void
UnrdfWitnessCheck(const char *request, int len, UnrdfWitnessAnswer *answer)
{
	UnrdfSigner signers[UNRDF_MOST_SIGNERS];
	UnrdfWitnessRequest r;
	UnrdfNote note;
	UnrdfCheckpoint c;

	memset(answer, 0, sizeof(*answer));
	PreventCommandIfReadOnly("unrdf.witness_check()");
	require_name();
	UnrdfSignersWipe(signers, get_signers(signers));
	answer->status = BAD_REQUEST;
	answer->body = "malformed request\n";
	if (unrdf_witness_request_parse(request, len, &r) != 0 ||
		unrdf_note_parse(r.checkpoint, r.checkpoint_len, &note) != 0 ||
		unrdf_checkpoint_parse(note.text, note.text_len, &c) != 0 ||
		note.text_len > UNRDF_NOTE_TEXT_MAX)
		return;
	answer->origin = pnstrdup(c.origin, c.origin_len);
	answer->status = check_signature(answer->origin, &note);
	answer->body = answer->status == NOT_FOUND ? "unknown log\n"
				   : answer->status == FORBIDDEN
					   ? "not signed by a key that is known for this log\n"
					   : NULL;
	if (answer->status != OK)
		return;
	if (r.old_size > c.size)
	{
		answer->status = BAD_REQUEST;
		answer->body = "old size is larger than the checkpoint's\n";
		return;
	}
	compare_and_store(&r, &c, answer);
}

/* Appends the cosignatures of all keys for the text of a stored checkpoint. */
static void
cosign(const Seen *seen, StringInfo lines)
{
	UnrdfSigner signers[UNRDF_MOST_SIGNERS];
	int n = get_signers(signers);
	uint64 time = (uint64) (UnrdfUnixMicros(Max(UnrdfNow(), seen->at)) / USECS_PER_SEC);
	bool failed = false;
	UnrdfNote note;

	if (unrdf_note_parse(seen->checkpoint, strlen(seen->checkpoint), &note) != 0)
		failed = true;
	for (int i = 0; i < n && !failed; i++)
	{
		char line[UNRDF_KEY_NAME_MAX + 192];
		UnrdfCanon out = {line, sizeof(line), 0};

		failed = unrdf_note_sign(note.text, note.text_len, &signers[i].key, signers[i].seed, time,
								 &out) != 0 ||
				 out.len > out.cap;
		if (!failed)
			appendBinaryStringInfo(lines, line, out.len);
	}
	UnrdfSignersWipe(signers, n);
	if (failed)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("stored checkpoint of size " UINT64_FORMAT " cannot be cosigned",
							   seen->size)));
}

/*
 * UnrdfWitnessCosign appends the cosignatures of a checkpoint that is stored; false where it is not, or no longer, the newest of
 * its origin. Raises 25001 in the transaction that stored it, 55000 where this server is no witness.
 */
bool
UnrdfWitnessCosign(const char *origin, uint64 size, StringInfo lines)
{
	Seen seen;

	PreventCommandIfReadOnly("unrdf.witness_cosign()");
	require_name();
	UnrdfLock(UNRDF_LOCK_WITNESS, UnrdfLockBucket(origin, strlen(origin), 0));
	read_seen(origin, &seen);
	if (!seen.any || seen.size != size)
		return false;
	if (seen.xid == U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("a checkpoint is cosigned after the transaction that stored it"),
						errhint("CALL unrdf.witness_add_checkpoint().")));
	cosign(&seen, lines);
	return true;
}
