#ifndef UNRDF_KEPT_H
#define UNRDF_KEPT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "base/catalog.h"

/* What a body is of a job: its arguments, its result, below that the results of its steps; or what its attempt of that number said. */
#define UNRDF_KEPT_ARGS 0
#define UNRDF_KEPT_RESULT (-1)

/* Not of a job, but of the event of that id: its payload. */
#define UNRDF_KEPT_EVENT PG_INT32_MAX

/* A thousand years, as intervals count them: seconds that anything is kept for at most. */
#define UNRDF_KEPT_MOST (INT64CONST(1000) * MONTHS_PER_YEAR * DAYS_PER_MONTH * SECS_PER_DAY)

/* Bodies being written. */
typedef struct UnrdfKept UnrdfKept;

extern UnrdfKept *UnrdfKeptBegin(int capacity);
extern void UnrdfKeptWrite(UnrdfKept *kept, int64 job, int32 part, TimestampTz at,
						   TimestampTz until, Jsonb *body);
extern void UnrdfKeptWriteTo(UnrdfKept *kept, int segment, int64 job, int32 part, TimestampTz until,
							 Jsonb *body);
extern void UnrdfKeptFlush(UnrdfKept *kept);
extern void UnrdfKeptEnd(UnrdfKept *kept);
extern int UnrdfKeptSegment(TimestampTz at, TimestampTz *until);
extern int64 UnrdfKeptSpan(int segment);
extern int UnrdfKeptBefore(int segment);
extern TimestampTz UnrdfKeptDue(int segment, TimestampTz until);
extern Jsonb *UnrdfKeptGlance(int64 job, int32 part, TimestampTz at, TimestampTz until);
extern Jsonb *UnrdfKeptFind(int64 job, int32 part, TimestampTz at, TimestampTz until);
extern void UnrdfKeptErase(int64 job);

#endif /* UNRDF_KEPT_H */
