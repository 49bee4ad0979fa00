/*
 * lease.c: jobs that workers outside have in hand, as a table in shared memory. Nothing is written to claim a job.
 *
 * A lease has one dispatcher and, while it is claimed, whoever knows its token. Its word says all that more than one of them
 * may change: a counter of the slot's leases, the state and the deadline; it is changed by compare-and-swap only, so that of two who
 * would (a completion and the deadline, a heartbeat and the deadline) one is first and the other finds out. The rest belongs to
 * whom the state names:
 *
 *     FREE → TAKEN → HELD    the database's dispatcher, which alone grants
 *     HELD → BUSY            a session that completes, fails or gives back the job, in its open transaction
 *     BUSY → HELD            the same, when that or its savepoint rolls back
 *     BUSY → DONE            the same, after the commit; at once where nothing was written
 *     HELD → LOST            the dispatcher, when the deadline has passed; a backend that ends, if it was the lease
 *     DONE, LOST → FREE      the dispatcher, which then knows what becomes of the job
 *
 * A job is OUT for the dispatcher from TAKEN to FREE, so nobody else gets it meanwhile and it counts in its limits. In BUSY the deadline is
 * not looked at: the commit that decides may be under way.
 *
 * Who dies: a client that says nothing more has a deadline, or a connection that ends. A backend's transaction rolls back, which
 * gives BUSY back to HELD, and then its exit makes LOST what hung on it. A dispatcher leaves the table as it is, its
 * successor takes the leases of its database over before it reads any job; between TAKEN and HELD, and between the first lease of a claim and
 * its answer (granter.c), it looks at no interrupt. An executor that dies while it records lost attempts leaves them uncounted or
 * recorded, never half. A server that crashes, or is promoted, has an empty table: jobs without receipt are pending, and an old token finds
 * nothing, as its epoch has passed.
 *
 * A token is epoch (20 bits), counter of the slot's leases (23), slot (20): unique within a server's start as long as slots are used in turn.
 * The epoch's row is on disk before the first lease. Where a promotion loses it with what an asynchronous standby did not have, two starts share
 * a number; so counters begin somewhere else with every start.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "worker/lease.h"

#define INDEX_BITS 20
#define COUNTER_BITS 23
#define EPOCH_BITS 20
#define STATE_BITS 3
#define DEADLINE_BITS 38 /* milliseconds: nine years of uptime */
#define MASK(bits) ((UINT64CONST(1) << (bits)) - 1)

typedef struct Leases
{
	pg_atomic_uint32 next; /* where to look for a free one: all are used in turn */
	pg_atomic_uint32 told; /* counts tellings */
	pg_atomic_uint32 used; /* leases that have been granted and are not FREE */
	/* a bit per lease of which its dispatcher has to be told */
	pg_atomic_uint64 change[FLEXIBLE_ARRAY_MEMBER];
} Leases;

UnrdfLease *UnrdfLeases = NULL;
static Leases *leases = NULL;

static uint64
make_word(uint64 counter, UnrdfLeaseState state, int64 deadline)
{
	/* rounded up: a deadline has not passed before its time */
	uint64 ms = deadline == UNRDF_NO_DEADLINE
					? MASK(DEADLINE_BITS)
					: Min((uint64) (deadline + 999) / 1000, MASK(DEADLINE_BITS) - 1);

	return (counter << (STATE_BITS + DEADLINE_BITS)) | ((uint64) state << DEADLINE_BITS) | ms;
}

static int
change_words(void)
{
	return (unrdf_max_leases + 63) / 64;
}

static void
init_leases(void *block)
{
	pg_atomic_init_u32(&leases->next, 0);
	pg_atomic_init_u32(&leases->told, 0);
	pg_atomic_init_u32(&leases->used, 0);
	for (int i = 0; i < change_words(); i++)
		pg_atomic_init_u64(&leases->change[i], 0);
}

static void
init_table(void *block)
{
	for (int i = 0; i < unrdf_max_leases; i++)
		pg_atomic_init_u64(&((UnrdfLease *) block)[i].word,
						   make_word(pg_prng_uint64(&pg_global_prng_state) & MASK(COUNTER_BITS),
									 UNRDF_LEASE_FREE, 0));
}

/* UnrdfLeaseInit registers the table's shared memory; called once, from _PG_init. */
void
UnrdfLeaseInit(void)
{
	UnrdfShmemRegister("unrdf leases", unrdf_max_leases * sizeof(UnrdfLease),
					   (void **) &UnrdfLeases, init_table);
	UnrdfShmemRegister("unrdf leases told",
					   offsetof(Leases, change) + change_words() * sizeof(pg_atomic_uint64),
					   (void **) &leases, init_leases);
}

static UnrdfLeaseState
state_in(uint64 word)
{
	return (word >> DEADLINE_BITS) & MASK(STATE_BITS);
}

static uint64
counter_in(uint64 word)
{
	return word >> (STATE_BITS + DEADLINE_BITS);
}

static int64
deadline_in(uint64 word)
{
	uint64 ms = word & MASK(DEADLINE_BITS);

	return ms == MASK(DEADLINE_BITS) ? UNRDF_NO_DEADLINE : (int64) ms * 1000;
}

static uint64
with_state(uint64 word, UnrdfLeaseState state)
{
	return (word & ~(MASK(STATE_BITS) << DEADLINE_BITS)) | ((uint64) state << DEADLINE_BITS);
}

static uint64
counter_of(int64 token)
{
	return ((uint64) token >> INDEX_BITS) & MASK(COUNTER_BITS);
}

static uint64
read_word(const UnrdfLease *lease)
{
	uint64 word = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &lease->word));

	pg_read_barrier();
	return word;
}

/* UnrdfLeaseStateOf reads a lease's state; what its last owner wrote is visible after it. */
UnrdfLeaseState
UnrdfLeaseStateOf(const UnrdfLease *lease)
{
	return state_in(read_word(lease));
}

/* UnrdfLeaseIsHeld tells whether somebody has the job in hand. */
bool
UnrdfLeaseIsHeld(const UnrdfLease *lease)
{
	UnrdfLeaseState state = UnrdfLeaseStateOf(lease);

	return state == UNRDF_LEASE_HELD || state == UNRDF_LEASE_BUSY;
}

/* UnrdfLeaseDeadline returns its deadline in ticks; UNRDF_NO_DEADLINE where it has none. */
int64
UnrdfLeaseDeadline(const UnrdfLease *lease)
{
	return deadline_in(read_word(lease));
}

/* UnrdfLeaseReserve takes a free lease and returns its index; -1 where all are taken. */
int
UnrdfLeaseReserve(void)
{
	for (int i = 0; i < unrdf_max_leases; i++)
	{
		int index = pg_atomic_fetch_add_u32(&leases->next, 1) % unrdf_max_leases;
		uint64 word = read_word(&UnrdfLeases[index]);

		if (state_in(word) == UNRDF_LEASE_FREE &&
			pg_atomic_compare_exchange_u64(&UnrdfLeases[index].word, &word,
										   with_state(word, UNRDF_LEASE_TAKEN)))
			return index;
	}
	return -1;
}

/* UnrdfLeaseHold makes one that was reserved and filled in valid, and gives it its token. */
void
UnrdfLeaseHold(int index, int32 epoch, int64 deadline)
{
	UnrdfLease *lease = &UnrdfLeases[index];
	uint64 counter = (counter_in(read_word(lease)) + 1) & MASK(COUNTER_BITS);

	lease->token = (int64) (((uint64) (epoch & MASK(EPOCH_BITS)) << (COUNTER_BITS + INDEX_BITS)) |
							(counter << INDEX_BITS) | index);
	pg_atomic_fetch_add_u32(&leases->used, 1);
	pg_atomic_write_u64(&lease->word, make_word(counter, UNRDF_LEASE_HELD, deadline));
}

/* UnrdfLeaseFree ends one that was HELD. For its dispatcher. */
void
UnrdfLeaseFree(UnrdfLease *lease)
{
	pg_atomic_fetch_sub_u32(&leases->used, 1);
	pg_write_barrier();
	pg_atomic_write_u64(&lease->word, make_word(counter_in(read_word(lease)), UNRDF_LEASE_FREE, 0));
}

/* UnrdfLeaseNext returns the next lease that was granted and is not FREE, from an index on; -1 where there is none. */
int
UnrdfLeaseNext(int from)
{
	if (pg_atomic_read_u32(&leases->used) == 0)
		return -1;
	for (int i = from; i < unrdf_max_leases; i++)
	{
		UnrdfLeaseState state = UnrdfLeaseStateOf(&UnrdfLeases[i]);

		if (state != UNRDF_LEASE_FREE && state != UNRDF_LEASE_TAKEN)
			return i;
	}
	return -1;
}

/* UnrdfLeaseFind returns the lease that a token names in this database, HELD or BUSY a moment ago; NULL where there is none. */
UnrdfLease *
UnrdfLeaseFind(int64 token)
{
	uint64 index = (uint64) token & MASK(INDEX_BITS);
	UnrdfLease *lease;
	uint64 word;

	if (token < 0 || index >= unrdf_max_leases)
		return NULL;
	lease = &UnrdfLeases[index];
	word = read_word(lease);
	if ((state_in(word) != UNRDF_LEASE_HELD && state_in(word) != UNRDF_LEASE_BUSY) ||
		counter_in(word) != counter_of(token) || lease->token != token ||
		lease->dboid != MyDatabaseId)
		return NULL;
	return lease;
}

/* UnrdfLeaseMove changes the state of the lease of a token; false where it is not `from`, or another's by now. */
bool
UnrdfLeaseMove(UnrdfLease *lease, int64 token, UnrdfLeaseState from, UnrdfLeaseState to)
{
	uint64 word = read_word(lease);

	while (state_in(word) == from && counter_in(word) == counter_of(token))
		if (pg_atomic_compare_exchange_u64(&lease->word, &word, with_state(word, to)))
			return true;
	return false;
}

/* UnrdfLeaseExpire makes a lease LOST that is HELD and whose deadline has passed. For its dispatcher. */
bool
UnrdfLeaseExpire(UnrdfLease *lease, int64 now)
{
	uint64 word = read_word(lease);

	while (state_in(word) == UNRDF_LEASE_HELD && deadline_in(word) <= now)
		if (pg_atomic_compare_exchange_u64(&lease->word, &word, with_state(word, UNRDF_LEASE_LOST)))
			return true;
	return false;
}

/* UnrdfLeaseExtend moves a deadline that has not passed, to a later one; false where the lease is lost. */
bool
UnrdfLeaseExtend(UnrdfLease *lease, int64 token, int64 deadline, int64 now)
{
	uint64 word = read_word(lease);

	while ((state_in(word) == UNRDF_LEASE_HELD || state_in(word) == UNRDF_LEASE_BUSY) &&
		   counter_in(word) == counter_of(token) && deadline_in(word) > now)
		if (deadline_in(word) >= deadline ||
			pg_atomic_compare_exchange_u64(&lease->word, &word,
										   make_word(counter_in(word), state_in(word), deadline)))
			return true;
	return false;
}

/* UnrdfLeaseShorten moves the deadline of a lease that is HELD or BUSY to an earlier one. */
void
UnrdfLeaseShorten(UnrdfLease *lease, int64 token, int64 deadline)
{
	uint64 word = read_word(lease);

	while ((state_in(word) == UNRDF_LEASE_HELD || state_in(word) == UNRDF_LEASE_BUSY) &&
		   counter_in(word) == counter_of(token) && deadline_in(word) > deadline)
		if (pg_atomic_compare_exchange_u64(&lease->word, &word,
										   make_word(counter_in(word), state_in(word), deadline)))
			return;
}

/*
 * UnrdfLeaseMark marks a lease whose state or deadline somebody else than the dispatcher has changed, which UnrdfLeasesTell has to tell
 * that. The bit comes after the change: a dispatcher that clears the bit sees the change, one that does not will find the bit.
 */
void
UnrdfLeaseMark(const UnrdfLease *lease)
{
	int index = (int) (lease - UnrdfLeases);

	pg_atomic_fetch_or_u64(&leases->change[index / 64], UINT64CONST(1) << (index % 64));
}

/* UnrdfLeasesTell has the dispatcher look at the leases that are marked. */
void
UnrdfLeasesTell(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	pg_atomic_fetch_add_u32(&leases->told, 1);
	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
}

/* UnrdfLeaseTell does both for one lease. */
void
UnrdfLeaseTell(const UnrdfLease *lease)
{
	UnrdfLeaseMark(lease);
	UnrdfLeasesTell();
}

/* UnrdfLeasesTold returns a count that changes when dispatchers are told something. */
uint32
UnrdfLeasesTold(void)
{
	uint32 told = pg_atomic_read_u32(&leases->told);

	pg_read_barrier();
	return told;
}

/* UnrdfLeaseNextTold returns the next lease of this database, from an index on, that somebody has told of, and forgets that; or -1. */
int
UnrdfLeaseNextTold(int from)
{
	for (int i = from; i < unrdf_max_leases; i++)
	{
		uint64 word = pg_atomic_read_u64(&leases->change[i / 64]) >> (i % 64);

		if (word == 0)
			i |= 63; /* on to the next word */
		else if ((word & 1) && UnrdfLeases[i].dboid == MyDatabaseId)
		{
			pg_atomic_fetch_and_u64(&leases->change[i / 64], ~(UINT64CONST(1) << (i % 64)));
			return i;
		}
	}
	return -1;
}

/* UnrdfLeaseCheckRole raises 42501 unless the current role is a member of the one that claimed a lease. */
void
UnrdfLeaseCheckRole(Oid role)
{
	if (!has_privs_of_role(GetUserId(), role))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("the lease was claimed by another role")));
}

/* The lease of a job that is HELD or BUSY; NULL where there is none. */
static UnrdfLease *
lease_of(Oid dboid, int64 job)
{
	for (int i = UnrdfLeaseNext(0); i >= 0; i = UnrdfLeaseNext(i + 1))
	{
		UnrdfLease *lease = &UnrdfLeases[i];
		UnrdfLeaseState state = UnrdfLeaseStateOf(lease);

		if ((state == UNRDF_LEASE_HELD || state == UNRDF_LEASE_BUSY) && lease->dboid == dboid &&
			lease->job == job)
			return lease;
	}
	return NULL;
}

/* UnrdfJobIsLeased tells whether a worker outside has a job of this database in hand. */
bool
UnrdfJobIsLeased(int64 job)
{
	return lease_of(MyDatabaseId, job) != NULL;
}

/* UnrdfLeaseIsOwn tells whether the current role is a member of one that has claimed a job of this database. */
bool
UnrdfLeaseIsOwn(int64 job)
{
	const UnrdfLease *lease = UnrdfLeases ? lease_of(MyDatabaseId, job) : NULL;

	return lease && has_privs_of_role(GetUserId(), lease->role);
}

/*
 * UnrdfLeaseCancel ends a job's lease now, as its deadline would: the job has a receipt. One that is BUSY is of a transaction that will
 * fail.
 */
void
UnrdfLeaseCancel(Oid dboid, int64 job)
{
	UnrdfLease *lease = lease_of(dboid, job);

	if (lease == NULL)
		return;
	UnrdfLeaseShorten(lease, lease->token, 0);
	UnrdfLeaseTell(lease);
}

/* UnrdfLeasesForget frees the leases of a database that was dropped, or has lost the extension: it has no dispatcher. */
void
UnrdfLeasesForget(Oid dboid)
{
	for (int i = UnrdfLeaseNext(0); i >= 0; i = UnrdfLeaseNext(i + 1))
	{
		UnrdfLease *lease = &UnrdfLeases[i];
		uint64 word = read_word(lease);

		if (state_in(word) != UNRDF_LEASE_FREE && lease->dboid == dboid &&
			pg_atomic_compare_exchange_u64(&lease->word, &word, with_state(word, UNRDF_LEASE_FREE)))
			pg_atomic_fetch_sub_u32(&leases->used, 1);
	}
}
