# Workflows survive what can happen at each of their boundaries: whoever works on one is ended or killed, or the server is, while a
# job is about to be released, to run, to end, or to be ended by what it needed. Every job runs once, after what it needs.
# Then a standby is promoted in between, and a dump is restored.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $conf = "unrdf.sweep_interval = '100 ms'\nmax_prepared_transactions = 5\n";
my $node = new_node('node', conf => $conf, init => { allows_streaming => 1 });
$node->start;
install($node, 'postgres');
my $databases = 0;

# A workflow with every kind of need. "gate" goes on when nobody holds its lock.
my $spec = q({"steps": {
	"gate": {"handler": "gate"},
	"each": {"handler": "effect", "for_each": [{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}], "needs": ["gate"]},
	"bad": {"handler": "effect", "args": {"fail": 99}, "max_attempts": 1, "needs": ["gate"]},
	"sum": {"handler": "effect", "needs": ["each"]},
	"any": {"handler": "effect", "needs": ["bad", "sum"], "wait_for": "any"},
	"dies": {"handler": "effect", "needs": ["bad", "each"]},
	"dies too": {"handler": "effect", "needs": ["dies", "sum"]},
	"skipped": {"handler": "effect", "needs": [{"step": "bad", "on_failure": "skip"}, "sum"]},
	"goes on": {"handler": "effect", "needs": [{"step": "bad", "on_failure": "continue"}]},
	"last": {"handler": "effect", "needs": ["any", "dies too", "goes on", "skipped"], "wait_for": "settled"}}});
my $outcome = 'dead 3, skipped 1, succeeded 17';

sub prepare
{
	my ($on, $db) = @_;

	$on->safe_psql($db, q(
		CREATE FUNCTION gate(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_advisory_xact_lock_shared(33);
		END $$;
		SELECT unrdf.register_handler('gate', 'gate(bigint, jsonb)', own_transaction => true)));
	return;
}

sub start
{
	my ($on, $db) = @_;

	return $on->safe_psql($db, "SELECT unrdf.start_workflow('w', '$spec')");
}

sub everything_ended
{
	my ($on, $db) = @_;

	unbroken(sub { wait_for($on, $db, 'SELECT NOT EXISTS (SELECT FROM unrdf.waiting_job AS w WHERE NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.id = w.id))') });
	drain($on, $db);
	return;
}

# Checks one workflow that has ended, and the whole ledger.
sub assert_workflow
{
	my ($on, $db, $workflow, $what) = @_;

	everything_ended($on, $db);
	is( $on->safe_psql($db, "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM unrdf.workflow_graph WHERE workflow = $workflow GROUP BY state) AS s"),
		$outcome, "$what: everything has ended as it should");
	is( $on->safe_psql($db, qq(
			SELECT count(*) FROM unrdf.job_need AS n JOIN unrdf.receipt AS j ON j.id = n.job JOIN unrdf.receipt AS d ON d.id = n.needs
				JOIN unrdf.workflow_graph AS g ON g.job = n.job
			WHERE g.workflow = $workflow AND j.outcome = 1 AND g.wait_for = 'all' AND j.started_at < d.finished_at)),
		'0', "$what: nothing has run before what it needs");
	is($on->safe_psql($db, "SELECT count(*) FROM effect WHERE job IN (SELECT job FROM unrdf.workflow_graph WHERE workflow = $workflow)"),
		'16', "$what: each job that succeeded had its effect once");
	assert_ledger($on, $db, $what);
	return;
}

# Where nothing ever waited there is no releaser
wait_for_workers($node, 'postgres');
$node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect')));
drain($node, 'postgres');
is(worker_pid($node, 'postgres', 'releaser'), undef, 'no releaser without workflows');
prepare($node, 'postgres');
my $first = start($node, 'postgres');
assert_workflow($node, 'postgres', $first, 'undisturbed');
ok(worker_pid($node, 'postgres', 'releaser'), 'now there is one');

# At every boundary, whoever is there
for my $how (qw(TERM KILL crash))
{
	# nothing is released yet; the gate waits to be
	my $workflow;
	my $holder = held_at($node, 'postgres', 'releaser', 'job', sub { $workflow = start($node, 'postgres') });
	disaster($node, 'postgres', 'releaser', $how, $holder);
	assert_workflow($node, 'postgres', $workflow, "$how of the releaser before it releases");

	# the gate runs
	for my $kind (qw(executor dispatcher releaser))
	{
		next if $how eq 'crash' && $kind ne 'executor';
		my $gate = $node->background_psql('postgres');
		$gate->query_safe('SELECT pg_advisory_lock(33)');
		$workflow = start($node, 'postgres');
		wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'gate'");
		if ($kind eq 'executor' && $how ne 'crash')
		{
			my $pid = $node->safe_psql('postgres', "SELECT pid FROM unrdf.stat_workers WHERE handler = 'gate'");
			kill($how, $pid) == 1 or die "could not signal $pid: $!";
			wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
			eval { $gate->quit };
		}
		else
		{
			disaster($node, 'postgres', $kind, $how, $gate);
		}
		assert_workflow($node, 'postgres', $workflow, "$how of the $kind while a job runs");
	}

	# what was needed has run, and its receipt is about to be written: a cancel that has not committed holds it
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(33)');
	$workflow = start($node, 'postgres');
	wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'gate'");
	$holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; SELECT unrdf.cancel(job) FROM unrdf.workflow_graph WHERE workflow = $workflow AND name = 'gate'");
	$gate->quit;
	wait_for($node, 'postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unrdf executor' AND wait_event_type = 'Lock' AND wait_event = 'transactionid')));
	if ($how eq 'crash')
	{
		disaster($node, 'postgres', undef, $how, $holder);
	}
	else
	{
		my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'unrdf executor' AND wait_event = 'transactionid'));
		kill($how, $pid) == 1 or die "could not signal $pid: $!";
		wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		eval { $holder->quit };
	}
	assert_workflow($node, 'postgres', $workflow, "$how of the executor before a receipt is written");

	# what waited for it is about to be released
	$gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(33)');
	$workflow = start($node, 'postgres');
	wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'gate'");
	$holder = held_at($node, 'postgres', 'releaser', 'job', sub { $gate->quit });
	disaster($node, 'postgres', 'releaser', $how, $holder);
	assert_workflow($node, 'postgres', $workflow, "$how of the releaser before it releases what waited");
}

# Again and again, wherever it may be
for my $round (1 .. 6)
{
	my @workflows = map { start($node, 'postgres') } 1 .. 4;
	my $how = (qw(TERM KILL crash))[ $round % 3 ];
	wait_for($node, 'postgres', "SELECT count(*) >= $round * 5 FROM unrdf.workflow_graph WHERE workflow = $workflows[3] AND state NOT IN ('waiting', 'pending')") if $round < 4;
	disaster($node, 'postgres', 'releaser', $how);
	everything_ended($node, 'postgres');
	is( $node->safe_psql('postgres', 'SELECT DISTINCT state, jobs, succeeded, dead, skipped FROM unrdf.workflows WHERE id IN (' . join(',', @workflows) . ')'),
		'failed|21|17|3|1', "round $round: all of them have ended as they should");
}
assert_ledger($node, 'postgres', 'after all rounds');
assert_effects($node, 'postgres', 'after all rounds');

# A release that was not on disk when the server died is made again
$node->safe_psql('postgres', q(SELECT unrdf.create_queue('held')));
$node->safe_psql('postgres', q(SELECT unrdf.pause_queue('held')));
my $lost = $node->safe_psql('postgres', q(SELECT unrdf.enqueue_after('{}', 'effect', queue => 'held')));
wait_for($node, 'postgres', "SELECT state = 'pending' FROM unrdf.jobs WHERE id = $lost");
crash_and_start($node);
wait_for($node, 'postgres', "SELECT state = 'pending' FROM unrdf.jobs WHERE id = $lost");
is($node->safe_psql('postgres', "SELECT unrdf.cancel($lost)"), 't', 'a job that was released before or after a crash is cancelled');

# Enqueued in a transaction that was prepared, which nobody tells the releaser of
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue_after('{}', 'effect'); PREPARE TRANSACTION 'p'));
crash_and_start($node);
$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
everything_ended($node, 'postgres');
pass('a job enqueued in a prepared transaction runs once that commits');

# A session that has cancelled, and does not commit, holds up its own workflow only
my $one = $node->safe_psql('postgres', q(SELECT unrdf.create_workflow('one')));
$node->safe_psql('postgres', qq(SELECT unrdf.enqueue_after(ARRAY[unrdf.enqueue('effect', queue => 'held')], 'effect', workflow => $one)));
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; SELECT unrdf.cancel_workflow($one)");
my $other = start($node, 'postgres');
wait_for($node, 'postgres', "SELECT state = 'failed' FROM unrdf.workflows WHERE id = $other");
is($node->safe_psql('postgres', "SELECT state FROM unrdf.workflows WHERE id = $one"), 'running', 'another workflow has ended meanwhile');
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', q(SELECT unrdf.resume_queue('held')));
wait_for($node, 'postgres', "SELECT state = 'succeeded' FROM unrdf.workflows WHERE id = $one");
pass('and the one that was not cancelled after all goes on');
everything_ended($node, 'postgres');

# Dumped in between, and restored into another database
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(33)');
my $dumped = start($node, 'postgres');
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'gate'");
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'a dump');
$gate->quit;
assert_workflow($node, 'postgres', $dumped, 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/dump" ], 'is restored');
assert_workflow($node, 'restored', $dumped, 'restored');
$node->safe_psql('postgres', 'DROP DATABASE restored');

# The primary dies in between, and a standby goes on
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\n");
$node->reload;
wait_for($node, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");
$gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(33)');
my @there = map { start($node, 'postgres') } 1 .. 3;
wait_for($node, 'postgres', "SELECT count(*) >= 1 FROM unrdf.stat_workers WHERE handler = 'gate'");
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.workflow_graph WHERE workflow = ' . $there[0]), '21', 'a standby shows the graph');
$node->kill9;
eval { $gate->quit };
$standby->promote;
wait_for_workers($standby, 'postgres');
assert_workflow($standby, 'postgres', $_, "promoted: workflow $_") for @there;
assert_effects($standby, 'postgres', 'promoted');
$standby->stop;

done_testing();
