# 100,000 jobs, some failing once, and records: the processes that live for months neither grow nor keep files open. They are
# measured after the first 20,000, when every cache that has a size has reached it, and after all of them.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

# What may come between the two measurements without any relation to the number of jobs. In the memory contexts: a few blocks of
# catalog caches. A context that lost one byte a job in a process that sees every job is above it, and so is the least that can
# be lost at all, 16 bytes, in one of three executors. Of the operating system's memory: pages of the postmaster that are
# written to for the first time, and what malloc keeps. This is for what is not in a context, such as OpenSSL's: 40 bytes a job
# in an executor are above it. Files: segments of tables and of the WAL that are new.
my %allowance = (memory => 64 * 1024, rss => 1024 * 1024, files => 8);

# As many executors as there are processes to run them, from beginning to end.
my $node = new_node('leak', conf => q(
unrdf.min_executors = 3
unrdf.max_executors = 3
unrdf.checkpoint_interval = '20 ms'
));
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE FUNCTION answer(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args || '{"answer": 42}' $$;
	SELECT unrdf.register_handler('answer', 'answer(jsonb)');
	SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '10 ms');
));
wait_for($node, 'postgres', "SELECT count(*) = 3 FROM unrdf.stat_workers WHERE kind = 'executor' AND state = 'idle'");

# 20,000 jobs in turns of 2,000, so that they also come while others run: with results, with effects, failing once, delayed,
# cancelled; with keys, and with records beside them.
sub round
{
	for my $n (1 .. 10)
	{
		$node->safe_psql('postgres', q(
			SELECT count(*) FROM unrdf.enqueue_many('answer', (SELECT array_agg(jsonb_build_object('n', i)) FROM generate_series(1, 1000) AS i));
			SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[750]));
			SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[100]), run_at => now() + '50 ms');
			SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[100]),
				keys => (SELECT array_agg(gen_random_uuid()::text) FROM generate_series(1, 100)));
			SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{"fail": 1}'::jsonb, ARRAY[40]));
			BEGIN;
			CREATE TEMP TABLE unwanted AS SELECT unrdf.enqueue('effect') AS id FROM generate_series(1, 10);
			SELECT count(*) FROM unwanted WHERE unrdf.cancel(id);
			COMMIT;
			SELECT count(unrdf.record('update', 'subject ' || i % 50, jsonb_build_object('n', i))) FROM generate_series(1, 100) AS i;
		));
	}
	drain($node, 'postgres');
	wait_for($node, 'postgres', "SELECT count(*) = 3 FROM unrdf.stat_workers WHERE kind = 'executor' AND state = 'idle'");
	return;
}

# The processes, by id.
sub workers
{
	my %kinds = map { split /\|/ } split /\n/, $node->safe_psql('postgres', q(
		SELECT pid, kind FROM unrdf.stat_workers WHERE kind = 'launcher' OR datname = current_database()));

	return %kinds;
}

# How many files a process has open.
sub files_of
{
	my ($pid) = @_;

	opendir(my $dir, "/proc/$pid/fd") or die "could not read /proc/$pid/fd: $!";
	my @files = grep { /^\d+$/ } readdir $dir;
	closedir $dir;
	return scalar @files;
}

# How many bytes of memory a process has for itself.
sub rss_of
{
	my ($pid) = @_;
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB$/m or die "process $pid has no RssAnon";

	return 1024 * $kilobytes;
}

# What a process holds at rest: bytes in memory contexts, and by context; bytes in all; open files.
sub measure
{
	my ($pid) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $rss = rss_of($pid);
	my %contexts;

	do
	{
		die "process $pid never rests" if time() > $until;
		%contexts = memory_of($node, 'postgres', $pid);
	} while ($contexts{ExecutorState} || $contexts{'SPI Proc'});

	return { contexts => \%contexts, memory => $contexts{'Grand total'}, rss => $rss, files => files_of($pid) };
}

round();
my %kinds = workers();
my %before = map { $_ => measure($_) } keys %kinds;
round() for 1 .. 4;
is_deeply({ workers() }, \%kinds, 'the same processes did it all');
is(join(' ', sort values %kinds), 'dispatcher executor executor executor integrator launcher publisher', 'and those are all there are');

for my $pid (sort { $kinds{$a} cmp $kinds{$b} || $a <=> $b } keys %kinds)
{
	my $old = $before{$pid};
	my $new = measure($pid);

	for my $what (sort keys %allowance)
	{
		note("$kinds{$pid} $pid, $what: $old->{$what}, then $new->{$what}");
		my $allowed = $allowance{$what};

		# since version 17, a slab keeps up to 10 blocks, here of 32 kB, that have become empty
		$allowed += 10 * 32 * 1024 if $what eq 'memory' && $kinds{$pid} eq 'dispatcher';
		cmp_ok($new->{$what} - $old->{$what}, '<=', $allowed, "$kinds{$pid} $pid: $what does not grow")
		  or diag(map { "$_: $old->{contexts}{$_}, then $new->{contexts}{$_}\n" }
			  grep { $new->{contexts}{$_} != ($old->{contexts}{$_} //= 0) } sort keys %{ $new->{contexts} });
	}
}
is( $node->safe_psql('postgres', q(
		SELECT (SELECT count(*) FROM unrdf.job), count(*) FILTER (WHERE kind = 1 AND outcome = 1), count(*) FILTER (WHERE kind = 3),
			count(*) FILTER (WHERE attempt = 2), min(jobs) > 0
		FROM unrdf.receipt, (SELECT min(jobs) AS jobs FROM unrdf.stat_workers WHERE kind = 'executor') AS w)),
	'100000|99500|5000|2000|t', 'everything ran, in every executor');
assert_ledger($node, 'postgres', '100,000 jobs');
assert_effects($node, 'postgres', '100,000 jobs');

$node->stop;
done_testing();
