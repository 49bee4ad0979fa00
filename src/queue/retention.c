/*
 * retention.c: for how long after a job's end its arguments, its result and what its attempts said are kept.
 *
 * A queue keeps everything for ever, or has a rule. A rule is a row of unrdf.retention, which is never changed: a queue whose
 * settings change gets another one. A job has the rule that its queue had when it was enqueued, so what was promised to who
 * enqueued it holds, and where its bodies are follows from its own columns. The jobs of queues without a rule have none of this: one null
 * column is all that they have more.
 *
 * A rule's id is that of a receipt which says the same (worker/retention.c). That is what a verification believes: who takes
 * bodies away by hand finds no rule in the log that would explain it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/lookup.h"
#include "base/plan.h"
#include "queue/config.h"
#include "queue/retention.h"

const char *const UnrdfKeepNames[] = {"keep_args", "keep_results", "keep_attempts"};

static UnrdfPlan insert_rule = {
	"INSERT INTO unrdf.retention VALUES ($1, $2, nullif($3, -1), nullif($4, -1), nullif($5, -1))",
	5,
	{INT8OID, INT4OID, INT8OID, INT8OID, INT8OID}};
static UnrdfPlan set_rule = {
	"UPDATE unrdf.queue_state SET retention = nullif($2, 0) WHERE queue OPERATOR(pg_catalog.=) $1",
	2,
	{INT4OID, INT8OID}};

/* Rules that this process has read. They never change, so they are forgotten only when their table goes. */
static HTAB *rules = NULL;
static Oid rules_of = InvalidOid;

static void
forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == rules_of)
		rules_of = InvalidOid;
}

static void
check_cache(void)
{
	static bool registered = false;
	HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(UnrdfRetention)};

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	if (OidIsValid(rules_of))
		return;
	if (rules)
		hash_destroy(rules);
	ctl.hcxt = TopMemoryContext;
	rules = hash_create("unrdf retention", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	rules_of = UnrdfRelid(UNRDF_RETENTION);
}

/* Reads a rule from its row; false where there is none. */
static bool
read_row(int64 id, UnrdfRetention *rule)
{
	UnrdfLookup l;
	bool found;
	bool isnull;

	PushActiveSnapshot(GetCatalogSnapshot(UnrdfRelid(UNRDF_RETENTION)));
	UnrdfLookupBegin(&l, UNRDF_RETENTION, UNRDF_RETENTION_PKEY);
	UnrdfLookupKey(&l, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	UnrdfLookupStart(&l);
	found = UnrdfLookupNext(&l, ForwardScanDirection);
	for (int i = 0; i < UNRDF_KEEPS && found; i++)
	{
		Datum value = slot_getattr(l.slot, RETENTION_KEEP_ARGS + 1 + i, &isnull);

		rule->keep[i] = isnull ? -1 : DatumGetInt64(value);
	}
	UnrdfLookupEnd(&l);
	PopActiveSnapshot();
	return found;
}

/* UnrdfRetentionRead reads a rule; one that is not there, as 0 is not, keeps everything for ever. */
void
UnrdfRetentionRead(int64 id, UnrdfRetention *rule)
{
	UnrdfRetention *known;
	bool found;

	rule->id = id;
	for (int i = 0; i < UNRDF_KEEPS; i++)
		rule->keep[i] = -1;
	if (id == 0)
		return;
	check_cache();
	known = hash_search(rules, &id, HASH_FIND, NULL);
	if (known)
		*rule = *known;
	else if (read_row(id, rule))
	{
		known = hash_search(rules, &id, HASH_ENTER, &found);
		*known = *rule;
	}
}

/* UnrdfRetentionWrite gives a queue a rule, in the current transaction. One without an id keeps everything for ever. */
void
UnrdfRetentionWrite(int32 queue, const UnrdfRetention *rule)
{
	Datum values[2 + UNRDF_KEEPS] = {Int64GetDatum(rule->id), Int32GetDatum(queue)};

	for (int i = 0; i < UNRDF_KEEPS; i++)
		values[2 + i] = Int64GetDatum(rule->keep[i]);
	SPI_connect();
	if (rule->id != 0)
		UnrdfExecute(&insert_rule, values, NULL, false);
	values[0] = Int32GetDatum(queue);
	values[1] = Int64GetDatum(rule->id);
	UnrdfExecute(&set_rule, values, NULL, false);
	SPI_finish();
	UnrdfConfigChanged();
}

/* UnrdfRetentionAny tells whether a queue has ever had a rule, at the cost of a look at a table's size. */
bool
UnrdfRetentionAny(void)
{
	return !UnrdfNeverFilled(UNRDF_RETENTION);
}

/* UnrdfKeepUntil returns when something may go by a job's rule, if the job ended at `from`; 0: it is kept for ever. */
TimestampTz
UnrdfKeepUntil(int64 retention, UnrdfKeep what, TimestampTz from)
{
	UnrdfRetention rule;

	if (retention == 0)
		return 0;
	UnrdfRetentionRead(retention, &rule);
	return rule.keep[what] < 0 ? 0 : from + rule.keep[what] * USECS_PER_SEC;
}
