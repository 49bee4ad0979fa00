#ifndef UNRDF_RECEIPT_H
#define UNRDF_RECEIPT_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/append.h"
#include "crypto/digest.h"

#define UNRDF_SALT_LEN 16
#define UNRDF_RECEIPTS_LOG 1

typedef enum UnrdfKind
{
	UNRDF_EXECUTE = 1,
	UNRDF_CREATE,
	UNRDF_UPDATE,
	UNRDF_DELETE,
	UNRDF_BATCH
} UnrdfKind;

typedef enum UnrdfOutcome
{
	UNRDF_OK = 1,
	UNRDF_DEAD,
	UNRDF_CANCELLED,
	UNRDF_SKIPPED
} UnrdfOutcome;

/* How often a job's effects can have come about for its one receipt. */
typedef enum UnrdfDelivery
{
	UNRDF_EXACTLY_ONCE, /* not said */
	UNRDF_AT_LEAST_ONCE
} UnrdfDelivery;

extern const char *const UnrdfKindNames[];
extern const char *const UnrdfOutcomeNames[];


/* What a receipt says. Pointers belong to the caller. */
typedef struct UnrdfReceipt
{
	int64 id;
	uint64 xid; /* of the transaction that wrote it; set by reading */
	TimestampTz started_at;
	TimestampTz finished_at;
	int32 epoch;
	int32 attempt;
	int32 revision; /* 0: the subject has no chain */
	UnrdfKind kind;
	UnrdfOutcome outcome;
	UnrdfDelivery delivery;
	const char *operation; /* not terminated; UTF-8 or server encoding */
	int operation_len;
	const char *actor;
	int actor_len;
	const char *subject; /* NULL: "job/" and the id */
	int subject_len;
	bool erased; /* payload, result and salt are gone; set by reading */
	uint8 salt[UNRDF_SALT_LEN];
	uint8 payload_hash[UNRDF_HASH_LEN];
	bool has_result;
	uint8 result_hash[UNRDF_HASH_LEN];
	bool has_previous;
	uint8 previous[UNRDF_HASH_LEN];
	Jsonb *payload; /* NULL where not stored in the receipt */
	Jsonb *result;
	TimestampTz
		result_until; /* when the result may go, which is then kept apart (base/kept.c); 0: never. Not read */
} UnrdfReceipt;

/* Buffers that are reused from receipt to receipt. */
typedef struct UnrdfReceiptWriter UnrdfReceiptWriter;

extern void UnrdfSaltedHash(const uint8 *salt, Jsonb *value, StringInfo scratch, uint8 *hash);
extern void UnrdfReceiptSeal(UnrdfReceipt *r, Jsonb *payload, StringInfo scratch);
extern UnrdfReceiptWriter *UnrdfReceiptWriterBegin(int capacity);
extern void UnrdfReceiptWrite(UnrdfReceiptWriter *w, const UnrdfReceipt *r);
extern void UnrdfReceiptWriterEnd(UnrdfReceiptWriter *w);
extern void UnrdfReceiptRead(TupleTableSlot *slot, UnrdfReceipt *r);
extern bool UnrdfReceiptFetch(int64 id, UnrdfReceipt *r);
extern void UnrdfReceiptCanonical(const UnrdfReceipt *r, StringInfo out);
extern void UnrdfReceiptLeaf(const UnrdfReceipt *r, StringInfo scratch, uint8 *leaf);

#endif /* UNRDF_RECEIPT_H */
