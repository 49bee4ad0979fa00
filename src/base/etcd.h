#ifndef UNRDF_ETCD_H
#define UNRDF_ETCD_H

#include "postgres.h"

/* What a key has. */
typedef struct UnrdfEtcdValue
{
	int64 revision; /* of its last change; 0: there is no such key */
	char *value;    /* palloc'd, terminated; NULL where there is no key */
	int len;
} UnrdfEtcdValue;

extern const char *UnrdfEtcdGet(const char *endpoints, const char *key, UnrdfEtcdValue *v);
extern const char *UnrdfEtcdSwap(const char *endpoints, const char *key, int64 revision,
								 const char *value, bool *swapped);

#endif /* UNRDF_ETCD_H */
