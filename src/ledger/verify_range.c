/*
 * verify_range.c: what there is to verify of the log, for one call: a range, all of it, or what is new since a tree that the
 * caller vouches for.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "crypto/checkpoint.h"
#include "ledger/log.h"
#include "ledger/receipt.h"
#include "ledger/verify_range.h"

/* Raises 22023 for a range that the log does not have. */
static void
check_range(int64 first, int64 stop, uint64 size)
{
	if (first < 0 || stop < first || (uint64) stop > size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no range of leaves from " INT64_FORMAT " to before " INT64_FORMAT,
						first, stop),
				 errdetail("The log has " UINT64_FORMAT " leaves.", size)));
}

/*
 * UnrdfVerifyLeaves verifies leaves first <= index < *stop, or to the log's end where stop is NULL, against the newest root.
 * Raises 22023 for a range that the log does not have.
 */
void
UnrdfVerifyLeaves(int64 first, const int64 *stop, int workers, Tuplestorestate *findings)
{
	UnrdfVerification v = {.workers = workers};
	UnrdfLogHead head;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	check_range(first, stop ? *stop : Max((int64) head.size, first), head.size);
	v.span.log = UNRDF_RECEIPTS_LOG;
	v.span.from = (uint64) first;
	v.span.to = stop && (uint64) *stop < head.size ? (uint64) *stop : UNRDF_LOG_END;
	v.span.size = head.size;
	UnrdfVerifyRange(&v, findings);
}

/*
 * UnrdfSinceRead reads size and root of a checkpoint, with or without signatures. Those are not looked at: who hands it in
 * vouches for it. Raises 22023 for what is no checkpoint.
 */
void
UnrdfSinceRead(const text *since, uint64 *size, uint8 *root)
{
	char *bytes = text_to_cstring(since);
	char *end = strstr(bytes, "\n\n"); /* of the note's text */
	UnrdfCheckpoint c;

	if (unrdf_checkpoint_parse(bytes, end ? (size_t) (end + 1 - bytes) : strlen(bytes), &c) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"since\" is not the text of a checkpoint")));
	*size = c.size;
	memcpy(root, c.root, UNRDF_HASH_LEN);
	pfree(bytes);
}

/*
 * UnrdfVerifyAll verifies the whole log; where since is not NULL, that the log goes on from that checkpoint's tree, and what
 * came after it. Raises 22023 for what is no checkpoint.
 */
void
UnrdfVerifyAll(int workers, const text *since, Tuplestorestate *findings)
{
	UnrdfVerification v = {.workers = workers};
	UnrdfLogHead head;
	uint8 root[UNRDF_HASH_LEN];

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	v.span.log = UNRDF_RECEIPTS_LOG;
	v.span.to = UNRDF_LOG_END;
	v.span.size = head.size;
	if (since)
	{
		UnrdfSinceRead(since, &v.span.from, root);
		v.old_root = root;
	}
	UnrdfVerifyRange(&v, findings);
}
