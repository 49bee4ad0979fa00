/*
 * publish.c: signs and stores checkpoints, in the integrator.
 *
 * A published checkpoint is a promise to outsiders, so it is made late: under an origin that is this database's, of a tree
 * that was committed, whose WAL is on disk here and on the synchronous standbys (a failover cannot lose a leaf that somebody
 * holds a proof for), whose root comes out again when it is computed from tiles and leaves, and that has the tree of the last
 * checkpoint as a prefix. Where one of these does not hold nothing is published, jobs go on, and unrdf.log_status and the
 * server's log say why.
 *
 * Row, key and signature are written in one transaction, after the last of these checks. Dying before its commit leaves no
 * trace but perhaps a key in the key file that has signed nothing, and signs next time. One publisher at a time:
 * UNRDF_LOCK_LOG. The tree to be published next is remembered by this process from one look to the next, or under load the
 * standbys would never have the newest; it is chosen anew by the next process.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/keys.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"

static UnrdfPlan insert_checkpoint = {
	"INSERT INTO unrdf.checkpoint (log, origin, size, root, epoch, published_at, signatures)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7)",
	7,
	{INT4OID, TEXTOID, INT8OID, BYTEAOID, INT4OID, TIMESTAMPTZOID, TEXTOID}};
static UnrdfPlan insert_key = {"INSERT INTO unrdf.log_key (origin, key, epoch, first_used_at)"
							   " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
							   4,
							   {TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID}};
static UnrdfPlan find_keys = {
	"SELECT FROM unrdf.log_key WHERE origin OPERATOR(pg_catalog.=) $1 LIMIT 1", 1, {TEXTOID}};

static UnrdfPlan find_owner = {
	"SELECT system_identifier, database FROM unrdf.epoch WHERE origin OPERATOR(pg_catalog.=) $1"
	" ORDER BY epoch LIMIT 1",
	1,
	{TEXTOID}};

/* The tree to be published next; size 0: none. */
static struct
{
	uint64 size;
	uint8 root[UNRDF_HASH_LEN];
	int32 epoch;
	XLogRecPtr lsn;
} next;

/* Whether the last checkpoint has been compared with the log by this process. */
static bool compared = false;

/* UnrdfPublishingSet notes whether checkpoints are published; the server's log has every change to and from refusal. */
void
UnrdfPublishingSet(UnrdfPublishing state, const char *reason)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	UnrdfPublishing before;
	bool same;

	if (db == NULL)
		return;
	LWLockAcquire(UnrdfShmem->lock, LW_EXCLUSIVE);
	before = db->publishing;
	same = before == state && strncmp(db->publishing_reason, reason, UNRDF_REASON_MAX - 1) == 0;
	if (!same)
	{
		db->publishing = state;
		db->publishing_since = UnrdfNow();
		strlcpy(db->publishing_reason, reason, UNRDF_REASON_MAX);
	}
	LWLockRelease(UnrdfShmem->lock);
	if (same)
		return;
	if (state == UNRDF_PUBLISHING_REFUSED)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("no checkpoints are published: %s", reason), errdetail("Jobs go on.")));
	else if (before == UNRDF_PUBLISHING_REFUSED)
		ereport(LOG, (errmsg("checkpoints are published again")));
}

static bool
has_signed(const char *origin)
{
	Datum value = CStringGetTextDatum(origin);
	bool found;

	SPI_connect();
	found = UnrdfExecute(&find_keys, &value, NULL, true) > 0;
	SPI_finish();
	return found;
}

/* Whether an origin was drawn in this database: not in one that this is a copy of. */
static bool
is_ours(const char *origin)
{
	Datum value = CStringGetTextDatum(origin);
	bool ours = false;
	bool isnull;

	SPI_connect();
	if (UnrdfExecute(&find_owner, &value, NULL, true) == 1)
		ours = (uint64) DatumGetInt64(UnrdfResult(0, 0, &isnull)) == GetSystemIdentifier() &&
			   DatumGetObjectId(UnrdfResult(0, 1, &isnull)) == MyDatabaseId;
	SPI_finish();
	return ours;
}

/* Reads the log's keys; draws the first where there never was one. Returns how many, or -1 and why. */
static int
get_signers(const char *origin, UnrdfSigner *signers, const char **reason)
{
	int n;

	*reason = NULL;
	if (*unrdf_log_key_file == '\0')
		return 0;
	n = UnrdfSignersRead(origin, UNRDF_KEY_ED25519, signers, reason);
	if (n != 0)
		return n;
	if (has_signed(origin))
	{
		*reason = psprintf("key file \"%s\" has no key of log \"%s\", which was signed before",
						   unrdf_log_key_file, origin);
		return -1;
	}
	*reason = UnrdfSignerAdd(origin, UNRDF_KEY_ED25519, signers);
	return *reason ? -1 : 1;
}

static bool
has_root(uint64 size, const uint8 *root)
{
	uint8 computed[UNRDF_HASH_LEN];

	return UnrdfRootOfSize(UNRDF_RECEIPTS_LOG, size, computed) &&
		   memcmp(computed, root, UNRDF_HASH_LEN) == 0;
}

/* Why the log cannot go on from its last checkpoint, or NULL. */
static const char *
compare_with_last(const UnrdfLogHead *head, const UnrdfPublished *last)
{
	uint64 size = last->checkpoint.size;

	if (size > head->size)
		return psprintf("log has " UINT64_FORMAT " leaves, its last checkpoint " UINT64_FORMAT,
						head->size, size);
	if (!has_root(size, last->checkpoint.root))
		return psprintf("log does not have the root of its checkpoint of size " UINT64_FORMAT,
						size);
	compared = true;
	return NULL;
}

/* Chooses the newest tree to be published next, unless one is waiting already. */
static void
choose(const UnrdfLogHead *head)
{
	if (next.size != 0)
		return;
	next.size = head->size;
	next.epoch = head->epoch;
	memcpy(next.root, head->root, UNRDF_HASH_LEN);
	next.lsn = UnrdfWalEnd(); /* after the commit of what the snapshot sees */
}

/* Appends a checkpoint's signature lines, and makes the keys known. False where signing fails. */
static bool
sign(const UnrdfPublished *p, const UnrdfSigner *signers, int n, StringInfo lines)
{
	char body[512];
	UnrdfCanon text = {body, sizeof(body), 0};

	unrdf_checkpoint_format(&p->checkpoint, &text);
	for (int i = 0; i < n; i++)
	{
		char line[UNRDF_KEY_NAME_MAX + 128];
		UnrdfCanon out = {line, sizeof(line), 0};
		Datum key[4] = {CStringGetTextDatum(p->checkpoint.origin),
						CStringGetTextDatum(UnrdfKeyText(&signers[i].key)),
						Int32GetDatum(next.epoch), TimestampTzGetDatum(p->published_at)};

		if (text.len > text.cap ||
			unrdf_note_sign(body, text.len, &signers[i].key, signers[i].seed, 0, &out) != 0 ||
			out.len > out.cap)
			return false;
		appendBinaryStringInfo(lines, line, out.len);
		SPI_connect();
		UnrdfExecute(&insert_key, key, NULL, false);
		SPI_finish();
	}
	return true;
}

static void
published(uint64 size)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		pg_atomic_write_u64(&db->published, size);
}

/* Writes the checkpoint of the chosen tree. Returns why it could not be signed, or NULL. */
static const char *
write_checkpoint(const char *origin, const UnrdfSigner *signers, int n)
{
	UnrdfPublished p = {
		.checkpoint = {.origin = origin, .origin_len = strlen(origin), .size = next.size},
		.published_at = UnrdfNow()};
	StringInfoData lines;
	Datum values[7];

	memcpy(p.checkpoint.root, next.root, UNRDF_HASH_LEN);
	initStringInfo(&lines);
	if (!sign(&p, signers, n, &lines))
		return "OpenSSL cannot sign";
	values[0] = Int32GetDatum(UNRDF_RECEIPTS_LOG);
	values[1] = CStringGetTextDatum(origin);
	values[2] = Int64GetDatum((int64) next.size);
	values[3] = UnrdfBytesDatum(next.root, UNRDF_HASH_LEN);
	values[4] = Int32GetDatum(next.epoch);
	values[5] = TimestampTzGetDatum(p.published_at);
	values[6] = PointerGetDatum(cstring_to_text_with_len(lines.data, lines.len));
	SPI_connect();
	UnrdfExecute(&insert_checkpoint, values, NULL, false);
	SPI_finish();
	UnrdfAtCommit(published, next.size);
	return NULL;
}

/* Signs and writes the checkpoint of the chosen tree, with all keys there are. */
static void
publish_chosen(const char *origin)
{
	UnrdfSigner signers[UNRDF_MOST_SIGNERS];
	const char *reason;
	int n = get_signers(origin, signers, &reason);

	if (n >= 0)
		reason = write_checkpoint(origin, signers, n);
	if (n > 0)
		UnrdfSignersWipe(signers, n);
	if (reason)
		UnrdfPublishingSet(UNRDF_PUBLISHING_REFUSED, reason);
	else
		UnrdfPublishingSet(n > 0 ? UNRDF_PUBLISHING_SIGNED : UNRDF_PUBLISHING_UNSIGNED, "");
}

/* Why the chosen tree cannot be published, or NULL. */
static const char *
check_chosen(void)
{
	if (has_root(next.size, next.root))
		return NULL;
	return psprintf("log of size " UINT64_FORMAT " does not have the root that was stored for it",
					next.size);
}

/* Publishes what there is to publish of a log that is not empty. False where there is more, or it has to wait for standbys. */
static bool
publish_head(const UnrdfLogHead *head)
{
	const char *origin = UnrdfEpochGet(head->epoch)->origin;
	const char *reason = NULL;
	uint64 size = 0;
	UnrdfPublished last;
	bool found = UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, origin, NULL, &last);

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
		reason = "signed notes are UTF-8, and this database's encoding is another";
	else if (!is_ours(origin))
		reason = psprintf("log \"%s\" is another database's, of which this is a copy; "
						  "unrdf.new_origin() is the way on",
						  origin);
	else if (found && (!compared || last.checkpoint.size != head->size))
		reason = compare_with_last(head, &last);
	if (reason == NULL && found && last.checkpoint.size == head->size)
	{
		published(head->size);
		UnrdfPublishingSet(*last.signatures ? UNRDF_PUBLISHING_SIGNED : UNRDF_PUBLISHING_UNSIGNED,
						   "");
	}
	else if (reason == NULL)
	{
		choose(head);
		if (!UnrdfReplicated(next.lsn))
		{
			UnrdfPublishingSet(UNRDF_PUBLISHING_WAITS, "");
			return false;
		}
		size = next.size;
		reason = check_chosen();
		if (reason == NULL)
			publish_chosen(origin);
	}
	next.size = 0;
	if (reason)
		UnrdfPublishingSet(UNRDF_PUBLISHING_REFUSED, reason);
	return size == 0 || size == head->size;
}

/*
 * UnrdfPublish publishes a checkpoint of the receipts' log in the current transaction, where the log has grown since the last
 * and nothing speaks against it. False where it had to wait for standbys, or has waited: call it again soon.
 */
bool
UnrdfPublish(void)
{
	UnrdfLogHead head;
	bool done = true;

	UnrdfLock(UNRDF_LOCK_LOG, UNRDF_RECEIPTS_LOG);
	PushActiveSnapshot(GetLatestSnapshot());
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (head.size > 0)
		done = publish_head(&head);
	PopActiveSnapshot();
	return done;
}
