/*
 * helper.c: the processes that a dispatcher starts beside executors, and again when they have ended.
 *
 * A helper makes itself known by its pid (process.c). One of an earlier dispatcher is known so, too: it is not started twice.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/clock.h"
#include "worker/helper.h"
#include "worker/worker.h"

static const struct
{
	const char *kind;
	const char *function;
} mains[UNRDF_PROCESSES] = {
	[UNRDF_INTEGRATOR] = {"unrdf integrator", "UnrdfIntegratorMain"},
	[UNRDF_PUBLISHER] = {"unrdf publisher", "UnrdfPublisherMain"},
	[UNRDF_RELEASER] = {"unrdf releaser", "UnrdfReleaserMain"},
	[UNRDF_COURIER] = {"unrdf courier", "UnrdfCourierMain"},
};

/* Starts a helper that has ended, once a second at most. */
static void
keep(UnrdfDatabase *db, UnrdfHelper *helper, UnrdfProcessKind process, bool *warned)
{
	pid_t started;

	if (helper->handle && GetBackgroundWorkerPid(helper->handle, &started) != BGWH_STOPPED)
		return;
	if (db->processes[process].pid != 0 || UnrdfTicks() - helper->started < USECS_PER_SEC)
		return;
	if (helper->handle)
		pfree(helper->handle);
	helper->handle = NULL;
	helper->started = UnrdfTicks();
	if (!UnrdfStartWorker(mains[process].kind, mains[process].function,
						  ObjectIdGetDatum(MyDatabaseId), &helper->handle) &&
		!*warned)
	{
		*warned = true;
		ereport(WARNING, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						  errmsg("could not start the %s: all background worker slots are taken",
								 mains[process].kind + strlen("unrdf ")),
						  errhint("Raise max_worker_processes.")));
	}
}

/* UnrdfHelpersKeep starts the helpers that are needed and not there. *warned: that there are no slots was said. */
void
UnrdfHelpersKeep(UnrdfHelper helpers[UNRDF_PROCESSES], bool *warned)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	keep(db, &helpers[UNRDF_INTEGRATOR], UNRDF_INTEGRATOR, warned);
	keep(db, &helpers[UNRDF_PUBLISHER], UNRDF_PUBLISHER, warned);
	if (pg_atomic_read_u32(&db->wants_releaser))
		keep(db, &helpers[UNRDF_RELEASER], UNRDF_RELEASER, warned);
	if (pg_atomic_read_u32(&db->wants_courier))
		keep(db, &helpers[UNRDF_COURIER], UNRDF_COURIER, warned);
}
