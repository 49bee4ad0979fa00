/*
 * guc.c: all settings, in alphabetical order.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/guc.h"

int unrdf_checkpoint_interval = 10000;
char *unrdf_checkpoint_stores = NULL;
int unrdf_clock_offset = 0;
char *unrdf_cluster_dcs = NULL;
char *unrdf_cluster_path = NULL;
int unrdf_dispatcher_memory = 65536;
int unrdf_executor_idle_time = 10000;
int unrdf_executor_slots = 128;
int unrdf_expiry_interval = 15000;
bool unrdf_fence = false;
int unrdf_fence_margin = 1000;
int unrdf_fence_silence = 0;
int unrdf_floor_interval = 10000;
int unrdf_group_time = 5000;
char *unrdf_log_key_file = NULL;
int unrdf_max_args_size = 1024;
int unrdf_max_executors = 16;
int unrdf_max_leases = 16384;
int unrdf_min_executors = 2;
char *unrdf_node_name = NULL;
int unrdf_priority_ageing = 60000;
bool unrdf_sentinel_release = false;
int unrdf_sentinel_silence = 3000;
int unrdf_store_timeout = 2000;
int unrdf_sweep_interval = 1000;
bool unrdf_test_kit = false;
char *unrdf_witness_name = NULL;
int unrdf_witness_quorum = 1;

static bool
begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* Whether all are addresses of etcd's members, without a password: settings are shown. */
static bool
check_dcs(char **value, void **extra, GucSource source)
{
	char *list = pstrdup(*value);
	char *rest = NULL;

	for (char *url = strtok_r(list, ",", &rest); url; url = strtok_r(NULL, ",", &rest))
		if ((!begins(url, "http://") && !begins(url, "https://")) || strchr(url, '@') ||
			strchr(url, ' '))
		{
			GUC_check_errdetail("\"%s\" is no address of an etcd member.", url);
			GUC_check_errhint(
				"They are http://host:2379, separated by commas, without a user name.");
			return false;
		}
	pfree(list);
	return true;
}

/* Whether it is a path that keys of a cluster begin with. */
static bool
check_path(char **value, void **extra, GucSource source)
{
	size_t len = strlen(*value);

	if (len == 0 || (**value == '/' && len > 1 && (*value)[len - 1] != '/'))
		return true;
	GUC_check_errdetail("It is Patroni's namespace and scope, as in /service/main.");
	return false;
}

/* Whether every store is of a kind that there is, and has no password in its address: settings are shown. */
static bool
check_stores(char **value, void **extra, GucSource source)
{
	char *list = pstrdup(*value);
	char *rest = NULL;

	for (char *store = strtok_r(list, " ", &rest); store; store = strtok_r(NULL, " ", &rest))
	{
		if (!begins(store, "file:/") && !begins(store, "etcd:http://") &&
			!begins(store, "etcd:https://") && !begins(store, "witness:http://") &&
			!begins(store, "witness:https://"))
		{
			GUC_check_errdetail("\"%s\" is no checkpoint store.", store);
			GUC_check_errhint("It is file:/directory, etcd:http://host:2379 or "
							  "witness:https://host/path.");
			return false;
		}
		if (!begins(store, "file:") && strchr(store, '@'))
		{
			GUC_check_errdetail("A checkpoint store's address may have no user name.");
			return false;
		}
	}
	pfree(list);
	return true;
}

/* Defines those before the letter g. */
static void
define_first_half(void)
{
	DefineCustomIntVariable(
		"unrdf.checkpoint_interval", "Time between two checkpoints of a log that grows.",
		"One can be asked for at any time by unrdf.publish_checkpoint().",
		&unrdf_checkpoint_interval, 10000, 10, 86400000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"unrdf.checkpoint_stores",
		"Where, outside this node, the last checkpoint is kept, to be compared before the next.",
		"file:/directory, etcd:http://host:2379[,…] or witness:https://host/path, separated by "
		"spaces. A checkpoint is published when all of them have taken it.",
		&unrdf_checkpoint_stores, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_stores, NULL, NULL);
	DefineCustomIntVariable("unrdf.clock_offset", "Added to the wall clock that unrdf reads.",
							"For tests of what happens when somebody sets the clock.",
							&unrdf_clock_offset, 0, -INT_MAX, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_S | GUC_NOT_IN_SAMPLE | GUC_NO_SHOW_ALL, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"unrdf.cluster_dcs", "The etcd in which Patroni keeps the cluster's state.",
		"http://host:2379 of its members, separated by commas, the nearest first. Empty: this server "
		"is not Patroni's.",
		&unrdf_cluster_dcs, "", PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_dcs, NULL, NULL);
	DefineCustomStringVariable("unrdf.cluster_path",
							   "Patroni's namespace and scope, as in /service/main.", NULL,
							   &unrdf_cluster_path, "", PGC_POSTMASTER, 0, check_path, NULL, NULL);
	DefineCustomIntVariable("unrdf.dispatcher_memory",
							"Memory a dispatcher may use for jobs it knows of.",
							"Jobs beyond it wait in their table.", &unrdf_dispatcher_memory, 65536,
							1024, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("unrdf.executor_idle_time",
							"Time after which an idle executor above unrdf.min_executors ends.",
							NULL, &unrdf_executor_idle_time, 10000, 100, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.executor_slots", "Executors that all databases together may have.", NULL,
		&unrdf_executor_slots, 128, 1, 4096, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("unrdf.expiry_interval",
							"Time between two looks for what queues have kept for long enough.",
							NULL, &unrdf_expiry_interval, 15000, 10, 3600000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"unrdf.fence", "A primary stops before its leader lease can be another node's.",
		"Only for servers that Patroni manages; unrdf.node_name has to be the member's name.",
		&unrdf_fence, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.fence_margin", "Time before the end of its lease at which a primary stops.", NULL,
		&unrdf_fence_margin, 1000, 100, 600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.fence_silence",
		"Time without an answer of etcd's quorum after which a primary stops, whatever its lease.",
		"0: only the lease counts. unrdf.sentinel_release needs it.", &unrdf_fence_silence, 0, 0,
		600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.floor_interval", "Time after which a dispatcher notes how far jobs have ended.",
		"A dispatcher that starts anew begins to read there.", &unrdf_floor_interval, 10000, 10,
		3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* UnrdfGucInit defines the settings; called once, from _PG_init. */
void
UnrdfGucInit(void)
{
	define_first_half();
	DefineCustomIntVariable(
		"unrdf.group_time",
		"Time, in microseconds, that the jobs of one shared transaction should take together.",
		"0 gives every job its own transaction.", &unrdf_group_time, 5000, 0, 1000000, PGC_SIGHUP,
		0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"unrdf.log_key_file", "File of the private keys that sign checkpoints.",
		"Relative to the data directory. Empty: checkpoints are not signed.", &unrdf_log_key_file,
		"unrdf_log.keys", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.max_args_size", "Largest size of a job's arguments or of a recorded payload.", NULL,
		&unrdf_max_args_size, 1024, 1, 1024 * 1024 - 1, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("unrdf.max_executors", "Executors that one database may have.", NULL,
							&unrdf_max_executors, 16, 1, 4096, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.max_leases", "Jobs that workers outside may have in hand in all databases together.",
		NULL, &unrdf_max_leases, 16384, 64, 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("unrdf.min_executors",
							"Executors that a database keeps when there is nothing to do.", NULL,
							&unrdf_min_executors, 2, 1, 4096, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("unrdf.node_name", "Name of this node in receipts.",
							   "By default cluster_name, or else the host's name.",
							   &unrdf_node_name, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.priority_ageing", "Time after which jobs that wait go up one priority.",
		"That of a queue's jobs of one priority which is next does, if none of them was started for so long; "
		"0 lets less urgent jobs wait as long as there are more urgent ones.",
		&unrdf_priority_ageing, 60000, 0, PG_INT32_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"unrdf.sentinel_release",
		"Whether standbys take the lease from a primary that most members hear no more.",
		"For a ttl that is too long to wait for. Needs unrdf.fence, and an unrdf.fence_silence that "
		"is shorter than unrdf.sentinel_silence.",
		&unrdf_sentinel_release, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.sentinel_silence",
		"Time without a sign of the primary after which a standby notes its failure.",
		"0: not noted.", &unrdf_sentinel_silence, 3000, 0, 600000, PGC_SIGHUP, GUC_UNIT_MS, NULL,
		NULL, NULL);
	DefineCustomIntVariable("unrdf.store_timeout",
							"Time that a checkpoint store outside may take to answer.",
							"Publishing waits meanwhile; nothing else does.", &unrdf_store_timeout,
							2000, 10, 600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"unrdf.sweep_interval", "Time between two looks at every lane.",
		"Commits wake the dispatcher at once; the sweep finds what came by COMMIT PREPARED.",
		&unrdf_sweep_interval, 1000, 10, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"unrdf.test_kit", "Whether tests may set the clock and force failures.",
		"Not for servers that do real work: superusers can have them crash at a place of their choice.",
		&unrdf_test_kit, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"unrdf.witness_name", "Name under which this server cosigns others' checkpoints.",
		"Empty: it is no witness.", &unrdf_witness_name, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("unrdf.witness_quorum",
							"Witnesses that have to cosign before a receipt counts as witnessed.",
							NULL, &unrdf_witness_quorum, 1, 1, 100, PGC_SIGHUP, 0, NULL, NULL,
							NULL);
	MarkGUCPrefixReserved("unrdf");
}
