# What may run at once and in which order: limits, rates, groups, strict order, shares, ageing; with less memory than there are
# jobs, and dispatchers and servers that die in between. What ran when is taken from the receipts.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('limits', conf => q(
unrdf.dispatcher_memory = '1 MB'
unrdf.min_executors = 4
unrdf.max_executors = 4
unrdf.sweep_interval = '1 h'
unrdf.priority_ageing = 0
));
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE VIEW run AS
		SELECT j.id, q.name AS queue, j.group_key, j.tenant, j.owner, j.enqueued_at, r.started_at, r.finished_at, r.attempt, r.outcome,
			row_number() OVER (PARTITION BY j.queue ORDER BY r.started_at, r.id) AS place
		FROM unrdf.job AS j JOIN unrdf.queue AS q ON q.id = j.queue JOIN unrdf.receipt AS r ON r.id = j.id;
	CREATE FUNCTION most_at_once(text, by_group boolean) RETURNS bigint LANGUAGE sql AS $$
		SELECT max(n) FROM (
			SELECT (SELECT count(*) FROM run AS b WHERE b.queue = $1 AND (NOT by_group OR b.group_key = a.group_key)
				AND b.started_at <= a.started_at AND b.finished_at > a.started_at) AS n FROM run AS a WHERE a.queue = $1) AS x $$;
	-- pairs of one group that ran in another order than that in which they came
	CREATE FUNCTION disorder(text) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(*) FROM (SELECT started_at, lag(finished_at) OVER (PARTITION BY group_key ORDER BY id) AS before FROM run WHERE queue = $1) AS x
		WHERE started_at < before $$;
));
wait_for_workers($node, 'postgres');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Makes a queue with settings.
sub queue
{
	my ($name, $settings) = @_;

	sql("SELECT unrdf.create_queue('$name'); SELECT unrdf.alter_queue('$name', '$settings')");
	return;
}

sub all_ran_once
{
	my ($what) = @_;

	drain($node, 'postgres');
	assert_effects($node, 'postgres', $what);
	return;
}

# Groups
queue('per key', '{"group_by": "$.k", "group_max_running": 2}');
sql(q(SELECT unrdf.enqueue_many('effect', ARRAY(SELECT jsonb_build_object('k', i % 3, 'sleep', 0.02) FROM generate_series(1, 90) AS i), queue => 'per key')));
all_ran_once('limit per group');
is(sql("SELECT most_at_once('per key', true), most_at_once('per key', false) > 2"), '2|t', 'of a group two run at once, of several more');
is(sql("SELECT DISTINCT group_key FROM run WHERE queue = 'per key' ORDER BY 1"), "0\n1\n2", 'the group is what group_by finds');
sql(q(SELECT unrdf.enqueue('effect', '{"k": {"a": [1]}}', queue => 'per key'), unrdf.enqueue('effect', '{"k": "x"}', queue => 'per key', group_key => 'mine'),
	unrdf.enqueue('effect', '{"k": null}', queue => 'per key'), unrdf.enqueue('effect', queue => 'per key')));
all_ran_once('what group_by finds');
is(sql("SELECT group_key, flow IS NULL FROM unrdf.job ORDER BY id DESC LIMIT 4"), "|t\n|t\nmine|f\n{\"a\": [1]}|f", 'any value is a group, and null is none');

# Strict order; more of one group than is kept, others behind it
queue('ordered', '{"group_by": "$.k", "fifo": "wait"}');
sql("SELECT unrdf.pause_queue('ordered')");
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{"k": "big"}'::jsonb, ARRAY[3000]), queue => 'ordered')));
sql(q(SELECT count(unrdf.enqueue('effect', jsonb_build_object('k', i % 50, 'fail', CASE WHEN i % 17 = 0 THEN 1 END), queue => 'ordered')) FROM generate_series(1, 1000) AS i));
sql("SELECT unrdf.resume_queue('ordered')");
wait_for($node, 'postgres', "SELECT count(*) > 100 FROM run WHERE queue = 'ordered'");
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
wait_for($node, 'postgres', "SELECT count(*) > 500 FROM run WHERE queue = 'ordered'");
crash_and_start($node);
all_ran_once('strict order');
is(sql("SELECT disorder('ordered'), count(*), count(*) FILTER (WHERE attempt > 1) >= 58 FROM run WHERE queue = 'ordered'"), '0|4000|t',
	'each group in its order, also what failed, through the death of dispatcher and server');
is( sql(q(SELECT max(place) FILTER (WHERE group_key <> 'big') < max(place) FILTER (WHERE group_key = 'big') FROM run WHERE queue = 'ordered')),
	't', 'many jobs of one group do not hold up the others');

$node->safe_psql('postgres', "SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '1 s')");

# One that is to be tried again keeps its place, whoever dies meanwhile
sql(q(SELECT unrdf.enqueue('effect', '{"k": "late", "fail": 1}', queue => 'ordered')));
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.jobs WHERE state = 'retrying'");
sql(q(SELECT count(unrdf.enqueue('effect', '{"k": "late"}', queue => 'ordered')) FROM generate_series(1, 5)));
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
wait_for_workers($node, 'postgres');
all_ran_once('a place that is kept');
is(sql("SELECT disorder('ordered')"), '0', 'what failed is tried again before what follows');

# Or is passed by
queue('skipping', '{"fifo": "skip"}');
sql(q(SELECT unrdf.enqueue('effect', '{"fail": 1}', queue => 'skipping', group_key => 'g')));
sql(q(SELECT count(unrdf.enqueue('effect', queue => 'skipping', group_key => 'g')) FROM generate_series(1, 5)));
all_ran_once('skip');
is(sql("SELECT max(place) = 6 AND bool_and(attempt = 1 OR place = 6) FROM run WHERE queue = 'skipping'"), 't', 'what failed comes after those that followed it');
is(sql("SELECT most_at_once('skipping', true)"), '1', 'still one at a time');

# Rates: the nth job starts when its token is there, and not before
queue('slow', '{"rate": 40, "burst": 5}');
queue('slow keys', '{"group_by": "$.k", "group_rate": 20, "group_burst": 2}');
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[60]), queue => 'slow')));
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', ARRAY(SELECT jsonb_build_object('k', i % 2) FROM generate_series(1, 40) AS i), queue => 'slow keys')));
all_ran_once('rates');
is(sql(q(SELECT count(*) FROM run WHERE queue = 'slow' AND started_at < enqueued_at + (place - 5) * interval '25 ms')), '0', 'a queue keeps to its rate');
is( sql(q(SELECT count(*) FROM (SELECT started_at, enqueued_at, row_number() OVER (PARTITION BY group_key ORDER BY started_at) AS n FROM run WHERE queue = 'slow keys') AS x
		WHERE started_at < enqueued_at + (n - 2) * interval '50 ms')), '0', 'and a group to its');

# Shares: one executor, so that the order of receipts is that of handing out
$node->adjust_conf('postgresql.conf', $_, '1') for 'unrdf.min_executors', 'unrdf.max_executors';
$node->restart;
wait_for_workers($node, 'postgres');
queue('shared', '{"share_by": "tenant", "shares": {"heavy": 3}}');
queue('by owner', '{"share_by": "owner"}');
sql("SELECT unrdf.pause_queue(q) FROM unnest(ARRAY['shared', 'by owner']) AS q");
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[5000]), queue => 'shared', tenant => 'many')));
sql(qq(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[300]), queue => 'shared', tenant => '$_'))) for qw(heavy light);
sql(q(CREATE ROLE other; SELECT unrdf.grant_access('other', 'producer'); GRANT ALL ON effect TO other));
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[2000]), queue => 'by owner')));
sql(q(SET ROLE other; SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[50]), queue => 'by owner')));
sql("SELECT unrdf.resume_queue(q) FROM unnest(ARRAY['shared', 'by owner']) AS q");
all_ran_once('shares');
is( sql(q(SELECT count(*) FILTER (WHERE tenant = 'heavy') BETWEEN 290 AND 300, count(*) FILTER (WHERE tenant = 'light') BETWEEN 90 AND 110,
		count(*) FILTER (WHERE tenant = 'many') BETWEEN 90 AND 110 FROM run WHERE queue = 'shared' AND place <= 490)), 't|t|t',
	'who has much waiting gets as much as who has little, and a weight of three three times as much');
is(sql(q(SELECT max(place) <= 110 FROM run WHERE queue = 'by owner' AND owner = 'other'::regrole)), 't', 'owners share likewise');

# Queues by weight
queue('a', '{"weight": 4}');
queue('b', '{}');
sql("SELECT unrdf.pause_queue(q) FROM unnest(ARRAY['a', 'b']) AS q");
sql(qq(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[400]), queue => '$_'))) for qw(a b);
sql("SELECT unrdf.resume_queue(q) FROM unnest(ARRAY['a', 'b']) AS q");
all_ran_once('weights');
is(sql(q(SELECT count(*) BETWEEN 95 AND 110 FROM run WHERE queue = 'b' AND started_at < (SELECT max(started_at) FROM run WHERE queue = 'a'))), 't',
	'a queue of weight four runs four jobs for one of another');

# Ageing
sub overtaken
{
	my ($what) = @_;

	sql("SELECT unrdf.pause_queue('b')");
	sql(q(SELECT unrdf.enqueue('effect', queue => 'b', priority => 6)));
	sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{"sleep": 0.005}'::jsonb, ARRAY[200]), queue => 'b', priority => 5)));
	sql("SELECT unrdf.resume_queue('b')");
	all_ran_once($what);
	return sql(q(SELECT count(*) FROM unrdf.job AS j JOIN run USING (id) WHERE j.priority = 5 AND run.queue = 'b'
		AND run.started_at > (SELECT max(r.started_at) FROM unrdf.job AS k JOIN run AS r USING (id) WHERE k.priority = 6)));
}
is(overtaken('no ageing'), '0', 'without ageing the less urgent comes last');
$node->adjust_conf('postgresql.conf', 'unrdf.priority_ageing', "'100 ms'");
$node->reload;
cmp_ok(overtaken('ageing'), '>', 0, 'with it, it does not wait for all that is more urgent');

# Groups take turns, also where one has more than there is memory for, and the other is behind all of it
queue('in turn', '{"group_by": "$.k"}');
# executors that have something to do are no reason to look further than at the first of these
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{"sleep": 1}'::jsonb, ARRAY[4]))));
wait_for($node, 'postgres', "SELECT bool_and(job IS NOT NULL) FROM unrdf.stat_workers WHERE kind = 'executor' AND datname = current_database()");
sql(q(SELECT count(*) FROM unrdf.enqueue_many('effect', ARRAY(SELECT jsonb_build_object('k', CASE WHEN i > 6000 THEN 'few' ELSE 'many' END) FROM generate_series(1, 6050) AS i), queue => 'in turn')));
all_ran_once('groups in turn');
cmp_ok(sql(q(SELECT max(place) FROM run WHERE queue = 'in turn' AND group_key LIKE '%few%')), '<', 3000, 'a group does not wait for another that has very many jobs');

# Groups that come and go: nothing is kept of those that have had more jobs than there is memory for
queue('passing', '{"group_by": "$.k"}');
my @lanes;
for my $round (1 .. 6)
{
	sql("SELECT unrdf.pause_queue('passing')");
	sql(qq(SELECT count(*) FROM unrdf.enqueue_many('effect', ARRAY(SELECT jsonb_build_object('k', '$round ' || k) FROM generate_series(1, 40) AS i, generate_series(1, 150) AS k ORDER BY i, k), queue => 'passing')));
	sql("SELECT unrdf.resume_queue('passing')");
	all_ran_once("groups that come and go, round $round");
	push @lanes, { memory_of($node, 'postgres', worker_pid($node, 'postgres', 'dispatcher')) }->{'unrdf lanes'};
}
cmp_ok($lanes[5], '<=', $lanes[2], 'their memory is used again') or diag("@lanes");

# Many queues
sql(q(SELECT count(unrdf.create_queue('q' || i)) FROM generate_series(1, 10000) AS i));
sql(q(SELECT count(unrdf.enqueue('effect', queue => 'q' || i)) FROM generate_series(1, 10000) AS i));
all_ran_once('ten thousand queues');

assert_ledger($node, 'postgres', 'limits');
$node->stop;
done_testing();
