#ifndef UNRDF_EVENT_RETENTION_H
#define UNRDF_EVENT_RETENTION_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/timestamp.h"

#include "queue/event.h"

extern void UnrdfKeepEvents(text *pattern, int64 seconds);
extern int64 UnrdfEventKeep(const text *name);
extern List *UnrdfEventWaiters(void);
extern bool UnrdfEventIsAwaited(List *waiters, const UnrdfEvent *event);

#endif /* UNRDF_EVENT_RETENTION_H */
