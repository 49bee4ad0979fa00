# The doctor: on a server as it should be it has notices only; each setting or state made wrong is found, with the line to change.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('node', conf => "max_prepared_transactions = 5\n", init => { allows_streaming => 1 });
my $keys = $PostgreSQL::Test::Utils::tmp_check . '/keys';
my $stores = $PostgreSQL::Test::Utils::tmp_check . '/store';
mkdir $stores;
append_to_file("$stores/unrdf-store", '');
# PostgreSQL's tests run without fsync
my $sound = "fsync = on\nautovacuum = on\nunrdf.log_key_file = '$keys'\nunrdf.checkpoint_stores = 'file:$stores'\n";
$node->append_conf('postgresql.conf', $sound);
$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

# Checks what is found about a subject: severity, and patterns of finding and advice.
sub finds
{
	my ($subject, $severity, $finding, $advice, $what, $options) = @_;
	my @rows = split /\n/, $node->safe_psql('postgres', "SELECT severity, finding, advice FROM unrdf.doctor($options) WHERE subject = '$subject'");
	my @found = grep { my ($s, $f, $a) = split /\|/, $_, 3; $s eq $severity && $f =~ $finding && $a =~ $advice } @rows;

	is(scalar @found, 1, "$what") or diag(join "\n", @rows);
	return;
}

sub nothing_wrong
{
	my ($what) = @_;

	is($node->safe_psql('postgres', "SELECT severity, subject, finding FROM unrdf.doctor() WHERE severity <> 'notice'"), '', "$what: nothing is wrong");
	return;
}

nothing_wrong('as it should be');
is($node->safe_psql('postgres', q(SELECT string_agg(subject, ', ') FROM unrdf.doctor())), 'schedules', 'there is one notice');
finds('schedules', 'notice', qr/^Nothing fires schedules/, qr/^Install pg_cron/, 'pg_cron is absent', '');
$node->safe_psql('postgres', q(SELECT unrdf.schedule('daily', '@daily', 'effect')));
finds('schedules', 'warning', qr/^Nothing fires schedules/, qr/^Install pg_cron/, 'and there are schedules', '');
$node->safe_psql('postgres', q(SELECT unrdf.unschedule('daily')));

# Settings that are reloaded
my @reloaded = (
	[ 'autovacuum', 'error', qr/^autovacuum is off/, qr/^autovacuum = on$/, 'autovacuum = off', 'on' ],
	[ 'autovacuum', 'error', qr/^track_counts is off/, qr/^track_counts = on$/, 'track_counts = off', 'on' ],
	[ 'durability', 'error', qr/^fsync is off/, qr/^fsync = on$/, 'fsync = off', 'on' ],
	[ 'durability', 'error', qr/^full_page_writes is off/, qr/^full_page_writes = on$/, 'full_page_writes = off', 'on' ],
	[ 'durability', 'warning', qr/^synchronous_commit is off: .* in a crash/, qr/^synchronous_commit = on$/, 'synchronous_commit = off', 'on' ],
	[ 'standbys', 'warning', qr/^synchronous_standby_names names standbys, and none is there/, qr/Start a standby/, "synchronous_standby_names = 'nobody'", "''" ],
	[ 'clock', 'error', qr/^unrdf\.clock_offset, which is for tests, is 1min/, qr/^unrdf\.clock_offset = 0$/, 'unrdf.clock_offset = 60', '0' ],
	[ 'executors', 'warning', qr/^unrdf\.min_executors is 7, more than unrdf\.max_executors, 6/, qr/^unrdf\.max_executors = 7$/, 'unrdf.min_executors = 7', '2' ],
	[ 'executors', 'warning', qr/^unrdf\.executor_slots is 128; 1 databases can have 200/, qr/^unrdf\.executor_slots = 200, and restart$/, 'unrdf.max_executors = 200', '6' ],
	[ 'max_worker_processes', 'warning', qr/^max_worker_processes is 32; 7 are needed, and 205 with all executors/, qr/^max_worker_processes = 213, and restart$/, 'unrdf.max_executors = 200', '6' ],
	[ 'checkpoint stores', 'notice', qr/^unrdf\.checkpoint_stores is empty/, qr/another machine/, "unrdf.checkpoint_stores = ''", "'file:$stores'" ],
	[ 'key file', 'notice', qr/^unrdf\.log_key_file is empty/, qr/outside of the data directory/, "unrdf.log_key_file = ''", "'$keys'" ],
	[ 'key file', 'notice', qr/^unrdf\.log_key_file is inside the data directory/, qr/^unrdf\.log_key_file = a path outside/, "unrdf.log_key_file = 'keys'", "'$keys'" ]);
for my $case (@reloaded)
{
	my ($subject, $severity, $finding, $advice, $setting, $before) = @$case;
	my ($name, $value) = $setting =~ /^(\S+) = '?(.*?)'?$/;

	$node->append_conf('postgresql.conf', "$setting\n");
	$node->reload;
	wait_for($node, 'postgres', "SELECT coalesce(current_setting('$name'), '') IN ('$value', '${value}s', '1min')");
	finds($subject, $severity, $finding, $advice, $setting, '');
	$node->append_conf('postgresql.conf', "$name = $before\n");
	$node->reload;
	wait_for($node, 'postgres', "SELECT coalesce(current_setting('$name'), '') NOT IN ('$value', '${value}s', '1min')");
}
nothing_wrong('settings as before');

# States: what holds back vacuum, tables without autovacuum, clocks, the key file, checkpoints, a restore
my $open = $node->background_psql('postgres');
my $pid = $open->query_safe('SELECT pg_backend_pid()');
$open->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM unrdf.job LIMIT 1');
finds('xmin', 'warning', qr/^Process $pid keeps a transaction open since/, qr/^SELECT pg_terminate_backend\($pid\)/, 'an old transaction', "'0'");
nothing_wrong('not so old');
$open->query_safe('COMMIT');
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.enqueue('effect'); PREPARE TRANSACTION 'it''s';));
finds('xmin', 'warning', qr/^Prepared transaction "it's" is open since/, qr/^ROLLBACK PREPARED 'it''s', or/, 'a prepared transaction', "'0'");
$node->safe_psql('postgres', q(ROLLBACK PREPARED 'it''s'));
$node->safe_psql('postgres', q(SELECT pg_create_physical_replication_slot('left')));
finds('xmin', 'warning', qr/^Replication slot "left" is not in use: it keeps WAL\.$/, qr/^SELECT pg_drop_replication_slot\('left'\)/, 'a slot that nobody uses', '');
$node->safe_psql('postgres', q(SELECT pg_drop_replication_slot('left')));
$node->safe_psql('postgres', q(ALTER TABLE unrdf.receipt SET (autovacuum_enabled = false)));
finds('autovacuum', 'warning', qr/^Table unrdf\.receipt has autovacuum disabled/, qr/^ALTER TABLE unrdf\.receipt RESET \(autovacuum_enabled\)$/, 'a table without autovacuum', '');
$node->safe_psql('postgres', q(ALTER TABLE unrdf.receipt RESET (autovacuum_enabled)));
$node->safe_psql('postgres', q(SELECT unrdf.record('create', 'order/1')));
$node->safe_psql('postgres', q(UPDATE unrdf.epoch SET started_at = started_at + interval '1 day'));
finds('clock', 'error', qr/which is to come: the clock was set back/, qr/NTP/, 'a clock that was set back', '');
$node->safe_psql('postgres', q(UPDATE unrdf.epoch SET started_at = started_at - interval '1 day'));
drain($node, 'postgres');
$node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()');
chmod 0644, $keys;
finds('key file', 'error', qr/cannot be used: it has permissions 0644/, qr/^chmod 600/, 'a key file that others can read', '');
chmod 0600, $keys;
rename $keys, "$keys.away";
finds('key file', 'error', qr/^Keys have signed checkpoints, and unrdf\.log_key_file is not there/, qr/^Put the copy back/, 'a key file that is gone', '');
rename "$keys.away", $keys;
rename $stores, "$stores.away";
$node->safe_psql('postgres', q(SELECT unrdf.record('update', 'order/1')));
drain($node, 'postgres');
$node->psql('postgres', "SELECT unrdf.publish_checkpoint('0')");
wait_for($node, 'postgres', q(SELECT publishing = 'waiting' FROM unrdf.log_status));
finds('checkpoints', 'warning', qr/^Checkpoints are not published since .*store/, qr/unrdf\.log_status/, 'a store that is away', '');
rename "$stores.away", $stores;
$node->psql('postgres', 'SELECT unrdf.publish_checkpoint()');
wait_for($node, 'postgres', q(SELECT publishing = 'signed' FROM unrdf.log_status));
$node->safe_psql('postgres', 'INSERT INTO unrdf.restoring VALUES (now())');
finds('restore', 'error', qr/^A restore is under way since/, qr/^SELECT unrdf\.finish_restore\(\)/, 'a restore', '');
$node->safe_psql('postgres', 'DELETE FROM unrdf.restoring');
my $launcher = worker_pid($node, 'postgres', 'launcher');
kill 'STOP', $launcher;
signal_worker($node, 'postgres', 'dispatcher', 'TERM');
finds('workers', 'error', qr/^The dispatcher of this database is not running/, qr/max_worker_processes/, 'no dispatcher', '');
kill 'CONT', $launcher;
wait_for_workers($node, 'postgres');
nothing_wrong('states as before');

# An operator sees the same, and no secrets
$node->safe_psql('postgres', q(CREATE ROLE app LOGIN; SELECT unrdf.grant_access('app', 'operator')));
is($node->safe_psql('postgres', 'SET ROLE app; SELECT string_agg(d::text, $$;$$) FROM unrdf.doctor() AS d'), $node->safe_psql('postgres', 'SELECT string_agg(d::text, $$;$$) FROM unrdf.doctor() AS d'), 'an operator is told the same');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.doctor('0') AS d WHERE d::text LIKE '%$stores%' OR d::text LIKE '%$keys%'"), '0', 'no path, no store, no key is in it');

# A standby whose commits are not waited for; settings that take a restart
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'\nsynchronous_commit = local\n");
$node->reload;
wait_for($node, 'postgres', q(SELECT sync_state = 'sync' FROM pg_stat_replication));
finds('durability', 'warning', qr/^synchronous_commit is local: .* in a failover/, qr/^synchronous_commit = on$/, 'synchronous_commit = local', '');
is($node->safe_psql('postgres', "SELECT count(*) FROM unrdf.doctor() WHERE subject IN ('standbys', 'clock')"), '0', 'a standby that is there, with the same clock');
$standby->stop;
$open->quit;
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\nsynchronous_commit = on\nwal_level = minimal\nmax_wal_senders = 0\narchive_mode = off\nmax_worker_processes = 5\n");
$node->restart;
wait_for($node, 'postgres', q(SELECT count(*) = 1 FROM unrdf.stat_workers WHERE kind = 'dispatcher'));
finds('wal_level', 'notice', qr/^wal_level is minimal/, qr/^wal_level = replica, and restart$/, 'wal_level = minimal', '');
finds('max_worker_processes', 'error', qr/^max_worker_processes is 5; 7 are needed, and 11 with all executors/, qr/^max_worker_processes = 19, and restart$/, 'max_worker_processes = 5', '');
# Patroni's, whose etcd is not there
$node->append_conf('postgresql.conf', "unrdf.cluster_dcs = 'http://127.0.0.1:1'\nunrdf.cluster_path = '/service/main'\nunrdf.node_name = 'node'\nmax_worker_processes = 32\nunrdf.checkpoint_stores = ''\n");
$node->restart;
wait_for_workers($node, 'postgres');
finds('wal_level', 'error', qr/^wal_level is minimal/, qr/^wal_level = replica, and restart$/, 'wal_level = minimal, with Patroni', '');
finds('standbys', 'warning', qr/^Patroni manages this server, and no standby is synchronous/, qr/^synchronous_mode: true/, 'no synchronous standby, with Patroni', '');
finds('checkpoint stores', 'warning', qr/^unrdf\.checkpoint_stores is empty/, qr/another machine/, 'no store, with Patroni', '');
$node->stop;

done_testing();
