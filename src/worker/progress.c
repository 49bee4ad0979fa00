/*
 * progress.c: how far running jobs are, as they say themselves.
 *
 * It is in the job's slot, in shared memory, written without a lock by the one process that runs the job: a version is odd while
 * that writes, and who reads tries again until it was even and the same before and after, as pg_stat_activity does. It is told from
 * what an earlier job of the slot has left by the job's id. Nothing is rolled back, and nothing lasts.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "catalog/pg_authid.h"

#include "base/clock.h"
#include "base/identity.h"
#include "queue/current.h"
#include "worker/progress.h"

/* UnrdfProgressSet says how far the current job is; total -1: not known. Does nothing outside of jobs. */
void
UnrdfProgressSet(int64 done, int64 total, text *note)
{
	const UnrdfJob *job = UnrdfCurrentJob.job;
	UnrdfProgress *p;
	uint32 version;
	int len;

	if (job == NULL || UnrdfMySlot == NULL)
		return;
	p = &UnrdfMySlot->progress;
	/* a process may have died while it wrote: odd and even are made anew each time */
	version = (pg_atomic_read_u32(&p->version) + 1) | 1;
	pg_atomic_write_u32(&p->version, version);
	pg_write_barrier();
	p->job = job->id;
	p->attempt = UnrdfCurrentJob.attempt;
	p->handler = job->handler;
	p->owner = job->owner;
	p->done = done;
	p->total = total;
	p->started_at = UnrdfCurrentJob.started;
	p->changed_at = UnrdfNow();
	p->has_note = note != NULL;
	len = note ? pg_mbcliplen(VARDATA_ANY(note), VARSIZE_ANY_EXHDR(note), UNRDF_NOTE_MAX - 1) : 0;
	if (len > 0)
		memcpy(p->note, VARDATA_ANY(note), len);
	p->note[len] = '\0';
	pg_write_barrier();
	pg_atomic_write_u32(&p->version, version + 1);
}

static bool
may_read(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner) ||
		   has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/*
 * UnrdfProgressGet reads what a slot's running job has said, if it has and the current role may see it, and who runs it. Operators see
 * that of everybody's jobs, but no notes.
 */
bool
UnrdfProgressGet(UnrdfSlot *slot, UnrdfProgress *progress, int *pid)
{
	uint32 before;
	uint32 after;
	int session;

	if (UnrdfSlotGet(slot) != UNRDF_SLOT_ASSIGNED || slot->dboid != MyDatabaseId)
		return false;
	do
	{
		CHECK_FOR_INTERRUPTS();
		before = pg_atomic_read_u32(&slot->progress.version);
		pg_read_barrier();
		memcpy(progress, &slot->progress, sizeof(*progress));
		pg_read_barrier();
		after = pg_atomic_read_u32(&slot->progress.version);
	} while (before != after || (before & 1));
	session = (int) pg_atomic_read_u32(&slot->session_pid);
	*pid = session ? session : slot->pid;
	if (progress->job == 0 || progress->job != (int64) pg_atomic_read_u64(&slot->job))
		return false;
	if (may_read(progress->owner))
		return true;
	progress->has_note = false;
	return UnrdfControls(progress->owner);
}
