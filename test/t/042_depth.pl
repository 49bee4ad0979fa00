# A depth limit under load: whatever many sessions enqueue, roll back, prepare, cancel or wait for, while jobs end and fail, no snapshot
# ever has more open jobs of the queue than it may have, and none who waits is left over. After a crash and on a promoted
# standby the limit holds from the first job on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('node', conf => "max_prepared_transactions = 5\nunrdf.floor_interval = '100 ms'\nunrdf.sweep_interval = '200 ms'\n", init => { allows_streaming => 1 });
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	SELECT unrdf.register_handler('effect', 'effect(bigint, jsonb)', backoff => '10 ms', backoff_cap => '10 ms', max_attempts => 2);
	SELECT unrdf.create_queue('full');
	CREATE TABLE seen (depth bigint, mode text);
	-- what a snapshot has
	CREATE FUNCTION open_jobs() RETURNS bigint LANGUAGE sql AS $$
		SELECT (SELECT count(*) FROM unrdf.job AS j WHERE j.queue = q.id AND NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))
			+ (SELECT count(*) FROM unrdf.waiting_job AS w WHERE w.queue = q.id AND NOT EXISTS (SELECT FROM unrdf.job AS j WHERE j.id = w.id))
		FROM unrdf.queue AS q WHERE q.name = 'full' $$;
	-- refused: nothing is left of it, and its transaction goes on
	CREATE FUNCTION try(n int, args jsonb) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN (SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill(args, ARRAY[n]), queue => 'full'));
	EXCEPTION WHEN configuration_limit_exceeded THEN
		RETURN 0;
	END $$;
));

sub write_script
{
	my ($name, $text) = @_;

	append_to_file("$dir/$name", $text);
	return ('-f', "$dir/$name");
}

my @load = (
	write_script('many', q(\set r random(1, 100)
BEGIN;
SELECT try(:r % 4 + 1, jsonb_build_object('fail', :r % 3));
SAVEPOINT s;
SELECT try(:r % 3 + 1, '{}');
\if :r > 60
ROLLBACK TO s;
\endif
SELECT job, depth FROM unrdf.try_enqueue('effect', queue => 'full');
\if :r > 80
ROLLBACK;
\else
COMMIT;
\endif
)),
	write_script('one', "SELECT try(1, '{}');\n"),
	write_script('key', q(\set k random(1, 20)
SELECT (unrdf.try_enqueue('effect', queue => 'full', key => 'k' || :k)).job;
)),
	write_script('cancel', q(BEGIN;
SELECT unrdf.cancel(id) FROM unrdf.jobs WHERE queue = 'full' AND finished_at IS NULL ORDER BY id LIMIT 2;
SELECT try(2, '{}');
COMMIT;
)),
	write_script('waiting', q(BEGIN;
SELECT (unrdf.try_enqueue('effect', queue => 'full')).job AS need \gset
SELECT unrdf.enqueue_after(array_remove(ARRAY[nullif('0' || ':need', '0')::bigint], NULL), 'effect', queue => 'default');
COMMIT;
)));
my @look = write_script('look', q(INSERT INTO seen SELECT open_jobs(), current_setting('test.mode');
));

# Runs the load and the look at it side by side.
sub load
{
	my ($mode) = @_;

	$node->safe_psql('postgres', qq(SELECT unrdf.alter_queue('full', '{"max_depth": 10, "when_full": "$mode"}')));
	local $ENV{PGOPTIONS} = "-c test.mode=$mode -c deadlock_timeout=50ms";
	my $looks = IPC::Run::start([ 'pgbench', '-n', '-c', 2, '-t', 100000, '-d', $node->connstr('postgres'), @look ], '<', '/dev/null', '>', "$dir/look.out", '2>', "$dir/look.err");
	$node->command_ok([ 'pgbench', '-n', '-c', 10, '-j', 2, '-t', 60, '-d', $node->connstr('postgres'), @load ], "$mode: load");
	$looks->signal('TERM'); # INT is ignored by what a shell runs in the background
	$looks->finish;
	wait_for($node, 'postgres', "SELECT unrdf.queue_depth('full') = 0");
	is($node->safe_psql('postgres', "SELECT max(depth) FROM seen WHERE mode = '$mode'"), '10', "$mode: it was full, and no snapshot had more");
	is($node->safe_psql('postgres', 'SELECT open_jobs()'), '0', "$mode: all have ended");
	return;
}
load('reject');
load('wait');
assert_effects($node, 'postgres', 'loaded');

# Those who wait have their turn, however many: nobody is forgotten
write_script('queueing', "SELECT unrdf.enqueue('effect', queue => 'full');\n");
$node->command_ok([ 'pgbench', '-n', '-c', 20, '-j', 2, '-t', 50, '-d', $node->connstr('postgres'), '-f', "$dir/queueing" ], 'a thousand wait for room for ten');
wait_for($node, 'postgres', "SELECT unrdf.queue_depth('full') = 0");

# COMMIT PREPARED makes the numbers unknown while somebody waits for room
$node->safe_psql('postgres', q(SELECT unrdf.pause_queue('full'); SELECT count(*) FROM unrdf.enqueue_many('effect', array_fill('{}'::jsonb, ARRAY[10]), queue => 'full')));
my $waiter = $node->background_psql('postgres', on_error_stop => 0);
$waiter->query_until(qr/begun/, "\\echo begun\nSELECT unrdf.enqueue('effect', queue => 'full');\n");
wait_for($node, 'postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Extension' AND query LIKE '%full%' AND pid <> pg_backend_pid()));
$node->safe_psql('postgres', q(BEGIN; SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'full' AND state = 'pending'; PREPARE TRANSACTION 'p';));
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
$waiter->query_safe('SELECT 1');
is($node->safe_psql('postgres', 'SELECT open_jobs()'), '10', 'who waits gets room that a prepared transaction has made');
$waiter->quit;

# A crash leaves no reservation, and the numbers are counted anew
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$node->safe_psql('postgres', q(SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'full' AND state = 'pending'));
$holder->query_safe("BEGIN; SELECT unrdf.enqueue('effect', queue => 'full')");
is($node->safe_psql('postgres', q(SELECT job IS NULL, depth FROM unrdf.try_enqueue('effect', queue => 'full'))), 't|10', 'reserved');
crash_and_start($node);
is($node->safe_psql('postgres', q(SELECT job IS NULL, depth FROM unrdf.try_enqueue('effect', queue => 'full'))), 'f|10', 'free after a crash');
is($node->safe_psql('postgres', q(SELECT job IS NULL, depth FROM unrdf.try_enqueue('effect', queue => 'full'))), 't|10', 'and taken');

# So on a standby that is promoted
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', q(SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'full' AND state = 'pending'));
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT unrdf.queue_depth('full')"), '9', 'a standby counts');
$node->stop('immediate');
$standby->promote;
wait_for_workers($standby, 'postgres');
is($standby->safe_psql('postgres', q(SELECT string_agg((e.job IS NULL)::text || ' ' || e.depth, ', ') FROM generate_series(1, 2) AS i, unrdf.try_enqueue('effect', jsonb_build_object('i', i), queue => 'full') AS e)),
	'false 10, true 10', 'promoted: one more has room');
$standby->stop;

done_testing();
