#ifndef UNRDF_TIMING_H
#define UNRDF_TIMING_H

#include "postgres.h"

#include "worker/slot.h"

/* What is known of a handler's jobs. */
typedef struct UnrdfTiming
{
	int32 handler;
	bool measured;
	bool own_transaction;
	int failures;  /* counts down with successes; above 0: no groups */
	double micros; /* moving average over groups: one slow job among many says little */
	double cpu;    /* share of the time on a processor */
	int64 sum;     /* of the group being taken in */
	int count;
} UnrdfTiming;

/* The handlers of one database, as its dispatcher has met them. */
typedef struct UnrdfTimings UnrdfTimings;

extern UnrdfTimings *UnrdfTimingsCreate(MemoryContext context);
extern void UnrdfTimingKnow(UnrdfTimings *timings, int32 handler);
extern UnrdfTiming *UnrdfTimingFind(UnrdfTimings *timings, int32 handler);
extern void UnrdfTimingsReread(UnrdfTimings *timings);
extern void UnrdfTimingTake(UnrdfTimings *timings, int32 handler, const UnrdfTask *task);
extern void UnrdfTimingsAverage(UnrdfTimings *timings, double cpu);

#endif /* UNRDF_TIMING_H */
