# Kills executors, the dispatcher, the integrator and the postmaster at random moments under load. Whatever was acknowledged
# to a client is there afterwards and ends once, with its effect once, and the log verifies.
#
# UNRDF_KILLS sets how many are killed, UNRDF_SEED repeats a run's choices.
use strict;
use warnings;

use IO::Handle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Unrdf;

my $kills = $ENV{UNRDF_KILLS} // 12;
my $seed = $ENV{UNRDF_SEED} // time();
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $stop = "$dir/stop";

srand($seed);
note("$kills kills, UNRDF_SEED=$seed");

my $node = new_node('crash', conf => "unrdf.sweep_interval = '200 ms'\nunrdf.checkpoint_interval = '20 ms'\n");
$node->start;
install($node, 'postgres');

# Every line that psql prints is an id whose transaction was committed. Some of the jobs fail at first, some sleep, some
# are delayed, some are cancelled at once; those of the transaction rolled back must leave nothing. A client waits for the
# last of them, so that there are never more than a few rounds' jobs.
my $round = q(
SELECT unrdf.enqueue('effect') FROM generate_series(1, 3);
SELECT unrdf.enqueue('effect');
SELECT unrdf.enqueue('effect', '{"fail": 1}');
SELECT unrdf.enqueue('effect', '{"sleep": 0.05}');
SELECT unrdf.enqueue('effect', '{"sleep": 0.1}', priority => 0);
SELECT unrdf.enqueue('effect', run_at => now() + '300 ms');
SELECT unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[20]));
SELECT unrdf.record('update', 'subject ' || (10 * random())::int, '{"n": 1}');
SELECT unrdf.enqueue('effect', '{"sleep": 0.05}') AS id \gset
SELECT :id WHERE unrdf.cancel(:id);
BEGIN;
SELECT unrdf.enqueue('effect', '{"gone": true}') AS id \gset
\o :gone
SELECT :id;
\o
ROLLBACK;
SELECT unrdf.enqueue('effect') AS id \gset
SELECT :id;
SELECT FROM unrdf.wait(:id, '10 s');
);

# A client that goes on until it is told to stop or the test is gone, and connects again whenever the server went away.
sub client
{
	my ($n) = @_;
	my $test = $$;
	my $pid = fork() // die "could not fork: $!";

	return $pid if $pid;
	my @psql = (
		'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-v', "gone=|cat >> $dir/gone.$n",
		'-d', $node->connstr('postgres'), '-f', "$dir/round.sql");
	my $quoted = join ' ', map { "'" . s/'/'\\''/gr . "'" } @psql;
	until (-e $stop || getppid() != $test)
	{
		# a server that is away is asked again a little later
		system("$quoted >> '$dir/acknowledged.$n' 2>> '$dir/client.$n.log'") == 0 or usleep(50_000);
	}
	POSIX::_exit(0);
}

# The ids in the files of a name, complete lines only.
sub ids
{
	my ($name) = @_;
	my @ids;

	for my $file (glob "$dir/$name.*")
	{
		my $text = slurp_file($file);
		$text =~ s/[^\n]*\z//;
		push @ids, grep { /^\d+$/ } split /\n/, $text;
	}
	return @ids;
}

# The answer to a query that may use the temporary table "listed", which holds the given ids.
sub query_about
{
	my ($query, @ids) = @_;

	return $node->safe_psql('postgres',
		"CREATE TEMP TABLE listed (id bigint);\nCOPY listed FROM STDIN;\n" . join('', map { "$_\n" } @ids) . "\\.\n$query");
}

sub receipts
{
	return unbroken(
		sub {
			my ($status, $n) = $node->psql('postgres', 'SELECT count(*) FROM unrdf.receipt');

			return $status == 0 ? $n : undef;
		});
}

# Waits until some more jobs have ended, how many is chosen at random, and then for a random part of a job's run.
sub random_moment
{
	my $target = receipts() + int(rand(150));

	while (1)
	{
		my $n = receipts() // last;
		last if $n >= $target;
		usleep(5_000);
	}
	usleep(int(rand(20_000)));
	return;
}

# Kills one process and waits until the server is back. Returns what it killed.
sub kill_one
{
	my $kind = (qw(executor executor dispatcher integrator postmaster))[ int(rand(5)) ];
	my $started = $node->safe_psql('postgres', 'SELECT max(epoch) FROM unrdf.epoch');

	if ($kind eq 'postmaster')
	{
		crash_and_start($node);
	}
	else
	{
		my $pid = worker_pid($node, 'postgres', $kind) // return kill_one();
		kill('KILL', $pid) == 1 or die "could not kill $kind $pid: $!";
	}
	wait_for($node, 'postgres', "SELECT max(epoch) > $started FROM unrdf.epoch");
	return $kind;
}

append_to_file("$dir/round.sql", $round);
my @clients = map { client($_) } 1 .. 2;
my %killed;

for my $n (1 .. $kills)
{
	wait_for_workers($node, 'postgres');
	random_moment();
	my @before = ids('acknowledged');
	my $kind = kill_one();
	$killed{$kind}++;
	note("kill $n: $kind, with " . @before . ' ids acknowledged');

	is(query_about('SELECT count(*) FROM listed WHERE id NOT IN (SELECT id FROM unrdf.job UNION ALL SELECT id FROM unrdf.receipt)', @before),
		'0', "kill $n, $kind: nothing that was acknowledged is lost");
	assert_effects($node, 'postgres', "kill $n, $kind");
	ok( $node->poll_query_until('postgres',
			'SELECT NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.enqueued_at < (SELECT max(started_at) FROM unrdf.epoch)'
			  . ' AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))'),
		"kill $n, $kind: every job from before it ends");
	is(query_about('SELECT count(*) FROM listed WHERE id NOT IN (SELECT id FROM unrdf.receipt)', @before),
		'0', "kill $n, $kind: everything acknowledged before it has its receipt");
}

append_to_file($stop, '');
waitpid($_, 0) for @clients;
drain($node, 'postgres');

my @acknowledged = ids('acknowledged');
my @gone = ids('gone');
note(join(', ', map { "$killed{$_} × $_" } sort keys %killed) . '; ' . @acknowledged . ' ids acknowledged, ' . @gone . ' rolled back');
cmp_ok(scalar @acknowledged, '>', 100 * $kills, 'there was load');
cmp_ok(scalar @gone, '>', 0, 'some transactions were rolled back');
assert_ledger($node, 'postgres', 'at the end');
is( $node->safe_psql('postgres', q(
		SELECT (SELECT count(*) FROM unrdf.log_keys), count(*) > 100, count(*) FILTER (WHERE NOT unrdf.verify_checkpoint(unrdf.checkpoint(c.size), k.key)
			OR NOT unrdf.verify_consistency(c.size, c.root, h.size, h.root, p.proof))
		FROM unrdf.checkpoint AS c, unrdf.log_keys AS k, unrdf.log_size() AS h, unrdf.consistency_proof(1, c.size, h.size) AS p)),
	'1|t|0', 'every checkpoint is signed by the one key, and of a prefix of the log');
assert_effects($node, 'postgres', 'at the end');
is(query_about('SELECT count(*), count(DISTINCT id) FROM listed WHERE id IN (SELECT id FROM unrdf.receipt)', @acknowledged),
	query_about('SELECT count(*), count(DISTINCT id) FROM listed', @acknowledged),
	'every acknowledged id has its receipt');
# by what they were given, not by their ids: a sequence may give an id again after a crash that nothing committed has
is($node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.job WHERE args ? 'gone')), '0', 'nothing of a transaction that was rolled back is there');
is( $node->safe_psql('postgres', q(SELECT count(*) FROM unrdf.receipt AS r WHERE r.kind = 1 AND (r.outcome = 2
		AND NOT EXISTS (SELECT FROM unrdf.attempt AS a WHERE a.job = r.id AND a.sqlstate = '57P02')
		OR r.outcome = 3 AND r.id IN (SELECT job FROM effect)))),
	'0', 'only jobs that crashed the server alone are dead, and what was cancelled has no effect');
my $lone = $node->safe_psql('postgres', 'SELECT count(*) FROM unrdf.receipt WHERE outcome = 2');
cmp_ok($lone, '<=', $kills / 2, "at most half of the kills hit a job's second run alone: $lone");

$node->stop;
done_testing();
