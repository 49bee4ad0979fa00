/*
 * expired.c: a job's arguments and result, for who verifies its receipt, and whether it is right that they are gone.
 *
 * A queue may keep them only for a time after a job's end (queue/retention.c). Then they are apart from job and receipt, and the
 * job names a rule, which is a receipt of its own about the queue, older than the job. What is gone counts as expired
 * where the rule says so; that the rule is not forged is seen when its receipt is verified. Nothing else that is missing is
 * excused, so who takes bodies away by hand is found out, in a queue that keeps them for ever as well as before their time.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/catalog.h"
#include "base/clock.h"
#include "base/kept.h"
#include "ledger/expired.h"
#include "ledger/record.h"
#include "ledger/verify.h"

/* A member of a rule: seconds, or -1 for ever, which is also what nobody wrote who writes rules. */
static int64
seconds_of(Jsonb *rule, const char *name)
{
	JsonbValue v;
	double seconds = -1;

	if (getKeyJsonValueFromContainer(&rule->root, name, strlen(name), &v) && v.type == jbvNumeric)
		seconds = DatumGetFloat8(
			DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(v.val.numeric)));
	return seconds >= 0 && seconds <= 1e11 ? (int64) seconds : -1;
}

static bool
is_rule(const UnrdfReceipt *r, int32 queue)
{
	const char *subject = UnrdfRetentionSubject(queue);

	return r->kind == UNRDF_UPDATE && r->subject && r->subject_len == strlen(subject) &&
		   memcmp(r->subject, subject, r->subject_len) == 0 && r->payload &&
		   JB_ROOT_IS_OBJECT(r->payload);
}

/* Reads a rule that a job of a queue names, unless it was the last one that was read. */
static void
read_rule(UnrdfRule *rule, int64 id, int32 queue)
{
	UnrdfIdLookup receipts;
	UnrdfReceipt r;

	if (rule->id == id && rule->queue == queue)
		return;
	rule->id = id;
	rule->queue = queue;
	rule->reason = "no receipt has the rule of retention that the job names";
	UnrdfIdLookupBegin(&receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	if (UnrdfIdLookupFind(&receipts, id) && UnrdfCheckerRead(receipts.rows.slot, &r) == NULL &&
		is_rule(&r, queue))
	{
		rule->keep_args = seconds_of(r.payload, "keep_args");
		rule->keep_results = seconds_of(r.payload, "keep_results");
		rule->reason = NULL;
	}
	UnrdfIdLookupEnd(&receipts);
}

/* Finds a body that may go so many seconds after a time. */
static Jsonb *
find(int64 job, int32 part, TimestampTz at, TimestampTz from, TimestampTz ended, int64 seconds,
	 bool *expired)
{
	TimestampTz until = from + seconds * USECS_PER_SEC;

	*expired = ended + seconds * USECS_PER_SEC <= UnrdfNow();
	return *expired ? UnrdfKeptGlance(job, part, at, until) : UnrdfKeptFind(job, part, at, until);
}

/*
 * UnrdfBodiesFind finds the arguments of a job, whose row is in the slot, and the result that its receipt has a hash of.
 * *expired says what is rightly gone. Returns why something is not, or NULL.
 */
const char *
UnrdfBodiesFind(UnrdfRule *rule, TupleTableSlot *job, UnrdfReceipt *r, Jsonb **args, int *expired)
{
	bool no_args;
	bool no_rule;
	bool isnull;
	bool over;
	Datum value = slot_getattr(job, JOB_ARGS + 1, &no_args);
	int64 id = DatumGetInt64(slot_getattr(job, JOB_RETENTION + 1, &no_rule));
	TimestampTz enqueued = DatumGetTimestampTz(slot_getattr(job, JOB_ENQUEUED_AT + 1, &isnull));
	TimestampTz run_at = DatumGetTimestampTz(slot_getattr(job, JOB_RUN_AT + 1, &isnull));

	*expired = 0;
	*args = no_args ? NULL : DatumGetJsonbP(value);
	if (no_rule || (!no_args && r->has_result == (r->result != NULL)))
		return NULL;
	if (id >= r->id)
		return "rule of retention that the job names is younger than the job";
	run_at = isnull ? enqueued : Max(enqueued, run_at);
	read_rule(rule, id, DatumGetInt32(slot_getattr(job, JOB_QUEUE + 1, &isnull)));
	if (rule->reason)
		return rule->reason;
	if (no_args && rule->keep_args >= 0)
	{
		*args =
			find(r->id, UNRDF_KEPT_ARGS, enqueued, run_at, r->finished_at, rule->keep_args, &over);
		if (*args == NULL && !over)
			return "arguments are gone before their time";
		if (*args == NULL)
			*expired |= UNRDF_EXPIRED_ARGS;
	}
	if (r->has_result && r->result == NULL && rule->keep_results >= 0)
	{
		r->result = find(r->id, UNRDF_KEPT_RESULT, r->finished_at, r->finished_at, r->finished_at,
						 rule->keep_results, &over);
		if (r->result == NULL && !over)
			return "result is gone before its time";
		if (r->result == NULL)
			*expired |= UNRDF_EXPIRED_RESULT;
	}
	return NULL;
}

/* UnrdfExpiredReason says by which rule something is gone. */
char *
UnrdfExpiredReason(const UnrdfRule *rule, int expired)
{
	StringInfoData text;

	initStringInfo(&text);
	if (expired & UNRDF_EXPIRED_ARGS)
		appendStringInfo(&text, "arguments were kept for " INT64_FORMAT " s", rule->keep_args);
	if (expired & UNRDF_EXPIRED_RESULT)
		appendStringInfo(&text, "%sresult was kept for " INT64_FORMAT " s",
						 text.len > 0 ? ", " : "", rule->keep_results);
	appendStringInfo(&text, " after the job's end, as receipt " INT64_FORMAT " says", rule->id);
	return text.data;
}
