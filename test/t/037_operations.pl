# Operations of a whole server: the numbers of queues beside what counting says, after load, crashes and prepared transactions;
# queues drained and dropped under load, nothing lost; a pool that is scaled at run time; and why jobs do not run.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('node', conf => "max_prepared_transactions = 20\nunrdf.floor_interval = '100 ms'\nunrdf.sweep_interval = '200 ms'\n");
$node->start;
install($node, 'postgres');

# Rows where the numbers differ from what counting finds.
$node->safe_psql('postgres', q(
	SELECT unrdf.create_queue('q' || i) FROM generate_series(0, 6) AS i;
	SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '20 ms', max_attempts => 3);
	CREATE VIEW counted AS SELECT q.name, count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'scheduled') AS scheduled, count(*) FILTER (WHERE state = 'running') AS running,
		count(*) FILTER (WHERE state = 'retrying') AS retrying, count(*) FILTER (WHERE state = 'succeeded') AS succeeded, count(*) FILTER (WHERE state = 'dead') AS dead, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
		count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'skipped') AS skipped
		FROM unrdf.queues AS q LEFT JOIN unrdf.jobs AS j ON j.queue = q.name GROUP BY 1;
	CREATE VIEW differs AS SELECT d::text AS numbers, c::text AS counted FROM unrdf.queue_depths AS d JOIN counted AS c ON c.name = d.queue
		WHERE (d.pending, d.scheduled, d.running, d.retrying, d.succeeded, d.dead, d.cancelled, d.waiting, d.skipped) IS DISTINCT FROM (c.pending, c.scheduled, c.running, c.retrying, c.succeeded, c.dead, c.cancelled, c.waiting, c.skipped);
	CREATE FUNCTION reason(job bigint) RETURNS text LANGUAGE sql AS $$ SELECT facts->>'reason' FROM unrdf.why(job) $$;
));

# Checks that numbers and counts agree, and that this is more than nothing. Nothing may be going on.
sub assert_numbers
{
	my ($what) = @_;

	is($node->safe_psql('postgres', 'SELECT * FROM differs'), '', "$what: the numbers are what counting finds")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM unrdf.queue_numbers()'));
	return;
}

sub write_script
{
	my ($name, $text) = @_;

	append_to_file("$dir/$name", $text);
	return ('-f', "$dir/$name");
}

# Sessions that enqueue, roll back to savepoints and altogether, prepare, cancel; jobs that fail and are dead; and readers, who find the
# numbers unknown after every COMMIT PREPARED and count while all that goes on.
my @load = (
	write_script('enqueue', q(\set r random(1, 100)
BEGIN;
SELECT unrdf.enqueue('effect', jsonb_build_object('fail', :r % 5), queue => 'q' || (:r % 5));
SAVEPOINT s;
SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[3]), queue => 'q' || (:r % 7));
\if :r > 50
ROLLBACK TO s;
\endif
SELECT unrdf.enqueue('effect', queue => 'q' || (:r % 3), run_at => now() + interval '1 day' * (:r / 80));
\if :r > 90
ROLLBACK;
\else
COMMIT;
\endif
)),
	write_script('prepare', q(BEGIN;
SELECT unrdf.enqueue('effect', queue => 'q1'), unrdf.enqueue('effect', '{"fail": 1}', queue => 'q2');
PREPARE TRANSACTION 'p:client_id';
COMMIT PREPARED 'p:client_id';
)),
	write_script('cancel', q(\set r random(1, 100)
BEGIN;
SELECT unrdf.cancel(id) FROM unrdf.jobs WHERE finished_at IS NULL AND id % 10 = :r % 10 ORDER BY attempts DESC LIMIT 1;
\if :r > 80
ROLLBACK;
\else
COMMIT;
\endif
)),
	# a saga of which a step may fail, with a fan-out, and a job that is skipped when that fails
	write_script('workflow', q(\set r random(1, 100)
BEGIN;
SELECT unrdf.create_workflow('load', saga => :r > 50) AS w \gset
SELECT unrdf.enqueue_after('{}', 'effect', queue => 'q4', workflow => :w, compensate => CASE WHEN :r > 50 THEN 'effect' END) AS a \gset
SELECT min(id) AS first, max(id) AS last FROM unrdf.fan_out(ARRAY[:a], 'effect', array_fill(jsonb_build_object('fail', :r % 4), ARRAY[3]), queue => 'q5', workflow => :w) AS id \gset
SELECT unrdf.enqueue_after(ARRAY[:first, :last], 'effect', queue => 'q4', on_failure => '{skip}', workflow => :w) AS joins, unrdf.enqueue_after(ARRAY[:a], 'effect', queue => 'q3', run_at => now() + interval '1 day') AS later \gset
SAVEPOINT s;
SELECT unrdf.cancel(:later);
\if :r > 60
ROLLBACK TO s;
\endif
\if :r > 90
ROLLBACK;
\else
COMMIT;
\endif
\if :r < 20
SELECT unrdf.cancel_workflow(:w);
\endif
)),
	write_script('read', "SELECT sum(pending + scheduled + running + retrying) FROM unrdf.queue_depths;\n"));

sub load
{
	$node->command_ok([ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', 40, '-d', $node->connstr('postgres'), map { /^-/ ? $_ : "$_\@" . (/enqueue/ ? 5 : 1) } @load ], $_[0]);
	return;
}

load('load, with jobs running');
wait_for($node, 'postgres', 'SELECT sum(waiting) = 0 FROM unrdf.queue_depths');
$node->safe_psql('postgres', "SELECT count(*) FROM unrdf.cancel_jobs(handler => 'effect', state => 'scheduled')");
drain($node, 'postgres');
assert_numbers('everything has ended');
assert_ledger($node, 'postgres', 'loaded');
assert_effects($node, 'postgres', 'loaded');
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM unrdf.jobs WHERE state = $$dead$$ AND attempts > 1'), 't', 'some are dead');
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM unrdf.jobs WHERE state = $$cancelled$$'), 't', 'some are cancelled');
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM unrdf.jobs WHERE state = $$skipped$$'), 't', 'some are skipped');

# Paused, so that all of it stays; a failed attempt among it
$node->safe_psql('postgres', q(SELECT unrdf.register_handler('later', 'effect(bigint, jsonb)', backoff => '1 day', backoff_cap => '1 day', max_attempts => 3)));
$node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.enqueue_many('later', array_fill('{"fail": 1}'::jsonb, ARRAY[200]), queue => 'q3')));
wait_for($node, 'postgres', q(SELECT retrying = 200 FROM unrdf.queue_depths WHERE queue = 'q3'));
$node->safe_psql('postgres', 'SELECT unrdf.pause_queue(name) FROM unrdf.queues');
wait_for($node, 'postgres', q(SELECT count(*) = 0 FROM unrdf.stat_workers WHERE job IS NOT NULL));
load('load, with queues paused');
assert_numbers('paused');
is($node->safe_psql('postgres', 'SELECT sum(pending) > 100 AND sum(scheduled) > 10 AND sum(retrying) > 0 AND sum(waiting) > 10 FROM unrdf.queue_depths'), 't', 'there is something to count');

# Counted anew after a crash and after a clean start, from the floor on; a transaction that was prepared before is committed after it
$node->safe_psql('postgres', q(BEGIN; SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[7]), queue => 'q6'); PREPARE TRANSACTION 'before';));
wait_for($node, 'postgres', 'SELECT count(*) = 1 FROM unrdf.dispatch_floor');
crash_and_start($node);
assert_numbers('crashed');
$node->safe_psql('postgres', "COMMIT PREPARED 'before'");
assert_numbers('prepared before a crash, committed after it');
$node->restart;
assert_numbers('restarted');
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue('effect', queue => 'q6'); PREPARE TRANSACTION 'never';));
assert_numbers('prepared');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'never'");
assert_numbers('rolled back');

# Somebody may commit at any moment of a count: one that began before it, and one that its snapshot does not see
my $open = $node->background_psql('postgres');
$open->query_safe(q(BEGIN; SELECT unrdf.enqueue('effect', queue => 'q6')));
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue('effect', queue => 'q6'); PREPARE TRANSACTION 'forget';));
$node->safe_psql('postgres', "COMMIT PREPARED 'forget'");
assert_numbers('a transaction in progress');
$open->query_safe('COMMIT');
assert_numbers('and when it has committed');

# Who counts has ended jobs itself, not committed yet: one that waits, and one that waited
my ($needs, $waits_for) = map { $node->safe_psql('postgres', $_) } q(SELECT unrdf.enqueue('effect', queue => 'q6')), q(SELECT unrdf.enqueue_after('{}', 'effect', queue => 'q6'));
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.job WHERE id = $waits_for");
$needs = $node->safe_psql('postgres', "SELECT unrdf.enqueue_after(ARRAY[$needs], 'effect', queue => 'q6')");
$open->query_safe("BEGIN; SELECT unrdf.cancel($needs), unrdf.cancel($waits_for)");
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue('effect', queue => 'q6'); PREPARE TRANSACTION 'forget';));
$node->safe_psql('postgres', "COMMIT PREPARED 'forget'");
$open->query_safe('SELECT count(*) FROM unrdf.queue_depths');
assert_numbers('ended by who counts');
$open->query_safe('COMMIT');
assert_numbers('and committed');

# An attempt that fails while somebody who has not committed ends the job: the attempt leaves nothing
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(37)');
$node->safe_psql('postgres', q(
	CREATE FUNCTION blocked(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_advisory_xact_lock(37);
		IF args ? 'fail' THEN
			RAISE EXCEPTION 'as asked';
		END IF;
	END $$;
	SELECT unrdf.register_handler('blocked', 'blocked(bigint, jsonb)', backoff => '1 day', backoff_cap => '1 day');
	SELECT unrdf.create_queue('free');
));
my $racing = $node->safe_psql('postgres', q(SELECT unrdf.enqueue('blocked', '{"fail": 1}', queue => 'free')));
wait_for($node, 'postgres', "SELECT reason($racing) = 'running'");
$open->query_safe("BEGIN; SELECT unrdf.cancel($racing)");
my $position = log_position($node);
$lock->query_safe('SELECT pg_advisory_unlock(37)');
wait_for($node, 'postgres', "SELECT reason($racing) = 'being_ended'");
$open->query_safe('COMMIT');
like(log_since($node, $position), qr/could not record the failure of job $racing: job $racing is being ended/, 'an attempt that fails while its job is being ended is not recorded');
wait_for($node, 'postgres', q(SELECT count(*) = 0 FROM unrdf.stat_workers WHERE job IS NOT NULL));
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.attempt WHERE job = $racing"), '0', 'it has left no attempt');
assert_numbers('cancelled while it failed');

# A queue that is dropped while others enqueue in it: whoever was told a job's id finds it in one queue or the other, to run once
my @enqueue = write_script('racing', q(SELECT unrdf.enqueue('effect', queue => 'busy');
SELECT unrdf.enqueue('effect', queue => 'busy');
BEGIN;
SELECT unrdf.enqueue('effect', queue => 'busy');
SELECT unrdf.enqueue('effect', queue => 'free');
COMMIT;
));
$node->safe_psql('postgres', q(SELECT unrdf.create_queue('busy')));
my $racers = IPC::Run::start([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 100000, '-d', $node->connstr('postgres'), @enqueue ], '<', '/dev/null', '>', "$dir/racing.out", '2>', "$dir/racing.err");
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('busy') + succeeded > 200 FROM unrdf.queue_depths WHERE queue = 'busy'));
$node->safe_psql('postgres', q(CALL unrdf.drop_queue('busy', 'move', 'free')));
$racers->finish;
like(slurp_file("$dir/racing.err"), qr/queue "busy" (takes no new jobs|does not exist)/, 'who enqueues is told');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('free') = 0));
is($node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.jobs WHERE queue = 'busy' AND finished_at IS NULL)), '0', 'no job is left in the dropped queue');
is($node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.jobs AS j WHERE j.queue = 'busy' AND j.state = 'cancelled' AND (SELECT count(*) FROM unrdf.jobs AS m WHERE m.retry_of = j.id AND m.queue = 'free' AND m.state = 'succeeded') <> 1)),
	'0', 'every job that was moved has run there');
assert_effects($node, 'postgres', 'moved');
assert_numbers('moved');

# One that is dropped while somebody enqueues in another, all of the time
my $elsewhere = $node->background_psql('postgres', on_error_stop => 0);
$elsewhere->query_until(qr/begun/, q(\echo begun
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 3755) LOOP PERFORM unrdf.enqueue('effect', queue => 'free'), pg_sleep(0.01); COMMIT; END LOOP; END $$;
));
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', "SELECT unrdf.create_queue('passing$i')");
	$node->safe_psql('postgres', "CALL unrdf.drop_queue('passing$i')");
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.queues WHERE name LIKE 'passing%')), '0', 'who enqueues elsewhere does not keep a queue from being dropped');
$lock->query_safe('SELECT pg_advisory_lock(3755)');
$elsewhere->quit;
$lock->query_safe('SELECT pg_advisory_unlock(3755)');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('free') = 0));

# Ten thousand queues
$node->safe_psql('postgres', q(SELECT count(unrdf.create_queue('many' || i)) FROM generate_series(1, 10000) AS i));
$node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect', queue => 'many' || i, run_at => now() + interval '1 day') FROM generate_series(1, 10000, 7) AS i));
assert_numbers('ten thousand queues');
is($node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.queue_depths WHERE scheduled = 1 AND queue LIKE 'many%')), '1429', 'each has its own number');
$node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.cancel_jobs(key_like => NULL, handler => 'effect', state => 'scheduled')));
$node->stop;

# Why: with one executor, and a job that holds it
$node->append_conf('postgresql.conf', "unrdf.min_executors = 1\nunrdf.max_executors = 1\n");
$node->start;
wait_for_workers($node, 'postgres');
$node->safe_psql('postgres', q(SELECT unrdf.create_queue('why'), unrdf.create_queue('else')));
$lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(37)');

sub enqueue
{
	my ($handler, $options) = @_;

	return $node->safe_psql('postgres', "SELECT unrdf.enqueue('$handler', queue => 'why'" . ($options // '') . ')');
}

sub why_is
{
	my ($job, $reason, $pattern, $what) = @_;
	my ($is, $sentence) = split /\|/, $node->safe_psql('postgres', "SELECT facts->>'reason', sentence FROM unrdf.why($job)");

	ok($is eq $reason && $sentence =~ $pattern, "why: $what") or diag("$is: $sentence");
	return;
}

my $running = enqueue('blocked');
wait_for($node, 'postgres', "SELECT reason($running) = 'running'");
my @waiting = map { enqueue('effect') } 1 .. 3;
my $urgent = enqueue('effect', ', priority => 0');
why_is($urgent, 'executors_busy', qr/^It is next, and all 1 executors are busy: 1 with "blocked"\.$/, 'the executors are busy');
why_is($waiting[2], 'behind', qr/^2 jobs of its queue and priority and 1 of higher priority go first, and all 1 executors are busy: 1 with "blocked"\.$/, 'others go first');
$node->safe_psql('postgres', 'INSERT INTO unrdf.restoring VALUES (now())');
why_is($waiting[0], 'restore', qr/^A restore is under way/, 'a restore');
$node->safe_psql('postgres', 'DELETE FROM unrdf.restoring');
# a cancel that has not been committed, by a session and prepared
$open->quit;
$open = $node->background_psql('postgres');
my $pid = $open->query_safe('SELECT pg_backend_pid()');
$open->query_safe("BEGIN; SELECT unrdf.cancel($waiting[2])");
why_is($waiting[2], 'being_ended', qr/^A transaction of process $pid ends it/, 'an uncommitted cancel');
$open->query_safe("PREPARE TRANSACTION 'cancel'");
why_is($waiting[2], 'being_ended', qr/^Prepared transaction "cancel" ends it/, 'a prepared cancel');
$open->query_safe("ROLLBACK PREPARED 'cancel'");
# a releaser that has not come to it
my $releaser = worker_pid($node, 'postgres', 'releaser');
kill 'STOP', $releaser;
my $waits_still = $node->safe_psql('postgres', q(SELECT unrdf.enqueue_after('{}', 'effect', queue => 'why')));
why_is($waits_still, 'released', qr/^Nothing that it needs is open/, 'about to be released');
kill 'CONT', $releaser;
# a dispatcher that does not answer, and none: the launcher, which would start another, is stopped
my ($launcher, $dispatcher) = map { worker_pid($node, 'postgres', $_) } qw(launcher dispatcher);
kill 'STOP', $dispatcher;
why_is($waiting[0], 'silent', qr/^The dispatcher, process $dispatcher, has not answered for 2 seconds\.$/, 'a dispatcher that hangs');
kill 'CONT', $dispatcher;
kill 'STOP', $launcher;
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
why_is($waiting[0], 'no_dispatcher', qr/^The dispatcher of this database is not running\.$/, 'no dispatcher');
kill 'CONT', $launcher;
wait_for_workers($node, 'postgres');
$lock->query_safe('SELECT pg_advisory_unlock(37)');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('why') = 0));

# Short jobs share a transaction: one is in hand, behind another that takes long
$node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.enqueue_many('blocked', array_fill('{}'::jsonb, ARRAY[50]), queue => 'else')));
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('else') = 0));
$lock->query_safe('SELECT pg_advisory_lock(37)');
my ($first, $second) = split /\|/, $node->safe_psql('postgres', q(SELECT min(id), max(id) FROM unrdf.enqueue_many('blocked', '{"{}","{}"}', queue => 'why') AS id));
wait_for($node, 'postgres', "SELECT reason($first) = 'running'");
why_is($second, 'handed_out', qr/^An executor has it in hand/, 'in hand, behind another');
$lock->query_safe('SELECT pg_advisory_unlock(37)');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('why') = 0));

# The pool follows its settings. What the handler's jobs did before, which was to compute, says nothing of those that wait.
$node->safe_psql('postgres', q(
	CREATE OR REPLACE FUNCTION blocked(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF args ? 'compute' THEN
			PERFORM count(*) FROM generate_series(1, 20000);
		ELSE
			PERFORM pg_advisory_xact_lock(37);
		END IF;
	END $$;
	SELECT count(*) FROM unrdf.enqueue_many('blocked', array_fill('{"compute": 1}'::jsonb, ARRAY[200]), queue => 'else');
));
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('else') = 0));
$lock->query_safe('SELECT pg_advisory_lock(37)');
$node->append_conf('postgresql.conf', "unrdf.max_executors = 5\n");
$node->reload;
$node->safe_psql('postgres', q(SELECT unrdf.register_handler('blocked', 'blocked(bigint, jsonb)', own_transaction => true)));
my $job = $node->safe_psql('postgres', q(SELECT min(id) FROM unrdf.enqueue_many('blocked', array_fill('{}'::jsonb, ARRAY[20]), queue => 'why') AS id));
wait_for($node, 'postgres', q(SELECT count(*) = 5 FROM unrdf.stat_workers WHERE kind = 'executor' AND state = 'running'));
pass('executors are started up to the maximum');
$node->append_conf('postgresql.conf', "unrdf.max_executors = 2\n");
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('unrdf.max_executors') = '2'");
$lock->query_safe('SELECT pg_advisory_unlock(37)');
wait_for($node, 'postgres', q(SELECT count(*) <= 2 FROM unrdf.stat_workers WHERE kind = 'executor'));
pass('and end where it is lowered');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('why') = 0));
# a queue's limit, changed while jobs wait
$lock->query_safe('SELECT pg_advisory_lock(37)');
$node->safe_psql('postgres', q(SELECT unrdf.alter_queue('why', '{"max_running": 1}'); SELECT count(*) FROM unrdf.enqueue_many('blocked', array_fill('{}'::jsonb, ARRAY[4]), queue => 'why')));
wait_for($node, 'postgres', q(SELECT running = 1 AND pending = 3 FROM unrdf.queue_depths WHERE queue = 'why'));
$node->safe_psql('postgres', q(SELECT unrdf.alter_queue('why', '{"max_running": null}')));
wait_for($node, 'postgres', q(SELECT running = 2 AND pending = 2 FROM unrdf.queue_depths WHERE queue = 'why'));
pass('a queue is scaled at run time');
$lock->query_safe('SELECT pg_advisory_unlock(37)');
$node->safe_psql('postgres', q(CALL unrdf.drain_queue('why')));
assert_numbers('in the end');
$_->quit for $lock, $open;

# A job that ran when the server crashed runs alone, and others say so
$node->safe_psql('postgres', qq(
	SELECT unrdf.resume_queue('why');
	CREATE TABLE go (n int);
	CREATE FUNCTION crash(args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM public.go) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
	END \$\$;
	SELECT unrdf.register_handler('crash', 'crash(jsonb)', own_transaction => true);
));
my @suspects = map { enqueue('crash') } 1 .. 2;
wait_for($node, 'postgres', "SELECT reason($_) = 'running'") for @suspects;
my $restarted = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my ($victim) = split /\n/, $node->safe_psql('postgres', q(SELECT pid FROM unrdf.stat_workers WHERE handler = 'crash' LIMIT 1));
kill 'KILL', $victim;
unbroken(sub { $node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM unrdf.stat_workers WHERE handler = 'crash')) });
my $other = enqueue('effect');
why_is($other, 'trial', qr/^A job that ran when the server crashed runs alone/, 'a trial');
my ($waits) = grep { $node->safe_psql('postgres', "SELECT reason($_)") ne 'running' } @suspects;
why_is($waits, 'suspect', qr/^It ran when the server crashed: it is to run alone/, 'a suspect');
$node->safe_psql('postgres', 'INSERT INTO go VALUES (1)');
wait_for($node, 'postgres', q(SELECT unrdf.queue_depth('why') = 0));
assert_numbers('after a trial');
$node->stop;

# Where nothing can be started
$node->append_conf('postgresql.conf', "max_worker_processes = 5\nunrdf.min_executors = 2\n");
$node->start;
wait_for($node, 'postgres', q(SELECT count(*) = 3 FROM unrdf.stat_workers WHERE datname = 'postgres'));
my $stuck = enqueue('effect');
why_is($stuck, 'no_executor', qr/^There is no executor yet/, 'no executor');
is($node->safe_psql('postgres', q(SELECT severity, advice FROM unrdf.doctor() WHERE subject = 'max_worker_processes')), 'error|max_worker_processes = 16, and restart', 'a doctor says what to change');
$node->stop;

done_testing();
