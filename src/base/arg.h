#ifndef UNRDF_ARG_H
#define UNRDF_ARG_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

extern void UnrdfArgNotNull(FunctionCallInfo fcinfo, int arg, const char *name);
extern void UnrdfArgRefuse(const char *name, const char *what_it_must_be);
extern int UnrdfArgRange(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max);
extern int64 UnrdfArgMillis(FunctionCallInfo fcinfo, int arg, const char *name);
extern TimestampTz UnrdfArgTime(FunctionCallInfo fcinfo, int arg, const char *name);
extern text *UnrdfArgName(Datum value, const char *what);
extern int64 UnrdfArgSize(FunctionCallInfo fcinfo, int arg, const char *name, int64 min);

#endif /* UNRDF_ARG_H */
