#ifndef UNRDF_PAST_H
#define UNRDF_PAST_H

#include "postgres.h"

#include "base/lookup.h"
#include "queue/lane.h"

typedef struct UnrdfPast
{
	UnrdfIdLookup receipts;
	UnrdfLookup attempts;
	bool any_attempt;
} UnrdfPast;

extern void UnrdfPastBegin(UnrdfPast *past);
extern void UnrdfPastEnd(UnrdfPast *past);
extern bool UnrdfPastEnded(UnrdfPast *past, int64 job);
extern void UnrdfPastApply(UnrdfPast *past, UnrdfEntry *entry);

#endif /* UNRDF_PAST_H */
