/*
 * outside_fn.c: SQL-callable functions of workers outside.
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
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/request.h"
#include "worker/lease.h"
#include "worker/outside.h"

PG_FUNCTION_INFO_V1(unrdf_grant_queue);
PG_FUNCTION_INFO_V1(unrdf_revoke_queue);
PG_FUNCTION_INFO_V1(unrdf_claim);
PG_FUNCTION_INFO_V1(unrdf_complete);
PG_FUNCTION_INFO_V1(unrdf_complete_many);
PG_FUNCTION_INFO_V1(unrdf_fail);
PG_FUNCTION_INFO_V1(unrdf_fail_many);
PG_FUNCTION_INFO_V1(unrdf_snooze_lease);
PG_FUNCTION_INFO_V1(unrdf_snooze_leases);
PG_FUNCTION_INFO_V1(unrdf_release);
PG_FUNCTION_INFO_V1(unrdf_heartbeat);
PG_FUNCTION_INFO_V1(unrdf_holds_lease);

/* An interval argument in milliseconds that is not 0. */
static int64
positive_interval(FunctionCallInfo fcinfo, int arg, const char *name)
{
	int64 ms = UnrdfArgMillis(fcinfo, arg, name);

	if (ms < 1)
		UnrdfArgRefuse(name, "between 1 ms and 24 days");
	return ms;
}

Datum
unrdf_grant_queue(PG_FUNCTION_ARGS)
{
	UnrdfGrantQueue(PG_GETARG_TEXT_PP(0), PG_GETARG_OID(1), true);
	PG_RETURN_VOID();
}

Datum
unrdf_revoke_queue(PG_FUNCTION_ARGS)
{
	UnrdfGrantQueue(PG_GETARG_TEXT_PP(0), PG_GETARG_OID(1), false);
	PG_RETURN_VOID();
}

/* Tokens that a call is about, and room for those that it refuses. */
typedef struct Tokens
{
	int n;
	int64 *tokens;
	int64 *refused;
} Tokens;

static Tokens
one_token(FunctionCallInfo fcinfo)
{
	Tokens t = {1, palloc(sizeof(int64)), palloc(sizeof(int64))};

	UnrdfArgNotNull(fcinfo, 0, "token");
	t.tokens[0] = PG_GETARG_INT64(0);
	return t;
}

static Tokens
many_tokens(FunctionCallInfo fcinfo)
{
	Tokens t;
	Datum *values;

	UnrdfArgNotNull(fcinfo, 0, "tokens");
	t.n = UnrdfElements(fcinfo, 0, "tokens", INT8OID, &values, NULL);
	t.tokens = palloc(Max(1, t.n) * sizeof(int64));
	t.refused = palloc(Max(1, t.n) * sizeof(int64));
	for (int i = 0; i < t.n; i++)
		t.tokens[i] = DatumGetInt64(values[i]);
	return t;
}

/* The answer where one token was meant: nothing, or 55000. */
static Datum
not_refused(const Tokens *t, int nrefused)
{
	if (nrefused > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the lease of token " INT64_FORMAT " has passed on", t->tokens[0]),
						errdetail("It was lost or given back, or the job has ended.")));
	return (Datum) 0;
}

static Datum
refused_array(const Tokens *t, int nrefused)
{
	Datum *values = palloc(Max(1, nrefused) * sizeof(Datum));

	for (int i = 0; i < nrefused; i++)
		values[i] = Int64GetDatum(t->refused[i]);
	return PointerGetDatum(construct_array(values, nrefused, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Reads what to claim; the queues' names are returned. seen is of before it was looked whether that is allowed. */
static Datum *
read_claim(FunctionCallInfo fcinfo, UnrdfClaim *claim, UnrdfConfigSeen *seen)
{
	Datum *queues;

	(void) UnrdfConfigFresh(seen);
	UnrdfArgNotNull(fcinfo, 0, "queues");
	claim->nqueues = UnrdfElements(fcinfo, 0, "queues", TEXTOID, &queues, NULL);
	if (claim->nqueues == 0 || claim->nqueues > UNRDF_CLAIM_QUEUES)
		UnrdfArgRefuse("queues", "an array of 1 to 64 names");
	UnrdfArgNotNull(fcinfo, 1, "n");
	claim->n = UnrdfArgRange(fcinfo, 1, "n", 1, UNRDF_CLAIM_JOBS);
	claim->lease = PG_ARGISNULL(2) ? -1 : 1000 * positive_interval(fcinfo, 2, "lease");
	claim->pid = PG_ARGISNULL(2) ? MyProcPid : 0;
	for (int i = 0; i < claim->nqueues; i++)
		claim->queues[i] = UnrdfClaimableQueue(DatumGetTextPP(queues[i]));
	return queues;
}

static void
put_claimed(ReturnSetInfo *rsinfo, const UnrdfClaim *claim, const Datum *queues,
			const UnrdfClaimed *c)
{
	const UnrdfHandler *handler = UnrdfHandlerById(c->job.handler);
	Datum values[7] = {0};
	bool isnull[7] = {false};

	values[0] = Int64GetDatum(c->token);
	values[1] = Int64GetDatum(c->job.id);
	for (int i = 0; i < claim->nqueues; i++)
		if (claim->queues[i] == c->job.queue)
			values[2] = queues[i];
	values[3] = CStringGetTextDatum(handler ? handler->name : "");
	values[4] = JsonbPGetDatum(c->job.args);
	isnull[4] = c->job.args == NULL;
	values[5] = Int32GetDatum(c->attempt);
	values[6] = TimestampTzGetDatum(c->deadline);
	isnull[6] = c->deadline == DT_NOEND;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

Datum
unrdf_claim(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	UnrdfClaim claim = {0};
	UnrdfConfigSeen seen = {0};
	UnrdfClaimed *jobs;
	Datum *queues = read_claim(fcinfo, &claim, &seen);
	int64 wait = PG_ARGISNULL(3) ? -1 : UnrdfArgMillis(fcinfo, 3, "wait");
	int n;

	InitMaterializedSRF(fcinfo, 0);
	n = UnrdfClaimJobs(&claim, &seen, wait, &jobs);
	for (int i = 0; i < n; i++)
		put_claimed(rsinfo, &claim, queues, &jobs[i]);
	return (Datum) 0;
}

Datum
unrdf_complete(PG_FUNCTION_ARGS)
{
	Tokens t = one_token(fcinfo);
	Jsonb *result = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);

	return not_refused(&t, UnrdfCompleteJobs(t.tokens, 1, &result, t.refused));
}

Datum
unrdf_complete_many(PG_FUNCTION_ARGS)
{
	Tokens t = many_tokens(fcinfo);
	Jsonb **results = NULL;

	if (!PG_ARGISNULL(1))
	{
		bool *isnull;
		Datum *values;
		int n = UnrdfElements(fcinfo, 1, "results", JSONBOID, &values, &isnull);

		if (n != t.n)
			UnrdfArgRefuse("results", "as long as tokens");
		results = palloc(Max(1, n) * sizeof(Jsonb *));
		for (int i = 0; i < n; i++)
			results[i] = isnull[i] ? NULL : DatumGetJsonbP(values[i]);
	}
	return refused_array(&t, UnrdfCompleteJobs(t.tokens, t.n, results, t.refused));
}

static int
sqlstate_of(text *value)
{
	const char *s = VARDATA_ANY(value);

	if (VARSIZE_ANY_EXHDR(value) != 5 ||
		strspn(text_to_cstring(value), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 5 ||
		strncmp(s, "00", 2) == 0)
		UnrdfArgRefuse("sqlstate", "five digits or capital letters, and an error's");
	return MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]);
}

/* Reads what fail and its batch share: sqlstate, retry_in, permanently. */
static UnrdfOutsideFailure
read_failure(FunctionCallInfo fcinfo)
{
	UnrdfOutsideFailure f = {0};

	UnrdfArgNotNull(fcinfo, 2, "sqlstate");
	UnrdfArgNotNull(fcinfo, 4, "permanently");
	f.sqlstate = sqlstate_of(PG_GETARG_TEXT_PP(2));
	f.pause_ms = PG_ARGISNULL(3) ? -1 : UnrdfArgMillis(fcinfo, 3, "retry_in");
	f.last = PG_GETARG_BOOL(4);
	return f;
}

Datum
unrdf_fail(PG_FUNCTION_ARGS)
{
	Tokens t = one_token(fcinfo);
	UnrdfOutsideFailure failure = read_failure(fcinfo);

	UnrdfArgNotNull(fcinfo, 1, "message");
	failure.message = text_to_cstring(PG_GETARG_TEXT_PP(1));
	return not_refused(&t, UnrdfFailJobs(t.tokens, 1, &failure, t.refused));
}

Datum
unrdf_fail_many(PG_FUNCTION_ARGS)
{
	Tokens t = many_tokens(fcinfo);
	int n;
	Datum *messages;
	UnrdfOutsideFailure *failures;
	UnrdfOutsideFailure failure = read_failure(fcinfo);

	UnrdfArgNotNull(fcinfo, 1, "messages");
	n = UnrdfElements(fcinfo, 1, "messages", TEXTOID, &messages, NULL);
	if (n != t.n)
		UnrdfArgRefuse("messages", "as long as tokens");
	failures = palloc(Max(1, n) * sizeof(UnrdfOutsideFailure));
	for (int i = 0; i < n; i++)
	{
		failures[i] = failure;
		failures[i].message = TextDatumGetCString(messages[i]);
	}
	return refused_array(&t, UnrdfFailJobs(t.tokens, t.n, failures, t.refused));
}

Datum
unrdf_snooze_lease(PG_FUNCTION_ARGS)
{
	Tokens t = one_token(fcinfo);

	UnrdfArgNotNull(fcinfo, 1, "delay");
	return not_refused(
		&t, UnrdfSnoozeJobs(t.tokens, 1, positive_interval(fcinfo, 1, "delay"), t.refused));
}

Datum
unrdf_snooze_leases(PG_FUNCTION_ARGS)
{
	Tokens t = many_tokens(fcinfo);

	UnrdfArgNotNull(fcinfo, 1, "delay");
	return refused_array(
		&t, UnrdfSnoozeJobs(t.tokens, t.n, positive_interval(fcinfo, 1, "delay"), t.refused));
}

Datum
unrdf_release(PG_FUNCTION_ARGS)
{
	Tokens t = many_tokens(fcinfo);

	return refused_array(&t, UnrdfReleaseJobs(t.tokens, t.n, t.refused));
}

Datum
unrdf_heartbeat(PG_FUNCTION_ARGS)
{
	Tokens t = many_tokens(fcinfo);

	UnrdfArgNotNull(fcinfo, 1, "lease");
	return refused_array(
		&t, UnrdfHeartbeat(t.tokens, t.n, positive_interval(fcinfo, 1, "lease"), t.refused));
}

Datum
unrdf_holds_lease(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(UnrdfLeaseIsOwn(PG_GETARG_INT64(0)));
}
