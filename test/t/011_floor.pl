# A dispatcher that starts anew reads from the floor that the one before it noted, misses nothing, and does not trust a floor
# from before a restore.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('floor', conf => q(
max_prepared_transactions = 2
unrdf.floor_interval = '10 ms'
unrdf.sweep_interval = '50 ms'
));
$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

# The highest transaction id that the lane of ordinary jobs has ended below.
my $floor = q(SELECT x.xid FROM unrdf.dispatch_floor AS f, unnest(f.queues, f.priorities, f.xids) AS x (queue, priority, xid)
	WHERE x.queue = 0 AND x.priority = 5);

# Jobs that the floor would make a new dispatcher miss.
my $missed = q(SELECT count(*) FROM unrdf.dispatch_floor AS f, unnest(f.queues, f.priorities, f.xids) AS x (queue, priority, xid)
	JOIN unrdf.job AS j ON j.queue = x.queue AND j.priority = x.priority AND j.xid < x.xid
	WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id)
		AND NOT (j.run_at IS NOT NULL AND j.run_at >= f.at)
		AND NOT EXISTS (SELECT FROM unrdf.attempt AS a WHERE a.job = j.id AND a.retry_at >= f.at));

# Waits until the floor has passed everything that was committed before. A floor is noted only where jobs have ended since.
sub wait_for_floor
{
	my $xid = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');

	wait_for($node, 'postgres', qq(SELECT unrdf.enqueue('effect') IS NOT NULL AND ($floor) > '$xid'));
	return;
}

sub restart_dispatcher
{
	my $pid = worker_pid($node, 'postgres', 'dispatcher');

	signal_worker($node, 'postgres', 'dispatcher', 'TERM');
	wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE kind = 'dispatcher' AND pid <> $pid");
	return;
}

# A job that nobody enqueued, below every floor: it runs where a dispatcher reads from the beginning.
sub forge_job
{
	my ($id) = @_;

	$node->safe_psql('postgres', qq(
		SET session_replication_role = replica;
		INSERT INTO unrdf.job (id, xid, enqueued_at, queue, handler, owner, priority, args)
			SELECT $id, '3', now(), 0, h.id, current_user::regrole, 5, '{}' FROM unrdf.handler AS h WHERE h.name = 'effect'));
	return;
}

my $forged_ran = 'SELECT count(*) FROM unrdf.receipt WHERE id =';

# What ended is passed over.
$node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[2000]))));
drain($node, 'postgres');
wait_for_floor();
forge_job(-1);
restart_dispatcher();
is( $node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect') AS id \gset
		SELECT unrdf.wait(:id))), 'ok', 'a new dispatcher runs what comes');
is($node->safe_psql('postgres', "$forged_ran -1"), '0', 'and does not read what is below the floor');

# A restore may have brought rows with any transaction ids.
$node->safe_psql('postgres', 'SELECT unrdf.finish_restore()');
wait_for($node, 'postgres', "SELECT ($forged_ran -1) = 1");
pass('after a restore it does');
forge_job(-2);
wait_for_floor();
is($node->safe_psql('postgres', "$forged_ran -2"), '0', 'until there is a floor from after it');
# under a lock, or the one that is about to end notes it once more; and by TRUNCATE, which a successor sees whose snapshot is older
is( $node->safe_psql('postgres', q(
		BEGIN;
		LOCK TABLE unrdf.dispatch_floor IN ACCESS EXCLUSIVE MODE;
		TRUNCATE unrdf.dispatch_floor;
		SELECT pg_terminate_backend(pid, 60000) FROM unrdf.stat_workers WHERE kind = 'dispatcher' AND datname = current_database();
		COMMIT)),
	't', 'the dispatcher ends while it waits for its table');
wait_for($node, 'postgres', "SELECT ($forged_ran -2) = 1");
pass('without a floor, everything is read');

# What has not ended is not missed, whatever keeps it from ending.
$node->safe_psql('postgres', q(
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held');
	SELECT unrdf.enqueue('effect', queue => 'held') FROM generate_series(1, 5);
	SELECT unrdf.enqueue('effect', run_at => now() + '2 s') FROM generate_series(1, 20);
	SELECT unrdf.register_handler('later', 'effect(bigint, jsonb)', backoff => '2 s');
	SELECT unrdf.enqueue('later', '{"fail": 1}') FROM generate_series(1, 5);
	SELECT unrdf.enqueue('effect', '{"sleep": 1}') FROM generate_series(1, 2);
	BEGIN;
	SELECT unrdf.enqueue('effect', '{}', queue => 'held');
	SELECT unrdf.enqueue('effect', '{}', priority => 4);
	PREPARE TRANSACTION 'late'));
my $most = 0;
for my $round (1 .. 30)
{
	$node->safe_psql('postgres', q(
		SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[100]));
		SELECT unrdf.enqueue('effect', run_at => now() + random() * interval '1 s') FROM generate_series(1, 5);
		SELECT unrdf.enqueue('effect', '{"fail": 1}')));
	my $n = $node->safe_psql('postgres', $missed);
	$most = $n if $n > $most;
	restart_dispatcher() if $round % 10 == 0;
}
is($most, '0', 'no floor has anything below it that would be missed');
restart_dispatcher();
$node->safe_psql('postgres', q(COMMIT PREPARED 'late'));
$node->safe_psql('postgres', q(SELECT unrdf.resume_queue('held')));
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'after many dispatchers');
is( $node->safe_psql('postgres', q(SELECT count(*), count(*) FILTER (WHERE state <> 'succeeded') FROM unrdf.jobs WHERE id > 0
		HAVING count(*) = (SELECT count(*) FROM effect WHERE job > 0))) =~ s/^\d+//r, '|0', 'every job had its effect once');
is($node->safe_psql('postgres', $missed), '0', 'nor has the last');

# A delayed job is committed when a new dispatcher has begun its first look, and has its snapshot, but has not read anything. Two
# locks hold it there: it waits for the first where it makes itself ready, and finds the second, which waits behind it, where it
# looks. The lane's reading leaves the job to the horizon, and the horizon must not pass it.
my $locked = q(pg_locks AS l WHERE l.relation = 'unrdf.restored'::regclass AND l.mode = 'AccessExclusiveLock');
my $waits = q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'unrdf dispatcher' AND wait_event_type = 'Lock' AND query =);
wait_for_floor();
my ($first, $second) = map { $node->background_psql('postgres') } 1 .. 2;
$first->query_safe('BEGIN; LOCK TABLE unrdf.restored IN ACCESS EXCLUSIVE MODE');
restart_dispatcher();
wait_for($node, 'postgres', "$waits 'adopting executors'");
$second->query_until(qr/queued/, "\\echo queued\nBEGIN;\nLOCK TABLE unrdf.restored IN ACCESS EXCLUSIVE MODE;\n");
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM $locked AND NOT l.granted");
$first->query_safe('COMMIT');
wait_for($node, 'postgres', "$waits 'reading jobs'");
my $delayed = $node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect', run_at => now() + '1 s')));
$second->query_safe('COMMIT');
is($node->safe_psql('postgres', "SELECT unrdf.wait($delayed, '60 s')"), 'ok', 'a delayed job does not fall between lane and horizon');
$_->quit for $first, $second;

done_testing();
