/*
 * outside.c: who may be a worker outside.
 *
 * Who may claim of which queue are rows of unrdf.queue_worker, read at every claim. Granting and revoking count as changes of
 * configuration, upon which whoever waits in a claim looks again (worker/held.c): nobody waits for ever with a right that is gone.
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
	"SELECT EXISTS (SELECT FROM unrdf.queue_worker AS w WHERE w.queue OPERATOR(pg_catalog.=) q.id"
	" AND pg_catalog.pg_has_role($2, w.role::pg_catalog.oid, 'USAGE'))"
	" FROM unrdf.queue AS q WHERE q.id OPERATOR(pg_catalog.=) $1 AND q.dropped_at IS NULL",
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
	UnrdfConfigChanged();
}

/* UnrdfCheckClaimable raises 42704 where a queue is gone, 42501 where the current role must not claim jobs of it. */
void
UnrdfCheckClaimable(int32 queue)
{
	Datum values[2] = {Int32GetDatum(queue), ObjectIdGetDatum(GetUserId())};
	bool allowed = false;
	bool found;
	bool isnull;

	SPI_connect();
	found = UnrdfExecuteLatest(&find_grant, values, NULL) > 0;
	if (found)
		allowed = DatumGetBool(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	if (!found)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("queue \"%s\" was dropped", UnrdfQueueName(queue))));
	if (!allowed && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to claim jobs of queue \"%s\"", UnrdfQueueName(queue)),
				 errhint("An operator grants it with unrdf.grant_queue.")));
}

/* UnrdfClaimableQueue returns the id of a queue of which the current role may claim jobs. Raises 42704, 42501. */
int32
UnrdfClaimableQueue(text *queue)
{
	int32 id = UnrdfQueueId(queue);

	if (!superuser())
		UnrdfCheckClaimable(id);
	return id;
}
