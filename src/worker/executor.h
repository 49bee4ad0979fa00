#ifndef UNRDF_EXECUTOR_H
#define UNRDF_EXECUTOR_H

#include "postgres.h"

#include "queue/job.h"

extern int64 UnrdfRunningJob(void);
extern bool UnrdfReceiptExists(int64 id);
extern void UnrdfRecordFailure(UnrdfJob *job, int32 attempt, bool last, int64 pause_ms,
							   bool patient, TimestampTz started_at, ErrorData *error,
							   TimestampTz *retry_at);

#endif /* UNRDF_EXECUTOR_H */
