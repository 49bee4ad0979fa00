#ifndef UNRDF_WORKFLOW_H
#define UNRDF_WORKFLOW_H

#include "postgres.h"

#include "queue/waiting.h"

/* A row of unrdf.workflow, and whether it has ended. */
typedef struct UnrdfWorkflow
{
	int64 id;
	Oid owner;
	bool saga;
	bool ended;
} UnrdfWorkflow;

/* Jobs that are to wait, alike but for their arguments. */
typedef struct UnrdfWaitRequest
{
	UnrdfWaiting waiting; /* all but id, xid and args */
	int nneeds;
	UnrdfNeed *needs;
	bool numbered; /* each name is followed by "/" and the place of the job, from 1 */
} UnrdfWaitRequest;

extern int64 UnrdfWorkflowCreate(text *name, Jsonb *args, bool saga);
extern bool UnrdfWorkflowFind(int64 id, UnrdfWorkflow *workflow);
extern void UnrdfWorkflowFetchOwn(int64 id, bool to_end, UnrdfWorkflow *workflow);
extern void UnrdfWorkflowCheckOpen(const UnrdfWorkflow *workflow);
extern void UnrdfWaitingEnqueue(UnrdfWaitRequest *request, int n, Jsonb **args, int64 *ids);

#endif /* UNRDF_WORKFLOW_H */
