/*
 * checkpoint_fn.c: the SQL functions about checkpoints, the keys that sign them, and what is proved by them.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "crypto/note.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/keys.h"
#include "ledger/log.h"
#include "ledger/receipt.h"
#include "ledger/tiles.h"

PG_FUNCTION_INFO_V1(unrdf_add_log_key);
PG_FUNCTION_INFO_V1(unrdf_checkpoint);
PG_FUNCTION_INFO_V1(unrdf_draw_origin);
PG_FUNCTION_INFO_V1(unrdf_export_receipt);
PG_FUNCTION_INFO_V1(unrdf_export_tiles);
PG_FUNCTION_INFO_V1(unrdf_first_difference_fn);
PG_FUNCTION_INFO_V1(unrdf_log_state);
PG_FUNCTION_INFO_V1(unrdf_publish_checkpoint);
PG_FUNCTION_INFO_V1(unrdf_verify_checkpoint);

static const char *const publishing_names[] = {"unknown", "signed", "unsigned", "waiting",
											   "refused"};

/* unrdf.checkpoint(size): UnrdfCheckpointText; null where there is none. */
Datum
unrdf_checkpoint(PG_FUNCTION_ARGS)
{
	int64 size = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	UnrdfPublished p;
	StringInfoData text;

	if (!UnrdfCheckpointOwn(PG_ARGISNULL(0) ? NULL : &size, &p))
		PG_RETURN_NULL();
	initStringInfo(&text);
	UnrdfCheckpointText(&p, &text);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}

/* unrdf.export_receipt(receipt): UnrdfExport; null while no checkpoint has it. */
Datum
unrdf_export_receipt(PG_FUNCTION_ARGS)
{
	StringInfoData text;

	initStringInfo(&text);
	if (!UnrdfExport(PG_GETARG_INT64(0), &text))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(text.data, text.len));
}

/* unrdf.export_tiles(directory): UnrdfTilesExport. */
Datum
unrdf_export_tiles(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(UnrdfTilesExport(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* unrdf.first_difference(directory): UnrdfTilesDiffer; null where there is none. */
Datum
unrdf_first_difference_fn(PG_FUNCTION_ARGS)
{
	int64 index = UnrdfTilesDiffer(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (index < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(index);
}

/* unrdf.verify_checkpoint(checkpoint, key): false for whatever is malformed. */
Datum
unrdf_verify_checkpoint(PG_FUNCTION_ARGS)
{
	text *note_text = PG_GETARG_TEXT_PP(0);
	text *key_text = PG_GETARG_TEXT_PP(1);
	UnrdfNote note;
	UnrdfNoteKey key;
	UnrdfCheckpoint c;

	PG_RETURN_BOOL(
		unrdf_note_key_parse(VARDATA_ANY(key_text), VARSIZE_ANY_EXHDR(key_text), &key) == 0 &&
		unrdf_note_parse(VARDATA_ANY(note_text), VARSIZE_ANY_EXHDR(note_text), &note) == 0 &&
		unrdf_checkpoint_parse(note.text, note.text_len, &c) == 0 &&
		unrdf_note_verify(&note, &key, NULL) == UNRDF_SIGNED);
}

/* unrdf.add_log_key(): UnrdfSignerAdd for the receipts' log. Raises 55000 where there is no key file to be, F0000 as it fails. */
Datum
unrdf_add_log_key(PG_FUNCTION_ARGS)
{
	UnrdfSigner signer;
	const char *reason;
	char *key;

	PreventCommandIfReadOnly("unrdf.add_log_key()");
	UnrdfRequirePreload();
	if (*unrdf_log_key_file == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("checkpoints are not to be signed"), errhint("Set unrdf.log_key_file.")));
	reason = UnrdfSignerAdd(UnrdfEpochGet(UnrdfCurrentEpoch())->origin, UNRDF_KEY_ED25519, &signer);
	if (reason)
		ereport(ERROR, (errcode(ERRCODE_CONFIG_FILE_ERROR), errmsg("%s", reason)));
	key = UnrdfKeyText(&signer.key);
	UnrdfSignersWipe(&signer, 1);
	PG_RETURN_TEXT_P(cstring_to_text(key));
}

/* unrdf.draw_origin(): UnrdfOriginNew. */
Datum
unrdf_draw_origin(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("unrdf.draw_origin()");
	PG_RETURN_TEXT_P(UnrdfOriginNew());
}

/* Copies what is known of publishing. False where this server has no workers for this database. */
static bool
read_publishing(UnrdfPublishing *state, TimestampTz *since, char *reason)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db == NULL)
		return false;
	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	*state = db->publishing;
	*since = db->publishing_since;
	strlcpy(reason, db->publishing_reason, UNRDF_REASON_MAX);
	LWLockRelease(UnrdfShmem->lock);
	return true;
}

/* unrdf.log_state(): one row; source of unrdf.log_status. */
Datum
unrdf_log_state(PG_FUNCTION_ARGS)
{
	UnrdfLogHead head;
	UnrdfPublished p;
	UnrdfPublishing state;
	TimestampTz since;
	char reason[UNRDF_REASON_MAX];
	const char *origin;
	Datum values[9] = {Int32GetDatum(UNRDF_RECEIPTS_LOG)};
	bool nulls[9] = {false, true, false, false, true, true, true, true, true};

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	origin = UnrdfLogOrigin(&head);
	values[2] = Int64GetDatum((int64) head.size);
	values[3] = UnrdfBytesDatum(head.root, UNRDF_HASH_LEN);
	if (origin)
	{
		values[1] = CStringGetTextDatum(origin);
		nulls[1] = false;
	}
	if (origin && UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, origin, NULL, &p))
	{
		values[4] = Int64GetDatum((int64) p.checkpoint.size);
		values[5] = TimestampTzGetDatum(p.published_at);
		nulls[4] = nulls[5] = false;
	}
	if (!RecoveryInProgress() && read_publishing(&state, &since, reason))
	{
		values[6] = CStringGetTextDatum(publishing_names[state]);
		values[7] = CStringGetTextDatum(reason);
		values[8] = TimestampTzGetDatum(since);
		nulls[6] = false;
		nulls[7] = *reason == '\0';
		nulls[8] = state == UNRDF_PUBLISHING_UNKNOWN;
	}
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* Raises 55000 where the publisher has tried, and refuses. */
static void
check_refusal(void)
{
	UnrdfPublishing state;
	TimestampTz since;
	char reason[UNRDF_REASON_MAX];

	if (read_publishing(&state, &since, reason) && state == UNRDF_PUBLISHING_REFUSED)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no checkpoints are published: %s", reason)));
}

/* Waits until a checkpoint has `size` leaves; false where it has not by then. Raises 55000 where it is refused. */
static bool
wait_for_checkpoint(UnrdfDatabase *db, uint64 size, int64 until)
{
	uint32 request = pg_atomic_add_fetch_u32(&db->checkpoints_wanted, 1);
	bool in_time = true;

	UnrdfSetLatch(&db->processes[UNRDF_PUBLISHER].latch);
	ConditionVariablePrepareToSleep(&db->checkpoint_tried);
	while (pg_atomic_read_u64(&db->published) < size && in_time)
	{
		if ((int32) (pg_atomic_read_u32(&db->checkpoints_tried) - request) >= 0)
			check_refusal();
		in_time = UnrdfTicks() < until;
		if (in_time)
			(void) ConditionVariableTimedSleep(&db->checkpoint_tried,
											   UnrdfMillisUntilTick(until, 1000),
											   unrdf_wait_event("UnrdfCheckpoint"));
	}
	ConditionVariableCancelSleep();
	return pg_atomic_read_u64(&db->published) >= size;
}

/* A time-out argument's end in ticks; raises 22023 where it is negative. */
static int64
end_of_timeout(FunctionCallInfo fcinfo, int arg)
{
	int64 ms;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	ms = UnrdfIntervalMillis(PG_GETARG_INTERVAL_P(arg));
	if (ms < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout must not be negative")));
	return UnrdfTicks() + ms * 1000;
}

/* unrdf.publish_checkpoint(timeout): the size published; null after timeout, or while the log is empty. */
Datum
unrdf_publish_checkpoint(PG_FUNCTION_ARGS)
{
	int64 until = end_of_timeout(fcinfo, 0);
	UnrdfDatabase *db;
	UnrdfLogHead head;

	PreventCommandIfReadOnly("unrdf.publish_checkpoint()");
	UnrdfRequirePreload();
	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	PopActiveSnapshot();
	db = UnrdfMyDatabase();
	if (head.size == 0 || db == NULL || !wait_for_checkpoint(db, head.size, until))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) pg_atomic_read_u64(&db->published));
}
