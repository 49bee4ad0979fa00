# Schedules across a failover: a tick that was acknowledged does not fire again on the new primary, one that was on the way does, and
# those that came due in between are made up for. Then across a dump: a schedule goes on from where it was, and its ticks do not come again.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $primary = new_node('primary', init => { allows_streaming => 1 });
$primary->start;
install($primary, 'postgres');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\n");
$primary->reload;
wait_for($primary, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");
wait_for_workers($primary, 'postgres');

# Makes a schedule with ticks that are due, a hundred days apart.
sub due
{
	my ($name, $ticks, $catch_up) = @_;

	$primary->safe_psql('postgres', qq(
		SET client_min_messages = warning;
		SELECT unrdf.schedule('$name', '100 days', 'effect', catch_up => '$catch_up', overlap => 'queue');
		UPDATE unrdf.schedule SET since = to_timestamp(floor(extract(epoch FROM clock_timestamp()) / 8640000) * 8640000) - interval '100 days' * $ticks + interval '1 day' WHERE name = '$name'));
	return;
}

my $fired = q(SELECT s.name, count(r.due_at), count(DISTINCT r.due_at), count(DISTINCT r.job), sum(r.missed) FROM unrdf.schedules AS s LEFT JOIN unrdf.schedule_runs AS r ON r.schedule = s.name GROUP BY 1 ORDER BY 1);

due('a acknowledged', 3, '3');
$primary->safe_psql('postgres', 'CALL unrdf.run_schedules(false)');
is($primary->safe_psql('postgres', $fired), 'a acknowledged|3|3|3|0', 'ticks have fired');
sql_fails($standby, 'postgres', 'CALL unrdf.run_schedules();', '25006', qr/cannot execute unrdf\.run_schedules\(\) in a read-only transaction/, 'nothing fires on a standby');
wait_for($standby, 'postgres', q(SELECT count(*) = 3 FROM unrdf.schedule_runs));
is($standby->safe_psql('postgres', 'SELECT name, last_action, next_at > now() FROM unrdf.schedules'), 'a acknowledged|enqueued|t', 'which shows where schedules are');
due('c caught up', 5, '2');

# Of schedule b, ticks are committed on the primary and do not get out of it any more
due('b under way', 2, '2');
$primary->safe_psql('postgres', "SELECT unrdf.pause_schedule('c caught up')");
wait_for($primary, 'postgres', 'SELECT bool_and(replay_lsn = pg_current_wal_flush_lsn()) FROM pg_stat_replication');
$standby->stop;
my ($out, $err) = ('', '');
my $psql = IPC::Run::start([ 'psql', '-X', '-q', '-d', $primary->connstr('postgres') . ' application_name=firing', '-c', 'CALL unrdf.run_schedules(false)' ], '>', \$out, '2>', \$err);
wait_for($primary, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'firing' AND wait_event = 'SyncRep')");
$primary->kill9;
eval { $psql->finish };
$standby->start;
$standby->promote;
wait_for_workers($standby, 'postgres');
is($standby->safe_psql('postgres', $fired), "a acknowledged|3|3|3|0\nb under way|0|0|0|\nc caught up|0|0|0|", 'the new primary has what was acknowledged');
$standby->safe_psql('postgres', q(
	UPDATE unrdf.schedule SET paused = false WHERE name = 'c caught up'));
$standby->safe_psql('postgres', 'CALL unrdf.run_schedules(false)') for 1 .. 2;
is($standby->safe_psql('postgres', $fired), "a acknowledged|3|3|3|0\nb under way|2|2|2|0\nc caught up|2|2|2|3", 'and fires the rest, once');
drain($standby, 'postgres');
assert_ledger($standby, 'postgres', 'promoted');
assert_effects($standby, 'postgres', 'promoted');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM effect'), '7', 'each tick had its effect');

# A dump, loaded into a database whose clock runs meanwhile
my $dump = $PostgreSQL::Test::Utils::tmp_check . '/dump';
$standby->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $standby->connstr('postgres') ], 'pg_dump');
$standby->safe_psql('postgres', 'CREATE DATABASE restored');
$standby->safe_psql('restored', 'SET client_min_messages = warning; CREATE EXTENSION unrdf CASCADE');
wait_for_workers($standby, 'restored');
$standby->command_ok([ 'pg_restore', '-e', '--data-only', '-t', 'schedule', '-d', $standby->connstr('restored'), $dump ], 'the schedules come first');
$standby->safe_psql('restored', 'CALL unrdf.run_schedules(false)');
is($standby->safe_psql('restored', 'SELECT count(*) FROM unrdf.schedule_run'), '0', 'nothing fires while a restore is under way');
$standby->safe_psql('postgres', 'DROP DATABASE restored');
$standby->safe_psql('postgres', 'CREATE DATABASE restored');
$standby->command_ok([ 'pg_restore', '-e', '-d', $standby->connstr('restored'), $dump ], 'pg_restore');
wait_for_workers($standby, 'restored');
wait_for($standby, 'restored', 'SELECT NOT EXISTS (SELECT FROM unrdf.restoring)');
is($standby->safe_psql('restored', $fired), $standby->safe_psql('postgres', $fired), 'what has fired is there');
$standby->safe_psql('restored', 'CALL unrdf.run_schedules(false)');
is($standby->safe_psql('restored', $fired), $standby->safe_psql('postgres', $fired), 'and does not fire again');
$standby->safe_psql('restored', q(SET client_min_messages = warning; SELECT unrdf.schedule('d new', '1 second', 'effect')));
is($standby->safe_psql('restored', 'SELECT count(DISTINCT id) = count(*), max(id) > 3 FROM unrdf.schedule'), 't|t', 'a new schedule has a number of its own');
$standby->stop;
done_testing();
