/*
 * publish.c: signs and stores checkpoints, in the publisher.
 *
 * A published checkpoint is a promise to outsiders, so it is made late: under an origin that is this database's, of a tree
 * that was committed, whose WAL is on disk here and on the synchronous standbys (a failover cannot lose a leaf that somebody
 * holds a proof for), whose root comes out again when it is computed from tiles and leaves, that has the tree of the last
 * checkpoint as a prefix, and that the stores outside have taken (store.c). Where one of these does not hold nothing is
 * published, jobs go on, and unrdf.log_status and the server's log say why.
 *
 * It takes two transactions and what lies between. The first chooses a tree, checks and signs it, which leaves nothing but a
 * text in this process's memory and perhaps a new key in the key file. Then the stores are asked, in no transaction. The second
 * writes row, keys and cosignatures. Dying anywhere before its commit leaves no checkpoint that anybody could see, but perhaps
 * one in a store: of a tree that is ours, which the next offer finds. One publisher at a time, by the launcher and
 * dispatcher; behind that stands UNRDF_LOCK_PUBLISH in the second transaction, which looks once more for a newer checkpoint.
 *
 * After each start, and whenever the stores are set anew, the last checkpoint is offered before anything is signed: after a
 * promotion or from an old backup this is where a lost end is found. The tree to be published next is remembered from one look
 * to the next, or under load the standbys would never have the newest.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/commit.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/replicated.h"
#include "base/xact.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/keys.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"
#include "ledger/store.h"
#include "ledger/witness.h"

static UnrdfPlan insert_checkpoint = {
	"INSERT INTO unrdf.checkpoint (log, origin, size, root, epoch, published_at, signatures, replicated,"
	" stores, position) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
	10,
	{INT4OID, TEXTOID, INT8OID, BYTEAOID, INT4OID, TIMESTAMPTZOID, TEXTOID, BOOLOID, TEXTOID,
	 PG_LSNOID}};
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

/* Whether the last checkpoint has been compared with the log by this process; and by which stores. */
static bool compared = false;
static char *compared_by = NULL;

/* What is to be done after the first transaction. */
typedef enum Step
{
	NOTHING, /* until there is more */
	WAIT,    /* a little, for standbys */
	COMPARE, /* have the stores compare the last checkpoint */
	PUBLISH
} Step;

/* A checkpoint on its way; in memory that lasts for one try. */
typedef struct Candidate
{
	UnrdfOffer offer;
	XLogRecPtr lsn; /* the tree is in the WAL before it */
	int nkeys;
	char *keys[UNRDF_MOST_SIGNERS]; /* those that have signed it */
} Candidate;

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
	else if (state == UNRDF_PUBLISHING_WAITS && *reason)
		ereport(WARNING, (errcode(ERRCODE_CONNECTION_FAILURE),
						  errmsg("checkpoints wait: %s", reason), errdetail("Jobs go on.")));
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

/* Signs the candidate with each key. False where that fails. */
static bool
sign(Candidate *c, const UnrdfSigner *signers, int n)
{
	char body[512];
	UnrdfCanon text = {body, sizeof(body), 0};
	StringInfoData lines;

	initStringInfo(&lines);
	unrdf_checkpoint_format(&c->offer.published.checkpoint, &text);
	for (int i = 0; i < n; i++)
	{
		char line[UNRDF_KEY_NAME_MAX + 128];
		UnrdfCanon out = {line, sizeof(line), 0};

		if (text.len > text.cap ||
			unrdf_note_sign(body, text.len, &signers[i].key, signers[i].seed, 0, &out) != 0 ||
			out.len > out.cap)
			return false;
		appendBinaryStringInfo(&lines, line, out.len);
		c->keys[i] = UnrdfKeyText(&signers[i].key);
	}
	c->nkeys = n;
	c->offer.published.signatures = lines.data;
	return true;
}

/* Makes a signed candidate of the chosen tree. Returns why it could not, or NULL. */
static const char *
sign_chosen(const char *origin, Candidate *c)
{
	UnrdfSigner signers[UNRDF_MOST_SIGNERS];
	const char *reason;
	int n = get_signers(origin, signers, &reason);

	if (n < 0)
		return reason;
	c->offer.epoch = next.epoch;
	c->lsn = next.lsn;
	c->offer.published = (UnrdfPublished){
		.checkpoint = {.origin = origin, .origin_len = strlen(origin), .size = next.size},
		.published_at = UnrdfNow(),
		.replicated = UnrdfHasSynchronousStandbys(),
		.stores = pstrdup(unrdf_checkpoint_stores),
		.signatures = "",
		.cosignatures = ""};
	memcpy(c->offer.published.checkpoint.root, next.root, UNRDF_HASH_LEN);
	if (!sign(c, signers, n))
		reason = "OpenSSL cannot sign";
	UnrdfSignersWipe(signers, n);
	return reason;
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

static void
published(uint64 size)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		pg_atomic_write_u64(&db->published, size);
}

static bool
compared_by_stores(void)
{
	return *unrdf_checkpoint_stores == '\0' ||
		   (compared_by && strcmp(compared_by, unrdf_checkpoint_stores) == 0);
}

/* Keeps evidence of a last checkpoint that the log does not go on from. */
static void
keep_evidence(const UnrdfLogHead *head, const UnrdfPublished *last)
{
	UnrdfOffer offer = {.published = *last, .epoch = head->epoch};
	UnrdfDivergence d = {.size = last->checkpoint.size,
						 .has_root = true,
						 .head = UnrdfOfferText(&offer),
						 .own_size = head->size};

	memcpy(d.root, last->checkpoint.root, UNRDF_HASH_LEN);
	memcpy(d.own_root, head->root, UNRDF_HASH_LEN);
	UnrdfDivergenceWrite("unrdf.checkpoint", &offer, &d);
}

/* Why nothing may be published of a log, or NULL. */
static const char *
check_log(const UnrdfLogHead *head, const char *origin, const UnrdfPublished *last)
{
	const char *reason = NULL;

	if (GetDatabaseEncoding() != PG_UTF8 && GetDatabaseEncoding() != PG_SQL_ASCII)
		return "signed notes are UTF-8, and this database's encoding is another";
	if (!is_ours(origin))
		return psprintf("log \"%s\" is another database's, of which this is a copy; "
						"unrdf.new_origin() is the way on",
						origin);
	if (last && (!compared || last->checkpoint.size != head->size) &&
		(reason = compare_with_last(head, last)) != NULL)
		keep_evidence(head, last);
	return reason;
}

/* Chooses what is to be done about a log that is not empty, and gets it ready. *reason says why nothing may be published. */
static Step
choose_step(const UnrdfLogHead *head, Candidate *c, const char **reason)
{
	const char *origin = UnrdfLogOrigin(head);
	UnrdfPublished last;
	bool found = UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, origin, NULL, &last);

	if ((*reason = check_log(head, origin, found ? &last : NULL)) != NULL)
		return NOTHING;
	if (found && !compared_by_stores())
	{
		c->offer = (UnrdfOffer){.published = last, .epoch = head->epoch, .known = true};
		return COMPARE;
	}
	if (found && last.checkpoint.size == head->size)
	{
		published(head->size);
		UnrdfPublishingSet(*last.signatures ? UNRDF_PUBLISHING_SIGNED : UNRDF_PUBLISHING_UNSIGNED,
						   "");
		return NOTHING;
	}
	choose(head);
	if (!UnrdfReplicated(next.lsn))
	{
		UnrdfPublishingSet(UNRDF_PUBLISHING_WAITS, "");
		return WAIT;
	}
	if ((*reason = check_chosen()) == NULL)
		*reason = sign_chosen(origin, c);
	return *reason ? NOTHING : PUBLISH;
}

/* The first transaction. */
static Step
prepare(bool (*paused)(void), MemoryContext context, Candidate *c, bool *more)
{
	Step step = NOTHING;
	const char *reason = NULL;
	UnrdfLogHead head = {0};

	UnrdfXactBegin("choosing a tree to publish");
	MemoryContextSwitchTo(context);
	if (!paused())
		UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (head.size > 0)
		step = choose_step(&head, c, &reason);
	*more = step == PUBLISH && c->offer.published.checkpoint.size != head.size;
	if (step != WAIT)
		next.size = 0;
	UnrdfXactCommit();
	if (reason)
		UnrdfPublishingSet(UNRDF_PUBLISHING_REFUSED, reason);
	MemoryContextSwitchTo(context);
	return step;
}

/* Offers a checkpoint to the stores; false where it cannot be published. */
static bool
offer_outside(Candidate *c)
{
	const char *reason;
	UnrdfOfferAnswer answer = UnrdfStoresOffer(&c->offer, &reason);

	if (answer == UNRDF_OFFER_TAKEN)
		return true;
	UnrdfPublishingSet(
		answer == UNRDF_OFFER_AWAY ? UNRDF_PUBLISHING_WAITS : UNRDF_PUBLISHING_REFUSED, reason);
	return false;
}

/* Writes row, keys and cosignatures of a candidate. */
static void
write_checkpoint(const Candidate *c)
{
	const UnrdfPublished *p = &c->offer.published;
	Datum values[10] = {Int32GetDatum(UNRDF_RECEIPTS_LOG),
						CStringGetTextDatum(p->checkpoint.origin),
						Int64GetDatum((int64) p->checkpoint.size),
						UnrdfBytesDatum(p->checkpoint.root, UNRDF_HASH_LEN),
						Int32GetDatum(c->offer.epoch),
						TimestampTzGetDatum(p->published_at),
						CStringGetTextDatum(p->signatures),
						BoolGetDatum(p->replicated),
						CStringGetTextDatum(p->stores),
						LSNGetDatum(c->lsn)};

	SPI_connect();
	UnrdfExecute(&insert_checkpoint, values, NULL, false);
	for (int i = 0; i < c->nkeys; i++)
	{
		Datum key[4] = {values[1], CStringGetTextDatum(c->keys[i]), values[4], values[5]};

		UnrdfExecute(&insert_key, key, NULL, false);
	}
	SPI_finish();
	if (*p->cosignatures)
		(void) UnrdfCosignaturesKeep(p, p->cosignatures, strlen(p->cosignatures));
	UnrdfAtCommit(published, p->checkpoint.size);
}

/* The second transaction. */
static void
publish_candidate(bool (*paused)(void), const Candidate *c)
{
	const UnrdfCheckpoint *ours = &c->offer.published.checkpoint;
	UnrdfPublished last;
	bool written = false;

	UnrdfXactBegin("publishing a checkpoint");
	UnrdfLock(UNRDF_LOCK_PUBLISH, UNRDF_RECEIPTS_LOG);
	UnrdfFreshSnapshot();
	if (!paused() && (!UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, ours->origin, NULL, &last) ||
					  last.checkpoint.size < ours->size))
	{
		write_checkpoint(c);
		written = true;
	}
	UnrdfXactCommit();
	if (written)
		UnrdfPublishingSet(c->nkeys > 0 ? UNRDF_PUBLISHING_SIGNED : UNRDF_PUBLISHING_UNSIGNED, "");
}

/* Remembers that the stores have compared the last checkpoint. */
static void
note_compared(void)
{
	char *stores = MemoryContextStrdup(TopMemoryContext, unrdf_checkpoint_stores);

	if (compared_by)
		pfree(compared_by);
	compared_by = stores;
}

/*
 * UnrdfPublish publishes a checkpoint of the receipts' log, where that has grown since the last and nothing speaks against it,
 * in transactions of its own; not where `paused`, asked in each of them, says that the tables are being loaded. False where it
 * had to wait for standbys, or there is more: call it again soon. What it allocates is in the current memory context.
 */
bool
UnrdfPublish(bool (*paused)(void))
{
	MemoryContext context = CurrentMemoryContext;
	Candidate c = {0};
	bool more;
	Step step = prepare(paused, context, &c, &more);

	if (step == WAIT || step == NOTHING)
		return step == NOTHING;
	if (!offer_outside(&c))
		return true;
	if (step == COMPARE)
	{
		note_compared();
		return false;
	}
	publish_candidate(paused, &c);
	MemoryContextSwitchTo(context);
	return !more;
}
