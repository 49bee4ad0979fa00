# Handlers across crashes and restarts: what snoozes stays so, a procedure's session ends with its executor and never runs beside
# another of the same job, versions and keys are still those of before; log lines name their job; a job that takes too much memory is
# refused it while others go on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('handlers', conf => "unrdf.sweep_interval = '200 ms'\nlog_line_prefix = '%m [%p] '\n");
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE FUNCTION nap(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		IF NOT EXISTS (SELECT FROM unrdf.attempt WHERE job = id) THEN
			PERFORM unrdf.snooze((args ->> 'for')::interval);
		END IF;
	END
	$$;
	CREATE TABLE step (job bigint, n int, pid int);
	CREATE PROCEDURE steps(id bigint, args jsonb) LANGUAGE plpgsql AS $$
	BEGIN
		-- two of one job at once would meet here
		IF NOT pg_try_advisory_lock(id) THEN
			INSERT INTO public.step VALUES (id, -1, pg_backend_pid());
			COMMIT;
		END IF;
		INSERT INTO public.step VALUES (id, 1, pg_backend_pid());
		COMMIT;
		PERFORM unrdf.progress(1, 2, 'committed');
		-- for a while nothing reaches it
		IF args ? 'deaf' AND (SELECT count(*) FROM public.step AS s WHERE s.job = id) = 1 THEN
			COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; sleep 3';
		END IF;
		PERFORM pg_advisory_xact_lock(31);
		INSERT INTO public.step VALUES (id, 2, pg_backend_pid());
	END
	$$;
	CREATE TABLE exported (job bigint, part int, attempt int);
	CREATE PROCEDURE export(id bigint, args jsonb) LANGUAGE plpgsql AS $$
	DECLARE
		try int := (SELECT attempt FROM unrdf.current_job());
		first jsonb;
	BEGIN
		first := unrdf.step_done('one');
		IF first IS NULL THEN
			INSERT INTO public.exported VALUES (id, 1, try);
			PERFORM unrdf.save_step('one', '{"rows": 1}');
			COMMIT;
		END IF;
		IF unrdf.step_done('two') IS NULL THEN
			INSERT INTO public.exported VALUES (id, 2, try);
			PERFORM unrdf.save_step('two');
			IF try = 1 THEN
				RAISE EXCEPTION 'failed behind the first step';
			END IF;
			COMMIT;
			IF try = 2 THEN
				PERFORM pg_terminate_backend(pg_backend_pid());
			END IF;
		END IF;
		INSERT INTO public.exported VALUES (id, 3, try);
	END
	$$;
	CREATE FUNCTION shout(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		RAISE LOG 'from within: %', args ->> 'say';
	END
	$$;
	CREATE FUNCTION swell(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		s text := repeat('x', 1048576);
	BEGIN
		LOOP
			s := s || s;
		END LOOP;
	END
	$$;
	CREATE FUNCTION one(id bigint, args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.effect VALUES (id) $$;
	CREATE FUNCTION two(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '2'::jsonb $$;
	CREATE FUNCTION key() RETURNS text LANGUAGE sql AS $$ SELECT 'the key' $$;
	CREATE FUNCTION card(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args -> 'card' $$;
	SELECT unrdf.register_handler('nap', 'nap(bigint, jsonb)', max_attempts => 1), unrdf.register_handler('steps', 'steps(bigint, jsonb)', kind => 'procedure', backoff => '50 ms'),
		unrdf.register_handler('export', 'export(bigint, jsonb)', kind => 'procedure', backoff => '1 ms'),
		unrdf.register_handler('shout', 'shout(jsonb)'), unrdf.register_handler('swell', 'swell(jsonb)', max_attempts => 2, backoff => '1 ms', memory_limit => '32 MB'),
		unrdf.register_handler('pinned', 'one(bigint, jsonb)', version_policy => 'pinned'), unrdf.register_handler('secret', 'card(jsonb)', encrypt_args => 'key()');
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held');
));
wait_for_workers($node, 'postgres');

sub one
{
	return $node->safe_psql('postgres', $_[0]);
}

sub enqueue
{
	return one('SELECT unrdf.enqueue(' . $_[0] . ')');
}

sub wait_for_job
{
	my ($id) = @_;

	return one("SELECT unrdf.wait($id, '$PostgreSQL::Test::Utils::timeout_default s')");
}

# Snoozing, over a crash: due when it said, and not before
my $short = enqueue(q('nap', '{"for": "2 s"}'));
my $long = enqueue(q('nap', '{"for": "1 day"}'));
wait_for($node, 'postgres', 'SELECT count(*) = 2 FROM unrdf.attempt WHERE snoozed');
crash_and_start($node);
wait_for_workers($node, 'postgres');
is(one("SELECT scheduled >= 1, retrying FROM unrdf.queue_depths WHERE queue = 'default'"), 't|0', 'counted anew, a job that snoozes is no failed one');
is(wait_for_job($short), 'ok', 'what snoozed before a crash runs after it');
is(one("SELECT r.started_at >= a.retry_at, r.attempt, a.failures FROM unrdf.receipt AS r JOIN unrdf.attempt AS a ON a.job = r.id WHERE id = $short"), 't|2|0', 'not before its time, and not as a failure');
is(one("SELECT state, attempts, due_at > now() + interval '23 hours' FROM unrdf.jobs WHERE id = $long"), 'scheduled|1|t', 'what snoozes longer does so still');
is(one("SELECT unrdf.cancel($long)"), 't', 'and can be cancelled');
assert_effects_of_naps();

sub assert_effects_of_naps
{
	is(one("SELECT count(*) FROM effect WHERE job IN ($short, $long)"), '1', 'an attempt that snoozed has no effect');
	return;
}

# Log lines of a job
my $position = log_position($node);
my $shout = enqueue(q('shout', '{"say": "hello"}'));
is(wait_for_job($shout), 'ok', 'a job has logged something');
like(log_since($node, $position), qr/LOG:  .*from within: hello\n(?:.*\n)*?\tunrdf job $shout, attempt 1, handler "shout"\n/, 'its line names it');

# Memory: refused, again, while others go on; the executors are the same
my $pids = q(SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM unrdf.stat_workers WHERE kind = 'executor');
my $swell = enqueue(q('swell'));
one(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[200]))));
is(wait_for_job($swell), 'dead', 'a job that takes too much memory');
is(one("SELECT string_agg(sqlstate, ' ') FROM unrdf.attempt WHERE job = $swell"), '53200 53200', 'is refused it');
wait_for($node, 'postgres', q(SELECT count(*) >= 200 FROM effect));
unlike(log_since($node, $position), qr/terminated by signal|PANIC|FATAL/, 'and no process has suffered');

# A procedure whose session is killed, whose executor is ended, and whose server crashes: each time it runs again, alone
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(31)');
my $steps = enqueue(q('steps', key => 'steps'));

sub session_at_lock
{
	my ($n) = @_;

	wait_for($node, 'postgres', "SELECT count(*) = $n FROM step WHERE job = $steps AND n = 1");
	wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE NOT l.granted AND l.objid = 31 AND a.backend_type = 'unrdf session'");
	return one(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'unrdf session'));
}

my $session = session_at_lock(1);
is(one(q(SELECT p.job = j.id AND p.pid = ) . $session . q(, p.done, p.note, j.state FROM unrdf.stat_progress AS p JOIN unrdf.jobs AS j ON j.id = p.job)), 't|1|committed|running', 'a running procedure is seen');
is(one("SELECT usename = 'postgres' OR usename = current_user FROM pg_stat_activity WHERE pid = $session"), 't', 'in a session of its owner');
is(one("SELECT pg_terminate_backend($session)"), 't', 'its session is ended');
my $second = session_at_lock(2);
isnt($second, $session, 'and has another');
is(one("SELECT n, sqlstate FROM unrdf.attempt WHERE job = $steps"), '1|57P01', 'which is a second attempt');
my $executor = one("SELECT pid FROM unrdf.stat_workers WHERE job = $steps");
kill('TERM', $executor) == 1 or die "could not end executor $executor: $!";
my $third = session_at_lock(3);
isnt(one(q(SELECT pid FROM unrdf.stat_workers WHERE job IS NOT NULL)), $executor, 'its executor ended: another has it');
is(one(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'unrdf session')), '1', 'there is one session');

# An executor that is ended while its session hears nothing waits for it: another session of the job would meet it
my $deaf = enqueue(q('steps', '{"deaf": 1}'));
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_progress WHERE job = $deaf");
kill('TERM', one("SELECT pid FROM unrdf.stat_workers WHERE job = $deaf")) == 1 or die "could not end an executor: $!";
wait_for($node, 'postgres', "SELECT count(*) > 1 FROM step WHERE job = $deaf");
is(one("SELECT string_agg(n::text, ' ') FROM step WHERE job = $deaf"), '1 1', 'a session that hears nothing is waited for');
crash_and_start($node);
eval { $lock->quit };
wait_for_workers($node, 'postgres');
is(wait_for_job($steps), 'ok', 'the server crashed: it runs, and ends');
is(one("SELECT string_agg(n || ' ' || c, ', ' ORDER BY n) FROM (SELECT n, count(*) AS c FROM step WHERE job = $steps GROUP BY n) AS s"), '1 4, 2 1',
	'it began four times and came to its end once, never twice at a time');
is(one("SELECT r ->> 'delivery', r ->> 'outcome' FROM unrdf.receipt($steps) AS r"), 'at least once|ok', 'its receipt says at least once');

# Steps of a procedure are as lasting as its commits: a failure and a process that ends leave what was committed, and only that
my $export = enqueue(q('export'));
is(wait_for_job($export), 'ok', 'a procedure with steps fails, loses its process, and ends');
is(one("SELECT string_agg(part || ' in ' || attempt, ', ' ORDER BY part) FROM exported WHERE job = $export"), '1 in 1, 2 in 2, 3 in 3', 'each attempt went on behind the last step that was committed');
is(one("SELECT string_agg(name || ' ' || result, ', ' ORDER BY name) FROM unrdf.job_step WHERE job = $export"), 'one {"rows": 1}, two null', 'its steps are noted once');
is(one("SELECT string_agg(sqlstate, ' ' ORDER BY n) FROM unrdf.attempt WHERE job = $export"), 'P0001 57P01', 'and its failures');

# Versions and keys over a dump's like: a restart
my $pinned = enqueue(q('pinned', queue => 'held'));
my $secret = enqueue(q('secret', '{"card": "4111"}', queue => 'held'));
one(q(SELECT unrdf.register_handler('pinned', 'two(jsonb)', version_policy => 'pinned'), unrdf.register_handler('secret', 'card(jsonb)')));
$node->restart;
wait_for_workers($node, 'postgres');
my $plain = enqueue(q('secret', '{"card": "4222"}'));
my $newer = enqueue(q('pinned'));
one(q(SELECT unrdf.resume_queue('held')));
is(wait_for_job($_), 'ok', "job $_ is done") for $pinned, $secret, $plain, $newer;
is(one("SELECT count(*) FROM effect WHERE job = $pinned"), '1', 'a job keeps its version');
is(one("SELECT string_agg(result #>> '{}', ' ' ORDER BY id) FROM unrdf.receipt WHERE id IN ($secret, $plain, $newer)"), '4111 4222 2', 'and its key');

# nothing of it is in the log of the server
$position = 0;
unlike(log_since($node, $position), qr/the key|4111/, 'neither key nor encrypted arguments are logged');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'at the end');
$node->stop;

done_testing();
