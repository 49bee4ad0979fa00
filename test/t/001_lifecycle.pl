# Workers come, go and come back: with the extension, the server, the database, signals, and too few slots.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Unrdf;

my $node = new_node('lifecycle', conf => q(
unrdf.min_executors = 2
unrdf.max_executors = 5
unrdf.executor_idle_time = '1 s'
));
$node->start;

# Whether a database has no worker.
sub has_none
{
	my ($db) = @_;

	return "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE 'unrdf %' AND datname = '$db')";
}

# Enqueues jobs of handler "effect" in one transaction.
sub enqueue
{
	my ($db, $n, $args) = @_;

	$node->safe_psql($db, "SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('$args'::jsonb, ARRAY[$n]))");
	return;
}

# Waits until code says so.
sub wait_until
{
	my ($what, $code) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	until ($code->())
	{
		die "waited in vain for: $what" if time() > $until;
		usleep(10_000);
	}
	return;
}

# Something that /proc says of a process.
sub proc
{
	my ($pid, $file, $pattern) = @_;

	return slurp_file("/proc/$pid/$file") =~ $pattern ? $1 : undef;
}

sub running
{
	my ($n) = @_;

	return "SELECT count(*) >= $n FROM unrdf.stat_workers WHERE kind = 'executor' AND job IS NOT NULL AND datname = current_database()";
}

# Checks that a database's jobs all ended, once.
sub assert_all
{
	my ($db, $what) = @_;

	drain($node, $db);
	assert_ledger($node, $db, $what);
	assert_effects($node, $db, $what);
	is($node->safe_psql($db, "SELECT count(*) FROM unrdf.jobs WHERE state <> 'succeeded'"), '0', "$what: every job succeeded");
	return;
}

# CREATE EXTENSION
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'unrdf launcher'");
is($node->safe_psql('postgres', has_none('postgres')), 't', 'no extension, no workers');
install($node, 'postgres');
wait_for_workers($node, 'postgres');
pass('workers appear after CREATE EXTENSION');

# What pg_stat_activity says
wait_for($node, 'postgres', "SELECT count(*) = 2 FROM unrdf.stat_workers WHERE kind = 'executor' AND state = 'idle'");
ok( $node->poll_query_until('postgres', q(
			SELECT string_agg(DISTINCT concat_ws(' ', backend_type, application_name, state, wait_event_type), ', ')
			FROM pg_stat_activity WHERE backend_type LIKE 'unrdf %'),
		join(', ', map { "unrdf $_ unrdf $_ idle Extension" } qw(dispatcher executor integrator launcher publisher))),
	'idle workers show type, name, state and the type of what they wait for');
enqueue('postgres', 1, '{"sleep": 30}');
wait_for($node, 'postgres', running(1));
is( $node->safe_psql('postgres', q(
		SELECT a.state, a.query, a.wait_event FROM pg_stat_activity AS a JOIN unrdf.stat_workers AS w USING (pid) WHERE w.job IS NOT NULL)),
	'active|running a job|PgSleep', 'a working executor shows what it does');
is($node->safe_psql('postgres', q(SELECT unrdf.cancel(id) FROM unrdf.jobs WHERE state = 'running')), 't', 'a running job is cancelled');
$node->safe_psql('postgres', q(
	SELECT unrdf.create_queue('steady'); SELECT unrdf.enqueue('effect', queue => 'steady')));
drain($node, 'postgres');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM unrdf.jobs)), 'cancelled succeeded',
	'the cancelled job left no effect to wait for, the next one ran');
assert_effects($node, 'postgres', 'after a cancel');

# Restart
$node->restart;
wait_for_workers($node, 'postgres');
pass('workers appear after a restart');
$node->safe_psql('postgres', 'CREATE DATABASE one');
install($node, 'one');
wait_for_workers($node, 'one');

# Every worker told to end, idle and at work
for my $kind (qw(launcher dispatcher integrator publisher executor))
{
	for my $how (qw(SIGTERM pg_terminate_backend))
	{
		for my $busy (0, 1)
		{
			my $what = "$how of " . ($busy ? "a $kind at work" : "an idle $kind");
			wait_for_workers($node, 'one');
			wait_for($node, 'one', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE kind = 'launcher'");
			if ($busy)
			{
				enqueue('one', 500, '{}');
				enqueue('one', 4, '{"sleep": 0.7}');
				wait_for($node, 'one', running(1));
			}
			my $pid = $kind eq 'executor' && $busy
			  ? $node->safe_psql('one', "SELECT pid FROM unrdf.stat_workers WHERE job IS NOT NULL AND datname = 'one' LIMIT 1")
			  : worker_pid($node, 'one', $kind);
			$pid ||= worker_pid($node, 'one', $kind);
			if ($how eq 'SIGTERM')
			{
				kill('TERM', $pid) == 1 or die "could not signal $pid: $!";
			}
			else
			{
				$node->safe_psql('one', "SELECT pg_terminate_backend($pid)");
			}
			wait_for($node, 'one', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
			enqueue('one', 20, '{}');
			drain($node, 'one');
			wait_for($node, 'one', "SELECT count(*) > 0 FROM unrdf.stat_workers WHERE kind = '$kind' AND pid <> $pid");
			assert_effects($node, 'one', $what);
		}
	}
}
assert_all('one', 'after every worker was ended');

# A new dispatcher finds what an earlier one handed out
enqueue('one', 4, '{"sleep": 2}');
wait_for($node, 'one', running(4));
signal_worker($node, 'one', 'dispatcher', 'TERM');
wait_for_workers($node, 'one');
assert_all('one', 'dispatcher ended while jobs run');
is($node->safe_psql('one', 'SELECT count(*) FROM unrdf.attempt WHERE job IN (SELECT id FROM unrdf.job ORDER BY id DESC LIMIT 4)'), '0',
	'what ran then was neither ended nor run again');

# The pool
enqueue('one', 20, '{"sleep": 0.3}');
wait_for($node, 'one', running(5));
is($node->safe_psql('one', "SELECT max(n) FROM (SELECT count(*) AS n FROM unrdf.stat_workers WHERE kind = 'executor' AND datname = 'one') AS s"),
	'5', 'the pool grows to unrdf.max_executors, and no further');
wait_for($node, 'one', "SELECT count(*) = 2 FROM unrdf.stat_workers WHERE kind = 'executor' AND datname = 'one'");
pass('the pool shrinks to unrdf.min_executors');
assert_all('one', 'after the pool grew and shrank');

# Short jobs share a transaction. One that takes long is the last of its: the others do not wait for it.
enqueue('one', 500, '{}');
drain($node, 'one');
$node->safe_psql('one', q(
	CREATE TABLE slow AS SELECT t.id FROM unrdf.enqueue_many('effect',
		(SELECT array_agg(CASE WHEN i IN (90, 100, 107, 120, 131, 140) THEN '{"sleep": 0.1}' ELSE '{}' END::jsonb ORDER BY i) FROM generate_series(1, 200) AS i))
		WITH ORDINALITY AS t (id, i) WHERE i IN (90, 100, 107, 120, 131, 140)));
drain($node, 'one');
is( $node->safe_psql('one', q(
		SELECT count(*) FILTER (WHERE r.started_at < s.started_at) > 0, count(*) FILTER (WHERE r.started_at > s.finished_at)
		FROM slow JOIN unrdf.receipt AS s USING (id) JOIN unrdf.receipt AS r ON r.xid = s.xid)),
	't|0', 'a transaction ends with the job that takes long');

# CREATE DATABASE … TEMPLATE, of a database with workers: idle, and at work
$node->safe_psql('one', 'CREATE DATABASE copied TEMPLATE one');
wait_for_workers($node, 'copied');
enqueue('copied', 10, '{}');
assert_all('copied', 'in a copied database');
enqueue('one', 6, '{"sleep": 1}');
wait_for($node, 'one', running(2));
$node->safe_psql('postgres', 'CREATE DATABASE busy_copy TEMPLATE one');
assert_all('one', 'template whose jobs ran');
assert_all('busy_copy', 'copy of a database whose jobs ran');

# ALTER DATABASE … RENAME
enqueue('copied', 6, '{"sleep": 1}');
wait_for($node, 'copied', running(2));
$node->safe_psql('postgres', 'ALTER DATABASE copied RENAME TO renamed');
wait_for_workers($node, 'renamed');
assert_all('renamed', 'renamed while jobs ran');

# DROP DATABASE
enqueue('renamed', 6, '{"sleep": 60}');
wait_for($node, 'renamed', running(2));
$node->safe_psql('postgres', 'DROP DATABASE renamed');
is($node->safe_psql('postgres', has_none('renamed')), 't', 'DROP DATABASE ends the workers');
$node->safe_psql('postgres', 'DROP DATABASE busy_copy');
wait_for($node, 'postgres', "SELECT count(DISTINCT datname) = 2 FROM unrdf.stat_workers WHERE kind = 'dispatcher'");
pass('the other databases keep theirs');

# DROP EXTENSION, rolled back and for good
enqueue('one', 6, '{"sleep": 0.5}');
wait_for($node, 'one', running(2));
$node->safe_psql('one', 'BEGIN; DROP EXTENSION unrdf; ROLLBACK');
wait_for_workers($node, 'one');
assert_all('one', 'DROP EXTENSION rolled back');
enqueue('one', 600, '{}');
drain($node, 'one');
my $prover = $node->background_psql('one');
my $proofs = q(SELECT count(*) FROM generate_series(0, 599) AS i, unrdf.inclusion_proof(1, i, NULL) AS p
	WHERE unrdf.verify_inclusion(p.leaf, p.index, p.tree_size, p.proof, p.root));
like($prover->query($proofs), qr/^600$/, 'a session proves');
enqueue('one', 6, '{"sleep": 60}');
wait_for($node, 'one', running(2));
$node->safe_psql('one', 'DROP EXTENSION unrdf');
wait_for($node, 'one', has_none('one'));
pass('DROP EXTENSION ends the workers');
$node->safe_psql('one', 'DROP TABLE effect; DROP FUNCTION effect');
install($node, 'one');
wait_for_workers($node, 'one');
enqueue('one', 600, '{}');
assert_all('one', 'created anew');
like($prover->query($proofs), qr/^600$/, 'what a session remembers of a log that is gone does not get into proofs of the new one');
$prover->quit;

# An extension that is created between the look of a dispatcher, which did not see it, and that one's end. New processes wait for a lock
# while they connect; the postmaster stands still, and does not see who has ended.
$node->safe_psql('postgres', 'CREATE DATABASE hint');
$node->safe_psql('postgres', 'CREATE DATABASE late');
my ($gate, $hint, $late) = map { $node->background_psql($_) } qw(postgres hint late);
$_->query_safe('BEGIN; SET LOCAL client_min_messages = warning; CREATE EXTENSION unrdf CASCADE') for $hint, $late;
wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'late' AND backend_type LIKE 'unrdf%')");
my $absent = $node->safe_psql('postgres', q(
	SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate
		AND oid NOT IN (SELECT datid FROM pg_stat_activity WHERE backend_type = 'unrdf dispatcher')));
$gate->query_safe('BEGIN; LOCK TABLE pg_catalog.pg_db_role_setting IN ACCESS EXCLUSIVE MODE');
$hint->query_safe('COMMIT');
my @dispatchers;
wait_until('dispatchers', sub {
	my @pids = split /\n/, answer($gate, q(SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'pg_catalog.pg_db_role_setting'::regclass));
	@dispatchers = grep { proc($_, 'cmdline', qr/unrdf (dispatcher)/) } @pids;
	return @dispatchers == $absent;
});
my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
kill 'STOP', $postmaster;
$gate->query_safe('ROLLBACK');
# all but that of hint
wait_until('dispatchers to end', sub { return $absent - 1 == grep { proc($_, 'status', qr/^State:\s+(Z)/m) } @dispatchers });
my $launcher = answer($gate, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'unrdf launcher'");
my $rests = sub { return proc($launcher, 'status', qr/^State:\s+S.*^voluntary_ctxt_switches:\s+(\d+)/ms) // 0 };
my $rested = $rests->();
$late->query_safe('COMMIT');
wait_until('the launcher to look', sub { return $rests->() > $rested });
kill 'CONT', $postmaster;
$_->quit for $gate, $hint, $late;
wait_for_workers($node, 'late');
pass('a dispatcher that looked before an extension was there does not keep its workers away');

# pg_ctl stop -m fast
enqueue('one', 6, '{"sleep": 120}');
wait_for($node, 'one', running(2));
my $start = time();
$node->stop('fast');
cmp_ok(time() - $start, '<', 20, 'the server stops while handlers run');

# Too few slots. What is short is said once, with what to do about it, and those that are there do the work.
for my $short (
	[ 'unrdf.executor_slots', 2, qr/HINT:  Raise unrdf\.executor_slots\./ ],
	[ 'max_worker_processes', 6, qr/HINT:  Raise max_worker_processes\./ ])
{
	my ($setting, $value, $hint) = @$short;
	my $few = new_node("few_$setting" =~ s/\W/_/gr, conf => qq(
unrdf.min_executors = 1
unrdf.executor_idle_time = '500 ms'
$setting = $value
));
	$few->start;
	my $position = log_position($few);
	install($few, 'postgres');
	wait_for_workers($few, 'postgres');
	for my $round (1, 2)
	{
		$few->safe_psql('postgres', q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{"sleep": 0.3}'::jsonb, ARRAY[20]))));
		wait_for($few, 'postgres', "SELECT count(*) >= 1 FROM unrdf.stat_workers WHERE job IS NOT NULL");
		drain($few, 'postgres');
	}
	assert_ledger($few, 'postgres', "$setting = $value");
	assert_effects($few, 'postgres', "$setting = $value");
	is(occurrences(log_since($few, $position), $hint), 1, "$setting = $value: said once");
	$few->stop;
}

done_testing();
