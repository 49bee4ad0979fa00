# Whoever fires schedules is killed, and the server with it, at every boundary of a tick; and somebody in its way. No tick is lost and none
# happens twice: of each there is one row, and one job where the row says so.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('schedule', init => { allows_streaming => 1 });
my @quiet = ('SET client_min_messages = warning;');

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', "@quiet $sql");
}

# Makes a schedule with a number of ticks that are due, a hundred days apart.
sub due
{
	my ($name, $ticks, $overlap) = @_;

	sql("SELECT unrdf.schedule('$name', '100 days', 'effect', catch_up => '$ticks', overlap => '$overlap')");
	sql(qq(UPDATE unrdf.schedule SET since = to_timestamp(floor(extract(epoch FROM clock_timestamp()) / 8640000) * 8640000) - interval '100 days' * $ticks + interval '1 day' WHERE name = '$name'));
	return;
}

# Starts a statement, and goes on while it runs.
sub start_psql
{
	my ($application, $statement) = @_;
	my ($out, $err) = ('', '');

	return IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') . " application_name=$application", '-c', $statement ], '>', \$out, '2>', \$err);
}

# Starts somebody who fires schedules, and returns its process id once it is where a condition on pg_stat_activity says.
sub fire_until
{
	my ($call, $where) = @_;
	my $psql = start_psql('firing', "CALL unrdf.run_schedules($call)");

	wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'firing' AND state = 'active' AND $where)");
	return ($psql, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'firing'"));
}

# Kills it, which crashes the server, and waits until that has come back.
sub kill_firing
{
	my ($psql, $pid) = @_;
	my $token = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
	my $since = log_position($node);

	kill('KILL', $pid) == 1 or die "could not kill $pid: $!";
	eval { $psql->finish };
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	until (log_since($node, $since) =~ /database system is ready to accept connections/)
	{
		die 'the server does not come back' if time() > $until;
		select(undef, undef, undef, 0.02);
	}
	$node->reload;
	wait_for_workers($node, 'postgres');
	return;
}

# Runs and jobs fit together at any time.
sub assert_runs
{
	my ($what) = @_;

	is($node->safe_psql('postgres', q(
			SELECT (SELECT count(*) FROM unrdf.schedule_run AS r WHERE (r.job IS NOT NULL) <> (r.action = 'enqueued') OR (r.job IS NOT NULL AND NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.id = r.job))),
				(SELECT count(*) FROM unrdf.job AS j WHERE NOT EXISTS (SELECT FROM unrdf.schedule_run AS r WHERE r.job = j.id)))),
		'0|0', "$what: every row has its job, every job its row");
	return;
}

# Each of these holds up who fires, at one place, by holding a lock that it needs there.
my %boundaries = (
	'before it looks' => 'LOCK TABLE unrdf.schedule IN ACCESS EXCLUSIVE MODE',
	'before the job' => 'LOCK TABLE unrdf.job IN SHARE ROW EXCLUSIVE MODE',
	'between job and row' => 'LOCK TABLE unrdf.schedule_run IN SHARE ROW EXCLUSIVE MODE',
	'between two ticks of a transaction' => q(INSERT INTO unrdf.schedule_run SELECT s.id, s.owner, unrdf.schedule_next(s.cron, 'UTC', unrdf.schedule_next(s.cron, 'UTC', s.since)), now(), NULL, 0, false, 'skipped' FROM unrdf.schedule AS s; DELETE FROM unrdf.restoring));

my $n = 0;
for my $boundary (sort keys %boundaries)
{
	my $name = 'tick ' . ++$n;

	due($name, 3, 'queue');
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; $boundaries{$boundary}");
	my ($psql, $pid) = fire_until('false', "wait_event_type = 'Lock'");
	kill_firing($psql, $pid);
	eval { $holder->quit };
	is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.schedule_runs WHERE schedule = '$name'"), '0', "killed $boundary: nothing has happened");
	assert_runs("killed $boundary");
	sql('CALL unrdf.run_schedules(false)') for 1 .. 2;
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT due_at), count(DISTINCT job), sum(missed) FROM unrdf.schedule_runs WHERE schedule = '$name'"), '3|3|3|0', "killed $boundary: then each tick fires once");
	assert_runs("after $boundary");
	sql("SELECT unrdf.unschedule('$name')");
}

# Many that are due share transactions, a few in each: a process that dies loses few, and others' snapshots stay small
due('many', 40, 'queue');
sql("SELECT count(unrdf.schedule('one of ' || i, '100 days', 'effect')) FROM generate_series(1, 60) AS i; UPDATE unrdf.schedule SET since = since - interval '150 days' WHERE name LIKE 'one of %'");
sql('CALL unrdf.run_schedules(false)');
is($node->safe_psql('postgres', q(SELECT sum(n), max(n) FROM (SELECT count(*) AS n FROM unrdf.job AS j JOIN unrdf.schedule_runs AS r ON r.job = j.id WHERE r.schedule = 'many' OR r.schedule LIKE 'one of %' GROUP BY j.xid) AS x)),
	'100|32', 'up to 32 ticks share a transaction');
sql("SELECT unrdf.unschedule(name) FROM unrdf.schedules");

# At the commit: it is durable, but nobody was told
due('committed', 3, 'queue');
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
# commits wait once the checkpointer has seen it
my @probes;
until ($node->safe_psql('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'probe' AND wait_event = 'SyncRep')") eq 't')
{
	push @probes, start_psql('probe', q(SELECT pg_logical_emit_message(true, 'probe', '')));
	die 'commits do not wait' if @probes > 100;
}
my ($psql, $pid) = fire_until('false', "wait_event = 'SyncRep'");
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
kill_firing($psql, $pid);
eval { $_->finish } for @probes;
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT job) FROM unrdf.schedule_runs WHERE schedule = 'committed'"), '3|3', 'killed at the commit: it has happened');
sql('CALL unrdf.run_schedules(false)');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.schedule_runs WHERE schedule = 'committed'"), '3', 'and does not happen again');
assert_runs('after the commit');
sql("SELECT unrdf.unschedule('committed')");

# While it sleeps until the next tick; the one that waits for it takes its place
sql("SELECT unrdf.schedule('minutes', '* * * * *', 'effect', overlap => 'queue')");
($psql, $pid) = fire_until('true', "wait_event_type = 'Extension'");
is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = $pid"), 't', 'it sleeps without a snapshot');
kill_firing($psql, $pid);
assert_runs('killed asleep');
($psql, $pid) = fire_until('true', "wait_event_type = 'Extension'");
my $second = start_psql('second', 'CALL unrdf.run_schedules(false)');
wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'second' AND wait_event_type = 'Lock')");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($second->finish, 'a second one waits for the first, and goes on when that is gone');
eval { $psql->finish };

# A change is seen by one that sleeps; so is a tick that becomes due
($psql, $pid) = fire_until('true', "wait_event_type = 'Extension'");
sql("SELECT unrdf.schedule('seconds', '1 second', 'effect', overlap => 'queue')");
wait_for($node, 'postgres', "SELECT count(*) >= 1 FROM unrdf.schedule_runs WHERE schedule = 'seconds'");
pass('a schedule that is new fires');
sql("SELECT unrdf.unschedule('seconds')");
ok($psql->finish, 'it leaves at the end of its minute');
wait_for($node, 'postgres', "SELECT count(*) >= 1 FROM unrdf.schedule_runs WHERE schedule = 'minutes'");
pass('having fired what was due with the next');
sql("SELECT unrdf.unschedule('minutes')");

# Somebody has cancelled a job and not committed: its schedule is tried again later, others fire
sql("SELECT unrdf.create_queue('held'); SELECT unrdf.pause_queue('held')");
due('a held', 1, 'cancel');
due('b free', 1, 'cancel');
sql(q(SELECT unrdf.schedule('a held', '100 days', 'effect', queue => 'held', overlap => 'cancel', catch_up => '1')));
my $job = sql(q(SELECT unrdf.run_schedule_now('a held')));
my $holder = $node->background_psql('postgres');
$holder->query_safe("BEGIN; SELECT unrdf.cancel($job)");
my $since = log_position($node);
sql('CALL unrdf.run_schedules(false)');
is($node->safe_psql('postgres', "SELECT schedule, action FROM unrdf.schedule_runs WHERE schedule IN ('a held', 'b free') AND NOT by_hand"), 'b free|enqueued', 'a job whose end is held holds up its schedule only');
like(log_since($node, $since), qr/schedule "a held" could not enqueue its job: canceling statement due to lock timeout/, 'which the log says');
is($node->safe_psql('postgres', 'SHOW lock_timeout'), '0', 'nobody keeps that time-out');
$holder->query_safe('ROLLBACK');
$holder->quit;
sql('CALL unrdf.run_schedules(false)');
is($node->safe_psql('postgres', "SELECT action, (SELECT outcome FROM unrdf.receipt WHERE id = $job) FROM unrdf.schedule_runs WHERE schedule = 'a held' AND NOT by_hand"), 'enqueued|3', 'and fires once it is free');
sql("SELECT unrdf.unschedule(name) FROM unrdf.schedules; SELECT unrdf.resume_queue('held')");

drain($node, 'postgres');
assert_runs('at the end');
assert_ledger($node, 'postgres', 'at the end');
assert_effects($node, 'postgres', 'at the end');
$node->stop;
done_testing();
