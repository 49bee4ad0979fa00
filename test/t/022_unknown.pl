# What a client is told must not be taken back by a failover: a key that is asked for again is answered only once a synchronous
# standby has the job that holds it, though asking writes nothing.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('primary', init => { allows_streaming => 1 });

# Runs a statement that waits for the standby that is not there, until there is to be none.
sub waits
{
	my ($sql, $what) = @_;
	my ($out, $err) = ('', '');

	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
	$node->reload;
	wait_for($node, 'postgres', "SELECT current_setting('synchronous_standby_names') = 'nobody'");
	my $client = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' application_name=asking', '-c', $sql ], '<', \'', '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'asking' AND wait_event = 'SyncRep')");
	$client->pump_nb;
	is($out, '', "$what waits");
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->reload;
	$client->finish;
	is($err, '', 'and is told in the end');
	chomp $out;
	return $out;
}

$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', "SELECT unrdf.pause_queue('default')");
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('synchronous_standby_names') = 'nobody'");

# A job that is on this node only, as after a wait that was cancelled
my $job = $node->safe_psql('postgres', "SET synchronous_commit = local; SELECT unrdf.enqueue('effect', key => 'order-17')");
is(waits("SELECT unrdf.enqueue('effect', key => 'order-17')", 'who asks for its key again'), $job, 'it is the same job');
is(waits("SELECT unrdf.enqueue_many('effect', ARRAY['{}']::jsonb[], keys => ARRAY['order-17'])", 'who asks for many'), $job, 'the same there');
is(waits("SELECT unrdf.enqueue('effect', key => 'order-18')", 'a new key') =~ /^\d+$/, 1, 'another job');
$node->stop;

done_testing();
