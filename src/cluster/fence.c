/*
 * fence.c: a primary stops before its lease can be anybody else's.
 *
 * Patroni's promise is that who has the leader key is the primary; it is Patroni that stops a primary whose key is gone. A
 * Patroni that hangs, or was killed, does not, and neither does one that waits for etcd: then two nodes say that they are
 * primaries. So a process of the server itself looks at the key and its lease, by quorum reads, every UNRDF_FENCE_INTERVAL.
 *
 * Invariant: from the deadline on nothing is committed here, and before it nobody else has the key. The deadline is when the
 * last look began, plus what the lease then had at least left, less unrdf.fence_margin; so it does not depend on how long the
 * answer took, nor on the wall clock. It moves only when somebody answers that the key is ours.
 *
 *   the key is ours                        the deadline moves on
 *   it is another's, or gone               the deadline is now; a primary that never had it is given a second look
 *   nobody answers                         the deadline stays
 *   Patroni is paused                      none: an administrator has said that the key is not to be gone by
 *
 * Past the deadline the postmaster is told to stop at once (SIGQUIT, and SIGCONT, since it may have been stopped). That takes a
 * moment, and this process may be the one that hangs: so every session, before it commits or prepares what has a transaction id,
 * or commits what was prepared, looks at the deadline itself, and ends instead. A server that was frozen and goes on, all processes at the same time, commits
 * nothing by that. Between this look and the commit record a session can be frozen too, or while it waits for a standby: so it looks
 * once more when the commit is done, and past the deadline does not answer, but has the server stop. An answer is given only to what was
 * done while the key was ours. That the checks are in the sessions is why this is a worker and not a process apart: no such process
 * could stop them in time after a freeze.
 *
 * The process may die at any line: the deadline stays, and passes unless its successor, a second later, moves it. After a crash
 * of the server, shared memory begins with a short deadline (cluster.c), and a standby always has one, so that neither a start nor a
 * promotion is without. A sentinel that comes to look for the first time, at a server that is no standby, begins it anew: a recovery that
 * nobody could watch, as that of a restored backup, may have taken longer. It is taken away only where somebody has answered: that
 * Patroni is paused, or with a ttl that leaves no time.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/latch.h"
#include "tcop/utility.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "cluster/dcs.h"

#define ENDPOINT_MILLIS 700
#define CONFIG_MICROS INT64CONST(1000000) /* between two looks at Patroni's settings */
#define BEAT_MICROS INT64CONST(1000000)   /* between two signs of life of an idle primary */
#define STOP_AGAIN_MICROS INT64CONST(1000000)

/* What this process remembers. */
static struct
{
	UnrdfPatroniConfig config;
	int64 config_read; /* ticks */
	bool armed;        /* since recovery ended the key has been ours */
	int foreign;       /* looks in a row at a key that is another's */
	int64 stopped;     /* ticks of the last signal to stop */
	XLogRecPtr beat;   /* the end of the WAL at the last sign of life */
	int64 next_beat;
} fence;

static ProcessUtility_hook_type prev_utility = NULL;

static bool
is_past_deadline(void)
{
	int64 deadline = (int64) pg_atomic_read_u64(&UnrdfCluster->deadline);

	return deadline != 0 && UnrdfTicks() >= deadline && IsUnderPostmaster;
}

static void
stop_server(void)
{
	(void) kill(PostmasterPid, SIGQUIT);
	(void) kill(PostmasterPid, SIGCONT);
}

/* Ends a session that would commit past the deadline. */
static void
refuse_past_deadline(void)
{
	if (!is_past_deadline())
		return;
	ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN),
					errmsg("terminating connection because this server's leader lease has run out"),
					errdetail("The transaction is not committed."),
					errhint("Connect to the cluster's primary and try again.")));
}

/*
 * Leaves a commit that was done past the deadline without an answer. It cannot be taken back, and no error can be raised any more:
 * the server ends, which ends the wait.
 */
static void
withhold_answer(void)
{
	if (!is_past_deadline())
		return;
	ereport(LOG, (errmsg("fence: a commit that was done after the leader lease was over is not "
						 "acknowledged")));
	stop_server();
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0,
						 unrdf_wait_event("UnrdfFenceStops"));
		ResetLatch(MyLatch);
	}
}

static void
at_xact_event(XactEvent event, void *arg)
{
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		refuse_past_deadline();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		withhold_answer();
}

/* COMMIT PREPARED commits another transaction than the session's own, which is asked nothing. */
static void
utility(PlannedStmt *stmt, const char *sql, bool read_only, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
		QueryCompletion *completion)
{
	bool commits = IsA(stmt->utilityStmt, TransactionStmt) &&
				   ((TransactionStmt *) stmt->utilityStmt)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (commits)
		refuse_past_deadline();
	(prev_utility ? prev_utility : standard_ProcessUtility)(stmt, sql, read_only, context, params,
															environment, dest, completion);
	if (commits)
		withhold_answer();
}

/* UnrdfFenceInit has every commit look at the deadline; called once, from _PG_init. */
void
UnrdfFenceInit(void)
{
	if (!unrdf_fence)
		return;
	RegisterXactCallback(at_xact_event, NULL);
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}

static void
set_deadline(int64 tick)
{
	pg_atomic_write_u64(&UnrdfCluster->deadline, (uint64) tick);
}

/*
 * UnrdfFenceStandby notes that there is nothing to stop, as long as this is a standby. Nothing commits there; the deadline is for
 * the case that it is promoted and this process does not come to look.
 */
void
UnrdfFenceStandby(void)
{
	fence.armed = false;
	fence.foreign = 0;
	UnrdfCluster->watched = true;
	set_deadline(unrdf_fence ? UnrdfTicks() + UNRDF_FENCE_GRACE : 0);
	UnrdfFenceNote(unrdf_fence ? UNRDF_FENCE_STANDBY : UNRDF_FENCE_OFF, "");
}

/* How long after the look this server may go on, in microseconds; 0, and why, where settings do not allow any time. */
static int64
time_left(const UnrdfLeader *leader, const char **refused)
{
	int64 left = leader->left * 1000 - unrdf_fence_margin;

	*refused = NULL;
	/* whole seconds are rounded down, and Patroni renews the lease once in a while only */
	if (fence.config.ttl > 0 &&
		fence.config.ttl * 1000 < unrdf_fence_margin + 2000 + 2 * UNRDF_FENCE_INTERVAL)
		*refused =
			psprintf("unrdf.fence_margin leaves no time of Patroni's ttl of " INT64_FORMAT " s",
					 fence.config.ttl);
	if (unrdf_fence_silence > 0)
		left = Min(left, unrdf_fence_silence);
	return Max(left, 0) * 1000;
}

/* Acts on a key that is ours. */
static void
judge_ours(int64 asked, const UnrdfLeader *leader)
{
	const char *refused;
	int64 left = time_left(leader, &refused);

	fence.foreign = 0;
	fence.armed = refused == NULL;
	set_deadline(refused ? 0 : asked + left);
	UnrdfFenceNote(refused ? UNRDF_FENCE_REFUSED : UNRDF_FENCE_ARMED, refused ? refused : "");
}

/* Acts on a key that is another's, or nobody's. */
static void
judge_lost(int64 asked, const UnrdfLeader *leader)
{
	bool gone = *leader->holder == '\0' || UnrdfLeaderIsMe(leader);
	const char *why =
		gone ? "the leader key is gone" : psprintf("the leader key is %s's", leader->holder);

	if (gone && !fence.armed)
	{
		/* a cluster that is just being made has no key yet */
		set_deadline(asked + UNRDF_FENCE_GRACE);
		UnrdfFenceNote(UNRDF_FENCE_WAITING, why);
	}
	else if (fence.armed || ++fence.foreign > 1)
	{
		set_deadline(asked);
		UnrdfFenceNote(UNRDF_FENCE_STOPPING, why);
	}
}

static void
judge(int64 asked, const UnrdfLeader *leader)
{
	if (fence.config.paused)
	{
		set_deadline(0);
		UnrdfFenceNote(UNRDF_FENCE_PAUSED, "");
	}
	else if (UnrdfLeaderIsMe(leader) && leader->left > 0)
		judge_ours(asked, leader);
	else
		judge_lost(asked, leader);
}

/* Looks at the lease, and now and then at Patroni's settings. */
static void
look(void)
{
	int64 asked = UnrdfTicks();
	int64 deadline = (int64) pg_atomic_read_u64(&UnrdfCluster->deadline);
	UnrdfEtcd etcd = {.endpoints = unrdf_cluster_dcs,
					  .timeout = ENDPOINT_MILLIS,
					  .until = deadline ? deadline : asked + UNRDF_FENCE_GRACE};
	UnrdfLeader leader;

	if (UnrdfLeaderRead(&etcd, true, &leader) == NULL)
		judge(asked, &leader);
	if (asked - fence.config_read > CONFIG_MICROS &&
		UnrdfPatroniConfigRead(&etcd, &fence.config) == NULL)
		fence.config_read = asked;
}

/* Has the time in which a server that starts has to find out whether it may be a primary begin now. */
static void
begin_watch(void)
{
	if (UnrdfCluster->watched)
		return;
	UnrdfCluster->watched = true;
	set_deadline(UnrdfTicks() + UNRDF_FENCE_GRACE);
}

/* Stops the server if its time is over. */
static void
enforce(void)
{
	int64 now = UnrdfTicks();
	int64 deadline = (int64) pg_atomic_read_u64(&UnrdfCluster->deadline);

	if (deadline == 0 || now < deadline)
		return;
	if (fence.stopped == 0)
		ereport(LOG,
				(errmsg("fence: this server stops, since its leader lease is over"),
				 errdetail("%s", *UnrdfCluster->reason ? UnrdfCluster->reason
													   : "Nobody answered that it was renewed.")));
	if (fence.stopped != 0 && now - fence.stopped < STOP_AGAIN_MICROS)
		return;
	fence.stopped = now;
	stop_server();
}

/* Writes to the WAL where nobody else does: standbys measure the primary's silence. */
static void
beat(void)
{
	int64 now = UnrdfTicks();

	if (now < fence.next_beat)
		return;
	fence.next_beat = now + BEAT_MICROS;
	if (GetXLogInsertRecPtr() == fence.beat)
		XLogFlush(unrdf_log_message(false));
	fence.beat = GetXLogInsertRecPtr();
}

/* UnrdfFenceStep does what has to be done on a primary every UNRDF_FENCE_INTERVAL. */
void
UnrdfFenceStep(void)
{
	if (unrdf_fence)
	{
		begin_watch();
		enforce();
		look();
		enforce();
	}
	if (unrdf_sentinel_silence > 0)
		beat();
}
