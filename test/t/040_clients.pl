# The example workers, each against a real server: they run what there is, say what failed, and stop cleanly; killed, they lose nothing. One Node
# worker has a thousand jobs in hand at once. All of it once more behind PgBouncer in transaction mode. A standby that is promoted.
use strict;
use warnings;

use IPC::Run qw(start finish);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

-d 'test/clients/node_modules' or die 'run test/setup tests';
my $node = new_node('clients', conf => "unrdf.sweep_interval = '1 h'\n", init => { allows_streaming => 1 });
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE ROLE worker LOGIN;
	SELECT unrdf.grant_access('worker', 'worker'), unrdf.create_queue('hello'), unrdf.grant_queue('hello', 'worker');
	SELECT unrdf.register_outside_handler('hello', max_attempts => 2, backoff => '0', backoff_cap => '0');
));
wait_for_workers($node, 'postgres');

my $folder = "$ENV{TESTDATADIR}/clients";
mkdir $folder;
my $libpq = `$ENV{PG_CONFIG} --includedir`;
my $libs = `$ENV{PG_CONFIG} --libdir`;
chomp($libpq, $libs);
is(system('cc', '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', "-I$libpq", '-I/usr/include/postgresql', '-o', "$folder/worker", 'test/clients/worker.c', "-L$libs", '-lpq'), 0, 'the one in C compiles');

my %direct = (host => $node->host, port => $node->port);
my %pooler = pgbouncer();

# The commands of a worker, by its language.
sub command
{
	my ($language, %at) = @_;
	my $conninfo = "host=$at{host} port=$at{port} user=worker dbname=postgres";
	my $url = "postgres://worker\@/postgres?host=$at{host}&port=$at{port}";

	return {
		python => [ '/usr/bin/python3', 'test/clients/worker.py', $conninfo, 'hello', '4' ],
		node => [ 'node', 'test/clients/worker.mjs', $url, 'hello', '1000' ],
		c => [ "$folder/worker", $conninfo, 'hello' ],
		psql => [ 'sh', 'test/clients/worker.sh', $conninfo, 'hello' ] }->{$language};
}

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub enqueue
{
	my ($n, $args) = @_;

	return sql("SELECT min(id) FROM unrdf.enqueue_many('hello', array_fill('$args'::jsonb, ARRAY[$n]), queue => 'hello') AS id");
}

# Runs a worker until all jobs have ended, then stops it, and returns how that went.
sub work
{
	my ($language, %at) = @_;
	my ($out, $err) = ('', '');
	my $run = start(command($language, %at), '>', \$out, '2>', \$err);

	eval { drain($node, 'postgres'); 1 } or diag("$language: $out$err");
	$run->signal('TERM');
	finish($run);
	return $run->full_result(0) . ($err =~ s/as asked\n//gr);
}

sub outcomes
{
	my ($from) = @_;

	return sql("SELECT string_agg(concat_ws(' ', n, outcome, attempt, by), ', ' ORDER BY outcome) FROM
		(SELECT count(*) AS n, outcome, attempt, result ->> 'by' AS by FROM unrdf.receipt WHERE id >= $from AND kind = 1 GROUP BY 2, 3, 4) AS x");
}

for my $where ('directly', 'behind PgBouncer')
{
	my %at = $where eq 'directly' ? %direct : %pooler;

	for my $language ('python', 'node', 'c', 'psql')
	{
		# a pooled connection is another at every statement: it can be no lease
		next if $language eq 'psql' && $where ne 'directly';
		my $first = enqueue(25, '{"name": "x"}');
		enqueue(2, '{"fail": true}');
		is(work($language, %at), '0', "$language ends cleanly, $where");
		is(outcomes($first), $language eq 'c' ? '25 1 1, 2 2 2' : "25 1 1 $language, 2 2 2", "$language: all ran, and what failed is dead, $where");
	}
}

# Stopped in the middle: what was not begun goes back, and does not count
my $first = enqueue(100, '{"sleep": 0.3}');
my $err = '';
my $run = start(command('python', %direct), '2>', \$err);
wait_for($node, 'postgres', "SELECT count(*) > 4 FROM unrdf.receipt WHERE id >= $first AND kind = 1");
$run->signal('TERM');
finish($run);
is($run->full_result(0), 0, 'stopped in the middle');
is(sql("SELECT count(*) FROM unrdf.workers() WHERE kind = 'outside'"), '0', 'nothing stays in its hands');
is(sql("SELECT count(*) FROM unrdf.attempt WHERE job >= $first"), '0', 'and nothing failed');

# Killed: its connection was the lease, or its deadline passes
drain_with_node();
$first = enqueue(100, '{"sleep": 2}');
$run = start(command('psql', %direct), '2>', \$err);
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM unrdf.workers() WHERE kind = 'outside' AND pid IS NOT NULL");
$run->signal('KILL');
finish($run);
my @killed = map { start(command($_, %direct), '2>', \$err) } ('node', 'python');
wait_for($node, 'postgres', "SELECT count(*) > 50 FROM unrdf.workers() WHERE kind = 'outside' AND pid IS NULL");
$_->signal('KILL') for @killed;
finish($_) for @killed;
sql("SELECT unrdf.register_outside_handler('hello', max_attempts => 5, backoff => '0', backoff_cap => '0')");
drain_with_node();
is(sql("SELECT count(*) FROM unrdf.receipt WHERE id >= $first AND kind = 1 AND outcome = 1"), '100', 'and completes all that those who were killed had');

# A thousand at once
$first = enqueue(2000, '{"sleep": 2}');
$run = start(command('node', %direct), '2>', \$err);
wait_for($node, 'postgres', "SELECT count(*) = 1000 FROM unrdf.workers() WHERE kind = 'outside'");
pass('a thousand jobs at once in one Node worker');
drain($node, 'postgres');
$run->signal('TERM');
finish($run);
is(outcomes($first), '2000 1 1 node', 'each ran once');

# A standby is promoted: what had no receipt is there again, old tokens are refused
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$first = enqueue(3, '{}');
my ($done, $open) = split /\n/, sql("SELECT token FROM unrdf.claim(ARRAY['hello'], 2, lease => '1 hour', wait => '1 minute')");
sql("SELECT unrdf.complete($done\::bigint)");
$node->wait_for_catchup($standby);
sql_fails($standby, 'postgres', "SELECT unrdf.claim(ARRAY['hello'])", '25006', qr/read-only/, 'a standby grants nothing');
sql_fails($standby, 'postgres', "SELECT unrdf.heartbeat(ARRAY[$open])", '25006', qr/read-only/, 'and knows of no lease');
$node->stop('immediate');
$standby->promote;
wait_for_workers($standby, 'postgres');
sql_fails($standby, 'postgres', "SELECT unrdf.complete($open\::bigint)", '55000', qr/has passed on/, 'an old token is refused after a promotion');
my @tokens;
push @tokens, split /\n/, $standby->safe_psql('postgres', "SELECT token FROM unrdf.claim(ARRAY['hello'], 10, wait => '1 minute')") while @tokens < 2;
is(scalar @tokens, 2, 'what had no receipt is there');
sql_fails($standby, 'postgres', "SELECT unrdf.complete($open\::bigint)", '55000', qr/has passed on/, 'an old token is refused when its slot is in use');
is($standby->safe_psql('postgres', 'SELECT unrdf.complete(ARRAY[' . join(',', @tokens) . ']::bigint[])'), '{}', 'completed');
drain($standby, 'postgres');
assert_ledger($standby, 'postgres', 'after all');

$standby->stop;
done_testing();

# Has a Node worker do what there is.
sub drain_with_node
{
	is(work('node', %direct), '0', 'another one goes on');
	return;
}

# Starts a PgBouncer in transaction mode before the node; returns where it is.
sub pgbouncer
{
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $host = $node->host;

	append_to_file("$folder/pgbouncer.ini", qq(
[databases]
postgres = host=$host port=${\$node->port}
[pgbouncer]
pool_mode = transaction
unix_socket_dir = $host
listen_port = $port
auth_type = trust
auth_file = $folder/users
pidfile = $folder/pid
logfile = $folder/pgbouncer.log
default_pool_size = 5
));
	append_to_file("$folder/users", qq("worker" ""\n));
	is(system('/usr/sbin/pgbouncer', '-q', '-d', "$folder/pgbouncer.ini"), 0, 'PgBouncer runs');
	return (host => $host, port => $port);
}

END
{
	kill('INT', slurp_file("$folder/pid")) if $folder && -e "$folder/pid";
}
