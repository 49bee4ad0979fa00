/*
 * failover.c: a promotion leaves a receipt of its own.
 *
 * A server that works on another timeline than the epoch before it was promoted. What its receipt says: from which node and
 * timeline to which, where the old timeline ended, when what was seen (as far as there is a sentinel), and whether the log goes
 * on from the last checkpoint, here and in the stores outside. unrdf.failovers is a view of these receipts: what it shows can be
 * proved like any other.
 *
 * Written by the publisher, which compares the log with its last checkpoint after every start: once that has an answer, or
 * PATIENCE_MICROS after the promotion if it has none (a store is away). In one transaction, after the epoch's own; the subject
 * has the epoch's number, so a publisher that died and its successor write one receipt together.
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/plan.h"
#include "base/xact.h"
#include "crypto/canonical.h"
#include "ledger/checkpoint.h"
#include "ledger/epoch.h"
#include "ledger/failover.h"
#include "ledger/log.h"
#include "ledger/receipt.h"
#include "ledger/record.h"

#define PATIENCE_MICROS INT64CONST(60000000)

/* The epoch of this start and the last one before it. */
typedef struct Promotion
{
	int32 epoch; /* 0: not made yet */
	char *node;
	int32 timeline;
	char *from_node;
	int32 from_timeline;
} Promotion;

static UnrdfPlan find_before = {
	"SELECT node, timeline, system_identifier, epoch FROM unrdf.epoch"
	" WHERE started_at OPERATOR(pg_catalog.<>) $1 ORDER BY epoch DESC LIMIT 1",
	1,
	{TIMESTAMPTZOID}};
static UnrdfPlan find_own = {"SELECT node, timeline, epoch FROM unrdf.epoch"
							 " WHERE started_at OPERATOR(pg_catalog.=) $1 ORDER BY epoch LIMIT 1",
							 1,
							 {TIMESTAMPTZOID}};
static UnrdfPlan find_receipt = {
	"SELECT FROM unrdf.receipt WHERE subject OPERATOR(pg_catalog.=) $1 LIMIT 1", 1, {TEXTOID}};

/* Whether this start of the server is a promotion of what this database's log was written on before. */
static bool
find_promotion(Promotion *p)
{
	Datum token = TimestampTzGetDatum((TimestampTz) UnrdfShmem->start_token);
	bool found = false;
	bool isnull;

	memset(p, 0, sizeof(*p));
	SPI_connect();
	if (UnrdfExecute(&find_before, &token, NULL, true) == 1)
	{
		p->from_node = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		p->from_timeline = DatumGetInt32(UnrdfResult(0, 1, &isnull));
		found = (uint64) DatumGetInt64(UnrdfResult(0, 2, &isnull)) == GetSystemIdentifier() &&
				p->from_timeline < (int32) GetWALInsertionTimeLine();
		p->from_node = MemoryContextStrdup(TopTransactionContext, p->from_node);
	}
	if (found && UnrdfExecute(&find_own, &token, NULL, true) == 1)
	{
		p->node = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		p->node = MemoryContextStrdup(TopTransactionContext, p->node);
		p->timeline = DatumGetInt32(UnrdfResult(0, 1, &isnull));
		p->epoch = DatumGetInt32(UnrdfResult(0, 2, &isnull));
	}
	SPI_finish();
	return found;
}

static bool
is_recorded(text *subject)
{
	Datum value = PointerGetDatum(subject);
	bool found;

	SPI_connect();
	found = UnrdfExecute(&find_receipt, &value, NULL, true) > 0;
	SPI_finish();
	return found;
}

/* Appends a member that is a moment; none where there is none. */
static void
append_time(StringInfo json, const char *name, TimestampTz t)
{
	char text[64];
	UnrdfCanon c = {text, sizeof(text), 0};

	if (t == 0)
		return;
	unrdf_canon_time(&c, UnrdfUnixMicros(t));
	appendStringInfo(json, ", \"%s\": %.*s", name, (int) c.len, text);
}

static void
append_text(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, ", \"%s\": ", name);
	escape_json(json, value);
}

static void
append_tree(StringInfo json, const char *name, uint64 size, const uint8 *root)
{
	char hex[2 * UNRDF_HASH_LEN + 1] = {0};

	hex_encode((const char *) root, UNRDF_HASH_LEN, hex);
	appendStringInfo(json, ", \"%s\": {\"size\": " UINT64_FORMAT ", \"root\": \"%s\"}", name, size,
					 hex);
}

/* What the publisher has found out; NULL while it has not. reason is at least UNRDF_REASON_MAX. */
static const char *
verdict(bool patient, char *reason)
{
	UnrdfDatabase *db = UnrdfMyDatabase();
	UnrdfPublishing publishing;

	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	publishing = db->publishing;
	strlcpy(reason, db->publishing_reason, UNRDF_REASON_MAX);
	LWLockRelease(UnrdfShmem->lock);
	if (publishing == UNRDF_PUBLISHING_SIGNED || publishing == UNRDF_PUBLISHING_UNSIGNED)
		return "consistent";
	if (publishing == UNRDF_PUBLISHING_REFUSED)
		return "refused";
	return patient ? NULL : "unchecked";
}

/* The last position of the timeline that the promotion left. */
static XLogRecPtr
switch_point(const Promotion *p)
{
	return tliSwitchPoint(p->from_timeline, readTimeLineHistory(p->timeline), NULL);
}

static Jsonb *
payload(const Promotion *p, const UnrdfFailoverTimes *times, const char *found, const char *reason)
{
	StringInfoData json;
	UnrdfLogHead head;
	UnrdfPublished last;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"from_timeline\": %d, \"to_timeline\": %d", p->from_timeline,
					 p->timeline);
	append_text(&json, "from_node", p->from_node);
	append_text(&json, "to_node", p->node);
	append_text(&json, "position", psprintf("%X/%X", LSN_FORMAT_ARGS(switch_point(p))));
	append_time(&json, "heard_at", times->heard);
	append_time(&json, "noticed_at", times->noticed);
	append_time(&json, "elected_at", times->elected);
	append_time(&json, "promoted_at", times->promoted);
	append_time(&json, "first_write_at",
				(TimestampTz) pg_atomic_read_u64(&UnrdfMyDatabase()->first_write));
	append_text(&json, "log", found);
	if (*reason)
		append_text(&json, "reason", reason);
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	append_tree(&json, "tree", head.size, head.root);
	if (UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, UnrdfLogOrigin(&head), NULL, &last))
		append_tree(&json, "checkpoint", last.checkpoint.size, last.checkpoint.root);
	appendStringInfoChar(&json, '}');
	return UnrdfJsonbOf(json.data);
}

/*
 * UnrdfFailoverRecord writes the receipt of the promotion that this start of the server was, in transactions of its own. False
 * while that has to wait: call it again soon.
 */
bool
UnrdfFailoverRecord(const UnrdfFailoverTimes *times)
{
	static int64 since = 0;
	char reason[UNRDF_REASON_MAX];
	const char *found;
	Promotion p;
	bool promoted;
	text *subject;

	if (since == 0)
		since = UnrdfTicks();
	found = verdict(UnrdfTicks() - since < PATIENCE_MICROS, reason);
	UnrdfXactBegin("looking for a failover");
	promoted = find_promotion(&p);
	UnrdfXactCommit();
	if (!promoted)
		return true;
	UnrdfEnsureEpoch();
	if (found == NULL)
		return false;
	UnrdfXactBegin("recording a failover");
	subject = NULL;
	if (find_promotion(&p) && p.epoch != 0)
		subject = cstring_to_text(psprintf(UNRDF_FAILOVER_SUBJECT_PREFIX "%d", p.epoch));
	if (subject && !is_recorded(subject))
		(void) UnrdfWriteReceipt(0, UNRDF_CREATE, subject, true, payload(&p, times, found, reason),
								 cstring_to_text("failover"));
	UnrdfXactCommit();
	return true;
}
