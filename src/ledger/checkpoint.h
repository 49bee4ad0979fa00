#ifndef UNRDF_LEDGER_CHECKPOINT_H
#define UNRDF_LEDGER_CHECKPOINT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "crypto/checkpoint.h"
#include "ledger/log.h"

/* A published checkpoint. */
typedef struct UnrdfPublished
{
	UnrdfCheckpoint checkpoint; /* its origin is the caller's */
	TimestampTz published_at;
	bool replicated;    /* it was on synchronous standbys before */
	char *stores;       /* unrdf.checkpoint_stores that had taken it before, palloc'd */
	char *signatures;   /* lines, palloc'd; empty: not signed */
	char *cosignatures; /* of witnesses, likewise */
} UnrdfPublished;

extern bool UnrdfCheckpointFind(int32 log, const char *origin, const int64 *size,
								UnrdfPublished *p);
extern const char *UnrdfLogOrigin(const UnrdfLogHead *head);
extern bool UnrdfCheckpointOwn(const int64 *size, UnrdfPublished *p);
extern void UnrdfCheckpointText(const UnrdfPublished *p, StringInfo out);
extern bool UnrdfExport(int64 receipt, StringInfo out);

/* publish.c */
extern bool UnrdfPublish(bool (*paused)(void));
extern void UnrdfPublishingSet(UnrdfPublishing state, const char *reason);

#endif /* UNRDF_LEDGER_CHECKPOINT_H */
