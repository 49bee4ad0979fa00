/*
 * pool.c: starting and ending a database's executors. Only its dispatcher calls this.
 *
 * An executor belongs to its slot, not to the dispatcher that started it: a dispatcher that is started anew finds the
 * executors of its database in the table and goes on with them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "worker/pool.h"
#include "worker/worker.h"

#define RETRY_START (5 * USECS_PER_SEC)

/* UnrdfPoolInit finds the executors that are there already. Allocates in the current memory context. */
void
UnrdfPoolInit(UnrdfPool *pool)
{
	memset(pool, 0, sizeof(*pool));
	pool->slots = palloc(unrdf_executor_slots * sizeof(int));
	pool->handles = palloc0(unrdf_executor_slots * sizeof(BackgroundWorkerHandle *));
	for (int i = 0; i < unrdf_executor_slots; i++)
		if (UnrdfSlotGet(&UnrdfSlots[i]) != UNRDF_SLOT_FREE && UnrdfSlots[i].dboid == MyDatabaseId)
			pool->slots[pool->n++] = i;
}

/* UnrdfPoolCount counts idle, busy and starting executors. */
void
UnrdfPoolCount(UnrdfPool *pool)
{
	pool->idle = pool->busy = pool->starting = 0;
	pool->oldest = DT_NOEND;
	for (int i = 0; i < pool->n; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];

		switch (UnrdfSlotGet(slot))
		{
			case UNRDF_SLOT_STARTING:
				pool->starting++;
				break;
			case UNRDF_SLOT_IDLE:
				pool->idle += pg_atomic_read_u32(&slot->stop) == 0;
				break;
			case UNRDF_SLOT_ASSIGNED:
				pool->oldest = Min(pool->oldest, slot->since);
				pool->busy++;
				break;
			default:
				pool->busy++;
		}
	}
}

/* UnrdfPoolWaiting counts executors that have been at a job for so long and wait for something, a lock or a disk, right now. */
int
UnrdfPoolWaiting(UnrdfPool *pool, int64 micros)
{
	TimestampTz now = UnrdfNow();
	int n = 0;

	for (int i = 0; i < pool->n; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];
		PGPROC *proc;

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_ASSIGNED || now - slot->since < micros)
			continue;
		proc = BackendPidGetProc(slot->pid);
		n += proc && proc->wait_event_info != 0;
	}
	return n;
}

static void
warn(UnrdfPool *pool, const char *detail, const char *hint)
{
	pool->not_before = UnrdfTicks() + RETRY_START;
	if (pool->warned)
		return;
	pool->warned = true;
	ereport(WARNING, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					  errmsg("could not start as many executors as wanted: there are %d", pool->n),
					  errdetail("%s", detail), errhint("%s", hint)));
}

/* UnrdfPoolGrow starts up to `by` executors. What prevents it is said once. */
void
UnrdfPoolGrow(UnrdfPool *pool, int by)
{
	if (UnrdfTicks() < pool->not_before)
		return;
	for (int i = 0; i < by; i++)
	{
		UnrdfSlot *slot = UnrdfSlotReserve(MyDatabaseId);
		int index;

		if (slot == NULL)
		{
			warn(pool, "All slots of executors are taken.", "Raise unrdf.executor_slots.");
			return;
		}
		index = (int) (slot - UnrdfSlots);
		if (!UnrdfStartWorker("unrdf executor", "UnrdfExecutorMain", Int32GetDatum(index),
							  &pool->handles[index]))
		{
			UnrdfSlotSet(slot, UNRDF_SLOT_STARTING, UNRDF_SLOT_FREE);
			warn(pool, "All background worker slots are taken.", "Raise max_worker_processes.");
			return;
		}
		pool->slots[pool->n++] = index;
	}
}

/* Asks executors above the maximum, which was lowered, to end with what they do. They get nothing more. */
static void
end_excess(UnrdfPool *pool)
{
	int excess = pool->n - Max(unrdf_max_executors, unrdf_min_executors);

	if (excess <= 0)
		return;
	for (int i = 0; i < pool->n; i++)
		excess -= pg_atomic_read_u32(&UnrdfSlots[pool->slots[i]].stop) != 0;
	for (int i = 0; i < pool->n; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];

		if (pg_atomic_read_u32(&slot->stop) == 0 && excess-- > 0)
			pg_atomic_write_u32(&slot->stop, 1);
		/* again and again: it may have had something to do when it was told */
		if (pg_atomic_read_u32(&slot->stop))
			UnrdfSetLatch(&slot->latch);
	}
}

/* UnrdfPoolShrink asks executors to end: those above the maximum, and above the minimum those that were idle long enough. */
void
UnrdfPoolShrink(UnrdfPool *pool)
{
	TimestampTz now = UnrdfNow();
	int surplus = pool->n - unrdf_min_executors;

	end_excess(pool);
	for (int i = 0; i < pool->n && surplus > 0; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_IDLE)
			continue;
		surplus--;
		if (pg_atomic_read_u32(&slot->stop) ||
			now - slot->since < unrdf_executor_idle_time * INT64CONST(1000))
			continue;
		pg_atomic_write_u32(&slot->stop, 1);
		UnrdfSetLatch(&slot->latch);
	}
}

/* UnrdfPoolRelease frees the slot of a dead executor. */
void
UnrdfPoolRelease(UnrdfPool *pool, UnrdfSlot *slot)
{
	int index = (int) (slot - UnrdfSlots);

	for (int i = 0; i < pool->n; i++)
		if (pool->slots[i] == index)
			pool->slots[i--] = pool->slots[--pool->n];
	if (pool->handles[index])
		pfree(pool->handles[index]);
	pool->handles[index] = NULL;
	UnrdfSlotSet(slot, UNRDF_SLOT_DEAD, UNRDF_SLOT_FREE);
}

/* UnrdfPoolCheckStarts frees slots whose executor never came to life. */
void
UnrdfPoolCheckStarts(UnrdfPool *pool)
{
	for (int i = pool->n - 1; i >= 0; i--)
	{
		UnrdfSlot *slot = &UnrdfSlots[pool->slots[i]];
		BackgroundWorkerHandle *handle = pool->handles[pool->slots[i]];
		pid_t pid;

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_STARTING || handle == NULL ||
			GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED)
			continue;
		/* it may have come, and gone, between the two looks; then the slot says DEAD now */
		if (UnrdfSlotGet(slot) != UNRDF_SLOT_STARTING)
			continue;
		UnrdfSlotSet(slot, UNRDF_SLOT_STARTING, UNRDF_SLOT_DEAD);
		UnrdfPoolRelease(pool, slot);
	}
}
