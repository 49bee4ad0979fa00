#ifndef UNRDF_PROGRESS_H
#define UNRDF_PROGRESS_H

#include "postgres.h"

#include "worker/slot.h"

extern void UnrdfProgressSet(int64 done, int64 total, text *note);
extern bool UnrdfProgressGet(UnrdfSlot *slot, UnrdfProgress *progress, int *pid);

#endif /* UNRDF_PROGRESS_H */
