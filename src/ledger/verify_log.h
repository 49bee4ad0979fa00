#ifndef UNRDF_VERIFY_LOG_H
#define UNRDF_VERIFY_LOG_H

#include "postgres.h"

#include "ledger/log.h"
#include "ledger/verify.h"

#define UNRDF_REASON_LEN 112

/* Leaves from <= index < to that integrations have without a gap. */
typedef struct UnrdfExtent
{
	uint64 from;
	uint64 to;
} UnrdfExtent;

/* Is told of something wrong: a receipt, or where receipt is NULL, a part of the log. */
typedef void (*UnrdfReportFn)(void *arg, const int64 *receipt, const char *reason);

/* What checking a log takes. */
typedef struct UnrdfAudit
{
	int32 log;
	uint64 size;
	UnrdfReportFn report;
	void *arg;
	UnrdfChecker checker;
	UnrdfLookup tiles;
	int parent_level; /* the tile that parent holds; level 0: none */
	uint64 parent_idx;
	bool parent_whole;
	uint8 parent[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
	bool have[UNRDF_LEAF_RUN]; /* of the leaves checked now, what was read */
	int64 receipts[UNRDF_LEAF_RUN];
	uint8 leaves[UNRDF_LEAF_RUN][UNRDF_HASH_LEN];
} UnrdfAudit;

extern int UnrdfAuditExtents(UnrdfAudit *a, UnrdfExtent *extents, int most);
extern void UnrdfAuditBegin(UnrdfAudit *a, int32 log, uint64 size, UnrdfReportFn report, void *arg);
extern void UnrdfAuditLeaves(UnrdfAudit *a, uint64 from, uint64 to);
extern void UnrdfAuditRoots(UnrdfAudit *a, const UnrdfExtent *extents, int n);
extern void UnrdfAuditTiles(UnrdfAudit *a);
extern void UnrdfAuditEnd(UnrdfAudit *a);

#endif /* UNRDF_VERIFY_LOG_H */
