/*
 * lookup.c: reads rows of the extension's own tables by their indexes, past the executor.
 *
 * Everything is read under the snapshot that is active at the first UnrdfLookupStart, and has to
 * stay so until UnrdfLookupEnd. What a scan allocates, some of it only on the way, lives in the
 * context of UnrdfLookupBegin, so callers may be in a shorter one. No privileges are checked: the
 * SQL functions are the privilege. After an error the transaction's abort cleans up.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/lookup.h"

/* A row this near is reached by walking on, a farther one by a new descent of the index. */
#define WALK_STEPS 16

/* UnrdfLookupBegin opens table and index; raises 55000 where the extension is not installed. */
void
UnrdfLookupBegin(UnrdfLookup *l, UnrdfRel table, UnrdfRel index)
{
	l->context = CurrentMemoryContext;
	l->table = table_open(UnrdfRelid(table), AccessShareLock);
	l->index = index_open(UnrdfRelid(index), AccessShareLock);
	l->slot = table_slot_create(l->table, NULL);
	l->scan = NULL;
	l->nkeys = 0;
}

/*
 * UnrdfLookupKey adds a condition for the next UnrdfLookupStart; columns of the index count from 1.
 */
void
UnrdfLookupKey(UnrdfLookup *l, int column, StrategyNumber strategy, Oid operator_function,
			   Datum value)
{
	Assert(l->nkeys < UNRDF_LOOKUP_KEYS);
	/* not ScanKeyInit: its collation is "C", and a text index is in the column's */
	ScanKeyEntryInitialize(&l->keys[l->nkeys++], 0, column, strategy, InvalidOid,
						   l->index->rd_indcollation[column - 1], operator_function, value);
}

/* UnrdfLookupStart begins a scan for the keys given since the last one. */
void
UnrdfLookupStart(UnrdfLookup *l)
{
	MemoryContext old = MemoryContextSwitchTo(l->context);

	if (l->scan && l->scan->numberOfKeys != l->nkeys)
	{
		index_endscan(l->scan);
		l->scan = NULL;
	}
	if (l->scan == NULL)
		l->scan = unrdf_index_beginscan(l->table, l->index, GetActiveSnapshot(), l->nkeys);
	index_rescan(l->scan, l->keys, l->nkeys, NULL, 0);
	l->nkeys = 0;
	MemoryContextSwitchTo(old);
}

/* UnrdfLookupNext puts the scan's next row into the slot; false, with an empty slot, at its end. */
bool
UnrdfLookupNext(UnrdfLookup *l, ScanDirection direction)
{
	MemoryContext old = MemoryContextSwitchTo(l->context);
	bool found = index_getnext_slot(l->scan, direction, l->slot);

	MemoryContextSwitchTo(old);
	return found;
}

/* UnrdfLookupEnd closes everything. */
void
UnrdfLookupEnd(UnrdfLookup *l)
{
	if (l->scan)
		index_endscan(l->scan);
	ExecDropSingleTupleTableSlot(l->slot);
	index_close(l->index, AccessShareLock);
	table_close(l->table, AccessShareLock);
}

/* UnrdfIdLookupBegin opens a table whose first column is the id, and its index on that. */
void
UnrdfIdLookupBegin(UnrdfIdLookup *l, UnrdfRel table, UnrdfRel index)
{
	UnrdfLookupBegin(&l->rows, table, index);
	l->sought = false;
}

/* Goes on to the next row, which is the first from this id on. */
static void
next_id(UnrdfIdLookup *l, int64 from)
{
	bool isnull;

	l->from = from;
	l->positioned = UnrdfLookupNext(&l->rows, ForwardScanDirection);
	if (l->positioned)
		l->id = DatumGetInt64(slot_getattr(l->rows.slot, 1, &isnull));
}

/* UnrdfIdLookupFind puts the row of an id into rows.slot; false where there is none. */
bool
UnrdfIdLookupFind(UnrdfIdLookup *l, int64 id)
{
	if (l->sought && l->from <= id)
		for (int i = 0; i < WALK_STEPS && l->positioned && l->id < id; i++)
			next_id(l, l->id + 1);
	if (!l->sought || id < l->from || (l->positioned && l->id < id))
	{
		UnrdfLookupKey(&l->rows, 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(id));
		UnrdfLookupStart(&l->rows);
		next_id(l, id);
		l->sought = true;
	}
	return l->positioned && l->id == id;
}

/* UnrdfIdLookupEnd closes everything. */
void
UnrdfIdLookupEnd(UnrdfIdLookup *l)
{
	UnrdfLookupEnd(&l->rows);
}

/*
 * UnrdfAnyRow looks for a row by the first column of an index, under no snapshot: *found also where its transaction is in
 * progress. Returns that transaction then, unless it is the own one; else an invalid id.
 */
TransactionId
UnrdfAnyRow(UnrdfRel table, UnrdfRel index, int64 id, bool *found)
{
	Relation rel = table_open(UnrdfRelid(table), AccessShareLock);
	Relation idx = index_open(UnrdfRelid(index), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TransactionId writer = InvalidTransactionId;
	SnapshotData dirty;
	ScanKeyData key;
	IndexScanDesc scan;

	InitDirtySnapshot(dirty);
	*found = false;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	scan = unrdf_index_beginscan(rel, idx, &dirty, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (!TransactionIdIsValid(writer) && index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		*found = true;
		writer = dirty.xmin;
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(idx, AccessShareLock);
	table_close(rel, AccessShareLock);
	return writer;
}

/* UnrdfNeverFilled tells whether a table has no pages, and so no rows: a look at the size of its file. */
bool
UnrdfNeverFilled(UnrdfRel rel)
{
	Relation table = table_open(UnrdfRelid(rel), AccessShareLock);
	bool empty = RelationGetNumberOfBlocks(table) == 0;

	table_close(table, AccessShareLock);
	return empty;
}
