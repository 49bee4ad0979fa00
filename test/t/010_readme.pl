# Copyright (c) 2026, the unrdf authors

# Runs every SQL example of README.md in one session and compares what psql prints with what the README says; then the shell's
# examples that are marked to be run.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'unrdf'\nmax_worker_processes = 32\nunrdf.test_kit = on\n");
$node->start;
$node->safe_psql('postgres', 'ALTER ROLE ' . ($ENV{PGUSER} // getpwuid($<)) . ' RENAME TO postgres')
  if ($ENV{PGUSER} // getpwuid($<)) ne 'postgres';
$node->safe_psql('postgres', 'CREATE EXTENSION unrdf CASCADE');

my ($script, $expected, $examples) = ("\\pset pager off\n", '', 0);
while ($readme =~ /(<!-- test: skip -->\n)?```sql\n(.*?)```\n(?:```text\n(.*?)```\n)?/gs)
{
	my ($skip, $sql, $output) = ($1, $2, $3);
	next if $skip;
	$examples++;
	$script .= "\\echo == example $examples\n$sql";
	$expected .= "== example $examples\n" . ($output // '');
}
cmp_ok($examples, '>=', 8, 'the README has examples');

my ($out, $err) = ('', '');
my @psql = ('psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', '-');
my $ok = IPC::Run::run(\@psql, '<', \$script, '>', \$out, '2>', \$err);
ok($ok, 'the examples run') or diag($err);
is($out, $expected, 'and print what the README says');

my $shell = 0;
while ($readme =~ /<!-- test: run -->\n```sh\n(.*?)```\n```text\n(.*?)```\n/gs)
{
	my ($commands, $output) = ($1, $2);
	my $printed;

	IPC::Run::run([ 'sh', '-c', $commands ], '>&', \$printed);
	is($printed, $output, 'commands ' . ++$shell . ' print what the README says');
}
cmp_ok($shell, '>', 0, 'the README has commands');

$node->stop;
done_testing();
