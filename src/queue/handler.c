/*
 * handler.c: handlers and their versions.
 *
 * A handler's row says what it is now. What a job's meaning hangs on (function, kind, schema, key function) has a version,
 * which a change of any of them raises; before the row changes, the version that it had is kept as a row of its own, in the
 * same transaction and under a lock of the handler's name, so that no two changes can keep the same version or lose one. A
 * job's row says which version it was enqueued for. Whatever was enqueued before a change commits can so be decrypted, and
 * run by the function it was meant for, for ever after.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/lock.h"
#include "base/plan.h"
#include "queue/config.h"
#include "queue/handler.h"

/* where the key locks have handlers' names: queues are not negative */
#define HANDLER_NAMES PG_UINT32_MAX

typedef struct VersionKey
{
	int32 handler;
	int32 version;
} VersionKey;

typedef struct VersionEntry
{
	VersionKey key;
	UnrdfHandler handler;
} VersionEntry;

#define DIFFERS                                                                                                                             \
	"(coalesce(h.function::pg_catalog.oid, 0) OPERATOR(pg_catalog.<>) coalesce($2::pg_catalog.oid, 0) OR h.kind OPERATOR(pg_catalog.<>) $3" \
	" OR coalesce(h.args_schema, 'null') OPERATOR(pg_catalog.<>) coalesce($4, 'null')"                                                      \
	" OR coalesce(h.encrypt_args::pg_catalog.oid, 0) OPERATOR(pg_catalog.<>) coalesce($5::pg_catalog.oid, 0))"
static UnrdfPlan keep_version = {
	"INSERT INTO unrdf.handler_version (handler, version, function, kind, args_schema, encrypt_args)"
	" SELECT h.id, h.version, h.function, h.kind, h.args_schema, h.encrypt_args FROM unrdf.handler AS h"
	" WHERE h.name OPERATOR(pg_catalog.=) $1 AND " DIFFERS,
	5,
	{TEXTOID, REGPROCEDUREOID, TEXTOID, JSONBOID, REGPROCEDUREOID}};
static UnrdfPlan upsert_handler = {
	"INSERT INTO unrdf.handler AS h (name, function, kind, args_schema, encrypt_args, owner, max_attempts, timeout_ms,"
	" backoff_ms, backoff_cap_ms, own_transaction, queue, priority, memory_limit, max_result_size, pinned)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
	" ON CONFLICT (name) DO UPDATE SET function = EXCLUDED.function, kind = EXCLUDED.kind,"
	" args_schema = EXCLUDED.args_schema, encrypt_args = EXCLUDED.encrypt_args, max_attempts = EXCLUDED.max_attempts,"
	" timeout_ms = EXCLUDED.timeout_ms, backoff_ms = EXCLUDED.backoff_ms, backoff_cap_ms = EXCLUDED.backoff_cap_ms,"
	" own_transaction = EXCLUDED.own_transaction, queue = EXCLUDED.queue, priority = EXCLUDED.priority,"
	" memory_limit = EXCLUDED.memory_limit, max_result_size = EXCLUDED.max_result_size, pinned = EXCLUDED.pinned,"
	" version = CASE WHEN " DIFFERS " THEN h.version OPERATOR(pg_catalog.+) 1 ELSE h.version END,"
	" changed_at = pg_catalog.now()"
	" WHERE pg_catalog.pg_has_role($6, h.owner, 'USAGE') AND (h.kind OPERATOR(pg_catalog.=) 'outside')"
	" OPERATOR(pg_catalog.=) ($3 OPERATOR(pg_catalog.=) 'outside') RETURNING id",
	16,
	{TEXTOID, REGPROCEDUREOID, TEXTOID, JSONBOID, REGPROCEDUREOID, REGROLEOID, INT4OID, INT4OID,
	 INT4OID, INT4OID, BOOLOID, INT4OID, INT2OID, INT8OID, INT8OID, BOOLOID}};
#define HANDLER_COLUMNS                                                                                \
	"SELECT h.id, h.name, h.owner, h.max_attempts, h.timeout_ms, h.backoff_ms, h.backoff_cap_ms,"      \
	" h.own_transaction, h.queue, h.priority, h.memory_limit, h.max_result_size, h.pinned, h.version," \
	" h.encrypt_args IS NOT NULL OR EXISTS (SELECT FROM unrdf.handler_version AS x"                    \
	" WHERE x.handler OPERATOR(pg_catalog.=) h.id AND x.encrypt_args IS NOT NULL),"                    \
	" v.version, v.kind, v.function, v.args_schema, v.encrypt_args FROM unrdf.handler AS h"
static UnrdfPlan handler_by_name = {
	HANDLER_COLUMNS ", LATERAL (SELECT h.*) AS v WHERE h.name OPERATOR(pg_catalog.=) $1",
	1,
	{TEXTOID}};
static UnrdfPlan handler_by_id = {
	HANDLER_COLUMNS ", LATERAL (SELECT h.*) AS v WHERE h.id OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};
static UnrdfPlan handler_by_version = {
	HANDLER_COLUMNS " JOIN unrdf.handler_version AS v ON v.handler OPERATOR(pg_catalog.=) h.id"
					" WHERE h.id OPERATOR(pg_catalog.=) $1 AND v.version OPERATOR(pg_catalog.=) $2",
	2,
	{INT4OID, INT4OID}};

static const char *const kind_names[] = {"function", "procedure", "command", "outside"};

static MemoryContext cache_context = NULL;
static HTAB *handlers = NULL; /* by id */
static HTAB *versions = NULL; /* those that are not the newest */

/* Makes the caches empty where they may be stale. */
static void
check_cache(void)
{
	static UnrdfConfigSeen seen = {0};
	HASHCTL ctl = {0};

	if (UnrdfConfigFresh(&seen))
		return;
	if (cache_context == NULL)
		cache_context =
			AllocSetContextCreate(TopMemoryContext, "unrdf handlers", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache_context);
	ctl.hcxt = cache_context;
	ctl.keysize = sizeof(int32);
	ctl.entrysize = sizeof(UnrdfHandler);
	handlers = hash_create("unrdf handlers", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = sizeof(VersionKey);
	ctl.entrysize = sizeof(VersionEntry);
	versions = hash_create("unrdf versions", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* UnrdfHandlerKindOf finds a kind by its name; false where there is none. */
bool
UnrdfHandlerKindOf(const char *name, UnrdfHandlerKind *kind)
{
	for (int i = 0; i < lengthof(kind_names); i++)
		if (strcmp(name, kind_names[i]) == 0)
		{
			*kind = i;
			return true;
		}
	return false;
}

/* UnrdfHandlerRepeats tells whether a handler's jobs may have their effects more than once. */
bool
UnrdfHandlerRepeats(const UnrdfHandler *handler)
{
	return handler->kind != UNRDF_FUNCTION;
}

static bool
returns_what_it_has_to(Form_pg_proc proc, UnrdfHandlerKind kind)
{
	if (kind == UNRDF_PROCEDURE)
		return proc->prokind == PROKIND_PROCEDURE;
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset)
		return false;
	if (kind == UNRDF_COMMAND)
		return proc->prorettype == TEXTOID;
	return proc->prorettype == VOIDOID || proc->prorettype == JSONBOID;
}

/*
 * UnrdfHandlerArgs returns how many arguments a handler's function takes: 1 for (jsonb), 2 for (bigint, jsonb). Raises 42883
 * where it does not exist, 42P13 where it is not what its kind has to be.
 */
int
UnrdfHandlerArgs(Oid function, UnrdfHandlerKind kind)
{
	static const char *const hints[] = {
		"A handler is a function (jsonb) or (bigint, jsonb) that returns void or jsonb.",
		"A handler of kind procedure is a procedure (jsonb) or (bigint, jsonb).",
		"A handler of kind command is a function (jsonb) or (bigint, jsonb) that returns text."};
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	int nargs = 0;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("handler function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (returns_what_it_has_to(proc, kind))
	{
		if (proc->pronargs == 1 && proc->proargtypes.values[0] == JSONBOID)
			nargs = 1;
		else if (proc->pronargs == 2 && proc->proargtypes.values[0] == INT8OID &&
				 proc->proargtypes.values[1] == JSONBOID)
			nargs = 2;
	}
	ReleaseSysCache(tuple);
	if (nargs == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("%s cannot be a handler", format_procedure(function)),
						errhint("%s", hints[kind])));
	return nargs;
}

/*
 * UnrdfCheckRights raises 42501 unless a job of an owner may call a handler's function. Whoever owns a function can replace
 * it at any time, and it runs with the rights of the job's owner. Roles have to trust the functions whose names they enqueue, as
 * those that they call; but no function that anybody but a superuser can replace runs as a superuser.
 */
void
UnrdfCheckRights(Oid function, Oid owner, const char *handler)
{
	HeapTuple tuple;
	Oid author;

	if (!unrdf_proc_executable(function, owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for the function of handler \"%s\"", handler)));
	if (!superuser_arg(owner))
		return;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	author = HeapTupleIsValid(tuple) ? ((Form_pg_proc) GETSTRUCT(tuple))->proowner : InvalidOid;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!superuser_arg(author))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the function of handler \"%s\" does not run as a superuser", handler),
				 errdetail("Its owner is none, and could replace it."),
				 errhint("Enqueue as another role, or have a superuser own the function.")));
}

static void
check_executable(Oid function)
{
	if (!unrdf_proc_executable(function, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for function %s", format_procedure(function))));
}

static void
check_wanted(const UnrdfHandler *wanted)
{
	char *mistake;

	if (wanted->kind != UNRDF_NO_FUNCTION)
	{
		(void) UnrdfHandlerArgs(wanted->function, wanted->kind);
		check_executable(wanted->function);
	}
	if (OidIsValid(wanted->key_function))
		check_executable(wanted->key_function);
	if (wanted->schema && (mistake = UnrdfSchemaMistake(wanted->schema)) != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("args_schema is no JSON Schema that can be checked"),
						errdetail_internal("%s", mistake)));
}

static void
set(Datum *values, char *nulls, int i, Datum value, bool isnull)
{
	values[i] = value;
	nulls[i] = isnull ? 'n' : ' ';
}

/* Raises why a handler that exists was not changed: 42501, or 55000 where it is of the other kind. */
static void
refuse_change(text *name)
{
	const UnrdfHandler *h = UnrdfHandlerByName(name);

	if (!has_privs_of_role(GetUserId(), h->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of handler \"%s\"", h->name)));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					h->kind == UNRDF_NO_FUNCTION ? errmsg("handler \"%s\" is run outside", h->name)
												 : errmsg("handler \"%s\" has a function", h->name),
					errhint("Its jobs would wait for ever. Take another name.")));
}

/*
 * UnrdfRegisterHandler makes or changes a handler. A handler is run outside or it is not, for good: jobs of the two wait in different
 * flows, and a job's row never changes. Raises 42501 where it is somebody else's, 55000 where it is of the other kind, and what is wrong
 * with what is wanted.
 */
void
UnrdfRegisterHandler(text *name, const UnrdfHandler *wanted)
{
	Datum values[16];
	char nulls[16];

	UnrdfCheckName(name, "handler");
	PreventCommandIfReadOnly(wanted->kind == UNRDF_NO_FUNCTION ? "unrdf.register_outside_handler()"
															   : "unrdf.register_handler()");
	check_wanted(wanted);
	set(values, nulls, 0, PointerGetDatum(name), false);
	set(values, nulls, 1, ObjectIdGetDatum(wanted->function), wanted->kind == UNRDF_NO_FUNCTION);
	set(values, nulls, 2, CStringGetTextDatum(kind_names[wanted->kind]), false);
	set(values, nulls, 3, PointerGetDatum(wanted->schema), wanted->schema == NULL);
	set(values, nulls, 4, ObjectIdGetDatum(wanted->key_function),
		!OidIsValid(wanted->key_function));
	set(values, nulls, 5, ObjectIdGetDatum(GetUserId()), false);
	set(values, nulls, 6, Int32GetDatum(wanted->max_attempts), false);
	set(values, nulls, 7, Int32GetDatum(wanted->timeout_ms), false);
	set(values, nulls, 8, Int32GetDatum(wanted->backoff_ms), false);
	set(values, nulls, 9, Int32GetDatum(wanted->backoff_cap_ms), false);
	set(values, nulls, 10, BoolGetDatum(wanted->own_transaction), false);
	set(values, nulls, 11, Int32GetDatum(wanted->queue), wanted->queue < 0);
	set(values, nulls, 12, Int16GetDatum((int16) wanted->priority), wanted->priority < 0);
	set(values, nulls, 13, Int64GetDatum(wanted->memory_limit), wanted->memory_limit == 0);
	set(values, nulls, 14, Int64GetDatum(wanted->max_result_size), wanted->max_result_size == 0);
	set(values, nulls, 15, BoolGetDatum(wanted->pinned), false);
	UnrdfLock(UNRDF_LOCK_KEY,
			  UnrdfLockBucket(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), HANDLER_NAMES));
	SPI_connect();
	UnrdfExecute(&keep_version, values, nulls, false);
	if (UnrdfExecute(&upsert_handler, values, nulls, false) == 0)
		refuse_change(name);
	SPI_finish();
	UnrdfConfigChanged();
}

static int64
column(int i, int64 otherwise, Oid type)
{
	bool isnull;
	Datum value = UnrdfResult(0, i, &isnull);

	if (isnull)
		return otherwise;
	return type == INT8OID   ? DatumGetInt64(value)
		   : type == INT2OID ? DatumGetInt16(value)
							 : DatumGetInt32(value);
}

/* Fills in a handler out of the last query's row. Inside SPI. */
static void
read_handler(UnrdfHandler *h)
{
	bool isnull;
	Datum value;

	h->id = (int32) column(0, 0, INT4OID);
	text_to_cstring_buffer(DatumGetTextPP(UnrdfResult(0, 1, &isnull)), h->name, NAMEDATALEN);
	h->owner = DatumGetObjectId(UnrdfResult(0, 2, &isnull));
	h->max_attempts = (int32) column(3, 0, INT4OID);
	h->timeout_ms = (int32) column(4, 0, INT4OID);
	h->backoff_ms = (int32) column(5, 0, INT4OID);
	h->backoff_cap_ms = (int32) column(6, 0, INT4OID);
	h->own_transaction = DatumGetBool(UnrdfResult(0, 7, &isnull));
	h->queue = (int32) column(8, -1, INT4OID);
	h->priority = (int32) column(9, -1, INT2OID);
	h->memory_limit = column(10, 0, INT8OID);
	h->max_result_size = column(11, 0, INT8OID);
	h->pinned = DatumGetBool(UnrdfResult(0, 12, &isnull));
	h->newest = (int32) column(13, 0, INT4OID);
	h->encrypted = DatumGetBool(UnrdfResult(0, 14, &isnull));
	h->version = (int32) column(15, 0, INT4OID);
	(void) UnrdfHandlerKindOf(TextDatumGetCString(UnrdfResult(0, 16, &isnull)), &h->kind);
	value = UnrdfResult(0, 17, &isnull);
	h->function = isnull ? InvalidOid : DatumGetObjectId(value);
	value = UnrdfResult(0, 18, &isnull);
	h->schema = NULL;
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(cache_context);

		h->schema = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	value = UnrdfResult(0, 19, &isnull);
	h->key_function = isnull ? InvalidOid : DatumGetObjectId(value);
}

/* Enters the handler of the last query's row in the cache. Inside SPI. */
static UnrdfHandler *
cache_handler(void)
{
	bool isnull;
	int32 id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	UnrdfHandler *h = hash_search(handlers, &id, HASH_ENTER, NULL);

	read_handler(h);
	return h;
}

/* UnrdfHandlerByName returns a handler, valid until the next call into this file; raises 42704 for an unknown one. */
const UnrdfHandler *
UnrdfHandlerByName(text *name)
{
	char key[NAMEDATALEN];
	UnrdfHandler *h;
	HASH_SEQ_STATUS seq;
	Datum value = PointerGetDatum(name);

	UnrdfCheckName(name, "handler");
	check_cache();
	text_to_cstring_buffer(name, key, sizeof(key));
	hash_seq_init(&seq, handlers);
	while ((h = hash_seq_search(&seq)) != NULL)
		if (strcmp(h->name, key) == 0)
		{
			hash_seq_term(&seq);
			return h;
		}
	SPI_connect();
	if (UnrdfExecuteLatest(&handler_by_name, &value, NULL) == 1)
		h = cache_handler();
	SPI_finish();
	if (h == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("handler \"%s\" does not exist", key),
				 errhint("Register it with unrdf.register_handler.")));
	return h;
}

/*
 * UnrdfHandlerToEnqueue returns the id of a handler that the current role may enqueue jobs for: any that workers outside run. Raises
 * 42704 for an unknown one, and what UnrdfHandlerArgs and UnrdfCheckRights do.
 */
int32
UnrdfHandlerToEnqueue(text *name)
{
	const UnrdfHandler *h = UnrdfHandlerByName(name);

	if (h->kind == UNRDF_NO_FUNCTION)
		return h->id;
	(void) UnrdfHandlerArgs(h->function, h->kind);
	UnrdfCheckRights(h->function, GetUserId(), h->name);
	return h->id;
}

/* UnrdfHandlerById returns a handler, valid until the next call into this file; NULL for an unknown one. */
const UnrdfHandler *
UnrdfHandlerById(int32 id)
{
	UnrdfHandler *h;
	Datum value = Int32GetDatum(id);

	check_cache();
	h = hash_search(handlers, &id, HASH_FIND, NULL);
	if (h)
		return h;
	SPI_connect();
	if (UnrdfExecuteLatest(&handler_by_id, &value, NULL) == 1)
		h = cache_handler();
	SPI_finish();
	return h;
}

/* UnrdfHandlerVersion returns a handler as it was in a version, valid until the next call into this file; NULL for an unknown one. */
const UnrdfHandler *
UnrdfHandlerVersion(int32 id, int32 version)
{
	const UnrdfHandler *newest = UnrdfHandlerById(id);
	VersionKey key = {id, version};
	VersionEntry *entry;
	Datum values[2];

	if (newest == NULL || newest->version == version)
		return newest;
	entry = hash_search(versions, &key, HASH_FIND, NULL);
	if (entry)
		return &entry->handler;
	values[0] = Int32GetDatum(id);
	values[1] = Int32GetDatum(version);
	SPI_connect();
	if (UnrdfExecuteLatest(&handler_by_version, values, NULL) == 1)
	{
		entry = hash_search(versions, &key, HASH_ENTER, NULL);
		read_handler(&entry->handler);
	}
	SPI_finish();
	return entry ? &entry->handler : NULL;
}

/*
 * UnrdfHandlerOf returns the handler that a job is run by, in the version that it is run by; else as UnrdfHandlerById. Who
 * changed the handler tells it after its commit: a job of a version that is not known yet may be here before.
 */
const UnrdfHandler *
UnrdfHandlerOf(const UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);

	if (handler && handler->newest < job->handler_version)
	{
		hash_search(handlers, &job->handler, HASH_REMOVE, NULL);
		handler = UnrdfHandlerById(job->handler);
	}
	if (handler && handler->pinned)
		return UnrdfHandlerVersion(job->handler, job->handler_version);
	return handler;
}

/* UnrdfHandlerIsOutside tells whether workers outside run a handler's jobs. */
bool
UnrdfHandlerIsOutside(int32 id)
{
	const UnrdfHandler *handler = UnrdfHandlerById(id);

	return handler && handler->kind == UNRDF_NO_FUNCTION;
}
