# Every subscription gets every event once, in the order in which events become visible: with ten subscriptions, many events, long
# and prepared transactions in between, the courier killed or failing between any two of its lines, crashes of the server, a
# dump that is restored into another cluster, and a standby that is promoted.
#
# UNRDF_EVENTS sets how many events the load emits.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Unrdf;

my $events = $ENV{UNRDF_EVENTS} // 20_000;
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('events', conf => q(
unrdf.test_kit = on
unrdf.sweep_interval = '200 ms'
max_prepared_transactions = 10
), init => { allows_streaming => 1 });

$node->start;
install($node, 'postgres');

# Waits until no subscription has anything left to get.
sub delivered
{
	my ($on) = @_;

	wait_for($on, 'postgres', 'SELECT bool_and(lag_events = 0) FROM unrdf.subscriptions');
	return;
}

# Checks that every subscription, each of which has a handler of its own, has a job for each event that is for it since an id, and no other, and that of one transaction
# they come in the order of emitting.
sub assert_once
{
	my ($on, $what, $since) = @_;

	delivered($on);
	is( $on->safe_psql('postgres', qq(
			WITH got AS (SELECT s.id AS subscription, j.id, (j.args ->> 'event')::bigint AS event FROM unrdf.subscription AS s JOIN unrdf.job AS j ON j.handler = s.handler),
			due AS (SELECT s.id AS subscription, e.id AS event FROM unrdf.subscription AS s, unrdf.event AS e
				WHERE e.id > $since AND (s.pattern = '*' OR s.pattern = e.name OR starts_with(e.name, rtrim(s.pattern, '*')) AND s.pattern LIKE '%.*'))
			SELECT (SELECT count(*) > 0 FROM due), (SELECT count(*) FROM due LEFT JOIN got USING (subscription, event) WHERE got.id IS NULL),
				(SELECT count(*) FROM got LEFT JOIN due USING (subscription, event) WHERE due.event IS NULL AND got.event > $since),
				(SELECT count(*) - count(DISTINCT (subscription, event)) FROM got WHERE event > $since),
				(SELECT count(*) FROM got WHERE id NOT IN (SELECT unnest(jobs) FROM unrdf.delivery)))),
		't|0|0|0|0', "$what: each event came to each subscription once");
	is( $on->safe_psql('postgres', q(
			SELECT count(*) FROM (SELECT e.id, lag(e.id) OVER (PARTITION BY d.subscription, d.n, e.xid ORDER BY j.id) AS before
				FROM unrdf.delivery AS d, unnest(d.jobs) AS g (id) JOIN unrdf.job AS j USING (id) JOIN unrdf.event AS e ON e.id = (j.args ->> 'event')::bigint) AS x
			WHERE x.id < x.before)),
		'0', "$what: events of a transaction come in their order");
	is( $on->safe_psql('postgres', q(
			SELECT count(*) FROM (SELECT d.subscription, d.n, d.jobs, lag(d.n) OVER w AS before, lag(d.jobs[cardinality(d.jobs)]) OVER w AS last
				FROM unrdf.delivery AS d WHERE cardinality(d.jobs) > 0 WINDOW w AS (PARTITION BY d.subscription ORDER BY d.n)) AS x
			WHERE x.jobs[1] <= x.last OR x.jobs <> (SELECT array_agg(j ORDER BY j) FROM unnest(x.jobs) AS j))),
		'0', "$what: jobs of a subscription ascend");
	return;
}

# The load: ten subscriptions of all kinds. Their jobs are not run, so that only they are counted.
$node->safe_psql('postgres', q(
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held');
	SELECT unrdf.register_handler('h' || i, 'effect(bigint, jsonb)') FROM generate_series(1, 10) AS i;
	SELECT unrdf.on_event((ARRAY['*', 'a.*', 'b.*', 'a.one', 'rare', '*', 'b.*', 'a.*', 'a.two', 'rare'])[i], 'h' || i, queue => 'held', max_behind => 1000000) FROM generate_series(1, 10) AS i;
));
$node->safe_psql('postgres', "SELECT unrdf.emit('a.one', '0')");
delivered($node);

# Clients that emit, some of them in long transactions and with savepoints that are rolled back
my $long = $node->background_psql('postgres');
$long->query_safe(q(BEGIN; SELECT unrdf.emit('a.one', '"long"'), unrdf.emit('rare', '"long"')));
for my $n (1 .. 3)
{
	$node->safe_psql('postgres', "BEGIN; SELECT unrdf.emit('b.prepared', '$n'), unrdf.emit('rare'); SAVEPOINT s; SELECT unrdf.emit('rare', '\"gone\"'); ROLLBACK TO s; PREPARE TRANSACTION 'events $n'");
}
append_to_file("$dir/emit.sql", q(
\set n random(1, 4)
SELECT unrdf.emit((ARRAY['a.one', 'a.two', 'b.x', 'c'])[i % 4 + 1], to_jsonb(i)) FROM generate_series(1, 50 * :n) AS i;
BEGIN;
SELECT unrdf.emit('a.two', '1');
SAVEPOINT s;
SELECT unrdf.emit('a.gone');
ROLLBACK TO s;
SELECT pg_sleep(0.001 * :n);
SELECT unrdf.emit('b.y', '2');
COMMIT;
));
my $transactions = int($events / 4 / 127) + 1;
$node->command_ok([ 'pgbench', '-n', '-c', 4, '-t', $transactions, '-f', "$dir/emit.sql", $node->connstr('postgres') ], 'four clients emit');
$node->safe_psql('postgres', "COMMIT PREPARED 'events 1'");
assert_once($node, 'under load', 1);
$long->query_safe('COMMIT');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'events 2'");
assert_once($node, 'after a long transaction', 1);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM unrdf.event'), '>', $events / 2, 'there were many');

# The courier fails, ends or is killed with the server, between any two of its lines; a prepared transaction outlives all that
for my $action (qw(error exit crash))
{
	for my $point (qw(read enqueued commit committed))
	{
		# who emits may not live to hear that it was committed
		$node->safe_psql('postgres', "SELECT unrdf.test_fail_at('courier.$point', 3, '$action')");
		$node->psql('postgres', "SELECT unrdf.emit('a.one', to_jsonb(i)) FROM generate_series(1, 200) AS i");
		# in a crash the point is forgotten; it has been reached when the server, or the courier, is another one
		if ($action eq 'crash')
		{
			wait_for($node, 'postgres', 'SELECT count(*) FILTER (WHERE pid IS NOT NULL) = 0 AND count(*) FILTER (WHERE action IS NOT NULL) = 0 FROM unrdf.test_points');
		}
		else
		{
			wait_for($node, 'postgres', "SELECT pid IS NOT NULL FROM unrdf.test_points WHERE point = 'courier.$point'");
			$node->safe_psql('postgres', 'SELECT unrdf.test_clear()');
		}
		assert_once($node, "$action at courier.$point", 1);
	}
}
cmp_ok(occurrences(slurp_file($node->logfile), 'test point "courier\.\w+": crash'), '==', 4, 'the server crashed at each of them');

# A session that emits dies with the event written
for my $action (qw(exit crash))
{
	$node->psql('postgres', "SELECT unrdf.test_fail_at('emit', 1, '$action'); SELECT unrdf.emit('a.one', '\"died\"')");
	wait_for($node, 'postgres', "SELECT count(*) = 0 FROM unrdf.event WHERE payload = '\"died\"'");
	assert_once($node, "$action of who emits", 1);
}
# Somebody moves a subscription and does not commit: the others go on
my $mover = $node->background_psql('postgres');
$mover->query_safe(q(BEGIN; SELECT unrdf.pause_subscription(1)));
$node->safe_psql('postgres', "SELECT unrdf.emit('a.one')");
wait_for($node, 'postgres', "SELECT bool_and(lag_events = 0) FILTER (WHERE id <> 1) AND bool_and(lag_events = 1) FILTER (WHERE id = 1) FROM unrdf.subscriptions");
pass('a subscription that is being changed holds up no other');
$mover->query_safe('ROLLBACK');
assert_once($node, 'after that', 1);

# A subscriber that is gone: bounded, and said once
my $position = log_position($node);
$node->safe_psql('postgres', q(
	SELECT unrdf.register_handler('gone', 'effect(bigint, jsonb)');
	SELECT unrdf.on_event('gone', 'gone', queue => 'held', max_behind => 100);
	SELECT unrdf.emit('gone', to_jsonb(i)) FROM generate_series(1, 250) AS i;
));
wait_for($node, 'postgres', "SELECT state = 'full' FROM unrdf.subscriptions WHERE name = 'gone'");
is($node->safe_psql('postgres', "SELECT jobs_open, lag_events, lag_age > '0' FROM unrdf.subscriptions WHERE name = 'gone'"), '100|150|t', 'one that does nothing gets no more than it may have open');
signal_worker($node, 'postgres', 'courier', 'TERM');
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.stat_workers WHERE kind = 'courier'");
$node->safe_psql('postgres', "SELECT unrdf.emit('a.one')");
wait_for($node, 'postgres', "SELECT bool_and(lag_events = 0) FROM unrdf.subscriptions WHERE name <> 'gone'");
is($node->safe_psql('postgres', "SELECT jobs_open FROM unrdf.subscriptions WHERE name = 'gone'"), '100', 'nor does a new courier give it more');
cmp_ok(occurrences(log_since($node, $position), 'WARNING:  53400: subscription \d+ to "gone" is full: 100 of its jobs have not ended'), '<=', 2, 'which each courier says once');
like(log_since($node, $position), qr/subscription \d+ to "gone" is full/, 'and says it');

# It goes on when they end
wait_for($node, 'postgres', q(
	SELECT count(unrdf.cancel(j.id)) = 0 AND (SELECT count(*) FROM unrdf.jobs WHERE handler = 'gone' AND state = 'cancelled') = 250
	FROM unrdf.job AS j JOIN unrdf.handler AS h ON h.id = j.handler AND h.name = 'gone' WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id)));
pass('it gets the rest as they end');
assert_once($node, 'and it has them', 1);

# Standby: what was delivered stays so, what was not is delivered after the promotion
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\nsynchronous_commit = remote_apply\n");
$node->reload;
wait_for($node, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");
$node->safe_psql('postgres', q(
	SELECT unrdf.test_fail_at('courier.commit', 5, 'wait');
	SELECT unrdf.emit('a.two', to_jsonb(i)) FROM generate_series(1, 500) AS i;
));
wait_for($node, 'postgres', "SELECT pid IS NOT NULL FROM unrdf.test_points WHERE point = 'courier.commit'");
is($standby->safe_psql('postgres', q(SELECT count(*) FILTER (WHERE lag_events > 0) > 0 FROM unrdf.subscriptions)), 't', 'a standby shows what is behind');
# a dump of the state in the middle, for later
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'dumped in the middle');
$node->kill9;
$standby->promote;
wait_for_workers($standby, 'postgres');
assert_once($standby, 'promoted', 1);
$standby->safe_psql('postgres', "COMMIT PREPARED 'events 3'");
$standby->safe_psql('postgres', "SELECT unrdf.emit('rare', '\"last\"')");
assert_once($standby, 'promoted, and a transaction prepared before', 1);

# All of it runs, once
$standby->safe_psql('postgres', q(SELECT unrdf.resume_queue('held')));
drain($standby, 'postgres');
assert_once($standby, 'run', 1);
is( $standby->safe_psql('postgres', q(
		SELECT count(*) - count(DISTINCT e.job), count(*) FILTER (WHERE j.id IS NULL), (SELECT count(*) FROM unrdf.delivery AS d, unnest(d.jobs) AS g (id) JOIN unrdf.receipt AS r ON r.id = g.id AND r.outcome = 1) - count(*)
		FROM effect AS e LEFT JOIN unrdf.job AS j ON j.id = e.job)),
	'0|0|0', 'each job had its effect once');
$standby->stop;

# The dump in another cluster, whose transaction ids are lower than those in it: what had not come comes, nothing comes again, also when
# the transaction ids of new events reach those of old ones
my $other = new_node('other', conf => "unrdf.test_kit = on\nunrdf.sweep_interval = '200 ms'\n");
$other->start;
cmp_ok($other->safe_psql('postgres', 'SELECT pg_current_xact_id()'), '<', 5000, 'its transaction ids begin anew');
$other->command_ok([ 'pg_restore', '--no-owner', '-d', $other->connstr('postgres'), "$dir/dump" ], 'restored');
wait_for_workers($other, 'postgres');
assert_once($other, 'restored', 1);
$other->safe_psql('postgres', "SELECT unrdf.emit('a.one', '\"new\"'), unrdf.emit('rare', '\"new\"')");
assert_once($other, 'new events after the restore', 1);
my $highest = $other->safe_psql('postgres', 'SELECT max(xid::text::bigint) FROM unrdf.event');
append_to_file("$dir/burn.sql", q(SELECT pg_current_xact_id();));
my $now = $other->safe_psql('postgres', 'SELECT pg_current_xact_id()::text');
$other->command_ok([ 'pgbench', '-n', '-c', 4, '-t', int(($highest - $now) / 4) + 10, '-f', "$dir/burn.sql", $other->connstr('postgres') ], 'transaction ids reach those of the dump');
$other->safe_psql('postgres', "SELECT unrdf.emit('a.one', '\"newer\"'), unrdf.emit('rare', '\"newer\"')");
assert_once($other, 'past the transaction ids of the dump', 1);

# A key function that does not come back is left after a while: the others get what is theirs, and so does its subscription once it does
$other->safe_psql('postgres', q(
	CREATE FUNCTION key() RETURNS text LANGUAGE sql AS 'SELECT pg_sleep(3600)::text';
	CREATE FUNCTION sealed(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
	SELECT unrdf.register_handler('sealed', 'sealed(jsonb)', encrypt_args => 'key()');
	SELECT unrdf.on_event('rare', 'sealed')));
my $position = log_position($other);
$other->safe_psql('postgres', "SELECT unrdf.emit('rare', '\"sealed\"')");
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
until (log_since($other, $position) =~ /could not deliver events to subscription \d+: the jobs of a few events take too long to write/)
{
	die 'it is never left' if time() > $until;
	usleep(10_000);
}
wait_for($other, 'postgres', "SELECT string_agg(handler, ' ') = 'sealed' FROM unrdf.subscriptions WHERE lag_events > 0");
pass('the other subscriptions get their events');
$other->safe_psql('postgres', q(CREATE OR REPLACE FUNCTION key() RETURNS text LANGUAGE sql AS $$SELECT 'key'$$));
delivered($other);
is($other->safe_psql('postgres', "SELECT count(*), bool_and(args ? 'encrypted') FROM unrdf.jobs WHERE handler = 'sealed'"), '1|t', 'the job comes once, when there is a key');
$other->stop;
done_testing();
