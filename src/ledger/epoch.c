/*
 * epoch.c: the number that grows with every server start and promotion.
 *
 * One row per start of the server in which this database did work; started_at is the server's start token, by which
 * everybody recognises the row of now. It is made under UNRDF_LOCK_EPOCH, and all who need it wait for the end of the
 * transaction that makes it. So workers make it in one of its own, and a session, whose transaction may last for hours or
 * be prepared, asks the dispatcher to. Only where that does not happen in ASK_MILLIS (there are no workers, a dump is being
 * loaded, the extension was created in this transaction) the session makes the row itself. Shared memory has the number
 * once a worker's transaction has made or found the row: a session may yet roll it back, or a savepoint.
 *
 * A database that was never used has no row, so that a dump can be loaded into it. The origin is drawn with the first epoch,
 * and inherited: a restored log, or a copied database's, goes on under its origin. But it publishes nothing under it, since
 * the one that it was copied from may go on as well: two logs of one name. UnrdfOriginNew is the way on.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/xact.h"
#include "crypto/digest.h"
#include "ledger/epoch.h"

#define ASK_MILLIS 2000

static UnrdfPlan newest = {
	"SELECT epoch, origin, started_at FROM unrdf.epoch ORDER BY epoch DESC LIMIT 1", 0};
static UnrdfPlan find = {
	"SELECT origin, node, system_identifier FROM unrdf.epoch WHERE epoch OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};

/* Rows of unrdf.epoch never change, so they are kept for the process's life, or until the table is another. */
static HTAB *cache = NULL;
static Oid cached_of = InvalidOid;

static void
publish(uint64 epoch)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		pg_atomic_write_u32(&db->epoch, (uint32) epoch);
}

static text *
node_name(void)
{
	char host[256] = "";
	const char *cluster = GetConfigOption("cluster_name", true, false);

	if (unrdf_node_name && *unrdf_node_name)
		return cstring_to_text(unrdf_node_name);
	if (cluster && *cluster)
		return cstring_to_text(cluster);
	gethostname(host, sizeof(host) - 1);
	return cstring_to_text(*host ? host : "localhost");
}

static text *
new_origin(void)
{
	uint8 random[16];
	char text[64] = "unrdf.local/";

	if (unrdf_random(random, sizeof(random)) != 0)
		elog(ERROR, "could not generate random bytes");
	hex_encode((char *) random, sizeof(random), text + strlen("unrdf.local/"));
	text[strlen("unrdf.local/") + 2 * sizeof(random)] = '\0';
	return cstring_to_text(text);
}

static void
write_row(int32 epoch, text *origin)
{
	UnrdfAppend *append = UnrdfAppendBegin(UNRDF_EPOCH, 1);
	TupleTableSlot *slot = UnrdfAppendRow(append);

	UnrdfAppendSet(slot, EPOCH_EPOCH, Int32GetDatum(epoch));
	UnrdfAppendSet(slot, EPOCH_ORIGIN, PointerGetDatum(origin));
	UnrdfAppendSet(slot, EPOCH_NODE, PointerGetDatum(node_name()));
	UnrdfAppendSet(slot, EPOCH_SYSTEM_IDENTIFIER, Int64GetDatum((int64) GetSystemIdentifier()));
	UnrdfAppendSet(slot, EPOCH_DATABASE, ObjectIdGetDatum(MyDatabaseId));
	UnrdfAppendSet(slot, EPOCH_TIMELINE, Int32GetDatum((int32) GetWALInsertionTimeLine()));
	UnrdfAppendSet(slot, EPOCH_STARTED_AT,
				   TimestampTzGetDatum((TimestampTz) UnrdfShmem->start_token));
	UnrdfAppendEnd(append);
	CommandCounterIncrement();
}

/* Returns the epoch of this server start's row, or 0 and that of the newest, or 0, in *before. Inside SPI. */
static int32
find_row(int32 *before)
{
	bool isnull;

	*before = 0;
	if (UnrdfExecuteLatest(&newest, NULL, NULL) == 0)
		return 0;
	*before = DatumGetInt32(UnrdfResult(0, 0, &isnull));
	return DatumGetTimestampTz(UnrdfResult(0, 2, &isnull)) == (TimestampTz) UnrdfShmem->start_token
			   ? *before
			   : 0;
}

/* Makes this server start's row in the current transaction, or finds it. */
static int32
ensure_row(void)
{
	bool isnull;
	int32 before;
	int32 epoch;

	SPI_connect();
	UnrdfLock(UNRDF_LOCK_EPOCH, 0);
	epoch = find_row(&before);
	if (epoch == 0)
	{
		epoch = before + 1;
		write_row(epoch, before ? DatumGetTextPP(UnrdfResult(0, 1, &isnull)) : new_origin());
	}
	SPI_finish();
	return epoch;
}

/* UnrdfEnsureEpoch makes this server start's row, in a transaction of its own. For workers. */
void
UnrdfEnsureEpoch(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db == NULL || pg_atomic_read_u32(&db->epoch) != 0)
		return;
	UnrdfXactBegin("beginning an epoch");
	UnrdfAtCommit(publish, ensure_row());
	UnrdfXactCommit();
	if (pg_atomic_read_u64(&db->first_write) == 0)
		pg_atomic_write_u64(&db->first_write, (uint64) UnrdfNow());
}

/*
 * UnrdfOriginNew begins an epoch under a new origin, from this transaction's commit on, and returns it. What is integrated
 * from then on is of a log of that name, which has all of the old one's leaves.
 */
text *
UnrdfOriginNew(void)
{
	text *origin = new_origin();
	int32 before;
	int32 epoch;

	UnrdfRequirePreload();
	SPI_connect();
	UnrdfLock(UNRDF_LOCK_EPOCH, 0);
	epoch = find_row(&before);
	epoch = Max(epoch, before) + 1;
	SPI_finish();
	write_row(epoch, origin);
	UnrdfAtCommit(publish, epoch);
	return origin;
}

/* Returns the epoch of this server start, once the dispatcher has made its row; 0 where it does not. */
static int32
ask_for_row(void)
{
	int64 until = UnrdfTicks() + ASK_MILLIS * INT64CONST(1000);
	uint32 epoch = 0;

	while (epoch == 0 && UnrdfTicks() < until)
	{
		UnrdfDatabase *db = UnrdfMyDatabase();

		if (db)
		{
			pg_atomic_write_u32(&db->wants_epoch, 1);
			UnrdfSetLatch(&db->processes[UNRDF_DISPATCHER].latch);
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 5,
						 unrdf_wait_event("UnrdfEpoch"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		db = UnrdfMyDatabase();
		epoch = db ? pg_atomic_read_u32(&db->epoch) : 0;
	}
	return (int32) epoch;
}

/* UnrdfCurrentEpoch returns the epoch of this server start. Its row may be one of the current transaction's. */
int32
UnrdfCurrentEpoch(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	int32 epoch = db ? (int32) pg_atomic_read_u32(&db->epoch) : 0;
	int32 before;

	if (epoch != 0)
		return epoch;
	UnrdfRequirePreload();
	SPI_connect();
	epoch = find_row(&before);
	SPI_finish();
	if (epoch == 0)
		epoch = ask_for_row();
	return epoch != 0 ? epoch : ensure_row();
}

/* UnrdfEpochFind returns an epoch's row, for the process's life; NULL where there is none. */
const UnrdfEpoch *
UnrdfEpochFind(int32 epoch)
{
	UnrdfEpoch *entry;
	Datum value = Int32GetDatum(epoch);

	if (cache && cached_of != UnrdfRelid(UNRDF_EPOCH))
	{
		hash_destroy(cache);
		cache = NULL;
	}
	if (cache == NULL)
	{
		HASHCTL ctl = {
			.keysize = sizeof(int32), .entrysize = sizeof(UnrdfEpoch), .hcxt = TopMemoryContext};

		cached_of = UnrdfRelid(UNRDF_EPOCH);
		cache = hash_create("unrdf epochs", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(cache, &epoch, HASH_FIND, NULL);
	if (entry)
		return entry;
	SPI_connect();
	/* read-only: verification runs in parallel workers too; an epoch made in this transaction is seen after its command */
	if (UnrdfExecute(&find, &value, NULL, true) == 1)
	{
		char *origin = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		char *node = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		bool isnull;

		entry = hash_search(cache, &epoch, HASH_ENTER, NULL);
		entry->origin = MemoryContextStrdup(TopMemoryContext, origin);
		entry->node = MemoryContextStrdup(TopMemoryContext, node);
		entry->system_identifier = (uint64) DatumGetInt64(UnrdfResult(0, 2, &isnull));
	}
	SPI_finish();
	return entry;
}

/* UnrdfEpochGet returns an epoch's row, for the process's life. Raises XX001 where there is none. */
const UnrdfEpoch *
UnrdfEpochGet(int32 epoch)
{
	const UnrdfEpoch *e = UnrdfEpochFind(epoch);

	if (e == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("epoch %d does not exist", epoch)));
	return e;
}

/* UnrdfEpochForget empties the cache: verification trusts no row that it has not read itself. */
void
UnrdfEpochForget(void)
{
	HASH_SEQ_STATUS entries;
	UnrdfEpoch *entry;

	if (cache == NULL)
		return;
	hash_seq_init(&entries, cache);
	while ((entry = hash_seq_search(&entries)) != NULL)
	{
		pfree(entry->origin);
		pfree(entry->node);
		hash_search(cache, &entry->epoch, HASH_REMOVE, NULL);
	}
}
