# Verification by ranges that is interrupted in every way: a cancel, a backend and a postmaster that are killed in the middle of
# a range. What was verified before stays so, nothing else is left, and the next call does the rest. On a standby what reads
# works and what writes is refused. Cosignatures that were forged.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $leaves = 1000;
my $node = new_node('node', conf => "unrdf.checkpoint_interval = '1 h'\nunrdf.witness_name = 'own/witness'\n", init => { allows_streaming => 1 });

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');
$node->safe_psql('postgres', "SELECT count(unrdf.record('create', 'subject ' || i)) FROM generate_series(1, $leaves) AS i");
wait_for($node, 'postgres', "SELECT size = $leaves FROM unrdf.log_size()");
is($node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()'), $leaves, 'a checkpoint of all leaves');

# Calls unrdf.verify_log() and returns "run|leaves|findings|last line of the tree's text".
sub verify_log
{
	my (@args) = @_;

	return $node->safe_psql('postgres', 'CALL unrdf.verify_log(' . join(', ', @args) . ')') =~ s/\|[^|\s]+\n\d+\n(\S+)\n*$/|$1/r;
}

# Begins a run, and verifies a third range until it waits for a lock, which it does when it comes to the checkpoints. Returns
# the run, the process that verifies, and the sessions.
sub hold_in_third_range
{
	my ($workers) = @_;
	my $run = $node->safe_psql('postgres', 'SELECT run FROM unrdf.verify_step(NULL, 100)');
	is($node->safe_psql('postgres', 'SELECT run, first, stop, complete FROM unrdf.verify_step(NULL, 150)'), "$run|100|250|f", "run $run: two ranges");
	my $holder = $node->background_psql('postgres', on_error_stop => 0);
	$holder->query_safe('BEGIN; LOCK TABLE unrdf.witness');
	my $verifier = $node->background_psql('postgres', on_error_stop => 0);
	$verifier->query_until(qr/begins/, "\\echo begins\nCALL unrdf.verify_log(200, $workers);\n");
	wait_for($node, 'postgres', q(SELECT count(*) = 1 FROM unrdf.stat_verify WHERE phase = 'checkpoints'));
	is($node->safe_psql('postgres', 'SELECT first, leaves_total, bad FROM unrdf.stat_verify'), '250|200|0', "run $run: the view shows the third range");
	return ($run, $node->safe_psql('postgres', 'SELECT pid FROM unrdf.stat_verify'), $holder, $verifier);
}

# Checks what is left of a run that was interrupted in its third range, and that the next call does the rest.
sub goes_on
{
	my ($run, $how) = @_;
	my $root = $node->safe_psql('postgres', q(SELECT encode(root, 'base64') FROM unrdf.log_size()));

	is($node->safe_psql('postgres', "SELECT first, stop, size, findings FROM unrdf.verified WHERE run = $run ORDER BY first"),
		"0|100|$leaves|0\n100|250|$leaves|0", "$how: what was verified before is there, and no more");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM unrdf.stat_verify'), '0', "$how: nothing is shown");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_ls_tmpdir())), '0', "$how: no temporary file is left");
	is(verify_log(300), "$run|" . ($leaves - 250) . "|0|$root", "$how: the next call does the rest");
	is($node->safe_psql('postgres', "SELECT first, stop FROM unrdf.verified WHERE run = $run ORDER BY first"), "0|100\n100|250\n250|550\n550|850\n850|$leaves",
		"$how: each leaf was verified once");
	return;
}

# Cancelled
my ($run, $pid, $holder, $verifier) = hold_in_third_range(0);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
wait_for($node, 'postgres', "SELECT state = 'idle' FROM pg_stat_activity WHERE pid = $pid");
$holder->quit;
$verifier->quit;
goes_on($run, 'cancelled');

# Two sessions at once share a run: the second waits for the range, and verifies the next
($run, $pid, $holder, $verifier) = hold_in_third_range(0);
my $position = log_position($node);
my $second = $node->background_psql('postgres', on_error_stop => 0);
$second->query_until(qr/begins/, "\\echo begins\nCALL unrdf.verify_log(200, 0);\n");
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
$holder->quit;
wait_for($node, 'postgres', "SELECT count(*) > 0 FROM unrdf.verified WHERE run = $run AND stop = size");
wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CALL unrdf%')");
$_->quit for $verifier, $second;
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT first), sum(stop - first), bool_and(findings = 0) FROM unrdf.verified WHERE run = $run"),
	"6|6|$leaves|t", 'two sessions have verified each leaf once');
unlike(log_since($node, $position), qr/ERROR/, 'and neither was in the way of the other');
$node->safe_psql('postgres', "DELETE FROM unrdf.verified WHERE run > $run");

# Killed: the server restarts
($run, $pid, $holder, $verifier) = hold_in_third_range(1);
$position = log_position($node);
kill('KILL', $pid) == 1 or die "could not kill $pid: $!";
wait_for($node, 'postgres', "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
like(log_since($node, $position), qr/\(PID $pid\) was terminated by signal 9/, 'the process was killed');
eval { $_->quit } for $holder, $verifier;
goes_on($run, 'killed');

# A range is committed before the next begins: killed in the second range of a call, the first stays
$node->safe_psql('postgres', q(
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(17); RETURN NULL; END $$;
	CREATE TRIGGER hold AFTER INSERT ON unrdf.verified FOR EACH ROW WHEN (NEW.first = 300) EXECUTE FUNCTION hold()));
$holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('SELECT pg_advisory_lock(17)');
$verifier = $node->background_psql('postgres', on_error_stop => 0);
$verifier->query_until(qr/begins/, "\\echo begins\nCALL unrdf.verify_log(300);\n");
wait_for($node, 'postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
$pid = $node->safe_psql('postgres', "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
kill('KILL', $pid) == 1 or die "could not kill $pid: $!";
eval { $_->quit } for $holder, $verifier;
wait_for($node, 'postgres', "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
$run = $node->safe_psql('postgres', 'SELECT max(run) FROM unrdf.verified');
is($node->safe_psql('postgres', "SELECT first, stop FROM unrdf.verified WHERE run = $run"), '0|300', 'killed before its commit: the range before is there');
$node->safe_psql('postgres', 'DROP TRIGGER hold ON unrdf.verified');
like(verify_log(300), qr/^$run\|700\|0\|/, 'killed before its commit: the next call does the rest');

# And its postmaster
($run, $pid, $holder, $verifier) = hold_in_third_range(1);
crash_and_start($node);
eval { $_->quit } for $holder, $verifier;
goes_on($run, 'crashed');

# What is forged between two calls: in what was verified it is found by the next run, in the rest by this one
my $actor = $node->safe_psql('postgres', 'SELECT current_user');
my ($verified, $rest) = map { $node->safe_psql('postgres', "SELECT id FROM unrdf.receipt WHERE unrdf.leaf_index(id) = $_") } 50, 300;
$run = $node->safe_psql('postgres', 'SELECT run FROM unrdf.verify_step(NULL, 200)');
$node->safe_psql('postgres', "UPDATE unrdf.receipt SET actor = 'mallory' WHERE id IN ($verified, $rest)");
is(verify_log(300), "$run|" . ($leaves - 200) . '|1|', 'a call that goes on');
is($node->safe_psql('postgres', "SELECT receipt FROM unrdf.finding WHERE run = $run"), $rest, 'finds what it verifies');
is(verify_log(300), ($run + 1) . "|$leaves|2|", 'a run of all');
is($node->safe_psql('postgres', "SELECT receipt FROM unrdf.finding WHERE run = $run + 1 ORDER BY receipt"), "$verified\n$rest", 'finds both');
is($node->safe_psql('postgres', 'SELECT receipt FROM unrdf.verify_all() ORDER BY receipt'), "$verified\n$rest", 'so does verify_all');
$node->safe_psql('postgres', "UPDATE unrdf.receipt SET actor = '$actor' WHERE id IN ($verified, $rest)");

# The log grows, also between the ranges of a run: what came after the tree that a run returned
my $tree = $node->safe_psql('postgres', 'CALL unrdf.verify_log()') =~ s/^\d+\|$leaves\|0\||\n*$//gr;
like($tree, qr/^\S+\n$leaves\n\S{44}$/, 'a run without findings returns the tree');
$node->safe_psql('postgres', "SELECT count(unrdf.record('update', 'subject ' || i)) FROM generate_series(1, 100) AS i");
wait_for($node, 'postgres', "SELECT size = $leaves + 100 FROM unrdf.log_size()");
$run = $node->safe_psql('postgres', "SELECT run FROM unrdf.verify_step(NULL, 60, since => E'" . ($tree =~ s/\n/\\n/gr) . "\\n')");
$node->safe_psql('postgres', "SELECT count(unrdf.record('update', 'subject ' || i)) FROM generate_series(101, 150) AS i");
wait_for($node, 'postgres', "SELECT size = $leaves + 150 FROM unrdf.log_size()");
like($node->safe_psql('postgres', "CALL unrdf.verify_log(60, NULL, E'" . ($tree =~ s/\n/\\n/gr) . "\\n')"), qr/^$run\|90\|0\|\S+\n1150\n/, 'what came after it');
is($node->safe_psql('postgres', "SELECT first, stop, size, findings FROM unrdf.verified WHERE run = $run ORDER BY first"), "1000|1060|1100|0\n1060|1120|1150|0\n1120|1150|1150|0",
	'in ranges of the log as it was then');

# Cosignatures: this database is its own witness
$node->safe_psql('postgres', 'SELECT unrdf.publish_checkpoint()');
my $key = $node->safe_psql('postgres', 'SELECT unrdf.add_witness_key()');
my $epoch = $node->safe_psql('postgres', 'SELECT epoch FROM unrdf.checkpoint WHERE size = 1150');
$node->safe_psql('postgres', "SELECT unrdf.watch_log(key), unrdf.trust_witness('$key') FROM unrdf.log_keys");
my $request = $node->safe_psql('postgres', 'SELECT unrdf.witness_request()') =~ s/\n*$/\n/r;
my ($line) = $node->safe_psql('postgres', "CALL unrdf.witness_add_checkpoint(\$request\$$request\$request\$)") =~ /^200\|(.*?\n)\n*$/s or die 'not cosigned';
is($node->safe_psql('postgres', "SELECT unrdf.add_cosignatures(\$lines\$$line\$lines\$)"), '1', 'a cosignature');
is($node->safe_psql('postgres', 'SELECT * FROM unrdf.verify_all()'), '', 'which verifies');

# What verify_all, and the last leaf's range, find of a change that is undone.
sub finds
{
	my ($change, $finding, $what) = @_;
	my $found = $node->safe_psql('postgres', qq(
		BEGIN;
		$change;
		SELECT string_agg(reason, '; ' ORDER BY reason) FROM unrdf.verify_all();
		SELECT string_agg(reason, '; ' ORDER BY reason) FROM unrdf.verify_range(1149);
		SELECT count(*) FROM unrdf.verify_range(0, 1149);
		ROLLBACK));

	is($found, "$finding\n$finding\n0", $what);
	return;
}

finds(q(UPDATE unrdf.cosignature SET line = overlay(line PLACING 'AAAA' FROM length(line) - 20)), "cosignature of size 1150 does not verify under its witness's key", 'another signature');
finds(q(UPDATE unrdf.cosignature SET line = (SELECT c.signatures FROM unrdf.checkpoint AS c WHERE c.size = 1150)),
	"cosignature of size 1150 does not verify under its witness's key", "the log's own signature");
finds(q(UPDATE unrdf.cosignature SET line = 'x'), 'cosignature of size 1150 is malformed', 'no line');
finds(q(UPDATE unrdf.cosignature SET cosigned_at = cosigned_at - interval '1 s'), 'cosignature of size 1150 does not have the time that its witness signed', 'another time');
finds(q(DELETE FROM unrdf.witness), 'cosignature of size 1150 is of a witness that is not in unrdf.witness', 'an unknown witness');
finds(q(UPDATE unrdf.cosignature SET key = k.key FROM unrdf.log_keys AS k; INSERT INTO unrdf.witness SELECT key, 'x' FROM unrdf.log_keys),
	'cosignature of size 1150 is malformed', 'a key that is none of a witness');
finds(q(DELETE FROM unrdf.checkpoint WHERE size = 1150), 'cosignature of size 1150 is of a checkpoint that is not there', 'a checkpoint that was removed');
finds(q(UPDATE unrdf.checkpoint SET root = digest('x', 'sha256') WHERE size = 1150),
	"checkpoint of size 1150 (epoch $epoch) does not have the root of its leaves; checkpoint of size 1150 (epoch $epoch) has a signature that does not verify; "
	  . "cosignature of size 1150 does not verify under its witness's key", 'another root');
finds(q(UPDATE unrdf.checkpoint SET signatures = replace(signatures, (regexp_match(signatures, '(.{10})\n$'))[1], 'AAAAAAAAA=') WHERE size = 1150),
	"checkpoint of size 1150 (epoch $epoch) has a signature that does not verify", 'another signature of the log');

# A standby verifies, and keeps nothing
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_all()'), '0', 'a standby verifies all');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_range(200, 300)'), '0', 'a range');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM unrdf.verify_all(since => unrdf.checkpoint(1000))'), '0', 'and what came after a checkpoint');
sql_fails($standby, 'postgres', 'CALL unrdf.verify_log();', '25006', qr/cannot execute unrdf\.verify_step\(\) in a read-only transaction/, 'but keeps no run');
$standby->stop;

# An auditor may do all of this, and nobody else
$node->safe_psql('postgres', "CREATE ROLE auditor LOGIN; SELECT unrdf.grant_access('auditor', 'auditor'); CREATE ROLE other LOGIN; GRANT USAGE ON SCHEMA unrdf TO other");
is($node->safe_psql('postgres', 'SET ROLE auditor; CALL unrdf.verify_log(500); SELECT count(*) FROM unrdf.finding') =~ s/.*\n//sr, '3', 'an auditor');
is($node->safe_psql('postgres', 'SET ROLE auditor; SELECT count(*) FROM unrdf.verify_range(5, 6)'), '0', 'and a range');
sql_fails($node, 'postgres', "SET ROLE other; $_;", '42501', qr/permission denied/, "another role: $_")
  for 'CALL unrdf.verify_log()', 'SELECT unrdf.verify_step(NULL, 1)', 'SELECT unrdf.verify_range(0)', 'SELECT * FROM unrdf.finding', 'SELECT * FROM unrdf.verified';
sql_fails($node, 'postgres', "SET ROLE auditor; DELETE FROM unrdf.finding;", '42501', qr/permission denied/, 'an auditor changes nothing');
$node->stop;

done_testing();
