#ifndef UNRDF_DCS_H
#define UNRDF_DCS_H

#include "postgres.h"

#include "base/etcd.h"
#include "cluster/cluster.h"

/* Who has the leader key. */
typedef struct UnrdfLeader
{
	char holder[UNRDF_MEMBER_MAX]; /* empty: nobody */
	int64 revision;                /* of the key */
	int64 lease;
	int64 left; /* whole seconds that the lease has at least; -1: it is gone */
} UnrdfLeader;

/* What Patroni is told about itself. */
typedef struct UnrdfPatroniConfig
{
	int64 ttl; /* s; 0: not said */
	bool paused;
} UnrdfPatroniConfig;

extern const char *UnrdfLeaderRead(const UnrdfEtcd *etcd, bool with_lease, UnrdfLeader *leader);
extern const char *UnrdfPatroniConfigRead(const UnrdfEtcd *etcd, UnrdfPatroniConfig *config);
extern const char *UnrdfLeaderRelease(const UnrdfEtcd *etcd, const UnrdfLeader *leader,
									  bool *released);
extern bool UnrdfLeaderIsMe(const UnrdfLeader *leader);
extern const char *UnrdfSuspect(const UnrdfEtcd *etcd, const UnrdfLeader *leader, bool *most);

#endif /* UNRDF_DCS_H */
