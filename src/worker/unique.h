#ifndef UNRDF_UNIQUE_H
#define UNRDF_UNIQUE_H

#include "postgres.h"

#include "queue/job.h"

/* States of a job, as bits. */
#define UNRDF_STATE_SCHEDULED 0x01
#define UNRDF_STATE_PENDING 0x02
#define UNRDF_STATE_RUNNING 0x04
#define UNRDF_STATE_RETRYING 0x08
#define UNRDF_STATE_SUCCEEDED 0x10
#define UNRDF_STATE_DEAD 0x20
#define UNRDF_STATE_CANCELLED 0x40
#define UNRDF_STATE_ALL 0x7f

extern int UnrdfStateOf(const char *name);
extern int64 UnrdfEnqueueOnce(UnrdfEnqueue *request, int states, int64 window_ms, bool *is_new);
extern int64 UnrdfDebounce(UnrdfEnqueue *request, int64 delay_ms, int64 max_delay_ms);

#endif /* UNRDF_UNIQUE_H */
