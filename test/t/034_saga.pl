# Sagas survive what can happen at each of their boundaries: the releaser, an executor or the server is ended or killed before a failure is
# written down, between that and the cancels, before the compensations are enqueued, before one runs, while one runs, before its
# receipt. Each step that succeeded is undone once, the last first, and no other. Then the same while a session cancels, and
# with a standby promoted in between.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('node', conf => "unrdf.sweep_interval = '100 ms'\n", init => { allows_streaming => 1 });
$node->start;
install($node, 'postgres');

# "pay" fails once nobody holds lock 34; the second "undo" goes on when nobody holds lock 35. Nothing keeps table undone from
# having a step twice.
$node->safe_psql('postgres', q(
	CREATE TABLE undone (n bigserial, workflow bigint, step text);
	CREATE FUNCTION pay(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		PERFORM pg_advisory_xact_lock_shared(34);
		RAISE EXCEPTION 'no money';
	END $$;
	CREATE FUNCTION undo(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.undone (workflow, step) SELECT w.workflow, $2 ->> 'step' FROM unrdf.waiting_job AS w WHERE w.id = $1;
		IF $2 ->> 'step' = 'two' THEN
			PERFORM pg_advisory_xact_lock_shared(35);
		END IF;
	END $$;
	SELECT unrdf.register_handler('pay', 'pay(bigint, jsonb)', max_attempts => 1, own_transaction => true);
	SELECT unrdf.register_handler('undo', 'undo(bigint, jsonb)', max_attempts => 10, own_transaction => true, backoff => '20 ms');
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held')));
my $spec = q({"saga": true, "steps": {
	"one": {"handler": "effect", "compensate": "undo"},
	"two": {"handler": "effect", "needs": ["one"], "compensate": "undo"},
	"three": {"handler": "effect", "needs": ["two"], "compensate": "undo"},
	"not undone": {"handler": "effect", "needs": ["three"]},
	"pay": {"handler": "pay", "needs": ["not undone"], "compensate": "undo"},
	"pending": {"handler": "effect", "queue": "held", "needs": ["three"], "compensate": "undo"},
	"waiting": {"handler": "effect", "needs": ["pending"], "compensate": "undo"}}});

sub start
{
	return $node->safe_psql('postgres', "SELECT unrdf.start_workflow('saga', '$spec')");
}

# A session that holds an advisory lock.
sub hold_lock
{
	my ($key) = @_;
	my $session = $node->background_psql('postgres');

	$session->query_safe("SELECT pg_advisory_lock($key)");
	return $session;
}

sub runs
{
	my ($handler) = @_;

	return "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = '$handler'";
}

# Checks that a saga has ended as it should.
sub assert_compensated
{
	my ($on, $workflow, $what, $reason) = @_;

	unbroken(sub { wait_for($on, 'postgres', "SELECT state = 'compensated' FROM unrdf.workflows WHERE id = $workflow") });
	drain($on, 'postgres');
	is( $on->safe_psql('postgres', qq(SELECT string_agg(step, ' ' ORDER BY n) FROM undone WHERE workflow = $workflow)),
		'three two one', "$what: what had succeeded is undone, once each, the last first");
	my $pay = $reason eq 'failed' ? 'dead' : 'cancelled';
	is( $on->safe_psql('postgres', qq(
			SELECT string_agg(coalesce(name, handler) || ' ' || state, ', ' ORDER BY name, state) FROM unrdf.workflow_graph WHERE workflow = $workflow)),
		"not undone succeeded, one succeeded, pay $pay, pending cancelled, three succeeded, two succeeded, waiting cancelled, undo succeeded, undo succeeded, undo succeeded",
		"$what: each has its receipt");
	is($on->safe_psql('postgres', "SELECT reason, compensated FROM unrdf.workflow_end WHERE workflow = $workflow"), "$reason|t", "$what: and the saga its end");
	is($on->safe_psql('postgres', "SELECT count(*) FROM effect WHERE job IN (SELECT job FROM unrdf.workflow_graph WHERE workflow = $workflow)"),
		'4', "$what: what was cancelled has no effect");
	assert_ledger($on, 'postgres', $what);
	return;
}

# Kills the executor that runs a job of a handler.
sub kill_executor_of
{
	my ($handler, $how) = @_;
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM unrdf.stat_workers WHERE handler = '$handler'");

	kill($how, $pid) == 1 or die "could not signal $pid: $!";
	wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return;
}

assert_compensated($node, start(), 'undisturbed', 'failed');

for my $how (qw(TERM KILL crash))
{
	# the releaser, as it is about to write: that the saga has failed, a cancel's receipt, the job of what is cancelled, a compensation
	for my $table (qw(workflow_end job waiting_job))
	{
		my $pay = hold_lock(34);
		my $saga = start();
		wait_for($node, 'postgres', "SELECT count(*) = 2 FROM unrdf.workflow_graph WHERE workflow = $saga AND (name = 'pay' AND state = 'running' OR name = 'pending' AND state = 'pending')");
		my $holder = held_at($node, 'postgres', 'releaser', $table, sub { $pay->quit });
		disaster($node, 'postgres', 'releaser', $how, $holder);
		assert_compensated($node, $saga, "$how of the releaser before it writes to $table", 'failed');
	}

	# whoever, while a compensation runs
	for my $kind (qw(executor dispatcher releaser))
	{
		next if $how eq 'crash' && $kind ne 'executor';
		my $undo = hold_lock(35);
		my $saga = start();
		wait_for($node, 'postgres', "SELECT (SELECT count(*) FROM undone WHERE workflow = $saga) = 1 AND count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'undo'");
		if ($kind eq 'executor' && $how ne 'crash')
		{
			kill_executor_of('undo', $how);
			eval { $undo->quit };
		}
		else
		{
			disaster($node, 'postgres', $kind, $how, $undo);
		}
		assert_compensated($node, $saga, "$how of the $kind while a compensation runs", 'failed');
	}

	# the releaser, before it releases the next compensation
	my $undo = hold_lock(35);
	my $saga = start();
	wait_for($node, 'postgres', "SELECT (SELECT count(*) FROM undone WHERE workflow = $saga) = 1 AND count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'undo'");
	my $holder = held_at($node, 'postgres', 'releaser', 'job', sub { $undo->quit });
	disaster($node, 'postgres', 'releaser', $how, $holder);
	assert_compensated($node, $saga, "$how of the releaser before it releases a compensation", 'failed');

	# a session has cancelled the saga, and not committed: nothing of that remains, and then it does
	my $pay = hold_lock(34);
	$saga = start();
	wait_for($node, 'postgres', runs('pay'));
	my $session = $node->background_psql('postgres');
	$session->query_safe("BEGIN; SELECT unrdf.cancel_workflow($saga)");
	if ($how eq 'crash')
	{
		crash_and_start($node);
	}
	else
	{
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'");
		kill($how, $pid) == 1 or die "could not signal $pid: $!";
		wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	}
	eval { $session->quit };
	if ($how eq 'TERM')
	{
		is($node->safe_psql('postgres', "SELECT state FROM unrdf.workflows WHERE id = $saga"), 'running', 'a cancel that did not commit was none');
		is($node->safe_psql('postgres', "SELECT unrdf.cancel_workflow($saga)"), '3', 'one that does is');
		$pay->quit;
		assert_compensated($node, $saga, 'cancelled', 'cancelled');
	}
	else
	{
		eval { $pay->quit };
		assert_compensated($node, $saga, "$how of a session that cancels", 'failed');
	}
}

# The primary dies while a compensation runs, and a standby goes on with it
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\n");
$node->reload;
wait_for($node, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");
my $undo = hold_lock(35);
my $saga = start();
wait_for($node, 'postgres', "SELECT (SELECT count(*) FROM undone WHERE workflow = $saga) = 1 AND count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'undo'");
$node->kill9;
eval { $undo->quit };
$standby->promote;
assert_compensated($standby, $saga, 'promoted', 'failed');
$standby->stop;

done_testing();
