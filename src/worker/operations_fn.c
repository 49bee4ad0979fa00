/*
 * operations_fn.c: SQL-callable functions of operators: what waits and why, many jobs at once.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "base/arg.h"
#include "base/datum.h"
#include "base/guc.h"
#include "ledger/keys.h"
#include "queue/depth.h"
#include "queue/request.h"
#include "worker/bulk.h"
#include "worker/lease.h"
#include "worker/slot.h"
#include "worker/why.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(unrdf_cancel_each);
PG_FUNCTION_INFO_V1(unrdf_revive_each);
PG_FUNCTION_INFO_V1(unrdf_erase_each);
PG_FUNCTION_INFO_V1(unrdf_empty_queue);
PG_FUNCTION_INFO_V1(unrdf_queue_numbers);
PG_FUNCTION_INFO_V1(unrdf_why);
PG_FUNCTION_INFO_V1(unrdf_key_file);

/* Reads an array of ids. */
static int64 *
ids_arg(FunctionCallInfo fcinfo, int *n)
{
	Datum *values;
	bool *isnull;
	int64 *ids;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &isnull, n);
	ids = palloc(Max(1, *n) * sizeof(int64));
	for (int i = 0; i < *n; i++)
	{
		if (isnull[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("jobs must not be null")));
		ids[i] = DatumGetInt64(values[i]);
	}
	return ids;
}

/* Returns those of n ids that are not 0. */
static Datum
return_ids(FunctionCallInfo fcinfo, int64 *ids, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum id = Int64GetDatum(ids[i]);
		bool not_null = false;

		if (ids[i] != 0)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &id, &not_null);
	}
	return (Datum) 0;
}

Datum
unrdf_cancel_each(PG_FUNCTION_ARGS)
{
	int n;
	int64 *ids = ids_arg(fcinfo, &n);

	UnrdfCancelJobs(ids, n);
	return return_ids(fcinfo, ids, n);
}

Datum
unrdf_revive_each(PG_FUNCTION_ARGS)
{
	int n;
	int64 *ids = ids_arg(fcinfo, &n);

	n = UnrdfReviveJobs(ids, n);
	return return_ids(fcinfo, ids, n);
}

Datum
unrdf_erase_each(PG_FUNCTION_ARGS)
{
	int n;
	int64 *ids = ids_arg(fcinfo, &n);

	UnrdfEraseJobs(ids, n, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	return return_ids(fcinfo, ids, n);
}

Datum
unrdf_empty_queue(PG_FUNCTION_ARGS)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	UnrdfArgNotNull(fcinfo, 1, "after");
	UnrdfArgNotNull(fcinfo, 2, "most");
	PG_RETURN_INT64(UnrdfQueueEmpty(PG_GETARG_TEXT_PP(0), PG_GETARG_INT64(1),
									UnrdfArgRange(fcinfo, 2, "most", 1, 100000),
									PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3)));
}

/* How many jobs of a queue run. */
typedef struct QueueRuns
{
	int32 queue;
	int64 n;
	int64 again; /* of these, after a failed attempt */
} QueueRuns;

static void
count_run(HTAB *runs, int32 queue, bool failed)
{
	bool found;
	QueueRuns *r = hash_search(runs, &queue, HASH_ENTER, &found);

	if (!found)
		r->n = r->again = 0;
	r->n++;
	r->again += failed;
}

/* Counts what runs in executors, and what workers outside have in hand, by queue. */
static HTAB *
count_runs(void)
{
	HASHCTL ctl = {
		.keysize = sizeof(int32), .entrysize = sizeof(QueueRuns), .hcxt = CurrentMemoryContext};
	HTAB *runs = hash_create("unrdf runs", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	for (int i = 0; UnrdfSlots && i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];

		if (UnrdfSlotGet(slot) == UNRDF_SLOT_ASSIGNED && slot->dboid == MyDatabaseId &&
			pg_atomic_read_u64(&slot->job) != 0)
			count_run(runs, (int32) pg_atomic_read_u32(&slot->queue),
					  pg_atomic_read_u32(&slot->failed) != 0);
	}
	for (int i = UnrdfSlots ? UnrdfLeaseNext(0) : -1; i >= 0; i = UnrdfLeaseNext(i + 1))
		if (UnrdfLeaseIsHeld(&UnrdfLeases[i]) && UnrdfLeases[i].dboid == MyDatabaseId)
			count_run(runs, UnrdfLeases[i].queue, UnrdfLeases[i].failed);
	return runs;
}

Datum
unrdf_queue_numbers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	HTAB *runs = count_runs();
	HASH_SEQ_STATUS seq;
	UnrdfDepths *d;

	InitMaterializedSRF(fcinfo, 0);
	hash_seq_init(&seq, UnrdfDepthsRead(true));
	while ((d = hash_seq_search(&seq)) != NULL)
	{
		const QueueRuns *r = hash_search(runs, &d->queue, HASH_FIND, NULL);
		Datum values[3 + UNRDF_NUMBERS];
		bool nulls[3 + UNRDF_NUMBERS] = {false};

		values[0] = Int32GetDatum(d->queue);
		values[1] = Int64GetDatum(r ? r->n : 0);
		values[2] = Int64GetDatum(r ? r->again : 0);
		for (int i = 0; i < UNRDF_NUMBERS; i++)
			values[3 + i] = Int64GetDatum(d->n[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
unrdf_why(PG_FUNCTION_ARGS)
{
	Datum values[2];
	bool nulls[2] = {false};
	Jsonb *facts;

	values[0] = CStringGetTextDatum(UnrdfWhy(PG_GETARG_INT64(0), &facts));
	values[1] = JsonbPGetDatum(facts);
	return UnrdfRecordDatum(fcinfo, values, nulls);
}

Datum
unrdf_key_file(PG_FUNCTION_ARGS)
{
	Datum values[2];
	bool nulls[2] = {false};
	bool inside;
	const char *state = UnrdfKeyFileState(&inside);

	values[0] = CStringGetTextDatum(state);
	values[1] = BoolGetDatum(inside);
	return UnrdfRecordDatum(fcinfo, values, nulls);
}
