#ifndef UNRDF_OUTSIDE_H
#define UNRDF_OUTSIDE_H

#include "postgres.h"

#include "queue/config.h"
#include "queue/job.h"
#include "worker/claim.h"

/* A job that this session's transaction has claimed. */
typedef struct UnrdfClaimed
{
	int64 token;
	int32 attempt;
	TimestampTz deadline; /* DT_NOEND: none */
	UnrdfJob job;
} UnrdfClaimed;

/* How an attempt failed. */
typedef struct UnrdfOutsideFailure
{
	const char *message;
	int sqlstate;
	int64 pause_ms; /* until the next; negative: as the handler says */
	bool last;      /* there shall be no other */
} UnrdfOutsideFailure;

extern int UnrdfClaimJobs(UnrdfClaim *claim, UnrdfConfigSeen *seen, int64 wait_ms,
						  UnrdfClaimed **jobs);
extern int UnrdfCompleteJobs(const int64 *tokens, int n, Jsonb **results, int64 *refused);
extern int UnrdfFailJobs(const int64 *tokens, int n, const UnrdfOutsideFailure *failures,
						 int64 *refused);
extern int UnrdfSnoozeJobs(const int64 *tokens, int n, int64 delay_ms, int64 *refused);
extern int UnrdfReleaseJobs(const int64 *tokens, int n, int64 *refused);
extern int UnrdfHeartbeat(const int64 *tokens, int n, int64 lease_ms, int64 *lost);

#endif /* UNRDF_OUTSIDE_H */
