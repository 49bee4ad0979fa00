#ifndef UNRDF_GRANTER_H
#define UNRDF_GRANTER_H

#include "postgres.h"

#include "queue/lane.h"
#include "worker/slot.h"

/* What a dispatcher knows of workers outside. */
typedef struct UnrdfGranter UnrdfGranter;

typedef UnrdfEntry *(*UnrdfLoadEntry)(void *arg, int64 job);

extern UnrdfGranter *UnrdfGranterCreate(UnrdfLaneSet *lanes);
extern void UnrdfGranterAdopt(UnrdfGranter *g, UnrdfLoadEntry load, void *arg);
extern bool UnrdfGranterTake(UnrdfGranter *g);
extern void UnrdfGranterGrant(UnrdfGranter *g, int32 epoch, bool all_read);
extern void UnrdfGranterLose(UnrdfGranter *g, UnrdfEntry *entry, TimestampTz since);
extern bool UnrdfGranterRecords(const UnrdfGranter *g);
extern void UnrdfGranterRecord(UnrdfGranter *g, UnrdfSlot *slot);
extern int64 UnrdfGranterNext(const UnrdfGranter *g);

#endif /* UNRDF_GRANTER_H */
