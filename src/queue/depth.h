#ifndef UNRDF_DEPTH_H
#define UNRDF_DEPTH_H

#include "postgres.h"

#include "utils/hsearch.h"

#include "base/follow.h"

/* What is counted of a queue. */
typedef enum UnrdfNumber
{
	UNRDF_JOBS_OPEN,    /* enqueued, and not ended */
	UNRDF_JOBS_FAILED,  /* of these, those with a failed attempt */
	UNRDF_JOBS_WAITING, /* not among these: enqueued to wait for others, and not released or ended */
	UNRDF_JOBS_OK,      /* ended: in the order of outcomes */
	UNRDF_JOBS_DEAD,
	UNRDF_JOBS_CANCELLED,
	UNRDF_JOBS_SKIPPED,
	UNRDF_NUMBERS
} UnrdfNumber;

/* The numbers fall into two counts, as what is open is found fast, and what has ended is not. */
typedef enum UnrdfCount
{
	UNRDF_COUNT_OPEN,
	UNRDF_COUNT_ENDED,
	UNRDF_COUNTS
} UnrdfCount;

/* The numbers of one queue; an entry of UnrdfDepthsRead's table. */
typedef struct UnrdfDepths
{
	int32 queue;
	int64 n[UNRDF_NUMBERS];
} UnrdfDepths;

/* depth.c */
extern void UnrdfDepthInit(void);
extern void UnrdfDepthEnqueued(int32 queue);
extern void UnrdfDepthWaits(int32 queue);
extern void UnrdfDepthReleased(int32 queue);
extern void UnrdfDepthFailed(int32 queue);
extern void UnrdfDepthEnded(int32 queue, int outcome, bool had_failed);
extern void UnrdfDepthEndedWaiting(int32 queue, int outcome);
extern void UnrdfDepthForget(void);
extern void UnrdfDepthForgetAtCommit(void);
extern bool UnrdfDepthOpen(int32 queue, int64 *open);
extern void UnrdfDepthAttach(void);
extern uint32 UnrdfDepthBegin(UnrdfCount count, Snapshot *snapshot);
extern void UnrdfDepthMayBePrepared(void);
extern bool UnrdfDepthFinish(UnrdfCount count, uint32 attempt, HTAB *counted);
extern bool UnrdfDepthRead(UnrdfCount count, HTAB *numbers);

/* count.c */
extern HTAB *UnrdfDepthsRead(bool ended);
extern int64 UnrdfQueueDepth(int32 queue);
extern UnrdfDepths *UnrdfDepthsOf(HTAB *numbers, int32 queue);

#endif /* UNRDF_DEPTH_H */
