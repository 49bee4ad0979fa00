# More jobs than the dispatcher may know of at once, pending and delayed: it takes no more memory than it is given, all jobs run
# once, in the order that is promised and not before their time. And what other sessions' old snapshots do to the tables: nothing.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $memory = 1024 * 1024; # the least that unrdf.dispatcher_memory can be
# Beside its jobs a dispatcher has its lanes; a hash and a block that are half empty count as well.
my $allowance = 128 * 1024;

# No sweep comes: what is to be read, something has to say so. One executor, so that the order in which jobs start is the
# order in which they were handed out. No autovacuum: dead rows are to be counted.
my $node = new_node('horizon', conf => q(
unrdf.dispatcher_memory = '1 MB'
unrdf.min_executors = 1
unrdf.max_executors = 1
unrdf.sweep_interval = '1 h'
autovacuum = off
));
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '3 s', backoff_cap => '3 s');
	SELECT unrdf.create_queue(q) FROM unnest(ARRAY['same time', 'one by one', 'held']) AS q;
));
wait_for_workers($node, 'postgres');

# SQL that enqueues n jobs of handler "effect".
sub many
{
	my ($n, $rest, $args) = @_;

	return "SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('" . ($args // '{}') . "'::jsonb, ARRAY[$n]), $rest);\n";
}

# Checks that what the dispatcher knows of jobs fits its memory.
sub assert_memory
{
	my ($what) = @_;
	my %bytes = memory_of($node, 'postgres', worker_pid($node, 'postgres', 'dispatcher'));
	my @names = ('unrdf lanes', 'unrdf entries', 'unrdf known jobs');
	my $sum = 0;

	$sum += $bytes{$_} // die "the dispatcher has no \"$_\"" for @names;
	note("$what: " . join(', ', map { "$_ $bytes{$_}" } @names));
	cmp_ok($sum, '<=', $memory + $allowance, "$what: the dispatcher keeps to its memory");
	return;
}

# Checks what holds of every job that ended by running: not before its time, and attempts counted.
sub assert_times
{
	my ($what) = @_;

	is( $node->safe_psql('postgres', q(
			SELECT count(*) FILTER (WHERE r.started_at < j.run_at), count(*) FILTER (WHERE r.started_at < a.retry_at),
				count(*) FILTER (WHERE r.attempt <> a.n + 1)
			FROM unrdf.receipt AS r JOIN unrdf.job AS j USING (id)
				LEFT JOIN LATERAL (SELECT count(*) AS n, max(retry_at) AS retry_at FROM unrdf.attempt WHERE job = j.id) AS a ON true
			WHERE r.outcome = 1)),
		'0|0|0', "$what: none started before its time, and every attempt counts");
	return;
}

# Pending jobs of three priorities, four times what the windows of their lanes hold, come while their queue is paused; those of
# two priorities not in one piece: the second comes while the lane is full with the first. The lanes have been read before, so
# each reading goes as far as it saw when it began, and what came later has to be remembered: there is no sweep here.
$node->safe_psql('postgres', many(1, "priority => $_")) for 0, 5, 9;
drain($node, 'postgres');
my $warm = $node->safe_psql('postgres', 'SELECT max(id) FROM unrdf.job');
$node->safe_psql('postgres', "SELECT unrdf.pause_queue('default')");
$node->safe_psql('postgres', many(@$_)) for
  [ 6000, 'priority => 5' ], [ 6000, 'priority => 0' ], [ 6000, 'priority => 9' ], [ 2000, 'priority => 5' ], [ 2000, 'priority => 0' ];
$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', queue => 'held')");
drain_queue('held');
assert_memory('22,000 pending jobs');
$node->safe_psql('postgres', "SELECT unrdf.resume_queue('default')");
drain($node, 'postgres');
is( $node->safe_psql('postgres', qq(
		SELECT count(*), count(*) FILTER (WHERE place < before)
		FROM (SELECT place, lag(place) OVER (ORDER BY started_at, place) AS before
			FROM (SELECT r.started_at, ROW(j.priority, j.xid, j.id) AS place
				FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE j.queue = 0 AND j.id > $warm) AS s) AS t)),
	'22000|0', 'the lowest priority number first, and within it in the order in which they came');
assert_ledger($node, 'postgres', 'pending jobs');
assert_effects($node, 'postgres', 'pending jobs');

# Waits until every job of a queue has ended.
sub drain_queue
{
	my ($queue) = @_;

	wait_for($node, 'postgres', qq(
		SELECT NOT EXISTS (SELECT FROM unrdf.job AS j JOIN unrdf.queue AS q ON q.id = j.queue AND q.name = '$queue'
			WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))));
	return;
}

# Delayed jobs, of each kind more than the dispatcher keeps: due all at the same time; due one after the other; due in a queue
# that is paused; due tomorrow. And behind a backlog that is paused some that fail twice, so that they are known by their time
# before the follower comes to them, end an attempt, and are due again when those are that the dispatcher does not keep.
# Everything is seen at once, so times count from then.
$node->safe_psql('postgres', "SELECT unrdf.pause_queue(q) FROM unnest(ARRAY['default', 'held']) AS q");
$node->safe_psql('postgres',
	"BEGIN;\n"
	  . many(20000, "run_at => now() + '1 day', queue => 'held', priority => 9")
	  . many(12000, "priority => 5")
	  . many(15000, "run_at => now() + '3 s', queue => 'same time'")
	  . many(50, "run_at => now() + '3.5 s'", '{"fail": 1}')
	  . many(50, "run_at => now() + '3.5 s'", '{"fail": 2}')
	  . many(15000, "run_at => now() + '3.5 s', queue => 'held'")
	  . "SELECT count(unrdf.enqueue('effect', run_at => now() + '5 s' + i * interval '100 us', queue => 'one by one'))"
	  . " FROM generate_series(1, 12000) AS i;\nCOMMIT");
assert_memory('74,000 delayed jobs, 12,000 pending');
drain_queue('same time');
assert_memory('15,000 jobs due in a paused queue');
$node->safe_psql('postgres', "SELECT unrdf.resume_queue('default')");
wait_for($node, 'postgres', q(
	SELECT count(*) > 0 FROM unrdf.job AS j JOIN unrdf.queue AS q ON q.id = j.queue AND q.name = 'one by one' JOIN unrdf.receipt AS r ON r.id = j.id));
drain_queue('one by one');
drain_queue('default');
assert_memory('late jobs have run');
assert_times('delayed jobs');
is(occurrences(log_since($node, 0), qr/could not record the failure/), 0, 'no attempt was made twice');
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
wait_for_workers($node, 'postgres');
$node->safe_psql('postgres', "SELECT unrdf.resume_queue('held')");
wait_for($node, 'postgres', q(
	SELECT count(*) = 15000 FROM unrdf.job AS j JOIN unrdf.queue AS q ON q.id = j.queue AND q.name = 'held' JOIN unrdf.receipt AS r ON r.id = j.id
	WHERE j.run_at IS NOT NULL));
is($node->safe_psql('postgres', "SELECT state, count(*) FROM unrdf.jobs WHERE queue = 'held' GROUP BY 1 ORDER BY 1"),
	"scheduled|20000\nsucceeded|15001", 'what is due tomorrow waits');
assert_times('all jobs');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.jobs WHERE state = 'scheduled' AND unrdf.cancel(id)"), '20000', 'and can be cancelled');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'delayed jobs');
assert_effects($node, 'postgres', 'delayed jobs');

# Delayed jobs are committed one by one while the horizon passes their times, again and again: those that the follower sees
# beyond it and those that it is moved over are not the same for a moment, and none may fall between.
$node->safe_psql('postgres', "SELECT count(unrdf.enqueue('effect', run_at => now() + i * interval '250 us')) FROM generate_series(1, 12000) AS i");
my @sessions = map {
	IPC::Run::start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', q(
		DO $$ BEGIN
			FOR i IN 1 .. 3000 LOOP
				PERFORM unrdf.enqueue('effect', run_at => clock_timestamp() + random() * interval '2 s');
				COMMIT;
			END LOOP;
		END $$) ])
} 1 .. 2;
is(scalar(grep { $_->finish } @sessions), 2, 'sessions that enqueue delayed jobs');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'jobs at the horizon');
assert_effects($node, 'postgres', 'jobs at the horizon');

# A transaction that began before jobs became due in a lane that was full, and commits before that lane is read again: what is older
# than the first job that was not kept has to be read as well.
my $late = $node->background_psql('postgres');
$late->query_safe('BEGIN');
$late->query_safe("SELECT unrdf.enqueue('effect', queue => 'held')");
$node->safe_psql('postgres', "SELECT unrdf.pause_queue('held')");
$node->safe_psql('postgres', many(15000, "run_at => now() + '1 s', queue => 'held'"));
$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', run_at => now() + '1 s')");
drain_queue('default');
$late->query_safe('COMMIT');
$late->quit;
$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect')");
drain_queue('default');
$node->safe_psql('postgres', "SELECT unrdf.resume_queue('held')");
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'a late commit');
assert_effects($node, 'postgres', 'a late commit');

# The dead rows of all tables of a schema and of what they keep out of line, as vacuum finds them.
sub dead_rows
{
	my ($schema) = @_;
	my $tables = $node->safe_psql('postgres',
		"SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relnamespace = '$schema'::regnamespace AND relkind = 'r'");
	my ($status, $stdout, $stderr) = $node->psql('postgres', "VACUUM (VERBOSE, INDEX_CLEANUP off, TRUNCATE off) $tables");
	my $dead = 0;

	$status == 0 && $stderr =~ /tuples: \d+ removed/ or die "vacuum says nothing of tuples: $stderr";
	$dead += $1 + $2 while $stderr =~ /tuples: (\d+) removed, \d+ remain, (\d+) are dead but not yet removable/g;
	return $dead;
}

# Jobs run while another session keeps an old snapshot. Nothing can be removed meanwhile, so the dead rows of all that time
# are there to be counted; that they would be is shown by a table whose rows are updated.
$node->adjust_conf('postgresql.conf', 'unrdf.max_executors', '3');
$node->reload;
$node->safe_psql('postgres', q(
	VACUUM;
	CREATE SCHEMA churn;
	CREATE TABLE churn.counter (n int);
	INSERT INTO churn.counter VALUES (0);
));
my $before = dead_rows('unrdf');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $seen = $session->query_safe('SELECT count(*) FROM unrdf.receipt');
$node->safe_psql('postgres', 'UPDATE churn.counter SET n = n + 1') for 1 .. 5;
$node->safe_psql('postgres', many(1000, 'priority => 5')) for 1 .. 18;
$node->safe_psql('postgres', many(10, 'priority => 5', '{"fail": 1}'));
$node->safe_psql('postgres', "SELECT count(unrdf.enqueue('effect')), count(unrdf.record('update', 'subject ' || i % 10, '{}')) FROM generate_series(1, 1990) AS i");
drain($node, 'postgres');
is($session->query_safe('SELECT count(*) FROM unrdf.receipt'), $seen, 'the old snapshot is still there');
is(dead_rows('churn'), 5, 'dead rows are counted');
my $dead = dead_rows('unrdf');
note("$dead dead rows, $before before");
cmp_ok($dead - $before, '<', 1000, 'after 20,000 jobs under an old snapshot there are hardly any dead rows');
$session->quit;
assert_ledger($node, 'postgres', 'under an old snapshot');
assert_effects($node, 'postgres', 'under an old snapshot');

$node->stop;
done_testing();
