/*
 * store_etcd.c: heads of logs in etcd, a key for each origin.
 */
#include "postgres.h"

#include "base/etcd.h"
#include "base/guc.h"
#include "ledger/store.h"

#define KEY "/unrdf/checkpoint/%s"

static const char *
etcd_read(const char *endpoints, const char *origin, UnrdfStored *stored)
{
	UnrdfEtcdValue v;
	UnrdfEtcd etcd = {.endpoints = endpoints, .timeout = unrdf_store_timeout};
	const char *reason = UnrdfEtcdGet(&etcd, psprintf(KEY, origin), &v);

	stored->value = v.value;
	stored->revision = v.revision;
	return reason;
}

static const char *
etcd_swap(const char *endpoints, const char *origin, const UnrdfStored *old, const char *value,
		  bool *swapped)
{
	UnrdfEtcd etcd = {.endpoints = endpoints, .timeout = unrdf_store_timeout};

	return UnrdfEtcdSwap(&etcd, psprintf(KEY, origin), old->revision, value, swapped);
}

const UnrdfSwapStore UnrdfEtcdStore = {etcd_read, etcd_swap};
