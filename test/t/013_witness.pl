# Two clusters that cosign each other's checkpoints: every answer of the witness protocol; what a caller could do to have
# something signed that is not stored; two requests at once; a cluster that was restored from an old backup and goes on
# otherwise, which nobody finds who has not seen more than it shows.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my ($log, $witness) = map { new_node($_, conf => "unrdf.checkpoint_interval = '1 h'\n", init => { allows_streaming => 1 }) } qw(log witness);

for my $node ($log, $witness)
{
	$node->start;
	install($node, 'postgres');
	wait_for_workers($node, 'postgres');
}

# n receipts more on a node, and a checkpoint that has them. Returns its size.
sub grow
{
	my ($node, $n) = @_;

	$node->safe_psql('postgres', "SELECT count(unrdf.record('create', 'subject ' || i)) FROM generate_series(1, $n) AS i");
	wait_for($node, 'postgres', 'SELECT (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)');
	return $node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()');
}

sub request
{
	my ($node, $old) = @_;

	return $node->safe_psql('postgres', "SELECT unrdf.witness_request($old)") =~ s/\n*$/\n/r;
}

# The answer of a node to a request: status, and body without its last newline.
sub ask
{
	my ($node, $request) = @_;

	return $node->safe_psql('postgres', "CALL unrdf.witness_add_checkpoint(\$request\$$request\$request\$)") =~ s/\n$//r;
}

sub key_of
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT key FROM unrdf.log_keys');
}

# Without a name or a key it is no witness
my $size = grow($log, 5);
my $first = request($log, 0);
sql_fails($witness, 'postgres', 'SELECT unrdf.add_witness_key();', '55000', qr/this server is no witness.*HINT:  Set unrdf\.witness_name/s, 'no name');
sql_fails($witness, 'postgres', "CALL unrdf.witness_add_checkpoint('');", '55000', qr/this server is no witness/, 'nor any answer');
for my $node ($log, $witness)
{
	$node->append_conf('postgresql.conf', "unrdf.witness_name = '" . $node->name . ".example/witness'");
	$node->reload;
}
sql_fails($witness, 'postgres', "CALL unrdf.witness_add_checkpoint('');", '55000', qr/has no key.*HINT:  Run unrdf\.add_witness_key/s, 'no key');
my $cosigner = $witness->safe_psql('postgres', 'SELECT unrdf.add_witness_key()');
like($cosigner, qr{^witness\.example/witness\+[0-9a-f]{8}\+B[A-P]}, 'a key that cosigns');

# Every answer
like(ask($witness, $first), qr/^404\|unknown log$/, 'a log that is not known');
sql_fails($witness, 'postgres', "SELECT unrdf.watch_log('$cosigner');", '22023', qr/not a log's verifier key/, "a witness's key is no log's");
sql_fails($log, 'postgres', "SELECT unrdf.trust_witness('" . key_of($log) . "');", '22023', qr/not a witness's verifier key/, "nor the other way round");
$witness->safe_psql('postgres', "SELECT unrdf.watch_log('" . key_of($log) . "')");
$log->safe_psql('postgres', "SELECT unrdf.trust_witness('$cosigner')");
is(ask($witness, $_), '400|malformed request', 'malformed')
  for '', 'old', "old 0\n", "old 0\n\n", "old 01\n\n" . ($first =~ s/^.*?\n\n//sr), $first =~ s/\n\n/\n/r, $first =~ s/^5$/05/mr, $first =~ s/\n$//r;
is(ask($witness, $first =~ s/^5$/6/mr), '403|not signed by a key that is known for this log', 'another size than was signed');
is(ask($witness, $first =~ s/^(\x{2014}|\xe2\x80\x94) (\S+) \S{8}/$1 $2 AAAAAAAA/mr), '403|not signed by a key that is known for this log', 'signed by an unknown key');
is(ask($witness, $first =~ s/^old 0$/old 6/mr), "400|old size is larger than the checkpoint's", 'an old size that is too large');
is(ask($witness, $first =~ s/^old 0$/old 3/mr), '409|0', 'an old size that was not cosigned');
is(ask($witness, $first =~ s/^old 0\n/old 0\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n/r), '422|the consistency proof does not verify', 'a proof where there can be none');
is($witness->safe_psql('postgres', 'SELECT count(*) FROM unrdf.witnessed'), '0', 'none of these was stored');
my $answer = ask($witness, $first);
like($answer, qr{^200\|\S+ witness\.example/witness \S{104}$}, 'cosigned');

# A cosignature is part of the checkpoint
my ($line) = $answer =~ /^200\|(.*)/s;
is($log->safe_psql('postgres', "SELECT unrdf.add_cosignatures(E'$line\\n'), unrdf.add_cosignatures(E'$line\\n')"), '1|0', 'kept once');
is($log->safe_psql('postgres', "SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$cosigner'), unrdf.verify_checkpoint(unrdf.checkpoint(), key) FROM unrdf.log_keys"),
	't|t', 'beside the signature');
sql_fails($log, 'postgres', "SELECT unrdf.add_cosignatures(E'" . ($line =~ s/.{4}$/AAAA/r) . "\\n');", '22023', qr/a cosignature of witness "witness\.example\/witness" does not verify/,
	'one that does not verify');
sql_fails($log, 'postgres', "SELECT unrdf.add_cosignatures('garbage');", '22023', qr/not a note's signature lines/, 'what is none');
sql_fails($log, 'postgres', "SELECT unrdf.add_cosignatures(E'$line\\n', 77);", '22023', qr/there is no such checkpoint/, 'of a checkpoint that there is not');
append_to_file("$dir/policy", 'log ' . key_of($log) . "\nwitness w $cosigner\nquorum w\n");
append_to_file("$dir/receipt", $log->safe_psql('postgres', 'SELECT unrdf.export_receipt(min(id)) FROM unrdf.receipt'));
command_like([ 'unrdf-verify', '--policy', "$dir/policy", "$dir/receipt" ], qr/verified: leaf 0 of 5 .*, 1 witnesses/, 'and of what is exported');

# It grows
my $larger = grow($log, 300);
is(ask($witness, request($log, 0)), "409|$size", 'a witness says what it cosigned last');
append_to_file("$dir/unwitnessed", $log->safe_psql('postgres', 'SELECT unrdf.export_receipt(min(id)) FROM unrdf.receipt'));
command_checks_all([ 'unrdf-verify', '--policy', "$dir/policy", "$dir/unwitnessed" ], 1, [qr/NOT VERIFIED: too few witnesses have signed/], [qr/^$/], 'a quorum has to be met');
my $growth = request($log, $size);
is(ask($witness, $growth =~ s/^(\S{43}=)\n(\S{43}=)$/$2\n$1/mr), '422|the consistency proof does not verify', 'another proof');
like(ask($witness, $growth), qr/^200\|/, 'a larger tree');
is(ask($witness, $growth), "409|$larger", 'not twice');
like(ask($witness, request($log, $larger)), qr/^200\|/, 'but the same tree as often as one likes');
is(ask($witness, $first), "409|$larger", 'not the smaller one any more');

# What would have something signed that is not stored
my $next = grow($log, 1);
my $step = request($log, $larger);
sql_fails($witness, 'postgres', "BEGIN;\nCALL unrdf.witness_add_checkpoint(\$request\$$step\$request\$);", '2D000', qr/invalid transaction termination/, 'not in a transaction block');
sql_fails($witness, 'postgres', "BEGIN;\nSELECT status AS s, origin AS o, size AS n FROM unrdf.witness_check(\$request\$$step\$request\$) \\gset\nSELECT unrdf.witness_cosign(:'o', :n);",
	'25001', qr/cosigned after the transaction that stored it/, 'nor by halves in one transaction');
sql_fails($witness, 'postgres', "BEGIN;\nSAVEPOINT s;\nSELECT status AS s, origin AS o, size AS n FROM unrdf.witness_check(\$request\$$step\$request\$) \\gset\nRELEASE s;\nSELECT unrdf.witness_cosign(:'o', :n);",
	'25001', qr/cosigned after the transaction that stored it/, 'nor with a savepoint');
is($witness->safe_psql('postgres', 'SELECT max(size) FROM unrdf.witnessed'), $larger, 'nothing was stored');

# Two at once: the second sees what the first has stored
my $one = $witness->background_psql('postgres');
my $other = $witness->background_psql('postgres');
$one->query_safe("BEGIN; SELECT status FROM unrdf.witness_check(\$request\$$step\$request\$)");
$other->query_until(qr/asked/, "\\echo asked\nCALL unrdf.witness_add_checkpoint(\$request\$$step\$request\$);\n");
wait_for($witness, 'postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
$one->query_safe('COMMIT');
is($other->query_safe('SELECT 1') =~ s/\n.*//sr, "409|$next", 'the second is told what the first stored');
$_->quit for $one, $other;

# The first died before it signed: asked for the same tree, the witness signs
like(ask($witness, request($log, $next)), qr/^200\|/, 'what was stored and not signed is signed when asked again');

# An old backup that goes on otherwise, with the same key
$log->backup('old');
my $newest = grow($log, 20);
like(ask($witness, request($log, $next)), qr/^200\|/, 'the log goes on');
my $fork = PostgreSQL::Test::Cluster->new('fork');
$fork->init_from_backup($log, 'old');
chmod 0600, $fork->data_dir . '/unrdf_log.keys'; # which the test's way of copying opens to others
$fork->start;
wait_for_workers($fork, 'postgres');
my $short = grow($fork, 1);
is($fork->safe_psql('postgres', 'SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), key) FROM unrdf.log_keys'), 't', 'a restored backup signs under the same origin');
is(ask($witness, request($fork, $next)), "409|$newest", 'the witness finds that it is behind');
my $long = grow($fork, 50);
cmp_ok($long, '>', $newest, 'it grows beyond');
is(ask($witness, request($fork, $newest)), '422|the consistency proof does not verify', 'the witness finds that it is another');
is($fork->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'which nothing inside it shows');
$fork->stop;

# The other way round as well
grow($witness, 3);
my $mutual = $log->safe_psql('postgres', 'SELECT unrdf.add_witness_key()');
$log->safe_psql('postgres', "SELECT unrdf.watch_log('" . key_of($witness) . "')");
$witness->safe_psql('postgres', "SELECT unrdf.trust_witness('$mutual')");
($line) = ask($log, request($witness, 0)) =~ /^200\|(.*)/s or die 'not cosigned';
is($witness->safe_psql('postgres', "SELECT unrdf.add_cosignatures(E'$line\\n')"), '1', 'the log is a witness of its witness');

# Who may
$witness->safe_psql('postgres', "CREATE ROLE relay; SELECT unrdf.grant_access('relay', 'witness'); CREATE ROLE nobody");
like($witness->safe_psql('postgres', "SET ROLE relay;\nCALL unrdf.witness_add_checkpoint(\$request\$" . request($log, $newest) . "\$request\$)"), qr/^200\|/, 'a relay may ask');
sql_fails($witness, 'postgres', "SET ROLE nobody;\nCALL unrdf.witness_add_checkpoint('');", '42501', qr/permission denied/, 'nobody else');
my $keys = $witness->data_dir . '/unrdf_log.keys';
chmod 0644, $keys;
sql_fails($witness, 'postgres', "CALL unrdf.witness_add_checkpoint('');", '55000', qr/it has permissions 0644/, 'a key file that is open to others is not used');

$_->stop for $log, $witness;

done_testing();
