# The sentinel notes when a standby hears its primary no more, a promotion leaves a receipt that says what happened, and where it
# is allowed to, the sentinel takes the lease from a leader that most members do not hear. A real etcd; what Patroni writes into
# it, the test does.
use strict;
use warnings;

use Etcd;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use Unrdf;

my $etcd = Etcd->new('etcd');
my $leader = '/service/test/leader';
my $cluster = qq(
unrdf.cluster_dcs = '$etcd->{url}'
unrdf.cluster_path = '/service/test'
unrdf.node_name = 'n1'
unrdf.sentinel_silence = '2500 ms'
unrdf.checkpoint_interval = '1 s'
unrdf.checkpoint_stores = 'etcd:$etcd->{url}'
wal_receiver_timeout = '1500 ms'
wal_retrieve_retry_interval = '100 ms'
);
my $primary = new_node('n1', conf => $cluster, init => { allows_streaming => 1 });

# Every process of a server, the postmaster first.
sub processes
{
	my ($node) = @_;
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	return ($postmaster, split /\n/, `ps -o pid= --ppid $postmaster`);
}

sub await_log
{
	my ($node, $since, $pattern, $what) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	usleep(20_000) until log_since($node, $since) =~ $pattern || time() > $until;
	like(log_since($node, $since), $pattern, $what);
	return;
}

sub await_file
{
	my ($node, $there, $what) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;

	usleep(20_000) until !!-e $node->data_dir . '/unrdf_sentinel' == $there || time() > $until;
	is(!!-e $node->data_dir . '/unrdf_sentinel', $there, $what);
	return;
}

sub new_standby
{
	my ($from, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$from->backup("for_$name");
	$standby->init_from_backup($from, "for_$name", has_streaming => 1);
	$standby->append_conf('postgresql.conf', "unrdf.node_name = '$name'");
	chmod(0600, $standby->data_dir . '/unrdf_log.keys') or die "chmod: $!";
	$standby->start;
	return $standby;
}

# What Patroni would say of a member.
sub member
{
	my ($name, $node) = @_;
	my ($location, $timeline) = split /\|/, $node->safe_psql('postgres',
		'SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - $$0/0$$, timeline_id FROM pg_control_checkpoint()');

	$etcd->put("/service/test/members/$name", encode_json({ state => 'running', role => 'replica', xlog_location => $location + 0, timeline => $timeline + 0 }));
	return;
}

$primary->start;
install($primary, 'postgres');
wait_for_workers($primary, 'postgres');
$primary->safe_psql('postgres', "SELECT count(unrdf.enqueue('effect')) FROM generate_series(1, 300)");
drain($primary, 'postgres');
wait_for($primary, 'postgres', 'SELECT size = published_size FROM unrdf.log_status');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.failovers'), 0, 'no failover yet');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.cluster'), 0, 'and no members that etcd knows');
sql_fails($primary, 'postgres', "SELECT unrdf.record('create', 'failover/7', '{}', 'failover')", '22023', qr/kept for failovers/, 'nobody else records failovers');
is($primary->safe_psql('postgres', 'SELECT fence, reason IS NULL, milliseconds_left IS NULL FROM unrdf.cluster_state()'), 'off|t|t', 'the fence is off');

my $standby = new_standby($primary, 'n2');
my $since = log_position($standby);

# A primary that has nothing to do is heard
my $lsn = $primary->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
wait_for($primary, 'postgres', "SELECT pg_current_wal_flush_lsn() - '$lsn' > 3 * 50");
wait_for($standby, 'postgres', "SELECT pg_last_wal_receive_lsn() - '$lsn' > 3 * 50");
unlike(log_since($standby, $since), qr/sentinel/, 'an idle primary is heard');

# A primary that is frozen is not; when it goes on it is heard again
my @frozen = processes($primary);
kill('STOP', @frozen);
await_log($standby, $since, qr/LOG: .*sentinel: no sign of the primary for (2[5-9]|[3-9]\d)\d\d ms/, 'silence is noticed');
await_file($standby, !!1, 'and kept in a file');
unlike(log_since($standby, $since), qr/sentinel: the primary was heard again/, 'a WAL receiver that gives up and begins anew hears nothing');
like(slurp_file($standby->data_dir . '/unrdf_sentinel'), qr/^heard \d+\nnoticed \d+\nnode n2\n$/, 'with its times');
kill('CONT', @frozen);
await_log($standby, $since, qr/LOG: .*sentinel: the primary was heard again after \d+ ms/, 'and so is its end');
await_file($standby, !!0, 'which removes the file');

# The cluster as Patroni has it
$etcd->put($leader, 'n1', 600);
$etcd->put('/service/test/sync', '{"leader": "n1", "sync_standby": "n2"}');
my $size = $primary->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
wait_for($standby, 'postgres', "SELECT (SELECT max(size) FROM unrdf.checkpoint) = $size");
member('n1', $primary);
member('n2', $standby);
for my $node ($primary, $standby)
{
	is($node->safe_psql('postgres', q(SELECT member, role, state, timeline, lag >= 0, lease_left > '500 s', checkpoint_size, is_this_node FROM unrdf.cluster WHERE member = 'n1')),
		"n1|leader|running|1|t|t|$size|" . ($node == $primary ? 't' : 'f'), 'the leader, seen by ' . $node->name);
	is($node->safe_psql('postgres', q(SELECT role, lease_left IS NULL, checkpoint_size, is_this_node, fence FROM unrdf.cluster WHERE member = 'n2')),
		"sync_standby|t|$size|" . ($node == $standby ? 't|off' : 'f|'), 'the standby, seen by ' . $node->name);
}
$etcd->put('/service/test/members/n3', 'not JSON');
is($primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.cluster'), 2, 'what is no member is left out');
$etcd->delete('/service/test/members/n3');
$etcd->signal('STOP');
my ($status, $out, $err) = $primary->psql('postgres', 'SELECT count(*) FROM unrdf.cluster');
is("$status $out", '0 0', 'etcd away: no members');
like($err, qr/WARNING: .*etcd does not answer: /, 'and a warning');
$etcd->signal('CONT');

# A failover
$since = log_position($standby);
my $in_flight = $primary->safe_psql('postgres', q(SELECT unrdf.enqueue('effect', '{"sleep": 600}')));
wait_for($primary, 'postgres', "SELECT EXISTS (SELECT FROM unrdf.stat_workers WHERE job = $in_flight)");
my $receipts = $primary->safe_psql('postgres', 'SELECT count(*) FROM unrdf.receipt');
wait_for($primary, 'postgres', 'SELECT bool_and(replay_lsn = pg_current_wal_flush_lsn()) AND count(*) = 1 FROM pg_stat_replication');
my $position = $primary->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
$primary->kill9;
$etcd->put($leader, 'n2', 600);
await_log($standby, $since, qr/sentinel: no sign of the primary/, 'the primary is dead');
$standby->promote;
wait_for($standby, 'postgres', 'SELECT count(*) = 1 FROM unrdf.failovers');
is( $standby->safe_psql('postgres', q(
		SELECT from_node, from_timeline, to_node, to_timeline, position >= ') . $position . q(', log, reason IS NULL, checkpoint_size <= size, size >= ) . $receipts . q(
		FROM unrdf.failovers)),
	'n1|1|n2|2|t|consistent|t|t|t', 'the failover has its row');
is($standby->safe_psql('postgres', 'SELECT heard_at < noticed_at, noticed_at < promoted_at, promoted_at <= first_write_at, elected_at < promoted_at FROM unrdf.failovers'),
	't|t|t|t', 'with its times, in order');
is($standby->safe_psql('postgres', "SELECT noticed_at - heard_at BETWEEN '2500 ms' AND '60 s' FROM unrdf.failovers"), 't', 'noticed when it was time');
await_file($standby, !!0, 'the file is gone');
my $failover = $standby->safe_psql('postgres', 'SELECT receipt FROM unrdf.failovers');
wait_for($standby, 'postgres', "SELECT unrdf.leaf_index($failover) IS NOT NULL");
is($standby->safe_psql('postgres', "SELECT verdict FROM unrdf.verify($failover)"), 'ok', 'its receipt is in the log');
is($standby->safe_psql('postgres', "SELECT unrdf.receipt($failover) ->> 'operation'"), 'failover', 'as a failover');
wait_for($standby, 'postgres', "SELECT EXISTS (SELECT FROM unrdf.stat_workers WHERE job = $in_flight)");
pass('what was handed out on the old primary runs on the new one');
is($standby->safe_psql('postgres', "SELECT unrdf.cancel($in_flight)"), 't', 'it can be cancelled there');
drain($standby, 'postgres');
assert_ledger($standby, 'postgres', 'the new primary');

# It starts again, and its publisher too: that is no failover
$standby->restart;
wait_for_workers($standby, 'postgres');
signal_worker($standby, 'postgres', 'publisher', 'TERM');
wait_for_workers($standby, 'postgres');
$standby->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)");
wait_for($standby, 'postgres', 'SELECT size = published_size FROM unrdf.log_status');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.failovers'), 1, 'a restart is no failover');
$primary->stop('immediate', fail_ok => 1);

# A lease that is too long to wait for: most members of the three have to have heard nothing
$standby->append_conf('postgresql.conf', "unrdf.fence = on\nunrdf.fence_silence = '1 s'\nunrdf.sentinel_release = on");
$standby->restart;
my $third = new_standby($standby, 'n3');
member('n2', $standby);
member('n3', $third);
$etcd->put('/service/test/members/n4', '{"state": "running", "role": "replica", "xlog_location": 1, "timeline": 2}');
wait_for($third, 'postgres', "SELECT fence = 'standby' FROM unrdf.cluster_state()");
wait_for($standby, 'postgres', "SELECT fence = 'armed' FROM unrdf.cluster_state()");
wait_for($standby, 'postgres', 'SELECT count(*) = 1 FROM pg_stat_replication');
$etcd->delete('/service/test/members/n1');
my $suspect = '/unrdf/service/test/suspect/';
my $revision = $etcd->revision($leader);

sub await_suspicions
{
	my ($n) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my %seen;

	while (keys %seen < $n && time() < $until)
	{
		my $at = $etcd->revision("${suspect}n3");
		$seen{$at} = 1 if $at;
		usleep(20_000);
	}
	return scalar keys %seen;
}

$since = log_position($third);
@frozen = processes($standby);
kill('STOP', @frozen);
is(await_suspicions(3), 3, 'a member that does not hear the leader says so');
is($etcd->get("${suspect}n3"), "n2:$revision", 'and whom');
is($etcd->get($leader), 'n2', 'one of three is not enough');
$etcd->put("${suspect}n4", 'n2:' . ($revision - 1), 600);
is(await_suspicions(3), 3, 'another suspects somebody else');
is($etcd->get($leader), 'n2', 'which is not the same');
$etcd->put("${suspect}n4", "n2:$revision", 600);
await_log($third, $since, qr/LOG: .*sentinel: leader key of "n2" released, since most members do not hear it/, 'two of three release the lease');
is($etcd->get($leader), undef, 'the key is gone');
$etcd->put($leader, 'n3', 600);
my $thawed = log_position($standby);
kill('CONT', @frozen);
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
usleep(10_000) while -e $standby->data_dir . '/postmaster.pid' && time() < $until;
like(log_since($standby, $thawed), qr/fence: this server stops/, 'the old leader stops when it goes on');
$third->promote;
wait_for($third, 'postgres', 'SELECT max(to_timeline) = 3 FROM unrdf.failovers');
is($third->safe_psql('postgres', 'SELECT from_node, to_node, log FROM unrdf.failovers ORDER BY epoch'), "n1|n2|consistent\nn2|n3|consistent", 'the next failover');
$standby->stop('immediate', fail_ok => 1);
$third->stop;

done_testing();
