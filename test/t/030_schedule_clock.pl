# The real pg_cron as the clock, in its own database and for another one: schedules say when there is none, and what to do; then intervals
# of a second lose no tick, also where one call of the clock hands over to the next.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('clock', conf => q(
shared_preload_libraries = 'unrdf,pg_cron'
cron.use_background_workers = on
));

$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE other');
for my $db ('postgres', 'other')
{
	install($node, $db);
	wait_for_workers($node, $db);
}

# What a schedule that is made says beside when it is due.
sub notice
{
	my ($db, $name) = @_;
	my ($status, $out, $err) = $node->psql($db, "\\set VERBOSITY default\nSELECT unrdf.schedule('$name', '1 second', 'effect', overlap => 'queue')");

	is($status, 0, "$db: $name is scheduled");
	return $err;
}

like(notice('postgres', 'first'), qr/^.*NOTICE:  nothing fires the schedules of this database\n.*HINT:  CREATE EXTENSION pg_cron; SELECT unrdf\.start_clock\(\)/, 'without a clock it says so');
sql_fails($node, 'postgres', 'SELECT unrdf.start_clock();', '55000', qr/pg_cron is not installed in this database.*HINT:  CREATE EXTENSION pg_cron/s, 'there is none to start yet');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
like(notice('postgres', 'first'), qr/HINT:  SELECT unrdf\.start_clock\(\)/, 'pg_cron is there and was not told');
is($node->safe_psql('postgres', 'SELECT unrdf.start_clock() = unrdf.start_clock()'), 't', 'told twice, it has one job');
is(notice('postgres', 'first'), '', 'told, nothing is missing');

my $advice = notice('other', 'first');
my ($line) = $advice =~ /HINT:  pg_cron is in database postgres\. Say there: (SELECT cron\.schedule_in_database.*)/;
ok($line, 'in another database it says what to say in that of pg_cron') or diag($advice);
sql_fails($node, 'other', 'SELECT unrdf.start_clock();', '55000', qr/HINT:  pg_cron is in database postgres/, 'and cannot do it itself');
$node->safe_psql('postgres', $line);

for my $db ('postgres', 'other')
{
	wait_for($node, $db, 'SELECT unrdf.clock_runs()');
	is(notice($db, 'second'), '', "$db: a clock that runs is not missed");
}
# into the next minute, in which another call fires
for my $db ('postgres', 'other')
{
	wait_for($node, $db, q(SELECT max(due_at) > date_trunc('minute', min(fired_at)) + interval '63 seconds' FROM unrdf.schedule_runs WHERE schedule = 'first'));
	is($node->safe_psql($db, q(SELECT count(*) = extract(epoch FROM max(due_at) - min(due_at)) + 1, bool_and(action = 'enqueued'), sum(missed) FROM unrdf.schedule_runs WHERE schedule = 'second')),
		't|t|0', "$db: every second has its tick");
}
$node->safe_psql($_, 'SELECT unrdf.unschedule(name) FROM unrdf.schedules') for 'postgres', 'other';

# Who runs it is who started it; a role that may not is refused by pg_cron's job, not by us
is($node->safe_psql('postgres', q(SELECT username = current_user, schedule, command FROM cron.job WHERE jobname = 'unrdf')), 't|* * * * *|CALL unrdf.run_schedules()', 'what pg_cron was told');
is($node->safe_psql('postgres', q(SELECT count(*) FROM cron.job_run_details WHERE status = 'failed')), '0', 'none of its runs has failed');
for my $db ('postgres', 'other')
{
	drain($node, $db);
	assert_ledger($node, $db, $db);
	assert_effects($node, $db, $db);
}
$node->stop;
done_testing();
