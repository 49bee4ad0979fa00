/*
 * slot.c: the shared table through which dispatchers hand jobs to executors.
 *
 * A slot is a mailbox with one dispatcher and one executor, who take turns: whoever the state names owns everything in the
 * slot but the atomics, and passes it on by changing the state, which is a full memory barrier. FREE slots are claimed by
 * compare-and-swap, as dispatchers of several databases share the table. No row is written to hand out a job: what a slot
 * holds dies with shared memory, and the job is pending again because no receipt names it. An executor that dies sets DEAD
 * on its way out and leaves its tasks for the dispatcher to read; one that is killed with SIGKILL takes the whole of shared
 * memory with it.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "worker/slot.h"

UnrdfSlot *UnrdfSlots = NULL;

/* of this executor, or the executor that this is a session of */
UnrdfSlot *UnrdfMySlot = NULL;

static void
init_slots(void *block)
{
	UnrdfSlot *slots = block;

	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		pg_atomic_init_u32(&slots[i].state, UNRDF_SLOT_FREE);
		pg_atomic_init_u32(&slots[i].stop, 0);
		pg_atomic_init_u32(&slots[i].alone, 0);
		pg_atomic_init_u64(&slots[i].job, 0);
		pg_atomic_init_u32(&slots[i].handler, 0);
		pg_atomic_init_u32(&slots[i].queue, 0);
		pg_atomic_init_u32(&slots[i].attempt, 0);
		pg_atomic_init_u32(&slots[i].failed, 0);
		pg_atomic_init_u64(&slots[i].jobs, 0);
		pg_atomic_init_u64(&slots[i].transactions, 0);
		pg_atomic_init_u32(&slots[i].session_pid, 0);
		pg_atomic_init_u32(&slots[i].progress.version, 0);
	}
}

/* UnrdfSlotInit registers the table's shared memory; called once, from _PG_init. */
void
UnrdfSlotInit(void)
{
	UnrdfShmemRegister("unrdf slots", unrdf_executor_slots * sizeof(UnrdfSlot),
					   (void **) &UnrdfSlots, init_slots);
}

/* UnrdfSlotGet reads a slot's state; what the slot's last owner wrote is visible after it. */
UnrdfSlotState
UnrdfSlotGet(UnrdfSlot *slot)
{
	UnrdfSlotState state = pg_atomic_read_u32(&slot->state);

	pg_read_barrier();
	return state;
}

/*
 * UnrdfSlotSet is the one place that changes a slot's state. False where the state is not `from`: an executor may have
 * become DEAD at any moment.
 */
bool
UnrdfSlotSet(UnrdfSlot *slot, UnrdfSlotState from, UnrdfSlotState to)
{
	uint32 expected = from;

	slot->since = UnrdfNow();
	return pg_atomic_compare_exchange_u32(&slot->state, &expected, to);
}

/* UnrdfSlotReserve takes a free slot for a database and makes it STARTING; NULL when the table is full. */
UnrdfSlot *
UnrdfSlotReserve(Oid dboid)
{
	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];
		uint32 expected = UNRDF_SLOT_FREE;

		if (!pg_atomic_compare_exchange_u32(&slot->state, &expected, UNRDF_SLOT_STARTING))
			continue;
		slot->dboid = dboid;
		slot->pid = 0;
		slot->latch = NULL;
		slot->ntasks = 0;
		slot->running = -1;
		slot->since = UnrdfNow();
		pg_atomic_write_u32(&slot->stop, 0);
		pg_atomic_write_u64(&slot->job, 0);
		pg_atomic_write_u64(&slot->jobs, 0);
		pg_atomic_write_u64(&slot->transactions, 0);
		return slot;
	}
	return NULL;
}

/* UnrdfSlotAdd adds a task for an entry that is OUT. */
UnrdfTask *
UnrdfSlotAdd(UnrdfSlot *slot, const UnrdfEntry *entry)
{
	UnrdfTask *task = &slot->tasks[slot->ntasks++];

	task->job = entry->job;
	task->tid = entry->tid;
	task->kind = entry->kind;
	task->result = UNRDF_TASK_UNTOUCHED;
	task->failed = entry->failed;
	task->attempt = entry->attempt;
	task->micros = 0;
	task->retry_at = 0;
	return task;
}

/* UnrdfSlotRuns tells whether an executor of the database runs a job just now. */
bool
UnrdfSlotRuns(Oid dboid, int64 job)
{
	for (int i = 0; i < unrdf_executor_slots; i++)
		if (UnrdfSlotGet(&UnrdfSlots[i]) == UNRDF_SLOT_ASSIGNED && UnrdfSlots[i].dboid == dboid &&
			pg_atomic_read_u64(&UnrdfSlots[i].job) == (uint64) job)
			return true;
	return false;
}

/*
 * UnrdfSlotInterrupt cancels the statement of the executor that runs a job, if one does. The executor may have gone on to
 * another job by the time the signal arrives; it then runs that one again, so this is a matter of haste only.
 */
void
UnrdfSlotInterrupt(Oid dboid, int64 job)
{
	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];

		if (UnrdfSlotGet(slot) == UNRDF_SLOT_ASSIGNED && slot->dboid == dboid &&
			pg_atomic_read_u64(&slot->job) == (uint64) job)
		{
			int session = (int) pg_atomic_read_u32(&slot->session_pid);

			kill(session ? session : slot->pid, SIGINT);
		}
	}
}
