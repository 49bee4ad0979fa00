/*
 * why.c: why a job is not running now, in one sentence, with the facts behind it.
 *
 * Most of it is in tables and in slots. What goes first, and how many jobs of a queue are out, only the dispatcher knows; it is
 * asked through shared memory: one question at a time per database (UNRDF_LOCK_QUESTION), numbered, so that an answer to
 * somebody who has gone is not taken for one's own. The dispatcher answers out of its memory at the end of a step, which
 * costs it a look at a number where nobody asks. Who gets no answer in ANSWER_TIME says so.
 *
 * The reasons are tried in the order of the table at the end, each by a function that says whether it holds. The first that
 * holds makes the sentence. A new reason is a function, a line there, and what it needs in UnrdfPlacement.
 */
#include "postgres.h"

#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/spin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/identity.h"
#include "base/lock.h"
#include "base/lookup.h"
#include "base/plan.h"
#include "base/testkit.h"
#include "ledger/receipt.h"
#include "queue/config.h"
#include "queue/handler.h"
#include "queue/job.h"
#include "queue/waiting.h"
#include "worker/lease.h"
#include "worker/restore.h"
#include "worker/slot.h"
#include "worker/why.h"

#define ANSWER_TIME (2 * USECS_PER_SEC)
#define NAMED_HANDLERS 3

typedef struct Question
{
	slock_t mutex; /* for what is not atomic */
	pg_atomic_uint64 asked;
	pg_atomic_uint64 answered;
	int64 job;
	int32 queue;
	int32 priority;
	int64 flow;
	UnrdfPlacement answer;
	ConditionVariable done;
} Question;

typedef struct Why
{
	UnrdfJob job;
	bool waits; /* for others */
	UnrdfReceipt receipt;
	bool ended;
	bool own; /* the caller may see its error texts */
	UnrdfDatabase *db;
	UnrdfPlacement placement;
	StringInfoData sentence;
	StringInfoData facts; /* an open JSON object */
} Why;

static Question *questions = NULL;

static UnrdfPlan queue_of = {
	"SELECT q.name, coalesce(s.paused, false), s.max_running, s.changed_at, s.changed_by::text FROM unrdf.queue AS q"
	" LEFT JOIN unrdf.queue_state AS s ON s.queue OPERATOR(pg_catalog.=) q.id WHERE q.id OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};
static UnrdfPlan last_attempt = {
	"SELECT a.n, a.retry_at, a.sqlstate, coalesce(a.message, unrdf.kept(a.job, a.n) OPERATOR(pg_catalog.->>) 'message', ''), a.failures, a.snoozed FROM unrdf.attempt AS a WHERE a.job OPERATOR(pg_catalog.=) $1"
	" ORDER BY a.n DESC LIMIT 1",
	1,
	{INT8OID}};
static UnrdfPlan holder_of_xid = {
	"SELECT l.pid, (SELECT p.gid FROM pg_catalog.pg_prepared_xacts AS p WHERE p.transaction OPERATOR(pg_catalog.=) $1)"
	" FROM pg_catalog.pg_locks AS l WHERE l.locktype OPERATOR(pg_catalog.=) 'transactionid'"
	" AND l.transactionid OPERATOR(pg_catalog.=) $1 AND l.granted",
	1,
	{XIDOID}};

/* What a job waits for: needs that have not ended, and those that have to be revived. */
static UnrdfPlan open_needs = {
	"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE r.id IS NULL), pg_catalog.min(n.needs) FILTER (WHERE r.id IS NULL),"
	" pg_catalog.min(n.needs) FILTER (WHERE n.on_failure OPERATOR(pg_catalog.=) 4 AND r.outcome OPERATOR(pg_catalog.>) 1 AND NOT EXISTS"
	" (SELECT FROM unrdf.job_need AS s WHERE s.job OPERATOR(pg_catalog.=) n.job AND s.retry_of OPERATOR(pg_catalog.=) n.needs))"
	" FROM unrdf.job_need AS n LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) n.needs"
	" WHERE n.job OPERATOR(pg_catalog.=) $1",
	1,
	{INT8OID}};

static void
init_questions(void *block)
{
	Question *q = block;

	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		SpinLockInit(&q[i].mutex);
		pg_atomic_init_u64(&q[i].asked, 0);
		pg_atomic_init_u64(&q[i].answered, 0);
		ConditionVariableInit(&q[i].done);
	}
}

/* UnrdfWhyInit registers the questions' shared memory; called once, from _PG_init. */
void
UnrdfWhyInit(void)
{
	UnrdfShmemRegister("unrdf questions", UNRDF_MAX_DATABASES * sizeof(Question),
					   (void **) &questions, init_questions);
}

/* The dispatcher's half */

static void
look_at_lanes(UnrdfLaneSet *lanes, const Question *q, const UnrdfEntry *entry, UnrdfPlacement *p)
{
	dlist_iter iter;

	dlist_foreach (iter, UnrdfLaneQueues(lanes))
	{
		UnrdfLaneQueue *queue = dlist_container(UnrdfLaneQueue, node, iter.cur);
		UnrdfLane *lane = queue->lanes[q->priority];
		UnrdfSide side = q->flow < 0 ? UNRDF_OUTSIDE : UNRDF_INSIDE;

		if (queue->id == q->queue)
		{
			p->running = queue->running;
			if (lane && !(entry && entry->place != UNRDF_READY))
				UnrdfEntryStanding(lanes, lane, q->flow, entry, &p->standing);
		}
		for (int i = 0; i < q->priority; i++)
			if (queue->lanes[i] && queue->lanes[i]->sides[side].active)
				p->urgent += queue->lanes[i]->sides[side].nready;
	}
}

/* UnrdfWhyAnswer answers the question that was asked, if one was. In the dispatcher. */
void
UnrdfWhyAnswer(UnrdfDatabase *db, UnrdfLaneSet *lanes, UnrdfPool *pool, bool trial)
{
	Question *shared = &questions[db - UnrdfShmem->databases];
	uint64 asked = pg_atomic_read_u64(&shared->asked);
	UnrdfPlacement p = {0};
	UnrdfEntry *entry;
	Question q;

	if (asked == pg_atomic_read_u64(&shared->answered))
		return;
	SpinLockAcquire(&shared->mutex);
	q.job = shared->job;
	q.queue = shared->queue;
	q.priority = shared->priority;
	q.flow = shared->flow;
	SpinLockRelease(&shared->mutex);
	entry = UnrdfEntryFind(lanes, q.job);
	p.known = entry != NULL;
	if (entry)
	{
		p.place = entry->place;
		p.suspect = entry->suspect;
	}
	p.trial = trial;
	UnrdfPoolCount(pool);
	p.idle = pool->idle;
	p.busy = pool->busy;
	p.starting = pool->starting;
	look_at_lanes(lanes, &q, entry, &p);
	SpinLockAcquire(&shared->mutex);
	shared->answer = p;
	SpinLockRelease(&shared->mutex);
	pg_atomic_write_u64(&shared->answered, asked);
	ConditionVariableBroadcast(&shared->done);
}

/* The asker's half */

/* Asks the dispatcher; false where it does not answer in time. */
static bool
ask(Why *w)
{
	Question *q = &questions[w->db - UnrdfShmem->databases];
	int64 until = UnrdfTicks() + ANSWER_TIME;
	uint64 mine;
	bool answered;

	UnrdfLock(UNRDF_LOCK_QUESTION, 0);
	SpinLockAcquire(&q->mutex);
	q->job = w->job.id;
	q->queue = w->job.queue;
	q->priority = w->job.priority;
	q->flow = w->job.flow;
	SpinLockRelease(&q->mutex);
	mine = pg_atomic_add_fetch_u64(&q->asked, 1);
	UnrdfSetLatch(&w->db->processes[UNRDF_DISPATCHER].latch);
	ConditionVariablePrepareToSleep(&q->done);
	while (!(answered = pg_atomic_read_u64(&q->answered) >= mine) && UnrdfTicks() < until)
		(void) ConditionVariableTimedSleep(&q->done, Max(1, UnrdfMillisUntilTick(until, 1000)),
										   unrdf_wait_event("UnrdfWhy"));
	ConditionVariableCancelSleep();
	SpinLockAcquire(&q->mutex);
	w->placement = q->answer;
	SpinLockRelease(&q->mutex);
	UnrdfUnlock(UNRDF_LOCK_QUESTION, 0);
	return answered;
}

static void say(Why *w, const char *reason, const char *format, ...) pg_attribute_printf(3, 4);

static void
name_fact(Why *w, const char *name)
{
	if (w->facts.len > 1)
		appendStringInfoString(&w->facts, ", ");
	escape_json(&w->facts, name);
	appendStringInfoString(&w->facts, ": ");
}

static void
fact_text(Why *w, const char *name, const char *value)
{
	name_fact(w, name);
	escape_json(&w->facts, value);
}

static void
fact_number(Why *w, const char *name, int64 value)
{
	name_fact(w, name);
	appendStringInfo(&w->facts, INT64_FORMAT, value);
}

/* Returns the time as the sentence has it. */
static const char *
fact_time(Why *w, const char *name, TimestampTz t)
{
	const char *text = pstrdup(timestamptz_to_str(t));

	name_fact(w, name);
	escape_json(&w->facts, text);
	return text;
}

static void
say(Why *w, const char *reason, const char *format, ...)
{
	va_list args;
	int needed;

	fact_text(w, "reason", reason);
	do
	{
		resetStringInfo(&w->sentence);
		va_start(args, format);
		needed = appendStringInfoVA(&w->sentence, format, args);
		va_end(args);
		if (needed > 0)
			enlargeStringInfo(&w->sentence, needed);
	} while (needed > 0);
}

static bool
is_in_own_transaction(Why *w)
{
	if (w->job.xid != U64FromFullTransactionId(GetTopFullTransactionIdIfAny()))
		return false;
	say(w, "uncommitted",
		"It runs once the transaction that enqueues it, this one, has committed.");
	return true;
}

static bool
has_ended(Why *w)
{
	static const char *const words[] = {"", "succeeded", "dead", "cancelled", "skipped"};
	const char *when;

	if (!w->ended)
		return false;
	when = fact_time(w, "finished_at", w->receipt.finished_at);
	fact_text(w, "outcome", UnrdfOutcomeNames[w->receipt.outcome]);
	fact_number(w, "attempts", w->receipt.attempt);
	say(w, "ended", "It has ended: %s since %s, after %d %s.", words[w->receipt.outcome], when,
		w->receipt.attempt, w->receipt.attempt == 1 ? "attempt" : "attempts");
	return true;
}

/* A worker outside has it. */
static bool
is_claimed(Why *w)
{
	for (int i = UnrdfLeaseNext(0); i >= 0; i = UnrdfLeaseNext(i + 1))
	{
		const UnrdfLease *lease = &UnrdfLeases[i];
		const char *since;
		const char *role;

		if (!UnrdfLeaseIsHeld(lease) || lease->dboid != MyDatabaseId || lease->job != w->job.id)
			continue;
		since = fact_time(w, "since", lease->since);
		role = GetUserNameFromId(lease->role, true);
		if (role)
			fact_text(w, "role", role);
		fact_number(w, "attempt", lease->attempt);
		say(w, "running", "It runs, since %s by a worker outside.", since);
		return true;
	}
	return false;
}

static bool
runs(Why *w)
{
	if (UnrdfJobIsOutside(&w->job))
		return is_claimed(w);
	for (int i = 0; UnrdfSlots && i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];
		int pid = slot->pid;
		const char *since;

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_ASSIGNED || slot->dboid != MyDatabaseId ||
			pg_atomic_read_u64(&slot->job) != (uint64) w->job.id)
			continue;
		since = fact_time(w, "since", slot->since);
		fact_number(w, "pid", pid);
		fact_number(w, "attempt", pg_atomic_read_u32(&slot->attempt));
		say(w, "running", "It runs, since %s in process %d.", since, pid);
		return true;
	}
	return false;
}

/* Somebody has written its receipt and not committed. */
static bool
is_being_ended(Why *w)
{
	MemoryContext context = CurrentMemoryContext;
	bool found;
	TransactionId writer = UnrdfAnyRow(UNRDF_RECEIPT, UNRDF_RECEIPT_PKEY, w->job.id, &found);
	Datum value;
	int32 pid = 0;
	char *gid = NULL;
	bool isnull;

	if (!TransactionIdIsValid(writer))
		return false;
	/* a savepoint's own id is locked no more once it is released */
	value = TransactionIdGetDatum(SubTransGetTopmostTransaction(writer));
	SPI_connect();
	if (UnrdfExecuteLatest(&holder_of_xid, &value, NULL) > 0)
	{
		value = UnrdfResult(0, 0, &isnull);
		pid = isnull ? 0 : DatumGetInt32(value);
		value = UnrdfResult(0, 1, &isnull);
		if (!isnull)
			gid = MemoryContextStrdup(context, TextDatumGetCString(value));
	}
	SPI_finish();
	if (gid)
	{
		fact_text(w, "gid", gid);
		say(w, "being_ended", "Prepared transaction \"%s\" ends it, and has not been committed.",
			gid);
		return true;
	}
	fact_number(w, "pid", pid);
	say(w, "being_ended", "A transaction of process %d ends it, and has not committed.", pid);
	return true;
}

static bool
is_not_preloaded(Why *w)
{
	if (UnrdfShmem)
		return false;
	say(w, "not_preloaded", "This server does not preload unrdf: no job runs here.");
	return true;
}

static bool
is_on_standby(Why *w)
{
	if (!RecoveryInProgress())
		return false;
	say(w, "standby", "This server is a standby: jobs run on the primary.");
	return true;
}

static bool
is_restored(Why *w)
{
	if (!UnrdfRestoreRuns())
		return false;
	say(w, "restore",
		"A restore is under way: nothing runs before it is complete, or unrdf.finish_restore() is called.");
	return true;
}

static bool
has_no_dispatcher(Why *w)
{
	if (w->db && w->db->processes[UNRDF_DISPATCHER].pid != 0)
		return false;
	say(w, "no_dispatcher", "The dispatcher of this database is not running.");
	return true;
}

static int64
number_result(int column)
{
	bool isnull;
	Datum value = UnrdfResult(0, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static bool
waits_for_others(Why *w)
{
	Datum value = Int64GetDatum(w->job.id);
	int64 needs;
	int64 open;
	int64 first;
	int64 held;

	if (!w->waits)
		return false;
	SPI_connect();
	UnrdfExecuteLatest(&open_needs, &value, NULL);
	needs = number_result(0);
	open = number_result(1);
	first = number_result(2);
	held = number_result(3);
	SPI_finish();
	fact_number(w, "needs", needs);
	fact_number(w, "open", open);
	if (held != 0)
	{
		fact_number(w, "need", held);
		say(w, "held",
			"It waits until job " INT64_FORMAT ", which did not succeed, is revived and succeeds.",
			held);
	}
	else if (open > 0)
	{
		fact_number(w, "need", first);
		say(w, "waiting",
			"It waits for other jobs: " INT64_FORMAT " of " INT64_FORMAT
			" have not ended, the first is job " INT64_FORMAT ".",
			open, needs, first);
	}
	else
		say(w, "released", "Nothing that it needs is open: it is about to be released, or ended.");
	return true;
}

/* The settings of its queue, which are facts whatever the reason is. */
typedef struct QueueFacts
{
	char *name;
	bool paused;
	int32 max_running; /* 0: no limit */
	TimestampTz changed_at;
	char *changed_by;
} QueueFacts;

static void
read_queue(Why *w, QueueFacts *q)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = Int32GetDatum(w->job.queue);
	bool isnull;

	memset(q, 0, sizeof(*q));
	SPI_connect();
	if (UnrdfExecuteLatest(&queue_of, &value, NULL) == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		q->name = TextDatumGetCString(UnrdfResult(0, 0, &isnull));
		q->paused = DatumGetBool(UnrdfResult(0, 1, &isnull));
		q->max_running = DatumGetInt32(UnrdfResult(0, 2, &isnull));
		if (isnull)
			q->max_running = 0;
		value = UnrdfResult(0, 3, &isnull);
		if (!isnull)
		{
			q->changed_at = DatumGetTimestampTz(value);
			q->changed_by = TextDatumGetCString(UnrdfResult(0, 4, &isnull));
		}
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

static bool
is_paused(Why *w)
{
	QueueFacts q;
	const char *since;

	read_queue(w, &q);
	if (!q.paused)
		return false;
	since = fact_time(w, "since", q.changed_at);
	say(w, "paused", "Its queue \"%s\" is paused, since %s by %s.", q.name, since, q.changed_by);
	return true;
}

static bool
is_held_by_test(Why *w)
{
	if (!UnrdfTestHolds() || UnrdfJobIsOutside(&w->job))
		return false;
	say(w, "test_hold", "The test kit holds all jobs until unrdf.test_run_due() is called.");
	return true;
}

/* What is recorded of its last attempt. */
typedef struct LastAttempt
{
	int32 n; /* 0: there was none */
	int32 failures;
	bool snoozed;
	TimestampTz retry_at;
	char *state;
	char *message;
} LastAttempt;

static void
read_last_attempt(Why *w, LastAttempt *a)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = Int64GetDatum(w->job.id);
	bool isnull;

	memset(a, 0, sizeof(*a));
	SPI_connect();
	if (UnrdfExecuteLatest(&last_attempt, &value, NULL) == 1)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		a->n = DatumGetInt32(UnrdfResult(0, 0, &isnull));
		a->retry_at = DatumGetTimestampTz(UnrdfResult(0, 1, &isnull));
		a->failures = DatumGetInt32(UnrdfResult(0, 4, &isnull));
		a->snoozed = DatumGetBool(UnrdfResult(0, 5, &isnull));
		if (!a->snoozed)
		{
			a->state = TextDatumGetCString(UnrdfResult(0, 2, &isnull));
			a->message = TextDatumGetCString(UnrdfResult(0, 3, &isnull));
		}
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

static bool
is_retrying(Why *w)
{
	LastAttempt a;

	read_last_attempt(w, &a);
	if (a.n == 0)
		return false;
	fact_number(w, "failed_attempts", a.failures);
	if (!a.snoozed)
		fact_text(w, "sqlstate", a.state);
	if (!a.snoozed && w->own)
		fact_text(w, "error", a.message);
	if (a.retry_at <= UnrdfNow())
		return false;
	if (a.snoozed)
		say(w, "snoozes", "It snoozes until %s, as it said in attempt %d.",
			fact_time(w, "due_at", a.retry_at), a.n);
	else
		say(w, "retrying", "It is tried again at %s: attempt %d failed with %s%s%s.",
			fact_time(w, "due_at", a.retry_at), a.n, a.state, w->own ? ", " : "",
			w->own ? a.message : "");
	return true;
}

static bool
is_scheduled(Why *w)
{
	const char *due_at;

	if (w->job.run_at == 0 || w->job.run_at <= UnrdfNow())
		return false;
	due_at = fact_time(w, "due_at", w->job.run_at);
	if (w->job.debounced_since == 0)
		say(w, "scheduled", "It is scheduled for %s.", due_at);
	else
		say(w, "debounced",
			"It is debounced until %s, since %s: a new one of its key takes its place.", due_at,
			fact_time(w, "debounced_since", w->job.debounced_since));
	return true;
}

/* From here on, what the dispatcher says. */
static bool
gets_no_answer(Why *w)
{
	if (ask(w))
		return false;
	fact_number(w, "pid", w->db->processes[UNRDF_DISPATCHER].pid);
	say(w, "silent", "The dispatcher, process %d, has not answered for %d seconds.",
		w->db->processes[UNRDF_DISPATCHER].pid, (int) (ANSWER_TIME / USECS_PER_SEC));
	return true;
}

static bool
is_handed_out(Why *w)
{
	UnrdfPlacement *p = &w->placement;

	if (!p->known || p->place != UNRDF_OUT)
		return false;
	say(w, "handed_out",
		"An executor has it in hand, behind other jobs of one transaction or just about to begin.");
	return true;
}

static bool
waits_for_trial(Why *w)
{
	if (!w->placement.trial && !w->placement.suspect)
		return false;
	if (w->placement.suspect)
		say(w, "suspect",
			"It ran when the server crashed: it is to run alone, once nothing else does.");
	else
		say(w, "trial",
			"A job that ran when the server crashed runs alone, and everything waits for it.");
	return true;
}

static bool
meets_limit(Why *w)
{
	QueueFacts q;

	read_queue(w, &q);
	if (q.max_running == 0 || w->placement.running < q.max_running)
		return false;
	fact_number(w, "queue_running", w->placement.running);
	fact_number(w, "max_running", q.max_running);
	say(w, "queue_limit", "Its queue \"%s\" has %d of at most %d jobs running.", q.name,
		w->placement.running, q.max_running);
	return true;
}

/* Returns the text of the time at which there is a token again. */
static const char *
fact_open_at(Why *w)
{
	return fact_time(w, "open_at",
					 UnrdfNow() + Max(0, w->placement.standing.open_at - UnrdfTicks()));
}

static bool
meets_queue_rate(Why *w)
{
	const UnrdfQueue *q = UnrdfQueueRowSettings(UnrdfQueueRowById(w->job.queue));

	if (!w->placement.standing.queue_rate)
		return false;
	say(w, "queue_rate", "Its queue starts at most %g jobs a second: the next at %s.",
		q->rate.per_second, fact_open_at(w));
	return true;
}

static bool
meets_group_limit(Why *w)
{
	const UnrdfQueue *q = UnrdfQueueRowSettings(UnrdfQueueRowById(w->job.queue));
	UnrdfStanding *s = &w->placement.standing;

	if (w->job.group_key)
		fact_text(w, "group", text_to_cstring(w->job.group_key));
	if (!s->group_full)
		return false;
	if (q->fifo != UNRDF_FIFO_NONE)
		say(w, "group_order",
			"Its group runs one job at a time, in order, and one that goes first has not ended.");
	else
		say(w, "group_limit", "Its group has %d of at most %d jobs running.", s->group_running,
			q->group_max_running);
	return true;
}

static bool
meets_group_rate(Why *w)
{
	const UnrdfQueue *q = UnrdfQueueRowSettings(UnrdfQueueRowById(w->job.queue));

	if (!w->placement.standing.group_rate)
		return false;
	say(w, "group_rate", "Its group starts at most %g jobs a second: the next at %s.",
		q->group_rate.per_second, fact_open_at(w));
	return true;
}

static bool
waits_for_worker(Why *w)
{
	UnrdfStanding *s = &w->placement.standing;

	if (!UnrdfJobIsOutside(&w->job))
		return false;
	fact_number(w, "before", s->before);
	say(w, "unclaimed",
		"It waits for a worker outside to claim it; %s" INT64_FORMAT
		" jobs of its queue and priority go first.",
		s->exact ? "" : "at least ", s->before);
	return true;
}

/* What executors are busy with: the handlers with most of them. */
static char *
busy_with(void)
{
	StringInfoData out;
	int32 seen[NAMED_HANDLERS];
	int n[NAMED_HANDLERS] = {0};
	int kinds = 0;

	for (int i = 0; i < unrdf_executor_slots; i++)
	{
		UnrdfSlot *slot = &UnrdfSlots[i];
		int32 handler = (int32) pg_atomic_read_u32(&slot->handler);
		int k = 0;

		if (UnrdfSlotGet(slot) != UNRDF_SLOT_ASSIGNED || slot->dboid != MyDatabaseId ||
			pg_atomic_read_u64(&slot->job) == 0)
			continue;
		while (k < kinds && seen[k] != handler)
			k++;
		if (k == kinds && kinds < NAMED_HANDLERS)
			seen[kinds++] = handler;
		if (k < kinds)
			n[k]++;
	}
	initStringInfo(&out);
	for (int k = 0; k < kinds; k++)
	{
		const UnrdfHandler *h = UnrdfHandlerById(seen[k]);

		appendStringInfo(&out, "%s%d with \"%s\"", k ? ", " : ": ", n[k], h ? h->name : "");
	}
	return out.data;
}

static bool
waits_for_executor(Why *w)
{
	UnrdfPlacement *p = &w->placement;
	UnrdfStanding *s = &p->standing;

	fact_number(w, "before", s->before);
	fact_number(w, "urgent", p->urgent);
	fact_number(w, "executors_busy", p->busy);
	fact_number(w, "executors_idle", p->idle);
	if (p->busy == 0 && p->idle == 0)
	{
		fact_number(w, "executors_starting", p->starting);
		say(w, "no_executor",
			"There is no executor yet, %d are being started: the server's log says why, where none comes.",
			p->starting);
		return true;
	}
	if (p->idle > 0)
		return false;
	if (s->before + p->urgent > 0)
		say(w, "behind",
			"%s" INT64_FORMAT " jobs of its queue and priority and " INT64_FORMAT
			" of higher priority go first, and all %d executors are busy%s.",
			s->exact ? "" : "At least ", s->before, p->urgent, p->busy, busy_with());
	else
		say(w, "executors_busy", "It is next, and all %d executors are busy%s.", p->busy,
			busy_with());
	return true;
}

static bool
is_about_to_run(Why *w)
{
	say(w, "about_to_run", "Nothing keeps it: it is about to be handed out.");
	return true;
}

static bool (*const reasons[])(Why *w) = {
	has_ended,        is_in_own_transaction, is_not_preloaded,  is_on_standby,     runs,
	is_being_ended,   is_restored,           has_no_dispatcher, waits_for_others,  is_paused,
	is_retrying,      is_scheduled,          is_held_by_test,   gets_no_answer,    is_handed_out,
	waits_for_trial,  meets_limit,           meets_queue_rate,  meets_group_limit, meets_group_rate,
	waits_for_worker, waits_for_executor,    is_about_to_run};

/* Reads the job and what is said of it whatever the reason. Raises 42704, 42501. */
static void
begin(Why *w, int64 id)
{
	UnrdfWaiting waiting = {{0}};
	bool found;

	memset(w, 0, sizeof(*w));
	PushActiveSnapshot(GetLatestSnapshot());
	found = UnrdfJobFetchRow(id, &w->job);
	if (!found)
	{
		w->waits = found = UnrdfWaitingFetch(id, &waiting);
		w->job = waiting.job;
	}
	w->ended = found && UnrdfReceiptFetch(id, &w->receipt);
	PopActiveSnapshot();
	if (!found)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("job " INT64_FORMAT " does not exist", id)));
	if (!UnrdfControls(w->job.owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of job " INT64_FORMAT, id)));
	w->own = has_privs_of_role(GetUserId(), w->job.owner);
	w->db = UnrdfMyDatabase();
	initStringInfo(&w->sentence);
	initStringInfo(&w->facts);
	appendStringInfoChar(&w->facts, '{');
}

/*
 * UnrdfWhy returns why a job of the caller's is not running now, and facts as a JSON object. Raises 42704 for an unknown job,
 * 42501 for one that the caller may not control.
 */
char *
UnrdfWhy(int64 job, Jsonb **facts)
{
	QueueFacts q;
	Why w;

	begin(&w, job);
	read_queue(&w, &q);
	if (q.name)
		fact_text(&w, "queue", q.name);
	fact_number(&w, "priority", w.job.priority);
	for (int i = 0; i < lengthof(reasons); i++)
		if (reasons[i](&w))
			break;
	appendStringInfoChar(&w.facts, '}');
	*facts = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(w.facts.data)));
	return w.sentence.data;
}
