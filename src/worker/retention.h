#ifndef UNRDF_WORKER_RETENTION_H
#define UNRDF_WORKER_RETENTION_H

#include "postgres.h"

#include "utils/jsonb.h"

extern void UnrdfSetQueue(text *name, Jsonb *settings);
extern Jsonb *UnrdfBodyOf(int64 job, int32 part);

#endif /* UNRDF_WORKER_RETENTION_H */
