#ifndef UNRDF_CONFIG_H
#define UNRDF_CONFIG_H

#include "postgres.h"

#include "queue/bucket.h"
#include "queue/job.h"
#include "queue/retention.h"

#define UNRDF_DEFAULT_QUEUE 0

/* Which state of the configuration a cache was filled in. */
typedef struct UnrdfConfigSeen
{
	bool filled;
	uint32 config;
	uint32 forgets;
} UnrdfConfigSeen;

/* Strict order within a group: whether what follows a job that failed waits until that has ended. */
typedef enum UnrdfFifo
{
	UNRDF_FIFO_NONE,
	UNRDF_FIFO_WAIT,
	UNRDF_FIFO_SKIP
} UnrdfFifo;

/* Among whom a queue is divided. */
typedef enum UnrdfShareBy
{
	UNRDF_SHARE_NONE,
	UNRDF_SHARE_OWNER,
	UNRDF_SHARE_TENANT
} UnrdfShareBy;

/* What becomes of who enqueues in a queue that is as deep as it may be. */
typedef enum UnrdfWhenFull
{
	UNRDF_FULL_REJECT = 1,
	UNRDF_FULL_WAIT,
	UNRDF_FULL_WARN
} UnrdfWhenFull;

/* A queue's settings; 0 where there is no limit. */
typedef struct UnrdfQueue
{
	int32 id;
	bool paused;
	int32 max_running;
	int32 weight; /* among queues */
	UnrdfRate rate;
	int32 group_max_running;
	UnrdfRate group_rate;
	UnrdfFifo fifo;
	UnrdfShareBy share_by;
	int32 max_depth;
	UnrdfWhenFull when_full;
	int64 retention; /* the rule that its jobs get (retention.h) */
} UnrdfQueue;

/* A queue's settings, and what only settings.c knows of them. */
typedef struct UnrdfQueueRow UnrdfQueueRow;

extern void UnrdfCreateQueue(text *name, int32 max_running);
extern void UnrdfPauseQueue(text *name, bool paused);
extern void UnrdfQueueTakesJobs(int32 id);
extern int32 UnrdfQueueId(text *name);
extern char *UnrdfQueueName(int32 id);
extern const UnrdfQueueRow *UnrdfQueueRowById(int32 id);
extern void UnrdfCheckName(text *name, const char *what);
extern bool UnrdfConfigFresh(UnrdfConfigSeen *cache);
extern void UnrdfConfigChanged(void);

/* outside.c */
extern void UnrdfGrantQueue(text *queue, Oid role, bool grant);
extern void UnrdfCheckClaimable(int32 queue);
extern int32 UnrdfClaimableQueue(text *queue);

/* settings.c */
extern UnrdfQueueRow *UnrdfQueueRowRead(int32 id, MemoryContext context);
extern const UnrdfQueue *UnrdfQueueRowSettings(const UnrdfQueueRow *row);
extern void UnrdfJobGroup(UnrdfJob *job);
extern bool UnrdfAlterQueue(text *name, Jsonb *settings, int32 *queue, UnrdfRetention *rule);
extern void UnrdfJobFlow(UnrdfJob *job);
extern int64 UnrdfFlowFor(int64 flow, int32 handler);
extern uint64 UnrdfShareOf(const UnrdfJob *job, int32 *weight);

#endif /* UNRDF_CONFIG_H */
