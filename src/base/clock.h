#ifndef UNRDF_CLOCK_H
#define UNRDF_CLOCK_H

#include "postgres.h"

#include "utils/timestamp.h"

extern TimestampTz UnrdfServerNow(void);
extern TimestampTz UnrdfNow(void);
extern int64 UnrdfTicks(void);
extern int64 UnrdfUnixMicros(TimestampTz t);
extern int64 UnrdfBusyMicros(void);
extern int64 UnrdfIntervalMillis(const Interval *i);
extern long UnrdfMillisUntil(TimestampTz t, long most);
extern long UnrdfMillisUntilTick(int64 tick, long most);

#endif /* UNRDF_CLOCK_H */
