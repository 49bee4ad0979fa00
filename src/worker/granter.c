/*
 * granter.c: the dispatcher's part in what workers outside do: it grants leases, ends those whose deadline has passed, and takes back
 * what sessions are done with. The rules are lease.c's and claim.c's.
 *
 * Invariant: an entry that is OUT outside has exactly one lease of this database that is not FREE, or is in the list of lost
 * ones, or in a slot's tasks, or, where the executor of that died, in the dispatcher's list of those to be looked up.
 * From the first lease of an answer to the answer nothing is allocated and no interrupt is taken, so no lease is granted that nobody
 * knows of.
 *
 * A lost lease counts as a failed attempt, or a job that kills its workers would be tried for ever. An executor writes that down; until
 * it has, the entry waits here, and where this dispatcher dies first, the attempt is not counted, which is the safe side.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "worker/claim.h"
#include "worker/granter.h"
#include "worker/lease.h"

struct UnrdfGranter
{
	UnrdfLaneSet *lanes;
	int *held; /* indexes of leases of this database that are not FREE */
	int nheld;
	int *place;     /* of a lease among them */
	int64 next_end; /* ticks; no deadline is earlier */
	uint32 told;    /* up to which told leases have been looked at */
	dlist_head lost;
	uint64 *empty;   /* by claim slot: the request for which nothing was found before */
	bool unanswered; /* one of those is to be answered */
	int first_slot;  /* who is looked at first */
	bool warned;
};

/* UnrdfGranterCreate makes one in the current memory context. */
UnrdfGranter *
UnrdfGranterCreate(UnrdfLaneSet *lanes)
{
	UnrdfGranter *g = palloc0(sizeof(UnrdfGranter));

	g->lanes = lanes;
	g->held = palloc(unrdf_max_leases * sizeof(int));
	g->place = palloc(unrdf_max_leases * sizeof(int));
	g->empty = palloc0(UnrdfClaimSlots() * sizeof(uint64));
	g->next_end = UNRDF_NO_DEADLINE;
	dlist_init(&g->lost);
	return g;
}

static void
hold(UnrdfGranter *g, int index)
{
	g->place[index] = g->nheld;
	g->held[g->nheld++] = index;
	g->next_end = Min(g->next_end, UnrdfLeaseDeadline(&UnrdfLeases[index]));
}

static void
let_go(UnrdfGranter *g, int index)
{
	int last = g->held[--g->nheld];

	g->held[g->place[index]] = last;
	g->place[last] = g->place[index];
	UnrdfLeaseFree(&UnrdfLeases[index]);
}

/* UnrdfGranterLose has a failed attempt recorded of an entry whose lease, which it had since then, was lost. */
void
UnrdfGranterLose(UnrdfGranter *g, UnrdfEntry *entry, TimestampTz since)
{
	entry->due = since;
	dlist_push_tail(&g->lost, &entry->node);
}

static UnrdfEntry *
entry_of(UnrdfGranter *g, const UnrdfLease *lease)
{
	UnrdfEntry *entry = UnrdfEntryFind(g->lanes, lease->job);

	return entry && entry->xid == lease->job_xid ? entry : NULL;
}

/* Takes back the entry of a lease that is DONE. */
static void
take_back(UnrdfGranter *g, const UnrdfLease *lease)
{
	UnrdfEntry *entry = entry_of(g, lease);

	if (entry == NULL)
		return;
	if (lease->result == UNRDF_LEASE_ENDED)
		UnrdfEntryRemove(g->lanes, entry);
	else if (lease->result == UNRDF_LEASE_BACK)
		UnrdfEntryBack(g->lanes, entry);
	else
	{
		entry->attempt++;
		entry->failed |= lease->result == UNRDF_LEASE_RETRY;
		UnrdfEntryDelay(g->lanes, entry, lease->due, true, UnrdfNow());
	}
}

/* Looks at one lease; true where it has ended. */
static bool
look_at(UnrdfGranter *g, int index, int64 now)
{
	UnrdfLease *lease = &UnrdfLeases[index];
	UnrdfEntry *entry;

	(void) UnrdfLeaseExpire(lease, now);
	switch (UnrdfLeaseStateOf(lease))
	{
		case UNRDF_LEASE_DONE:
			take_back(g, lease);
			break;
		case UNRDF_LEASE_LOST:
			entry = entry_of(g, lease);
			if (entry)
				UnrdfGranterLose(g, entry, lease->since);
			break;
		case UNRDF_LEASE_HELD:
			g->next_end = Min(g->next_end, UnrdfLeaseDeadline(lease));
			return false;
		default:
			return false;
	}
	let_go(g, index);
	return true;
}

/*
 * UnrdfGranterAdopt takes the leases over that an earlier dispatcher granted. What it makes known of their jobs is OUT. What
 * has ended meanwhile is taken in the next step.
 */
void
UnrdfGranterAdopt(UnrdfGranter *g, UnrdfLoadEntry load, void *arg)
{
	g->told = UnrdfLeasesTold() - 1;
	for (int i = UnrdfLeaseNext(0); i >= 0; i = UnrdfLeaseNext(i + 1))
	{
		UnrdfLease *lease = &UnrdfLeases[i];
		UnrdfEntry *entry;

		if (lease->dboid != MyDatabaseId)
			continue;
		entry = load(arg, lease->job);
		if (entry)
			UnrdfEntryAdopt(g->lanes, entry);
		hold(g, i);
	}
	g->next_end = 0;
}

/* UnrdfGranterTake takes back what has ended; true where anything has. */
bool
UnrdfGranterTake(UnrdfGranter *g)
{
	uint32 told = UnrdfLeasesTold();
	int64 now = UnrdfTicks();
	bool any = false;

	if (told != g->told)
	{
		g->told = told;
		for (int i = UnrdfLeaseNextTold(0); i >= 0; i = UnrdfLeaseNextTold(i + 1))
			if (UnrdfLeaseStateOf(&UnrdfLeases[i]) != UNRDF_LEASE_FREE)
				any |= look_at(g, i, now);
	}
	if (now < g->next_end)
		return any;
	g->next_end = UNRDF_NO_DEADLINE;
	for (int i = g->nheld - 1; i >= 0; i--)
		any |= look_at(g, g->held[i], now);
	return any;
}

/* Grants one lease, after another one of the same claim; -1 where there is no lease, or nothing to do. */
static int
grant(UnrdfGranter *g, const UnrdfClaim *claim, int32 epoch, int last, int64 now)
{
	UnrdfLease *lease;
	UnrdfEntry *entry;
	int index;

	if (UnrdfOutsidePeek(g->lanes, claim->queues, claim->nqueues) == NULL ||
		(index = UnrdfLeaseReserve()) < 0)
		return -1;
	lease = &UnrdfLeases[index];
	entry = UnrdfOutsideTake(g->lanes, claim->queues, claim->nqueues);
	lease->job = entry->job;
	lease->job_xid = entry->xid;
	lease->hard = UNRDF_NO_DEADLINE;
	lease->since = UnrdfNow();
	lease->dboid = MyDatabaseId;
	lease->role = claim->role;
	lease->queue = UnrdfEntryQueue(entry);
	lease->handler = entry->handler;
	lease->attempt = entry->attempt;
	lease->failed = entry->failed;
	lease->pid = claim->pid;
	lease->next = -1;
	lease->tid = entry->tid;
	UnrdfLeaseHold(index, epoch, claim->lease < 0 ? UNRDF_NO_DEADLINE : now + claim->lease);
	hold(g, index);
	if (last >= 0)
		UnrdfLeases[last].next = index;
	return index;
}

/* Answers a request with what there is; one for which there is nothing waits, unless it wants an answer at once. */
static void
answer(UnrdfGranter *g, int slot, uint64 asked, const UnrdfClaim *claim, int32 epoch, bool all_read)
{
	int64 now = UnrdfTicks();
	int first = -1;
	int last = -1;
	int n = 0;

	for (; n < claim->n; n++)
	{
		int index = grant(g, claim, epoch, last, now);

		if (index < 0)
			break;
		last = index;
		if (n == 0)
			first = index;
	}
	if (n == 0 && !(claim->at_once && all_read && g->empty[slot] == asked))
	{
		/* what was committed before it was asked for is read in the next step at the latest */
		g->empty[slot] = asked;
		g->unanswered |= claim->at_once;
		return;
	}
	if (UnrdfClaimFill(slot, asked, first))
		return;
	for (; n > 0; n--)
	{
		int index = g->held[g->nheld - 1];

		UnrdfEntryBack(g->lanes, UnrdfEntryFind(g->lanes, UnrdfLeases[index].job));
		let_go(g, index);
	}
}

/* UnrdfGranterGrant answers requests. all_read: whatever was committed before this step is known, or there is no room for it. */
void
UnrdfGranterGrant(UnrdfGranter *g, int32 epoch, bool all_read)
{
	int slots = UnrdfClaimSlots();
	UnrdfClaim claim;

	g->unanswered = false;
	for (int i = 0; i < slots && UnrdfClaimsWait(); i++)
	{
		int slot = (g->first_slot + i) % slots;
		uint64 asked = UnrdfClaimRead(slot, &claim);

		if (asked != 0)
			answer(g, slot, asked, &claim, epoch, all_read);
	}
	g->first_slot = (g->first_slot + 1) % slots;
	if (g->nheld == unrdf_max_leases && !g->warned)
	{
		g->warned = true;
		ereport(WARNING, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						  errmsg("workers outside have as many jobs in hand as there can be: %d",
								 unrdf_max_leases),
						  errhint("Raise unrdf.max_leases.")));
	}
}

/* UnrdfGranterRecords tells whether lost attempts are to be recorded. */
bool
UnrdfGranterRecords(const UnrdfGranter *g)
{
	return !dlist_is_empty(unconstify(dlist_head *, &g->lost));
}

/* UnrdfGranterRecord fills a slot with them. */
void
UnrdfGranterRecord(UnrdfGranter *g, UnrdfSlot *slot)
{
	slot->ntasks = 0;
	while (slot->ntasks < UNRDF_TASKS && UnrdfGranterRecords(g))
	{
		UnrdfEntry *entry = dlist_container(UnrdfEntry, node, dlist_pop_head_node(&g->lost));
		UnrdfTask *task = UnrdfSlotAdd(slot, entry);

		task->kind = UNRDF_TASK_LOST;
		task->since = entry->due;
	}
}

/* UnrdfGranterNext returns when there is something to do, in ticks. */
int64
UnrdfGranterNext(const UnrdfGranter *g)
{
	return g->unanswered ? 0 : g->next_end;
}
