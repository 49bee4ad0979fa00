# The test kit: a clock that can be set, running what is due, forced failures at every point, and what they leave.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Unrdf;

my $node = new_node('testkit', conf => "unrdf.test_kit = on\nunrdf.sweep_interval = '30 s'\n");
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE FUNCTION later(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT EXISTS (SELECT FROM unrdf.attempt WHERE job = id) THEN RAISE 'as asked'; END IF;
	END $$;
	SELECT unrdf.register_handler('later', 'later(bigint, jsonb)', backoff => '1 hour')));

sub value
{
	return $node->safe_psql('postgres', $_[0]);
}

# The clock: for all processes at once, for this database only, and it goes on
$node->safe_psql('postgres', 'CREATE DATABASE other');
install($node, 'other');
wait_for_workers($node, $_) for qw(postgres other);
is(value(q(SELECT unrdf.test_set_time('2040-01-01 00:00:00+00') = '2040-01-01 00:00:00+00')), 't', 'the clock is set');
is(value(q(SELECT unrdf.clock() BETWEEN '2040-01-01 00:00:00+00' AND '2040-01-01 01:00:00+00')), 't', 'for every session');
is(value(q(SELECT a < unrdf.clock() FROM (SELECT unrdf.clock() AS a, pg_sleep(0.002)) AS s)), 't', 'and goes on');
is($node->safe_psql('other', q(SELECT unrdf.clock() < '2040-01-01')), 't', 'not in another database');
is(value(q(SELECT unrdf.enqueue('effect', run_at => '2040-01-01 12:00:00+00') AS id \gset
	SELECT state FROM unrdf.jobs WHERE id = :id)), 'scheduled', 'a job is not due yet');
is(value(q(SELECT unrdf.test_run_due())), '0', 'nothing is due');
is(value(q(SELECT unrdf.test_advance('12 hours') > '2040-01-01 12:00:00+00')), 't', 'the clock is advanced');
is(value(q(SELECT unrdf.wait(max(id), '20 s') FROM unrdf.job)), 'ok', 'and the job runs at once, whatever the sweep');
is(value(q(SELECT started_at BETWEEN '2040-01-01 12:00:00+00' AND '2040-01-01 13:00:00+00' FROM unrdf.receipt ORDER BY id DESC LIMIT 1)), 't', 'its receipt goes by that clock');
is(value(q(SELECT unrdf.test_advance('-1 day') < '2039-12-31 13:00:00+00')), 't', 'the clock goes back');
is(value(q(SELECT unrdf.wait(unrdf_id) FROM (SELECT max(id) AS unrdf_id FROM unrdf.job) AS j)), 'ok', 'and everything answers');
is(value(q(SELECT abs(extract(epoch FROM unrdf.test_real_time() - clock_timestamp())) < 60)), 't', 'the real time again');
sql_fails($node, 'postgres', "SELECT unrdf.test_set_time('infinity');", '22008', qr/cannot be set to infinity/, 'not to infinity');

# Held jobs run only when asked for, and so can be counted
$node->safe_psql('postgres', q(SELECT unrdf.test_hold(); SELECT unrdf.create_queue('q')));
$node->safe_psql('postgres', q(
	SELECT unrdf.enqueue('effect') FROM generate_series(1, 3);
	SELECT unrdf.enqueue('effect', queue => 'q') FROM generate_series(1, 2);
	SELECT unrdf.enqueue('later');
	SELECT unrdf.enqueue('effect', run_at => now() + '2 hours')));
is($node->safe_psql('other', q(SELECT unrdf.enqueue('effect') AS id \gset
	SELECT unrdf.wait(:id, '60 s'))), 'ok', 'those of another database are not held');
is(value(q(SELECT string_agg(DISTINCT state, ' ') FROM unrdf.jobs WHERE finished_at IS NULL)), 'pending scheduled', 'held');
is(value(q(SELECT unrdf.test_run_due('q'))), '2', 'those of a queue are waited for');
is(value(q(SELECT unrdf.test_run_due() >= 0)), 't', 'and all others');
is(value(q(SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM unrdf.jobs WHERE finished_at IS NULL GROUP BY 1) AS s)), 'retrying 1, scheduled 1', 'what is due later is left');
is(value(q(SELECT unrdf.test_advance('90 minutes') IS NOT NULL, unrdf.test_run_due())), 't|1', 'the one that failed is tried again');
is(value(q(SELECT unrdf.test_advance('90 minutes') IS NOT NULL, unrdf.test_run_due())), 't|1', 'the delayed one runs');
# handlers that enqueue, and events, are part of it; so is a bound
$node->safe_psql('postgres', q(
	CREATE FUNCTION again(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM unrdf.enqueue('again', '{}') WHERE (args ->> 'n')::int IS NULL; END $$;
	CREATE FUNCTION emits(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM unrdf.emit('seen'); END $$;
	SELECT unrdf.register_handler('again', 'again(jsonb)');
	SELECT unrdf.register_handler('emits', 'emits(jsonb)');
	SELECT unrdf.on_event('seen', 'effect');
	SELECT unrdf.enqueue('emits')));
is(value(q(SELECT unrdf.test_run_due())), '2', 'a job that emits, and the one of its event');
$node->safe_psql('postgres', q(SELECT unrdf.enqueue('again')));
cmp_ok(value(q(SELECT unrdf.test_run_due(max => 5))), '>=', 5, 'an endless chain is left at a bound');
# so are jobs that wait for others, and what undoes a saga's steps
$node->safe_psql('postgres', q(CREATE OR REPLACE FUNCTION again(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT'));
value('SELECT unrdf.test_run_due()');
my $chain = value(q(SELECT unrdf.start_workflow('chain', '{"steps": {
	"a": {"handler": "effect", "for_each": [{}, {}, {}]}, "b": {"handler": "effect", "needs": ["a"]},
	"c": {"handler": "effect", "needs": ["b"]}, "d": {"handler": "effect", "needs": ["c"]}}}')));
is(value('SELECT unrdf.test_run_due()'), '6', 'a workflow is run to its end');
value(q(SELECT unrdf.register_handler('never', 'later(bigint, jsonb)', max_attempts => 1)));
my $saga = value(q(SELECT unrdf.start_workflow('undone', '{"saga": true, "steps": {
	"a": {"handler": "effect", "compensate": "again"}, "b": {"handler": "never", "needs": ["a"]}, "c": {"handler": "effect", "needs": ["b"]}}}')));
is(value('SELECT unrdf.test_run_due()'), '4', 'a saga that fails');
is(value("SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM unrdf.workflows WHERE id IN ($chain, $saga)"), 'chain succeeded, undone compensated', 'is undone');
sql_fails($node, 'postgres', "BEGIN; SELECT unrdf.enqueue_after('{}', 'effect'); SELECT unrdf.test_run_due();", '55000', qr/cannot run jobs or events of this transaction/, 'waiting jobs of this transaction');
# and what the clock of schedules enqueues
value(q(SELECT unrdf.schedule('daily', '@daily', 'effect', overlap => 'queue')));
is(value(q(SELECT unrdf.test_set_time(next_at) = next_at FROM unrdf.schedules)), 't', 'the clock is set to a tick');
$node->safe_psql('postgres', 'CALL unrdf.run_schedules(wait => false)');
is(value('SELECT unrdf.test_run_due()'), '1', 'whose job is run');
value(q(SELECT unrdf.test_advance('1 day')));
$node->safe_psql('postgres', 'CALL unrdf.run_schedules(wait => false)');
is(value('SELECT unrdf.test_run_due()'), '1', 'and so is that of the next one');
is(value(q(SELECT string_agg(DISTINCT action, ' '), max(due_at) - min(due_at) FROM unrdf.schedule_runs)), 'enqueued|1 day', 'each at its time');
value(q(SELECT unrdf.unschedule('daily')));
# a job of a worker outside is the test's to claim
$node->safe_psql('postgres', "SELECT unrdf.register_outside_handler('elsewhere'); SELECT unrdf.on_event('told', 'elsewhere'); SELECT unrdf.emit('told')");
is(value('SELECT unrdf.test_run_due()'), '0', 'what workers outside run is not waited for');
is(value(q(SELECT args->>'name', unrdf.complete(token) FROM unrdf.claim('{default}', wait => '20 s'))), 'told|', 'but is there to be claimed, also one of an event');
# what is behind a job that has to be tried first is not due
value(q(SELECT unrdf.create_queue('strict'), unrdf.alter_queue('strict', '{"fifo": "wait"}')));
$node->safe_psql('postgres', q(
	SELECT unrdf.enqueue('later', queue => 'strict', group_key => 'a');
	SELECT unrdf.enqueue('effect', queue => 'strict', group_key => 'a');
	SELECT unrdf.enqueue('effect', queue => 'strict', group_key => 'b')));
is(value("SELECT unrdf.test_run_due('strict')"), '1', 'of a strict group that has to wait nothing is due');
is(value("SELECT unrdf.test_advance('2 hours') IS NOT NULL, unrdf.test_run_due('strict')"), 't|2', 'until its first job is');

$node->safe_psql('postgres', q(SELECT unrdf.test_hold(false), unrdf.test_real_time()));
drain($node, 'postgres');
pass('and goes by itself when nothing is held any more');
sql_fails($node, 'postgres', "SELECT unrdf.test_run_due('nothing');", '42704', qr/queue "nothing" does not exist/, 'an unknown queue');
sql_fails($node, 'postgres', "SELECT unrdf.pause_queue('q'); SELECT unrdf.test_run_due('q');", '55000', qr/queue "q" is paused/, 'a paused queue');
$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', queue => 'q')");
is(value(q(SELECT unrdf.test_run_due())), '0', 'others are not waited for while it is paused');
$node->safe_psql('postgres', "SELECT unrdf.resume_queue('q')");
sql_fails($node, 'postgres', "SELECT unrdf.test_run_due(max => 0);", '22023', qr/max must be positive/, 'a bound that is none');
sql_fails($node, 'postgres', "BEGIN; SELECT unrdf.enqueue('effect'); SELECT unrdf.test_run_due();", '55000', qr/cannot run jobs or events of this transaction/, 'jobs of this transaction');
sql_fails($node, 'postgres', "BEGIN; SELECT unrdf.emit('seen'); SELECT unrdf.test_run_due();", '55000', qr/cannot run jobs or events of this transaction/, 'events of this transaction');
$node->safe_psql('postgres', "SELECT unrdf.test_hold(); SELECT unrdf.enqueue('effect', '{\"sleep\": 3600}')");
sql_fails($node, 'postgres', "SET statement_timeout = '200 ms'; SELECT unrdf.test_run_due();", '57014', qr/statement timeout/, 'it can be interrupted');
$node->safe_psql('postgres', 'SELECT count(unrdf.cancel(id)) FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)');
$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect')");
is(value(q(SELECT state FROM unrdf.jobs ORDER BY id DESC LIMIT 1)), 'pending', 'and does not go on letting jobs run');
is(value('SELECT unrdf.test_run_due()'), '1', 'unless it is asked again');

$node->append_conf('postgresql.conf', "unrdf.sweep_interval = '200 ms'\n");
$node->reload;

# Forced failures: whatever happens at whatever point, a job has its effect once and its receipt with it
for my $action (qw(error exit crash))
{
	for my $point (qw(dispatch execute executed execute.commit execute.committed fail.commit fail.committed integrate.commit integrate.committed))
	{
		my $fails = $point =~ /^fail/ ? '{"fail": 1}' : '{}';
		my $ids = $node->safe_psql('postgres', "SELECT unrdf.test_hold(false); SELECT unrdf.test_fail_at('$point', 1, '$action')");
		my $position = log_position($node);
		# who enqueues may not live to hear that it was committed
		$node->psql('postgres', "SELECT unrdf.enqueue('effect', '$fails') FROM generate_series(1, 5)");
		my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
		until (log_since($node, $position) =~ /test point "\Q$point\E": $action/)
		{
			die "$point is never reached" if time() > $until;
			usleep(10_000);
		}
		drain($node, 'postgres');
		assert_effects($node, 'postgres', "$action at $point");
	}
}
# likewise who releases jobs that wait, and who fires schedules
for my $action (qw(error exit crash))
{
	for my $point (qw(release.commit release.committed tick.commit tick.committed))
	{
		my ($jobs, $runs) = split /\|/, value('SELECT (SELECT count(*) FROM unrdf.job), count(job) FROM unrdf.schedule_run');
		my $position = log_position($node);

		$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('$point', 1, '$action')");
		if ($point =~ /^tick/)
		{
			value(q(SELECT unrdf.schedule('soon', '1 second', 'effect', overlap => 'queue')));
			value("SELECT unrdf.test_set_time(next_at) FROM unrdf.schedules");
			$node->psql('postgres', 'CALL unrdf.run_schedules(wait => false)');
			$node->poll_query_until('postgres', 'SELECT true');
			wait_for($node, 'postgres', 'SELECT next_at < unrdf.clock() FROM unrdf.schedules');
			$node->safe_psql('postgres', 'CALL unrdf.run_schedules(wait => false)');
			is(value("SELECT count(job) > $runs, count(job) - $runs - (SELECT count(*) - $jobs FROM unrdf.job) FROM unrdf.schedule_run"),
				't|0', "$action at $point: each tick has its job");
			value(q(SELECT unrdf.unschedule('soon')));
		}
		else
		{
			$node->psql('postgres', q(SELECT unrdf.start_workflow('w', '{"steps": {"a": {"handler": "effect"}, "b": {"handler": "effect", "needs": ["a"]}}}')));
			wait_for($node, 'postgres', "SELECT count(*) = $jobs + 2 FROM unrdf.job");
		}
		like(log_since($node, $position), qr/test point "\Q$point\E": $action/, "$point is reached");
		drain($node, 'postgres');
		assert_effects($node, 'postgres', "$action at $point");
	}
}
# and workers outside
$node->safe_psql('postgres', "SELECT unrdf.register_outside_handler('outside')");
for my $action (qw(error exit crash))
{
	for my $point (qw(claim complete))
	{
		my $position = log_position($node);
		my $job = value("SELECT unrdf.enqueue('outside')");

		$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('$point', 1, '$action')");
		for (1 .. 20)
		{
			$node->psql('postgres', "SELECT unrdf.complete(token) FROM unrdf.claim('{default}', 1, '1 min', '1 s')");
			$node->poll_query_until('postgres', 'SELECT true');
			last if value("SELECT count(*) FROM unrdf.receipt WHERE id = $job");
		}
		like(log_since($node, $position), qr/test point "\Q$point\E": $action/, "$point is reached");
		is(value("SELECT outcome FROM unrdf.receipt WHERE id = $job"), '1', "$action at $point: the job is done");
	}
}
drain($node, 'postgres');
is(value("SELECT string_agg(DISTINCT state, ' ') FROM unrdf.jobs WHERE id NOT IN (SELECT job FROM unrdf.workflow_graph WHERE workflow = $saga)"), 'cancelled succeeded', 'all jobs have succeeded');

# who dies between the commit of a failed attempt and saying so leaves a job that can still fail for good
for my $action (qw(error exit))
{
	$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('fail.committed', 1, '$action')");
	is(value(q(SELECT unrdf.enqueue('effect', '{"fail": 9}', max_attempts => 3) AS id \gset
		SELECT unrdf.wait(:id, '60 s'))), 'dead', "$action behind a failed attempt: the next ones have numbers of their own");
	is(value('SELECT string_agg(n::text, $$ $$ ORDER BY n) FROM unrdf.attempt WHERE job = (SELECT max(id) FROM unrdf.job)'), '1 2 3', 'and all count');
	$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('fail.committed', 1, '$action')");
	is(value(q(SELECT unrdf.enqueue('effect', '{"fail": 1}') AS id \gset
		SELECT unrdf.wait(:id, '60 s') AS verdict \gset
		SELECT :'verdict', attempt FROM unrdf.receipt WHERE id = :id)), 'ok|2', 'and the one that succeeds knows which it is');
	$node->safe_psql('postgres', "SELECT unrdf.test_clear('fail.committed')");
}
assert_ledger($node, 'postgres', 'in the end');

# wait: somebody stands still at a point until he is let go
$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('executed', 2, 'wait')");
my $waiting = $node->safe_psql('postgres', "SELECT unrdf.enqueue('effect'); SELECT unrdf.enqueue('effect')");
wait_for($node, 'postgres', "SELECT pid IS NOT NULL FROM unrdf.test_points WHERE point = 'executed'");
is(value(q(SELECT action, nth, reached, t.pid = w.pid FROM unrdf.test_points AS t, unrdf.stat_workers AS w WHERE point = 'executed' AND w.job IS NOT NULL AND w.pid = t.pid)), 'wait|2|2|t', 'it is seen who waits');
is($node->safe_psql('postgres', 'SELECT count(*) FROM unrdf.test_points WHERE action IS NOT NULL'), '1', 'and nobody else does');
$node->safe_psql('postgres', "SELECT unrdf.test_clear('executed')");
drain($node, 'postgres');
assert_effects($node, 'postgres', 'let go');
# an executor that waits can be ended
$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('execute', 1, 'wait'); SELECT unrdf.enqueue('effect')");
wait_for($node, 'postgres', "SELECT pid IS NOT NULL FROM unrdf.test_points WHERE point = 'execute'");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM unrdf.test_points WHERE point = 'execute'");
drain($node, 'postgres');
assert_effects($node, 'postgres', 'ended while it waited');

# What is refused
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at('nowhere');", '42704', qr/test point "nowhere" does not exist.*unrdf\.test_points/s, 'an unknown point');
sql_fails($node, 'postgres', "SELECT unrdf.test_clear('nowhere');", '42704', qr/test point "nowhere" does not exist/, 'to clear an unknown point');
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at('execute', 0);", '22023', qr/nth must be positive/, 'the zeroth time');
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at('execute', 1, 'explode');", '22023', qr/action must be error, exit, crash or wait/, 'an unknown action');
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at('execute', 1, 'nothing');", '22023', qr/action must be/, 'nothing is no action');
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at(NULL);", '22004', qr/must not be null/, 'a null');
sql_fails($node, 'postgres', "SELECT unrdf.test_fail_at('enqueue'); SELECT unrdf.enqueue('effect');", '58000', qr/forced failure at test point "enqueue"/, 'an enqueuer fails as well');
is(value('SELECT count(*) FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)'), '0', 'and has enqueued nothing');
# a restart forgets
$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('execute'); SELECT unrdf.test_advance('1 day')");
$node->restart;
is(value("SELECT count(*) FILTER (WHERE action IS NOT NULL), unrdf.clock() < clock_timestamp() + interval '1 hour' FROM unrdf.test_points"), '0|t', 'a restart forgets it all');
$node->stop;
done_testing();
