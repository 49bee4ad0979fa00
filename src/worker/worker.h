#ifndef UNRDF_WORKER_H
#define UNRDF_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "utils/jsonb.h"

#include "base/shmem.h"

extern PGDLLEXPORT void UnrdfLauncherMain(Datum arg);
extern PGDLLEXPORT void UnrdfDispatcherMain(Datum arg);
extern PGDLLEXPORT void UnrdfIntegratorMain(Datum arg);
extern PGDLLEXPORT void UnrdfPublisherMain(Datum arg);
extern PGDLLEXPORT void UnrdfReleaserMain(Datum arg);
extern PGDLLEXPORT void UnrdfCourierMain(Datum arg);
extern PGDLLEXPORT void UnrdfExecutorMain(Datum arg);
extern PGDLLEXPORT void UnrdfSessionMain(Datum arg);
extern PGDLLEXPORT void UnrdfSentinelMain(Datum arg);

extern void UnrdfLauncherInit(void);
extern void UnrdfSentinelInit(void);
extern void UnrdfRegisterWorker(const char *kind, const char *function, int flags,
								BgWorkerStartTime start);
extern bool UnrdfStartWorker(const char *kind, const char *function, Datum arg,
							 BackgroundWorkerHandle **handle);
extern void UnrdfWorkerSetup(void);
extern UnrdfDatabase *UnrdfWorkerAttach(UnrdfProcessKind kind);
extern void UnrdfEndUnlessInstalled(UnrdfDatabase *db);
extern void UnrdfWorkerInterrupts(void);
extern void UnrdfWorkerWait(long timeout_ms, uint32 wait_event);

/* hold.c */
extern void UnrdfHoldInit(void);
extern bool UnrdfHeld(Oid dboid);
extern void UnrdfWorkerGone(void);

/* control.c */
extern bool UnrdfCancelJob(int64 job);
extern void UnrdfCancelJobs(int64 *ids, int n);
extern int64 UnrdfReviveJob(int64 job);
extern bool UnrdfJobIsErased(int64 job);
extern bool UnrdfJobLostArgs(int64 job);
extern const char *UnrdfWaitJob(int64 job, int64 timeout_ms);
extern void UnrdfJobEnded(int64 job);

/* workflow.c */
extern int64 UnrdfWorkflowEnd(int64 workflow, const char *reason, int64 cause, int64 but,
							  const char *actor, bool compensate);
extern int64 UnrdfCancelWorkflow(int64 id, bool compensate);

/* step.c */
extern Jsonb *UnrdfStepDone(text *name);
extern void UnrdfSaveStep(text *name, Jsonb *result);
/* test_run.c */
extern int64 UnrdfTestRunDue(text *queue, int64 most);

#endif /* UNRDF_WORKER_H */
