# A database is dumped and restored into other clusters, in every format: jobs, receipts and the log are kept, pending jobs run
# there once and ended ones never, the old log is a prefix of the new one. Nothing begins before a restore is complete.
# Transaction ids of the old cluster, which the rows carry, do no harm: neither where they are far ahead of the new
# cluster's, nor when that passes them while workers run, nor where it passed them before they first look.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $conf = "unrdf.sweep_interval = '100 ms'\nunrdf.min_executors = 1\nunrdf.max_executors = 2\nautovacuum = off\n";

# Entries of the custom dump: rows that a restore in parts loads later, or first, the end, and what CREATE EXTENSION has made.
my $late = qr/ TABLE DATA unrdf (?:receipt|integration|tile) /;
my $early = qr/ TABLE DATA unrdf (?:epoch|job|receipt) /;
my $end = qr/ MATERIALIZED VIEW DATA unrdf dump_end /;
my $made = qr/ SCHEMA - unrdf /;

# The databases of the target.
my @databases = qw(custom plain data parts side);

my @tables = qw(queue queue_state handler job attempt epoch receipt integration tile);

# What the source leaves to be done: jobs that can run at once, and such that cannot yet. The latter are what a test of the
# target ends with.
my $runnable = 8;
my $waiting = 4;

# Sets the next transaction id of a node that is not running. pg_resetwal leaves it to us to make the file of pg_xact that
# has its status.
sub set_next_xid
{
	my ($node, $full_xid) = @_;
	my $per_file = 32 * 8192 * 4;
	my $xid = $full_xid & 0xffffffff;
	my $file = $node->data_dir . sprintf('/pg_xact/%04X', int($xid / $per_file));

	append_to_file($file, "\0" x ($per_file / 4 - (-s $file // 0)));
	$node->command_ok([ 'pg_resetwal', '-e', $full_xid >> 32, '-x', $xid, '-D', $node->data_dir ],
		$node->name . ": next transaction id $full_xid");
	return;
}

# Loads a plain dump.
sub load
{
	my ($node, $db, $file) = @_;

	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/$file", '-o', '/dev/null' ],
		"$db: $file is loaded");
	return;
}

# Loads the custom dump, all of it or what a list names.
sub pg_restore
{
	my ($node, $db, @options) = @_;

	$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr($db), @options, "$dir/custom" ], "$db: pg_restore @options");
	return;
}

# Writes a list for pg_restore of those entries of the custom dump that a function wants.
sub write_list
{
	my ($name, $wanted) = @_;
	my ($list) = run_command([ 'pg_restore', '-l', "$dir/custom" ]);

	append_to_file("$dir/$name", join '', map { "$_\n" } grep { /^;/ || $wanted->() } split /\n/, $list);
	return;
}

# Waits until the dispatcher and the integrator have looked at the tables, and done what comes of it, once more from now on.
sub wait_for_looks
{
	my ($node, $db) = @_;

	# what a look leads to is done when the next one begins
	for my $look (1, 2)
	{
		my $now = $node->safe_psql($db, 'SELECT clock_timestamp()');
		wait_for($node, $db, qq(
			SELECT count(*) = 2 FROM pg_stat_activity WHERE datname = '$db' AND state = 'idle' AND query_start > '$now'
				AND backend_type IN ('unrdf dispatcher', 'unrdf integrator')));
	}
	return;
}

# How many jobs of a database were handed out and how many receipts integrated since its processes have been there.
sub work_done
{
	my ($node, $db) = @_;

	return $node->safe_psql($db, q(
		SELECT string_agg(kind || ' ' || jobs, ', ' ORDER BY kind) FROM unrdf.stat_workers
		WHERE datname = current_database() AND kind IN ('dispatcher', 'integrator')));
}

# How often the handler ran, rolled back or not.
sub runs
{
	my ($node, $db) = @_;

	return $node->safe_psql($db, 'SELECT last_value FROM runs');
}

sub xid
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())');
}

# Waits until everything has ended that can, and is in the log.
sub wait_for_runnable
{
	my ($node, $db) = @_;

	wait_for($node, $db, qq(
		SELECT (SELECT count(*) FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r ON r.id = j.id WHERE r.id IS NULL) = $waiting
			AND (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)));
	return;
}

# Checks that all rows of the old database are there, unchanged.
sub assert_kept
{
	my ($node, $db) = @_;

	for my $table (@tables)
	{
		is($node->safe_psql($db, "SELECT count(*) FROM (TABLE old.$table EXCEPT ALL TABLE unrdf.$table) AS x"),
			'0', "$db: rows of $table are kept");
	}
	return;
}

# Checks that the old log is a prefix of the log: its root and all proofs of that time are reproduced from the tiles of now,
# and every old leaf has its place in the newest tree.
sub assert_prefix
{
	my ($node, $db, $what) = @_;

	is( $node->safe_psql($db, q(
			SELECT count(*), count(*) FILTER (WHERE (n.index, n.tree_size, n.leaf, n.root, n.proof)
					IS DISTINCT FROM (o.index, o.tree_size, o.leaf, o.root, o.proof)),
				count(*) FILTER (WHERE NOT unrdf.verify_inclusion(o.leaf, o.index, o.tree_size, o.proof, s.root)),
				count(*) FILTER (WHERE NOT unrdf.verify_inclusion(o.leaf, l.index, l.tree_size, l.proof, h.root)
					OR l.index <> o.index OR l.tree_size <> h.size)
			FROM old.proof AS o, old.log_size AS s, unrdf.log_size() AS h, unrdf.inclusion_proof(o.id, o.tree_size) AS n,
				unrdf.inclusion_proof(o.id) AS l)),
		$node->safe_psql($db, q(SELECT size || '|0|0|0' FROM old.log_size)),
		"$db, $what: proofs in the tree of the dump and in the newest one");
	return;
}

# Checks a restored database after everything in it that could run has: old rows are kept, pending jobs ran once and ended
# ones did not, receipts that were not in the log are, and everything goes on from where it was.
sub assert_restored
{
	my ($node, $db) = @_;

	wait_for_runnable($node, $db);
	assert_kept($node, $db);
	assert_prefix($node, $db, 'restored');
	assert_effects($node, $db, "$db, restored");
	is($node->safe_psql($db, 'SELECT receipt, reason FROM unrdf.verify_all()'), '', "$db: everything verifies");
	is(runs($node, $db) - $node->safe_psql($db, 'SELECT runs FROM old.runs'), $runnable, "$db: each pending job ran once, nothing else did");
	is( $node->safe_psql($db, q(SELECT string_agg(j.state, ', ' ORDER BY j.id) FROM unrdf.jobs AS j WHERE j.id NOT IN (SELECT id FROM old.receipt))),
		join(', ', ('succeeded') x $runnable, 'pending', 'pending', 'pending', 'scheduled'),
		"$db: what could run has succeeded, what is held back still is");
	is($node->safe_psql($db, q(SELECT attempts || ' ' || state FROM unrdf.jobs WHERE key = 'failed once')),
		'2 succeeded', "$db: a job goes on from its failed attempt");
	is($node->safe_psql($db, q(SELECT unrdf.receipt(id) ->> 'actor' FROM unrdf.jobs WHERE key = 'of app')),
		'app', "$db: a job runs as its owner");
	is($node->safe_psql($db, q(
			SELECT count(*), count(DISTINCT origin), max(epoch) > (SELECT max(epoch) FROM old.epoch),
				count(*) FILTER (WHERE system_identifier = (SELECT system_identifier FROM pg_control_system()))
			FROM unrdf.epoch)),
		$node->safe_psql($db, q(SELECT count(*) + 1 || '|1|t|1' FROM old.epoch)),
		"$db: a new epoch of the old origin");
	is($node->safe_psql($db, q(
			SELECT unrdf.enqueue('effect', queue => 'held', key => 'held') = id FROM unrdf.jobs WHERE key = 'held')),
		't', "$db: a pending job has its key");
	my $id = $node->safe_psql($db, q(SET ROLE app; SELECT unrdf.record('update', 'order/17', '{"n": 4}')));
	is($node->safe_psql($db, qq(
			SELECT n.id > (SELECT max(id) FROM old.job), n.revision, n.previous = unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(o.id), 'UTF8'))
			FROM unrdf.receipt AS n, unrdf.receipt AS o WHERE n.id = $id AND o.subject = n.subject AND o.revision = n.revision - 1)),
		't|4|t', "$db: grants, ids and the chain of a subject go on");
	return;
}

# Lets what was held back run, and checks that it does, once.
sub assert_rest
{
	my ($node, $db, $what) = @_;
	my $before = runs($node, $db);

	$node->safe_psql($db, q(
		SELECT unrdf.cancel(id) FROM unrdf.jobs WHERE state = 'scheduled';
		SELECT unrdf.resume_queue('held');
	));
	drain($node, $db);
	assert_ledger($node, $db, "$db, $what");
	assert_effects($node, $db, "$db, $what");
	assert_prefix($node, $db, $what);
	is(runs($node, $db) - $before, $waiting - 1, "$db, $what: each job that was held back ran once, nothing else did");
	return;
}

# The source. Its transaction ids are far above those of a new cluster, in another of their epochs.
my $source = new_node('source', conf => $conf);
set_next_xid($source, (3 << 32) + 50_000_000);
$source->start;
$source->safe_psql('postgres', 'CREATE ROLE app; CREATE DATABASE old;');
install($source, 'old');
$source->safe_psql('old', q(
	CREATE SEQUENCE runs;
	CREATE OR REPLACE FUNCTION effect(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM nextval('public.runs');
		INSERT INTO public.effect VALUES (id);
		IF args ? 'wait' THEN
			PERFORM pg_advisory_xact_lock(17);
		END IF;
		IF args ? 'fail' THEN
			IF (SELECT count(*) FROM unrdf.attempt WHERE job = id) < (args ->> 'fail')::int THEN
				RAISE EXCEPTION 'as asked';
			END IF;
		END IF;
		RETURN '{"done": true}';
	END
	$$;
	GRANT INSERT ON effect TO app;
	GRANT USAGE ON SEQUENCE runs TO app;
	SELECT unrdf.grant_access('app', 'producer');
	SELECT unrdf.create_queue('held', 1);
	SELECT unrdf.create_queue('retries');
	SELECT unrdf.pause_queue('held');
));

# Jobs that ended in every way, and one that failed and waits for its next attempt. Its queue is paused while it runs.
my $session = $source->background_psql('old');
$session->query_safe('SELECT pg_advisory_lock(17)');
$source->safe_psql('old', q(
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[300]));
	SELECT unrdf.enqueue('effect', '{"fail": 1}');
	SELECT unrdf.enqueue('effect', '{"fail": 2}', max_attempts => 2) AS dead \gset
	SELECT unrdf.wait(:dead);
	SELECT unrdf.revive(:dead) AS revived \gset
	SELECT unrdf.wait(:revived);
));
$source->safe_psql('old', q(
	SELECT unrdf.enqueue('effect', '{"fail": 1, "wait": true}', queue => 'retries', key => 'failed once')));
wait_for($source, 'old', q(SELECT EXISTS (SELECT FROM unrdf.jobs WHERE key = 'failed once' AND state = 'running')));
$source->safe_psql('old', q(SELECT unrdf.pause_queue('retries')));
$session->query_safe('SELECT pg_advisory_unlock(17)');
wait_for($source, 'old', q(SELECT EXISTS (SELECT FROM unrdf.jobs WHERE key = 'failed once' AND state = 'retrying')));
$source->safe_psql('old', q(
	SELECT unrdf.record('create', 'order/17', '{"n": 1}');
	SELECT unrdf.record('update', 'order/17', '{"n": 2}');
	SELECT unrdf.record('create', 'order/18');
	SELECT unrdf.record('delete', 'order/18');
	SELECT unrdf.enqueue('effect', queue => 'held') AS cancelled \gset
	SELECT unrdf.cancel(:cancelled);
	SELECT unrdf.enqueue('effect') AS last \gset
	SELECT unrdf.wait(:last);
));
wait_for($source, 'old', q(SELECT count(*) = 1 FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)));
wait_for($source, 'old', 'SELECT (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)');

# Receipts that are not in the log: a session holds its lock until the server is killed.
$session->query_safe('BEGIN; SELECT unrdf.integrate()');
$source->safe_psql('old', q(
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[20]));
	SELECT unrdf.record('update', 'order/17', '{"n": 3}');
));
wait_for($source, 'old', q(SELECT count(*) = 1 FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)));

# Jobs that are pending, though nothing holds them back: their queues are resumed when no worker is there any more.
$source->safe_psql('old', q(
	SELECT unrdf.pause_queue('default');
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[3]));
	SELECT unrdf.enqueue('effect', priority => 0);
	SELECT unrdf.enqueue('effect', key => 'pending');
	SELECT unrdf.enqueue('effect', run_at => now() + '1 s');
	SET ROLE app;
	SELECT unrdf.enqueue('effect', key => 'of app');
	RESET ROLE;
	SELECT unrdf.enqueue('effect', queue => 'held');
	SELECT unrdf.enqueue('effect', queue => 'held', key => 'held');
	SELECT unrdf.revive(id) FROM unrdf.jobs WHERE state = 'cancelled';
	SELECT unrdf.enqueue('effect', run_at => now() + '1 day');
));
$source->stop('immediate');
$session->quit;
$source->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$source->start;
wait_for($source, 'old', q(SELECT count(*) = 1 FROM unrdf.jobs WHERE state = 'scheduled'));
$source->safe_psql('old', q(
	SELECT unrdf.resume_queue('default');
	SELECT unrdf.resume_queue('retries');
	CREATE SCHEMA old;
	CREATE TABLE old.log_size AS SELECT * FROM unrdf.log_size();
	CREATE TABLE old.proof AS SELECT r.id, p.* FROM unrdf.receipt AS r, unrdf.inclusion_proof(r.id) AS p WHERE p.index IS NOT NULL;
	CREATE TABLE old.runs AS SELECT last_value AS runs FROM runs;
	DELETE FROM old.queue WHERE name = 'default';
) =~ s/(?=\tDELETE)/join '', map { "\tCREATE TABLE old.$_ AS TABLE unrdf.$_;\n" } @tables/er);
is( $source->safe_psql('old', q(
		SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM unrdf.jobs GROUP BY state) AS s)),
	'cancelled 1, dead 2, pending ' . ($runnable + $waiting - 2) . ', retrying 1, scheduled 1, succeeded 322', 'the source has jobs in every state')
  or diag($source->safe_psql('old', 'SELECT id, queue, state FROM unrdf.jobs ORDER BY id DESC LIMIT 20'));
is($source->safe_psql('old', q(
		SELECT (SELECT count(*) FROM unrdf.receipt WHERE unrdf.leaf_index(id) IS NULL), (SELECT count(*) FROM unrdf.tile), (SELECT size FROM unrdf.log_size()) > 256)),
	'21|1|t', 'the source has receipts that are not in the log, and a tile');
my ($low, $high) = split /\|/, $source->safe_psql('old', 'SELECT min(xid), max(xid) FROM (SELECT xid FROM unrdf.job UNION SELECT xid FROM unrdf.receipt) AS x');

for my $dump ([ 'custom', '-Fc' ], ['plain'], [ 'schema', '-s', '-N', 'unrdf' ], [ 'data', '-a' ])
{
	my ($name, @options) = @$dump;
	$source->command_ok([ 'pg_dump', @options, '-f', "$dir/$name", '-d', $source->connstr('old') ], "pg_dump, $name");
}
$source->stop;

# A new cluster, whose transaction ids are far below the restored ones, and whose workers are there before the dump's rows.
my $target = new_node('target', conf => $conf);
$target->start;
cmp_ok(xid($target), '<', 100_000, "restored transaction ids are ahead of the cluster's");
$target->safe_psql('postgres', join ' ', 'CREATE ROLE app;', map { "CREATE DATABASE $_;" } @databases);
pg_restore($target, 'custom', '-j2');
load($target, 'plain', 'plain');
for my $db (qw(data parts side))
{
	$target->safe_psql($db, 'SET client_min_messages = warning; CREATE EXTENSION unrdf CASCADE');
	wait_for_workers($target, $db);
}
load($target, 'data', 'schema');
$target->safe_psql('data', q(SELECT unrdf.grant_access('app', 'producer')));
load($target, 'data', 'data');
wait_for_looks($target, 'data');
is(work_done($target, 'data'), 'dispatcher 0, integrator 0', 'nothing begins after data alone');
$target->safe_psql('data', 'SELECT unrdf.finish_restore()');

# Where a restore stops in the middle, or leaves out the end, nothing begins until somebody says that it is complete.
write_list('first', sub { !/$late|$end|$made/ });
write_list('second', sub { /$late/ });
write_list('race', sub { /$early/ });
write_list('rest', sub { !/$early|$made/ });
for my $list ('first', 'second')
{
	pg_restore($target, 'parts', '-L', "$dir/$list");
	wait_for_looks($target, 'parts');
	is(work_done($target, 'parts'), 'dispatcher 0, integrator 0', "nothing begins after the $list part");
}
$target->safe_psql('parts', 'SELECT unrdf.finish_restore()');

# Where tables are loaded side by side, one that takes long is not overtaken by the end.
write_list('side', sub { !/$made/ });
my $lock = $target->background_psql('side');
$lock->query_safe('BEGIN; LOCK TABLE unrdf.attempt IN SHARE MODE');
my $restore = IPC::Run::start([ 'pg_restore', '-e', '-d', $target->connstr('side'), '-j2', '-L', "$dir/side", "$dir/custom" ]);
wait_for($target, 'side', q(
	SELECT count(*) = 1 AND bool_and(wait_event_type = 'Lock') AND )
	  . join(' AND ', map { "EXISTS (SELECT FROM unrdf.$_)" } grep { $_ ne 'attempt' } @tables)
	  . q( FROM pg_stat_activity WHERE datname = 'side' AND state = 'active' AND query LIKE 'COPY %'));
wait_for_looks($target, 'side');
is($target->safe_psql('side', 'SELECT (SELECT count(*) > 0 FROM unrdf.restoring), (SELECT count(*) FROM unrdf.restored)'), 't|0',
	'the restore has not ended while a table is being loaded');
is(work_done($target, 'side'), 'dispatcher 0, integrator 0', 'and nothing begins');
$lock->query_safe('COMMIT');
$lock->quit;
ok($restore->finish, 'side: pg_restore -j2');
assert_restored($target, $_) for @databases;

# The cluster's transaction ids come to those of the restored rows and pass them while workers run, in several steps with
# jobs and receipts in each. What was met before is met again, and known.
$target->stop;
set_next_xid($target, $low - 2000);
$target->start;
wait_for_workers($target, $_) for @databases;

# In one more database the integrator has just seen that no restore is under way, and waits for the log, when all this happens.
$target->safe_psql('postgres', 'CREATE DATABASE race');
$target->safe_psql('race', 'SET client_min_messages = warning; CREATE EXTENSION unrdf CASCADE');
wait_for_workers($target, 'race');
wait_for_looks($target, 'race');
$session = $target->background_psql('race');
$session->query_safe('BEGIN; SELECT unrdf.integrate()');
wait_for($target, 'race', q(
	SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'race' AND backend_type = 'unrdf integrator' AND wait_event_type = 'Lock'));

my %before = map { $_ => runs($target, $_) } @databases;
my $steps = 0;
do
{
	$steps++;
	for my $db (@databases)
	{
		$target->safe_psql($db, q(
			SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[10]));
			SELECT unrdf.record('update', 'order/17');
		));
		wait_for_runnable($target, $db);
	}
	cmp_ok(xid($target), '<', $low, "restored transaction ids are still ahead of the cluster's") if $steps == 1;
	$target->safe_psql('postgres', 'DO $$ BEGIN FOR i IN 1 .. 500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$');
} while (xid($target) < $high + 2000);
for my $db (@databases)
{
	wait_for_looks($target, $db);
	is(runs($target, $db) - $before{$db}, 10 * $steps, "$db: no ended job ran again while $steps steps passed the restored transaction ids");
	assert_rest($target, $db, 'passed');
}

# There, the first rows are loaded now: by their transaction ids they are new.
pg_restore($target, 'race', '-L', "$dir/race");
$session->query_safe('COMMIT');
$session->quit;
wait_for_looks($target, 'race');
is(work_done($target, 'race'), 'dispatcher 0, integrator 0', 'nothing begins whose restore has begun');
pg_restore($target, 'race', '-L', "$dir/rest");
assert_restored($target, 'race');
assert_rest($target, 'race', 'restored');
$target->stop;

# Another one has passed the restored ids before its workers first look. It was without them when the dump was loaded.
my $later = new_node('later', conf => "$conf\nshared_preload_libraries = ''\n");
$later->start;
$later->safe_psql('postgres', 'CREATE ROLE app; CREATE DATABASE later;');
pg_restore($later, 'later', '-j2');
assert_kept($later, 'later');
assert_prefix($later, 'later', 'without workers');
$later->stop;
set_next_xid($later, $high + 3_000_000);
$later->append_conf('postgresql.conf', "shared_preload_libraries = 'unrdf'\n");
$later->start;
assert_restored($later, 'later');
assert_rest($later, 'later', 'passed before');
$later->stop;

done_testing();
