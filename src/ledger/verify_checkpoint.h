#ifndef UNRDF_VERIFY_CHECKPOINT_H
#define UNRDF_VERIFY_CHECKPOINT_H

#include "postgres.h"

#include "ledger/verify_log.h"

/* The roots that checkpoints promise, by ascending size. */
typedef struct UnrdfPromises
{
	UnrdfLookup rows;
	uint64 size; /* of the next one; PG_UINT64_MAX: there is none */
} UnrdfPromises;

extern void UnrdfPromisesBegin(UnrdfPromises *p, int32 log, uint64 from, uint64 to);
extern void UnrdfPromisesCheck(UnrdfPromises *p, UnrdfAudit *a, const UnrdfRange *range);
extern void UnrdfPromisesEnd(UnrdfPromises *p);
extern void UnrdfAuditCheckpoints(UnrdfAudit *a);

#endif /* UNRDF_VERIFY_CHECKPOINT_H */
