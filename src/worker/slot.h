#ifndef UNRDF_SLOT_H
#define UNRDF_SLOT_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/itemptr.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "queue/lane.h"

#define UNRDF_TASKS 1024

/* What an executor is told to do with a job. */
typedef enum UnrdfTaskKind
{
	UNRDF_TASK_RUN,
	UNRDF_TASK_DIED,    /* its executor died with it: record a failed attempt */
	UNRDF_TASK_CRASHED, /* it crashed the server when it ran alone: record it as dead */
	UNRDF_TASK_LOST,    /* the worker outside that had it was lost: record a failed attempt */
	UNRDF_TASK_EXPIRE   /* no job: empty segments whose time has come */
} UnrdfTaskKind;

/* What became of it. */
typedef enum UnrdfTaskResult
{
	UNRDF_TASK_UNTOUCHED, /* not run, or rolled back: hand it out again */
	UNRDF_TASK_ENDED,     /* a receipt exists */
	UNRDF_TASK_RETRY,     /* failed; due again at retry_at */
	UNRDF_TASK_SNOOZES    /* likewise, but no failure */
} UnrdfTaskResult;

typedef struct UnrdfTask
{
	int64 job;
	ItemPointerData tid;
	uint8 kind;
	uint8 result;
	bool failed;   /* an earlier attempt has */
	int32 attempt; /* number of this attempt */
	int32 micros;  /* run time */
	TimestampTz retry_at;
	TimestampTz since; /* when what was lost began */
} UnrdfTask;

/*
 * States of a slot. FREE → STARTING → IDLE → ASSIGNED → DONE → IDLE …, and from any but FREE → DEAD → FREE.
 * The dispatcher of the slot's database makes FREE → STARTING, IDLE → ASSIGNED, DONE → IDLE, DEAD → FREE; the executor
 * makes STARTING → IDLE, ASSIGNED → DONE, and DEAD when it exits.
 */
typedef enum UnrdfSlotState
{
	UNRDF_SLOT_FREE,
	UNRDF_SLOT_STARTING,
	UNRDF_SLOT_IDLE,
	UNRDF_SLOT_ASSIGNED,
	UNRDF_SLOT_DONE,
	UNRDF_SLOT_DEAD
} UnrdfSlotState;

#define UNRDF_NOTE_MAX 256

/* What a job has said of its progress. Written by the process that runs it; odd while being written. */
typedef struct UnrdfProgress
{
	pg_atomic_uint32 version;
	int64 job; /* 0: none; of another job than the slot's it means nothing any more */
	int32 attempt;
	int32 handler;
	Oid owner;
	int64 done;
	int64 total; /* -1: not known */
	TimestampTz started_at;
	TimestampTz changed_at;
	bool has_note;
	char note[UNRDF_NOTE_MAX];
} UnrdfProgress;

typedef struct UnrdfSlot
{
	pg_atomic_uint32 state;
	Oid dboid; /* set with STARTING */
	int pid;   /* the executor's, from IDLE on */
	Latch *latch;
	pg_atomic_uint32 stop;    /* the executor should end when idle */
	pg_atomic_uint32 alone;   /* the task is a suspect's trial */
	pg_atomic_uint64 job;     /* being run now; 0: none */
	pg_atomic_uint32 handler; /* of that job */
	pg_atomic_uint32 queue;   /* likewise */
	pg_atomic_uint32 attempt;
	pg_atomic_uint32 failed; /* an earlier attempt has */
	TimestampTz since;       /* of the state, or of the running job */
	pg_atomic_uint64 jobs;   /* finished, since the executor started */
	pg_atomic_uint64 transactions;
	int32
		ntasks; /* the rest: written before ASSIGNED by the dispatcher, before DONE by the executor */
	int32 running;     /* index of the task being run singly, or -1 */
	int64 busy_micros; /* of the last set of tasks */
	int64 wall_micros;
	Oid session_owner;            /* set by the executor for a session that is to run its task, */
	pg_atomic_uint32 session_pid; /* and the session's process; 0: none */
	UnrdfProgress progress;
	UnrdfTask tasks[UNRDF_TASKS];
} UnrdfSlot;

extern UnrdfSlot *UnrdfSlots;
extern UnrdfSlot *UnrdfMySlot;

extern void UnrdfSlotInit(void);
extern UnrdfSlotState UnrdfSlotGet(UnrdfSlot *slot);
extern bool UnrdfSlotSet(UnrdfSlot *slot, UnrdfSlotState from, UnrdfSlotState to);
extern UnrdfSlot *UnrdfSlotReserve(Oid dboid);
extern UnrdfTask *UnrdfSlotAdd(UnrdfSlot *slot, const UnrdfEntry *entry);
extern bool UnrdfSlotRuns(Oid dboid, int64 job);
extern void UnrdfSlotInterrupt(Oid dboid, int64 job);

#endif /* UNRDF_SLOT_H */
