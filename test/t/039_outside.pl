# Workers outside: who dies, when, and what is left of their leases; limits and order with them; nobody gets a job twice at once.
use strict;
use warnings;

use IPC::Run qw(start finish);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('outside', conf => q(
unrdf.max_leases = 4096
unrdf.sweep_interval = '1 h'
max_prepared_transactions = 2
));
$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# A connection that stays open.
sub session
{
	return $node->background_psql('postgres', on_error_stop => 0);
}

# Puts n jobs into a queue, and returns the first one's id.
sub jobs
{
	my ($n, $queue, $more) = @_;

	return sql("SELECT min(id) FROM unrdf.enqueue_many('out', ARRAY(SELECT jsonb_build_object('i', i) FROM generate_series(1, $n) AS i), queue => '$queue' "
		  . ($more // '') . ') AS id');
}

# Claims in a statement of its own; returns the tokens.
sub claim
{
	my ($queue, $n, $more) = @_;

	return split /\n/, sql("SELECT token FROM unrdf.claim(ARRAY['$queue'], $n, wait => '1 minute' " . ($more // '') . ')');
}

sub complete
{
	my @tokens = @_;

	return sql("SELECT unrdf.complete(ARRAY[" . join(',', @tokens) . ']::bigint[])');
}

sub queue
{
	my ($name, $settings) = @_;

	sql("SELECT unrdf.create_queue('$name')");
	sql("SELECT unrdf.alter_queue('$name', '$settings')") if $settings;
	return;
}

sub refused
{
	my ($token, $what) = @_;

	sql_fails($node, 'postgres', "SELECT unrdf.complete($token\::bigint)", '55000', qr/has passed on/, $what);
	return;
}

sql("SELECT unrdf.register_outside_handler('out', max_attempts => 3, backoff => '0', backoff_cap => '0', timeout => '1 hour')");
queue('plain');

# A deadline: the lease passes on, whoever had it is refused, and heartbeats cannot bring it back
my $job = jobs(1, 'plain');
my ($old) = claim('plain', 1, ", lease => '100 ms'");
my ($new) = claim('plain', 1);
refused($old, 'after the deadline');
is(sql("SELECT unrdf.heartbeat(ARRAY[$old, $new])"), "{$old}", 'and its heartbeat says lost');
is(complete($old, $new), "{$old}", 'the one that has it now completes');
is(sql("SELECT n, sqlstate FROM unrdf.attempt WHERE job = $job"), '1|08006', 'a lost lease is a failed attempt');
is(sql("SELECT attempt, outcome FROM unrdf.receipt WHERE id = $job"), '2|1', 'and the receipt counts it');

# Heartbeats hold a lease, up to the handler's time-out
sql("SELECT unrdf.register_outside_handler('short', max_attempts => 1, timeout => '700 ms')");
$job = sql("SELECT unrdf.enqueue('short', queue => 'plain')");
is(sql("SELECT unrdf.heartbeat(array_agg(token), '1 minute') FROM unrdf.claim(ARRAY['plain'], lease => '200 ms', wait => '1 minute')"), '{}',
	'a heartbeat holds it');
is(sql("SELECT unrdf.wait($job)"), 'dead', 'but not beyond the time-out');
is(sql("SELECT finished_at - started_at >= '0.7 s' FROM unrdf.receipt WHERE id = $job"), 't', 'and that long');

# A poison job ends
$job = jobs(1, 'plain');
claim('plain', 1, ", lease => '1 ms'") for 1 .. 3;
is(sql("SELECT unrdf.wait($job)"), 'dead', 'a job whose workers are lost is dead after its attempts');
is(sql("SELECT count(*) FROM unrdf.attempt WHERE job = $job"), '3', 'each of which is recorded');

# The connection is the lease
jobs(20, 'plain');
my $held = session();
my $pid = $held->query_safe('SELECT pg_backend_pid()');
$held->query_safe("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 20, lease => NULL)");
is(sql("SELECT count(*) FROM unrdf.workers() WHERE kind = 'outside' AND pid = $pid"), '20', 'leases of a connection');
sql("SELECT pg_terminate_backend($pid)");
my @tokens = claim('plain', 20);
push @tokens, claim('plain', 20) while @tokens < 20;
is(scalar @tokens, 20, 'they end with it');
is(sql('SELECT count(*) FROM unrdf.attempt WHERE sqlstate = \'08006\' AND job IN (SELECT job FROM unrdf.workers())'), '20', 'as failed attempts');
is(sql("SELECT unrdf.release(ARRAY[" . join(',', @tokens) . '])'), '{}', 'given back');
is(sql("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 100) WHERE attempt = 2"), '20', 'that does not count');
eval { $held->quit };

# A backend that ends within a transaction: what it has claimed in it goes back uncounted, what it has completed is as before
restart_all();
jobs(2, 'plain');
my $open = session();
$pid = $open->query_safe('SELECT pg_backend_pid()');
my ($before) = claim('plain', 1);
$open->query_safe('BEGIN');
$open->query_safe("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 10)");
$open->query_safe("SELECT unrdf.complete($before\::bigint)");
refused($before, 'a lease that another transaction completes');
sql("SELECT pg_terminate_backend($pid)");
wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
is(complete($before), '{}', 'is valid again once that is rolled back');
is(sql("SELECT attempt FROM unrdf.claim(ARRAY['plain'], wait => '1 minute')"), '1', 'what it had claimed goes back uncounted');
eval { $open->quit };

# Waiting: who waits is told at once; who ends while waiting takes nothing along
restart_all();
my ($out, $err) = ('', '');
my $client = start(['psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT 'got ' || (args ->> 'i') FROM unrdf.claim(ARRAY['plain'], 5, wait => '3 minutes')"],
	'>', \$out, '2>', \$err);
wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT ''got%' AND wait_event_type = 'Extension')");
jobs(1, 'plain');
finish($client);
is($out, "got 1\n", 'who waits gets what is enqueued');
restart_all();
for my $end ('pg_cancel_backend', 'pg_terminate_backend', 'KILL')
{
	$client = start(['psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT count(*) AS gone FROM unrdf.claim(ARRAY['plain'], 5, wait => '3 minutes')"],
		'>', \$out, '2>', \$err);
	my $who = "FROM pg_stat_activity WHERE query LIKE '%AS gone FROM%' AND pid <> pg_backend_pid() AND state = 'active'";
	wait_for($node, 'postgres', "SELECT EXISTS (SELECT $who AND wait_event_type = 'Extension')");
	if ($end eq 'KILL')
	{
		$client->signal('KILL');
	}
	else
	{
		sql("SELECT $end(pid) $who");
	}
	finish($client);
	wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT $who)");
	jobs(1, 'plain');
	is(sql("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 100, wait => '1 minute')"), '1', "who ended by $end while it waited took nothing");
}

# Who waits for ever does not outlive its right, or its queue
sql("CREATE ROLE waiter LOGIN");
sql("SELECT unrdf.grant_access('waiter', 'worker')");
queue('going');
sql("SELECT unrdf.grant_queue(name, 'waiter') FROM (VALUES ('plain'), ('going')) AS q (name)");
for my $case ([ "SELECT unrdf.revoke_queue('plain', 'waiter')", 'plain', qr/permission denied to claim jobs of queue "plain"/ ],
	[ "CALL unrdf.drop_queue('going')", 'going', qr/queue "going" was dropped/ ])
{
	my ($change, $queue, $message) = @$case;

	$err = '';
	$client = start(['psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=waiter', '-c', "SELECT count(*) FROM unrdf.claim(ARRAY['$queue'], 5, wait => NULL)"],
		'>', \$out, '2>', \$err);
	wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'waiter' AND wait_event_type = 'Extension')");
	sql($change);
	finish($client);
	like($err, $message, "who waits in a claim hears of $change");
}

# Kills
restart_all();
$job = jobs(4, 'plain');
@tokens = claim('plain', 3);
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
is(complete($tokens[0]), '{}', 'without a dispatcher a job can be completed');
wait_for_workers($node, 'postgres');
is(sql("SELECT unrdf.heartbeat(ARRAY[$tokens[1], $tokens[2]], '1 hour')"), '{}', 'a new dispatcher knows the leases');
is(sql("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 100, lease => '1 h', wait => '1 minute')"), '1', 'and hands out what is not leased');
is(complete($tokens[1]), '{}', 'they are completed');
crash_and_start($node);
wait_for_workers($node, 'postgres');
refused($tokens[2], 'after a crash of the server');
my @again = claim('plain', 100);
push @again, claim('plain', 100) while @again < 2;
is(scalar @again, 2, 'all that had no receipt is there at once');
refused($tokens[2], 'a token of before the crash, also when its slot is in use');
is(sql('SELECT max(attempt) FROM unrdf.claim(ARRAY[\'plain\'], 1)'), '', 'and nothing more');
is(complete(@again), '{}', 'completed');
sub kill_worker
{
	my ($kind) = @_;
	my $pid = worker_pid($node, 'postgres', $kind);

	kill('KILL', $pid);
	wait_for($node, 'postgres', "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return;
}
for my $kind ('dispatcher', 'executor')
{
	jobs(2, 'plain');
	my ($token) = claim('plain', 1);
	kill_worker($kind);
	wait_for_workers($node, 'postgres');
	refused($token, "after kill -9 of the $kind");
	my @rest = claim('plain', 2);
	push @rest, claim('plain', 2) while @rest < 2;
	is(complete(@rest), '{}', 'its job is there again');
}
assert_ledger_of();

# A start in which nothing but a claim was done has an epoch of its own
jobs(2, 'plain');
my @first;
for (1 .. 2)
{
	crash_and_start($node);
	wait_for_workers($node, 'postgres');
	push @first, claim('plain', 1);
}
is(sql("SELECT ($first[0]::bigint >> 43) < ($first[1]::bigint >> 43)"), 't', 'tokens of two starts differ by their epoch');
refused($first[0], 'a token of another epoch');
is(complete($first[1]), '{}', 'and that of this one is good');
complete(claim('plain', 1));

# Limits count both kinds of jobs; a zombie never makes them exceeded
queue('one', '{"max_running": 1}');
jobs(3, 'one');
my $inside = sql("SELECT unrdf.enqueue('effect', queue => 'one', priority => 9)");
($old) = claim('one', 1);
is(sql("SELECT count(*) FROM unrdf.claim(ARRAY['one'], 10)"), '0', 'a queue runs one at a time');
is(complete($old), '{}', 'and goes on');
for (1 .. 2)
{
	my ($zombie) = claim('one', 5, ", lease => '1 ms'");
	my ($mine) = claim('one', 5);
	is(sql("SELECT count(*) FROM unrdf.workers() WHERE kind = 'outside'"), '1', 'one at a time');
	is(complete($zombie, $mine), "{$zombie}", 'the zombie is refused');
}
is(sql("SELECT unrdf.wait($inside)"), 'ok', 'a job inside waits for those outside, under one limit');

# Strict order of groups
queue('ordered', '{"group_by": "$.g", "fifo": "wait"}');
sql(q(SELECT count(unrdf.enqueue('out', jsonb_build_object('g', i % 3, 'i', i), queue => 'ordered')) FROM generate_series(1, 30) AS i));
my @seen;
while (@seen < 30)
{
	my @got = split /\n/, sql(q(SELECT token, args ->> 'g', args ->> 'i' FROM unrdf.claim(ARRAY['ordered'], 10, wait => '1 minute')));
	my %groups;
	ok(@got <= 3 && !grep({ $groups{ (split /\|/)[1] }++ } @got), 'one of each group at most') if @got > 3 || @seen % 9 == 0;
	# the first of them fails now and then, and keeps its place
	if (@seen % 4 == 1 && @seen < 20)
	{
		my ($failed) = split /\|/, shift @got;
		sql("SELECT unrdf.fail($failed, 'as asked', retry_in => '10 ms')");
	}
	push @seen, map { [ (split /\|/)[ 1, 2 ] ] } @got;
	complete(map { (split /\|/)[0] } @got) if @got;
}
for my $group (0 .. 2)
{
	my @order = map { $_->[1] } grep { $_->[0] == $group } @seen;
	is("@order", join(' ', sort { $a <=> $b } @order), "group $group in its order");
}

# A worker that has completed a step in a transaction that stays open holds up the end of its saga, and no other workflow
my $saga = sql(q(SELECT unrdf.start_workflow('saga', '{"saga": true, "steps": {
	"fails": {"handler": "out", "queue": "plain", "priority": 0},
	"slow": {"handler": "out", "queue": "plain", "priority": 1, "compensate": "effect"}}}')));
my ($fails) = claim('plain', 1);
my ($slow) = claim('plain', 1);
$open = session();
$open->query_safe('BEGIN');
$open->query_safe("SELECT unrdf.complete($slow\::bigint)");
sql("SELECT unrdf.fail($fails, 'as asked', permanently => true)");
wait_for($node, 'postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unrdf releaser' AND wait_event_type = 'Lock')));
my $other = sql(q(SELECT unrdf.enqueue_after(ARRAY[unrdf.enqueue('effect')], 'effect')));
is(sql("SELECT unrdf.wait($other, '3 minutes')"), 'ok', 'another workflow goes on');
is(sql("SELECT state FROM unrdf.workflows WHERE id = $saga"), 'running', 'while the saga waits');
$open->query_safe('COMMIT');
$open->quit;
wait_for($node, 'postgres', "SELECT state = 'compensated' FROM unrdf.workflows WHERE id = $saga");
is(sql("SELECT string_agg(coalesce(name, 'undone') || ' ' || state, ', ' ORDER BY job) FROM unrdf.workflow_graph WHERE workflow = $saga"),
	'fails dead, slow succeeded, undone succeeded', 'what was completed is compensated');

# Two workers: disjoint
jobs(2000, 'plain');
my %owner;
my @workers = map {
	my $w = $_;
	my %worker = (out => '');
	$worker{run} = start(['psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		join ';', ("SELECT job FROM unrdf.claim(ARRAY['plain'], 50, lease => '1 hour')") x 30], '>', \$worker{out}, '2>', \$worker{err});
	\%worker
} 1 .. 2;
finish($_->{run}) for @workers;
my @got = map { split /\n/, $_->{out} } @workers;
my %got = map { $_ => 1 } @got;
is(scalar(@got), 2000, 'two workers claim everything');
is(scalar(keys %got), 2000, 'and nothing twice');

# More than there are leases
jobs(5000, 'plain');
my $position = log_position($node);
my $taken = 0;
while ((my $n = sql("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 1000, lease => '1 hour')")) > 0)
{
	$taken += $n;
}
ok($taken > 1000 && $taken < 5000, 'no more than there are leases');
like(log_since($node, $position), qr/WARNING: .*as many jobs in hand as there can be.*unrdf.max_leases/s, 'which is said');
restart_all();

# Many end with one connection
jobs(3000, 'plain');
my $before_end = sql("SELECT count(*) FROM unrdf.attempt WHERE sqlstate = '08006'");
my $many = session();
$taken = $many->query_safe("SELECT count(*) FROM unrdf.claim(ARRAY['plain'], 3000, lease => NULL, wait => '1 minute')");
$pid = $many->query_safe('SELECT pg_backend_pid()');
sql("SELECT pg_terminate_backend($pid)");
wait_for($node, 'postgres', "SELECT count(*) = $before_end + $taken FROM unrdf.attempt WHERE sqlstate = '08006'");
eval { $many->quit };
ok($taken > 100, 'what ends with a connection is recorded');

# An extension that is dropped and created again: an old token has no meaning, and its job's place is beyond the new table's end
$old = sql("SELECT token FROM unrdf.claim(ARRAY['plain'], 4000, lease => '1 hour', wait => '1 minute') ORDER BY job DESC LIMIT 1");
sql('DROP EXTENSION unrdf CASCADE; CREATE EXTENSION unrdf CASCADE');
wait_for_workers($node, 'postgres');
sql("SELECT unrdf.register_outside_handler('out'); SELECT unrdf.create_queue('plain')");
jobs(3, 'plain');
refused($old, 'after the extension was dropped and created');
@tokens = claim('plain', 3);
push @tokens, claim('plain', 3) while @tokens < 3;
refused($old, 'also when there are new leases');
is(complete(@tokens), '{}', 'and those are complete');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'workers outside');

$node->stop;
done_testing();

# Ends all leases by a restart, with all jobs of 'plain' that are left completed.
sub restart_all
{
	$node->restart;
	wait_for_workers($node, 'postgres');
	while (my @rest = split /\n/, sql("SELECT token FROM unrdf.claim(ARRAY['plain'], 1000)"))
	{
		complete(@rest);
	}
	return;
}

sub assert_ledger_of
{
	drain($node, 'postgres');
	assert_ledger($node, 'postgres', 'after kills');
	return;
}
