/*
 * commit.c: things to do once the current transaction has committed.
 *
 * XACT_EVENT_COMMIT comes after the commit record is durable (and acknowledged by synchronous standbys) and after the
 * rows became visible to others, so a process woken from here finds what it was woken for. The actions must not raise.
 * An action whose savepoint is rolled back is dropped. So are all by PREPARE TRANSACTION; whoever depends on them has a periodic
 * sweep.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "base/commit.h"

typedef struct Action
{
	UnrdfCommitFn fn;
	uint64 arg;
	SubTransactionId sub;
} Action;

/* The list lives in TopTransactionContext and dies with it. */
static Action *actions = NULL;
static int nactions = 0;
static int capacity = 0;

static void
at_xact_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
		for (int i = 0; i < nactions; i++)
			actions[i].fn(actions[i].arg);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		actions = NULL;
		nactions = capacity = 0;
	}
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	/* those of a subtransaction are the last ones */
	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (nactions > 0 && actions[nactions - 1].sub == sub)
			nactions--;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = nactions - 1; i >= 0 && actions[i].sub == sub; i--)
			actions[i].sub = parent;
}

/*
 * UnrdfAtCommit runs fn(arg) once after the current transaction commits. The same call among the last few is not
 * repeated. fn must not raise.
 */
void
UnrdfAtCommit(UnrdfCommitFn fn, uint64 arg)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_xact_event, NULL);
		RegisterSubXactCallback(at_subxact_event, NULL);
		registered = true;
	}
	for (int i = nactions - 1; i >= 0 && i >= nactions - 16; i--)
		if (actions[i].fn == fn && actions[i].arg == arg)
			return;
	if (nactions == capacity)
	{
		capacity = capacity ? capacity * 2 : 16;
		if (actions == NULL)
			actions = MemoryContextAlloc(TopTransactionContext, capacity * sizeof(Action));
		else
			actions = repalloc(actions, capacity * sizeof(Action));
	}
	actions[nactions].fn = fn;
	actions[nactions].arg = arg;
	actions[nactions].sub = GetCurrentSubTransactionId();
	nactions++;
}
