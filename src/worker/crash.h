#ifndef UNRDF_CRASH_H
#define UNRDF_CRASH_H

#include "postgres.h"

/* A job that was running when the server crashed. */
typedef struct UnrdfSuspect
{
	Oid dboid;
	bool alone; /* it ran alone: it is the culprit */
	int64 job;
} UnrdfSuspect;

extern void UnrdfCrashInit(void);
extern void UnrdfCrashNote(int slot, Oid dboid, int64 job, bool alone);
extern void UnrdfCrashClear(int slot);
extern int UnrdfCrashSuspects(Oid dboid, UnrdfSuspect **suspects);
extern void UnrdfCrashAcquit(Oid dboid, int64 job);

#endif /* UNRDF_CRASH_H */
