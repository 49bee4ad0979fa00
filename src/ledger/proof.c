/*
 * proof.c: inclusion proofs (RFC 9162, 2.1.3) from the tables.
 *
 * A proof is of a leaf in a tree of a given size; any size up to the log's can be asked for, not
 * only those at which an integration ended. Reads only, under the active snapshot.
 */
#include "postgres.h"

#include "ledger/log.h"
#include "ledger/proof.h"
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

/* The root of the tree of p->size leaves. */
static bool
compute_root(int32 log, UnrdfInclusion *p)
{
	UnrdfNodeReader *reader = UnrdfNodeReaderBegin(log);
	int failed = unrdf_tree_root(p->size, UnrdfNodeRead, reader, p->root);

	UnrdfNodeReaderEnd(reader);
	return failed == 0;
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

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	p->size = size ? (uint64) *size : head.size;
	if (p->size > head.size)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no tree of size " INT64_FORMAT, *size),
						errdetail("The log has " UINT64_FORMAT " leaves.", head.size)));
	if (!UnrdfReceiptFetch(receipt, &r) ||
		!UnrdfLeafFind(UNRDF_RECEIPTS_LOG, receipt, r.xid, &p->index, p->leaf) ||
		p->index >= p->size)
		return false;
	memcpy(p->root, head.root, UNRDF_HASH_LEN);
	if (!UnrdfProofBuild(UNRDF_RECEIPTS_LOG, p) ||
		(p->size != head.size && !compute_root(UNRDF_RECEIPTS_LOG, p)))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("log lacks hashes of the tree of size " UINT64_FORMAT, p->size),
						errhint("Run unrdf.verify_all() to find what is missing.")));
	return true;
}
