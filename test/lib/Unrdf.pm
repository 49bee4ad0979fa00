# What the tests of whole clusters share: nodes with the extension preloaded, and the checks that hold for every ledger.
package Unrdf;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_node answer install register_effect reading_calls test_calls wait_for unbroken wait_for_workers worker_pid signal_worker drain assert_ledger assert_effects
  crash_and_start disaster held_at sql_fails log_position log_since occurrences memory_of
);

# Settings of every node: what the tests of PostgreSQL set otherwise, and a pool that is small and quick to change.
our $settings = q(
shared_preload_libraries = 'unrdf'
max_worker_processes = 32
max_connections = 50
restart_after_crash = on
log_statement = none
log_error_verbosity = verbose
unrdf.max_executors = 6
);

# A node with the extension preloaded, initialized but not started. Options: conf, more lines of postgresql.conf; init, a
# hash of options to PostgreSQL::Test::Cluster's init.
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ], %{ $options{init} // {} });
	$node->append_conf('postgresql.conf', $settings . ($options{conf} // ''));
	return $node;
}

# Creates the extension in a database, and the table and handlers that the tests count effects with.
sub install
{
	my ($node, $db) = @_;

	$node->safe_psql($db, 'SET client_min_messages = warning; CREATE EXTENSION unrdf CASCADE');
	register_effect($node, $db);
	return;
}

# Handler "effect" leaves one row per run that committed. Its arguments: sleep, seconds; fail, in how many attempts it fails
# first. Nothing keeps the table from having two rows for a job: the tests look for them.
sub register_effect
{
	my ($node, $db) = @_;

	$node->safe_psql($db, q(
		CREATE TABLE effect (job bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
		CREATE FUNCTION effect(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO public.effect VALUES (id);
			IF args ? 'sleep' THEN
				PERFORM pg_sleep((args ->> 'sleep')::float8);
			END IF;
			IF (SELECT count(*) FROM unrdf.attempt WHERE job = id) < (args ->> 'fail')::int THEN
				RAISE EXCEPTION 'as asked';
			END IF;
			RETURN '{"done": true}';
		END
		$$;
		SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '50 ms');
	));
	return;
}

# Every function that reads and needs no workers, as it is called; :ended stands for the id of a job that has ended. There have
# to be a checkpoint, a batch and table "audited".
sub reading_calls
{
	return (
		any_job => 'unrdf.any_job()',
		args_key => q(unrdf.args_key('{"b": 1.0, "a": []}', '{a}')),
		canonical_json => q(unrdf.canonical_json('{"b": 1.0, "a": []}')),
		canonical_receipt => 'unrdf.canonical_receipt(:ended)',
		checkpoint => 'unrdf.checkpoint()',
		cluster_keys => '(SELECT count(*) FROM unrdf.cluster_keys())',
		consistency_proof => 'unrdf.consistency_proof(1, 1)',
		current_job => '(SELECT j IS NULL FROM unrdf.current_job() AS j)',
		export_receipt => 'unrdf.export_receipt(:ended)',
		find_jobs => q(unrdf.find_jobs('{succeeded}', 'default', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 10)),
		holds_lease => 'unrdf.holds_lease(:ended)',
		inclusion_proof => 'unrdf.inclusion_proof(:ended)',
		item_proof => 'unrdf.item_proof((SELECT max(receipt) FROM unrdf.batch), 1)',
		key_file => '(SELECT k.inside IS NOT NULL FROM unrdf.key_file() AS k)',
		kept => q(coalesce(unrdf.kept(:ended, 0), '"none"')),
		segment_dues => '(SELECT count(*) FROM unrdf.segment_dues())',
		job_progress => '(SELECT count(*) FROM unrdf.job_progress())',
		leaf_hash => q(unrdf.leaf_hash('\x00')),
		leaf_index => 'unrdf.leaf_index(:ended)',
		log_size => 'unrdf.log_size()',
		log_state => '(SELECT (s.log, s.origin, s.size, s.root, s.published_size, s.published_at) FROM unrdf.log_state() AS s)',
		merkle_root => q(unrdf.merkle_root(ARRAY['a', 'b']::bytea[])),
		needs_results => '(SELECT count(*) FROM unrdf.needs_results(:ended))',
		node_hash => q(unrdf.node_hash(unrdf.leaf_hash('a'), unrdf.leaf_hash('b'))),
		queue_depth => q(unrdf.queue_depth('default')),
		queue_numbers => '(SELECT sum(n.open) FROM unrdf.queue_numbers() AS n)',
		progress => 'unrdf.progress(1) IS NULL',
		receipt => 'unrdf.receipt(:ended)',
		schedule_due_times => q((SELECT array_agg(d) FROM unrdf.schedule_due_times('@daily', 'UTC', 3, '2026-01-01') AS d)),
		schedule_next => q(unrdf.schedule_next('@daily', 'UTC', '2026-01-01')),
		schema_error => q(unrdf.schema_error('1', '{"minimum": 2}')),
		subscription_lag => 'unrdf.subscription_lag(1)',
		verify => 'unrdf.verify(:ended)',
		verify_all => '(SELECT count(*) FROM unrdf.verify_all())',
		verify_range => '(SELECT count(*) FROM unrdf.verify_range(0))',
		verify_checkpoint => '(SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), key) FROM unrdf.log_keys)',
		verify_consistency =>
		  '(SELECT unrdf.verify_consistency(p.old_tree_size, p.old_root, p.tree_size, p.root, p.proof) FROM unrdf.consistency_proof(1, 1) AS p)',
		verify_inclusion =>
		  '(SELECT unrdf.verify_inclusion(p.leaf, p.index, p.tree_size, p.proof, p.root) FROM unrdf.inclusion_proof(:ended) AS p)',
		verify_item => q(unrdf.verify_item((SELECT max(receipt) FROM unrdf.batch), 1, '2')),
		verify_row => q(unrdf.verify_row('audited', '7')),
		verify_table => q((SELECT count(*) FROM unrdf.verify_table('audited'))),
		why => 'unrdf.why(:ended)',
		workflow_dot => q(coalesce(unrdf.workflow_dot(:ended), 'none')),
		witness_request => 'unrdf.witness_request()',
		verify_progress => '(SELECT count(*) FROM unrdf.verify_progress())');
}

# The functions of the test kit, as they are called. Where there is no kit all are refused.
sub test_calls
{
	return (
		test_advance => q(unrdf.test_advance('1 day')),
		test_clear => 'unrdf.test_clear()',
		test_fail_at => q(unrdf.test_fail_at('execute')),
		test_hold => 'unrdf.test_hold()',
		test_point_state => '(SELECT count(*) FROM unrdf.test_point_state())',
		test_real_time => 'unrdf.test_real_time()',
		test_run_due => 'unrdf.test_run_due()',
		test_set_time => 'unrdf.test_set_time(now())');
}

# Waits until a query says t. Dies where it does not, within $PG_TEST_TIMEOUT_DEFAULT.
sub wait_for
{
	my ($node, $db, $query) = @_;

	unbroken(sub { $node->poll_query_until($db, $query) }) or die "waited in vain for: $query";
	return;
}

# What a query says in a session that stays open. Some versions of PostgreSQL::Test leave of their own lines what was not asked for.
sub answer
{
	my ($session, $query) = @_;

	return join "\n", grep { $_ ne '' && !/QUERY_SEPARATOR/ } split /\n/, $session->query_safe($query);
}

# Does something that runs psql, once more where psql was turned away before it had read what it was to do, as while the
# server recovers: newer versions of IPC::Run die of that.
sub unbroken
{
	my ($do) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	while (1)
	{
		my $result = eval { $do->() };
		return $result if $@ eq '';
		die $@ if $@ !~ /Broken pipe/ || time() > $until;
		usleep(20_000);
	}
}

# Waits until a database has its dispatcher, integrator, publisher and at least one executor that can run something.
sub wait_for_workers
{
	my ($node, $db) = @_;

	wait_for($node, $db, q(
		SELECT count(*) FILTER (WHERE kind = 'dispatcher') = 1 AND count(*) FILTER (WHERE kind IN ('integrator', 'publisher')) = 2
			AND count(*) FILTER (WHERE kind = 'executor' AND state <> 'starting') >= 1
		FROM unrdf.stat_workers WHERE datname = current_database()));
	return;
}

# The process id of a database's worker, of any where there are several; undef where there is none.
sub worker_pid
{
	my ($node, $db, $kind) = @_;
	my $pid = $node->safe_psql($db, qq(
		SELECT pid FROM unrdf.stat_workers
		WHERE kind = '$kind' AND pid <> 0 AND (kind = 'launcher' OR datname = current_database()) ORDER BY random() LIMIT 1));

	return $pid eq '' ? undef : $pid;
}

# Signals a worker of a kind and waits until that process is gone.
sub signal_worker
{
	my ($node, $db, $kind, $signal) = @_;
	my $pid = worker_pid($node, $db, $kind) // die "there is no $kind";

	kill($signal, $pid) == 1 or die "could not signal $kind $pid: $!";
	wait_for($node, $db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return $pid;
}

# Waits until every job has ended and every receipt is in the log.
sub drain
{
	my ($node, $db) = @_;

	wait_for($node, $db, q(
		SELECT NOT EXISTS (SELECT FROM unrdf.job AS j WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))
			AND (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)));
	return;
}

# Checks a drained ledger: a receipt for every job, all of them in the log once, and nothing wrong with any.
sub assert_ledger
{
	my ($node, $db, $what) = @_;

	is( $node->safe_psql($db, q(
			SELECT (SELECT count(*) FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r ON r.id = j.id WHERE r.id IS NULL),
				(SELECT count(*) FROM unrdf.receipt AS r LEFT JOIN unrdf.job AS j ON j.id = r.id
					WHERE r.kind = 1 AND j.id IS NULL),
				(SELECT count(*) - count(DISTINCT id) FROM unrdf.receipt),
				(SELECT size FROM unrdf.log_size()) - (SELECT count(*) FROM unrdf.receipt))),
		'0|0|0|0', "$what: every job has one receipt, the log has every receipt once");
	is($node->safe_psql($db, 'SELECT receipt, reason FROM unrdf.verify_all()'), '', "$what: everything verifies");
	return;
}

# Checks that handler "effect" had its effect once for every receipt that says ok, and for nothing else. Holds at any time.
sub assert_effects
{
	my ($node, $db, $what) = @_;

	is( $node->safe_psql($db, q(
			WITH done AS (SELECT r.id FROM unrdf.receipt AS r WHERE r.kind = 1 AND r.outcome = 1 AND r.operation = 'effect')
			SELECT (SELECT count(*) FROM done WHERE id NOT IN (SELECT job FROM effect)),
				(SELECT count(*) FROM effect WHERE job NOT IN (SELECT id FROM done)),
				(SELECT count(*) - count(DISTINCT job) FROM effect))),
		'0|0|0', "$what: one effect for every receipt, and no other");
	return;
}

# Kills a node's postmaster with SIGKILL and starts the node again, which succeeds once the processes left behind have
# noticed and ended.
sub crash_and_start
{
	my ($node) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	$node->kill9;
	until (!kill(0, $pid) && $node->start(fail_ok => 1))
	{
		die 'the server does not start again' if time() > $until;
		usleep(20_000);
	}
	return;
}

# Holds whoever wants to write to a table: returns a session that does, once a worker of that kind waits for it. What is to make
# the worker want to is done after the table is locked.
sub held_at
{
	my ($node, $db, $kind, $table, $do) = @_;
	my $holder = $node->background_psql($db);

	$holder->query_safe("BEGIN; LOCK TABLE unrdf.$table IN SHARE MODE");
	$do->();
	wait_for($node, $db, qq(
		SELECT EXISTS (SELECT FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid)
			WHERE a.backend_type = 'unrdf $kind' AND NOT l.granted AND l.relation = 'unrdf.$table'::regclass)));
	return $holder;
}

# Ends a worker of a kind with a signal, TERM or KILL, or the server: crash. Then a session that holds something is ended, where
# it has not gone with that.
sub disaster
{
	my ($node, $db, $kind, $how, $holder) = @_;

	if ($how eq 'crash')
	{
		crash_and_start($node);
		eval { $holder->quit } if $holder;
		return;
	}
	wait_for($node, $db, "SELECT EXISTS (SELECT FROM unrdf.stat_workers WHERE kind = '$kind' AND datname = current_database())");
	if ($how eq 'KILL')
	{
		my $pid = worker_pid($node, $db, $kind) // die "there is no $kind";
		kill('KILL', $pid) == 1 or die "could not kill $kind $pid: $!";
		wait_for($node, $db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	}
	else
	{
		signal_worker($node, $db, $kind, $how);
	}
	eval { $holder->quit } if $holder;
	return;
}

# Checks that a statement fails with an SQLSTATE and with a message, or hint, like a pattern.
sub sql_fails
{
	my ($node, $db, $sql, $sqlstate, $pattern, $what) = @_;
	my ($status, $stdout, $stderr) = $node->psql($db, "\\set VERBOSITY verbose\n$sql");

	ok($status != 0 && $stderr =~ /ERROR:  \Q$sqlstate\E: / && $stderr =~ $pattern, $what)
	  or diag("status $status, stderr: $stderr");
	return;
}

# The server log's length, to be given to log_since.
sub log_position
{
	my ($node) = @_;

	return -s $node->logfile;
}

# What the server log says from a position on.
sub log_since
{
	my ($node, $position) = @_;

	return slurp_file($node->logfile, $position);
}

# How often a pattern occurs in a text.
sub occurrences
{
	my ($text, $pattern) = @_;
	my @found = $text =~ /$pattern/g;

	return scalar @found;
}

# The memory contexts of a process, as the server's function writes them to its log: a hash of bytes by name, those of one
# name together, and their total as "Grand total".
sub memory_of
{
	my ($node, $db, $pid) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $position = log_position($node);
	my ($log, $total);
	my %bytes;

	$node->safe_psql($db, "SELECT pg_log_backend_memory_contexts($pid)") eq 't' or die "process $pid cannot be asked for its memory";
	# what is printed comes in several writes, the total last
	until (($total) = ($log = log_since($node, $position)) =~ /^.* \[$pid\] .*Grand total: (\d+) bytes in .*\n/m)
	{
		die "process $pid does not tell its memory" if time() > $until;
		usleep(20_000);
	}
	$bytes{$1} += $2 while $log =~ /^.* \[$pid\] .*level: \d+; ([^:\n]+): (\d+) total in /mg;
	$bytes{'Grand total'} = $total;
	return %bytes;
}

1;
