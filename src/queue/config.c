/*
 * config.c: queues and handlers.
 *
 * They change rarely and are read for every job, so each process caches handlers and queue ids. UnrdfDatabase.config
 * counts committed changes; a process that finds another count than it had forgets everything, as it does when a
 * transaction of its own aborts (it may have cached what that transaction wrote).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/commit.h"
#include "base/compat.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/config.h"

typedef struct QueueName
{
	char name[NAMEDATALEN];
	int32 id;
} QueueName;

typedef struct KnownQueue
{
	int32 id;
	UnrdfQueueRow *row;
} KnownQueue;

/* Whether a queue takes jobs. */
typedef struct QueueDoor
{
	int32 id;
	bool closed;
} QueueDoor;

static UnrdfPlan insert_queue = {
	"INSERT INTO unrdf.queue (name) VALUES ($1) RETURNING id", 1, {TEXTOID}};
#define DOOR_COLUMNS                                                               \
	"SELECT q.id, coalesce(s.draining, false) OR q.dropped_at IS NOT NULL, q.name" \
	" FROM unrdf.queue AS q LEFT JOIN unrdf.queue_state AS s ON s.queue OPERATOR(pg_catalog.=) q.id "
static UnrdfPlan find_queue = {
	DOOR_COLUMNS "WHERE q.name OPERATOR(pg_catalog.=) $1 AND q.dropped_at IS NULL", 1, {TEXTOID}};
static UnrdfPlan find_door = {DOOR_COLUMNS "WHERE q.id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan set_limit = {
	"INSERT INTO unrdf.queue_state AS s (queue, max_running, changed_by) VALUES ($1, $2, $3)"
	" ON CONFLICT (queue) DO UPDATE SET max_running = EXCLUDED.max_running, changed_by = EXCLUDED.changed_by,"
	" changed_at = pg_catalog.now()",
	3,
	{INT4OID, INT4OID, REGROLEOID}};
static UnrdfPlan set_paused = {
	"INSERT INTO unrdf.queue_state AS s (queue, paused, changed_by) VALUES ($1, $2, $3)"
	" ON CONFLICT (queue) DO UPDATE SET paused = EXCLUDED.paused, draining = s.draining AND EXCLUDED.paused,"
	" changed_by = EXCLUDED.changed_by,"
	" changed_at = pg_catalog.now()",
	3,
	{INT4OID, BOOLOID, REGROLEOID}};
static UnrdfPlan upsert_handler = {
	"INSERT INTO unrdf.handler AS h (name, function, owner, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms,"
	" own_transaction) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
	" ON CONFLICT (name) DO UPDATE SET function = EXCLUDED.function, max_attempts = EXCLUDED.max_attempts,"
	" timeout_ms = EXCLUDED.timeout_ms, backoff_ms = EXCLUDED.backoff_ms, backoff_cap_ms = EXCLUDED.backoff_cap_ms,"
	" own_transaction = EXCLUDED.own_transaction, changed_at = pg_catalog.now()"
	" WHERE pg_catalog.pg_has_role($3, h.owner, 'USAGE') AND h.function IS NOT NULL RETURNING id",
	8,
	{TEXTOID, REGPROCEDUREOID, REGROLEOID, INT4OID, INT4OID, INT4OID, INT4OID, BOOLOID}};
#define HANDLER_COLUMNS                                                                       \
	"SELECT id, name, function, owner, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms," \
	" own_transaction FROM unrdf.handler "
static UnrdfPlan handler_by_name = {
	HANDLER_COLUMNS "WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};
static UnrdfPlan handler_by_id = {
	HANDLER_COLUMNS "WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};

static MemoryContext cache_context = NULL;
static HTAB *queue_names = NULL;
static HTAB *queues = NULL;
static HTAB *queue_doors = NULL;
static HTAB *handlers = NULL;
static uint32 cached_config = 0;
static bool forget = false;
static bool changed = false; /* by this transaction */

static void
at_xact_event(XactEvent event, void *arg)
{
	/* COMMIT PREPARED would tell nobody */
	if (event == XACT_EVENT_PRE_PREPARE && changed)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has changed queues or handlers")));
	if (event == XACT_EVENT_ABORT)
		forget = true;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		changed = false;
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget = true;
}

/* Makes the caches empty where they may be stale. */
static void
check_caches(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	uint32 config = db ? pg_atomic_read_u32(&db->config) : 0;
	HASHCTL ctl = {0};

	if (cache_context == NULL)
	{
		RegisterXactCallback(at_xact_event, NULL);
		RegisterSubXactCallback(at_subxact_event, NULL);
		cache_context =
			AllocSetContextCreate(TopMemoryContext, "unrdf configuration", ALLOCSET_SMALL_SIZES);
	}
	if (handlers && config == cached_config && !forget && db)
		return;
	MemoryContextReset(cache_context);
	cached_config = config;
	forget = false;
	ctl.hcxt = cache_context;
	ctl.keysize = NAMEDATALEN;
	ctl.entrysize = sizeof(QueueName);
	queue_names = hash_create("unrdf queues", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ctl.keysize = sizeof(int32);
	ctl.entrysize = sizeof(KnownQueue);
	queues = hash_create("unrdf settings", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(QueueDoor);
	queue_doors = hash_create("unrdf doors", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(UnrdfHandler);
	handlers = hash_create("unrdf handlers", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
bump(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db == NULL)
		return;
	pg_atomic_fetch_add_u32(&db->config, 1);
	UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
}

/*
 * UnrdfConfigChanged makes every process of the database read its configuration again, once this transaction commits. Such a
 * transaction cannot be prepared: 0A000.
 */
void
UnrdfConfigChanged(void)
{
	check_caches();
	forget = changed = true;
	UnrdfAtCommit(bump, 0);
}

/* UnrdfCheckName raises 42602 for a name that is empty or long: they are short, so that caches can have them inline. */
void
UnrdfCheckName(text *name, const char *what)
{
	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a %s must have between 1 and %d bytes", what, NAMEDATALEN - 1)));
}

/* UnrdfCreateQueue makes a queue; max_running 0 means no limit. Raises 42710 where there is one of that name. */
void
UnrdfCreateQueue(text *name, int32 max_running)
{
	Datum values[3];
	bool isnull;

	UnrdfCheckName(name, "queue");
	PreventCommandIfReadOnly("unrdf.create_queue()");
	SPI_connect();
	values[0] = PointerGetDatum(name);
	if (UnrdfExecuteLatest(&find_queue, values, NULL) > 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("queue \"%s\" already exists", text_to_cstring(name))));
	UnrdfExecute(&insert_queue, values, NULL, false);
	if (max_running > 0)
	{
		values[0] = UnrdfResult(0, 0, &isnull);
		values[1] = Int32GetDatum(max_running);
		values[2] = ObjectIdGetDatum(GetUserId());
		UnrdfExecute(&set_limit, values, NULL, false);
	}
	SPI_finish();
	UnrdfConfigChanged();
}

/* UnrdfPauseQueue pauses a queue, or resumes it, drained or paused. Raises 42704 for an unknown one. */
void
UnrdfPauseQueue(text *name, bool paused)
{
	Datum values[3];

	PreventCommandIfReadOnly(paused ? "unrdf.pause_queue()" : "unrdf.resume_queue()");
	values[0] = Int32GetDatum(UnrdfQueueId(name));
	values[1] = BoolGetDatum(paused);
	values[2] = ObjectIdGetDatum(GetUserId());
	SPI_connect();
	UnrdfExecute(&set_paused, values, NULL, false);
	SPI_finish();
	UnrdfConfigChanged();
}

/*
 * UnrdfHandlerArgs returns how many arguments a handler function takes: 1 for (jsonb), 2 for (bigint, jsonb). Raises 42883
 * where it does not exist, 42P13 where it is no such function returning void or jsonb.
 */
int
UnrdfHandlerArgs(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	int nargs = 0;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("handler function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
		(proc->prorettype == VOIDOID || proc->prorettype == JSONBOID))
	{
		if (proc->pronargs == 1 && proc->proargtypes.values[0] == JSONBOID)
			nargs = 1;
		else if (proc->pronargs == 2 && proc->proargtypes.values[0] == INT8OID &&
				 proc->proargtypes.values[1] == JSONBOID)
			nargs = 2;
	}
	ReleaseSysCache(tuple);
	if (nargs == 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("%s cannot be a handler", format_procedure(function)),
			 errhint(
				 "A handler is a function (jsonb) or (bigint, jsonb) that returns void or jsonb.")));
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

/* UnrdfRefuseHandler raises why a handler that exists was not changed: 42501, or 55000 where it is of the other kind. */
void
UnrdfRefuseHandler(text *name)
{
	const UnrdfHandler *h = UnrdfHandlerByName(name);

	if (!has_privs_of_role(GetUserId(), h->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of handler \"%s\"", h->name)));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					OidIsValid(h->function) ? errmsg("handler \"%s\" has a function", h->name)
											: errmsg("handler \"%s\" is run outside", h->name),
					errhint("Its jobs would wait for ever. Take another name.")));
}

/* UnrdfRegisterHandler makes or changes a handler. Raises 42501 where it is somebody else's, 55000 where it is run outside. */
void
UnrdfRegisterHandler(text *name, Oid function, int32 max_attempts, int32 timeout_ms,
					 int32 backoff_ms, int32 backoff_cap_ms, bool own_transaction)
{
	Datum values[8];

	UnrdfCheckName(name, "handler");
	PreventCommandIfReadOnly("unrdf.register_handler()");
	(void) UnrdfHandlerArgs(function);
	if (!unrdf_proc_executable(function, GetUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for function %s", format_procedure(function))));
	values[0] = PointerGetDatum(name);
	values[1] = ObjectIdGetDatum(function);
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = Int32GetDatum(max_attempts);
	values[4] = Int32GetDatum(timeout_ms);
	values[5] = Int32GetDatum(backoff_ms);
	values[6] = Int32GetDatum(backoff_cap_ms);
	values[7] = BoolGetDatum(own_transaction);
	SPI_connect();
	if (UnrdfExecute(&upsert_handler, values, NULL, false) == 0)
		UnrdfRefuseHandler(name);
	SPI_finish();
	UnrdfConfigChanged();
}

/* Enters a queue of the last query's row in the cache. Inside SPI. */
static QueueDoor *
cache_door(void)
{
	bool isnull;
	int32 id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	QueueDoor *door = hash_search(queue_doors, &id, HASH_ENTER, NULL);

	door->closed = DatumGetBool(UnrdfResult(0, 1, &isnull));
	return door;
}

/*
 * UnrdfQueueTakesJobs raises 55000 for a queue that is drained or dropped. For who holds the lock on unrdf.job that writing takes
 * (closing.c says why).
 */
void
UnrdfQueueTakesJobs(int32 id)
{
	Datum value = Int32GetDatum(id);
	QueueDoor *door;
	char *name = NULL;
	bool isnull;

	check_caches();
	door = hash_search(queue_doors, &id, HASH_FIND, NULL);
	if (door && !door->closed)
		return;
	SPI_connect();
	if (UnrdfExecuteLatest(&find_door, &value, NULL) == 1)
	{
		door = cache_door();
		name = text_to_cstring(DatumGetTextPP(UnrdfResult(0, 2, &isnull)));
	}
	if (door == NULL || door->closed)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("queue \"%s\" takes no new jobs", name ? name : ""),
						errdetail("It is being drained, or was dropped."),
						errhint("unrdf.resume_queue() opens a queue that was drained.")));
	SPI_finish();
}

/* UnrdfQueueId returns a queue's id; raises 42704 for an unknown one. */
int32
UnrdfQueueId(text *name)
{
	char key[NAMEDATALEN];
	QueueName *entry;
	Datum value = PointerGetDatum(name);
	int32 id = -1;

	UnrdfCheckName(name, "queue");
	check_caches();
	text_to_cstring_buffer(name, key, sizeof(key));
	entry = hash_search(queue_names, key, HASH_FIND, NULL);
	if (entry)
		return entry->id;
	SPI_connect();
	if (UnrdfExecuteLatest(&find_queue, &value, NULL) == 1)
		id = cache_door()->id;
	SPI_finish();
	if (id < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("queue \"%s\" does not exist", key),
				 errhint("Create it with unrdf.create_queue.")));
	entry = hash_search(queue_names, key, HASH_ENTER, NULL);
	entry->id = id;
	return id;
}

/* Enters the handler of the last query's row in the cache. Inside SPI. */
static UnrdfHandler *
cache_handler(void)
{
	bool isnull;
	int32 id = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	UnrdfHandler *h = hash_search(handlers, &id, HASH_ENTER, NULL);

	text_to_cstring_buffer(DatumGetTextPP(UnrdfResult(0, 1, &isnull)), h->name, NAMEDATALEN);
	h->function = DatumGetObjectId(UnrdfResult(0, 2, &isnull));
	if (isnull)
		h->function = InvalidOid;
	h->owner = DatumGetObjectId(UnrdfResult(0, 3, &isnull));
	h->max_attempts = DatumGetInt32(UnrdfResult(0, 4, &isnull));
	h->timeout_ms = DatumGetInt32(UnrdfResult(0, 5, &isnull));
	h->backoff_ms = DatumGetInt32(UnrdfResult(0, 6, &isnull));
	h->backoff_cap_ms = DatumGetInt32(UnrdfResult(0, 7, &isnull));
	h->own_transaction = DatumGetBool(UnrdfResult(0, 8, &isnull));
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
	check_caches();
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

	if (!OidIsValid(h->function))
		return h->id;
	(void) UnrdfHandlerArgs(h->function);
	UnrdfCheckRights(h->function, GetUserId(), h->name);
	return h->id;
}

/* UnrdfHandlerById returns a handler, valid until the next call into this file; NULL for an unknown one. */
const UnrdfHandler *
UnrdfHandlerById(int32 id)
{
	UnrdfHandler *h;
	Datum value = Int32GetDatum(id);

	check_caches();
	h = hash_search(handlers, &id, HASH_FIND, NULL);
	if (h)
		return h;
	SPI_connect();
	if (UnrdfExecuteLatest(&handler_by_id, &value, NULL) == 1)
		h = cache_handler();
	SPI_finish();
	return h;
}

/* UnrdfQueueRowById returns a queue's settings, valid until the next call into this file. */
const UnrdfQueueRow *
UnrdfQueueRowById(int32 id)
{
	KnownQueue *known;
	UnrdfQueueRow *row;

	check_caches();
	known = hash_search(queues, &id, HASH_FIND, NULL);
	if (known)
		return known->row;
	row = UnrdfQueueRowRead(id, cache_context);
	known = hash_search(queues, &id, HASH_ENTER, NULL);
	known->row = row;
	return row;
}
