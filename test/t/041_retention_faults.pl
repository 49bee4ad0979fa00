# Segments are emptied wholly or not at all, whatever dies at which line: what had to stay is there, what had to go goes at the next
# try, on a standby that is promoted as well, and in a database that a dump is loaded into.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $conf = "unrdf.sweep_interval = '100 ms'\nunrdf.expiry_interval = '50 ms'\n";
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('faults', conf => $conf, init => { allows_streaming => 1 });
my $minutes = 0;

# Where whoever empties a segment is stopped, and the lock that it waits for there.
my @boundaries = (
	[ 'before bodies are copied', undef ],
	[ 'before the segment is truncated', 1 ],
	[ 'before that is committed', 2 ]);

sub value
{
	my ($on, @rest) = @_;

	return $on->safe_psql('postgres', @rest);
}

sub set_clock
{
	my ($on, $by) = @_;

	$minutes += $by;
	$on->append_conf('postgresql.conf', "unrdf.clock_offset = '$minutes min'");
	$on->reload;
	wait_for($on, 'postgres', "SELECT current_setting('unrdf.clock_offset')::interval = '$minutes min'");
	return;
}

my $due = q(SELECT count(*) FROM unrdf.segments WHERE due_at <= clock_timestamp() + current_setting('unrdf.clock_offset')::interval);

sub expired
{
	my ($on) = @_;

	wait_for($on, 'postgres', "SELECT ($due) = 0");
	return;
}

# One job whose bodies are to go, and one that waits
sub two_jobs
{
	my ($goes, $stays) = split /\|/, value($node, q(SELECT unrdf.enqueue('effect', '{"n": "goes"}', 'brief'), unrdf.enqueue('effect', '{"n": "stays"}', 'still')));

	value($node, "SELECT unrdf.wait($goes)");
	return ($goes, $stays);
}

# Has the next who empties a segment stop at a boundary, and returns who keeps it there.
sub stop_at
{
	my ($lock) = @_;
	my $holder = $node->background_psql('postgres');

	if (defined $lock)
	{
		$holder->query_safe("SELECT pg_advisory_lock($lock)");
		set_clock($node, 10);
		wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unrdf executor' AND wait_event = 'advisory')");
	}
	else
	{
		# those that are filled are not locked, or they would not be emptied
		my $others = value($node, q(SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class AS c WHERE c.relname ~ '^kept_\d+$' AND c.oid NOT IN (SELECT segment FROM unrdf.segments)));
		$holder->query_safe("BEGIN; LOCK TABLE $others IN SHARE MODE");
		set_clock($node, 10);
		wait_for($node, 'postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unrdf executor' AND wait_event = 'relation')");
	}
	return $holder;
}

sub stopped
{
	return value($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'unrdf executor' AND wait_event IN ('advisory', 'relation')");
}

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');
value($node, q(
	SELECT unrdf.create_queue('brief'), unrdf.alter_queue('brief', '{"keep_args": "10 s", "keep_results": "10 s"}');
	SELECT unrdf.create_queue('still'), unrdf.alter_queue('still', '{"keep_args": "10 s", "keep_results": "10 s"}'), unrdf.pause_queue('still');
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(CASE TG_WHEN WHEN 'BEFORE' THEN 1 ELSE 2 END);
		RETURN NULL;
	END
	$$;
	DO $$
	BEGIN
		FOR i IN 0..69 LOOP
			EXECUTE format('CREATE TRIGGER hold_before BEFORE TRUNCATE ON unrdf.%I EXECUTE FUNCTION public.hold()', 'kept_' || i);
			EXECUTE format('CREATE TRIGGER hold_after AFTER TRUNCATE ON unrdf.%I EXECUTE FUNCTION public.hold()', 'kept_' || i);
		END LOOP;
	END
	$$;
));

my (@went, @stayed);
for my $boundary (@boundaries)
{
	my ($where, $lock) = @$boundary;

	for my $how ('KILL', 'TERM', 'crash')
	{
		my $what = ($how eq 'crash' ? 'the server' : "an executor, by $how,") . " dies $where";
		my ($goes, $stays) = two_jobs();
		my $holder = stop_at($lock);

		cmp_ok(value($node, "SET lock_timeout = '10 s'; $due"), '>', 0, "$what: nothing is gone yet") if !defined $lock;
		if ($how eq 'crash')
		{
			crash_and_start($node);
		}
		else
		{
			my $pid = stopped();
			kill($how, $pid) == 1 or die "could not signal $pid";
			wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		}
		# the next one may be stopped there as well by now, and keep whoever reads waiting
		eval { $holder->quit };
		is(value($node, "SELECT args FROM unrdf.jobs WHERE id = $stays"), '{"n": "stays"}', "$what: what has to stay is there");
		wait_for_workers($node, 'postgres');
		expired($node);
		is(value($node, "SELECT array_agg(args ORDER BY id) FROM unrdf.jobs WHERE id IN ($goes, $stays)"), '{NULL,"{\"n\": \"stays\"}"}', "$what: what had to go goes, the rest is there");
		push @went, $goes;
		push @stayed, $stays;
	}
}

# A standby is promoted while the primary is about to commit
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my ($goes, $stays) = two_jobs();
$node->wait_for_catchup($standby);
is(value($standby, "SELECT args FROM unrdf.jobs WHERE id = $stays"), '{"n": "stays"}', 'a standby reads what is kept apart');
like(value($standby, $due), qr/^\d+$/, 'and knows what is due');
my $holder = stop_at(2);
$node->kill9;
eval { $holder->quit };
$standby->promote;
wait_for_workers($standby, 'postgres');
is(value($standby, "SELECT args FROM unrdf.jobs WHERE id = $stays"), '{"n": "stays"}', 'promoted: what has to stay is there');
set_clock($standby, 0);
expired($standby);
is(value($standby, "SELECT array_agg(args ORDER BY id) FROM unrdf.jobs WHERE id IN ($goes, $stays)"), '{NULL,"{\"n\": \"stays\"}"}', 'promoted: what has to go goes');
push @went, $goes;
push @stayed, $stays;

# A dump is loaded where workers run: everything is there, also what was carried over, and nothing is emptied meanwhile
my $left = 'SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM unrdf.jobs WHERE args IS NOT NULL';
is(value($standby, $left), join(' ', @stayed), 'all is there that has to stay, and nothing else');
$standby->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", '-d', $standby->connstr('postgres') ], 'pg_dump');
$standby->safe_psql('postgres', 'CREATE DATABASE restored');
$standby->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', $standby->connstr('restored'), "$dir/dump" ], 'pg_restore');
wait_for_workers($standby, 'restored');
wait_for($standby, 'restored', 'SELECT NOT EXISTS (SELECT FROM unrdf.restoring)');
is($standby->safe_psql('restored', $left), join(' ', @stayed), 'restored: the same');
wait_for($standby, 'restored', 'SELECT size = (SELECT count(*) FROM unrdf.receipt) FROM unrdf.log_size()');
is($standby->safe_psql('restored', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'restored: everything verifies');

# In the end all run, once, with what they were given
for my $db ('postgres', 'restored')
{
	$standby->safe_psql($db, q(SELECT unrdf.resume_queue('still')));
	drain($standby, $db);
	is($standby->safe_psql($db, 'SELECT count(*) FROM unrdf.receipt WHERE kind = 1 AND outcome = 1'), @went + @stayed, "$db: all jobs ran");
	assert_ledger($standby, $db, $db);
}
assert_effects($standby, 'postgres', 'postgres');
set_clock($standby, 60 * 24 * 40);
for my $db ('postgres', 'restored')
{
	wait_for($standby, $db, 'SELECT NOT EXISTS (SELECT FROM unrdf.segments)');
	is($standby->safe_psql($db, $left), '', "$db: in the end nothing is left");
	is($standby->safe_psql($db, 'SELECT count(*) FROM unrdf.verify_all()'), '0', "$db: and everything verifies");
}
$standby->stop;
done_testing();
