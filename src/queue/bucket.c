/*
 * bucket.c: token buckets (as in RFC 2697: a burst's worth of tokens, which come back at a rate). Pure.
 *
 * Nobody stores buckets. One that is new to a dispatcher has what would have come since that began, and not a full burst, so
 * that dispatchers that end and begin do not exceed the rate together.
 */
#include "c.h"

#include "queue/bucket.h"

#define TICKS_PER_SECOND 1000000.0

/* UnrdfBucketBegin makes a bucket that was empty at `since`. */
void
UnrdfBucketBegin(UnrdfBucket *b, const UnrdfRate *rate, int64 since, int64 now)
{
	b->tokens = 0;
	b->at = since;
	(void) UnrdfBucketHas(b, rate, now);
}

/* UnrdfBucketHas adds what has come until now, and tells whether there is a token. Without a limit there always is. */
bool
UnrdfBucketHas(UnrdfBucket *b, const UnrdfRate *rate, int64 now)
{
	if (rate->per_second == 0)
		return true;
	if (now > b->at)
	{
		b->tokens += (now - b->at) * rate->per_second / TICKS_PER_SECOND;
		b->at = now;
	}
	b->tokens = Min(b->tokens, rate->burst);
	return b->tokens >= 1;
}

/* UnrdfBucketTake takes a token, after what has come until now was added: what a full bucket did not take in is not to come later. */
void
UnrdfBucketTake(UnrdfBucket *b, const UnrdfRate *rate, int64 now)
{
	(void) UnrdfBucketHas(b, rate, now);
	if (rate->per_second != 0)
		b->tokens -= 1;
}

/* UnrdfBucketReturn puts back one that was not used. */
void
UnrdfBucketReturn(UnrdfBucket *b, const UnrdfRate *rate)
{
	if (rate->per_second != 0)
		b->tokens = Min(b->tokens + 1, rate->burst);
}

static int64
ticks_until(const UnrdfBucket *b, const UnrdfRate *rate, double tokens)
{
	if (rate->per_second == 0 || b->tokens >= tokens)
		return b->at;
	/* one more than needed: what comes by then is at least that much, however it is rounded */
	return b->at + (int64) ((tokens - b->tokens) / rate->per_second * TICKS_PER_SECOND) + 1;
}

/* UnrdfBucketReady returns the tick at which there is a token. */
int64
UnrdfBucketReady(const UnrdfBucket *b, const UnrdfRate *rate)
{
	return ticks_until(b, rate, 1);
}

/* UnrdfBucketFull returns the tick from which on it is as if it had never been used. */
int64
UnrdfBucketFull(const UnrdfBucket *b, const UnrdfRate *rate)
{
	return ticks_until(b, rate, rate->burst);
}
