/*
 * release.c: whether a job's wait is over.
 *
 * It is decided from the rows of its needs and their receipts, under one snapshot, and so can be decided anew at any time. The
 * outcome does not depend on the order in which needs end: a job that waits for all is skipped only when all have ended and
 * none of them makes it fail; one that waits for any runs for the first that succeeds.
 *
 * A job with ten thousand needs must not have all of them looked at whenever one ends. So a job that waits for all has a watch on its
 * first need that is open: what comes before it has been looked at, and while it is open the job waits. When it ends, the
 * next one is looked for behind it. Each need is thus looked at once or twice, in memory for one watch per job; and
 * watches may be forgotten, since without one all needs are looked at. A need that fails is no matter of watches: it
 * fails the job at once. A job that waits for any has a watch too: only when that need ends without success, the
 * next has to be looked for, and one that succeeds releases it wherever it is.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/lookup.h"
#include "worker/release.h"

#define MAX_WATCHES 65536

typedef struct Watch
{
	int64 job;
	int64 need;   /* the first that is open */
	int64 failed; /* of those before it: one that failed, one that was skipped; 0: none */
	int64 skipped;
	bool any;
} Watch;

/* What was found of a job's needs. */
typedef struct Tally
{
	int64 met; /* each the first, 0: none */
	int64 failed;
	int64 skipped;
	int64 open;
	int held;     /* that nobody has revived */
	bool retried; /* some were held once */
} Tally;

/* UnrdfEdgeOf tells what a need's outcome, 0 where it has none yet, means for a job. */
UnrdfEdge
UnrdfEdgeOf(int outcome, UnrdfOnFailure on_failure)
{
	if (outcome == 0)
		return UNRDF_EDGE_OPEN;
	if (outcome == UNRDF_OK || on_failure == UNRDF_CONTINUE)
		return UNRDF_EDGE_MET;
	if (outcome == UNRDF_SKIPPED || on_failure == UNRDF_SKIP)
		return UNRDF_EDGE_SKIPPED;
	return on_failure == UNRDF_HOLD ? UNRDF_EDGE_HELD : UNRDF_EDGE_FAILED;
}

static void
forget_watches(UnrdfDecider *d)
{
	HASHCTL ctl = {0};

	if (d->watches)
		hash_destroy(d->watches);
	ctl.hcxt = d->context;
	ctl.keysize = sizeof(int64);
	ctl.entrysize = sizeof(Watch);
	d->watches = hash_create("unrdf watches", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* UnrdfDeciderInit makes a decider, which belongs to a context. */
void
UnrdfDeciderInit(UnrdfDecider *d, MemoryContext context)
{
	d->context = context;
	d->watches = NULL;
	forget_watches(d);
}

/* UnrdfDeciderBegin opens the tables, for decisions under the active snapshot. */
void
UnrdfDeciderBegin(UnrdfDecider *d)
{
	UnrdfLookupBegin(&d->needs, UNRDF_JOB_NEED, UNRDF_JOB_NEED_PKEY);
	UnrdfIdLookupBegin(&d->receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
}

/* UnrdfDeciderEnd closes them. */
void
UnrdfDeciderEnd(UnrdfDecider *d)
{
	UnrdfLookupEnd(&d->needs);
	UnrdfIdLookupEnd(&d->receipts);
}

/*
 * UnrdfDeciderConcerns tells whether a need's end can change what was decided of a job, and in *anew, whether all of its needs have
 * to be looked at.
 */
bool
UnrdfDeciderConcerns(UnrdfDecider *d, int64 job, int64 need, UnrdfEdge edge, bool *anew)
{
	Watch *watch = hash_search(d->watches, &job, HASH_FIND, NULL);

	*anew = watch == NULL || (watch->any ? edge == UNRDF_EDGE_MET || edge == UNRDF_EDGE_HELD
										 : edge == UNRDF_EDGE_FAILED || edge == UNRDF_EDGE_HELD);
	return *anew || watch->need == need;
}

static int
outcome_of(UnrdfDecider *d, int64 need)
{
	bool isnull;

	if (!UnrdfIdLookupFind(&d->receipts, need))
		return 0;
	return DatumGetInt16(slot_getattr(d->receipts.rows.slot, RECEIPT_OUTCOME + 1, &isnull));
}

static void
take(int64 *first, int64 need)
{
	if (*first == 0)
		*first = need;
}

/* Counts one need in. */
static void
count_need(UnrdfDecider *d, Tally *t)
{
	TupleTableSlot *slot = d->needs.slot;
	bool isnull;
	int64 need = DatumGetInt64(slot_getattr(slot, NEED_NEEDS + 1, &isnull));
	UnrdfOnFailure on_failure = DatumGetInt16(slot_getattr(slot, NEED_ON_FAILURE + 1, &isnull));
	UnrdfEdge edge = UnrdfEdgeOf(outcome_of(d, need), on_failure);

	if (edge == UNRDF_EDGE_OPEN)
		take(&t->open, need);
	else if (edge == UNRDF_EDGE_MET)
		take(&t->met, need);
	else if (edge == UNRDF_EDGE_FAILED)
		take(&t->failed, need);
	else if (edge == UNRDF_EDGE_SKIPPED)
		take(&t->skipped, need);
	else
		t->held++;
	/* the need in whose place it is was counted as held: ids ascend */
	(void) slot_getattr(slot, NEED_RETRY_OF + 1, &isnull);
	if (!isnull)
	{
		t->held--;
		t->retried = true;
	}
}

/* Looks at the needs from one on; where a watch goes on, no further than the first that is open. */
static void
count_needs(UnrdfDecider *d, int64 job, const Watch *watch, Tally *t)
{
	UnrdfLookupKey(&d->needs, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(job));
	UnrdfLookupKey(&d->needs, 2, BTGreaterEqualStrategyNumber, F_INT8GE,
				   Int64GetDatum(watch ? watch->need : PG_INT64_MIN));
	UnrdfLookupStart(&d->needs);
	while (!(watch && t->open) && UnrdfLookupNext(&d->needs, ForwardScanDirection))
	{
		CHECK_FOR_INTERRUPTS();
		count_need(d, t);
	}
}

static void
judge(const Tally *t, bool any, UnrdfDecision *decision)
{
	bool waits = t->open != 0 || t->held > 0;

	decision->need = 0;
	decision->verdict = UNRDF_RUNS;
	if (any ? t->met != 0 : !(waits || t->failed || t->skipped))
		return;
	if (t->failed && (!any || !waits))
	{
		decision->verdict = UNRDF_DIES;
		decision->need = t->failed;
	}
	else if (waits)
		decision->verdict = UNRDF_WAITS;
	else if (t->skipped)
	{
		decision->verdict = UNRDF_SKIPS;
		decision->need = t->skipped;
	}
}

/* Notes where a job that waits goes on. Whether a need is held is not told by itself alone: a job with such needs has no watch. */
static void
keep_watch(UnrdfDecider *d, int64 job, bool any, const Tally *t, UnrdfVerdict verdict)
{
	Watch *watch;

	if (verdict != UNRDF_WAITS || t->held > 0 || t->retried)
	{
		hash_search(d->watches, &job, HASH_REMOVE, NULL);
		return;
	}
	if (hash_get_num_entries(d->watches) >= MAX_WATCHES)
		forget_watches(d);
	watch = hash_search(d->watches, &job, HASH_ENTER, NULL);
	watch->need = t->open;
	watch->any = any;
	watch->failed = t->failed;
	watch->skipped = t->skipped;
}

/* UnrdfDecide decides on a job that waits, looking at all of its needs or from its watch on. */
void
UnrdfDecide(UnrdfDecider *d, int64 job, bool any, bool anew, UnrdfDecision *decision)
{
	Watch *watch = anew ? NULL : hash_search(d->watches, &job, HASH_FIND, NULL);
	Tally t = {0};

	if (watch)
	{
		t.failed = watch->failed;
		t.skipped = watch->skipped;
	}
	count_needs(d, job, watch, &t);
	judge(&t, any, decision);
	keep_watch(d, job, any, &t, decision->verdict);
}
