#ifndef UNRDF_RETRY_H
#define UNRDF_RETRY_H

#include "postgres.h"

extern int64 UnrdfBackoffMillis(int attempt, int base_ms, int cap_ms, double random);

#endif /* UNRDF_RETRY_H */
