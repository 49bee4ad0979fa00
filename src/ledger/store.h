#ifndef UNRDF_STORE_H
#define UNRDF_STORE_H

#include "postgres.h"

#include "ledger/checkpoint.h"

/* A checkpoint that is to be published. */
typedef struct UnrdfOffer
{
	UnrdfPublished published; /* cosignatures: those that the stores gave */
	int32 epoch;
	bool known; /* it was published before: nothing is to be signed */
} UnrdfOffer;

typedef enum UnrdfOfferAnswer
{
	UNRDF_OFFER_TAKEN,
	UNRDF_OFFER_AWAY,    /* no answer, or none that can be used: ask again */
	UNRDF_OFFER_DIVERGED /* the store has a tree that is no prefix of ours */
} UnrdfOfferAnswer;

/* Where a store's tree and ours part. */
typedef struct UnrdfDivergence
{
	uint64 size; /* of the store's tree */
	bool has_root;
	uint8 root[UNRDF_HASH_LEN];
	const char *head; /* as the store has it; NULL: it has not said */
	uint64 own_size;
	uint8 own_root[UNRDF_HASH_LEN];
} UnrdfDivergence;

/* How a store's tree relates to ours. */
typedef enum UnrdfRelation
{
	UNRDF_PREFIX,
	UNRDF_LONGER,
	UNRDF_OTHER
} UnrdfRelation;

extern UnrdfOfferAnswer UnrdfStoresOffer(UnrdfOffer *offer, const char **reason);
extern void UnrdfDivergenceWrite(const char *source, const UnrdfOffer *offer,
								 const UnrdfDivergence *d);

/* for the kinds of stores */
extern UnrdfRelation UnrdfStoreCompare(uint64 size, const uint8 *root, UnrdfDivergence *d);
extern char *UnrdfOfferText(const UnrdfOffer *offer);
extern UnrdfOfferAnswer UnrdfWitnessOffer(const char *url, UnrdfOffer *offer, const char **reason,
										  UnrdfDivergence *d);

/* What a store that can compare and swap has under a name. */
typedef struct UnrdfStored
{
	char *value; /* palloc'd; NULL: nothing */
	int64 revision;
} UnrdfStored;

/*
 * The two things such a store can do; both return why there was no answer, or NULL. swap writes where nothing was written
 * since `old` was read.
 */
typedef struct UnrdfSwapStore
{
	const char *(*read)(const char *place, const char *name, UnrdfStored *stored);
	const char *(*swap)(const char *place, const char *name, const UnrdfStored *old,
						const char *value, bool *swapped);
} UnrdfSwapStore;

extern const UnrdfSwapStore UnrdfFileStore;
extern const UnrdfSwapStore UnrdfEtcdStore;

#endif /* UNRDF_STORE_H */
