#ifndef UNRDF_SCHEDULE_H
#define UNRDF_SCHEDULE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define UNRDF_CATCH_UP_MOST 1000

/* SQL: when the last tick of schedule s was due that was dealt with. */
#define UNRDF_SCHEDULE_LAST                                           \
	"coalesce((SELECT r.due_at FROM unrdf.schedule_run AS r"          \
	" WHERE r.schedule OPERATOR(pg_catalog.=) s.id AND NOT r.by_hand" \
	" AND r.due_at OPERATOR(pg_catalog.>) s.since ORDER BY r.due_at DESC LIMIT 1), s.since)"

/* What a tick does while the job of an earlier one has not ended. */
typedef enum UnrdfOverlap
{
	UNRDF_OVERLAP_QUEUE, /* enqueues its own nevertheless */
	UNRDF_OVERLAP_SKIP,  /* enqueues none */
	UNRDF_OVERLAP_CANCEL /* cancels that one first */
} UnrdfOverlap;

/* A schedule's row. */
typedef struct UnrdfSchedule
{
	int32 id;
	Oid owner;
	bool paused;
	int32 catch_up; /* how many of the ticks that were missed are made up for */
	int16 priority; /* -1: as enqueue has it */
	UnrdfOverlap overlap;
	TimestampTz since; /* what was due up to here is none of ours */
	TimestampTz last;  /* when the last tick that was dealt with was due, or `since` */
	text *name;
	char *cron;
	char *zone;
	text *handler;
	text *queue; /* NULL: as enqueue has it */
	Jsonb *args;
	int32 args_version; /* of the handler, which has encrypted them; 0: they are not */
} UnrdfSchedule;

extern UnrdfOverlap UnrdfOverlapRead(text *name);
extern int32 UnrdfCatchUpRead(text *name);
extern TimestampTz UnrdfScheduleSave(UnrdfSchedule *s);
extern void UnrdfSchedulePause(text *name, bool paused);
extern void UnrdfScheduleDrop(text *name);
extern bool UnrdfScheduleById(int32 id, UnrdfSchedule *s);
extern void UnrdfScheduleOwn(text *name, UnrdfSchedule *s);
extern uint32 UnrdfScheduleLockKey(text *name);

/* tick.c */
extern int UnrdfFireDue(const UnrdfSchedule *s, TimestampTz now, int most, TimestampTz *next);
extern int64 UnrdfFireByHand(text *name);

/* ticker.c */
extern void UnrdfRunSchedules(bool wait);
extern TimestampTz UnrdfTickedAt(void);

#endif /* UNRDF_SCHEDULE_H */
