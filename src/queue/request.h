#ifndef UNRDF_REQUEST_H
#define UNRDF_REQUEST_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

extern void UnrdfRequireNotNull(FunctionCallInfo fcinfo, int arg, const char *name);
extern void UnrdfOutOfRange(const char *name, const char *range);
extern int UnrdfRangeArg(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max);
extern int64 UnrdfIntervalArg(Interval *i, const char *name);
extern TimestampTz UnrdfRunAtArg(FunctionCallInfo fcinfo, int arg);
extern text *UnrdfCheckedName(Datum value, const char *what);
extern int UnrdfElements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type,
						 Datum **values, bool **nulls);

#endif /* UNRDF_REQUEST_H */
