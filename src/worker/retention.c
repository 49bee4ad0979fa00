/*
 * retention.c: rules for how long a queue's jobs are kept, as receipts, and bodies that are kept apart, for who may read them.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/kept.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "ledger/record.h"
#include "queue/config.h"
#include "queue/event.h"
#include "queue/job.h"
#include "worker/lease.h"
#include "worker/retention.h"

/* Who, besides a job's owner, may read its result: who sees a job that needs it. */
static UnrdfPlan find_needing = {
	"SELECT n.job, w.owner FROM unrdf.job_need AS n JOIN unrdf.waiting_job AS w ON w.id OPERATOR(pg_catalog.=) n.job"
	" WHERE n.needs OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

/* What is written down of a rule. */
static Jsonb *
rule_payload(text *queue, const UnrdfRetention *rule)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"queue\": ");
	escape_json(&json, text_to_cstring(queue));
	for (int i = 0; i < UNRDF_KEEPS; i++)
	{
		appendStringInfo(&json, ", \"%s\": ", UnrdfKeepNames[i]);
		if (rule->keep[i] < 0)
			appendStringInfoString(&json, "null");
		else
			appendStringInfo(&json, INT64_FORMAT, rule->keep[i]);
	}
	appendStringInfoChar(&json, '}');
	return UnrdfJsonbOf(json.data);
}

/*
 * UnrdfSetQueue changes a queue's settings. Where that changes for how long its jobs are kept, a receipt says so, whose id is the
 * rule's: jobs that were enqueued before keep the rule that they had. Raises what UnrdfAlterQueue does.
 */
void
UnrdfSetQueue(text *name, Jsonb *settings)
{
	UnrdfRetention rule;
	int32 queue;
	bool for_ever = true;

	if (!UnrdfAlterQueue(name, settings, &queue, &rule))
		return;
	for (int i = 0; i < UNRDF_KEEPS; i++)
		for_ever &= rule.keep[i] < 0;
	rule.id = UnrdfRecordRetention(queue, rule_payload(name, &rule));
	if (for_ever)
		rule.id = 0;
	UnrdfRetentionWrite(queue, &rule);
}

/* Whether a job is of a workflow, or others need it: then it may have what it has for longer. */
static bool
is_needed(int64 id)
{
	UnrdfIdLookup waiting;
	UnrdfLookup needs;
	bool found;

	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	UnrdfLookupBegin(&needs, UNRDF_JOB_NEED, UNRDF_JOB_NEED_NEEDS_IDX);
	UnrdfLookupKey(&needs, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	UnrdfLookupStart(&needs);
	found = UnrdfIdLookupFind(&waiting, id) || UnrdfLookupNext(&needs, ForwardScanDirection);
	UnrdfLookupEnd(&needs);
	UnrdfIdLookupEnd(&waiting);
	return found;
}

static bool
is_needed_by_own(int64 id)
{
	Datum value = Int64GetDatum(id);
	bool own = false;
	uint64 n;
	bool isnull;

	SPI_connect();
	n = UnrdfExecute(&find_needing, &value, NULL, true);
	for (uint64 i = 0; i < n && !own; i++)
		own = has_privs_of_role(GetUserId(), DatumGetObjectId(UnrdfResult(i, 1, &isnull))) ||
			  UnrdfLeaseIsOwn(DatumGetInt64(UnrdfResult(i, 0, &isnull)));
	SPI_finish();
	return own;
}

static bool
may_read(const UnrdfJob *job, int32 part)
{
	return has_privs_of_role(GetUserId(), job->owner) ||
		   has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA) ||
		   (part == UNRDF_KEPT_RESULT && is_needed_by_own(job->id));
}

/* Reads the row of a job, whether it waits for others or not, under the active snapshot. */
static bool
fetch_row(int64 id, UnrdfJob *job)
{
	UnrdfIdLookup waiting;
	bool found = UnrdfJobFetchRow(id, job);

	if (found)
		return true;
	UnrdfIdLookupBegin(&waiting, UNRDF_WAITING_JOB, UNRDF_WAITING_JOB_PKEY);
	found = UnrdfIdLookupFind(&waiting, id);
	if (found)
		UnrdfJobReadRow(waiting.rows.slot, job);
	UnrdfIdLookupEnd(&waiting);
	return found;
}

/* When a job ended; 0: it has not. */
static TimestampTz
end_of(int64 id)
{
	UnrdfIdLookup receipts;
	TimestampTz end = 0;
	bool isnull;

	UnrdfIdLookupBegin(&receipts, UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY);
	if (UnrdfIdLookupFind(&receipts, id))
		end =
			DatumGetTimestampTz(slot_getattr(receipts.rows.slot, RECEIPT_FINISHED_AT + 1, &isnull));
	UnrdfIdLookupEnd(&receipts);
	return end;
}

/* When a failed attempt ended; 0: there is none. */
static TimestampTz
end_of_attempt(int64 id, int32 n)
{
	UnrdfLookup attempts;
	TimestampTz end = 0;
	bool isnull;

	UnrdfLookupBegin(&attempts, UNRDF_ATTEMPT, UNRDF_ATTEMPT_PKEY);
	UnrdfLookupKey(&attempts, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	UnrdfLookupKey(&attempts, 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(n));
	UnrdfLookupStart(&attempts);
	if (UnrdfLookupNext(&attempts, ForwardScanDirection))
		end = DatumGetTimestampTz(slot_getattr(attempts.slot, ATTEMPT_FINISHED_AT + 1, &isnull));
	UnrdfLookupEnd(&attempts);
	return end;
}

/* The payload of an event that the current role may read. */
static Jsonb *
payload_of(int64 id)
{
	UnrdfEventReader reader;
	UnrdfEvent event;

	if (!UnrdfEventFetch(id, &event))
		return NULL;
	UnrdfEventReaderLoad(&reader, GetUserId());
	if (!UnrdfEventReadable(&reader, &event) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA))
		return NULL;
	if (event.kept_until == 0 || !UnrdfEventLoad(&event))
		return NULL;
	return event.payload;
}

/*
 * UnrdfBodyOf returns what is kept apart of a job, or of an event (UNRDF_KEPT_EVENT), in the current memory context; NULL where there is no
 * such thing, where it is gone, or where the current role must not read it.
 */
Jsonb *
UnrdfBodyOf(int64 id, int32 part)
{
	UnrdfJob job;
	TimestampTz end;
	TimestampTz at;
	TimestampTz until;
	UnrdfKeep what = UnrdfKeepOf(part);

	if (part == UNRDF_KEPT_EVENT)
		return payload_of(id);
	/* results of steps are for their handler */
	if (part < UNRDF_KEPT_RESULT)
		return NULL;
	if (!fetch_row(id, &job) || job.retention == 0 || !may_read(&job, part))
		return NULL;
	end = end_of(id);
	at = what == UNRDF_KEEP_ARGS      ? job.enqueued_at
		 : what == UNRDF_KEEP_RESULTS ? end
									  : end_of_attempt(id, part);
	until =
		what == UNRDF_KEEP_ARGS ? UnrdfJobArgsUntil(&job) : UnrdfKeepUntil(job.retention, what, at);
	if (at == 0 || until == 0)
		return NULL;
	if (end != 0 && UnrdfKeepUntil(job.retention, what, end) <= UnrdfNow() && !is_needed(id))
		return UnrdfKeptGlance(id, part, at, until);
	return UnrdfKeptFind(id, part, at, until);
}
