#ifndef UNRDF_REQUEST_H
#define UNRDF_REQUEST_H

#include "postgres.h"

#include "fmgr.h"

#include "queue/job.h"

/* Where in a function's arguments what makes a job is; -1 for what it does not take. */
typedef struct UnrdfRequestArgs
{
	int handler;
	int args; /* only looked at for null: one, or many in an array */
	int queue;
	int priority;
	int run_at;
	int max_attempts;
	int timeout;
	int group_key;
	int tenant;
} UnrdfRequestArgs;

extern void UnrdfReadRequest(FunctionCallInfo fcinfo, const char *name, const UnrdfRequestArgs *at,
							 UnrdfJob *job);
extern void UnrdfReadPlace(FunctionCallInfo fcinfo, int queue_arg, int priority_arg, int32 *queue,
						   int16 *priority);
extern Jsonb *UnrdfReadArgs(FunctionCallInfo fcinfo, int arg);
extern int UnrdfElements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type,
						 Datum **values, bool **nulls);
extern int UnrdfReadManyArgs(FunctionCallInfo fcinfo, int arg, Jsonb ***args);
extern Datum UnrdfReturnIds(FunctionCallInfo fcinfo, int n, const int64 *ids);

#endif /* UNRDF_REQUEST_H */
