/*
 * catalog.c: oids of the extension's relations, cached until one of them is invalidated.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "base/catalog.h"

static const char *const names[UNRDF_KEPT] = {
	[UNRDF_JOB] = "job",
	[UNRDF_JOB_PKEY] = "job_pkey",
	[UNRDF_JOB_LANE_IDX] = "job_lane_idx",
	[UNRDF_JOB_FLOW_IDX] = "job_flow_idx",
	[UNRDF_WAITING_JOB] = "waiting_job",
	[UNRDF_WAITING_JOB_PKEY] = "waiting_job_pkey",
	[UNRDF_WAITING_JOB_XID_IDX] = "waiting_job_xid_idx",
	[UNRDF_JOB_NEED] = "job_need",
	[UNRDF_JOB_NEED_PKEY] = "job_need_pkey",
	[UNRDF_JOB_NEED_NEEDS_IDX] = "job_need_needs_idx",
	[UNRDF_ATTEMPT] = "attempt",
	[UNRDF_ATTEMPT_PKEY] = "attempt_pkey",
	[UNRDF_EPOCH] = "epoch",
	[UNRDF_RECEIPT] = "receipt",
	[UNRDF_RECEIPT_PKEY] = "receipt_pkey",
	[UNRDF_RECEIPT_XID_IDX] = "receipt_xid_idx",
	[UNRDF_RECEIPT_SUBJECT_IDX] = "receipt_subject_idx",
	[UNRDF_INTEGRATION] = "integration",
	[UNRDF_INTEGRATION_PKEY] = "integration_pkey",
	[UNRDF_INTEGRATION_XID_IDX] = "integration_xid_idx",
	[UNRDF_TILE] = "tile",
	[UNRDF_TILE_PKEY] = "tile_pkey",
	[UNRDF_CHECKPOINT] = "checkpoint",
	[UNRDF_CHECKPOINT_PKEY] = "checkpoint_pkey",
	[UNRDF_CHECKPOINT_SIZE_IDX] = "checkpoint_size_idx",
	[UNRDF_LOG_KEY] = "log_key",
	[UNRDF_LOG_KEY_PKEY] = "log_key_pkey",
	[UNRDF_WITNESS] = "witness",
	[UNRDF_WITNESS_PKEY] = "witness_pkey",
	[UNRDF_COSIGNATURE] = "cosignature",
	[UNRDF_COSIGNATURE_SIZE_IDX] = "cosignature_size_idx",
	[UNRDF_BATCH_ROW] = "batch",
	[UNRDF_BATCH_PKEY] = "batch_pkey",
	[UNRDF_BATCH_AUDITED_IDX] = "batch_audited_idx",
	[UNRDF_BATCH_SEGMENT] = "batch_segment",
	[UNRDF_BATCH_SEGMENT_PKEY] = "batch_segment_pkey",
	[UNRDF_SCHEDULE] = "schedule",
	[UNRDF_SCHEDULE_RUN] = "schedule_run",
	[UNRDF_OPERATION_ID] = "operation_id",
	[UNRDF_RESTORING] = "restoring",
	[UNRDF_EVENT] = "event",
	[UNRDF_EVENT_PKEY] = "event_pkey",
	[UNRDF_EVENT_XID_IDX] = "event_xid_idx",
	[UNRDF_EVENT_ID] = "event_id",
	[UNRDF_DELIVERY] = "delivery",
	[UNRDF_RETENTION] = "retention",
	[UNRDF_RETENTION_PKEY] = "retention_pkey",
	[UNRDF_EVENT_RETENTION] = "event_retention",
};

static Oid oids[UNRDF_RELS];

static void
forget(Datum arg, Oid relid)
{
	for (int i = 0; i < UNRDF_RELS; i++)
		if (relid == InvalidOid || oids[i] == relid)
		{
			memset(oids, 0, sizeof(oids));
			return;
		}
}

/* Fills in a relation's name. Segments are numbered. */
static void
name_of(UnrdfRel rel, char *name)
{
	if (rel < UNRDF_KEPT)
		strlcpy(name, names[rel], NAMEDATALEN);
	else if (rel < UNRDF_KEPT_PKEY)
		snprintf(name, NAMEDATALEN, "kept_%d", rel - UNRDF_KEPT);
	else
		snprintf(name, NAMEDATALEN, "kept_%d_pkey", rel - UNRDF_KEPT_PKEY);
}

/* UnrdfRelid returns a relation's oid; raises 55000 where the extension is not installed. */
Oid
UnrdfRelid(UnrdfRel rel)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	if (!OidIsValid(oids[rel]))
	{
		Oid schema = get_namespace_oid("unrdf", true);
		char name[NAMEDATALEN];

		name_of(rel, name);
		oids[rel] = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
		if (!OidIsValid(oids[rel]))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("unrdf is not installed in this database"),
							errdetail("Relation \"unrdf.%s\" does not exist.", name),
							errhint("Run CREATE EXTENSION unrdf.")));
	}
	return oids[rel];
}

/* UnrdfInstalled tells whether the current database has the extension. Needs a transaction. */
bool
UnrdfInstalled(void)
{
	return OidIsValid(get_extension_oid("unrdf", true));
}
