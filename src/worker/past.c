/*
 * past.c: what the tables say of a job that has been run before: its receipt, or the last attempt that did not end it.
 */
#include "postgres.h"

#include "utils/fmgroids.h"

#include "worker/past.h"

/* UnrdfPastBegin opens what is looked at, until UnrdfPastEnd, under the active snapshot. */
void
UnrdfPastBegin(UnrdfPast *past)
{
	UnrdfIdLookupBegin(&past->receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	UnrdfLookupBegin(&past->attempts, UNRDF_ATTEMPT, UNRDF_ATTEMPT_PKEY);
	past->any_attempt = !UnrdfNeverFilled(UNRDF_ATTEMPT);
}

/* UnrdfPastEnd closes it. */
void
UnrdfPastEnd(UnrdfPast *past)
{
	UnrdfIdLookupEnd(&past->receipts);
	UnrdfLookupEnd(&past->attempts);
}

/* UnrdfPastEnded tells whether a job has ended. */
bool
UnrdfPastEnded(UnrdfPast *past, int64 job)
{
	return UnrdfIdLookupFind(&past->receipts, job);
}

/* UnrdfPastApply has an entry go on from the last attempt of its job that failed or snoozed, if there is one. */
void
UnrdfPastApply(UnrdfPast *past, UnrdfEntry *entry)
{
	bool isnull;
	TupleTableSlot *slot = past->attempts.slot;

	if (!past->any_attempt)
		return;
	UnrdfLookupKey(&past->attempts, ATTEMPT_JOB + 1, BTEqualStrategyNumber, F_INT8EQ,
				   Int64GetDatum(entry->job));
	UnrdfLookupStart(&past->attempts);
	if (!UnrdfLookupNext(&past->attempts, BackwardScanDirection))
		return;
	entry->attempt = DatumGetInt32(slot_getattr(slot, ATTEMPT_N + 1, &isnull)) + 1;
	entry->failed = DatumGetInt32(slot_getattr(slot, ATTEMPT_FAILURES + 1, &isnull)) > 0;
	entry->due = DatumGetTimestampTz(slot_getattr(slot, ATTEMPT_RETRY_AT + 1, &isnull));
}
