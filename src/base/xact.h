#ifndef UNRDF_XACT_H
#define UNRDF_XACT_H

#include "postgres.h"

extern void UnrdfXactBegin(const char *activity);
extern void UnrdfXactCommit(void);
extern void UnrdfXactAbort(void);
extern bool UnrdfStatsUnflushed(bool flush);
extern ErrorData *UnrdfTry(void (*fn)(void *arg), void *arg);
extern bool UnrdfTryUnique(void (*fn)(void *arg), void *arg);
extern void UnrdfFreshSnapshot(void);

#endif /* UNRDF_XACT_H */
