/*
 * held.c: what this session's transaction does with leases, and what becomes of that when it ends.
 *
 * Invariant: of every lease that the transaction has claimed, or decided upon (BUSY), there is a note, made without allocating
 * anything between the change and the note. A commit makes DONE what was decided. An abort, or that of the savepoint
 * in which the note was made, undoes the notes backwards: what was decided is HELD again, what was claimed goes back as if it had
 * never been handed out. A request that still waits is withdrawn. So whatever ends a statement, the client that does not hear of a
 * lease has none.
 *
 * Where the connection is the lease, its leases are remembered beyond the transaction; the exit callback runs after the
 * transaction was rolled back, and makes them LOST.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "worker/held.h"
#include "worker/worker.h"

#define CLIENT_LOOK 1000 /* ms after which who waits looks whether its client is there */

typedef struct Note
{
	UnrdfLease *lease;
	int64 token;
	SubTransactionId sub;
	bool decided; /* or else claimed */
} Note;

/* of a lease that hangs on this connection */
typedef struct Mine
{
	UnrdfLease *lease;
	int64 token;
} Mine;

static Note *notes = NULL; /* in TopTransactionContext */
static int nnotes = 0;
static int room = 0;
static int waiting = -1; /* slot of a request that waits */
static Mine *mine = NULL;
static int nmine = 0;
static int mine_room = 0;

/* Gives a lease back that this transaction has claimed; the attempt does not count. */
static void
give_back(UnrdfLease *lease, int64 token)
{
	if (!UnrdfLeaseMove(lease, token, UNRDF_LEASE_HELD, UNRDF_LEASE_BUSY))
		return;
	UnrdfHeldResult(lease, UNRDF_LEASE_BACK, 0);
	(void) UnrdfLeaseMove(lease, token, UNRDF_LEASE_BUSY, UNRDF_LEASE_DONE);
	UnrdfLeaseTell(lease);
}

static void
withdraw(void)
{
	int first = -1;

	if (waiting >= 0 && UnrdfClaimWithdraw(waiting, &first))
		while (first >= 0)
		{
			UnrdfLease *lease = &UnrdfLeases[first];

			first = lease->next;
			give_back(lease, lease->token);
		}
	waiting = -1;
}

static void
undo(const Note *note)
{
	if (!note->decided)
		give_back(note->lease, note->token);
	else if (UnrdfLeaseMove(note->lease, note->token, UNRDF_LEASE_BUSY, UNRDF_LEASE_HELD))
		UnrdfLeaseTell(note->lease); /* its deadline may have passed */
}

/* Undoes the notes of a subtransaction, or all of them. */
static void
undo_notes(SubTransactionId sub)
{
	int kept = nnotes;

	withdraw();
	/* those of a subtransaction, and of what was in it, are the last ones */
	while (kept > 0 && (sub == InvalidSubTransactionId || notes[kept - 1].sub == sub))
		undo(&notes[--kept]);
	nnotes = kept;
}

/* Every lease is marked by itself, and the dispatcher woken once: it would have looked at the first while the others were made ready. */
static void
carry_out(void)
{
	bool any = false;

	for (int i = 0; i < nnotes; i++)
	{
		UnrdfLease *lease = notes[i].lease;
		bool ended = lease->result == UNRDF_LEASE_ENDED;
		int64 job = lease->job;

		if (!notes[i].decided ||
			!UnrdfLeaseMove(lease, notes[i].token, UNRDF_LEASE_BUSY, UNRDF_LEASE_DONE))
			continue;
		UnrdfLeaseMark(lease);
		any = true;
		if (ended)
			UnrdfJobEnded(job);
	}
	if (any)
		UnrdfLeasesTell();
}

static void
at_xact_event(XactEvent event, void *arg)
{
	/* COMMIT PREPARED, in another session, could not carry it out */
	if (event == XACT_EVENT_PRE_PREPARE && nnotes > 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has claimed or completed jobs")));
	if (event == XACT_EVENT_COMMIT)
		carry_out();
	if (event == XACT_EVENT_ABORT)
		undo_notes(InvalidSubTransactionId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
	{
		notes = NULL;
		nnotes = room = 0;
	}
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		undo_notes(sub);
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = nnotes - 1; i >= 0 && notes[i].sub == sub; i--)
			notes[i].sub = parent;
}

static void
at_exit(int code, Datum arg)
{
	for (int i = 0; i < nmine; i++)
		if (UnrdfLeaseMove(mine[i].lease, mine[i].token, UNRDF_LEASE_HELD, UNRDF_LEASE_LOST))
			UnrdfLeaseTell(mine[i].lease);
}

/* Makes room for n more notes, so that making them cannot fail. */
static void
reserve(int n)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_xact_event, NULL);
		RegisterSubXactCallback(at_subxact_event, NULL);
		on_shmem_exit(at_exit, 0);
		registered = true;
	}
	if (nnotes + n <= room)
		return;
	room = Max(64, 2 * (nnotes + n));
	if (notes == NULL)
		notes = MemoryContextAllocHuge(TopTransactionContext, room * sizeof(Note));
	else
		notes = repalloc_huge(notes, room * sizeof(Note));
}

/* Makes room for n more leases of this connection; those that have ended are forgotten. */
static void
reserve_mine(int n)
{
	int kept = 0;

	if (nmine + n <= mine_room)
		return;
	for (int i = 0; i < nmine; i++)
		if (UnrdfLeaseFind(mine[i].token))
			mine[kept++] = mine[i];
	nmine = kept;
	if (2 * (nmine + n) <= mine_room)
		return;
	mine_room = Max(64, 2 * (nmine + n));
	if (mine == NULL)
		mine = MemoryContextAllocHuge(TopMemoryContext, mine_room * sizeof(Mine));
	else
		mine = repalloc_huge(mine, mine_room * sizeof(Mine));
}

static void
note(UnrdfLease *lease, int64 token, bool decided)
{
	notes[nnotes].lease = lease;
	notes[nnotes].token = token;
	notes[nnotes].sub = GetCurrentSubTransactionId();
	notes[nnotes++].decided = decided;
}

/* A client that is gone gets nothing: its transaction ends here, and gives back what it had. */
static void
check_client(void)
{
	if (MyProcPort == NULL || whereToSendOutput != DestRemote || pq_check_connection())
		return;
	ClientConnectionLost = true;
	InterruptPending = true;
	CHECK_FOR_INTERRUPTS();
}

/* Raises 42704 or 42501 where something has changed since, and a queue is gone, or the right to claim of it. */
static void
check_claimable(const UnrdfClaim *claim, UnrdfConfigSeen *seen)
{
	if (UnrdfConfigFresh(seen))
		return;
	for (int i = 0; i < claim->nqueues; i++)
		UnrdfCheckClaimable(claim->queues[i]);
}

/* Waits for the answer to a request and returns the first lease; -1 where there is none until that tick. */
static int
wait_for_answer(const UnrdfClaim *claim, UnrdfConfigSeen *seen, int64 until)
{
	int first = -1;

	for (;;)
	{
		check_claimable(claim, seen);
		if (UnrdfClaimAnswer(waiting, &first))
			break;
		if (UnrdfTicks() >= until)
		{
			(void) UnrdfClaimWithdraw(waiting, &first);
			break;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 UnrdfMillisUntilTick(until, CLIENT_LOOK), unrdf_wait_event("UnrdfClaim"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		check_client();
	}
	waiting = -1;
	return first;
}

/*
 * UnrdfHeldClaim asks for jobs and waits for some until a tick. Returns how many leases this transaction has claimed. seen is of when
 * that was found to be allowed; raises 42704, 42501 where it is not any more.
 */
int
UnrdfHeldClaim(const UnrdfClaim *claim, UnrdfConfigSeen *seen, int64 until, UnrdfLease **claimed)
{
	int n = 0;

	reserve(claim->n);
	if (claim->pid != 0)
		reserve_mine(claim->n);
	waiting = UnrdfClaimAsk(claim);
	for (int i = wait_for_answer(claim, seen, until); i >= 0; i = UnrdfLeases[i].next)
	{
		UnrdfLease *lease = &UnrdfLeases[i];

		note(lease, lease->token, false);
		if (claim->pid != 0)
			mine[nmine++] = (Mine){lease, lease->token};
		claimed[n++] = lease;
	}
	if (n > 0)
		check_client();
	return n;
}

/*
 * UnrdfHeldDecide takes the lease of a token for this transaction to say what becomes of the job; NULL where it has passed on.
 * Raises 42501 where another role claimed it.
 */
UnrdfLease *
UnrdfHeldDecide(int64 token)
{
	UnrdfLease *lease = UnrdfLeaseFind(token);

	reserve(1);
	if (lease == NULL || !UnrdfLeaseMove(lease, token, UNRDF_LEASE_HELD, UNRDF_LEASE_BUSY))
		return NULL;
	note(lease, token, true);
	UnrdfLeaseCheckRole(lease->role);
	return lease;
}

/* UnrdfHeldResult says what becomes of the job of a lease that is BUSY, and when it is due again. */
void
UnrdfHeldResult(UnrdfLease *lease, UnrdfLeaseResult result, TimestampTz due)
{
	lease->result = result;
	lease->due = due;
}

/* UnrdfHeldEnded ends the lease of a job that another transaction has ended, whatever becomes of this one. */
void
UnrdfHeldEnded(UnrdfLease *lease)
{
	int64 token = lease->token;

	(void) UnrdfLeaseMove(lease, token, UNRDF_LEASE_HELD, UNRDF_LEASE_BUSY);
	UnrdfHeldResult(lease, UNRDF_LEASE_ENDED, 0);
	(void) UnrdfLeaseMove(lease, token, UNRDF_LEASE_BUSY, UNRDF_LEASE_DONE);
	UnrdfLeaseTell(lease);
}
