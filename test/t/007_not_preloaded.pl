# A server that does not preload the extension: it can be created, configured and read there, also what a preloading server
# left or a dump brought. What needs the workers says so, with a hint. Once it is preloaded, everything runs.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;

# Every function of the extension: those that need the workers, or what is in shared memory; and all others, which work.
my %needing = (
	test_calls(),
	add_log_key => 'unrdf.add_log_key()',
	add_witness_key => 'unrdf.add_witness_key()',
	audit_table => "unrdf.audit_table('audited')",
	cancel => 'unrdf.cancel(:pending)',
	cancel_each => 'unrdf.cancel_each(ARRAY[:pending])',
	step_done => q(unrdf.step_done('new')),
	save_step => q(unrdf.save_step('new')),
	start_workflow => q(unrdf.start_workflow('new', '{"steps": {"a": {"handler": "effect"}}}')),
	fan_out => q(unrdf.fan_out('{}', 'effect', ARRAY['{}']::jsonb[])),
	enqueue_after => q(unrdf.enqueue_after('{}', 'effect')),
	create_workflow => q(unrdf.create_workflow('new')),
	cancel_workflow => 'unrdf.cancel_workflow(1)',
	claim => "unrdf.claim('{default}')",
	cluster_state => 'unrdf.cluster_state()',
	complete => 'unrdf.complete(1)',
	debounce => "unrdf.debounce('effect', '{}', 'key', '1 s')",
	draw_origin => 'unrdf.draw_origin()',
	drop_on_change => 'unrdf.drop_on_change(1)',
	drop_on_event => 'unrdf.drop_on_event(1)',
	emit => "unrdf.emit('order')",
	enqueue => "unrdf.enqueue('effect')",
	enqueue_many => "unrdf.enqueue_many('effect', ARRAY['{}']::jsonb[])",
	enqueue_once => "unrdf.enqueue_once('effect', '{}', 'key')",
	erase => "unrdf.erase(:ended, 'for fun')",
	erase_each => "unrdf.erase_each(ARRAY[:ended], 'for fun')",
	fail => "unrdf.fail(1, 'for fun')",
	heartbeat => "unrdf.heartbeat('{1}')",
	integrate => 'unrdf.integrate()',
	new_origin => "unrdf.new_origin('for fun')",
	on_change => "unrdf.on_change('audited', 'effect')",
	on_event => "unrdf.on_event('order', 'effect')",
	pause_subscription => 'unrdf.pause_subscription(1)',
	publish_checkpoint => 'unrdf.publish_checkpoint()',
	record => "unrdf.record('update', 'order/17')",
	record_batch => "unrdf.record_batch('order/18', '{1}')",
	release => "unrdf.release('{1}')",
	replay => "unrdf.replay(1, 'now')",
	resume_subscription => 'unrdf.resume_subscription(1)',
	revive => 'unrdf.revive(:cancelled)',
	revive_each => 'unrdf.revive_each(ARRAY[:cancelled])',
	run_schedule_now => "unrdf.run_schedule_now('daily')",
	snooze => "unrdf.snooze(1, '1 s')",
	throttle => "unrdf.throttle('effect', '{}', 'key', '1 s')",
	try_enqueue => "unrdf.try_enqueue('effect')",
	unaudit_table => "unrdf.unaudit_table('audited')",
	wait => 'unrdf.wait(:ended)',
	witness_check => "unrdf.witness_check('')",
	witness_cosign => "unrdf.witness_cosign('log', 1)");
my %working = reading_calls();
my @configuring = qw(add_cosignatures alter_queue close_queue create_queue expire finish_restore grant_access grant_events grant_queue keep_events pause_queue pause_schedule register_handler register_outside_handler remove_queue resume_queue resume_schedule revoke_events revoke_queue schedule start_clock trust_witness unschedule verify_step watch_log);
my %ids = (pending => 1, cancelled => 1, ended => 1);

sub with_ids
{
	my ($sql) = @_;

	return $sql =~ s/:([a-z]+)\b/$ids{$1} \/\/ ":$1"/ger;
}

# The server, not preloading anything though its configuration has unrdf's settings.
my $node = new_node('node', conf => "shared_preload_libraries = ''\n");

sub preload
{
	my ($library) = @_;

	$node->stop(@_ > 1 ? $_[1] : 'fast');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$library'\n");
	$node->start;
	return;
}

# Checks that everything that needs the workers is refused, and says what to do.
sub assert_refused
{
	my ($what, @names) = @_;

	for my $name (@names)
	{
		sql_fails($node, 'postgres', with_ids("SELECT $needing{$name};"), '55000',
			qr/unrdf is not preloaded.*HINT:  Add unrdf to shared_preload_libraries and restart the server\./s, "$what: $name is refused");
	}
	return;
}

sub answers
{
	return map { $_ => $node->safe_psql('postgres', with_ids("SELECT $working{$_}")) } keys %working;
}

# Created and configured without workers
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', 'CREATE TABLE audited (id int PRIMARY KEY, name text)');
pass('CREATE EXTENSION and register_handler work');
is($node->safe_psql('postgres', q(
		SELECT string_agg(DISTINCT proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'unrdf'::regnamespace AND proname NOT LIKE 'restore%' AND proname NOT LIKE 'merkle_root_%' AND prokind <> 'p')),
	join(' ', sort keys %needing, keys %working, @configuring, qw(audit_statement cancel_jobs change_row change_statement clock clock_advice clock_runs doctor empty_queue erase_jobs export_tiles first_difference queue_is_drained queue_is_shut retry_jobs workers)), 'these are all functions');
assert_refused('new', grep { $_ ne 'integrate' } sort keys %needing);
is($node->safe_psql('postgres', 'SELECT unrdf.integrate()'), '0', 'there is nothing to integrate');
is($node->safe_psql('postgres', q(SELECT (SELECT count(*) FROM unrdf.job), (SELECT count(*) FROM unrdf.receipt), (SELECT count(*) FROM unrdf.epoch))),
	'0|0|0', 'what was refused has left nothing');
is($node->safe_psql('postgres', q(SELECT (SELECT size FROM unrdf.log_size()), (SELECT count(*) FROM unrdf.verify_all()), unrdf.receipt(1) IS NULL)),
	'0|0|t', 'the empty log can be read');
$node->safe_psql('postgres', q(
	CREATE ROLE app;
	SELECT unrdf.grant_access('app', 'producer');
	SELECT unrdf.create_queue('held', 1);
	SELECT unrdf.pause_queue('held');
	SELECT unrdf.pause_queue('default');
	SELECT unrdf.resume_queue('default');
));
is($node->safe_psql('postgres', q(SELECT name, paused, max_running FROM unrdf.queues ORDER BY name)), "default|f|\nheld|t|1", 'queues are configured');
$node->safe_psql('postgres', q(
	SET client_min_messages = warning;
	SELECT unrdf.schedule('daily', '@daily', 'effect');
	SELECT unrdf.pause_schedule('daily')));
is($node->safe_psql('postgres', 'SELECT name, paused FROM unrdf.schedules'), 'daily|t', 'so are schedules');
sql_fails($node, 'postgres', 'CALL unrdf.run_schedules();', '55000', qr/unrdf is not preloaded/, 'which nobody fires');
is($node->safe_psql('postgres', q(
		SET unrdf.max_args_size = '2 MB';
		SET unrdf.group_time = 0;
		ALTER ROLE app SET unrdf.max_args_size = '3 MB';
		SHOW unrdf.max_args_size)),
	'2 MB', 'settings are accepted');
is($node->safe_psql('postgres', "LOAD 'unrdf'; SELECT count(*) FROM unrdf.stat_workers"), '0', 'loaded by a session, there are no workers');
is($node->safe_psql('postgres', 'SELECT severity, subject FROM unrdf.doctor()'), 'error|preload', 'a doctor says why nothing runs');
sql_fails($node, 'postgres', "LOAD 'unrdf'; SELECT unrdf.enqueue('effect');", '55000', qr/unrdf is not preloaded/, 'nor can it enqueue');

# With workers, what was configured is there. Receipts, jobs of every kind, some not in the log when the server is killed.
preload('unrdf');
wait_for_workers($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[300]));
	SELECT unrdf.enqueue('effect', queue => 'held');
	SELECT unrdf.enqueue('effect', queue => 'held') AS cancelled \gset
	SELECT unrdf.cancel(:cancelled);
	SELECT unrdf.record('create', 'order/17');
	SELECT unrdf.audit_table('audited');
	INSERT INTO audited SELECT i, 'name ' || i FROM generate_series(1, 300) AS i;
	SELECT unrdf.record_batch('order/18', '{1,2,3}');
));
is($node->safe_psql('postgres', q(SELECT unrdf.wait(max(id)) FROM unrdf.jobs WHERE queue = 'default')), 'ok', 'preloaded, jobs run');
wait_for($node, 'postgres', q(SELECT count(*) = 1 FROM unrdf.job WHERE id NOT IN (SELECT id FROM unrdf.receipt)));
wait_for($node, 'postgres', 'SELECT (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)');
$node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()');
$ids{pending} = $node->safe_psql('postgres', q(SELECT id FROM unrdf.jobs WHERE state = 'pending'));
$ids{cancelled} = $node->safe_psql('postgres', q(SELECT id FROM unrdf.jobs WHERE state = 'cancelled'));
$ids{ended} = $node->safe_psql('postgres', q(SELECT max(id) FROM unrdf.jobs WHERE state = 'succeeded'));
my %answers = answers();
my $jobs = $node->safe_psql('postgres', 'SELECT j::text FROM unrdf.jobs AS j ORDER BY id');
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; SELECT unrdf.integrate()');
$node->safe_psql('postgres', q(SELECT unrdf.record('update', 'order/17')));

# Without them again, all that can be read as before; a receipt waits to be integrated
preload('', 'immediate');
$lock->quit;
is_deeply({ answers() }, \%answers, 'without workers, functions that read answer as they did with them');
isnt($answers{$_}, '', "$_ has an answer") for sort keys %answers;
is($node->safe_psql('postgres', 'SELECT j::text FROM unrdf.jobs AS j ORDER BY id'), $jobs, 'so does view jobs');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.stat_workers"), '0', 'stat_workers is empty');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.stat_verify"), '0', 'stat_verify is empty');
assert_refused('used', sort keys %needing);
is($node->safe_psql('postgres', "SELECT facts->>'reason' FROM unrdf.why($ids{pending})"), 'not_preloaded', 'a job says why it does not run');
is($node->safe_psql('postgres', q(SELECT pending, succeeded FROM unrdf.queue_depths WHERE queue = 'held')), '1|0', 'numbers are counted');
sql_fails($node, 'postgres', "INSERT INTO audited VALUES (301);", '55000', qr/unrdf is not preloaded/, 'an audited table cannot be written to');
is($node->safe_psql('postgres', "SELECT verdict FROM unrdf.verify((SELECT max(id) FROM unrdf.receipt))"), 'pending', 'what was refused has left nothing');

# A dump of that, restored into the same server
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", '-d', $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('restored'), "$dir/dump" ], 'pg_restore');
$node->safe_psql($_, q(SELECT unrdf.resume_queue('held'))) for 'postgres', 'restored';
is($node->safe_psql($_, q(SELECT unrdf.log_size())), $answers{log_size}, "$_: the log") for 'postgres', 'restored';

# With workers, everything that waits is done, once, in both databases
preload('unrdf');
for my $db ('postgres', 'restored')
{
	wait_for_workers($node, $db);
	drain($node, $db);
	assert_ledger($node, $db, $db);
	assert_effects($node, $db, $db);
	is($node->safe_psql($db, "SELECT count(*) FROM unrdf.verify_table('audited')"), '0', "$db: an audited table has what its receipts say");
	$node->safe_psql($db, "UPDATE audited SET name = 'new' WHERE id = 7");
	is($node->safe_psql($db, "SELECT (SELECT verdict FROM unrdf.verify_row('audited', '7')), (SELECT operation FROM unrdf.receipt ORDER BY id DESC LIMIT 1)"),
		'ok|update', "$db: its triggers are there");
	is($node->safe_psql($db, "SELECT state FROM unrdf.jobs WHERE id = $ids{pending}"), 'succeeded', "$db: the pending job has run");
	is($node->safe_psql($db, 'SELECT count(*) FROM effect'), '301', "$db: no other has run again");
	is($node->safe_psql($db, 'SELECT count(*), count(unrdf.leaf_index(id)) FROM unrdf.receipt'), '308|308', "$db: every receipt is in the log");
	is($node->safe_psql($db, "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$db: new jobs run");
}
$node->stop;

done_testing();
