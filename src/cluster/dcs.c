/*
 * dcs.c: what Patroni keeps in etcd, as far as we need it.
 *
 * Below unrdf.cluster_path: "leader" has the name of the member that may be primary, and ends with that member's lease;
 * "config" is JSON; "members/NAME" is there for each member, and goes some time after it died. Ours is, in a place that Patroni
 * does not watch, "/unrdf" and the same path and "/suspect/NAME", by which a member says that it does not hear the leader.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/json.h"
#include "cluster/dcs.h"

#define SUSPICION_SECONDS 3

static char *
key(const char *name)
{
	return psprintf("%s/%s", unrdf_cluster_path, name);
}

/*
 * UnrdfLeaderRead reads who has the leader key, and how long the lease lasts. The lease is read after the key: what it has left
 * counts from before the call. Returns why nobody answers, or NULL.
 */
const char *
UnrdfLeaderRead(const UnrdfEtcd *etcd, bool with_lease, UnrdfLeader *leader)
{
	UnrdfEtcdValue v;
	const char *reason = UnrdfEtcdGet(etcd, key("leader"), &v);

	memset(leader, 0, sizeof(*leader));
	leader->left = -1;
	if (reason || v.revision == 0)
		return reason;
	strlcpy(leader->holder, v.value, sizeof(leader->holder));
	leader->revision = v.revision;
	leader->lease = v.lease;
	if (with_lease && v.lease != 0)
		reason = UnrdfEtcdLeaseLeft(etcd, v.lease, &leader->left);
	return reason;
}

/* UnrdfLeaderIsMe tells whether the leader key is this node's. */
bool
UnrdfLeaderIsMe(const UnrdfLeader *leader)
{
	return *leader->holder && strcmp(leader->holder, unrdf_node_name) == 0;
}

/* UnrdfPatroniConfigRead reads Patroni's dynamic settings. Returns why nobody answers, or NULL. */
const char *
UnrdfPatroniConfigRead(const UnrdfEtcd *etcd, UnrdfPatroniConfig *config)
{
	UnrdfEtcdValue v;
	Jsonb *json;
	JsonbValue paused;
	const char *reason = UnrdfEtcdGet(etcd, key("config"), &v);

	if (reason)
		return reason;
	memset(config, 0, sizeof(*config));
	if (v.revision == 0 || (json = UnrdfJsonParse(v.value, v.len)) == NULL)
		return NULL;
	(void) UnrdfJsonInt64(&json->root, "ttl", &config->ttl);
	config->paused = UnrdfJsonMember(&json->root, "pause", &paused) && paused.type == jbvBool &&
					 paused.val.boolean;
	return NULL;
}

/*
 * UnrdfLeaderRelease takes the leader key away, if it is still the one that was read. Returns why there was no answer, after
 * which it may have been done or not; or NULL.
 */
const char *
UnrdfLeaderRelease(const UnrdfEtcd *etcd, const UnrdfLeader *leader, bool *released)
{
	return UnrdfEtcdDelete(etcd, key("leader"), leader->revision, released);
}

/*
 * UnrdfSuspect says that this member does not hear the leader, and tells whether most of the members that there are say so.
 * Returns why there was no answer, or NULL.
 */
const char *
UnrdfSuspect(const UnrdfEtcd *etcd, const UnrdfLeader *leader, bool *most)
{
	char *about = psprintf("%s:" INT64_FORMAT, leader->holder, leader->revision);
	char *place = psprintf("/unrdf%s/suspect/", unrdf_cluster_path);
	List *suspects;
	List *members;
	ListCell *cell;
	int n = 0;
	const char *reason =
		UnrdfEtcdPutFor(etcd, psprintf("%s%s", place, unrdf_node_name), about, SUSPICION_SECONDS);

	*most = false;
	if (reason || (reason = UnrdfEtcdList(etcd, place, &suspects)) != NULL ||
		(reason = UnrdfEtcdList(etcd, key("members/"), &members)) != NULL)
		return reason;
	foreach (cell, suspects)
		n += strcmp(((UnrdfEtcdValue *) lfirst(cell))->value, about) == 0;
	*most = 2 * n > list_length(members);
	return NULL;
}
