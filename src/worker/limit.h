#ifndef UNRDF_LIMIT_H
#define UNRDF_LIMIT_H

#include "postgres.h"

#include "queue/handler.h"

extern void UnrdfLimitsInit(void);
extern void UnrdfLimitsBegin(int timeout_ms, int64 memory);
extern void UnrdfLimitsEnd(void);
extern void UnrdfLimitsForget(void);
extern bool UnrdfTimedOut(void);
extern void UnrdfCheckResult(const UnrdfHandler *handler, Jsonb *result);

#endif /* UNRDF_LIMIT_H */
