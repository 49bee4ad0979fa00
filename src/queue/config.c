/*
 * config.c: queues, and how processes know what they may keep of configuration.
 *
 * Queues and handlers change rarely and are read for every job, so each process caches handlers (handler.c), and queues' ids and settings.
 * UnrdfDatabase.config counts committed changes; a process that finds another count than it had forgets everything, as it
 * does when a transaction of its own aborts (it may have cached what that transaction wrote).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/commit.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/room.h"

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
#define DOOR_COLUMNS                                                       \
	"SELECT q.id, coalesce(s.draining, false) OR q.dropped_at IS NOT NULL" \
	" FROM unrdf.queue AS q LEFT JOIN unrdf.queue_state AS s ON s.queue OPERATOR(pg_catalog.=) q.id "
static UnrdfPlan find_queue = {
	DOOR_COLUMNS "WHERE q.name OPERATOR(pg_catalog.=) $1 AND q.dropped_at IS NULL", 1, {TEXTOID}};
static UnrdfPlan find_door = {DOOR_COLUMNS "WHERE q.id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan queue_name = {
	"SELECT name FROM unrdf.queue WHERE id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
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
static MemoryContext cache_context = NULL;
static HTAB *queue_names = NULL;
static HTAB *queues = NULL; /* by id; so the next */
static HTAB *queue_doors = NULL;
static UnrdfConfigSeen seen = {0};
/* counts what made this process's caches worthless without a change that others committed */
static uint32 forgets = 0;
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
		forgets++;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		changed = false;
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forgets++;
}

/*
 * UnrdfConfigFresh tells whether what was cached when it last said no is still true. A cache that hears no makes itself empty.
 */
bool
UnrdfConfigFresh(UnrdfConfigSeen *cache)
{
	static bool registered = false;
	UnrdfDatabase *db = UnrdfMyDatabase();
	uint32 config = db ? pg_atomic_read_u32(&db->config) : 0;

	if (!registered)
	{
		RegisterXactCallback(at_xact_event, NULL);
		RegisterSubXactCallback(at_subxact_event, NULL);
		registered = true;
	}
	if (db && cache->filled && cache->config == config && cache->forgets == forgets)
		return true;
	cache->filled = true;
	cache->config = config;
	cache->forgets = forgets;
	return false;
}

/* Makes the caches of queues empty where they may be stale. */
static void
check_cache(void)
{
	HASHCTL ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(QueueName)};

	if (UnrdfConfigFresh(&seen))
		return;
	if (cache_context == NULL)
		cache_context =
			AllocSetContextCreate(TopMemoryContext, "unrdf queues", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache_context);
	ctl.hcxt = cache_context;
	queue_names = hash_create("unrdf queues", 16, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ctl.keysize = sizeof(int32);
	ctl.entrysize = sizeof(KnownQueue);
	queues = hash_create("unrdf settings", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(QueueDoor);
	queue_doors = hash_create("unrdf doors", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
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
	(void) UnrdfConfigFresh(&seen);
	forgets++;
	changed = true;
	UnrdfAtCommit(bump, 0);
	UnrdfRoomChanged();
}

/* UnrdfCheckName raises 42602 for a name that is empty or long: caches have them inline. */
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

	check_cache();
	door = hash_search(queue_doors, &id, HASH_FIND, NULL);
	if (door && !door->closed)
		return;
	SPI_connect();
	if (UnrdfExecuteLatest(&find_door, &value, NULL) == 1)
		door = cache_door();
	if (door == NULL || door->closed)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("queue \"%s\" takes no new jobs", UnrdfQueueName(id)),
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
	check_cache();
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

/* UnrdfQueueName returns a queue's name, palloc'd, or NULL for one that is gone. */
char *
UnrdfQueueName(int32 id)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = Int32GetDatum(id);
	char *name = NULL;
	bool isnull;

	SPI_connect();
	if (UnrdfExecuteLatest(&queue_name, &value, NULL) == 1)
		name = MemoryContextStrdup(context, TextDatumGetCString(UnrdfResult(0, 0, &isnull)));
	SPI_finish();
	return name;
}

/* UnrdfQueueRowById returns a queue's settings, valid until the next call into this file. */
const UnrdfQueueRow *
UnrdfQueueRowById(int32 id)
{
	KnownQueue *known;
	UnrdfQueueRow *row;

	check_cache();
	known = hash_search(queues, &id, HASH_FIND, NULL);
	if (known)
		return known->row;
	row = UnrdfQueueRowRead(id, cache_context);
	known = hash_search(queues, &id, HASH_ENTER, NULL);
	known->row = row;
	return row;
}
