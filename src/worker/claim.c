/*
 * claim.c: how sessions ask their dispatcher for jobs, as a table in shared memory.
 *
 * A request's word has a number, a state and, in an answer, the first of the leases, which lead to each other. It is
 * changed by compare-and-swap only:
 *
 *     FREE → TAKEN → ASKED     the session
 *     ASKED → FILLED           the dispatcher, with the leases
 *     ASKED → FREE             the session, which waits no longer
 *     FILLED → FREE            the session, which has the leases now
 *
 * The rest is written by the session before ASKED. A dispatcher may read it while the session goes and another one comes: then
 * the number is another, its answer is not taken, and the leases go back where they came from. A session that ends while it
 * waits withdraws in its transaction's abort, whatever ends it; one that was answered at that moment gives the leases
 * back. What a dispatcher that dies has not answered, its successor finds.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/postmaster.h"

#include "base/shmem.h"
#include "worker/claim.h"

#define FIRST_BITS 24
#define STATE_BITS 2
#define MASK(bits) ((UINT64CONST(1) << (bits)) - 1)

typedef enum ClaimState
{
	FREE,
	TAKEN,
	ASKED,
	FILLED
} ClaimState;

typedef struct Slot
{
	pg_atomic_uint64 word;
	UnrdfClaim claim;
} Slot;

typedef struct Slots
{
	pg_atomic_uint32 waiting; /* slots that are not FREE */
	Slot slots[FLEXIBLE_ARRAY_MEMBER];
} Slots;

static Slots *claims = NULL;

/* UnrdfClaimSlots returns how many sessions can wait at once: all that can call functions. */
int
UnrdfClaimSlots(void)
{
	return MaxConnections + max_worker_processes;
}

static void
init_claims(void *block)
{
	Slots *slots = block;

	pg_atomic_init_u32(&slots->waiting, 0);
	for (int i = 0; i < UnrdfClaimSlots(); i++)
		pg_atomic_init_u64(&slots->slots[i].word, 0);
}

/* UnrdfClaimInit registers the table's shared memory; called once, from _PG_init. */
void
UnrdfClaimInit(void)
{
	UnrdfShmemRegister("unrdf claims", offsetof(Slots, slots) + UnrdfClaimSlots() * sizeof(Slot),
					   (void **) &claims, init_claims);
}

static ClaimState
state_in(uint64 word)
{
	return (word >> FIRST_BITS) & MASK(STATE_BITS);
}

/* The word of the same request in another state, with leases from the first on; -1: none. */
static uint64
with_state(uint64 word, ClaimState state, int first)
{
	return (word & ~MASK(FIRST_BITS + STATE_BITS)) | ((uint64) state << FIRST_BITS) |
		   (uint64) (first + 1);
}

static int
first_in(uint64 word)
{
	return (int) (word & MASK(FIRST_BITS)) - 1;
}

/* UnrdfClaimAsk puts a request and wakes the dispatcher. Returns its slot; raises 53400 where all are taken. */
int
UnrdfClaimAsk(const UnrdfClaim *claim)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	for (int i = 0; i < UnrdfClaimSlots(); i++)
	{
		Slot *slot = &claims->slots[i];
		uint64 word = pg_atomic_read_u64(&slot->word);
		/* a number that no dispatcher has seen in this slot */
		uint64 mine = with_state(word + (UINT64CONST(1) << (FIRST_BITS + STATE_BITS)), TAKEN, -1);

		if (state_in(word) != FREE || !pg_atomic_compare_exchange_u64(&slot->word, &word, mine))
			continue;
		pg_atomic_fetch_add_u32(&claims->waiting, 1);
		slot->claim = *claim;
		pg_write_barrier();
		pg_atomic_write_u64(&slot->word, with_state(mine, ASKED, -1));
		if (db)
			UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
		return i;
	}
	ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					errmsg("too many sessions are claiming jobs at once")));
}

/* UnrdfClaimAnswer takes an answer, if there is one, and frees the slot. *first: the first lease, or -1. */
bool
UnrdfClaimAnswer(int slot, int *first)
{
	uint64 word = pg_atomic_read_u64(&claims->slots[slot].word);

	if (state_in(word) != FILLED)
		return false;
	pg_read_barrier();
	*first = first_in(word);
	pg_atomic_write_u64(&claims->slots[slot].word, with_state(word, FREE, -1));
	pg_atomic_fetch_sub_u32(&claims->waiting, 1);
	return true;
}

/* UnrdfClaimWithdraw frees a slot. True where it was answered meanwhile: then the leases are the caller's. */
bool
UnrdfClaimWithdraw(int slot, int *first)
{
	uint64 word = pg_atomic_read_u64(&claims->slots[slot].word);

	if (state_in(word) == ASKED && pg_atomic_compare_exchange_u64(&claims->slots[slot].word, &word,
																  with_state(word, FREE, -1)))
	{
		pg_atomic_fetch_sub_u32(&claims->waiting, 1);
		return false;
	}
	return UnrdfClaimAnswer(slot, first);
}

/* UnrdfClaimsWait tells whether there may be requests, of any database. */
bool
UnrdfClaimsWait(void)
{
	return pg_atomic_read_u32(&claims->waiting) > 0;
}

/* UnrdfClaimRead copies a request of this database and returns what identifies it; 0 where the slot has none. */
uint64
UnrdfClaimRead(int slot, UnrdfClaim *claim)
{
	uint64 word = pg_atomic_read_u64(&claims->slots[slot].word);

	pg_read_barrier();
	if (state_in(word) != ASKED || claims->slots[slot].claim.dboid != MyDatabaseId)
		return 0;
	*claim = claims->slots[slot].claim;
	/* it may be being overwritten: then it is not answered, but has to be sound until that is found out */
	claim->nqueues = Min(Max(claim->nqueues, 0), UNRDF_CLAIM_QUEUES);
	return word;
}

/* UnrdfClaimFill answers a request with a list of leases; false where nobody waits for it any more. */
bool
UnrdfClaimFill(int slot, uint64 asked, int first)
{
	if (!pg_atomic_compare_exchange_u64(&claims->slots[slot].word, &asked,
										with_state(asked, FILLED, first)))
		return false;
	UnrdfSetLatch(&claims->slots[slot].claim.latch);
	return true;
}
