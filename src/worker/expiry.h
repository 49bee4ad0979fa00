#ifndef UNRDF_EXPIRY_H
#define UNRDF_EXPIRY_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "worker/pool.h"

extern bool UnrdfSegmentFilled(int segment, TimestampTz *due);
extern int UnrdfSegmentsDue(int *segments);
extern bool UnrdfSegmentEmpty(int segment);
extern int UnrdfExpire(void);
extern void UnrdfExpireInBackground(void);

/* When a dispatcher has an executor look for segments that are due. */
typedef struct UnrdfExpirer
{
	bool any; /* there may be some */
	int64 next;
} UnrdfExpirer;

extern void UnrdfExpirerLook(UnrdfExpirer *e, bool sweep);
extern void UnrdfExpirerStep(UnrdfExpirer *e, UnrdfPool *pool, bool trial);

#endif /* UNRDF_EXPIRY_H */
