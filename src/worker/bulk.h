#ifndef UNRDF_BULK_H
#define UNRDF_BULK_H

#include "postgres.h"

extern int UnrdfReviveJobs(int64 *ids, int n);
extern void UnrdfEraseJobs(int64 *ids, int n, const char *reason);
extern int64 UnrdfQueueEmpty(text *queue, int64 after, int most, text *to);

#endif /* UNRDF_BULK_H */
