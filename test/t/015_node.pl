# What other people's code says of what a database exports: test/node/check.mjs, which has none of ours, reads receipts,
# checkpoints, proofs and tiles. Then the other way round: what it tampered with is refused here, what its packages proved is
# accepted.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = "$PostgreSQL::Test::Utils::tmp_check/exported";
my $node = new_node('node', conf => "unrdf.checkpoint_interval = '1 h'\n");

-d 'test/node/node_modules' or die 'run test/setup tests';
mkdir $dir or die "$dir: $!";
mkdir "$dir/site";
$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

sub query
{
	return $node->safe_psql('postgres', $_[0]);
}

sub put
{
	my ($name, $bytes) = @_;

	append_to_file("$dir/$name", $bytes);
	return;
}

# Receipts of every kind of subject, payload and size of tree, and checkpoints on the way.
sub grow
{
	my ($n, $subject) = @_;
	my $before = query('SELECT count(*) FROM unrdf.receipt');

	query(qq(SELECT count(unrdf.record('create', E'$subject/' || i, jsonb_build_object('n', i * 0.1, 'text', E'z\\u00fc"\\\\\\n' || i))) FROM generate_series(1, $n) AS i));
	wait_for($node, 'postgres', "SELECT size >= $before + $n FROM unrdf.log_size()");
	query("SELECT unrdf.publish_checkpoint('60 s')");
	return query('SELECT unrdf.checkpoint()') . "\n";
}

my $first = grow(77, '\u00fcnl\u00edke/"a"');
my $last = grow(223, 'order');
my $size = query('SELECT published_size FROM unrdf.log_status');
is($size, '300', 'a log of 300 leaves');
put('old', $first);
put('new', $last);
put('key', query('SELECT key FROM unrdf.log_keys'));
put('receipts', query('SELECT unrdf.export_receipt(id) FROM unrdf.receipt') . "\n");
put('consistency.json', query(qq(
	SELECT jsonb_agg(jsonb_build_object('old', old_tree_size, 'size', tree_size, 'oldRoot', encode(old_root, 'hex'), 'root', encode(root, 'hex'),
		'proof', (SELECT coalesce(jsonb_agg(encode(h, 'hex') ORDER BY i), '[]') FROM unnest(proof) WITH ORDINALITY AS t (h, i))))
	FROM generate_series(1, $size - 1) AS n, unrdf.consistency_proof(1, n, $size) AS p)));
put('values.json', query(q(
	SELECT setseed(0.5);
	SELECT jsonb_agg(jsonb_build_array(v::text, unrdf.canonical_json(v))) FROM (
		SELECT to_jsonb((random() - 0.5) * 10.0 ^ (i % 44 - 30)) AS v FROM generate_series(1, 3000) AS i
		UNION ALL SELECT jsonb_build_object(chr(i), i, chr(i + 1) || chr(65536 + i), chr(i), 'x', jsonb_build_array(chr(i), NULL, true, i))
			FROM generate_series(1, 55000, 7) AS i WHERE i NOT IN (55295, 55296)
		UNION ALL SELECT jsonb_object_agg(chr(i), i) FROM unnest(ARRAY[13, 49, 128, 246, 8364, 128512, 64307]) AS i) AS s)) =~ s/^\n//r);
query("SELECT unrdf.export_tiles('$dir/site')");

my ($out, $err);
my $good = IPC::Run::run([ 'node', 'test/node/check.mjs', $dir ], '>', \$out, '2>', \$err);
ok($good && $err eq '', 'node') or diag($err);
my $tests = 0;
for my $line (split /\n/, $out)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/)
	{
		ok(!defined $1, "other people's code: $2");
		$tests++;
	}
	is($tests, $1, 'all of its checks were made') if $line =~ /^1\.\.(\d+)$/;
}
like($out, qr/^1\.\.\d+\n\z/m, 'to the end');

# The other way round
my $changed = 0;
my $key = query('SELECT key FROM unrdf.log_keys');
my @files = glob "$dir/tampered/*";
IPC::Run::run([ 'unrdf-verify', '--key', $key, @files ], '>', \$out, '2>', \$err);
is($? >> 8, 1, 'unrdf-verify refuses what was tampered with');
is(scalar(() = $out =~ /^\Q$dir\E\S+: NOT VERIFIED: /mg), scalar @files, 'every one of them');
is(scalar @files, 400, 'which are many');
query(qq(
	CREATE TABLE inclusion (index bigint, size bigint, entry bytea, root bytea, proof bytea[]);
	CREATE TABLE consistency (old bigint, size bigint, old_root bytea, root bytea, proof bytea[]);
	COPY inclusion FROM '$dir/inclusion.tsv';
	COPY consistency FROM '$dir/consistency.tsv'));
is( query(q(
		SELECT count(*), count(*) FILTER (WHERE unrdf.verify_inclusion(unrdf.leaf_hash(entry), index, size, proof, root)),
			count(*) FILTER (WHERE unrdf.verify_inclusion(unrdf.leaf_hash(entry || '\x00'), index, size, proof, root)) FROM inclusion)),
	'528|528|0', 'inclusion proofs that a package made are accepted, for these leaves only');
is( query(q(
		SELECT count(*), count(*) FILTER (WHERE unrdf.verify_consistency(old, old_root, size, root, proof)),
			count(*) FILTER (WHERE unrdf.verify_consistency(old, sha256(old_root), size, root, proof)) FROM consistency)),
	'528|528|0', 'consistency proofs likewise');
is(query(q(SELECT encode(root, 'hex') FROM consistency WHERE old = 8 AND size = 8)), '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
	'of the reference tree of RFC 6962');

$node->stop;

done_testing();
