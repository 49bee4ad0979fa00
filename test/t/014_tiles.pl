# The log as static files: what is written is computed again from the entries with another SHA-256, and what unrdf-verify makes
# of it for two checkpoints. An export that broke off goes on; what is full is not written again.
use strict;
use warnings;

use Digest::SHA qw(sha256);
use File::Path qw(remove_tree);
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $site = "$dir/site";
my $node = new_node('node', conf => "unrdf.checkpoint_interval = '1 h'\n");

$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE FUNCTION nothing(args jsonb) RETURNS void LANGUAGE sql AS '';
	SELECT unrdf.register_handler('nothing', 'nothing(jsonb)')));
wait_for_workers($node, 'postgres');
mkdir $site;

# n jobs more, and a checkpoint that has them. Returns the checkpoint.
sub grow
{
	my ($n) = @_;

	$node->safe_psql('postgres', "SELECT count(*) FROM unrdf.enqueue_many('nothing', array_fill('{}'::jsonb, ARRAY[$n]))");
	drain($node, 'postgres');
	$node->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('60 s')");
	return $node->safe_psql('postgres', 'SELECT unrdf.checkpoint()') =~ s/\n*$/\n/r;
}

sub export
{
	return $node->safe_psql('postgres', "SELECT unrdf.export_tiles('$site')");
}

# The path of a tile, as the specification has it.
sub path
{
	my ($level, $n, $width) = @_;
	my $number = sprintf '%03d', $n % 1000;

	$number = sprintf('x%03d/%s', $n % 1000, $number) while ($n = int($n / 1000)) > 0;
	return "$site/tile/$level/$number" . ($width == 256 ? '' : ".p/$width");
}

# The entries of a log of some size.
sub entries
{
	my ($size) = @_;
	my @entries;

	for (my $n = 0; $n * 256 < $size; $n++)
	{
		my $width = $size - $n * 256 < 256 ? $size - $n * 256 : 256;
		my @bundle = unpack '(n/a*)*', slurp_file(path('entries', $n, $width));

		die "bundle $n has " . @bundle . ' entries' if @bundle != $width;
		push @entries, @bundle;
	}
	return @entries;
}

# The hashes of each level of the tree over leaf hashes, of perfect subtrees only; and its root.
sub tree
{
	my @levels = ([@_]);
	my $root;

	while (@{ $levels[-1] } > 1)
	{
		my $below = $levels[-1];
		push @levels, [ map { sha256("\x01" . $below->[ 2 * $_ ] . $below->[ 2 * $_ + 1 ]) } 0 .. int(@$below / 2) - 1 ];
	}
	for my $level (@levels)
	{
		next if @$level % 2 == 0;
		$root = defined $root ? sha256("\x01" . $level->[-1] . $root) : $level->[-1];
	}
	return ($root, \@levels);
}

# Computes everything anew from the entries and compares it with the tiles and with a checkpoint.
sub assert_site
{
	my ($checkpoint, $what) = @_;
	my (undef, $size, $root) = split /\n/, $checkpoint;
	my @entries = entries($size);
	my ($computed, $levels) = tree(map { sha256("\x00$_") } @entries);
	my $bad = 0;

	is(encode_base64($computed, ''), $root, "$what: the entries have the checkpoint's root");
	for (my $q = 0; 8 * $q < @$levels; $q++)
	{
		my @hashes = @{ $levels->[ 8 * $q ] };

		for (my $n = 0; @hashes; $n++)
		{
			my @tile = splice @hashes, 0, 256;
			$bad++ if slurp_file(path($q, $n, scalar @tile)) ne join '', @tile;
		}
	}
	is($bad, 0, "$what: the tiles have the tree's hashes");
	is(slurp_file("$site/checkpoint"), $checkpoint, "$what: the checkpoint is there");
	is($entries[0], $node->safe_psql('postgres', "SELECT unrdf.canonical_receipt(id) FROM unrdf.receipt WHERE unrdf.leaf_index(id) = 0 AND id < 1000"),
		"$what: an entry is a receipt");
	return;
}

sub consistent
{
	my ($old, $new, $site) = @_;
	my ($stdout, $stderr);

	for my $case ([ 'old', $old ], [ 'new', $new ])
	{
		unlink "$dir/$case->[0]";
		append_to_file("$dir/$case->[0]", $case->[1]);
	}
	IPC::Run::run([ 'unrdf-verify', '--key', $node->safe_psql('postgres', 'SELECT key FROM unrdf.log_keys'), '--tiles', $site, "$dir/old", "$dir/new" ],
		'>', \$stdout, '2>', \$stderr);
	return ($? >> 8) . ': ' . ($stdout =~ s/^.*NOT VERIFIED: //r =~ s/\n$//r);
}

sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('$site');", '55000', qr/no checkpoint was published/, 'nothing to export');
my $small = grow(1);
is(export(), '3', 'one entry, one hash, one checkpoint');
assert_site($small, 'one leaf');
my $some = grow(599);

# The second bundle finds the disk full.
my $full = path('entries', 1, 256) . '.new';
symlink('/dev/full', $full) or die "$full: $!";
sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('$site');", '53100', qr/could not write file "\Q$full\E": No space left on device/, 'a full disk');
ok(-f path('entries', 0, 256) && !-e path('entries', 1, 256), 'what was written before is there, the rest is not');
assert_site($small, 'on a full disk, what was there before');
unlink $full;
is(export(), 2 + 3 + 1 + 1, 'with room again: two bundles more, three tiles, one above, and a checkpoint');
assert_site($some, '600 leaves');
is(consistent($small, $some, $site), '0: consistent: 1 leaves are a prefix of 600', 'a checkpoint is a prefix of the next');
is(export(), '1', 'exported again: only the checkpoint is written');
unlink path(0, 1, 256);
truncate path('entries', 0, 256), 0;
is(export(), '3', 'what is missing or empty is written again');
assert_site($some, 'an export that broke off');
my $many = grow(256_100);
export();
assert_site($many, '256,700 leaves');
is(consistent($_, $many, $site), '0: consistent: ' . (split /\n/)[1] . ' leaves are a prefix of 256700', 'which has all before as prefixes') for $small, $some, $many;

# What is not consistent
is(consistent($many, $some, $site), '1: the old checkpoint is the larger one', 'backwards');
is(consistent($some =~ s/^600$/601/mr, $many, $site), "1: a signature of the log's does not verify", 'another size');
is(consistent($some, $many, "$dir/none"), '1: a tile is missing or has another size', 'no tiles');
my $tile = path(0, 2, 256);
my $hashes = slurp_file($tile);
unlink $tile;
append_to_file($tile, substr($hashes, 32) . substr($hashes, 0, 32));
is(consistent($some, $many, $site), '1: the tiles do not show the old tree in the newer one', 'other tiles');
unlink $tile;
append_to_file($tile, substr($hashes, 32));
is(consistent($some, $many, $site), '1: a tile is missing or has another size', 'a tile that is cut off');
is(export(), '2', 'which is written again');
is(consistent($some, $many, $site), '0: consistent: 600 leaves are a prefix of 256700', 'and all is well');

# Refused
sql_fails($node, 'postgres', "SELECT unrdf.first_difference('site');", '42602', qr/is not an absolute path/, 'first_difference: a relative path');
sql_fails($node, 'postgres', "SELECT unrdf.first_difference('$dir');", '22023', qr/there is no checkpoint in/, 'first_difference: no checkpoint');
mkdir "$dir/bad";
append_to_file("$dir/bad/checkpoint", 'garbage');
sql_fails($node, 'postgres', "SELECT unrdf.first_difference('$dir/bad');", '22023', qr/is no checkpoint/, 'first_difference: what is none');
sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('$dir/bad');", '22023', qr/is no checkpoint/, 'nor is anything written beside it');
unlink "$dir/bad/checkpoint";
append_to_file("$dir/bad/checkpoint", $some);
sql_fails($node, 'postgres', "SELECT unrdf.first_difference('$dir/bad');", '22023', qr/a tile is missing/, 'first_difference: no tiles');
sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('site');", '42602', qr/is not an absolute path/, 'a relative path');
sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('$dir/none');", '58P01', qr/could not create directory/, 'a directory that is not there');
append_to_file("$dir/file", 'x');
sql_fails($node, 'postgres', "SELECT unrdf.export_tiles('$dir/file');", '42809', qr/could not create directory|Not a directory/, 'what is no directory');
$node->safe_psql('postgres', 'CREATE ROLE app; GRANT USAGE ON SCHEMA unrdf TO app; GRANT EXECUTE ON FUNCTION unrdf.export_tiles(text) TO app');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION unrdf.first_difference(text) TO app');
sql_fails($node, 'postgres', "SET ROLE app;\nSELECT unrdf.first_difference('$site');", '42501', qr/permission denied to read files of the server/, 'a role that may read no files');
sql_fails($node, 'postgres', "SET ROLE app;\nSELECT unrdf.export_tiles('$site');", '42501', qr/permission denied to write files of the server/, 'a role that may write no files');
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO app');
is($node->safe_psql('postgres', "SET ROLE app;\nSELECT unrdf.export_tiles('$site')"), '1', 'one that may');
remove_tree($site);
$node->stop;

done_testing();
