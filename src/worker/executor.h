#ifndef UNRDF_EXECUTOR_H
#define UNRDF_EXECUTOR_H

#include "postgres.h"

#include "queue/job.h"
#include "worker/slot.h"

/* failure.c */
extern bool UnrdfReceiptExists(int64 id);
extern ErrorData *UnrdfMadeError(int sqlstate, const char *message);
extern TimestampTz UnrdfRecordFailure(const UnrdfJob *job, int32 *attempt, bool last,
									  int64 pause_ms, bool patient, TimestampTz started_at,
									  ErrorData *error);
extern TimestampTz UnrdfRecordSnooze(const UnrdfJob *job, int32 *attempt, int64 snooze_ms,
									 bool patient, TimestampTz started_at);
extern void UnrdfTaskRecord(UnrdfTask *task, int64 snooze_ms, TimestampTz started,
							ErrorData *error);
extern void UnrdfTaskRecorded(UnrdfTask *task, bool snoozes);
extern void UnrdfTaskFailed(UnrdfTask *task, TimestampTz started, ErrorData *error);

/* session.c */
extern void UnrdfCheckSessionOwner(Oid owner);
extern ErrorData *UnrdfRunInSession(UnrdfTask *task, Oid owner);

#endif /* UNRDF_EXECUTOR_H */
