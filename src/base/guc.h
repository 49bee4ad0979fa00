#ifndef UNRDF_GUC_H
#define UNRDF_GUC_H

#include "postgres.h"

extern int unrdf_checkpoint_interval; /* ms */
extern char *unrdf_checkpoint_stores;
extern int unrdf_clock_offset; /* s */
extern char *unrdf_cluster_dcs;
extern char *unrdf_cluster_path;
extern int unrdf_dispatcher_memory;  /* kB */
extern int unrdf_executor_idle_time; /* ms */
extern int unrdf_executor_slots;
extern int unrdf_expiry_interval;
extern bool unrdf_fence;
extern int unrdf_fence_margin;   /* ms */
extern int unrdf_fence_silence;  /* ms; 0: not looked at */
extern int unrdf_floor_interval; /* ms */
extern int unrdf_group_time;     /* us */
extern char *unrdf_log_key_file;
extern int unrdf_max_args_size; /* kB */
extern int unrdf_max_executors;
extern int unrdf_max_leases;
extern int unrdf_min_executors;
extern char *unrdf_node_name;
extern int unrdf_priority_ageing; /* ms; 0: none */
extern bool unrdf_sentinel_release;
extern int unrdf_sentinel_silence; /* ms; 0: not looked at */
extern int unrdf_store_timeout;    /* ms */
extern int unrdf_sweep_interval;   /* ms */
extern bool unrdf_test_kit;
extern char *unrdf_witness_name;
extern int unrdf_witness_quorum;

extern void UnrdfGucInit(void);

#endif /* UNRDF_GUC_H */
