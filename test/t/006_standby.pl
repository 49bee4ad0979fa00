# A streaming standby with the extension preloaded: what changes something is refused, what reads works and says what the
# primary says, no worker starts. Then the primary dies with jobs in flight and the standby is promoted: its workers start,
# pending jobs run once, and the log goes on from the old one.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Unrdf;

# Every function of the extension that changes something, as it is called, and every other, which a standby answers.
my %changing = (
	add_cosignatures => "unrdf.add_cosignatures('')",
	add_log_key => 'unrdf.add_log_key()',
	add_witness_key => 'unrdf.add_witness_key()',
	alter_queue => "unrdf.alter_queue('default', '{}')",
	audit_table => "unrdf.audit_table('audited')",
	cancel => 'unrdf.cancel(:pending)',
	cancel_each => 'unrdf.cancel_each(ARRAY[:pending])',
	cancel_jobs => "unrdf.cancel_jobs(queue => 'held')",
	close_queue => "unrdf.close_queue('held', true)",
	start_workflow => q(unrdf.start_workflow('new', '{"steps": {"a": {"handler": "effect"}}}')),
	fan_out => q(unrdf.fan_out('{}', 'effect', ARRAY['{}']::jsonb[])),
	enqueue_after => q(unrdf.enqueue_after('{}', 'effect')),
	create_workflow => q(unrdf.create_workflow('new')),
	cancel_workflow => 'unrdf.cancel_workflow(1)',
	claim => "unrdf.claim('{default}')",
	complete => 'unrdf.complete(1)',
	create_queue => "unrdf.create_queue('new')",
	debounce => "unrdf.debounce('effect', '{}', 'key', '1 s')",
	draw_origin => 'unrdf.draw_origin()',
	drop_on_change => 'unrdf.drop_on_change(1)',
	drop_on_event => 'unrdf.drop_on_event(1)',
	emit => "unrdf.emit('order')",
	empty_queue => "unrdf.empty_queue('held', 0, 1)",
	enqueue => "unrdf.enqueue('effect')",
	enqueue_many => "unrdf.enqueue_many('effect', ARRAY['{}']::jsonb[])",
	enqueue_once => "unrdf.enqueue_once('effect', '{}', 'key')",
	erase => "unrdf.erase(:ended, 'for fun')",
	erase_each => "unrdf.erase_each(ARRAY[:ended], 'for fun')",
	erase_jobs => "unrdf.erase_jobs('for fun', handler => 'effect')",
	fail => "unrdf.fail(1, 'for fun')",
	finish_restore => 'unrdf.finish_restore()',
	grant_queue => "unrdf.grant_queue('default', 'app')",
	heartbeat => "unrdf.heartbeat('{1}')",
	grant_access => "unrdf.grant_access('app', 'auditor')",
	grant_events => "unrdf.grant_events('app', 'order')",
	integrate => 'unrdf.integrate()',
	new_origin => "unrdf.new_origin('for fun')",
	on_change => "unrdf.on_change('audited', 'effect')",
	on_event => "unrdf.on_event('order', 'effect')",
	pause_queue => "unrdf.pause_queue('default')",
	pause_schedule => "unrdf.pause_schedule('daily')",
	pause_subscription => 'unrdf.pause_subscription(1)',
	publish_checkpoint => 'unrdf.publish_checkpoint()',
	record => "unrdf.record('update', 'order/17')",
	record_batch => "unrdf.record_batch('order/18', '{1}')",
	register_handler => "unrdf.register_handler('new', 'effect(bigint, jsonb)')",
	register_outside_handler => "unrdf.register_outside_handler('new')",
	release => "unrdf.release('{1}')",
	remove_queue => "unrdf.remove_queue('held')",
	replay => "unrdf.replay(1, 'now')",
	resume_queue => "unrdf.resume_queue('default')",
	resume_schedule => "unrdf.resume_schedule('daily')",
	resume_subscription => 'unrdf.resume_subscription(1)',
	retry_jobs => "unrdf.retry_jobs(queue => 'held')",
	expire => 'unrdf.expire()',
	keep_events => "unrdf.keep_events('*', '1 day')",
	revive => 'unrdf.revive(:cancelled)',
	revive_each => 'unrdf.revive_each(ARRAY[:cancelled])',
	revoke_events => "unrdf.revoke_events('app', 'order')",
	run_schedule_now => "unrdf.run_schedule_now('daily')",
	schedule => "unrdf.schedule('daily', '\@daily', 'effect')",
	start_clock => 'unrdf.start_clock()',
	try_enqueue => "unrdf.try_enqueue('effect')",
	unschedule => "unrdf.unschedule('daily')",
	revoke_queue => "unrdf.revoke_queue('default', 'app')",
	snooze => "unrdf.snooze(1, '1 s')",
	throttle => "unrdf.throttle('effect', '{}', 'key', '1 s')",
	unaudit_table => "unrdf.unaudit_table('audited')",
	trust_witness => "unrdf.trust_witness('key')",
	verify_step => 'unrdf.verify_step(NULL, 100)',
	watch_log => "unrdf.watch_log('key')",
	witness_check => "unrdf.witness_check('')",
	witness_cosign => "unrdf.witness_cosign('log', 1)");
my %reading = (reading_calls(), wait => 'unrdf.wait(:ended)');

my $primary = new_node('primary', conf => "unrdf.sweep_interval = '200 ms'\n", init => { allows_streaming => 1 });
$primary->start;
$primary->safe_psql('postgres', 'CREATE ROLE app');
install($primary, 'postgres');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

# From here on, what is acknowledged is on the standby, and can be read there.
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\nsynchronous_commit = remote_apply\n");
$primary->reload;
wait_for($primary, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");

# Handler "blocked" has its effect, and then goes on only when nobody holds a lock: on the primary it never ends.
my $lock = $primary->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(17)');
$primary->safe_psql('postgres', q(
	CREATE FUNCTION blocked(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect VALUES (id);
		PERFORM pg_advisory_xact_lock(17);
	END
	$$;
	SELECT unrdf.register_handler('blocked', 'blocked(bigint, jsonb)');
	SELECT unrdf.create_queue('held');
	SELECT unrdf.pause_queue('held');
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[300]));
	SELECT unrdf.record('create', 'order/17');
	CREATE TABLE audited (id int PRIMARY KEY, name text);
	SELECT unrdf.audit_table('audited');
	INSERT INTO audited SELECT i, 'name ' || i FROM generate_series(1, 300) AS i;
	SELECT unrdf.record_batch('order/18', '{1,2,3}');
	SELECT unrdf.enqueue('effect', queue => 'held') AS cancelled \gset
	SELECT unrdf.cancel(:cancelled);
));
drain($primary, 'postgres');
$primary->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()');
my $pending = $primary->safe_psql('postgres', q(SELECT unrdf.enqueue('effect', queue => 'held')));
my %ids = (
	pending => $pending,
	ended => $primary->safe_psql('postgres', q(SELECT max(id) FROM unrdf.jobs WHERE state = 'succeeded')),
	cancelled => $primary->safe_psql('postgres', q(SELECT id FROM unrdf.jobs WHERE state = 'cancelled')));

sub with_ids
{
	my ($sql) = @_;

	return $sql =~ s/:([a-z]+)\b/$ids{$1} \/\/ ":$1"/ger;
}

# What a standby answers and refuses
is($standby->safe_psql('postgres', q(
		SELECT string_agg(DISTINCT proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'unrdf'::regnamespace AND proname NOT LIKE 'restore%' AND proname NOT LIKE 'merkle_root_%' AND prokind <> 'p')),
	join(' ', sort keys %changing, keys %reading, keys %{ { test_calls() } }, qw(audit_statement change_row change_statement clock clock_advice clock_runs cluster_state doctor export_tiles first_difference queue_is_drained queue_is_shut save_step step_done workers)), 'these are all functions');
for my $name (sort keys %changing)
{
	my $command = { cancel_jobs => 'unrdf.cancel_each()', empty_queue => 'unrdf.empty_queue()', erase_each => 'unrdf.erase()', erase_jobs => 'unrdf.erase()', grant_access => 'GRANT',
		new_origin => 'unrdf.draw_origin()', retry_jobs => 'unrdf.revive_each()', start_workflow => 'unrdf.create_workflow()' }->{$name} // "unrdf.$name()";

	sql_fails($standby, 'postgres', with_ids("SELECT $changing{$name};"), '25006', qr/: cannot execute \Q$command\E in a read-only transaction/,
		"a standby refuses $name");
}
for my $name (sort keys %reading)
{
	my $query = with_ids("SELECT $reading{$name}");
	my $answer = $primary->safe_psql('postgres', $query);

	isnt($answer, '', "$name has an answer");
	is($standby->safe_psql('postgres', $query), $answer, "a standby answers $name");
}
for my $view (qw(jobs queues queue_depths stat_verify))
{
	my $query = "SELECT v::text FROM unrdf.$view AS v ORDER BY 1";

	is($standby->safe_psql('postgres', $query), $primary->safe_psql('postgres', $query), "a standby answers view $view");
}
is($standby->safe_psql('postgres', "SELECT facts->>'reason' FROM unrdf.why($pending)"), 'standby', 'a standby says why nothing runs there');
is($standby->safe_psql('postgres', q(SELECT string_agg(subject, ', ' ORDER BY subject) FROM unrdf.doctor() WHERE severity = 'error')), 'durability, key file',
	'a doctor finds that it has no key, and that tests run without fsync');
sql_fails($standby, 'postgres', "SELECT unrdf.wait($pending);", '25006', qr/cannot execute unrdf\.wait\(\) during recovery/,
	'a standby refuses to wait for what has not ended');
is($standby->safe_psql('postgres', "SELECT verdict FROM unrdf.verify($pending)"), 'missing', 'there is no receipt of what has not ended');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.stat_workers'), '0', 'a standby has no workers in stat_workers');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'unrdf %'"), '0', 'nor any processes');

# Work in all states, none of which ends on the primary: in flight, pending, delayed, failed once; receipts not in the log.
$lock->query_safe('BEGIN; SELECT unrdf.integrate()');
$primary->safe_psql('postgres', q(
	CREATE TABLE old_log AS SELECT * FROM unrdf.log_size();
	CREATE TABLE old_proof AS SELECT r.id, p.* FROM unrdf.receipt AS r, unrdf.inclusion_proof(r.id) AS p;
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[10]));
	SELECT unrdf.record('update', 'order/17');
));
wait_for($primary, 'postgres', 'SELECT count(*) = 1 FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)');
$primary->safe_psql('postgres', q(
	SELECT unrdf.register_handler('slow', 'effect(bigint, jsonb)', backoff => '1 s');
	SELECT unrdf.enqueue('slow', '{"fail": 1}', key => 'failed once');
	SELECT count(*) FROM unrdf.enqueue_many('blocked', array_fill('{}'::jsonb, ARRAY[3]));
));
wait_for($primary, 'postgres', q(
	SELECT (SELECT count(*) FROM unrdf.stat_workers WHERE handler = 'blocked') >= 3
		AND (SELECT count(*) FROM unrdf.attempt) = 1));
$primary->safe_psql('postgres', q(
	SELECT unrdf.pause_queue('default');
	SELECT unrdf.enqueue('effect', run_at => now() + '1 s');
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[100]));
	SELECT unrdf.record('update', 'order/17');
));
my $epochs = $primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.epoch');
$primary->safe_psql('postgres', q(SELECT unrdf.resume_queue('default')));
my $jobs = $primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.job');

# The primary dies, in the middle of the jobs that were just let go and of those that are blocked. Nobody stops it in order.
# Its processes outlive the postmaster for a moment: as long as an executor is there, the lock must not be given back to it.
my @executors = split /\n/, $primary->safe_psql('postgres', q(SELECT pid FROM unrdf.stat_workers WHERE kind = 'executor'));
$primary->kill9;
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
while (grep { kill(0, $_) } @executors)
{
	die 'the executors outlive their postmaster' if time() > $until;
	usleep(10_000);
}
$lock->quit;
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'unrdf %'"),
	'0', 'a standby without its primary has no workers');
$standby->promote;
wait_for_workers($standby, 'postgres');
$standby->safe_psql('postgres', q(SELECT unrdf.resume_queue('held')));
drain($standby, 'postgres');
assert_ledger($standby, 'postgres', 'promoted');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.job'), $jobs, 'every job that was acknowledged is there');
is($standby->safe_psql('postgres', q(SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM unrdf.jobs GROUP BY state) AS s)),
	'cancelled 1, succeeded ' . ($jobs - 1), 'all that were not cancelled have succeeded');
is( $standby->safe_psql('postgres', q(
		SELECT count(*), count(DISTINCT e.job), count(*) FILTER (WHERE j.state = 'succeeded') FROM effect AS e LEFT JOIN unrdf.jobs AS j ON j.id = e.job)),
	join('|', ($jobs - 1) x 3), 'each of them had its effect once');
is($standby->safe_psql('postgres', q(SELECT attempts FROM unrdf.jobs WHERE key = 'failed once')), '2', 'a job goes on from its failed attempt');
is($standby->safe_psql('postgres', q(
		SELECT count(*) FILTER (WHERE epoch.node = 'standby'), count(*) FROM unrdf.receipt JOIN unrdf.epoch USING (epoch) WHERE operation = 'blocked')),
	'3|3', 'what was in flight has run here');

# The log goes on
is($standby->safe_psql('postgres', q(SELECT epoch, node, timeline FROM unrdf.epoch ORDER BY epoch DESC LIMIT 1)),
	$epochs + 1 . '|standby|2', 'a new epoch on a new timeline');
is($standby->safe_psql('postgres', q(SELECT count(DISTINCT origin), count(DISTINCT system_identifier) FROM unrdf.epoch)),
	'1|1', 'of the same origin and system');
is( $standby->safe_psql('postgres', q(
		SELECT count(*), count(*) FILTER (WHERE (n.index, n.tree_size, n.leaf, n.root, n.proof)
				IS DISTINCT FROM (o.index, o.tree_size, o.leaf, o.root, o.proof) OR n.root <> s.root),
			count(*) FILTER (WHERE NOT unrdf.verify_inclusion(o.leaf, l.index, l.tree_size, l.proof, h.root) OR l.index <> o.index)
		FROM old_proof AS o, old_log AS s, unrdf.log_size() AS h, unrdf.inclusion_proof(o.id, o.tree_size) AS n, unrdf.inclusion_proof(o.id) AS l)),
	$standby->safe_psql('postgres', q(SELECT size || '|0|0' FROM old_log)),
	'proofs of before in the tree of that time and in the newest one');
cmp_ok($standby->safe_psql('postgres', q(SELECT size FROM old_log)), '>', 256, 'it had a tile');
is($standby->safe_psql('postgres', q(SELECT string_agg(revision || ' ' || (previous IS NOT NULL), ', ' ORDER BY revision) FROM unrdf.receipt WHERE subject = 'order/17')),
	'1 false, 2 true, 3 true', 'a subject has its chain');
$standby->stop;

done_testing();
