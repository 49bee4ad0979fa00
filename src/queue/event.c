/*
 * event.c: events, and who may read them.
 *
 * An event is a row that is written once, in the emitter's transaction; nobody is looked up and no lock is taken, so emitting costs the
 * same whoever listens. Who listens is the courier's business (worker/courier.c).
 *
 * Who may emit may use any name: an event says who emitted it, and so does the job that comes of it. What a role may read is decided
 * when events are read, by the rights of that moment: events of roles whose rights it has, and events with a name that was granted to
 * one of these roles. So a subscription never shows its owner more than the view unrdf.events does.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"

#include "base/append.h"
#include "base/clock.h"
#include "base/commit.h"
#include "base/compat.h"
#include "base/kept.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/shmem.h"
#include "base/testkit.h"
#include "queue/event.h"
#include "queue/event_retention.h"
#include "queue/job.h"

static UnrdfPlan is_restoring = {"SELECT 1 FROM unrdf.restoring", 0};
static UnrdfPlan list_grants = {"SELECT grantee, pattern FROM unrdf.event_grant", 0};
static UnrdfPlan grant_pattern = {
	"INSERT INTO unrdf.event_grant (grantee, pattern, granted_by) VALUES ($1, $2, $3)"
	" ON CONFLICT DO NOTHING",
	3,
	{REGROLEOID, TEXTOID, REGROLEOID}};
static UnrdfPlan revoke_pattern = {
	"DELETE FROM unrdf.event_grant WHERE grantee OPERATOR(pg_catalog.=) $1"
	" AND pattern OPERATOR(pg_catalog.=) $2",
	2,
	{REGROLEOID, TEXTOID}};

static void
wake_courier(uint64 arg)
{
	UnrdfDatabase *db = UnrdfMyDatabase();

	if (db)
		UnrdfSetLatch(&db->processes[UNRDF_COURIER].latch);
}

/* UnrdfWakeCourier has the courier look once this transaction commits. */
void
UnrdfWakeCourier(void)
{
	UnrdfAtCommit(wake_courier, 0);
}

static void
check_length(const text *name, const char *what)
{
	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > UNRDF_EVENT_NAME_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("%s must have between 1 and %d bytes", what, UNRDF_EVENT_NAME_MAX)));
}

static void
check_event_name(const text *name)
{
	check_length(name, "name of an event");
	if (memchr(VARDATA_ANY(name), '*', VARSIZE_ANY_EXHDR(name)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("name of an event must not contain \"*\"")));
}

/* UnrdfCheckPattern raises 42602 for what is neither a name nor ends in ".*" nor is "*". */
void
UnrdfCheckPattern(text *pattern)
{
	const char *bytes = VARDATA_ANY(pattern);
	int len = VARSIZE_ANY_EXHDR(pattern);
	const char *star;

	check_length(pattern, "name of events");
	star = memchr(bytes, '*', len);
	if (star && (star != bytes + len - 1 || (len > 1 && star[-1] != '.')))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("\"%s\" names no events", text_to_cstring(pattern)),
						errhint("It is a name, or \"order.*\" for all below one, or \"*\".")));
}

/* UnrdfPatternMatches tells whether an event's name is one of a pattern's. */
bool
UnrdfPatternMatches(const text *pattern, const text *name)
{
	const char *p = VARDATA_ANY(pattern);
	int plen = VARSIZE_ANY_EXHDR(pattern);
	int len = VARSIZE_ANY_EXHDR(name);

	if (p[plen - 1] == '*')
		return len >= plen - 1 && memcmp(p, VARDATA_ANY(name), plen - 1) == 0;
	return len == plen && memcmp(p, VARDATA_ANY(name), len) == 0;
}

/* While a dump is loaded nobody can know an event that is new from one that is not. */
static void
refuse_while_restoring(void)
{
	bool restoring;

	if (UnrdfNeverFilled(UNRDF_RESTORING))
		return;
	SPI_connect();
	restoring = UnrdfExecuteLatest(&is_restoring, NULL, NULL) > 0;
	SPI_finish();
	if (restoring)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot emit events while a restore is under way"),
				 errhint("After a data-only or partial restore, call unrdf.finish_restore().")));
}

/* Writes a payload apart from the event's row. */
static void
keep_payload(int64 id, TimestampTz at, TimestampTz until, Jsonb *payload)
{
	UnrdfKept *kept = UnrdfKeptBegin(1);

	UnrdfKeptWrite(kept, id, UNRDF_KEPT_EVENT, at, until, payload);
	UnrdfKeptEnd(kept);
}

/*
 * UnrdfEmit writes an event in the current transaction and returns its id. payload may be NULL. Raises 42602 for a name that is none,
 * 54000 and 22003 for a payload that no job could carry, 55000 while a dump is loaded.
 */
int64
UnrdfEmit(text *name, Jsonb *payload)
{
	UnrdfAppend *append;
	TupleTableSlot *slot;
	StringInfoData scratch;
	TimestampTz now = UnrdfNow();
	int64 keep;
	int64 id;

	UnrdfRequirePreload();
	PreventCommandIfReadOnly("unrdf.emit()");
	check_event_name(name);
	if (payload)
	{
		initStringInfo(&scratch);
		UnrdfCheckArgs(payload, &scratch);
	}
	refuse_while_restoring();
	keep = payload ? UnrdfEventKeep(name) : -1;
	append = UnrdfAppendBegin(UNRDF_EVENT, 1);
	slot = UnrdfAppendRow(append);
	id = nextval_internal(UnrdfRelid(UNRDF_EVENT_ID), false);
	UnrdfAppendSet(slot, EVENT_ID, Int64GetDatum(id));
	UnrdfAppendSet(slot, EVENT_XID,
				   UInt64GetDatum(U64FromFullTransactionId(GetTopFullTransactionId())));
	UnrdfAppendSet(slot, EVENT_AT, TimestampTzGetDatum(now));
	UnrdfAppendSet(slot, EVENT_EMITTER, ObjectIdGetDatum(GetUserId()));
	UnrdfAppendSet(slot, EVENT_NAME, PointerGetDatum(name));
	if (keep >= 0)
	{
		TimestampTz until = now + keep * USECS_PER_SEC;

		UnrdfAppendSet(slot, EVENT_KEPT_UNTIL, TimestampTzGetDatum(until));
		keep_payload(id, now, until, payload);
	}
	else if (payload)
		UnrdfAppendSet(slot, EVENT_PAYLOAD, JsonbPGetDatum(payload));
	UnrdfAppendEnd(append);
	UnrdfTestPoint(UNRDF_POINT_EMIT);
	UnrdfWakeCourier();
	return id;
}

/* UnrdfEventRead reads a row, without a payload that is apart from it. name and payload point into the slot or the current memory context. */
void
UnrdfEventRead(TupleTableSlot *slot, UnrdfEvent *event)
{
	Datum *v;

	slot_getallattrs(slot);
	v = slot->tts_values;
	event->id = DatumGetInt64(v[EVENT_ID]);
	event->at = DatumGetTimestampTz(v[EVENT_AT]);
	event->emitter = DatumGetObjectId(v[EVENT_EMITTER]);
	event->name = DatumGetTextPP(v[EVENT_NAME]);
	event->xid = DatumGetUInt64(v[EVENT_XID]);
	event->payload = slot->tts_isnull[EVENT_PAYLOAD] ? NULL : DatumGetJsonbP(v[EVENT_PAYLOAD]);
	event->kept_until =
		slot->tts_isnull[EVENT_KEPT_UNTIL] ? 0 : DatumGetTimestampTz(v[EVENT_KEPT_UNTIL]);
}

/* UnrdfEventLoad finds the payload of an event where it is apart from its row; false where it was kept for long enough. */
bool
UnrdfEventLoad(UnrdfEvent *event)
{
	if (event->kept_until == 0)
		return true;
	event->payload = UnrdfKeptFind(event->id, UNRDF_KEPT_EVENT, event->at, event->kept_until);
	return event->payload != NULL;
}

/* UnrdfEventFetch reads an event under the active snapshot into the current memory context; false where there is none. */
bool
UnrdfEventFetch(int64 id, UnrdfEvent *event)
{
	UnrdfIdLookup events;
	bool found;

	UnrdfIdLookupBegin(&events, UNRDF_EVENT, UNRDF_EVENT_PKEY);
	found = UnrdfIdLookupFind(&events, id);
	if (found)
	{
		TupleTableSlot *copy = MakeSingleTupleTableSlot(
			CreateTupleDescCopy(events.rows.slot->tts_tupleDescriptor), &TTSOpsHeapTuple);

		ExecCopySlot(copy, events.rows.slot);
		UnrdfEventRead(copy, event);
	}
	UnrdfIdLookupEnd(&events);
	return found;
}

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	(void) pushJsonbValue(state, WJB_KEY, &v);
}

static void
push_string(JsonbParseState **state, const char *key, char *bytes, int len)
{
	JsonbValue v;

	push_key(state, key);
	v.type = jbvString;
	v.val.string.val = bytes;
	v.val.string.len = len;
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/* UnrdfEventArgs makes the arguments of an event's job, in the current memory context. */
Jsonb *
UnrdfEventArgs(const UnrdfEvent *event)
{
	static const int utc = 0;
	JsonbParseState *state = NULL;
	JsonbValue v;
	char at[MAXDATELEN + 1];
	char *emitter = GetUserNameFromId(event->emitter, true);

	if (emitter == NULL)
		emitter = psprintf("%u", event->emitter);
	JsonEncodeDateTime(at, TimestampTzGetDatum(event->at), TIMESTAMPTZOID, &utc);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "event");
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(event->id);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	push_string(&state, "name", VARDATA_ANY(event->name), VARSIZE_ANY_EXHDR(event->name));
	push_string(&state, "emitter", emitter, strlen(emitter));
	push_string(&state, "at", at, strlen(at));
	push_key(&state, "payload");
	if (event->payload == NULL)
		v.type = jbvNull;
	else if (!JB_ROOT_IS_SCALAR(event->payload) || !JsonbExtractScalar(&event->payload->root, &v))
	{
		v.type = jbvBinary;
		v.val.binary.data = &event->payload->root;
		v.val.binary.len = VARSIZE(event->payload) - VARHDRSZ;
	}
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* UnrdfEventReaderLoad reads what a role may read, into the current memory context. */
void
UnrdfEventReaderLoad(UnrdfEventReader *reader, Oid role)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 n;
	bool isnull;

	reader->role = role;
	reader->patterns = NIL;
	SPI_connect();
	n = UnrdfExecuteLatest(&list_grants, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(context);
		Oid grantee = DatumGetObjectId(UnrdfResult(i, 0, &isnull));

		if (has_privs_of_role(role, grantee))
			reader->patterns =
				lappend(reader->patterns, DatumGetTextPCopy(UnrdfResult(i, 1, &isnull)));
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
}

/* UnrdfEventReadable tells whether a reader may read an event. */
bool
UnrdfEventReadable(const UnrdfEventReader *reader, const UnrdfEvent *event)
{
	ListCell *cell;

	foreach (cell, reader->patterns)
		if (UnrdfPatternMatches(lfirst(cell), event->name))
			return true;
	return has_privs_of_role(reader->role, event->emitter);
}

/* UnrdfGrantEvents lets a role read events of a pattern. Raises 42602. */
void
UnrdfGrantEvents(Oid grantee, text *pattern)
{
	Datum values[3] = {ObjectIdGetDatum(grantee), PointerGetDatum(pattern),
					   ObjectIdGetDatum(GetUserId())};

	PreventCommandIfReadOnly("unrdf.grant_events()");
	UnrdfCheckPattern(pattern);
	SPI_connect();
	UnrdfExecute(&grant_pattern, values, NULL, false);
	SPI_finish();
}

/* UnrdfRevokeEvents takes that back. Raises 42704 where it was not granted. */
void
UnrdfRevokeEvents(Oid grantee, text *pattern)
{
	Datum values[2] = {ObjectIdGetDatum(grantee), PointerGetDatum(pattern)};
	bool found;

	PreventCommandIfReadOnly("unrdf.revoke_events()");
	SPI_connect();
	found = UnrdfExecute(&revoke_pattern, values, NULL, false) > 0;
	SPI_finish();
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("events \"%s\" were not granted to that role", text_to_cstring(pattern))));
}
