#ifndef UNRDF_ETCD_H
#define UNRDF_ETCD_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* Whom to ask, and how long. */
typedef struct UnrdfEtcd
{
	const char *endpoints; /* URLs, separated by commas */
	int timeout;           /* ms that each of them may take */
	int64 until; /* ticks after which nobody is waited for any more; 0: as long as it takes */
} UnrdfEtcd;

/* What a key has. */
typedef struct UnrdfEtcdValue
{
	char *key;      /* palloc'd, terminated */
	int64 revision; /* of its last change; 0: there is no such key */
	int64 lease;    /* that it ends with; 0: none */
	char *value;    /* palloc'd, terminated; NULL where there is no key */
	int len;
} UnrdfEtcdValue;

extern const char *UnrdfEtcdGet(const UnrdfEtcd *etcd, const char *key, UnrdfEtcdValue *v);
extern const char *UnrdfEtcdList(const UnrdfEtcd *etcd, const char *prefix, List **values);
extern const char *UnrdfEtcdSwap(const UnrdfEtcd *etcd, const char *key, int64 revision,
								 const char *value, bool *swapped);
extern const char *UnrdfEtcdDelete(const UnrdfEtcd *etcd, const char *key, int64 revision,
								   bool *deleted);
extern const char *UnrdfEtcdPutFor(const UnrdfEtcd *etcd, const char *key, const char *value,
								   int seconds);
extern const char *UnrdfEtcdLeaseLeft(const UnrdfEtcd *etcd, int64 lease, int64 *seconds);

#endif /* UNRDF_ETCD_H */
