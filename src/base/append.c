/*
 * append.c: adds rows to one of the extension's own append-only tables, many at a time.
 *
 * It goes past the executor: no triggers fire (which is how the restore triggers know rows of a dump), no privileges
 * are checked (the SQL functions are the privilege), column defaults and CHECK constraints are the caller's duty.
 * Unique indexes are enforced.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/rel.h"

#include "base/append.h"
#include "base/compat.h"

struct UnrdfAppend
{
	MemoryContext context;
	Relation rel;
	EState *estate;
	ResultRelInfo *info;
	TupleTableSlot **slots;
	int capacity;
	int n;
};

/*
 * UnrdfAppendBegin opens a table for appending, with room for capacity rows between flushes. Everything is allocated in
 * the current memory context, and ends with UnrdfAppendEnd or the transaction.
 */
UnrdfAppend *
UnrdfAppendBegin(UnrdfRel rel, int capacity)
{
	UnrdfAppend *a = palloc0(sizeof(UnrdfAppend));

	a->context = CurrentMemoryContext;
	a->rel = table_open(UnrdfRelid(rel), RowExclusiveLock);
	a->estate = CreateExecutorState();
	a->info = makeNode(ResultRelInfo);
	InitResultRelInfo(a->info, a->rel, 0, NULL, 0);
	ExecOpenIndices(a->info, false);
	a->capacity = capacity;
	a->slots = palloc0(capacity * sizeof(TupleTableSlot *));
	return a;
}

/*
 * UnrdfAppendRow returns a slot for the next row with all columns null; the caller sets tts_values and tts_isnull. What
 * the values point to must live until the flush.
 */
TupleTableSlot *
UnrdfAppendRow(UnrdfAppend *a)
{
	TupleTableSlot *slot;

	if (a->n == a->capacity)
		UnrdfAppendFlush(a);
	if (a->slots[a->n] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(a->context);

		a->slots[a->n] =
			MakeSingleTupleTableSlot(RelationGetDescr(a->rel), table_slot_callbacks(a->rel));
		MemoryContextSwitchTo(old);
	}
	slot = a->slots[a->n++];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	return slot;
}

/* UnrdfAppendSet sets a column, counted from 0, of a row that UnrdfAppendRow returned. */
void
UnrdfAppendSet(TupleTableSlot *slot, int column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

/* UnrdfAppendFlush writes the rows; raises 23505 where one is there already. */
void
UnrdfAppendFlush(UnrdfAppend *a)
{
	if (a->n == 0)
		return;
	if (a->n == 1)
		table_tuple_insert(a->rel, a->slots[0], GetCurrentCommandId(true), 0, NULL);
	else
		table_multi_insert(a->rel, a->slots, a->n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < a->n; i++)
	{
		a->slots[i]->tts_tableOid = RelationGetRelid(a->rel);
		unrdf_insert_index_tuples(a->info, a->slots[i], a->estate);
		ResetPerTupleExprContext(a->estate);
	}
	a->n = 0;
}

/* UnrdfAppendEnd flushes and closes; the table stays locked until the transaction ends. */
void
UnrdfAppendEnd(UnrdfAppend *a)
{
	UnrdfAppendFlush(a);
	for (int i = 0; i < a->capacity && a->slots[i]; i++)
		ExecDropSingleTupleTableSlot(a->slots[i]);
	ExecCloseIndices(a->info);
	FreeExecutorState(a->estate);
	table_close(a->rel, NoLock);
}
