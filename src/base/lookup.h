#ifndef UNRDF_LOOKUP_H
#define UNRDF_LOOKUP_H

#include "postgres.h"

#include "access/genam.h"
#include "access/sdir.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "executor/tuptable.h"
#include "utils/fmgroids.h"
#include "utils/relcache.h"

#include "base/catalog.h"

#define UNRDF_LOOKUP_KEYS 4

/* Scans of one index of one of our tables, one after another, without opening anything again. */
typedef struct UnrdfLookup
{
	MemoryContext context; /* owns everything here */
	Relation table;
	Relation index;
	TupleTableSlot *slot; /* the row that UnrdfLookupNext found */
	IndexScanDesc scan;
	int nkeys;
	ScanKeyData keys[UNRDF_LOOKUP_KEYS];
} UnrdfLookup;

extern void UnrdfLookupBegin(UnrdfLookup *l, UnrdfRel table, UnrdfRel index);
extern void UnrdfLookupKey(UnrdfLookup *l, int column, StrategyNumber strategy,
						   Oid operator_function, Datum value);
extern void UnrdfLookupStart(UnrdfLookup *l);
extern bool UnrdfLookupNext(UnrdfLookup *l, ScanDirection direction);
extern void UnrdfLookupEnd(UnrdfLookup *l);

extern TransactionId UnrdfAnyRow(UnrdfRel table, UnrdfRel index, int64 id, bool *found);

/* Rows by their id, which is cheap as long as the ids asked for ascend. */
typedef struct UnrdfIdLookup
{
	UnrdfLookup rows; /* rows.slot is the row that UnrdfIdLookupFind found */
	bool sought;      /* what follows is known */
	bool
		positioned; /* the slot has a row, and id is its id; if not, there is none from `from` on */
	int64 id;
	int64 from; /* it is the first row from this id on */
} UnrdfIdLookup;

extern void UnrdfIdLookupBegin(UnrdfIdLookup *l, UnrdfRel table, UnrdfRel index);
extern bool UnrdfIdLookupFind(UnrdfIdLookup *l, int64 id);
extern void UnrdfIdLookupEnd(UnrdfIdLookup *l);
extern bool UnrdfNeverFilled(UnrdfRel rel);

#endif /* UNRDF_LOOKUP_H */
