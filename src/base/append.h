#ifndef UNRDF_APPEND_H
#define UNRDF_APPEND_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "base/catalog.h"

typedef struct UnrdfAppend UnrdfAppend;

extern UnrdfAppend *UnrdfAppendBegin(UnrdfRel rel, int capacity);
extern TupleTableSlot *UnrdfAppendRow(UnrdfAppend *a);
extern void UnrdfAppendSet(TupleTableSlot *slot, int column, Datum value);
extern void UnrdfAppendFlush(UnrdfAppend *a);
extern void UnrdfAppendEnd(UnrdfAppend *a);

#endif /* UNRDF_APPEND_H */
