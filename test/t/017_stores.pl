# Stores outside the node, a directory, etcd and a witness: each has to take a checkpoint before it is published; what they do
# when they are away, slow or lie; an old backup, a standby that was behind when it was promoted, and a second copy, each of
# which goes on with a log that is not the one that was published.
use strict;
use warnings;

use FindBin;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Unrdf;

my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $node = new_node('stores', conf => "unrdf.checkpoint_interval = '1 h'\nunrdf.store_timeout = '500 ms'\n", init => { allows_streaming => 1 });
my $store = "$dir/store";
my $mode = "$dir/mode";
my @started;

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');
my $origin = '';

# Starts a program that ends with the test.
sub start_program
{
	my ($out, @command) = @_;
	my $program = IPC::Run::start(\@command, '<', \'', '>', $out, '2>', "$dir/" . ($command[0] =~ s{.*/}{}r) . '.err');

	push @started, $program;
	return $program;
}

sub stop_program
{
	my ($program) = @_;

	$program->signal('KILL');
	eval { $program->finish };
	@started = grep { $_ != $program } @started;
	return;
}

END { local $?; stop_program($started[0]) while @started }

sub set_stores
{
	my ($stores, $on) = @_;

	$on //= $node;
	$on->append_conf('postgresql.conf', "unrdf.checkpoint_stores = '$stores'");
	$on->reload;
	# nothing tells when a process has read its settings anew: let it be another one
	wait_for($on, 'postgres', "SELECT current_setting('unrdf.checkpoint_stores') = '$stores'");
	signal_worker($on, 'postgres', 'publisher', 'TERM');
	wait_for_workers($on, 'postgres');
	return;
}

sub answers
{
	my ($line) = @_;

	unlink $mode;
	append_to_file($mode, "$line\n");
	return;
}

# n receipts more, in the log.
sub grow
{
	my ($n, $on) = @_;

	$on //= $node;
	$on->safe_psql('postgres', "SELECT count(unrdf.record('create', 'subject ' || i)) FROM generate_series(1, $n) AS i");
	wait_for($on, 'postgres', 'SELECT (SELECT size FROM unrdf.log_size()) = (SELECT count(*) FROM unrdf.receipt)');
	return $on->safe_psql('postgres', 'SELECT size FROM unrdf.log_size()');
}

# One receipt more, and a checkpoint that has it.
sub published
{
	my ($what, $on) = @_;

	$on //= $node;
	my $size = grow(1, $on);
	is($on->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('60 s')"), $size, "$what: published");
	is($on->safe_psql('postgres', 'SELECT publishing, reason IS NULL FROM unrdf.log_status'), 'signed|t', "$what: log_status");
	return $size;
}

# One receipt more, of which no checkpoint is published as long as a store does not take it. Jobs go on, and integrating.
sub waits
{
	my ($reason, $what) = @_;

	grow(1);
	my $before = $node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
	is($node->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('10 ms') IS NULL"), 't', "$what: not published");
	is($node->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$what: jobs go on");
	grow(1);
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my $status;
	do
	{
		$status = $node->safe_psql('postgres', "SELECT publishing || ': ' || coalesce(reason, '') FROM unrdf.log_status");
	} while ($status !~ /^waiting: checkpoint store "[^"]+": $reason/ && time() < $until);
	like($status, qr/^waiting: checkpoint store "[^"]+": $reason/, "$what: log_status");
	is($node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status'), $before, "$what: nothing is");
	like(slurp_file($node->logfile), qr/WARNING: .*checkpoints wait: checkpoint store "[^"]+": $reason/, "$what: so does the server's log");
	return;
}

# What a node finds whose log is not the one that was published.
sub diverged
{
	my ($on, $reason, $what) = @_;

	sql_fails($on, 'postgres', "SELECT unrdf.publish_checkpoint('60 s');", '55000', qr/no checkpoints are published: $reason/, "$what: refused");
	like($on->safe_psql('postgres', "SELECT publishing || ': ' || reason FROM unrdf.log_status"), qr/^refused: $reason/, "$what: log_status");
	is($on->safe_psql('postgres', "SELECT unrdf.enqueue('effect') AS id \\gset\nSELECT unrdf.wait(:id)"), 'ok', "$what: jobs go on");
	return;
}

sub head_of
{
	my ($name) = @_;

	return slurp_file("$store/" . $name =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord $1)/egr);
}

# What is no store
for my $bad ('nowhere', 'http://127.0.0.1', 'file:relative', 'etcd:http://root:secret@127.0.0.1:2379', "file:$store ftp://x")
{
	sql_fails($node, 'postgres', "ALTER SYSTEM SET unrdf.checkpoint_stores = '$bad';", '22023', qr/invalid value for parameter/, "setting: $bad");
}

# A directory. An empty mount point is no store that has nothing.
my $first = published('no store');
$origin = $node->safe_psql('postgres', 'SELECT origin FROM unrdf.log_status');
mkdir $store;
set_stores("file:$store");
waits(qr/there is no file "\Q$store\E\/unrdf-store"/, 'not there');
append_to_file("$store/unrdf-store", '');
my $size = published('directory');
is(head_of($origin), "unrdf-head/v1\nepoch 1\nsystem " . $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()') . "\n\n"
	  . $node->safe_psql('postgres', 'SELECT unrdf.checkpoint()'), 'the directory has the checkpoint, epoch and system identifier');
is($node->safe_psql('postgres', 'SELECT verdict, evidence, checkpoint FROM unrdf.verify((SELECT max(id) FROM unrdf.receipt))'), "ok|stored|$size", 'which stands behind a receipt');
is($node->safe_psql('postgres', "SELECT stores = 'file:$store' FROM unrdf.checkpoint ORDER BY size DESC LIMIT 1"), 't', 'and the row says so');
my $file = (grep { !/lock|unrdf-store/ } glob "$store/*")[0];
my $head = slurp_file($file);
unlink $file;
append_to_file($file, 'garbage');
waits(qr/what it has is no head of this log/, 'garbage');
unlink $file;
append_to_file($file, $head =~ s/^\Q$origin\E$/unrdf.local\/other/mr);
waits(qr/what it has is no head of this log/, "another log's head");
unlink $file;
append_to_file($file, $head);
published('mended');
$node->append_conf('postgresql.conf', "unrdf.checkpoint_stores = 'file:$dir/nowhere'");
$node->reload;
wait_for($node, 'postgres', "SELECT publishing = 'waiting' AND reason LIKE '%nowhere%' FROM unrdf.log_status");
pass('a store that is set anew is asked at once');
set_stores("file:$store");

# A crash when the directory has a checkpoint that was not published: the next start finds that it is of this log.
my $lock = $node->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE unrdf.checkpoint IN SHARE MODE');
$size = grow(1);
my $asking = $node->background_psql('postgres');
$asking->query_until(qr/asked/, "\\echo asked\nSELECT unrdf.publish_checkpoint('60 s');\n");
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'unrdf publisher' AND wait_event_type = 'Lock'");
like(head_of($origin), qr/^\Q$origin\E\n$size\n/m, 'the directory has it first');
my $published = $node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
crash_and_start($node);
wait_for_workers($node, 'postgres');
wait_for($node, 'postgres', "SELECT published_size = $size AND publishing = 'signed' FROM unrdf.log_status");
cmp_ok($published, '<', $size, 'published after the crash, and not before');
eval { $_->quit } for $lock, $asking;

# etcd: one member, and an address where there is none
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $peer = PostgreSQL::Test::Cluster::get_free_port();
my @etcd = ('etcd', '--data-dir', "$dir/etcd", '--listen-client-urls', "http://127.0.0.1:$port", '--advertise-client-urls', "http://127.0.0.1:$port",
	'--listen-peer-urls', "http://127.0.0.1:$peer", '--initial-advertise-peer-urls', "http://127.0.0.1:$peer", '--initial-cluster', "default=http://127.0.0.1:$peer");
my $etcd = start_program("$dir/etcd.out", @etcd);
my $before = $node->safe_psql('postgres', 'SELECT published_size FROM unrdf.log_status');
set_stores("file:$store etcd:http://127.0.0.1:1,http://127.0.0.1:$port");
# until it has started
my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
my $key;
do
{
	$node->safe_psql('postgres', "SELECT unrdf.publish_checkpoint('100 ms')");
	my $answer = HTTP::Tiny->new->post("http://127.0.0.1:$port/v3/kv/range", { content => encode_json({ key => encode_base64("/unrdf/checkpoint/$origin", '') }) });
	$key = $answer->{success} ? decode_base64(decode_json($answer->{content})->{kvs}[0]{value} // '') : '';
} while ($key !~ /^unrdf-head/ && time() < $until);
like($key, qr/^unrdf-head\/v1\nepoch \d+\nsystem \d+\n\n\Q$origin\E\n$before\n/, 'a new store is given the last checkpoint');
published('etcd');
$etcd->signal('STOP');
waits(qr/.*(timed out|Timeout)/i, 'etcd is slow');
$etcd->signal('CONT');
published('etcd goes on');
stop_program($etcd);
waits(qr/.*(connect|refused)/i, 'etcd is away');
$etcd = start_program("$dir/etcd.out", @etcd);
wait_for($node, 'postgres', "SELECT unrdf.publish_checkpoint('1 s') IS NOT NULL");
published('etcd is back');

# A liar in etcd's place
my $ports = '';
my $relay = start_program(\$ports, "$FindBin::RealBin/../lib/relay", $mode, $node->connstr('postgres'));
$relay->pump until $ports =~ /\n/;
chomp $ports;
set_stores("etcd:http://127.0.0.1:$ports");
for my $case (
	[ 'answer 200 <html>', qr/the answer is not JSON/ ], [ 'answer 200 {"a":', qr/the answer is not JSON/ ], [ 'answer 200 []', qr/the answer is not etcd's/ ],
	[ 'answer 200 {}', qr/the answer is not etcd's/ ], [ 'answer 200 {"header":{},"kvs":7}', qr/the answer is not etcd's/ ],
	[ 'answer 200 {"header":{},"kvs":[{"mod_revision":"x"}]}', qr/the answer is not etcd's/ ],
	[ 'answer 200 {"header":{},"kvs":[{"mod_revision":"5","value":"*"}]}', qr/the answer is not etcd's/ ],
	[ 'answer 200 {"header":{},"kvs":[{"mod_revision":"5","value":"AAAA"}]}', qr/what it has is no head of this log/ ],
	[ 'answer 200 {"header":{}}', qr/others write it at the same time/ ],
	[ 'answer 503 busy', qr/HTTP status 503/ ], [ 'answer 302 ', qr/HTTP status 302/ ],
	[ 'flood', qr/./ ], [ 'silent', qr/.*(timed out|Timeout)/i ], [ 'refuse', qr/./ ])
{
	answers($case->[0]);
	waits($case->[1], "liar, $case->[0]");
}

# A witness
my $witness = new_node('witness', conf => "unrdf.witness_name = 'witness.example'\n");
$witness->start;
install($witness, 'postgres');
wait_for_workers($witness, 'postgres');
my $cosigner = $witness->safe_psql('postgres', 'SELECT unrdf.add_witness_key()');
stop_program($relay);
answers('pass');
$ports = '';
$relay = start_program(\$ports, "$FindBin::RealBin/../lib/relay", $mode, $witness->connstr('postgres'));
$relay->pump until $ports =~ /\n/;
chomp $ports;
set_stores("file:$store witness:http://127.0.0.1:$ports");
waits(qr/HTTP status 404/, 'a witness that does not know the log');
$witness->safe_psql('postgres', "SELECT unrdf.watch_log('" . $node->safe_psql('postgres', 'SELECT key FROM unrdf.log_keys') . "')");
waits(qr/it did not cosign with a key that unrdf\.trust_witness\(\) was told/, 'a witness that is not known');
$node->safe_psql('postgres', "SELECT unrdf.trust_witness('$cosigner')");
$size = published('witness');
is($node->safe_psql('postgres', "SELECT unrdf.verify_checkpoint(unrdf.checkpoint(), '$cosigner')"), 't', 'and cosigned');
is($witness->safe_psql('postgres', 'SELECT max(size) FROM unrdf.witnessed'), $size, 'which has it');
my $verify = 'SELECT * FROM unrdf.verify((SELECT max(id) FROM unrdf.receipt))';
is($node->safe_psql('postgres', $verify), "ok||witnessed|$size|1|1", 'which stands behind a receipt');
$node->append_conf('postgresql.conf', 'unrdf.witness_quorum = 2');
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('unrdf.witness_quorum') = '2'");
is($node->safe_psql('postgres', $verify), "ok||stored|$size|1|1", 'as far as one of two that are needed does');
$node->append_conf('postgresql.conf', 'unrdf.witness_quorum = 1');
$node->reload;
wait_for($node, 'postgres', "SELECT current_setting('unrdf.witness_quorum') = '1'");
$node->safe_psql('postgres', "CREATE TABLE line AS SELECT line FROM unrdf.cosignature WHERE size = $size");
$node->safe_psql('postgres', "UPDATE unrdf.cosignature SET line = left(line, 40) || chr(ascii(substr(line, 41, 1)) # 1) || substr(line, 42) WHERE size = $size");
is($node->safe_psql('postgres', $verify), "bad|a cosignature of the checkpoint of size $size does not verify||||", 'a forged one does not');
$node->safe_psql('postgres', "UPDATE unrdf.cosignature SET line = (SELECT line FROM line) WHERE size = $size");
is($node->safe_psql('postgres', $verify), "ok||witnessed|$size|1|1", 'the true one does again');
for my $case ([ 'flip', qr/its cosignature does not verify/ ], [ 'drop', qr/its cosignature does not verify/ ], [ 'answer 200 garbage', qr/its cosignature does not verify/ ],
	[ 'answer 409 ', qr/HTTP status 409/ ], [ 'answer 409 7', qr/HTTP status 409/ ], [ 'answer 409 99999999999999999999\n', qr/HTTP status 409/ ],
	[ 'answer 422 ', qr/HTTP status 422/ ], [ 'answer 500 ', qr/HTTP status 500/ ], [ 'silent', qr/.*(timed out|Timeout)/i ])
{
	answers($case->[0]);
	waits($case->[1], "lying witness, $case->[0]");
}
answers('pass');
published('an honest one');

# An old backup that goes on
my $etcd_store = "etcd:http://127.0.0.1:$port";
set_stores("file:$store $etcd_store witness:http://127.0.0.1:$ports");
published('all three');
my $common = $node->safe_psql('postgres', 'SELECT size FROM unrdf.log_size()');
$node->backup('old');
grow(20);
my $newest = published('later');
mkdir "$dir/tiles";
$node->safe_psql('postgres', "SELECT unrdf.export_tiles('$dir/tiles')");
is($node->safe_psql('postgres', "SELECT unrdf.first_difference('$dir/tiles') IS NULL"), 't', 'a log does not differ from its own tiles');
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init_from_backup($node, 'old');
chmod 0600, $old->data_dir . '/unrdf_log.keys'; # which the test's way of copying opens to others
$old->start;
wait_for_workers($old, 'postgres');
for my $place ("file:$store", $etcd_store, "witness:http://127.0.0.1:$ports")
{
	set_stores($place, $old);
	diverged($old, qr/log has \d+ leaves, checkpoint store "\Q$place\E" $newest/, "an old backup, $place");
}
is($old->safe_psql('postgres', 'SELECT count(*), count(*) FILTER (WHERE their_size = ' . $newest . ' AND own_size < their_size), count(their_root), count(their_head) FROM unrdf.divergence'),
	'3|3|2|2', 'the evidence is kept');
is($old->safe_psql('postgres', "SELECT unrdf.verify_checkpoint(regexp_replace(their_head, '^.*?\\n\\n', ''), key) FROM unrdf.divergence, unrdf.log_keys WHERE source LIKE 'file:%'"), 't',
	'with the signature of the other tree');
is($old->safe_psql('postgres', "SELECT unrdf.first_difference('$dir/tiles')"), $common, 'the first leaf that it lacks');
grow(100, $old);
is($old->safe_psql('postgres', "SELECT unrdf.first_difference('$dir/tiles')"), $common, 'the first leaf that differs');
mkdir "$dir/of old";
for my $place ("file:$store", $etcd_store, "witness:http://127.0.0.1:$ports")
{
	set_stores($place, $old);
	diverged($old, qr/checkpoint store "\Q$place\E" has another tree of $newest leaves/, "it has grown beyond, $place");
}
cmp_ok($old->safe_psql('postgres', 'SELECT count(*) FROM unrdf.divergence'), '<=', 6, 'once, not once a try');
set_stores("file:$store $etcd_store", $old);
my $new = $old->safe_psql('postgres', "SELECT unrdf.new_origin('restored from an old backup')");
wait_for($old, 'postgres', "SELECT origin = '$new' FROM unrdf.log_status");
published('under a new origin', $old);
sql_fails($old, 'postgres', "SELECT unrdf.export_tiles('$dir/tiles');", '55000', qr/has another log/, 'its tiles are not mixed with the others');
$old->safe_psql('postgres', "SELECT unrdf.export_tiles('$dir/of old')");
like(head_of($new), qr/^\Q$new\E$/m, 'which the stores keep beside the other');
$old->stop;
published('the original goes on');
is($node->safe_psql('postgres', "SELECT unrdf.first_difference('$dir/of old')"), $common, 'the original finds the same');

# A standby that was behind when it was promoted
set_stores("file:$store $etcd_store");
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
chmod 0600, $standby->data_dir . '/unrdf_log.keys';
$standby->start;
$node->wait_for_catchup($standby);
$standby->stop;
$newest = published('what the standby does not have');
$node->stop('immediate');
$standby->start;
$standby->promote;
wait_for_workers($standby, 'postgres');
wait_for($standby, 'postgres', "SELECT publishing = 'refused' AND reason LIKE 'log has % leaves, checkpoint store \"file:%\" $newest' FROM unrdf.log_status");
pass('a promoted standby that is behind finds it at once');
grow(5, $standby);
diverged($standby, qr/checkpoint store "\Qfile:$store\E" has another tree of $newest leaves/, 'a promoted standby');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'which nothing inside it shows');
$standby->stop;
$witness->stop;
done_testing();
