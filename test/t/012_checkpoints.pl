# Checkpoints: the key file and what makes it unusable, keys that come and go, what is refused and when it is again not, what
# a stranger can check with unrdf-verify and with OpenSSL alone, and what synchronous standbys have to have first.
use strict;
use warnings;

use IPC::Run;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('signer', conf => "unrdf.checkpoint_interval = '1 h'\n", init => { allows_streaming => 1 });
my $keys = $node->data_dir . '/unrdf_log.keys';

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');

# One receipt more, and a checkpoint that has it.
sub publish
{
	my ($subject) = @_;
	my $id = $node->safe_psql('postgres', "SELECT unrdf.record('create', '$subject')");

	wait_for($node, 'postgres', "SELECT unrdf.leaf_index($id) IS NOT NULL");
	is($node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint() > unrdf.leaf_index(' . $id . ')'), 't', "$subject: published");
	return $id;
}

# One receipt more, of which no checkpoint is published, for a reason.
sub refused
{
	my ($reason, $what) = @_;
	my $position = log_position($node);
	my $id = $node->safe_psql('postgres', "SELECT unrdf.record('create', 'refused')");

	wait_for($node, 'postgres', "SELECT unrdf.leaf_index($id) IS NOT NULL");
	sql_fails($node, 'postgres', 'SELECT unrdf.publish_checkpoint();', '55000', qr/no checkpoints are published: $reason/, "$what: refused");
	is($node->safe_psql('postgres', 'SELECT publishing FROM unrdf.log_status'), 'refused', "$what: log_status");
	like($node->safe_psql('postgres', 'SELECT reason FROM unrdf.log_status'), qr/^$reason/, "$what: and says why");
	like(log_since($node, $position), qr/WARNING: .*no checkpoints are published: $reason/, "$what: so does the server's log");
	is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$what: jobs go on");
	return $id;
}

sub published_again
{
	my ($what) = @_;

	publish("after: $what");
	is($node->safe_psql('postgres', 'SELECT publishing, reason IS NULL FROM unrdf.log_status'), 'signed|t', "$what: mended");
	return;
}

sub evidence
{
	my ($id) = @_;

	return $node->safe_psql('postgres', "SELECT * FROM unrdf.verify($id)");
}

sub verifies
{
	my ($key, $size) = @_;

	return $node->safe_psql('postgres', "SELECT unrdf.verify_checkpoint(unrdf.checkpoint($size), '$key')");
}

# The first key is drawn when there is something to sign.
is($node->safe_psql('postgres', 'SELECT unrdf.checkpoint() IS NULL, unrdf.publish_checkpoint() IS NULL'), 't|t', 'an empty log has no checkpoint');
ok(!-e $keys, 'nor a key');
my $first = publish('first');
is(sprintf('%04o', (stat $keys)[2] & 07777), '0600', 'the key file is for nobody else');
my $origin = $node->safe_psql('postgres', 'SELECT origin FROM unrdf.log_status');
my $key = $node->safe_psql('postgres', 'SELECT key FROM unrdf.log_keys');
like($key, qr/^\Q$origin\E\+[0-9a-f]{8}\+[A-Za-z0-9+\/]{44}$/, 'its public half, under the name of the log');
like(slurp_file($node->logfile), qr/LOG: .*generated a key for log "\Q$origin\E"[^\n]*\n.*DETAIL:  Its public half is \Q$key\E\./, 'the server says so');
my ($secret) = slurp_file($keys) =~ /^PRIVATE\+KEY\+\Q$origin\E\+[0-9a-f]{8}\+(\S+)$/m or die 'the key file has no key';
is(verifies($key, 'NULL'), 't', 'the checkpoint is signed by it');
like($node->safe_psql('postgres', 'SELECT unrdf.checkpoint()'), qr/^\Q$origin\E\n1\n[A-Za-z0-9+\/]{43}=\n\n\x{2014} \Q$origin\E \S{92}$|^\Q$origin\E\n1\n[A-Za-z0-9+\/]{43}=\n\n\xe2\x80\x94 \Q$origin\E \S{92}$/,
	'and is a note of origin, size and root');
is($node->safe_psql('postgres', 'SELECT publishing, size = published_size FROM unrdf.log_status'), 'signed|t', 'log_status');

# What stands behind a receipt
my $alone = $node->safe_psql('postgres', "SELECT unrdf.record('create', 'alone')");
wait_for($node, 'postgres', "SELECT unrdf.leaf_index($alone) IS NOT NULL");
is(evidence($alone), 'ok||self-checked||0|0', 'no checkpoint has it');
publish('two');
is(evidence($alone), 'ok||published|3|0|0', 'one has');

# Many sizes, each consistent with the next
publish("size $_") for 4 .. 6;
$node->safe_psql('postgres', "SELECT count(unrdf.record('update', 'many')) FROM generate_series(1, 300)");
publish('after many');
is( $node->safe_psql('postgres', q(
		SELECT count(*), count(*) FILTER (WHERE unrdf.verify_consistency(p.old_tree_size, c.root, p.tree_size, h.root, p.proof)),
			count(*) FILTER (WHERE unrdf.verify_checkpoint(unrdf.checkpoint(c.size), k.key))
		FROM unrdf.checkpoint AS c, unrdf.log_keys AS k, unrdf.log_size() AS h, unrdf.consistency_proof(1, c.size, h.size) AS p)),
	'6|6|6', 'every checkpoint is kept, signed, and of a prefix of the log');

# What OpenSSL says, that knows nothing of notes
my ($body, $signature) = $node->safe_psql('postgres', 'SELECT unrdf.checkpoint()') =~ /^(.*\n)\n\S+ \S+ (\S+)$/s or die 'no checkpoint';
append_to_file("$dir/body", $body);
append_to_file("$dir/signature", substr(decode_base64($signature), 4));
append_to_file("$dir/key.pem", "-----BEGIN PUBLIC KEY-----\n"
	  . encode_base64(pack('H*', '302a300506032b6570032100') . substr(decode_base64((split /\+/, $key, 3)[2]), 1)) . "-----END PUBLIC KEY-----\n");
command_ok([ qw(openssl pkeyutl -verify -pubin -rawin -inkey), "$dir/key.pem", '-sigfile', "$dir/signature", '-in', "$dir/body" ], 'OpenSSL verifies the signature');

# What a stranger says who has the key and one file
my $export = $node->safe_psql('postgres', "SELECT unrdf.export_receipt($first)");
append_to_file("$dir/receipt", $export);
command_like([ 'unrdf-verify', '--key', $key, "$dir/receipt" ], qr/: verified: leaf 0 of 307 of log \Q$origin\E, 0 witnesses\n  \{"actor":.*"subject":"first"/, 'unrdf-verify');
command_like([ 'unrdf-verify', '--json', '--key', $key, "$dir/receipt" ],
	qr/^\{"file":".*","verified":true,"origin":"\Q$origin\E","index":0,"size":307,"witnesses":0,"receipt":"\{\\"actor\\":/, 'as JSON');
append_to_file("$dir/policy", "# the log\nlog $key\nquorum none\n");
command_ok([ 'unrdf-verify', '--policy', "$dir/policy", "$dir/receipt" ], 'by a policy');
append_to_file("$dir/all", $node->safe_psql('postgres', q(SELECT unrdf.export_receipt(id) FROM unrdf.receipt)) . "\n");
is(scalar(() = slurp_file("$dir/all") =~ /^c2sp\.org\/tlog-proof\@v1$/mg), 307, 'all receipts in one file');
my ($stdout, $stderr);
ok(IPC::Run::run([ 'unrdf-verify', '--json', '--key', $key ], '<', "$dir/all", '>', \$stdout, '2>', \$stderr), 'verify');
is(scalar(() = $stdout =~ /"verified":true/g), 307, 'each of them');

# The exit code, and the reason, of unrdf-verify for a text.
sub says
{
	my ($text, @options) = @_;
	my $file = "$dir/case";
	my ($out, $err);

	unlink $file;
	append_to_file($file, $text);
	@options = ('--key', $key) unless @options;
	IPC::Run::run([ 'unrdf-verify', @options, $file ], '>', \$out, '2>', \$err);
	return ($? >> 8) . ($out =~ /NOT VERIFIED: (.*)/ ? ": $1" : '');
}

my ($extra) = $export =~ /^extra (\S+)$/m;
my $other = $key =~ s/^[^+]+/example.com\/other/r;
is(says($export), '0', 'what was exported verifies');
is(says(''), '1: not an exported receipt', 'nothing');
is(says($export =~ s/^index 0$/index 1/mr), "1: the proof does not show this receipt in the checkpoint's tree", 'another index');
is(says($export =~ s/^extra \S+$/'extra ' . encode_base64(decode_base64($extra) =~ s{first}{fisrt}r, '')/emr),
	"1: the proof does not show this receipt in the checkpoint's tree", 'another receipt');
is(says($export =~ s/^extra \S+\n//mr), '1: the receipt is not in it', 'no receipt');
is(says($export =~ s/^307$/308/mr), "1: a signature of the log's does not verify", 'another size');
is(says($export =~ s/\n\n/\n/r), '1: not an exported receipt', 'no empty line');
is(says($export =~ s/^(\S+ \S+) \S{8}(\S{84})$/$1 AAAAAAAA$2/mr), '1: checkpoint is signed by no known log', 'another key id');
is(says(substr($export, 0, length($export) - 20)), '1: checkpoint is not a signed note', 'cut off');
is(says($export . "c2sp.org/tlog-proof\@v1\n"), '1: not an exported receipt', 'one good and one bad');
is(says($export, '--key', 'garbage'), '2', 'no key');
is(says($export, '--key', $other), '2', 'a key whose name was changed');
is(says($export, '--policy', "$dir/none"), '2', 'no policy');
is(says($export, '--policy', "$dir/receipt"), '2', 'what is no policy');
is(says($export, '--key', $key, "$dir/none"), '2', 'no file');
is(says($export, '--what'), '2', 'what is no option');
my $flips = 0;
for my $byte (0 .. length($export) - 1)
{
	next if substr($export, $byte, 1) eq "\n";
	my $bad = $export;
	substr($bad, $byte, 1) = chr(ord(substr($bad, $byte, 1)) ^ 1);
	my $said = says($bad);
	$flips++ if $said !~ /^1: /;
	diag("byte $byte flipped: $said") if $said !~ /^1: /;
}
is($flips, 0, 'every single byte matters');

# A second key signs beside the first, and then alone; what the first signed stays verified.
my $second = $node->safe_psql('postgres', 'SELECT unrdf.add_log_key()');
publish('two keys');
my $both = $node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
is(verifies($_, $both), 't', 'both keys sign') for $key, $second;
is(verifies($second, 1), 'f', 'the new key has not signed what was before it');
my $lines = slurp_file($keys);
unlink $keys;
append_to_file($keys, "# retired\n\n" . ($lines =~ s/^[^\n]*\n//r));
chmod 0600, $keys;
publish('second key');
is(verifies($second, 'NULL'), 't', 'the new key signs');
is(verifies($key, 'NULL'), 'f', 'the old one does not any more');
is(verifies($key, 1), 't', 'what the old one signed verifies');
is($node->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE position($$' . $secret . '$$ IN key) > 0) FROM unrdf.log_keys'), '2|0', 'log_keys has both public halves');
is(says($export), '0', 'and what was exported verifies');

# A key file that cannot be trusted is not used, and not replaced.
chmod 0640, $keys;
is($node->safe_psql('postgres', 'SELECT unrdf.export_receipt(' . refused(qr/key file "unrdf_log\.keys" is not used: it has permissions 0640/, 'open to others') . ') IS NULL'),
	't', 'what no checkpoint has is not exported');
chmod 0600, $keys;
published_again('permissions');
$lines = slurp_file($keys);
append_to_file($keys, "garbage\n");
refused(qr/key file "unrdf_log\.keys" is not used: line \d+ is no private key/, 'malformed');
unlink $keys;
refused(qr/key file "unrdf_log\.keys" has no key of log "\Q$origin\E", which was signed before/, 'gone');
ok(!-e $keys, 'and no other key is drawn');
mkdir $keys;
refused(qr/key file "unrdf_log\.keys" is not used: it is no regular file/, 'a folder');
rmdir $keys;
append_to_file($keys, $lines =~ s{\+([A-Za-z0-9/+]{44})$}{'+' . encode_base64(chr(4) . substr(decode_base64($1), 1), '')}emr);
chmod 0600, $keys;
refused(qr/key file "unrdf_log\.keys" is not used: line \d+ is no private key/, 'of another kind');
unlink $keys;
append_to_file($keys, $lines);
chmod 0600, $keys;
published_again('key file');

# No key at all: checkpoints for others to sign.
$node->append_conf('postgresql.conf', "unrdf.log_key_file = ''");
$node->reload;
publish('no key');
is($node->safe_psql('postgres', 'SELECT publishing FROM unrdf.log_status'), 'unsigned', 'without a key');
like($node->safe_psql('postgres', "SELECT unrdf.checkpoint() || '.'"), qr/^\Q$origin\E\n\d+\n\S{44}\n\n\.$/, 'a checkpoint has no signature');
sql_fails($node, 'postgres', 'SELECT unrdf.add_log_key();', '55000', qr/checkpoints are not to be signed/, 'nor is there a file to add one to');
$node->append_conf('postgresql.conf', "unrdf.log_key_file = 'unrdf_log.keys'");
$node->reload;
published_again('with a key');

# A log that is not what it was: found by the process that is there, and by the next one.
$node->safe_psql('postgres', 'CREATE TABLE kept AS SELECT * FROM unrdf.checkpoint ORDER BY size DESC LIMIT 1');
$node->safe_psql('postgres', "UPDATE unrdf.checkpoint AS c SET root = sha256('') FROM kept AS k WHERE c.size = k.size");
refused(qr/log does not have the root of its checkpoint of size \d+/, 'another root');
like(evidence($first), qr/^bad\|log does not have the root of its checkpoint of size \d+\|\|\|\|$/, 'which is said of every receipt that it has');
is($node->safe_psql('postgres', "SELECT source, their_size > 0, own_size >= their_size, their_head ~ '^$origin' FROM unrdf.divergence"), 'unrdf.checkpoint|t|t|t', 'the evidence is kept');
$node->safe_psql('postgres', 'UPDATE unrdf.checkpoint AS c SET root = k.root FROM kept AS k WHERE c.size = k.size');
published_again('root');
$node->safe_psql('postgres', 'DROP TABLE kept; CREATE TABLE kept AS SELECT * FROM unrdf.checkpoint ORDER BY size DESC LIMIT 1');
$node->safe_psql('postgres', "UPDATE unrdf.checkpoint SET signatures = replace(signatures, ' ' || origin || ' ', ' ' || origin || ' A') WHERE size = (SELECT max(size) FROM unrdf.checkpoint)");
like(evidence($first), qr/^bad\|checkpoint of size \d+ is not signed by the log's keys/, 'another signature');
publish('one more');
is($node->safe_psql('postgres', "SELECT verdict, evidence FROM unrdf.verify($first)"), 'ok|published', 'the next checkpoint is as good');
$node->safe_psql('postgres', 'UPDATE unrdf.checkpoint AS c SET signatures = k.signatures FROM kept AS k WHERE c.size = k.size');
$node->safe_psql('postgres', "INSERT INTO unrdf.checkpoint SELECT log, origin, size + 1000000, root, epoch, now(), signatures, replicated, stores, position FROM kept");
refused(qr/log has \d+ leaves, its last checkpoint \d+/, 'a log that became shorter');
sql_fails($node, 'postgres', "SELECT unrdf.export_receipt($first);", 'XX001', qr/log does not have the tree of its checkpoint/, 'nothing is exported from it');
$node->safe_psql('postgres', 'DELETE FROM unrdf.checkpoint WHERE size > 1000000');
published_again('length');
$node->safe_psql('postgres', "UPDATE unrdf.checkpoint SET root = sha256('') WHERE size = (SELECT max(size) FROM unrdf.checkpoint)");
signal_worker($node, 'postgres', 'publisher', 'TERM');
wait_for($node, 'postgres', "SELECT publishing = 'refused' AND reason LIKE 'log does not have the root of its checkpoint%' FROM unrdf.log_status");
pass('a new publisher looks at the last checkpoint at once');
$node->safe_psql('postgres', 'UPDATE unrdf.checkpoint AS c SET root = h.root FROM unrdf.log_size() AS h WHERE c.size = h.size');
published_again('newest root');

# A copy of the database does not publish under the name of the one it was copied from.
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", '-d', $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('copy'), "$dir/dump" ], 'pg_restore');
wait_for_workers($node, 'copy');
my $copied = $node->safe_psql('copy', "SELECT unrdf.record('create', 'in the copy')");
wait_for($node, 'copy', "SELECT unrdf.leaf_index($copied) IS NOT NULL");
sql_fails($node, 'copy', 'SELECT unrdf.publish_checkpoint();', '55000', qr/log "\Q$origin\E" is another database's/, 'a copy publishes nothing');
is($node->safe_psql('copy', "SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$second')"), 't', 'but has the checkpoints of before');
sql_fails($node, 'copy', "SELECT unrdf.new_origin('');", '22004', qr/a new origin needs a reason/, 'a new origin needs a reason');
my $new = $node->safe_psql('copy', "SELECT unrdf.new_origin('restored beside the original')");
isnt($new, $origin, 'there is another');
wait_for($node, 'copy', "SELECT origin = '$new' FROM unrdf.log_status");
is($node->safe_psql('copy', 'SELECT unrdf.publish_checkpoint() > 0'), 't', 'under which the copy publishes');
is($node->safe_psql('copy', 'SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), key) FROM unrdf.log_keys WHERE origin = ' . "'$new'"), 't', 'signed by a key of its own');
is($node->safe_psql('copy', "SELECT payload ->> 'old_origin', payload ->> 'reason' FROM unrdf.receipt WHERE operation = 'new_origin'"),
	"$origin|restored beside the original", 'and a receipt says why');
is($node->safe_psql('copy', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'everything verifies');
published_again('the original goes on');

# What a standby that would be promoted does not have is not published.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'standby'");
$node->reload;
wait_for($node, 'postgres', "SELECT sync_state = 'sync' FROM pg_stat_replication");
is(evidence(publish('with a standby')) =~ s/\d+/N/r, 'ok||replicated|N|0|0', 'replicated before it was published');
is($standby->safe_psql('postgres', "SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$second')"), 't', 'a standby has the checkpoint');
is($standby->safe_psql('postgres', 'SELECT publishing IS NULL, published_size > 0 FROM unrdf.log_status'), 't|t', 'and its log_status');
$standby->stop;
my $size = $node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
my $lost = $node->safe_psql('postgres', "SET synchronous_commit = local; SELECT unrdf.record('create', 'not replicated')");
# the integrator waits for the standby in its commit; what it wrote is visible once it no longer waits
wait_for($node, 'postgres', "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE backend_type = 'unrdf integrator' AND datname = 'postgres'");
signal_worker($node, 'postgres', 'integrator', 'TERM');
wait_for($node, 'postgres', "SELECT unrdf.leaf_index($lost) IS NOT NULL");
is($node->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('1 s') IS NULL, published_size FROM unrdf.log_status"), "t|$size",
	'what no standby has is integrated, but not published');
is($node->safe_psql('postgres', 'SELECT publishing FROM unrdf.log_status'), 'waiting', 'log_status');
$standby->start;
is($node->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('60 s') > unrdf.leaf_index($lost)"), 't', 'until it has it');
is($node->safe_psql('postgres', 'SELECT publishing FROM unrdf.log_status'), 'signed', 'and all is well');
$standby->stop;
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
published_again('without a standby');

assert_ledger($node, 'postgres', 'at the end');

# A log that begins anew in the same database has nothing of the old one.
$node->safe_psql('postgres', 'DROP EXTENSION unrdf; DROP TABLE effect; DROP FUNCTION effect');
install($node, 'postgres');
wait_for_workers($node, 'postgres');
publish('anew');
is($node->safe_psql('postgres', 'SELECT size, origin <> ' . "'$origin'" . ', publishing FROM unrdf.checkpoint JOIN unrdf.log_status USING (size, origin)'), '1|t|signed', 'a new log, under a name of its own');
is(index(slurp_file($node->logfile), $secret), -1, 'no private key is in the server log');
$node->stop;

done_testing();
