# Attacks of whoever owns the database: rows rewritten, rows and tree, rows and tree and checkpoints, a backup put in the place of
# what came after it. What is found inside, and by whom outside who has kept an exported receipt or a checkpoint, or is a witness.
# And what no attack is needed for: crashes in the middle of an integration.
use strict;
use warnings;

use IPC::Run;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $sites = 0;
my ($log, $witness) = map {
	new_node($_, conf => "unrdf.checkpoint_interval = '1 h'\nunrdf.witness_name = '$_.example/witness'\n", init => { allows_streaming => 1 })
} qw(log witness);

for my $node ($log, $witness)
{
	$node->start;
	install($node, 'postgres');
	wait_for_workers($node, 'postgres');
}

sub query
{
	return $log->safe_psql('postgres', $_[0]);
}

sub record
{
	my ($n) = @_;

	query("SELECT count(unrdf.record('create', 'order/' || i, jsonb_build_object('total', i))) FROM generate_series(1, $n) AS i");
	return;
}

sub all_integrated
{
	wait_for($log, 'postgres', 'SELECT (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)');
	return;
}

# n receipts more, and a checkpoint that has them. Returns the checkpoint.
sub grow
{
	my ($n) = @_;

	record($n);
	all_integrated();
	query("SELECT unrdf.publish_checkpoint('60 s')");
	return query('SELECT unrdf.checkpoint()') =~ s/\n*$/\n/r;
}

sub ask
{
	my ($old) = @_;
	my $request = query("SELECT unrdf.witness_request($old)") =~ s/\n*$/\n/r;

	return $witness->safe_psql('postgres', "CALL unrdf.witness_add_checkpoint(\$request\$$request\$request\$)") =~ s/\n$//r;
}

sub put
{
	my ($name, $bytes) = @_;

	unlink "$dir/$name";
	append_to_file("$dir/$name", $bytes);
	return "$dir/$name";
}

# What unrdf-verify says, with its exit code.
sub says
{
	my @arguments = @_;
	my ($out, $err);

	IPC::Run::run([ 'unrdf-verify', @arguments ], '>', \$out, '2>', \$err);
	return ($? >> 8) . ': ' . ($out =~ /NOT VERIFIED: (.*)/ ? $1 : $out =~ /(verified|consistent): / ? $1 : $out);
}

# Whether an older checkpoint is a prefix of a newer one, by the tiles that there are now.
sub consistent
{
	my ($old, $new) = @_;
	my $site = "$dir/site" . ++$sites;

	mkdir $site;
	query("SELECT unrdf.export_tiles('$site')");
	return says('--key', query('SELECT key FROM unrdf.log_keys'), '--tiles', $site, put('old', $old), put('new', $new));
}

sub size_of
{
	return (split /\n/, $_[0])[1];
}

# The tree anew, over whatever the rows are now.
sub rebuild_tree
{
	query('TRUNCATE unrdf.integration, unrdf.tile');
	query('SELECT unrdf.integrate()');
	all_integrated();
	return;
}

# ---- crashes ----

# Between tile and leaf: the integrator has written a tile and waits for the table of the leaves.
my $blocker = $log->background_psql('postgres', on_error_stop => 0);
$blocker->query_safe('BEGIN; LOCK TABLE unrdf.integration IN SHARE MODE');
record(600);
wait_for($log, 'postgres', q(SELECT count(*) = 1 FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE relation = 'unrdf.integration'::regclass AND NOT granted AND backend_type = 'unrdf integrator'));
is(query(q(SELECT pg_relation_size('unrdf.tile') > 0, count(*) FROM unrdf.tile)), 't|0', 'tiles are written and not seen by anybody');
kill('KILL', worker_pid($log, 'postgres', 'integrator')) == 1 or die 'no integrator';
$blocker->{run}->kill_kill;
wait_for_workers($log, 'postgres');
all_integrated();
is(query('SELECT count(*) FROM unrdf.tile'), 2, 'after the crash there are two tiles for 600 leaves');
assert_ledger($log, 'postgres', 'killed between tile and leaf');

# Between leaf and commit: a session has integrated, and the whole server dies.
my $session = $log->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN; SELECT unrdf.integrate()');
record(600);
like($session->query_safe('SELECT unrdf.integrate()'), qr/^600$/m, 'leaves and tiles of 600 receipts are written');
crash_and_start($log);
$session->{run}->kill_kill;
wait_for_workers($log, 'postgres');
all_integrated();
is(query('SELECT size FROM unrdf.log_size()'), 1200, 'after the crash each has one leaf');
assert_ledger($log, 'postgres', 'killed between leaf and commit');

# ---- what outsiders have, before anything happens ----

my $cosigner = $witness->safe_psql('postgres', 'SELECT unrdf.add_witness_key()');
my $victim = query("SELECT unrdf.record('create', 'invoice', '{\"total\": 1}')");
my $kept = grow(10);
my $size = size_of($kept);
my $key = query('SELECT key FROM unrdf.log_keys');
$witness->safe_psql('postgres', "SELECT unrdf.watch_log('$key')");
query("SELECT unrdf.trust_witness('$cosigner')");
my ($line) = ask(0) =~ /^200\|(.*)/s or die 'not cosigned';
query("SELECT unrdf.add_cosignatures(E'$line\\n')");
my $policy = put('policy', "log $key\nwitness w $cosigner\nquorum w\n");
my $exported = put('exported', query("SELECT unrdf.export_receipt($victim)") . "\n");
is(says('--policy', $policy, $exported), '0: verified', 'a receipt and its proof are kept outside');
$log->backup('kept');
my $later = grow(5);
is(consistent($kept, $later), '0: consistent', 'the log goes on');
like(ask($size), qr/^200\|/, 'for the witness too');
my $witnessed = size_of($later);

# ---- a row ----

query("UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = $victim");
is(query('SELECT receipt FROM unrdf.verify_all()'), $victim, 'a row rewritten: found inside');
is(query("SELECT verdict FROM unrdf.verify($victim)") =~ /^ok/ ? 'ok' : 'not ok', 'not ok', 'by itself as well');
is(says('--policy', $policy, $exported), '0: verified', 'what was exported before says what was');
my $forged = put('forged', query("SELECT unrdf.export_receipt($victim)") . "\n");
is(says('--key', $key, $forged), "1: the proof does not show this receipt in the checkpoint's tree", 'what is exported now is refused');

# ---- the row and the tree ----

# a row that is not its subject's last is in the next one's hash
my ($chained, $next) = split /\n/, query("SELECT id FROM unrdf.receipt WHERE subject = 'order/7' ORDER BY id LIMIT 2");
query("UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = $chained");
rebuild_tree();
is(query('SELECT receipt FROM unrdf.verify_all() WHERE receipt IS NOT NULL'), $next, 'a row of a chain and the tree rewritten: the next of its subject tells');
query("UPDATE unrdf.receipt SET actor = (SELECT actor FROM unrdf.receipt WHERE id = $next) WHERE id = $chained");
rebuild_tree();
is(query(q(SELECT count(receipt), count(*) > 0, bool_and(reason ~ '^(checkpoint|cosignature) of size ') FROM unrdf.verify_all())),
	'0|t|t', 'row and tree rewritten: only the checkpoints tell');
record(1);
all_integrated();
sql_fails($log, 'postgres', 'SELECT unrdf.publish_checkpoint();', '55000', qr/no checkpoints are published: log does not have the root of its checkpoint/,
	'but no checkpoint is signed');
sql_fails($log, 'postgres', "SELECT unrdf.export_receipt($victim);", 'XX001', qr/log does not have the root of its checkpoint/, 'and nothing is exported');

# ---- row, tree and checkpoints ----

query('DELETE FROM unrdf.checkpoint; DELETE FROM unrdf.cosignature');
query("SELECT unrdf.publish_checkpoint('60 s')");
my $other = query('SELECT unrdf.checkpoint()') =~ s/\n*$/\n/r;
is(query("SELECT publishing, unrdf.verify_checkpoint(unrdf.checkpoint(), '$key') FROM unrdf.log_status"), 'signed|t', 'row, tree and checkpoints rewritten: signed');
is(query('SELECT count(*) FROM unrdf.verify_all()'), 0, 'and nothing is found inside');
$forged = put('forged', query("SELECT unrdf.export_receipt($victim)") . "\n");
is(says('--key', $key, $forged), '0: verified', 'who has seen only this believes it');
is(says('--policy', $policy, $forged), '1: too few witnesses have signed', 'who wants a witness does not');
is(consistent($_, $other), '1: the tiles do not show the old tree in the newer one', 'nor who has kept a checkpoint') for $kept, $later;
is(ask($size), "409|$witnessed", 'the witness says what it has seen');
is(ask($witnessed), '422|the consistency proof does not verify', 'and that this does not go on from it');
my ($was, $is) = map { decode_base64(slurp_file($_) =~ s/^.*\nextra (\S+)\n.*$/$1/sr) } $exported, $forged;
isnt($was, $is, 'the two exported receipts tell what was changed');
like($is, qr/"actor":"mallory"/, 'into what');

# Nor does it help to rewrite a checkpoint's signatures or root
query("UPDATE unrdf.checkpoint SET root = decode(substr(md5('x') || md5('y'), 1, 64), 'hex')");
is(query("SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$key')"), 'f', 'a checkpoint with another root is not signed');
$log->stop;

# ---- a backup in the place of what came after it ----

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($log, 'kept');
chmod 0600, $restored->data_dir . '/unrdf_log.keys'; # which the test's way of copying opens to others
$restored->start;
wait_for_workers($restored, 'postgres');
$log = $restored;
is(query('SELECT count(*) FROM unrdf.verify_all()'), 0, 'an old backup restored: nothing is found inside');
my $shorter = grow(1);
is(query("SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$key')"), 't', 'it signs');
is(consistent($later, $shorter), '1: the old checkpoint is the larger one', 'who has kept a later checkpoint sees that it is behind');
is(ask($size), "409|$witnessed", 'so does the witness');
my $longer = grow(20);
is(consistent($later, $longer), '1: the tiles do not show the old tree in the newer one', 'and later that it is another log');
is(ask($witnessed), '422|the consistency proof does not verify', 'so does the witness');
is(consistent($kept, $longer), '0: consistent', 'with what was before the backup it agrees');

$_->stop for $log, $witness;

done_testing();
