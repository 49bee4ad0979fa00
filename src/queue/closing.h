#ifndef UNRDF_CLOSING_H
#define UNRDF_CLOSING_H

#include "postgres.h"

extern bool UnrdfQueueClose(text *name, bool closed);
extern bool UnrdfQueueIsShut(text *name, int64 timeout_ms);
extern bool UnrdfQueueIsDrained(text *name, int64 timeout_ms);
extern bool UnrdfQueueHold(int32 queue);
extern int32 UnrdfQueueToUse(text *name);
extern void UnrdfQueueCheckUnused(text *name, int32 queue);
extern void UnrdfQueueRemove(text *name);

#endif /* UNRDF_CLOSING_H */
