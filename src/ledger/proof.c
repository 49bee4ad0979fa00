/*
 * proof.c: inclusion and consistency proofs (RFC 9162, 2.1.3 and 2.1.4) from the tables.
 *
 * A proof is of a tree of a given size; any size up to the log's can be asked for, not only those at
 * which an integration ended. Reads only, under the active snapshot, O(log size) tiles.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"

#include "base/datum.h"
#include "ledger/log.h"
#include "ledger/proof.h"
#include "ledger/recall.h"
#include "ledger/receipt.h"

/*
 * UnrdfProofBuild fills in p->hashes and p->n for p->index and p->size; false where the log does
 * not have the hashes that it takes, or the tree not that leaf.
 */
bool
UnrdfProofBuild(int32 log, UnrdfInclusion *p)
{
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(log);

	p->n = unrdf_inclusion_proof(p->index, p->size, UnrdfNodeRead, reader, p->hashes);
	UnrdfNodeReaderEnd(reader);
	return p->n >= 0;
}

/*
 * UnrdfRootOfSize computes the root of the tree of a log's first `size` leaves from its tiles; false
 * where the log does not have the hashes that it takes.
 */
bool
UnrdfRootOfSize(int32 log, uint64 size, uint8 *root)
{
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(log);
	int failed = unrdf_tree_root(size, UnrdfNodeRead, reader, root);

	UnrdfNodeReaderEnd(reader);
	return failed == 0;
}

static void
lacks_hashes(uint64 size)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("log lacks hashes of the tree of size " UINT64_FORMAT, size),
					errhint("Run unrdf.verify_all() to find what is missing.")));
}

/* Raises 42704 for a log that there is not. */
static void
check_log(int32 log)
{
	if (log != UNRDF_RECEIPTS_LOG)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("log %d does not exist", log),
						errdetail("The log of receipts is %d.", UNRDF_RECEIPTS_LOG)));
}

/* Reads the newest tree and returns the size asked for. Raises 22023 for one that the log never had. */
static uint64
wanted_size(int32 log, const int64 *size, UnrdfLogHead *head)
{
	UnrdfLogHeadRead(log, head);
	if (size == NULL)
		return head->size;
	if ((uint64) *size > head->size)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no tree of size " INT64_FORMAT, *size),
						errdetail("The log has " UINT64_FORMAT " leaves.", head->size)));
	return (uint64) *size;
}

/* Fills in hashes and root for p->index and p->size. Raises XX001 where the log lacks something. */
static void
prove(int32 log, const UnrdfLogHead *head, UnrdfInclusion *p)
{
	memcpy(p->root, head->root, UNRDF_HASH_LEN);
	if (p->size == head->size && UnrdfRecallProof(log, p))
		return;
	if (!UnrdfProofBuild(log, p) ||
		(p->size != head->size && !UnrdfRootOfSize(log, p->size, p->root)))
		lacks_hashes(p->size);
}

/*
 * UnrdfProofOfReceipt builds a receipt's proof in the tree of *size leaves, or of the newest tree
 * where size is NULL. False while the receipt is not in that tree. Raises 22023 for a size the log
 * never had, XX001 where the log's tables lack something.
 */
bool
UnrdfProofOfReceipt(int64 receipt, const int64 *size, UnrdfInclusion *p)
{
	UnrdfReceipt r;
	UnrdfLogHead head;

	p->size = wanted_size(UNRDF_RECEIPTS_LOG, size, &head);
	if (!UnrdfReceiptFetch(receipt, &r) ||
		!UnrdfLeafFind(UNRDF_RECEIPTS_LOG, receipt, r.xid, &p->index, p->leaf) ||
		p->index >= p->size)
		return false;
	prove(UNRDF_RECEIPTS_LOG, &head, p);
	return true;
}

/*
 * UnrdfProofOfLeaf builds the proof of a log's leaf in the tree of *size leaves, or of the newest
 * tree where size is NULL. Raises 42704 for an unknown log, 22023 for a size it never had or an
 * index beyond it, XX001 where its tables lack something.
 */
void
UnrdfProofOfLeaf(int32 log, uint64 index, const int64 *size, UnrdfInclusion *p)
{
	UnrdfLogHead head;
	UnrdfNodeReader *reader;
	int failed;

	check_log(log);
	p->size = wanted_size(log, size, &head);
	p->index = index;
	if (index >= p->size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no leaf " UINT64_FORMAT " in a tree of size " UINT64_FORMAT,
						index, p->size)));
	reader = UnrdfNodeReaderBegin(log);
	failed = UnrdfNodeRead(reader, 0, index, p->leaf);
	UnrdfNodeReaderEnd(reader);
	if (failed)
		lacks_hashes(p->size);
	prove(log, &head, p);
}

/*
 * UnrdfProofOfConsistency proves that the tree of `old` leaves is a prefix of that of *size leaves,
 * or of the newest where size is NULL. Raises 42704 for an unknown log, 22023 for an old size of 0 or
 * above size and for sizes it never had, XX001 where its tables lack something.
 */
void
UnrdfProofOfConsistency(int32 log, uint64 old, const int64 *size, UnrdfConsistency *p)
{
	UnrdfLogHead head;
	UnrdfNodeReader *reader;

	check_log(log);
	p->size = wanted_size(log, size, &head);
	p->old = old;
	if (old == 0 || old > p->size)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no consistency proof from size " UINT64_FORMAT
							   " to " UINT64_FORMAT,
							   old, p->size),
						old == 0 ? errhint("Every tree is consistent with the empty one.") : 0));
	reader = UnrdfNodeReaderBegin(log);
	p->n = unrdf_consistency_proof(old, p->size, UnrdfNodeRead, reader, p->hashes);
	if (p->n < 0 || unrdf_tree_root(old, UnrdfNodeRead, reader, p->old_root) != 0 ||
		unrdf_tree_root(p->size, UnrdfNodeRead, reader, p->root) != 0)
		lacks_hashes(p->size);
	UnrdfNodeReaderEnd(reader);
}

/* UnrdfProofDatum makes a bytea[] of hashes, in the current memory context. */
Datum
UnrdfProofDatum(uint8 (*proof)[UNRDF_HASH_LEN], int n)
{
	Datum hashes[64];

	for (int i = 0; i < n; i++)
		hashes[i] = UnrdfBytesDatum(proof[i], UNRDF_HASH_LEN);
	return PointerGetDatum(construct_array(hashes, n, BYTEAOID, -1, false, TYPALIGN_INT));
}
