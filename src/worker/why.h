#ifndef UNRDF_WHY_H
#define UNRDF_WHY_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "base/shmem.h"
#include "queue/lane.h"
#include "worker/pool.h"

/* What the dispatcher knows of a job that has not ended. Its private memory, at one moment. */
typedef struct UnrdfPlacement
{
	bool known;   /* else its lane has not been read so far, or another horizon is before it */
	uint8 place;  /* UnrdfPlace, where known */
	bool suspect; /* it ran when the server crashed */
	bool trial;   /* a suspect runs alone */
	UnrdfStanding standing;
	int64 urgent;  /* jobs of higher priority that could run */
	int32 running; /* of its queue, handed out */
	int32 idle;    /* executors */
	int32 busy;
	int32 starting;
} UnrdfPlacement;

extern void UnrdfWhyInit(void);
extern void UnrdfWhyAnswer(UnrdfDatabase *db, UnrdfLaneSet *lanes, UnrdfPool *pool, bool trial);
extern char *UnrdfWhy(int64 job, Jsonb **facts);

#endif /* UNRDF_WHY_H */
