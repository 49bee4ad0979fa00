# Rules of uniqueness under 32 concurrent sessions: as many jobs as the rule allows, exactly (make bench does it 100,000 times). Then with the
# server killed in the middle: what a session was told is there.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $sessions = 32;
my $attempts = 8_000;
my $keys = 8;

my $node = new_node('unique', conf => "fsync = off\nunrdf.checkpoint_interval = '1 h'\nmax_connections = 60\n");
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held');
));
wait_for_workers($node, 'postgres');

# Runs a statement in all sessions, $attempts times together, each in a transaction of its own; :k is a random key's number.
sub hammer
{
	my ($what, $sql, $n) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/$what.sql";

	append_to_file($file, "\\set k random(1, $keys)\n$sql\n");
	$node->command_ok([ 'pgbench', '-n', '-c', $sessions, '-j', '2', '-t', $n / $sessions, '-M', 'prepared', '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres' ],
		"$what: $n attempts in $sessions sessions");
	return;
}

sub one
{
	return $node->safe_psql('postgres', $_[0]);
}

hammer('key', q(SELECT unrdf.enqueue('effect', queue => 'held', key => 'key ' || :k);), $attempts);
is(one(q(SELECT count(*), count(DISTINCT key) FROM unrdf.job WHERE key LIKE 'key %')), "$keys|$keys", 'key: one job for each');

hammer('once', q(SELECT is_new FROM unrdf.enqueue_once('effect', '{}', 'once ' || :k, '{pending,succeeded}', queue => 'held');), $attempts);
is(one(q(SELECT count(*), count(DISTINCT key) FROM unrdf.job WHERE key LIKE 'once %')), "$keys|$keys", 'enqueue_once: one job for each key');

hammer('throttle', q(SELECT is_new FROM unrdf.throttle('effect', '{}', 'throttle ' || :k, '200 ms', queue => 'held');), $attempts);
my ($jobs, $close, $most) = split /\|/, one(q(
	WITH t AS (SELECT key, enqueued_at, lag(enqueued_at) OVER (PARTITION BY key ORDER BY id) AS before FROM unrdf.job WHERE key LIKE 'throttle %')
	SELECT count(*), count(*) FILTER (WHERE enqueued_at < before + interval '200 ms'),
		(SELECT sum(ceil(extract(epoch FROM last - first) / 0.2) + 1) FROM (SELECT min(enqueued_at) AS first, max(enqueued_at) AS last FROM t GROUP BY key) AS k) FROM t));
is($close, '0', "throttle: $jobs jobs, no two of a key within a window");
cmp_ok($jobs, '<=', $most, 'throttle: no more than there were windows');
cmp_ok($jobs, '>=', $keys, 'throttle: and at least one for each key');

hammer('debounce', q(SELECT unrdf.debounce('effect', '{}', 'debounce ' || :k, '1 hour', queue => 'held');), $attempts);
is( one(q(
		SELECT count(*), count(*) FILTER (WHERE r.id IS NULL), count(DISTINCT key) FILTER (WHERE r.id IS NULL), count(*) FILTER (WHERE r.outcome = 3)
		FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r USING (id) WHERE j.key LIKE 'debounce %')),
	join('|', $attempts, $keys, $keys, $attempts - $keys), 'debounce: one job for each key waits, all others are cancelled');
is(one(q(SELECT count(*) FROM (SELECT j.id, max(j.id) OVER (PARTITION BY key) AS newest, r.id IS NULL AS waits FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r USING (id) WHERE key LIKE 'debounce %') AS x WHERE waits <> (id = newest))),
	'0', 'debounce: it is the newest');

# Executors run what is debounced at the same time. Nothing that was replaced has an effect.
hammer('running', q(SELECT unrdf.debounce('effect', '{}', 'running ' || :k, '0');), 8000);
wait_for($node, 'postgres', q(SELECT NOT EXISTS (SELECT FROM unrdf.job AS j WHERE key LIKE 'running %' AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))));
assert_effects($node, 'postgres', 'debounced while they run');
is(one(q(SELECT count(*) FROM effect JOIN unrdf.receipt AS r ON r.id = job WHERE r.outcome = 3)), '0', 'what was replaced has no effect');

# Killed in the middle: what was said to be there is there, and there is one for each key
my @told;
{
	my @clients = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 4;
	for my $i (1 .. 40)
	{
		for my $c (@clients)
		{
			my $said = $c->query_safe("SELECT unrdf.debounce('effect', '{}', 'crash " . $i % 4 . "', '1 hour', queue => 'held')");
			push @told, $said;
		}
	}
	crash_and_start($node);
	eval { $_->quit } for @clients;
}
is(one('SELECT count(*) FROM unrdf.job WHERE id IN (' . join(',', @told) . ')'), scalar @told, 'after a crash every job that a session was told of is there');
is(one(q(SELECT count(*), count(DISTINCT key) FROM unrdf.job AS j WHERE key LIKE 'crash %' AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))),
	'4|4', 'and one of each key waits');
wait_for_workers($node, 'postgres');
is(one(q(SELECT is_new FROM unrdf.throttle('effect', '{}', 'throttle 1', '24 days', queue => 'held'))), 'f', 'what was throttled still is');
one(q(SELECT unrdf.resume_queue('held')));
$node->safe_psql('postgres', q(DO $$ BEGIN PERFORM unrdf.cancel(j.id) FROM unrdf.job AS j WHERE run_at > now() AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id); END $$));
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'at the end');
assert_effects($node, 'postgres', 'at the end');
$node->stop;

done_testing();
