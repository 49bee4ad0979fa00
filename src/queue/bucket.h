#ifndef UNRDF_BUCKET_H
#define UNRDF_BUCKET_H

#include "c.h"

/* A rate limit: so many a second, and so many at once after a pause. */
typedef struct UnrdfRate
{
	double per_second; /* 0: no limit */
	double burst;      /* at least 1 */
} UnrdfRate;

/* A token bucket. */
typedef struct UnrdfBucket
{
	double tokens;
	int64 at; /* ticks at which it had them */
} UnrdfBucket;

extern void UnrdfBucketBegin(UnrdfBucket *b, const UnrdfRate *rate, int64 since, int64 now);
extern bool UnrdfBucketHas(UnrdfBucket *b, const UnrdfRate *rate, int64 now);
extern void UnrdfBucketTake(UnrdfBucket *b, const UnrdfRate *rate, int64 now);
extern void UnrdfBucketReturn(UnrdfBucket *b, const UnrdfRate *rate);
extern int64 UnrdfBucketReady(const UnrdfBucket *b, const UnrdfRate *rate);
extern int64 UnrdfBucketFull(const UnrdfBucket *b, const UnrdfRate *rate);

#endif /* UNRDF_BUCKET_H */
