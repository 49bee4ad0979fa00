#ifndef UNRDF_HELD_H
#define UNRDF_HELD_H

#include "postgres.h"

#include "queue/config.h"
#include "worker/claim.h"
#include "worker/lease.h"

extern int UnrdfHeldClaim(const UnrdfClaim *claim, UnrdfConfigSeen *seen, int64 until,
						  UnrdfLease **claimed);
extern UnrdfLease *UnrdfHeldDecide(int64 token);
extern void UnrdfHeldResult(UnrdfLease *lease, UnrdfLeaseResult result, TimestampTz due);
extern void UnrdfHeldEnded(UnrdfLease *lease);

#endif /* UNRDF_HELD_H */
