/*
 * outside.c: who may be a worker outside.
 *
 * Who may claim of which queue are rows of unrdf.queue_worker, read at every claim, so that what is revoked
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
