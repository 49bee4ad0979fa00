#ifndef UNRDF_FAILOVER_H
#define UNRDF_FAILOVER_H

#include "postgres.h"

#include "base/shmem.h"

/* subjects of failovers, which applications cannot record anything about */
#define UNRDF_FAILOVER_SUBJECT_PREFIX "failover/"

extern bool UnrdfFailoverRecord(const UnrdfFailoverTimes *times);

#endif /* UNRDF_FAILOVER_H */
