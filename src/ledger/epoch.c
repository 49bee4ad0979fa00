/*
 * epoch.c: the number that grows with every server start and promotion.
 *
 * One row per start of the server in which this database did work; started_at is the server's start token, by which
 * everybody recognises the row of now. Whoever first needs the row makes it, in their own transaction, under
 * UNRDF_LOCK_EPOCH; shared memory has the number from that commit on. If the maker rolls back or dies, the row is gone with
 * what needed it, and the next one makes it. A database that was never used has no row, so that a dump can be loaded into
 * it. The origin is drawn once, with the first epoch, and inherited: a restored log goes on under its origin.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/append.h"
#include "base/commit.h"
#include "base/guc.h"
#include "base/lock.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "crypto/digest.h"
#include "ledger/epoch.h"

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
	UnrdfAppendSet(slot, EPOCH_TIMELINE, Int32GetDatum((int32) GetWALInsertionTimeLine()));
	UnrdfAppendSet(slot, EPOCH_STARTED_AT,
				   TimestampTzGetDatum((TimestampTz) UnrdfShmem->start_token));
	UnrdfAppendEnd(append);
	CommandCounterIncrement();
}

/* Makes this server start's row, or finds it. Inside SPI. */
static int32
ensure_row(void)
{
	text *origin;
	bool isnull;
	int32 epoch = 1;

	UnrdfLock(UNRDF_LOCK_EPOCH, 0);
	if (UnrdfExecuteLatest(&newest, NULL, NULL) == 1)
	{
		epoch = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		if (DatumGetTimestampTz(UnrdfResult(0, 2, &isnull)) ==
			(TimestampTz) UnrdfShmem->start_token)
			return epoch;
		epoch++;
		origin = DatumGetTextPP(UnrdfResult(0, 1, &isnull));
	}
	else
		origin = new_origin();
	write_row(epoch, origin);
	return epoch;
}

/* UnrdfCurrentEpoch returns the epoch of this server start, making its row where it is the first to need it. */
int32
UnrdfCurrentEpoch(void)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	int32 epoch = db ? (int32) pg_atomic_read_u32(&db->epoch) : 0;

	if (epoch != 0)
		return epoch;
	UnrdfRequirePreload();
	SPI_connect();
	epoch = ensure_row();
	SPI_finish();
	UnrdfAtCommit(publish, epoch);
	return epoch;
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
