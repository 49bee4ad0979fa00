# Handlers that do harm: they crash the server, end their own process, take all memory, do not stop, shout, fail at the very
# end. Each is found out, ends with what it did on its record and without any effect, and every other job ends once and well.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $beside = "$dir/beside";

my $node = new_node('poison', conf => q(
unrdf.sweep_interval = '200 ms'
unrdf.min_executors = 4
unrdf.max_executors = 4
max_prepared_transactions = 1
));
$node->start;
install($node, 'postgres');

# Every handler here first has an effect, which is to be gone. "crash" notes how many jobs run, itself included, and kills the
# process that runs it; it waits for a lock before, which the test holds the first time and a crash releases.
$node->safe_psql('postgres', qq(
	CREATE FUNCTION crash(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		PERFORM pg_advisory_xact_lock_shared(1);
		COPY (SELECT count(*) FROM unrdf.stat_workers WHERE job IS NOT NULL) TO PROGRAM 'cat >> "$beside"; kill -SEGV \$PPID';
		PERFORM pg_sleep(3600);
	END
	\$\$;
	CREATE FUNCTION quit(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(3600);
	END
	\$\$;
	CREATE FUNCTION swell(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
	DECLARE
		s text := repeat('x', 1048576);
		a bigint[] := '{}';
	BEGIN
		INSERT INTO public.effect VALUES (id);
		LOOP
			IF args ->> 'with' = 'a string' THEN
				s := s || s;
			ELSIF args ->> 'with' = 'an array' THEN
				a := a || array_fill(length(a::text)::bigint, ARRAY[131072]);
			ELSE
				s := repeat(s, 1100);
			END IF;
		END LOOP;
	END
	\$\$;
	CREATE FUNCTION spin(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		LOOP
		END LOOP;
	END
	\$\$;
	CREATE FUNCTION resist(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		LOOP
			BEGIN
				INSERT INTO public.effect VALUES (id);
				PERFORM pg_sleep(3600);
			EXCEPTION WHEN query_canceled OR OTHERS THEN
				NULL;
			END;
		END LOOP;
	END
	\$\$;
	CREATE FUNCTION shout(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS \$\$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		RAISE EXCEPTION USING MESSAGE = repeat('Grüße ', 131072), ERRCODE = 'UN001';
	END
	\$\$;
	CREATE TABLE late (job bigint);
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		RAISE EXCEPTION 'after all, no' USING ERRCODE = 'UN002';
	END
	\$\$;
	CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
	CREATE FUNCTION late(id bigint, args jsonb) RETURNS void LANGUAGE sql AS \$\$
		INSERT INTO public.effect VALUES (id);
		INSERT INTO public.late VALUES (id);
	\$\$;
	SELECT unrdf.register_handler(h, (h || '(bigint, jsonb)')::regprocedure, max_attempts => 3, backoff => '20 ms')
	FROM unnest(ARRAY['crash', 'quit', 'swell', 'spin', 'resist', 'shout', 'late']) AS h;
));
wait_for_workers($node, 'postgres');

# Enqueues jobs of handler "effect".
sub innocents
{
	my ($n, $args) = @_;

	$node->safe_psql('postgres', "SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('" . ($args // '{}') . "'::jsonb, ARRAY[$n]))");
	return;
}

# Enqueues a job and returns its id.
sub enqueue
{
	my ($handler, $rest) = @_;

	return $node->safe_psql('postgres', "SELECT unrdf.enqueue('$handler'" . ($rest // '') . ')');
}

# A session that holds the lock, to its end, that "crash" waits for.
sub locking
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('SELECT pg_advisory_lock(1)');
	return $session;
}

# Waits until n executors run something.
sub running
{
	my ($n) = @_;

	wait_for($node, 'postgres', "SELECT count(*) >= $n FROM unrdf.stat_workers WHERE job IS NOT NULL");
	return;
}

# Waits until the dispatcher looks anew what there is to do.
sub dispatcher_looks
{
	my $activity = "FROM pg_stat_activity WHERE backend_type = 'unrdf dispatcher'";
	my $last = $node->safe_psql('postgres', "SELECT query_start $activity");

	isnt($last, '', 'there is a dispatcher');
	wait_for($node, 'postgres', "SELECT query_start <> '$last' $activity");
	return;
}

# How often the server has crashed and started again since a position of its log.
sub crashes
{
	my ($position) = @_;

	return occurrences(log_since($node, $position), qr/all server processes terminated; reinitializing/);
}

# Waits until everything has ended, and checks that all jobs but some did well in their first attempt.
sub assert_rest
{
	my ($what, @but) = @_;

	drain($node, 'postgres');
	is($node->safe_psql('postgres', 'SELECT id FROM unrdf.receipt WHERE outcome <> 1 OR attempt <> 1 ORDER BY id'),
		join("\n", sort { $a <=> $b } @but), "$what: every other job succeeded, and none was counted an attempt");
	assert_ledger($node, 'postgres', $what);
	assert_effects($node, 'postgres', $what);
	return;
}

# What is on record about a job: outcome, attempts, and the SQLSTATE of each.
sub record_of
{
	my ($job) = @_;

	return $node->safe_psql('postgres', qq(
		SELECT r.outcome, r.attempt, (SELECT string_agg(a.sqlstate, ' ' ORDER BY a.n) FROM unrdf.attempt AS a WHERE a.job = r.id)
		FROM unrdf.receipt AS r WHERE r.id = $job));
}

my @bad;

# A handler that crashes the server does it once beside others, and once more alone.
my $position = log_position($node);
my $session = locking();
my $crash = enqueue('crash');
innocents(3, '{"sleep": 1}');
innocents(500);
running(4);
$session->quit;
ok(unbroken(sub { $node->poll_query_until('postgres', "SELECT unrdf.wait($crash, '1 s') = 'dead'") }), 'a job that crashes the server is dead in the end');
push @bad, $crash;
assert_rest('crash', @bad);
is(crashes($position), 2, 'it crashed the server twice');
is(slurp_file($beside), "4\n1\n", 'first beside others, then alone');
is(record_of($crash), '2|1|57P02', 'and its record says so');

# Two of them. Who was found out has no receipt until a lock is released that outlasts crashes, a prepared transaction's: the
# other, which would crash the server again, and make the first innocent again, waits for that.
$position = log_position($node);
$session = locking();
my @two = (enqueue('crash'), enqueue('crash'));
innocents(2, '{"sleep": 1}');
innocents(500);
running(4);
$node->safe_psql('postgres', "BEGIN; LOCK TABLE unrdf.attempt IN SHARE MODE; PREPARE TRANSACTION 'hold'");
$session->quit;
ok( $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks AS l JOIN unrdf.stat_workers AS w USING (pid)
		WHERE l.relation = 'unrdf.attempt'::regclass AND NOT l.granted AND w.kind = 'executor'"),
	'of two of them one is found out');
wait_for($node, 'postgres', "SELECT count(*) = 4 FROM unrdf.stat_workers WHERE kind = 'executor' AND state <> 'starting'");
# twice, as it may be at work already
dispatcher_looks() for 1 .. 2;
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.stat_workers WHERE job IS NOT NULL"), '0', 'while there are executors, nothing runs before that is on record');
is(crashes($position), 2, 'and nothing crashes the server');
$node->safe_psql('postgres', "COMMIT PREPARED 'hold'");
wait_for($node, 'postgres', "SELECT count(*) = 2 FROM unrdf.receipt WHERE id IN ($two[0], $two[1])");
push @bad, @two;
assert_rest('two of them', @bad);
is(crashes($position), 4, 'two of them crashed it four times');
is(record_of($_), '2|1|57P02', "record of $_") for @two;

# Executors killed with jobs that did nothing: the jobs are not condemned for it
$position = log_position($node);
for my $n (1 .. 3)
{
	innocents(50);
	my $job = enqueue('effect', q(, '{"sleep": 0.7}'));
	my $other = enqueue('effect', q(, '{"sleep": 0.7}'));
	wait_for($node, 'postgres', "SELECT count(*) = 2 FROM unrdf.stat_workers WHERE job IN ($job, $other)");
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM unrdf.stat_workers WHERE job = $job");
	kill('KILL', $pid) == 1 or die "could not kill $pid: $!";
	ok(unbroken(sub { $node->poll_query_until('postgres', "SELECT unrdf.wait($job, '1 s') = 'ok' AND unrdf.wait($other, '1 s') = 'ok'") }),
		"executor killed, $n: the jobs are run again, and well");
}
is(crashes($position), 3, 'each was a crash');
assert_rest('executors killed', @bad);

# A handler that ends its process: the process is lost, the server is not
$position = log_position($node);
my $quit = enqueue('quit');
innocents(500);
push @bad, $quit;
assert_rest('pg_terminate_backend', @bad);
is(record_of($quit), '2|3|57P01 57P01 57P01', 'a job that ends its process has failed, each time');

# Memory, in processes that can have just so much of it
wait_for($node, 'postgres', "SELECT count(*) = 4 FROM unrdf.stat_workers WHERE kind = 'executor' AND state = 'idle'");
my $executors = "SELECT pid FROM unrdf.stat_workers WHERE kind = 'executor' ORDER BY pid";
my @pids = split /\n/, $node->safe_psql('postgres', $executors);
my %before;
for my $pid (@pids)
{
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^VmSize:\s+(\d+) kB$/m or die "process $pid has no VmSize";

	system_or_bail('prlimit', "--pid=$pid", '--as=' . 1024 * ($kilobytes + 131072) . ':');
	$before{$pid} = { memory_of($node, 'postgres', $pid) }->{'Grand total'};
}
my %swell = map { $_ => enqueue('swell', qq(, '{"with": "$_"}')) } ('a string', 'an array', 'one call');
innocents(500);
push @bad, values %swell;
assert_rest('memory', @bad);
is(record_of($swell{$_}), '2|3|53200 53200 53200', "memory is exhausted with $_") for ('a string', 'an array');
is(record_of($swell{'one call'}), '2|3|54000 54000 54000', 'more than can be asked for in one call');
is($node->safe_psql('postgres', $executors), join("\n", @pids), 'the executors are still there');
for my $pid (@pids)
{
	# some were new: they may have filled their caches, which takes one or two MB; a handler took all the 128
	my %after = memory_of($node, 'postgres', $pid);
	cmp_ok($after{'Grand total'}, '<', $before{$pid} + 4 * 1048576, "executor $pid has given it back");
}

# Handlers that do not end: one is cancelled, one loses its process
my ($spin, $resist) = map { enqueue($_, q(, timeout => '50 ms', max_attempts => 1)) } qw(spin resist);
innocents(500);
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE job = $resist");
my $resisting = $node->safe_psql('postgres', "SELECT pid FROM unrdf.stat_workers WHERE job = $resist");
push @bad, $spin, $resist;
assert_rest('endless', @bad);
is(record_of($spin), '2|1|57014', 'an endless loop is cancelled');
is(record_of($resist), '2|1|57P01', 'one that catches that loses its process');
isnt($resisting, '', 'which was there');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $resisting"), '0', 'and is gone');

# What else may go wrong at the end
my ($shout, $late) = map { enqueue($_) } qw(shout late);
innocents(500);
push @bad, $shout, $late;
assert_rest('errors', @bad);
is(record_of($shout), '2|3|UN001 UN001 UN001', 'a message of 1 MB is an error like others');
is( $node->safe_psql('postgres', "SELECT n, message = left(repeat('Grüße ', 131072), length(message)), octet_length(message) BETWEEN 8190 AND 8192
		FROM unrdf.attempt WHERE job = $shout ORDER BY n"),
	"1|t|t\n2|t|t\n3|t|t", 'of which the beginning is kept');
is(record_of($late), '2|3|UN002 UN002 UN002', 'an error of a deferred trigger is the handler\'s');
is($node->safe_psql('postgres', 'SELECT count(*) FROM late'), '0', 'and leaves nothing');
is(crashes($position), 0, 'none of these crashed the server');

$node->stop;
done_testing();
