/*
 * verify.c: checks a receipt against the rows it speaks of, and against the log.
 *
 * Nothing stored is believed: hashes are recomputed from payload, result and columns, and compared.
 * A forged row must become a verdict and never an error, so whatever the readers of a receipt would
 * raise for is looked at first; the rest, canonical JSON of a value that has none, is caught around
 * code that only computes, which needs no savepoint. Storage that cannot be read at all (a lost
 * TOAST chunk, a bad page) still raises.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/follow.h"
#include "base/jsonb_canonical.h"
#include "ledger/batch.h"
#include "ledger/epoch.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/verify.h"

const char *const UnrdfVerdictNames[] = {"ok", "erased", "expired", "pending", "missing", "bad"};

const char UnrdfReceiptMissing[] = "there is no receipt";
const char UnrdfLeafDiffers[] = "receipt does not have the leaf hash that is in the log";
const char UnrdfLeafMissing[] = "log has gone past the receipt's transaction without it";
const char UnrdfXidDiffers[] = "transaction id is not one of the integration that has the receipt";

/* What the columns of a receipt should say. */
typedef struct Hashes
{
	uint8 payload[UNRDF_HASH_LEN];
	uint8 result[UNRDF_HASH_LEN];
	uint8 leaf[UNRDF_HASH_LEN];
} Hashes;

/*
 * UnrdfCheckerBegin prepares for checking receipts under the active snapshot, in the current memory
 * context.
 */
void
UnrdfCheckerBegin(UnrdfChecker *c)
{
	UnrdfEpochForget();
	c->context = AllocSetContextCreate(CurrentMemoryContext, "unrdf checked receipt",
									   ALLOCSET_DEFAULT_SIZES);
	UnrdfIdLookupBegin(&c->receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	UnrdfIdLookupBegin(&c->jobs, UNRDF_JOB, UNRDF_JOB_PKEY);
	UnrdfLookupBegin(&c->subjects, UNRDF_RECEIPT, UNRDF_RECEIPT_SUBJECT_IDX);
	initStringInfo(&c->scratch);
	c->without_items = false;
	c->rule.id = 0;
}

/* UnrdfCheckerEnd closes and frees everything. */
void
UnrdfCheckerEnd(UnrdfChecker *c)
{
	UnrdfIdLookupEnd(&c->receipts);
	UnrdfIdLookupEnd(&c->jobs);
	UnrdfLookupEnd(&c->subjects);
	pfree(c->scratch.data);
	MemoryContextDelete(c->context);
}

/* UnrdfCheckerRead reads a row into r, where it can be a receipt at all; returns why it cannot, or NULL. */
const char *
UnrdfCheckerRead(TupleTableSlot *slot, UnrdfReceipt *r)
{
	static const bool optional[RECEIPT_COLUMNS] = {
		[RECEIPT_REVISION] = true, [RECEIPT_SUBJECT] = true, [RECEIPT_RESULT_HASH] = true,
		[RECEIPT_PREVIOUS] = true, [RECEIPT_PAYLOAD] = true, [RECEIPT_RESULT] = true,
		[RECEIPT_DELIVERY] = true};

	slot_getallattrs(slot);
	for (int i = 0; i < RECEIPT_COLUMNS; i++)
		if (slot->tts_isnull[i] && !optional[i])
			return "a column that every receipt has is null";
	UnrdfReceiptRead(slot, r);
	if (UnrdfEpochFind(r->epoch) == NULL)
		return "epoch does not exist";
	return NULL;
}

/* Whether the current error says that a value has no canonical form. */
static bool
has_no_canonical_form(void)
{
	switch (geterrcode())
	{
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_CHARACTER_NOT_IN_REPERTOIRE:
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return true;
	}
	return false;
}

/*
 * Computes all that has to be computed in canonical JSON; returns what could not be. payload is the
 * JSON null where NULL; with leaf_only, payload and result are left alone, and so is what has expired. Nothing in here takes a
 * lock or opens anything, so an error leaves only memory behind.
 */
static const char *
recompute(UnrdfChecker *c, const UnrdfReceipt *r, Jsonb *payload, bool leaf_only, Hashes *h)
{
	MemoryContext context = CurrentMemoryContext;
	const char *volatile reason = NULL;

	PG_TRY();
	{
		if (!leaf_only)
		{
			reason = "payload has no canonical JSON";
			if (!(c->expired & UNRDF_EXPIRED_ARGS))
				UnrdfSaltedHash(r->salt, payload, &c->scratch, h->payload);
			reason = "result has no canonical JSON";
			if (r->result)
				UnrdfSaltedHash(r->salt, r->result, &c->scratch, h->result);
		}
		reason = "receipt has no canonical JSON";
		UnrdfReceiptLeaf(r, &c->scratch, h->leaf);
		reason = NULL;
	}
	PG_CATCH();
	{
		if (!has_no_canonical_form())
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return reason;
}

/*
 * Finds what the payload hash is over: the arguments of a job, the receipt's own payload otherwise; and a job's result, where it is
 * apart from the receipt.
 */
static const char *
find_payload(UnrdfChecker *c, UnrdfReceipt *r, Jsonb **payload)
{
	*payload = r->payload;
	if (r->kind != UNRDF_EXECUTE)
		return NULL;
	if (r->payload)
		return "receipt of a job has a payload of its own";
	if (!UnrdfIdLookupFind(&c->jobs, r->id))
		return "there is no job";
	return UnrdfBodiesFind(&c->rule, c->jobs.rows.slot, r, payload, &c->expired);
}

/* Checks the link to the subject's previous receipt. */
static const char *
check_link(UnrdfChecker *c, const UnrdfReceipt *r)
{
	UnrdfReceipt previous;
	Hashes h;
	const char *reason;

	if (r->subject == NULL || r->revision <= 1)
	{
		if (r->has_previous)
			return "first receipt of its subject has a link to a previous one";
		/* receipts about all of an audited table's rows have no chain, or its writers would wait for each other */
		if ((r->subject == NULL) != (r->revision == 0) && r->kind != UNRDF_BATCH)
			return "revision does not go with the subject";
		return NULL;
	}
	if (!r->has_previous)
		return "link to the subject's previous receipt is missing";
	UnrdfLookupKey(&c->subjects, 1, BTEqualStrategyNumber, F_TEXTEQ,
				   PointerGetDatum(cstring_to_text_with_len(r->subject, r->subject_len)));
	UnrdfLookupKey(&c->subjects, 2, BTEqualStrategyNumber, F_INT4EQ,
				   Int32GetDatum(r->revision - 1));
	UnrdfLookupStart(&c->subjects);
	if (!UnrdfLookupNext(&c->subjects, ForwardScanDirection))
		return "there is no previous receipt of the subject";
	reason = UnrdfCheckerRead(c->subjects.slot, &previous);
	if (reason == NULL)
		reason = recompute(c, &previous, NULL, true, &h);
	if (reason || memcmp(h.leaf, r->previous, UNRDF_HASH_LEN) != 0)
		return "link to the subject's previous receipt does not fit it";
	return NULL;
}

/*
 * Finds the receipt that says that r's payload was erased. Only unrdf.erase() writes receipts of this subject; that it is not
 * forged itself is seen when it is verified.
 */
static const char *
find_erasure(UnrdfChecker *c, const UnrdfReceipt *r)
{
	UnrdfReceipt erasure;

	UnrdfLookupKey(&c->subjects, 1, BTEqualStrategyNumber, F_TEXTEQ,
				   PointerGetDatum(cstring_to_text(psprintf("receipt/" INT64_FORMAT, r->id))));
	UnrdfLookupKey(&c->subjects, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(1));
	UnrdfLookupStart(&c->subjects);
	if (!UnrdfLookupNext(&c->subjects, ForwardScanDirection) ||
		UnrdfCheckerRead(c->subjects.slot, &erasure) != NULL || erasure.kind != UNRDF_DELETE ||
		erasure.operation_len != strlen("erase") ||
		memcmp(erasure.operation, "erase", erasure.operation_len) != 0)
		return "payload was erased, and no receipt says so";
	c->erasure = erasure.id;
	return NULL;
}

/* Checks a receipt whose payload is gone: its leaf and its link still have to be right. */
static const char *
check_erased(UnrdfChecker *c)
{
	UnrdfReceipt *r = &c->receipt;
	const char *reason = find_erasure(c, r);
	Hashes h;

	if (r->payload || r->result)
		return "salt was erased, and payload or result was not";
	if (reason == NULL)
		reason = recompute(c, r, NULL, true, &h);
	if (reason)
		return reason;
	memcpy(c->leaf, h.leaf, UNRDF_HASH_LEN);
	return check_link(c, r);
}

/* Checks the items of a batch, and that a receipt says so where their salts are gone. */
static const char *
check_batch(UnrdfChecker *c, const UnrdfReceipt *r)
{
	UnrdfBatchReader reader;
	const char *reason = "there are no items of the batch";

	UnrdfBatchReaderBegin(&reader);
	if (UnrdfBatchOpen(&reader, r->id))
		reason = UnrdfBatchCheck(&reader, r);
	if (reason == NULL && reader.erased)
		reason = find_erasure(c, r);
	UnrdfBatchReaderEnd(&reader);
	return reason;
}

/* Checks everything about the receipt in the look-up's slot that the log is not needed for. */
static const char *
check_row(UnrdfChecker *c)
{
	UnrdfReceipt *r = &c->receipt;
	const char *reason;
	Jsonb *payload;
	Hashes h;

	reason = UnrdfCheckerRead(c->receipts.rows.slot, r);
	if (reason == NULL && r->erased)
		return check_erased(c);
	if (reason == NULL)
		reason = find_payload(c, r, &payload);
	if (reason == NULL && r->has_result != (r->result != NULL) &&
		!(c->expired & UNRDF_EXPIRED_RESULT))
		reason =
			r->has_result ? "there is a hash of the result but no result" : "result has no hash";
	if (reason == NULL)
		reason = recompute(c, r, payload, false, &h);
	if (reason)
		return reason;
	memcpy(c->leaf, h.leaf, UNRDF_HASH_LEN);
	if (!(c->expired & UNRDF_EXPIRED_ARGS) &&
		memcmp(h.payload, r->payload_hash, UNRDF_HASH_LEN) != 0)
		return "payload does not have the receipt's payload hash";
	if (r->result && memcmp(h.result, r->result_hash, UNRDF_HASH_LEN) != 0)
		return "result does not have the receipt's result hash";
	if (r->kind == UNRDF_BATCH && !c->without_items)
		reason = check_batch(c, r);
	return reason ? reason : check_link(c, r);
}

/*
 * UnrdfCheckReceipt checks a receipt as far as that takes no log: payload, result and the link to
 * its subject's previous receipt. Returns the first reason why it is bad, a constant, or NULL;
 * c->receipt and c->leaf are what was read and recomputed. Cheapest with ascending ids.
 */
const char *
UnrdfCheckReceipt(UnrdfChecker *c, int64 id)
{
	MemoryContext old;
	const char *reason;

	MemoryContextReset(c->context);
	c->erasure = 0;
	c->expired = 0;
	if (!UnrdfIdLookupFind(&c->receipts, id))
		return UnrdfReceiptMissing;
	old = MemoryContextSwitchTo(c->context);
	reason = check_row(c);
	MemoryContextSwitchTo(old);
	return reason;
}

/*
 * UnrdfLogPast returns the transaction id below which the log's follower has returned everything of
 * this cluster; 0 where that cannot be told.
 */
uint64
UnrdfLogPast(const UnrdfLogHead *head)
{
	const UnrdfEpoch *epoch = UnrdfEpochFind(head->epoch);
	UnrdfFollower f;

	if (head->position == NULL || epoch == NULL ||
		epoch->system_identifier != GetSystemIdentifier())
		return 0;
	UnrdfFollowInit(&f, CurrentMemoryContext);
	return UnrdfFollowRead(&f, head->position) ? f.seen.xmin : 0;
}

/*
 * A receipt that no integration of its transaction's time has: usually it waits for its turn. But
 * its transaction id may be forged, and one of the future (which is also that of a restored
 * receipt) or of the log's past is looked into.
 */
static UnrdfVerdict
check_absence(const UnrdfReceipt *r, const UnrdfLogHead *head, const char **reason)
{
	bool past = r->xid < UnrdfLogPast(head);
	bool future = r->xid >= U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64 index;
	uint8 leaf[UNRDF_HASH_LEN];

	if ((past || future) && UnrdfLeafSearch(UNRDF_RECEIPTS_LOG, r->id, &index, leaf))
		*reason = UnrdfXidDiffers;
	else if (past)
		*reason = UnrdfLeafMissing;
	else
	{
		*reason = "not integrated yet";
		return UNRDF_VERDICT_PENDING;
	}
	return UNRDF_VERDICT_BAD;
}

/* Checks the inclusion in the newest tree, and finds out what stands behind it. */
static UnrdfVerdict
check_inclusion(const UnrdfReceipt *r, const uint8 *leaf, const char **reason,
				UnrdfEvidence *evidence)
{
	UnrdfLogHead head;
	UnrdfInclusion p;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	if (!UnrdfLeafFind(UNRDF_RECEIPTS_LOG, r->id, r->xid, &p.index, p.leaf))
		return check_absence(r, &head, reason);
	*reason = NULL;
	p.size = head.size;
	if (memcmp(p.leaf, leaf, UNRDF_HASH_LEN) != 0)
		*reason = UnrdfLeafDiffers;
	else if (!UnrdfProofBuild(UNRDF_RECEIPTS_LOG, &p))
		*reason = "log lacks hashes that the inclusion proof takes";
	else if (!unrdf_verify_inclusion(p.index, p.size, leaf,
									 (const uint8(*)[UNRDF_HASH_LEN]) p.hashes, p.n, head.root))
		*reason = "inclusion proof does not lead to the root of the newest tree";
	else if (evidence)
		*reason = UnrdfEvidenceFind(p.index, evidence);
	return *reason ? UNRDF_VERDICT_BAD : UNRDF_VERDICT_OK;
}

/* Says by which leaf a receipt was erased, whose own verification has to succeed. */
static UnrdfVerdict
check_erasure(int64 erasure, const char **reason)
{
	UnrdfReceipt r;
	const char *why;
	uint64 index;
	uint8 leaf[UNRDF_HASH_LEN];
	UnrdfVerdict verdict = UnrdfVerify(erasure, &why, NULL);

	if (verdict == UNRDF_VERDICT_PENDING)
		*reason = "the erasure is not integrated yet";
	else if (verdict != UNRDF_VERDICT_OK && verdict != UNRDF_VERDICT_ERASED)
	{
		*reason = "the receipt of the erasure does not verify";
		return UNRDF_VERDICT_BAD;
	}
	else if (UnrdfReceiptFetch(erasure, &r) &&
			 UnrdfLeafFind(UNRDF_RECEIPTS_LOG, erasure, r.xid, &index, leaf))
		*reason = psprintf("erased by leaf " UINT64_FORMAT, index);
	return UNRDF_VERDICT_ERASED;
}

/* Says by which rule something has expired, whose own receipt has to verify. */
static UnrdfVerdict
check_expiry(const UnrdfRule *rule, int expired, const char **reason)
{
	UnrdfVerdict verdict = UnrdfVerify(rule->id, reason, NULL);

	if (verdict == UNRDF_VERDICT_OK || verdict == UNRDF_VERDICT_PENDING)
	{
		*reason = UnrdfExpiredReason(rule, expired);
		return UNRDF_VERDICT_EXPIRED;
	}
	*reason = "the receipt of the rule of retention does not verify";
	return UNRDF_VERDICT_BAD;
}

static UnrdfVerdict
verify(int64 receipt, bool without_items, const char **reason, UnrdfEvidence *evidence)
{
	UnrdfChecker c;
	UnrdfVerdict verdict = UNRDF_VERDICT_BAD;

	UnrdfCheckerBegin(&c);
	c.without_items = without_items;
	*reason = UnrdfCheckReceipt(&c, receipt);
	if (*reason == UnrdfReceiptMissing)
		verdict = UNRDF_VERDICT_MISSING;
	else if (*reason == NULL)
		verdict = check_inclusion(&c.receipt, c.leaf, reason, evidence);
	UnrdfCheckerEnd(&c);
	if (verdict == UNRDF_VERDICT_OK && c.erasure != 0)
		return check_erasure(c.erasure, reason);
	if (verdict == UNRDF_VERDICT_OK && c.expired != 0)
		return check_expiry(&c.rule, c.expired, reason);
	return verdict;
}

/*
 * UnrdfVerify recomputes everything about one receipt from the rows that the active snapshot sees.
 * *reason says which check failed, what erased it, or by which rule it has expired; NULL with UNRDF_VERDICT_OK. Where evidence is
 * not NULL it is looked for and checked too, and set where the verdict is that, UNRDF_VERDICT_ERASED or UNRDF_VERDICT_EXPIRED.
 */
UnrdfVerdict
UnrdfVerify(int64 receipt, const char **reason, UnrdfEvidence *evidence)
{
	return verify(receipt, false, reason, evidence);
}

/* UnrdfVerifyWithoutItems does the same, but for the items of a batch: of those the caller proves what it needs. */
UnrdfVerdict
UnrdfVerifyWithoutItems(int64 receipt, const char **reason)
{
	return verify(receipt, true, reason, NULL);
}

/* Whether an item is the one that a batch has at an index. */
static const char *
check_item(const UnrdfReceipt *r, uint64 index, Jsonb *item, bool *erased)
{
	UnrdfBatchReader reader;
	UnrdfItemProof p;
	uint8 leaf[UNRDF_HASH_LEN];
	const char *reason = NULL;
	size_t len;
	char *json = UnrdfCanonicalJsonb(item, &len);

	UnrdfBatchReaderBegin(&reader);
	*erased = false;
	if (!UnrdfBatchOpen(&reader, r->id) || !UnrdfBatchProve(&reader, index, &p))
		reason = "batch has no such item";
	else if (!UnrdfBatchHasRoot(r, p.root))
		reason = "item's proof does not lead to the root that the batch's receipt says";
	else if (p.erased)
		*erased = true;
	else
	{
		UnrdfItemLeaf(p.salt, json, (int) len, leaf);
		if (memcmp(leaf, p.leaf, UNRDF_HASH_LEN) != 0)
			reason = "item is another one";
	}
	UnrdfBatchReaderEnd(&reader);
	return reason;
}

/*
 * UnrdfVerifyItem verifies a batch's receipt, and that it commits to this item at this index. UNRDF_VERDICT_ERASED: the salt
 * of the item is gone, and with it what would show that. Raises 22003 for an item that has no canonical JSON.
 */
UnrdfVerdict
UnrdfVerifyItem(int64 receipt, int64 index, Jsonb *item, const char **reason)
{
	UnrdfVerdict verdict = UnrdfVerifyWithoutItems(receipt, reason);
	const char *found;
	UnrdfReceipt r;
	bool erased;

	if (verdict == UNRDF_VERDICT_BAD || verdict == UNRDF_VERDICT_MISSING ||
		!UnrdfReceiptFetch(receipt, &r))
		return verdict;
	found = check_item(&r, index < 0 ? PG_UINT64_MAX : (uint64) index, item, &erased);
	if (found)
		*reason = found;
	if (found)
		return UNRDF_VERDICT_BAD;
	return erased ? UNRDF_VERDICT_ERASED : verdict;
}
