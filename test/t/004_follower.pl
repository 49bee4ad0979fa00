# Jobs and receipts of transactions that become visible in another order than that of their ids and transaction ids: sessions
# that commit late, transactions prepared before one restart and decided after another, and more savepoints than a snapshot
# lists. Newer work is done and integrated all the time; what was late is then done once, and what was rolled back never.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('follower', conf => q(
max_prepared_transactions = 10
unrdf.sweep_interval = '200 ms'
unrdf.max_executors = 3
));
$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

# SQL that enqueues jobs and writes records, and prints their ids. Subjects of different names do not share a lock.
sub work
{
	my ($name, $jobs, $records) = @_;

	return "SELECT unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[$jobs]), priority => 4);\n"
	  . "SELECT unrdf.enqueue('effect', priority => i % 2, run_at => CASE WHEN i % 4 = 0 THEN now() END) FROM generate_series(1, 4) AS i;\n"
	  . "SELECT unrdf.record('update', '$name', jsonb_build_object('n', i)) FROM generate_series(1, $records) AS i;\n";
}

# Does newer work, enough for the integrator to take several steps, and waits until it is in the log.
sub newer_work
{
	my ($what) = @_;

	drain($node, 'postgres');
	my $size = log_size();
	$node->safe_psql('postgres', work('newer', 500, 50)) for 1 .. 3;
	drain($node, 'postgres');
	is(log_size(), $size + 3 * 554, "$what: newer work is done and integrated");
	return;
}

sub log_size
{
	return $node->safe_psql('postgres', 'SELECT size FROM unrdf.log_size()');
}

# Checks that operations of a transaction that has been committed just now are done, once, and in the log after everything
# that was there before, although their ids are lower than many of those.
sub assert_done
{
	my ($what, $size, @ids) = @_;
	my $ids = join ',', @ids;

	wait_for($node, 'postgres', "SELECT count(*) = " . @ids . " FROM unrdf.receipt WHERE id IN ($ids)");
	drain($node, 'postgres');
	is( $node->safe_psql('postgres', qq(
			SELECT count(*), count(*) FILTER (WHERE kind = 1), bool_and(outcome = 1), bool_and(attempt = 1),
				min(unrdf.leaf_index(id)) FROM unrdf.receipt WHERE id IN ($ids))),
		scalar(@ids) . '|' . $node->safe_psql('postgres', "SELECT count(*) FROM unrdf.job WHERE id IN ($ids)") . "|t|t|$size",
		"$what: done, and in the log after what came before");
	is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.receipt WHERE id IN ($ids) AND (unrdf.verify(id)).verdict <> 'ok'"),
		'0', "$what: every receipt verifies");
	return;
}

# Checks that nothing is left of operations.
sub assert_none
{
	my ($what, @ids) = @_;
	my $ids = join ',', @ids;

	is( $node->safe_psql('postgres', qq(
			SELECT (SELECT count(*) FROM unrdf.job WHERE id IN ($ids)), (SELECT count(*) FROM unrdf.receipt WHERE id IN ($ids)),
				(SELECT count(*) FROM effect WHERE job IN ($ids)))),
		'0|0|0', "$what: nothing is left");
	return;
}

# Checks the whole ledger.
sub assert_all
{
	my ($what) = @_;

	drain($node, 'postgres');
	assert_ledger($node, 'postgres', $what);
	assert_effects($node, 'postgres', $what);
	is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.jobs WHERE state <> 'succeeded' OR attempts <> 1"), '0', "$what: every job ran once");
	return;
}

# Sessions that begin in one order and end in another. Each one's work is done while older ones are open.
my @sessions = map { $node->background_psql('postgres') } 1 .. 6;
my @ids;
for my $n (0 .. $#sessions)
{
	$sessions[$n]->query_safe('BEGIN');
	$ids[$n] = [ split /\n/, $sessions[$n]->query_safe(work("session $n", 20, 3)) ];
	is(scalar @{ $ids[$n] }, 27, "session $n has an open transaction");
	newer_work("session $n open") if $n % 3 == 2;
}
for my $n (4, 1, 5, 0, 3, 2)
{
	my $size = log_size();

	if ($n == 5)
	{
		$sessions[$n]->query_safe('ROLLBACK');
		newer_work('session 5 rolled back');
		assert_none('session 5 rolled back', @{ $ids[$n] });
	}
	else
	{
		$sessions[$n]->query_safe('COMMIT');
		assert_done("session $n committed", $size, @{ $ids[$n] });
	}
	$sessions[$n]->quit;
}
assert_all('sessions');

# Prepared transactions, to be committed or rolled back after restarts of every kind. Some of their savepoints are rolled back.
my %prepared;

sub prepare
{
	my ($name) = @_;
	my $output = $node->safe_psql('postgres',
		"BEGIN;\n"
		  . "SAVEPOINT s;\n\\echo undone\n"
		  . work($name, 5, 1)
		  . "ROLLBACK TO s;\n\\echo done\n"
		  . work($name, 20, 3)
		  . "SAVEPOINT s;\n\\echo undone\n"
		  . work($name, 5, 1)
		  . "ROLLBACK TO s;\n\\echo done\n"
		  . work($name, 5, 1)
		  . "PREPARE TRANSACTION '$name';\n");
	my ($undone, $one, $undone_too, $two) = (split /^(?:undone|done)\n/m, $output)[ 1 .. 4 ];

	$prepared{$name} = { ids => [ split /\n/, $one . $two ], undone => [ split /\n/, $undone . $undone_too ] };
	is(scalar @{ $prepared{$name}{ids} }, 37, "$name is prepared");
	return;
}

# Decides a prepared transaction.
sub decide
{
	my ($name, $how) = @_;
	my $size = log_size();

	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name'"), '1', "$name is still prepared");
	$node->safe_psql('postgres', "$how PREPARED '$name'");
	if ($how eq 'COMMIT')
	{
		assert_done("$name committed", $size, @{ $prepared{$name}{ids} });
	}
	else
	{
		newer_work("$name rolled back");
		assert_none("$name rolled back", @{ $prepared{$name}{ids} });
	}
	assert_none("savepoint of $name rolled back", @{ $prepared{$name}{undone} });
	return;
}

prepare($_) for qw(first second third fourth fifth);
newer_work('prepared');
decide('first', 'COMMIT');
newer_work('before a fast restart');
$node->restart;
wait_for_workers($node, 'postgres');
newer_work('after a fast restart');
decide('third', 'COMMIT');
newer_work('before an immediate restart');
$node->stop('immediate');
$node->start;
wait_for_workers($node, 'postgres');
newer_work('after an immediate restart');
decide('fourth', 'ROLLBACK');
# the position survives the integrator; the dispatcher begins anew
signal_worker($node, 'postgres', $_, 'TERM') for qw(dispatcher integrator);
wait_for_workers($node, 'postgres');
newer_work('after new workers');
decide('second', 'COMMIT');
# decided while there is nobody to see it
crash_and_start($node);
$node->safe_psql('postgres', "COMMIT PREPARED 'fifth'");
crash_and_start($node);
wait_for_workers($node, 'postgres');
drain($node, 'postgres');
my $fifth = join ',', @{ $prepared{fifth}{ids} };
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.receipt WHERE id IN ($fifth) AND outcome = 1 AND (unrdf.verify(id)).verdict = 'ok'"),
	'37', 'committed between two crashes: done and integrated');
# The first that is done after a start needs the epoch's row, which all need; it may stay open, and undo the part that needed it.
$node->restart;
prepare('sixth');
newer_work('after a transaction that was the first of its epoch');
decide('sixth', 'COMMIT');
$node->restart;
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT unrdf.record('update', 'undone'); ROLLBACK TO s; SELECT unrdf.enqueue('effect'); COMMIT");
newer_work('after a savepoint that was the first of its epoch');
assert_all('prepared transactions');

# What changes queues or handlers cannot be prepared, as nobody would be told at COMMIT PREPARED.
for my $change (q(unrdf.create_queue('late')), q(unrdf.pause_queue('default')), q(unrdf.register_handler('late', 'effect(bigint, jsonb)')))
{
	sql_fails($node, 'postgres', "BEGIN; SELECT $change; PREPARE TRANSACTION 'change'", '0A000', qr/changed queues or handlers/, "not prepared: $change");
}
is($node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue('effect'); PREPARE TRANSACTION 'no change'; ROLLBACK PREPARED 'no change')) =~ /^\d+$/, 1,
	'another one is, also after those');

# More subtransactions than a snapshot can list (64), nested and not, each with jobs and a record; some are rolled back. One
# such transaction commits, one is rolled back, both with much newer work before.
for my $how (qw(COMMIT ROLLBACK))
{
	my $session = $node->background_psql('postgres');
	my (@kept, @undone);

	$session->query_safe('BEGIN');
	for my $n (1 .. 150)
	{
		my @new = split /\n/, $session->query_safe(
			"SAVEPOINT s$n; SELECT unrdf.enqueue('effect', priority => $n % 3); SELECT unrdf.record('update', '$how', '{\"n\": $n}')");
		if ($n % 3 == 0)
		{
			$session->query_safe("ROLLBACK TO s$n");
			push @undone, @new;
		}
		else
		{
			$session->query_safe("RELEASE s$n") if $n % 3 == 1;
			push @kept, @new;
		}
		newer_work("$how after $n savepoints") if $n % 50 == 0;
	}
	my $size = log_size();
	$session->query_safe($how);
	$session->quit;
	is(@kept . ' ' . @undone, '200 100', "$how: the ids are known");
	if ($how eq 'COMMIT')
	{
		assert_done('savepoints committed', $size, @kept);
	}
	else
	{
		newer_work('savepoints rolled back');
		assert_none('savepoints rolled back', @kept);
	}
	assert_none("savepoints rolled back, $how", @undone);
}
assert_all('savepoints');

# Two queues are created. The dispatcher, told of the first, has begun to look, and is held by a lock until there is the second:
# its transaction's snapshot does not have that, the count of changes does. No sweep would mend it.
$node->append_conf('postgresql.conf', "unrdf.sweep_interval = '1 h'\n");
$node->restart;
wait_for_workers($node, 'postgres');
is($node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect') AS id \gset
	SELECT unrdf.wait(:id))), 'ok', 'the dispatcher is done with its first look');
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE unrdf.restored IN ACCESS EXCLUSIVE MODE');
$node->safe_psql('postgres', q(SELECT unrdf.create_queue('first')));
wait_for($node, 'postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'unrdf dispatcher' AND wait_event_type = 'Lock'));
$node->safe_psql('postgres', q(SELECT unrdf.create_queue('second')));
$lock->query_safe('COMMIT');
$lock->quit;
is($node->safe_psql('postgres', q(SELECT unrdf.enqueue('effect', queue => 'second') AS id \gset
	SELECT unrdf.wait(:id, '60 s'))), 'ok', 'a queue that was created while the dispatcher looked is known');

$node->stop;
done_testing();
