#ifndef UNRDF_ENDING_H
#define UNRDF_ENDING_H

#include "postgres.h"

#include "ledger/receipt.h"
#include "queue/job.h"

#define UNRDF_ENDING_MOST 256 /* jobs at once */

/* How a job ends that no executor runs. */
typedef struct UnrdfEnding
{
	UnrdfOutcome outcome;
	const char *actor; /* NULL: the job's owner */
	Jsonb *result; /* of a worker outside, or what the receipt says of the reason; NULL: nothing */
	TimestampTz started_at; /* 0: it did not run */
} UnrdfEnding;

extern void UnrdfEndingWrite(UnrdfReceiptWriter *writer, const UnrdfJob *job, int32 attempt,
							 const UnrdfEnding *ending);
extern bool UnrdfEndingTryAll(const UnrdfJob *jobs, int n, const UnrdfEnding *ending);
extern bool UnrdfEndingTry(const UnrdfJob *job, const UnrdfEnding *ending);
extern void UnrdfEndWaiting(const UnrdfJob *job, const UnrdfEnding *ending);
extern void UnrdfEndingTell(const UnrdfJob *job);

#endif /* UNRDF_ENDING_H */
