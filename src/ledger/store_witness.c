/*
 * store_witness.c: a witness (C2SP tlog-witness) as a store, over HTTP.
 *
 * It keeps the largest tree of each log that it has cosigned, and compares by itself. It tells what it has only by refusing:
 * 409 with the size, after which the request is made once more with a proof from there; 422 where no proof leads from its
 * tree. What it answers is believed as far as its cosignature verifies under a key that unrdf.trust_witness() was told.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/http.h"
#include "base/xact.h"
#include "ledger/log.h"
#include "ledger/store.h"
#include "ledger/witness.h"

/* What a 409 says of the size of the tree it has; false for what is no such answer. */
static bool
read_size(StringInfo body, uint64 *size)
{
	char *end;

	if (body->len < 2 || !isdigit((unsigned char) body->data[0]))
		return false;
	errno = 0;
	*size = strtou64(body->data, &end, 10);
	return errno == 0 && *size <= PG_INT64_MAX && strcmp(end, "\n") == 0;
}

/* Asks to have the checkpoint cosigned, with a proof from the tree of `old` leaves. */
static const char *
ask(const char *url, const UnrdfOffer *offer, uint64 old, UnrdfHttpAnswer *answer)
{
	MemoryContext context = CurrentMemoryContext;
	StringInfoData request;

	initStringInfo(&request);
	UnrdfXactBegin("proving a checkpoint to a witness");
	UnrdfWitnessRequestAppend(old, &offer->published, &request);
	UnrdfXactCommit();
	MemoryContextSwitchTo(context);
	return UnrdfHttpPost(psprintf("%s/add-checkpoint", url), "text/plain", request.data,
						 request.len, unrdf_store_timeout, answer);
}

/* Keeps the cosignatures of an answer, where there is one that verifies and none that does not. */
static UnrdfOfferAnswer
take_cosignatures(UnrdfOffer *offer, StringInfo lines, const char **reason)
{
	MemoryContext context = CurrentMemoryContext;
	int n;

	UnrdfXactBegin("checking a witness's cosignature");
	n = UnrdfCosignaturesCheck(&offer->published, lines->data, lines->len);
	UnrdfXactCommit();
	MemoryContextSwitchTo(context);
	if (n <= 0)
	{
		*reason = n < 0 ? "its cosignature does not verify"
						: "it did not cosign with a key that unrdf.trust_witness() was told";
		return UNRDF_OFFER_AWAY;
	}
	offer->published.cosignatures = psprintf("%s%s", offer->published.cosignatures, lines->data);
	return UNRDF_OFFER_TAKEN;
}

/*
 * UnrdfWitnessOffer offers a checkpoint to a witness, outside any transaction. Where that has a tree that is no prefix of ours
 * *d has what is known of it.
 */
UnrdfOfferAnswer
UnrdfWitnessOffer(const char *url, UnrdfOffer *offer, const char **reason, UnrdfDivergence *d)
{
	uint64 size = offer->published.checkpoint.size;
	uint64 old = 0;
	uint64 has;
	UnrdfHttpAnswer answer;

	if (*offer->published.signatures == '\0')
	{
		*reason = "a witness cosigns only what is signed";
		return UNRDF_OFFER_AWAY;
	}
	/* what it has when we do not know; then what it says */
	for (int i = 0; i < 3; i++, old = has)
	{
		if ((*reason = ask(url, offer, old, &answer)) != NULL)
			return UNRDF_OFFER_AWAY;
		if (answer.status == 200)
			return take_cosignatures(offer, &answer.body, reason);
		if (answer.status == 422 && i > 0)
		{
			(void) UnrdfStoreCompare(old, NULL, d);
			return UNRDF_OFFER_DIVERGED;
		}
		if (answer.status != 409 || !read_size(&answer.body, &has))
		{
			*reason = psprintf("HTTP status %ld", answer.status);
			return UNRDF_OFFER_AWAY;
		}
		/* the same size again: another root */
		if ((i > 0 && has == old && has == size) || UnrdfStoreCompare(has, NULL, d) == UNRDF_LONGER)
		{
			(void) UnrdfStoreCompare(has, NULL, d);
			return UNRDF_OFFER_DIVERGED;
		}
		/* later than an older one of ours: compared when the next is offered */
		if (has > size && offer->known)
			return UNRDF_OFFER_TAKEN;
		if (has > size)
			break;
	}
	*reason = "it has a later tree";
	return UNRDF_OFFER_AWAY;
}
