/*
 * restore.c: loading a dump.
 *
 * A dump's rows come by COPY, table after table in separate transactions, into a database whose workers may be running
 * since CREATE EXTENSION. Jobs must not run before the receipts that say they already did are there.
 *
 * Our own code never fires statement triggers on these tables, COPY does. So the first loaded row set puts a row into
 * unrdf.restoring in its own transaction: whoever sees a restored job also sees that row, and does nothing. The refresh of
 * the materialized view unrdf.dump_end ends it, which comes after all data even where pg_restore loads tables side by side (no
 * order of tables would: it knows none among them), or unrdf.finish_restore() does by hand. Both note
 * the highest stored transaction id in unrdf.restored and make the processes start over with new followers, as restored
 * rows are not new by their transaction ids. Dying in the middle leaves the row in unrdf.restoring: nothing runs until
 * somebody finishes the restore.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"

#include "base/catalog.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "queue/config.h"
#include "queue/depth.h"
#include "worker/restore.h"

static UnrdfPlan read_state = {
	"SELECT EXISTS (SELECT FROM unrdf.restoring), pg_catalog.count(*), coalesce(pg_catalog.max(xid), '0')"
	" FROM unrdf.restored",
	0};
static UnrdfPlan begin_restore = {"INSERT INTO unrdf.restoring (since) SELECT pg_catalog.now()"
								  " WHERE NOT EXISTS (SELECT FROM unrdf.restoring)",
								  0};
static UnrdfPlan end_restore = {"DELETE FROM unrdf.restoring", 0};
static UnrdfPlan note_restore = {
	"INSERT INTO unrdf.restored (xid, event) SELECT coalesce("
	"(SELECT x.xid FROM ((SELECT xid FROM unrdf.receipt ORDER BY xid DESC LIMIT 1) UNION ALL"
	" (SELECT xid FROM unrdf.job ORDER BY xid DESC LIMIT 1) UNION ALL"
	" (SELECT xid FROM unrdf.waiting_job ORDER BY xid DESC LIMIT 1)) AS x ORDER BY x.xid DESC LIMIT 1), '0'),"
	" coalesce((SELECT pg_catalog.max(id) FROM unrdf.event), 0)",
	0};

/* UnrdfRestoreRead reads what the newest snapshot sees of restores. */
void
UnrdfRestoreRead(UnrdfRestoreState *state)
{
	bool isnull;

	SPI_connect();
	UnrdfExecuteLatest(&read_state, NULL, NULL);
	state->running = DatumGetBool(UnrdfResult(0, 0, &isnull));
	state->count = DatumGetInt64(UnrdfResult(0, 1, &isnull));
	state->until = DatumGetUInt64(UnrdfResult(0, 2, &isnull));
	SPI_finish();
}

/*
 * UnrdfRestoreRuns tells whether the newest snapshot sees a restore under way. Where there never was one this costs a look at
 * the size of an empty table.
 */
bool
UnrdfRestoreRuns(void)
{
	UnrdfRestoreState state;

	if (UnrdfNeverFilled(UNRDF_RESTORING))
		return false;
	UnrdfRestoreRead(&state);
	return state.running;
}

/* UnrdfRestoreBegins holds everything back from this transaction's commit on. */
void
UnrdfRestoreBegins(void)
{
	SPI_connect();
	UnrdfExecute(&begin_restore, NULL, NULL, false);
	SPI_finish();
	UnrdfDepthForgetAtCommit();
	UnrdfConfigChanged();
}

/* UnrdfFinishRestore lets the workers go on, and start over, from this transaction's commit on. */
void
UnrdfFinishRestore(void)
{
	PreventCommandIfReadOnly("unrdf.finish_restore()");
	SPI_connect();
	UnrdfExecute(&end_restore, NULL, NULL, false);
	UnrdfExecute(&note_restore, NULL, NULL, false);
	SPI_finish();
	UnrdfDepthForgetAtCommit();
	UnrdfConfigChanged();
}
