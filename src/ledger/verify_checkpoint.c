/*
 * verify_checkpoint.c: checks what was published of a log: checkpoints, the keys that signed them, cosignatures.
 *
 * A checkpoint belongs to the range of leaves that has its last one. Its root is compared where verify_log.c has just
 * appended that leaf to the tree: all of them cost one pass over the leaves, and none is computed from tiles. Its signatures
 * are compared with the keys in unrdf.log_key: each line has to verify under one of its origin's. Rows are read one by one
 * in the order of size, in memory that is given back after each.
 *
 * What cannot be told: a signature that was taken away, as a checkpoint may be published without a key, and then its origin;
 * a checkpoint that was deleted and has no cosignature; a key that was added and has signed nothing; times.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "crypto/checkpoint.h"
#include "crypto/note.h"
#include "ledger/epoch.h"
#include "ledger/verify_checkpoint.h"

#define BODY_MAX 1024

/* What checking them takes. */
typedef struct Publication
{
	UnrdfAudit *audit;
	UnrdfLookup checkpoints; /* by log, origin, size */
	UnrdfLookup keys;        /* by origin */
	UnrdfLookup witnesses;
} Publication;

/* A value of a row; NULL where it is null. */
static Datum
column(TupleTableSlot *slot, int i)
{
	bool isnull;
	Datum value = slot_getattr(slot, i + 1, &isnull);

	return isnull ? (Datum) 0 : value;
}

/* A text of a row; empty where it is null. */
static text *
text_column(TupleTableSlot *slot, int i)
{
	Datum value = column(slot, i);

	return DatumGetPointer(value) == NULL ? cstring_to_text("") : DatumGetTextPP(value);
}

/* The root of a checkpoint's row; zeros where it is none. */
static void
read_root(TupleTableSlot *slot, uint8 *root)
{
	text *bytes = text_column(slot, CHECKPOINT_ROOT);

	memset(root, 0, UNRDF_HASH_LEN);
	if (VARSIZE_ANY_EXHDR(bytes) == UNRDF_HASH_LEN)
		memcpy(root, VARDATA_ANY(bytes), UNRDF_HASH_LEN);
}

static void
next_promise(UnrdfPromises *p)
{
	p->size = UnrdfLookupNext(&p->rows, ForwardScanDirection)
				  ? (uint64) DatumGetInt64(column(p->rows.slot, CHECKPOINT_SIZE))
				  : PG_UINT64_MAX;
}

/* UnrdfPromisesBegin begins reading the checkpoints with from < size <= to. */
void
UnrdfPromisesBegin(UnrdfPromises *p, int32 log, uint64 from, uint64 to)
{
	UnrdfLookupBegin(&p->rows, UNRDF_CHECKPOINT, UNRDF_CHECKPOINT_SIZE_IDX);
	UnrdfLookupKey(&p->rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(log));
	UnrdfLookupKey(&p->rows, 2, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum((int64) from));
	UnrdfLookupKey(&p->rows, 2, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum((int64) to));
	UnrdfLookupStart(&p->rows);
	next_promise(p);
}

/* UnrdfPromisesCheck reports the checkpoints of a tree's size that have another root, and goes on to larger ones. */
void
UnrdfPromisesCheck(UnrdfPromises *p, UnrdfAudit *a, const UnrdfRange *range)
{
	uint8 root[UNRDF_HASH_LEN];
	uint8 stored[UNRDF_HASH_LEN];

	if (unrdf_range_root(range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	for (; p->size <= range->size; next_promise(p))
	{
		if (p->size < range->size)
			continue;
		read_root(p->rows.slot, stored);
		if (memcmp(root, stored, UNRDF_HASH_LEN) != 0)
			UnrdfAuditReport(a, NULL,
							 "checkpoint of size " UINT64_FORMAT
							 " (epoch %d) does not have the root of its leaves",
							 p->size, DatumGetInt32(column(p->rows.slot, CHECKPOINT_EPOCH)));
	}
}

/* UnrdfPromisesEnd closes everything. */
void
UnrdfPromisesEnd(UnrdfPromises *p)
{
	UnrdfLookupEnd(&p->rows);
}

/* Begins reading rows by log and size: those of the span, and beyond its ends where the log ends there. */
static void
start_span(const UnrdfAudit *a, UnrdfLookup *rows)
{
	const UnrdfSpan *span = &a->span;

	UnrdfLookupKey(rows, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(span->log));
	if (span->from > 0)
		UnrdfLookupKey(rows, 2, BTGreaterStrategyNumber, F_INT8GT,
					   Int64GetDatum((int64) span->from));
	if (span->to < span->size)
		UnrdfLookupKey(rows, 2, BTLessEqualStrategyNumber, F_INT8LE,
					   Int64GetDatum((int64) span->to));
	UnrdfLookupStart(rows);
}

/* Builds the note of a checkpoint's row with signature lines; false where it cannot be one. */
static bool
build_note(TupleTableSlot *slot, const text *lines, UnrdfNote *note)
{
	text *origin = text_column(slot, CHECKPOINT_ORIGIN);
	UnrdfCheckpoint c = {.origin = VARDATA_ANY(origin),
						 .origin_len = VARSIZE_ANY_EXHDR(origin),
						 .size = (uint64) DatumGetInt64(column(slot, CHECKPOINT_SIZE))};
	char body[BODY_MAX];
	UnrdfCanon canon = {body, sizeof(body), 0};
	StringInfoData whole;

	if (!unrdf_origin_is_good(c.origin, c.origin_len))
		return false;
	read_root(slot, c.root);
	unrdf_checkpoint_format(&c, &canon);
	if (canon.len > canon.cap)
		return false;
	initStringInfo(&whole);
	appendBinaryStringInfo(&whole, body, canon.len);
	appendStringInfoChar(&whole, '\n');
	appendBinaryStringInfo(&whole, VARDATA_ANY(lines), VARSIZE_ANY_EXHDR(lines));
	return unrdf_note_parse(whole.data, whole.len, note) == 0;
}

/* What the keys of an origin say of a note with one signature; the best that any says. */
static UnrdfSigned
ask_keys(Publication *p, TupleTableSlot *checkpoint, const UnrdfNote *note)
{
	UnrdfSigned best = UNRDF_NOT_SIGNED;

	UnrdfLookupKey(&p->keys, 1, BTEqualStrategyNumber, F_TEXTEQ,
				   column(checkpoint, CHECKPOINT_ORIGIN));
	UnrdfLookupStart(&p->keys);
	while (best != UNRDF_SIGNED && UnrdfLookupNext(&p->keys, ForwardScanDirection))
	{
		text *t = text_column(p->keys.slot, LOG_KEY_KEY);
		UnrdfSigned answer = UNRDF_NOT_SIGNED;
		UnrdfNoteKey key;

		CHECK_FOR_INTERRUPTS();
		if (unrdf_note_key_parse(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), &key) == 0)
			answer = unrdf_note_verify(note, &key, NULL);
		if (answer != UNRDF_NOT_SIGNED)
			best = answer;
	}
	return best;
}

/* What is wrong with a checkpoint's signatures, or NULL. */
static const char *
check_signatures(Publication *p, TupleTableSlot *slot)
{
	text *lines = text_column(slot, CHECKPOINT_SIGNATURES);
	UnrdfNote note;
	UnrdfNote one;
	const char *end;

	if (VARSIZE_ANY_EXHDR(lines) == 0) /* published without a key */
		return NULL;
	if (!build_note(slot, lines, &note))
		return "is malformed";
	end = note.signatures + note.signatures_len;
	for (one = note; one.signatures < end; one.signatures += one.signatures_len)
	{
		one.signatures_len =
			(const char *) memchr(one.signatures, '\n', end - one.signatures) + 1 - one.signatures;
		switch (ask_keys(p, slot, &one))
		{
			case UNRDF_SIGNED:
				break;
			case UNRDF_FORGED:
				return "has a signature that does not verify";
			case UNRDF_NOT_SIGNED:
				return "has a signature of a key that is not in unrdf.log_key";
		}
	}
	return NULL;
}

/* What is wrong with a checkpoint but its root, or NULL. */
static const char *
check_checkpoint(Publication *p, TupleTableSlot *slot)
{
	int64 size = DatumGetInt64(column(slot, CHECKPOINT_SIZE));

	if (size <= 0 || (uint64) size > p->audit->span.size)
		return "is not of a tree of this log";
	if (UnrdfEpochFind(DatumGetInt32(column(slot, CHECKPOINT_EPOCH))) == NULL)
		return "is of an epoch that does not exist";
	return check_signatures(p, slot);
}

static void
check_checkpoints(Publication *p, MemoryContext context)
{
	UnrdfLookup rows;

	UnrdfLookupBegin(&rows, UNRDF_CHECKPOINT, UNRDF_CHECKPOINT_SIZE_IDX);
	start_span(p->audit, &rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		const char *reason = check_checkpoint(p, rows.slot);

		CHECK_FOR_INTERRUPTS();
		if (reason)
			UnrdfAuditReport(p->audit, NULL, "checkpoint of size " INT64_FORMAT " (epoch %d) %s",
							 DatumGetInt64(column(rows.slot, CHECKPOINT_SIZE)),
							 DatumGetInt32(column(rows.slot, CHECKPOINT_EPOCH)), reason);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	UnrdfLookupEnd(&rows);
}

/* Whether the row of a cosignature's checkpoint is there; it is then in p->checkpoints.slot. */
static bool
find_checkpoint(Publication *p, TupleTableSlot *cosignature)
{
	UnrdfLookupKey(&p->checkpoints, 1, BTEqualStrategyNumber, F_INT4EQ,
				   column(cosignature, COSIGNATURE_LOG));
	UnrdfLookupKey(&p->checkpoints, 2, BTEqualStrategyNumber, F_TEXTEQ,
				   column(cosignature, COSIGNATURE_ORIGIN));
	UnrdfLookupKey(&p->checkpoints, 3, BTEqualStrategyNumber, F_INT8EQ,
				   column(cosignature, COSIGNATURE_SIZE));
	UnrdfLookupStart(&p->checkpoints);
	return UnrdfLookupNext(&p->checkpoints, ForwardScanDirection);
}

static bool
is_trusted(Publication *p, TupleTableSlot *cosignature)
{
	UnrdfLookupKey(&p->witnesses, 1, BTEqualStrategyNumber, F_TEXTEQ,
				   column(cosignature, COSIGNATURE_KEY));
	UnrdfLookupStart(&p->witnesses);
	return UnrdfLookupNext(&p->witnesses, ForwardScanDirection);
}

/* What is wrong with a cosignature, or NULL. */
static const char *
check_cosignature(Publication *p, TupleTableSlot *slot)
{
	text *key_text = text_column(slot, COSIGNATURE_KEY);
	text *line = text_column(slot, COSIGNATURE_LINE);
	UnrdfNoteKey key;
	UnrdfNote note;
	uint64 time;

	if (!find_checkpoint(p, slot))
		return "is of a checkpoint that is not there";
	if (!is_trusted(p, slot))
		return "is of a witness that is not in unrdf.witness";
	if (unrdf_note_key_parse(VARDATA_ANY(key_text), VARSIZE_ANY_EXHDR(key_text), &key) != 0 ||
		key.type != UNRDF_KEY_COSIGNATURE || !build_note(p->checkpoints.slot, line, &note))
		return "is malformed";
	if (unrdf_note_verify(&note, &key, &time) != UNRDF_SIGNED)
		return "does not verify under its witness's key";
	if (time_t_to_timestamptz((pg_time_t) time) !=
		DatumGetTimestampTz(column(slot, COSIGNATURE_COSIGNED_AT)))
		return "does not have the time that its witness signed";
	return NULL;
}

static void
check_cosignatures(Publication *p, MemoryContext context)
{
	UnrdfLookup rows;

	UnrdfLookupBegin(&rows, UNRDF_COSIGNATURE, UNRDF_COSIGNATURE_SIZE_IDX);
	start_span(p->audit, &rows);
	while (UnrdfLookupNext(&rows, ForwardScanDirection))
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		const char *reason = check_cosignature(p, rows.slot);

		CHECK_FOR_INTERRUPTS();
		if (reason)
			UnrdfAuditReport(p->audit, NULL, "cosignature of size " INT64_FORMAT " %s",
							 DatumGetInt64(column(rows.slot, COSIGNATURE_SIZE)), reason);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	UnrdfLookupEnd(&rows);
}

/* Whether a row of unrdf.log_key has a key of its origin. */
static bool
is_key(TupleTableSlot *slot)
{
	text *origin = text_column(slot, LOG_KEY_ORIGIN);
	text *t = text_column(slot, LOG_KEY_KEY);
	UnrdfNoteKey key;

	return unrdf_note_key_parse(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), &key) == 0 &&
		   key.type == UNRDF_KEY_ED25519 && key.name_len == VARSIZE_ANY_EXHDR(origin) &&
		   memcmp(key.name, VARDATA_ANY(origin), key.name_len) == 0;
}

static void
check_keys(Publication *p, MemoryContext context)
{
	UnrdfLookupStart(&p->keys);
	while (UnrdfLookupNext(&p->keys, ForwardScanDirection))
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		if (!is_key(p->keys.slot))
			UnrdfAuditReport(p->audit, NULL, "key of epoch %d in unrdf.log_key is none of its log",
							 DatumGetInt32(column(p->keys.slot, LOG_KEY_EPOCH)));
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
}

/*
 * UnrdfAuditCheckpoints checks the checkpoints of the span's trees but for their roots, and what witnesses said of them; where
 * the span goes to the log's end, also the keys.
 */
void
UnrdfAuditCheckpoints(UnrdfAudit *a)
{
	Publication p = {a};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "unrdf checked checkpoint",
												  ALLOCSET_DEFAULT_SIZES);

	UnrdfLookupBegin(&p.checkpoints, UNRDF_CHECKPOINT, UNRDF_CHECKPOINT_PKEY);
	UnrdfLookupBegin(&p.keys, UNRDF_LOG_KEY, UNRDF_LOG_KEY_PKEY);
	UnrdfLookupBegin(&p.witnesses, UNRDF_WITNESS, UNRDF_WITNESS_PKEY);
	check_checkpoints(&p, context);
	check_cosignatures(&p, context);
	if (a->span.to == a->span.size)
		check_keys(&p, context);
	UnrdfLookupEnd(&p.checkpoints);
	UnrdfLookupEnd(&p.keys);
	UnrdfLookupEnd(&p.witnesses);
	MemoryContextDelete(context);
}
