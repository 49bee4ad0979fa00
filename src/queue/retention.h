#ifndef UNRDF_RETENTION_H
#define UNRDF_RETENTION_H

#include "postgres.h"

#include "queue/job.h"

typedef enum UnrdfKeep
{
	UNRDF_KEEP_ARGS,
	UNRDF_KEEP_RESULTS,
	UNRDF_KEEP_ATTEMPTS,
	UNRDF_KEEPS
} UnrdfKeep;

/* For how many seconds after a job's end what is kept; -1: for ever. Its id is that of the receipt that says so. */
typedef struct UnrdfRetention
{
	int64 id; /* 0: everything is kept for ever */
	int64 keep[UNRDF_KEEPS];
} UnrdfRetention;

extern const char *const UnrdfKeepNames[UNRDF_KEEPS];

/* What a part of a job's bodies is (base/kept.h). */
static inline UnrdfKeep
UnrdfKeepOf(int32 part)
{
	return part == UNRDF_KEPT_ARGS     ? UNRDF_KEEP_ARGS
		   : part <= UNRDF_KEPT_RESULT ? UNRDF_KEEP_RESULTS
									   : UNRDF_KEEP_ATTEMPTS;
}

extern void UnrdfRetentionRead(int64 id, UnrdfRetention *rule);
extern void UnrdfRetentionWrite(int32 queue, const UnrdfRetention *rule);
extern bool UnrdfRetentionAny(void);
extern TimestampTz UnrdfKeepUntil(int64 retention, UnrdfKeep what, TimestampTz from);

#endif /* UNRDF_RETENTION_H */
