#ifndef UNRDF_VERIFY_LOG_H
#define UNRDF_VERIFY_LOG_H

#include "postgres.h"

#include "ledger/log.h"
#include "ledger/verify.h"

#define UNRDF_REASON_LEN 112
#define UNRDF_LOG_END PG_UINT64_MAX

/* What is checked: leaves from <= index < to of a log that has size leaves. */
typedef struct UnrdfSpan
{
	int32 log;
	uint64 from;
	uint64 to; /* UNRDF_LOG_END: to the end, which is to be found */
	uint64 size;
} UnrdfSpan;

/* Leaves from <= index < to that integrations have without a gap. */
typedef struct UnrdfExtent
{
	uint64 from;
	uint64 to;
} UnrdfExtent;

/* The tree of a log's first leaves. */
typedef struct UnrdfTree
{
	bool known; /* false: what it is made of is missing somewhere */
	UnrdfRange range;
} UnrdfTree;

/* Is told of something wrong: a receipt, or where receipt is NULL, a part of the log. */
typedef void (*UnrdfReportFn)(void *arg, const int64 *receipt, const char *reason);

/* What checking a log takes. */
typedef struct UnrdfAudit
{
	UnrdfSpan span;
	UnrdfReportFn report;
	void *arg;
	UnrdfChecker checker;
	UnrdfLookup tiles;
	UnrdfLookup neighbours; /* integrations by their transaction ids */
	int parent_level;       /* the tile that parent holds; level 0: none */
	uint64 parent_idx;
	bool parent_whole;
	UnrdfTile parent;
	bool have[UNRDF_LEAF_RUN]; /* of the leaves checked now, what was read */
	int64 receipts[UNRDF_LEAF_RUN];
	uint8 leaves[UNRDF_LEAF_RUN][UNRDF_HASH_LEN];
} UnrdfAudit;

extern void UnrdfAuditReport(UnrdfAudit *a, const int64 *receipt, const char *format, ...)
	pg_attribute_printf(3, 4);
extern int UnrdfAuditExtents(UnrdfAudit *a, UnrdfExtent *extents, int most);
extern void UnrdfAuditBegin(UnrdfAudit *a, const UnrdfSpan *span, UnrdfReportFn report, void *arg);
extern void UnrdfAuditLeaves(UnrdfAudit *a, uint64 from, uint64 to);
extern void UnrdfAuditRoots(UnrdfAudit *a, const UnrdfExtent *extents, int n, const uint8 *old_root,
							UnrdfTree *tree);
extern void UnrdfAuditTiles(UnrdfAudit *a);
extern void UnrdfAuditEnd(UnrdfAudit *a);

#endif /* UNRDF_VERIFY_LOG_H */
