# The fence: a primary stops, and commits nothing more, before its leader lease can be another's. A real etcd; what Patroni
# writes into it, the test does.
use strict;
use warnings;

use Etcd;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Unrdf;

my $etcd = Etcd->new('etcd');
my $leader = '/service/test/leader';
my $config = '/service/test/config';
my $fence = qq(
unrdf.cluster_dcs = '$etcd->{url}'
unrdf.cluster_path = '/service/test'
unrdf.node_name = 'n1'
unrdf.fence = on
);
my $node = new_node('n1', conf => "max_prepared_transactions = 5\n$fence", init => { allows_streaming => 1 });

sub fence_is
{
	my ($state, $what, $on) = @_;

	wait_for($on // $node, 'postgres', "SELECT fence = '$state' FROM unrdf.cluster_state()");
	pass($what);
	return;
}

# Waits until the server has stopped by itself, which the log says for this reason.
sub stops
{
	my ($since, $reason, $what, $on) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	$on //= $node;
	usleep(10_000) while -e $on->data_dir . '/postmaster.pid' && time() < $until;
	my $log = log_since($on, $since);
	like($log, qr/LOG: .*fence: this server stops, since its leader lease is over.*\n.*DETAIL:  $reason/, "$what: it stops, and says why");
	$on->stop('immediate', fail_ok => 1);
	return;
}

sub starts_with_lease
{
	my ($seconds) = @_;

	$etcd->put($leader, 'n1', $seconds);
	$node->start;
	fence_is('armed', 'a primary with the key is armed');
	return log_position($node);
}

# Settings with which a server would believe in a fence that is none
for my $bad (
	[ "unrdf.cluster_dcs = ''", qr/unrdf\.fence needs unrdf\.cluster_dcs/ ],
	[ "unrdf.node_name = ''", qr/unrdf\.cluster_dcs needs unrdf\.cluster_path and unrdf\.node_name/ ],
	[ "unrdf.cluster_path = ''", qr/unrdf\.cluster_dcs needs unrdf\.cluster_path and unrdf\.node_name/ ],
	[ "unrdf.cluster_path = 'service/test'", qr/invalid value for parameter "unrdf\.cluster_path"/ ],
	[ "unrdf.cluster_path = '/service/test/'", qr/invalid value for parameter "unrdf\.cluster_path"/ ],
	[ "unrdf.cluster_dcs = 'http://root:secret\@127.0.0.1:1'", qr/invalid value for parameter "unrdf\.cluster_dcs"/ ],
	[ "unrdf.cluster_dcs = '127.0.0.1:2379'", qr/invalid value for parameter "unrdf\.cluster_dcs"/ ],
	[ 'unrdf.sentinel_release = on', qr/unrdf\.sentinel_release needs unrdf\.fence, and unrdf\.fence_silence/ ],
	[ "unrdf.sentinel_release = on\nunrdf.fence_silence = '2700 ms'", qr/unrdf\.sentinel_release needs unrdf\.fence, and unrdf\.fence_silence/ ],
	[ "unrdf.sentinel_release = on\nunrdf.fence_silence = '2 s'\nunrdf.fence = off", qr/unrdf\.sentinel_release needs unrdf\.fence, and unrdf\.fence_silence/ ])
{
	my ($settings, $pattern) = @$bad;
	my $since = -e $node->logfile ? log_position($node) : 0;

	$node->append_conf('postgresql.conf', $settings);
	ok(!$node->start(fail_ok => 1), ($settings =~ s/\n/, /r) . ': the server does not start');
	like(log_since($node, $since), $pattern, 'and says why');
	$node->append_conf('postgresql.conf', "$fence\nunrdf.sentinel_release = off\nunrdf.fence_silence = 0");
}

# A cluster that is being made: nobody has the key yet
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', 'CREATE TABLE t (i int)');
fence_is('waiting', 'a primary waits for a lease');
$etcd->put($leader, 'n1', 600);
fence_is('armed', 'and is armed with it');
is($node->safe_psql('postgres', 'SELECT node, reason IS NULL, milliseconds_left BETWEEN 500000 AND 599000 FROM unrdf.cluster_state()'), 'n1|t|t', 'how long it may go on');
$node->restart;
wait_for_workers($node, 'postgres');
fence_is('armed', 'after a restart');
is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', 'jobs run');

# Restored from a backup, as Patroni does it: nobody can look until recovery has ended, which takes longer than a start is given, and
# there is no key yet
$node->backup('early');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'early', has_restoring => 1, standby => 0);
my $go = $restored->data_dir . '/../go';
$restored->append_conf('postgresql.conf', qq(
restore_command = 'until test -e $go; do sleep 0.1; done; false'
hot_standby = off
recovery_target_action = promote
archive_mode = off
unrdf.cluster_path = '/service/restored'
));
command_ok([ 'pg_ctl', '-D', $restored->data_dir, '-l', $restored->logfile, '-W', 'start' ], 'a server is restored');
usleep(2_500_000);    # UNRDF_FENCE_GRACE is 2 s, of which nobody can be asked
append_to_file($go, '');
$restored->_update_pid(1);
wait_for($restored, 'postgres', 'SELECT NOT pg_is_in_recovery()');
fence_is('waiting', 'it waits for a lease', $restored);
$restored->safe_psql('postgres', 'INSERT INTO t VALUES (0)');
$restored->stop('immediate');

# etcd away for a while: the lease lasts
$etcd->signal('STOP');
$node->safe_psql('postgres', 'INSERT INTO t VALUES (1)');
$etcd->signal('CONT');
$etcd->stop;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
$etcd->start;
$etcd->put($leader, 'n1', 600);
fence_is('armed', 'etcd was away for less than the lease');

# The sentinel may die: another one goes on
my ($pid) = $node->safe_psql('postgres', 'SELECT sentinel FROM unrdf.cluster_state()');
kill('TERM', $pid) == 1 or die "could not signal the sentinel: $!";
wait_for($node, 'postgres', "SELECT sentinel <> $pid FROM unrdf.cluster_state()");
fence_is('armed', 'another sentinel goes on');

# The key is another's
my $since = log_position($node);
$etcd->put($leader, 'n2', 600);
stops($since, "the leader key is n2's", "another's key");

# A primary that starts while another has the key, as an administrator may do by hand
$since = log_position($node);
$node->start(fail_ok => 1);
stops($since, "the leader key is n2's", 'a second primary');

# The key is gone
$since = starts_with_lease(600);
$etcd->delete($leader);
stops($since, 'the leader key is gone', 'a lost key');

# Nobody renews the lease: the server is gone before the key
$since = starts_with_lease(5);
stops($since, 'Nobody answered|the leader key is gone', 'a lease that runs out');
is($etcd->get($leader), 'n1', 'it has stopped before anybody else could have the key');

# Nobody says anything: the lease counts, or less time than that
$since = starts_with_lease(6);
$etcd->signal('STOP');
stops($since, 'Nobody answered that it was renewed', 'a silent etcd');
$etcd->signal('CONT');
is($etcd->get($leader) // 'n1', 'n1', 'nobody else had the key');
$node->append_conf('postgresql.conf', "unrdf.fence_silence = '1 s'");
$since = starts_with_lease(600);
$etcd->signal('STOP');
stops($since, 'Nobody answered that it was renewed', 'a silent etcd, with a limit to its silence');
$etcd->signal('CONT');
$node->append_conf('postgresql.conf', 'unrdf.fence_silence = 0');

# A session that has begun to write; finish_session has it end with a command.
sub session
{
	my ($sql) = @_;
	my %s = (in => "$sql\n\\echo ready\n", out => '', err => '');

	$s{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' application_name=writer', '-v', 'VERBOSITY=verbose' ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$s{run}->pump until $s{out} =~ /ready/;
	return \%s;
}

sub finish_session
{
	my ($s, $sql) = @_;

	$s->{in} .= "$sql\n\\echo alive\n";
	eval { $s->{run}->finish };
	return;
}

sub refused
{
	my ($s, $what) = @_;

	like($s->{err}, qr/FATAL:  57P01: terminating connection because this server's leader lease has run out/, "$what is refused");
	unlike($s->{out}, qr/alive/, 'and the session ends');
	return;
}

# The sentinel hangs: sessions commit nothing past the deadline, and read until the server stops
$since = starts_with_lease(5);
my @sessions = (session('BEGIN; INSERT INTO t VALUES (100);'), session('BEGIN; INSERT INTO t VALUES (101);'), session('BEGIN;'),
	session("BEGIN; INSERT INTO t VALUES (102); PREPARE TRANSACTION 'early';"));
($pid) = $node->safe_psql('postgres', 'SELECT sentinel FROM unrdf.cluster_state()');
kill('STOP', $pid) == 1 or die "could not stop the sentinel: $!";
wait_for($node, 'postgres', 'SELECT milliseconds_left < 0 FROM unrdf.cluster_state()');
is($etcd->get($leader), 'n1', 'the deadline comes before the key goes');
finish_session($sessions[0], 'COMMIT;');
refused($sessions[0], 'a commit');
finish_session($sessions[1], "PREPARE TRANSACTION 'p';");
refused($sessions[1], 'a prepared transaction');
finish_session($sessions[3], "COMMIT PREPARED 'early';");
refused($sessions[3], 'what was prepared before');
finish_session($sessions[2], 'SELECT count(*) FROM t; COMMIT;');
is($sessions[2]{out}, "ready\n2\nalive\n", 'a transaction that has only read may end, and sees nothing of them');
kill('CONT', $pid);
stops($since, 'Nobody answered|the leader key is gone', 'the sentinel goes on');

starts_with_lease(600);
$node->safe_psql('postgres', 'CREATE TABLE late (n int)');
$node->stop;

# A commit that waits for a standby while the lease runs out is not acknowledged, though the wait ends
for my $how ([ 'INSERT INTO late VALUES (1);', 'a commit' ], [ "BEGIN; INSERT INTO late VALUES (2); PREPARE TRANSACTION 'late';", 'a prepared transaction' ],
	[ "COMMIT PREPARED 'ready';", 'what was prepared before' ])
{
	my ($sql, $what) = @$how;

	$since = starts_with_lease(5);
	$node->safe_psql('postgres', "BEGIN; INSERT INTO late VALUES (3); PREPARE TRANSACTION 'ready'") if $sql =~ /ready/;
	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
	$node->reload;
	my $waiting = session('');
	$waiting->{in} .= "$sql\n\\echo alive\n";
	$waiting->{run}->pump_nb;
	wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'");
	($pid) = $node->safe_psql('postgres', 'SELECT sentinel FROM unrdf.cluster_state()');
	kill('STOP', $pid) == 1 or die "could not stop the sentinel: $!";
	wait_for($node, 'postgres', 'SELECT milliseconds_left < 0 FROM unrdf.cluster_state()');
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->reload;
	finish_session($waiting, '');
	unlike($waiting->{out}, qr/alive/, "$what that ends past the deadline is not acknowledged");
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	usleep(10_000) while -e $node->data_dir . '/postmaster.pid' && time() < $until;
	like(log_since($node, $since), qr/fence: a commit that was done after the leader lease was over is not acknowledged/, 'and the server stops');
	kill('CONT', $pid);
	$node->stop('immediate', fail_ok => 1);
}

starts_with_lease(600);
$node->safe_psql('postgres', $_) for "ROLLBACK PREPARED 'late'", 'DROP TABLE late';
$node->stop;

# Everything was frozen while another node took over: what goes on first is a commit
$since = starts_with_lease(4);
my $frozen = session('BEGIN; INSERT INTO t VALUES (200);');
my ($status, $err);
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
my @pids = ($postmaster, split /\n/, `ps -o pid= --ppid $postmaster`);
kill('STOP', @pids) == @pids or die "could not stop the server: $!";
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
usleep(20_000) while defined $etcd->get($leader) && time() < $until;
$etcd->put($leader, 'n2', 600);
$frozen->{in} .= "COMMIT;\n\\echo alive\n";
# the command lies at the session before it can go on, and the sentinel is the last to
$frozen->{run}->pump_nb for 1 .. 10;
my ($sentinel) = grep { `ps -o args= -p $_` =~ /unrdf sentinel/ } @pids;
kill('CONT', grep { $_ != $sentinel } @pids);
eval { $frozen->{run}->finish };
refused($frozen, 'a commit after a freeze');
kill('CONT', $sentinel);
stops($since, 'Nobody answered that it was renewed', 'after a freeze');

# What was refused is not there, under a lease again
$since = starts_with_lease(600);
is($node->safe_psql('postgres', 'SELECT i FROM t ORDER BY i'), "1\n2", 'nothing that was refused is there');
is($node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'), 'early', 'nor prepared; what was prepared before is still');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'early'");
wait_for_workers($node, 'postgres');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'after all that');

# Patroni is paused: the key may be anybody's
$etcd->put($config, '{"ttl": 30, "pause": true}');
fence_is('paused', 'paused with Patroni');
$etcd->put($leader, 'n2', 600);
$node->safe_psql('postgres', 'INSERT INTO t VALUES (3)');
is($node->safe_psql('postgres', 'SELECT milliseconds_left IS NULL FROM unrdf.cluster_state()'), 't', 'there is no deadline');
$etcd->put($leader, 'n1', 600);
$etcd->put($config, '{"ttl": 30}');
fence_is('armed', 'it goes on');

# A margin that leaves no time of the ttl: no fence, said loudly
$since = log_position($node);
$etcd->put($config, '{"ttl": 3}');
fence_is('refused', 'a margin that leaves no time is refused');
like(log_since($node, $since), qr/WARNING: .*fence is off: unrdf\.fence_margin leaves no time of Patroni's ttl of 3 s/, 'and the log says so');
$etcd->put($config, 'not JSON');
fence_is('armed', 'settings that cannot be read are none');
$etcd->put($config, '{"ttl": 30}');

# A standby has nothing to stop, until it is promoted
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('n2');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "unrdf.node_name = 'n2'");
$standby->start;
fence_is('standby', 'a standby', $standby);
my $since_standby = log_position($standby);
($pid) = $standby->safe_psql('postgres', 'SELECT sentinel FROM unrdf.cluster_state()');
kill('STOP', $pid) == 1 or die "could not stop the sentinel: $!";
$standby->promote;
wait_for($standby, 'postgres', 'SELECT milliseconds_left < 0 FROM unrdf.cluster_state()');
($status, undef, $err) = $standby->psql('postgres', 'INSERT INTO t VALUES (300)');
isnt($status, 0, 'a promoted standby whose sentinel hangs commits nothing');
like($err, qr/this server's leader lease has run out/, 'and says why');
kill('CONT', $pid);
stops($since_standby, "Nobody answered|the leader key is n1's", 'a promotion without the key', $standby);
$since = log_position($node);
$etcd->put($leader, 'n2', 600);
stops($since, "the leader key is n2's", 'a primary whose standby took over');
$standby->start;
fence_is('armed', 'the new primary', $standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM t'), 3, 'it has everything');
$standby->stop;

done_testing();
