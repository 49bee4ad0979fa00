# The clock is set back by an hour, and forward by two: everything goes on at once, nothing waits for the hour to pass.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('clock', conf => q(
unrdf.sweep_interval = '200 ms'
unrdf.checkpoint_interval = '200 ms'
unrdf.floor_interval = '200 ms'
max_prepared_transactions = 1
));
my $clock = 0;

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

# Sets the clock that unrdf reads, in hours, and waits until those that write times do so by the new one.
sub set_clock
{
	my ($hours) = @_;

	$clock = $hours;
	$node->append_conf('postgresql.conf', "unrdf.clock_offset = '$hours h'");
	$node->reload;
	for my $newest ('finished_at FROM unrdf.receipt ORDER BY id', 'at FROM unrdf.integration ORDER BY first', 'published_at FROM unrdf.checkpoint ORDER BY size')
	{
		my ($column) = $newest =~ /^(\w+)/;
		my $set = 'f';
		my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
		until ($set eq 't')
		{
			die "nobody writes $column by the new clock" if time() > $until;
			$node->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)");
			$set = $node->safe_psql('postgres', "SELECT abs(extract(epoch FROM clock_timestamp() + interval '$hours h' - t)) < 1800 FROM (SELECT $newest DESC LIMIT 1) AS n (t)");
		}
	}
	return;
}

# All that goes by the time in some way.
sub goes_on
{
	my ($what) = @_;
	my $now = "clock_timestamp() + interval '$clock h'";
	my $id = $node->safe_psql('postgres', "SELECT unrdf.enqueue('effect')");

	is($node->safe_psql('postgres', "SELECT unrdf.wait($id)"), 'ok', "$what: a job runs");
	$node->safe_psql('postgres', "BEGIN; SELECT unrdf.enqueue('effect'); PREPARE TRANSACTION 'job'");
	$node->safe_psql('postgres', "COMMIT PREPARED 'job'");
	drain($node, 'postgres');
	pass("$what: the sweep finds one of a prepared transaction");
	is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', run_at => $now + interval '100 ms') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$what: a delayed one runs");
	is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', '{\"fail\": 1}') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$what: one is tried again");
	is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect', run_at => $now + interval '1 day') AS id \\gset\nSELECT unrdf.wait(:id, '100 ms') IS NULL AND unrdf.cancel(:id)"), 't', "$what: a time-out ends");
	wait_for($node, 'postgres', 'SELECT size = published_size AND size = (SELECT count(*) FROM unrdf.receipt) FROM unrdf.log_status');
	pass("$what: checkpoints are published when it is time");
	for my $kind (qw(integrator publisher dispatcher))
	{
		signal_worker($node, 'postgres', $kind, 'TERM');
		wait_for_workers($node, 'postgres');
	}
	pass("$what: processes that end are started again");
	return;
}

goes_on('at first');
set_clock(-1);
goes_on('an hour back');
set_clock(1);
goes_on('two hours forward');
is($node->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'and everything verifies');
$node->stop;
done_testing();
