/*
 * cluster_fn.c: SQL functions about the cluster that this server is a member of.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/clock.h"
#include "base/datum.h"
#include "base/guc.h"
#include "base/json.h"
#include "base/shmem.h"
#include "cluster/dcs.h"

PG_FUNCTION_INFO_V1(unrdf_cluster_keys);
PG_FUNCTION_INFO_V1(unrdf_cluster_state);

static void
put_key(ReturnSetInfo *rsinfo, const char *name, const UnrdfEtcdValue *v, int64 left)
{
	Datum values[3] = {CStringGetTextDatum(name), CStringGetTextDatum(v->value),
					   Int64GetDatum(left)};
	bool nulls[3] = {false, false, left < 0};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Puts one of Patroni's keys, if it is there. */
static const char *
put_single(ReturnSetInfo *rsinfo, const UnrdfEtcd *etcd, const char *name)
{
	UnrdfEtcdValue v;
	int64 left = -1;
	const char *reason = UnrdfEtcdGet(etcd, psprintf("%s/%s", unrdf_cluster_path, name), &v);

	if (reason == NULL && v.lease != 0)
		reason = UnrdfEtcdLeaseLeft(etcd, v.lease, &left);
	if (reason == NULL && v.revision != 0)
		put_key(rsinfo, name, &v, left);
	return reason;
}

static const char *
put_members(ReturnSetInfo *rsinfo, const UnrdfEtcd *etcd)
{
	List *members;
	ListCell *cell;
	const char *reason = UnrdfEtcdList(etcd, psprintf("%s/members/", unrdf_cluster_path), &members);

	foreach (cell, members)
	{
		const UnrdfEtcdValue *v = lfirst(cell);

		/* what is not JSON would make an error of the view */
		if (UnrdfJsonParse(v->value, v->len))
			put_key(rsinfo, v->key + strlen(unrdf_cluster_path) + 1, v, -1);
	}
	return reason;
}

/* unrdf.cluster_keys(): what Patroni keeps of members, leader and synchronous standbys. A warning, and no rows, where etcd is away. */
Datum
unrdf_cluster_keys(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	UnrdfEtcd etcd;
	const char *reason;

	InitMaterializedSRF(fcinfo, 0);
	if (UnrdfCluster == NULL || !UnrdfClusterManaged())
		return (Datum) 0;
	etcd = (UnrdfEtcd){.endpoints = unrdf_cluster_dcs, .timeout = unrdf_store_timeout};
	if ((reason = put_members(rsinfo, &etcd)) == NULL &&
		(reason = put_single(rsinfo, &etcd, "leader")) == NULL)
		reason = put_single(rsinfo, &etcd, "sync");
	if (reason)
	{
		tuplestore_clear(rsinfo->setResult);
		ereport(WARNING,
				(errcode(ERRCODE_CONNECTION_FAILURE), errmsg("etcd does not answer: %s", reason)));
	}
	return (Datum) 0;
}

/* unrdf.cluster_state(): this node's name, and what its fence does. */
Datum
unrdf_cluster_state(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {"off",    "standby", "waiting", "armed",
										 "paused", "refused", "stopping"};
	UnrdfClusterShared state;
	int64 deadline;
	Datum values[5];
	bool nulls[5] = {false};

	UnrdfRequirePreload();
	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	memcpy(&state, UnrdfCluster, sizeof(state));
	LWLockRelease(UnrdfShmem->lock);
	deadline = (int64) pg_atomic_read_u64(&UnrdfCluster->deadline);
	values[0] = CStringGetTextDatum(unrdf_node_name);
	values[1] = Int32GetDatum(state.pid);
	values[2] = CStringGetTextDatum(states[state.fence]);
	values[3] = CStringGetTextDatum(state.reason);
	values[4] = Int64GetDatum((deadline - UnrdfTicks()) / 1000);
	nulls[0] = *unrdf_node_name == '\0';
	nulls[1] = state.pid == 0;
	nulls[3] = *state.reason == '\0';
	nulls[4] = deadline == 0;
	return UnrdfRecordDatum(fcinfo, values, nulls);
}
