#ifndef UNRDF_HELPER_H
#define UNRDF_HELPER_H

#include "postgres.h"

#include "base/shmem.h"

/* A process that the dispatcher starts, beside executors, when it is not there. */
typedef struct UnrdfHelper
{
	struct BackgroundWorkerHandle *handle;
	int64 started; /* ticks */
} UnrdfHelper;

extern void UnrdfHelpersKeep(UnrdfHelper helpers[UNRDF_PROCESSES], bool *warned);

#endif /* UNRDF_HELPER_H */
