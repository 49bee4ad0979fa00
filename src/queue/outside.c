/*
 * outside.c: what has no function in the database: handlers whose jobs workers outside run, and who may be such a worker.
 *
 * A handler has a function or it has none, for good: jobs of the two kinds wait in different flows (UnrdfJobFlow), and a job's
 * row never changes. Who may claim of which queue are rows of unrdf.queue_worker, read at every claim, so that what is revoked
 * holds from the next one on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/plan.h"
#include "queue/closing.h"
#include "queue/config.h"

static UnrdfPlan upsert_handler = {
	"INSERT INTO unrdf.handler AS h (name, owner, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms, own_transaction)"
	" VALUES ($1, $2, $3, $4, $5, $6, false)"
	" ON CONFLICT (name) DO UPDATE SET max_attempts = EXCLUDED.max_attempts, timeout_ms = EXCLUDED.timeout_ms,"
	" backoff_ms = EXCLUDED.backoff_ms, backoff_cap_ms = EXCLUDED.backoff_cap_ms, changed_at = pg_catalog.now()"
	" WHERE pg_catalog.pg_has_role($2, h.owner, 'USAGE') AND h.function IS NULL RETURNING id",
	6,
	{TEXTOID, REGROLEOID, INT4OID, INT4OID, INT4OID, INT4OID}};
static UnrdfPlan grant_queue = {
	"INSERT INTO unrdf.queue_worker (queue, role) VALUES ($1, $2) ON CONFLICT DO NOTHING",
	2,
	{INT4OID, REGROLEOID}};
static UnrdfPlan revoke_queue = {
	"DELETE FROM unrdf.queue_worker WHERE queue OPERATOR(pg_catalog.=) $1"
	" AND role::pg_catalog.oid OPERATOR(pg_catalog.=) $2::pg_catalog.oid",
	2,
	{INT4OID, REGROLEOID}};
static UnrdfPlan find_grant = {
	"SELECT 1 FROM unrdf.queue_worker WHERE queue OPERATOR(pg_catalog.=) $1"
	" AND pg_catalog.pg_has_role($2, role::pg_catalog.oid, 'USAGE') LIMIT 1",
	2,
	{INT4OID, REGROLEOID}};

/* UnrdfRegisterOutsideHandler makes or changes one. Raises 42501 where it is somebody else's, 55000 where it has a function. */
void
UnrdfRegisterOutsideHandler(text *name, int32 max_attempts, int32 timeout_ms, int32 backoff_ms,
							int32 backoff_cap_ms)
{
	Datum values[6];

	UnrdfCheckName(name, "handler");
	PreventCommandIfReadOnly("unrdf.register_outside_handler()");
	values[0] = PointerGetDatum(name);
	values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = Int32GetDatum(max_attempts);
	values[3] = Int32GetDatum(timeout_ms);
	values[4] = Int32GetDatum(backoff_ms);
	values[5] = Int32GetDatum(backoff_cap_ms);
	SPI_connect();
	if (UnrdfExecute(&upsert_handler, values, NULL, false) == 0)
		UnrdfRefuseHandler(name);
	SPI_finish();
	UnrdfConfigChanged();
}

/* UnrdfGrantQueue lets a role claim jobs of a queue, or no longer. Raises 42704 for an unknown queue. */
void
UnrdfGrantQueue(text *queue, Oid role, bool grant)
{
	Datum values[2];

	PreventCommandIfReadOnly(grant ? "unrdf.grant_queue()" : "unrdf.revoke_queue()");
	values[0] = Int32GetDatum(grant ? UnrdfQueueToUse(queue) : UnrdfQueueId(queue));
	values[1] = ObjectIdGetDatum(role);
	SPI_connect();
	UnrdfExecute(grant ? &grant_queue : &revoke_queue, values, NULL, false);
	SPI_finish();
}

/* UnrdfClaimableQueue returns the id of a queue of which the current role may claim jobs. Raises 42704, 42501. */
int32
UnrdfClaimableQueue(text *queue)
{
	int32 id = UnrdfQueueId(queue);
	Datum values[2];
	bool allowed = superuser();

	if (allowed)
		return id;
	values[0] = Int32GetDatum(id);
	values[1] = ObjectIdGetDatum(GetUserId());
	SPI_connect();
	allowed = UnrdfExecuteLatest(&find_grant, values, NULL) > 0;
	SPI_finish();
	if (!allowed)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to claim jobs of queue \"%s\"", text_to_cstring(queue)),
				 errhint("An operator grants it with unrdf.grant_queue.")));
	return id;
}
