/*
 * store.c: the last checkpoint of a log, kept outside this node.
 *
 * A database that lost its end, in a failover or by an old backup, does not know; whoever holds a later checkpoint does. So
 * before a checkpoint is published it is offered to every store in unrdf.checkpoint_stores, and each has to take it.
 *
 * Invariant: what stores have taken of one origin forms one chain, each tree a prefix of the next. A store that can compare and
 * swap (a file, etcd) has its head read; that has to be a prefix of our tree, computed from our leaves; then it is changed
 * where nobody else has changed it meanwhile. Two primaries, or two copies of one database, cannot both go on from one head.
 * A witness compares by itself.
 *
 * The offer is made in no transaction and under no lock; a store may take its time. Dying after a store took a checkpoint and
 * before it is published leaves the store ahead: with a tree that is ours, so the next offer finds it to be a prefix. Stores
 * that come after one that is away are not asked.
 *
 * A head that is no prefix of ours is evidence, written once per server start; nothing is signed until the store, or the
 * origin, is another.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/plan.h"
#include "base/xact.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"
#include "ledger/store.h"

#define HEAD "unrdf-head/v1\nepoch %d\nsystem " UINT64_FORMAT "\n\n"
#define MOST_SWAPS 3

static UnrdfPlan insert_divergence = {
	"INSERT INTO unrdf.divergence (log, origin, source, their_size, epoch, found_at, their_root,"
	" their_head, own_size, own_root) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
	" ON CONFLICT DO NOTHING",
	10,
	{INT4OID, TEXTOID, TEXTOID, INT8OID, INT4OID, TIMESTAMPTZOID, BYTEAOID, TEXTOID, INT8OID,
	 BYTEAOID}};

/*
 * UnrdfStoreCompare tells how a tree of another relates to what is committed here, and notes both in *d where it is no prefix.
 * In a transaction of its own.
 */
UnrdfRelation
UnrdfStoreCompare(uint64 size, const uint8 *root, UnrdfDivergence *d)
{
	MemoryContext context = CurrentMemoryContext;
	UnrdfRelation relation = UNRDF_PREFIX;
	uint8 computed[UNRDF_HASH_LEN];
	UnrdfLogHead head;

	UnrdfXactBegin("comparing with a checkpoint store");
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (size > head.size)
		relation = UNRDF_LONGER;
	else if (root && (!UnrdfRootOfSize(UNRDF_RECEIPTS_LOG, size, computed) ||
					  memcmp(computed, root, UNRDF_HASH_LEN) != 0))
		relation = UNRDF_OTHER;
	UnrdfXactCommit();
	MemoryContextSwitchTo(context);
	d->size = size;
	d->has_root = root != NULL;
	if (root)
		memcpy(d->root, root, UNRDF_HASH_LEN);
	d->own_size = head.size;
	memcpy(d->own_root, head.root, UNRDF_HASH_LEN);
	return relation;
}

/* UnrdfOfferText returns a checkpoint that is to be published as text, palloc'd. */
char *
UnrdfOfferText(const UnrdfOffer *offer)
{
	StringInfoData text;

	initStringInfo(&text);
	UnrdfCheckpointText(&offer->published, &text);
	return text.data;
}

/* Reads what a store has: false where that is no head of this origin. */
static bool
read_head(const char *text, const char *origin, UnrdfCheckpoint *c)
{
	int epoch;
	uint64 system;
	char header[128];
	const char *end;

	if (sscanf(text, HEAD, &epoch, &system) != 2)
		return false;
	snprintf(header, sizeof(header), HEAD, epoch, system);
	if (strncmp(text, header, strlen(header)) != 0)
		return false;
	text += strlen(header);
	end = strstr(text, "\n\n");
	return end && unrdf_checkpoint_parse(text, end + 1 - text, c) == 0 &&
		   c->origin_len == strlen(origin) && memcmp(c->origin, origin, c->origin_len) == 0;
}

/* Offers to a store that can compare and swap. */
static UnrdfOfferAnswer
offer_by_swap(const UnrdfSwapStore *store, const char *place, const UnrdfOffer *offer,
			  const char **reason, UnrdfDivergence *d)
{
	const UnrdfCheckpoint *ours = &offer->published.checkpoint;
	char *value = psprintf(HEAD "%s", offer->epoch, GetSystemIdentifier(), UnrdfOfferText(offer));

	for (int i = 0; i < MOST_SWAPS; i++)
	{
		UnrdfStored old;
		UnrdfCheckpoint theirs;
		bool swapped;

		if ((*reason = store->read(place, ours->origin, &old)) != NULL)
			return UNRDF_OFFER_AWAY;
		d->head = old.value;
		if (old.value && !read_head(old.value, ours->origin, &theirs))
		{
			*reason = "what it has is no head of this log";
			return UNRDF_OFFER_AWAY;
		}
		if (old.value && UnrdfStoreCompare(theirs.size, theirs.root, d) != UNRDF_PREFIX)
			return UNRDF_OFFER_DIVERGED;
		if (old.value && theirs.size >= ours->size)
			return UNRDF_OFFER_TAKEN;
		if ((*reason = store->swap(place, ours->origin, &old, value, &swapped)) != NULL)
			return UNRDF_OFFER_AWAY;
		if (swapped)
			return UNRDF_OFFER_TAKEN;
	}
	*reason = "others write it at the same time";
	return UNRDF_OFFER_AWAY;
}

/* UnrdfDivergenceWrite keeps the evidence that somebody has a tree that is no prefix of ours. In the caller's transaction. */
void
UnrdfDivergenceWrite(const char *source, const UnrdfOffer *offer, const UnrdfDivergence *d)
{
	Datum values[10] = {Int32GetDatum(UNRDF_RECEIPTS_LOG),
						CStringGetTextDatum(offer->published.checkpoint.origin),
						CStringGetTextDatum(source),
						Int64GetDatum((int64) d->size),
						Int32GetDatum(offer->epoch),
						TimestampTzGetDatum(UnrdfNow()),
						UnrdfBytesDatum(d->root, UNRDF_HASH_LEN),
						CStringGetTextDatum(d->head ? d->head : ""),
						Int64GetDatum((int64) d->own_size),
						UnrdfBytesDatum(d->own_root, UNRDF_HASH_LEN)};
	char nulls[11] = "          ";

	if (!d->has_root)
		nulls[6] = 'n';
	if (d->head == NULL)
		nulls[7] = 'n';
	SPI_connect();
	UnrdfExecute(&insert_divergence, values, nulls, false);
	SPI_finish();
}

static UnrdfOfferAnswer
offer_to(const char *store, UnrdfOffer *offer, const char **reason, UnrdfDivergence *d)
{
	const char *place = strchr(store, ':') + 1;

	if (*store == 'f')
		return offer_by_swap(&UnrdfFileStore, place, offer, reason, d);
	if (*store == 'e')
		return offer_by_swap(&UnrdfEtcdStore, place, offer, reason, d);
	return UnrdfWitnessOffer(place, offer, reason, d);
}

/*
 * UnrdfStoresOffer offers a checkpoint to all stores, outside any transaction, and appends what witnesses among them say to its
 * cosignatures. *reason says, palloc'd, why one did not take it. Evidence of a divergence is committed when it returns.
 */
UnrdfOfferAnswer
UnrdfStoresOffer(UnrdfOffer *offer, const char **reason)
{
	char *list = pstrdup(unrdf_checkpoint_stores);
	char *rest = NULL;

	for (char *store = strtok_r(list, " ", &rest); store; store = strtok_r(NULL, " ", &rest))
	{
		MemoryContext context = CurrentMemoryContext;
		UnrdfDivergence d = {0};
		UnrdfOfferAnswer answer = offer_to(store, offer, reason, &d);

		if (answer == UNRDF_OFFER_TAKEN)
			continue;
		if (answer == UNRDF_OFFER_AWAY)
		{
			*reason = psprintf("checkpoint store \"%s\": %s", store, *reason);
			return answer;
		}
		UnrdfXactBegin("keeping evidence of a divergence");
		UnrdfDivergenceWrite(store, offer, &d);
		UnrdfXactCommit();
		MemoryContextSwitchTo(context);
		if (d.size > d.own_size)
			*reason =
				psprintf("log has " UINT64_FORMAT " leaves, checkpoint store \"%s\" " UINT64_FORMAT,
						 d.own_size, store, d.size);
		else
			*reason =
				psprintf("checkpoint store \"%s\" has another tree of " UINT64_FORMAT " leaves",
						 store, d.size);
		return answer;
	}
	return UNRDF_OFFER_TAKEN;
}
