/*
 * compat.h: every difference between the supported server versions (15 to 18) is here.
 */
#ifndef UNRDF_COMPAT_H
#define UNRDF_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/tuplesort.h"
#include "utils/wait_event.h"

/* 16: what reads values of variable length has a header of its own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16: one object_aclcheck() instead of one function per class */
#if PG_VERSION_NUM >= 160000
#define unrdf_proc_executable(proc, role) \
	(object_aclcheck(ProcedureRelationId, (proc), (role), ACL_EXECUTE) == ACLCHECK_OK)
#else
#define unrdf_proc_executable(proc, role) \
	(pg_proc_aclcheck((proc), (role), ACL_EXECUTE) == ACLCHECK_OK)
#endif

/* 16: ExecInsertIndexTuples() learned about summarizing indexes */
#if PG_VERSION_NUM >= 160000
#define unrdf_insert_index_tuples(ri, slot, estate) \
	ExecInsertIndexTuples((ri), (slot), (estate), false, false, NULL, NIL, false)
#else
#define unrdf_insert_index_tuples(ri, slot, estate) \
	ExecInsertIndexTuples((ri), (slot), (estate), false, false, NULL, NIL)
#endif

/* 18: index_beginscan() takes instrumentation */
#if PG_VERSION_NUM >= 180000
#define unrdf_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define unrdf_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* 17: named wait events; before, every extension shares one */
#if PG_VERSION_NUM >= 170000
#define unrdf_wait_event(name) WaitEventExtensionNew(name)
#else
#define unrdf_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 16: tuplesort_getdatum() can leave the value where it is */
#if PG_VERSION_NUM >= 160000
#define unrdf_tuplesort_getdatum(sort, value, isnull) \
	tuplesort_getdatum((sort), true, false, (value), (isnull), NULL)
#else
#define unrdf_tuplesort_getdatum(sort, value, isnull) \
	tuplesort_getdatum((sort), true, (value), (isnull), NULL)
#endif

/* 18: heap_form_minimal_tuple() can leave room before the tuple */
#if PG_VERSION_NUM >= 180000
#define unrdf_form_minimal_tuple(desc, values, nulls) \
	heap_form_minimal_tuple((desc), (values), (nulls), 0)
#else
#define unrdf_form_minimal_tuple(desc, values, nulls) \
	heap_form_minimal_tuple((desc), (values), (nulls))
#endif

/* 17: sets of what is waited for belong to resource owners */
#if PG_VERSION_NUM >= 170000
#define unrdf_create_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define unrdf_create_wait_event_set(n) CreateWaitEventSet(CurrentMemoryContext, (n))
#endif

/* 16: one object_ownercheck() instead of one function per class */
#if PG_VERSION_NUM >= 160000
#define unrdf_owns_relation(relation, role) \
	object_ownercheck(RelationRelationId, (relation), (role))
#else
#define unrdf_owns_relation(relation, role) pg_class_ownercheck((relation), (role))
#endif

/* 18: generated columns whose values are not stored */
#if PG_VERSION_NUM >= 180000
#define unrdf_is_virtual(attribute) ((attribute)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define unrdf_is_virtual(attribute) ((void) (attribute), false)
#endif

/* 17: a logical message can be flushed as it is written */
#if PG_VERSION_NUM >= 170000
#define unrdf_log_message(transactional) LogLogicalMessage("unrdf", "", 0, (transactional), false)
#else
#define unrdf_log_message(transactional) LogLogicalMessage("unrdf", "", 0, (transactional))
#endif

/* libpq/libpq.h, which declares it, includes headers of libraries that the server was built with */
extern bool pq_check_connection(void);

/* 18: PortalRun() is not told any more that it is called once */
#if PG_VERSION_NUM >= 180000
#define unrdf_portal_run(portal, dest) \
	((void) PortalRun((portal), FETCH_ALL, true, (dest), (dest), NULL))
#else
#define unrdf_portal_run(portal, dest) \
	((void) PortalRun((portal), FETCH_ALL, true, true, (dest), (dest), NULL))
#endif

#endif /* UNRDF_COMPAT_H */
