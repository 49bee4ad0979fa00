# Queues that keep bodies for a time: they go with their segments, never row by row, and space stays bounded; what a job still
# needs stays, wherever it is carried; a segment that somebody uses is left alone, and nobody waits for it meanwhile. Time is
# that of unrdf.clock_offset.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $node = new_node('retention', conf => q(
unrdf.sweep_interval = '100 ms'
unrdf.expiry_interval = '50 ms'
max_prepared_transactions = 2
));
my $minutes = 0;

# Moves the clock on and waits until what is due by it is gone, but for what somebody uses, and executors write times by it.
sub advance
{
	my ($by) = @_;

	$minutes += $by;
	$node->append_conf('postgresql.conf', "unrdf.clock_offset = '$minutes min'");
	$node->reload;
	wait_for($node, 'postgres', "SELECT current_setting('unrdf.clock_offset')::interval = '$minutes min'");
	wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM unrdf.segments WHERE due_at <= clock_timestamp() + interval '$minutes min' AND held_by IS NULL)");
	return;
}

sub value
{
	return $node->safe_psql('postgres', @_);
}

$node->start;
install($node, 'postgres');
wait_for_workers($node, 'postgres');
value(q(
	CREATE FUNCTION echo(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT args';
	CREATE FUNCTION sum_up(id bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb_agg(n.result ORDER BY n.need) FROM unrdf.needs_results(id) AS n';
	CREATE TABLE later (kept jsonb);
	CREATE FUNCTION note(args jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.later VALUES (args)';
	SELECT unrdf.register_handler('note', 'note(jsonb)'), unrdf.register_handler('echo', 'echo(jsonb)'), unrdf.register_handler('sum_up', 'sum_up(bigint, jsonb)');
	SELECT unrdf.create_queue('brief'), unrdf.alter_queue('brief', '{"keep_args": "10 s", "keep_results": "20 s", "keep_attempts": "1 s"}');
	SELECT unrdf.create_queue('still'), unrdf.alter_queue('still', '{"keep_args": "10 s", "keep_results": "10 s"}'), unrdf.pause_queue('still');
));

# Jobs of a queue that stands still, what one needs that waits for another queue's, and one for later
my $waits = value(q(SELECT unrdf.enqueue('echo', '{"n": "waits"}', 'still')));
my $later = value(q(SELECT unrdf.enqueue('note', '{"n": "later"}', 'brief', run_at => clock_timestamp() + interval '3 hours')));
my $need = value(q(SELECT unrdf.enqueue('echo', '{"n": "need"}', 'brief')));
my $sum = value("SELECT unrdf.enqueue_after(ARRAY[$need, $waits], 'sum_up', '{}', 'brief')");
my $alone = value(q(SELECT unrdf.enqueue('echo', '{"n": "alone"}', 'brief')));
value("SELECT unrdf.wait($need), unrdf.wait($alone)");

# A hundred thousand
my $size = 'SELECT coalesce(sum(bytes), 0) FROM unrdf.segments';
my @sizes;
for my $batch (1 .. 10)
{
	value("SELECT count(*) FROM unrdf.enqueue_many('echo', ARRAY(SELECT jsonb_build_object('batch', $batch, 'n', g, 'text', repeat('x', 100)) FROM generate_series(1, 10000) AS g), 'brief')");
	wait_for($node, 'postgres', "SELECT count(*) = $batch * 10000 + 2 FROM unrdf.receipt WHERE kind = 1");
	push @sizes, value($size);
	advance(2);
}
my ($largest) = sort { $b <=> $a } @sizes;
cmp_ok($largest, '<', 3 * $sizes[0], 'whatever went through, the segments take no more than at first') or diag("@sizes");
wait_for($node, 'postgres', "SELECT ($size) < 1000000");
pass('in the end next to nothing');
wait_for($node, 'postgres', 'SELECT size = (SELECT count(*) FROM unrdf.receipt) FROM unrdf.log_size()');
is(value('SELECT count(*) FROM unrdf.verify_all()'), '0', 'all receipts verify');
is(value(q(SELECT string_agg(DISTINCT v.verdict, ' ') FROM (SELECT id FROM unrdf.receipt WHERE kind = 1 ORDER BY id DESC LIMIT 100) AS r, unrdf.verify(r.id) AS v)), 'expired', 'as expired');
is(value("SELECT string_agg(v.verdict, ' ' ORDER BY r.id) FROM unnest(ARRAY[$need, $alone]) AS r (id), unrdf.verify(r.id) AS v"), 'ok expired', 'but for what is needed');
wait_for($node, 'postgres', q(SELECT sum(n_tup_ins) > 200000 FROM pg_stat_all_tables WHERE schemaname = 'unrdf' AND relname LIKE 'kept%'));
is(value(q(SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_all_tables WHERE schemaname = 'unrdf' AND relname LIKE 'kept%')), '0', 'and no body was deleted by itself');

# What was needed has stayed, wherever it is by now
my $args = "SELECT string_agg(coalesce(args ->> 'n', 'gone'), ' ' ORDER BY id) FROM unrdf.jobs WHERE id IN ($waits, $later, $need, $alone)";
is(value($args), 'waits later need gone', 'arguments of what has not ended, or is needed, are there');
advance($_) for 60, 60, 45;
is(value("SELECT unrdf.wait($later)"), 'ok', 'one runs that was delayed');
is(value("SELECT kept FROM later"), '{"n": "later"}', 'with its arguments');
advance(60 * 24 * 40);
is(value($args), 'waits gone need gone', 'forty days later');
value(q(SELECT unrdf.resume_queue('still')));
is(value("SELECT unrdf.wait($waits) || unrdf.wait($sum)"), 'okok', 'what waited runs');
is(value("SELECT unrdf.kept($sum, -1)"), '[{"n": "waits"}, {"n": "need"}]', 'with results of what it needs');
advance(60 * 24 * 60);
is(value($args), 'gone gone gone gone', 'and then they go');
is(value("SELECT count(*) FROM unrdf.segments"), '0', 'all of them');
is(value("SELECT count(*) FROM unrdf.verify_all()"), '0', 'and everything verifies');

# Somebody has a snapshot that is older than carrying over
value(q(SELECT unrdf.pause_queue('still')));
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $carried = value(q(SELECT unrdf.enqueue('echo', '{"n": "carried"}', 'still')));
my $snapshot = $node->background_psql('postgres');
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
my $segments = q(SELECT string_agg(segment::text, ' ') FROM unrdf.segments);
my $from = value($segments);
advance(10);
isnt(value($segments), $from, 'what is needed is carried over');
is(answer($snapshot, "SELECT args FROM unrdf.jobs WHERE id = $carried"), '{"n": "carried"}', 'who has an older snapshot sees it nevertheless');
is(answer($old, "SELECT count(*) FROM unrdf.jobs WHERE id = $carried"), '0', 'but nothing that is too new for it');
$_->quit for $old, $snapshot;

# A segment that is used: by a reader
my $id = value(q(SELECT unrdf.enqueue('echo', '{"n": "read"}', 'brief')));
value("SELECT unrdf.wait($id)");
my $segment = value("SELECT segment FROM unrdf.segments WHERE span = '1 min' ORDER BY due_at LIMIT 1");
my $reader = $node->background_psql('postgres');
$reader->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $segment");
my $backend = answer($reader, 'SELECT pg_backend_pid()');
advance(10);
is(value("SELECT array_to_string(held_by, ' ') FROM unrdf.segments WHERE segment = '$segment'::regclass"), $backend, 'the view names who uses a segment');
is(value("SET lock_timeout = '5 s'; SELECT count(*) > 0 FROM $segment"), 't', 'nobody else waits for it');
is(value('SELECT unrdf.expire()'), '0', 'nor is it emptied by hand');
$reader->quit;
wait_for($node, 'postgres', "SELECT NOT EXISTS (SELECT FROM unrdf.segments WHERE segment = '$segment'::regclass)");
pass('afterwards it is emptied');

# By a transaction that is prepared
value(q(BEGIN; SELECT unrdf.enqueue('echo', '{"n": "prepared"}', 'brief'); PREPARE TRANSACTION 'job'));
advance(60);
is(value(q(SELECT count(*) FROM unrdf.segments WHERE held_by = '{prepared transaction}' AND due_at IS NULL)), '1', 'a prepared transaction uses one');
value(q(COMMIT PREPARED 'job'));
$id = value('SELECT max(id) FROM unrdf.job');
is(value("SELECT unrdf.wait($id)"), 'ok', 'whose job runs in the end');
is(value("SELECT unrdf.kept($id, -1)"), '{"n": "prepared"}', 'with its arguments');

# By one that is rolled back: nobody sees anything in the segment, and it takes space nevertheless
value(q(BEGIN; SELECT unrdf.enqueue('echo', '{"n": "undone"}', 'brief', run_at => clock_timestamp() + interval '100 days'); ROLLBACK));
wait_for($node, 'postgres', 'SELECT NOT EXISTS (SELECT FROM unrdf.segments WHERE due_at IS NULL)');
pass('what was rolled back is cleared away');

# Erasing finds what was carried over
value(q(SELECT unrdf.resume_queue('still')));
value("SELECT unrdf.wait($carried)");
is(value("SELECT unrdf.kept($carried, -1)"), '{"n": "carried"}', 'what was carried over runs');
value("SELECT unrdf.erase($carried, 'test')");
my $left = join(' + ', map { "(SELECT count(*) FROM unrdf.kept_$_ WHERE job = $carried)" } 0 .. 69);
is(value("SELECT $left"), '0', 'and is erased wherever it is');
is(value("SELECT verdict FROM unrdf.verify($carried)") =~ /^(erased|pending)$/, 1, 'as its receipt says');

# Payloads of events: they go with their time, but not before each subscription has had its event
value(q(SELECT unrdf.keep_events('order.*', '1 hour'), unrdf.keep_events('order.made', '10 s')));
my $prompt = value(q(SELECT unrdf.on_event('order.*', 'echo', queue => 'default')));
my $late = value(q(SELECT unrdf.on_event('order.made', 'echo', queue => 'default')));
value("SELECT unrdf.pause_subscription($late)");
value(q(SELECT unrdf.emit('order.made', '{"n": 1}'), unrdf.emit('order.paid', '{"n": 2}'), unrdf.emit('other', '{"n": 3}'), unrdf.emit('order.made')));
my $got = q(SELECT count(*) = %d FROM unrdf.job WHERE args ? 'event');
wait_for($node, 'postgres', sprintf($got, 3));
my $payloads = q(SELECT string_agg(coalesce(payload ->> 'n', 'none'), ' ' ORDER BY id) FROM unrdf.events);
is(value(q(SELECT string_agg(coalesce(payload ->> 'n', 'none'), ' ' ORDER BY id) FROM unrdf.event)), 'none none 3 none', 'payloads of events are kept apart');
is(value($payloads), '1 2 3 none', 'and are seen all the same');
advance(60 * 24 * 3);
is(value($payloads), '1 none 3 none', 'they go, but for what a subscription is still to get');
value("SELECT unrdf.resume_subscription($late)");
wait_for($node, 'postgres', sprintf($got, 5));
is(value(q(SELECT string_agg(coalesce(args #>> '{payload,n}', 'none'), ' ' ORDER BY id) FROM unrdf.job WHERE args ? 'event')), '1 2 none 1 none', 'which it gets');
advance(60 * 24 * 3);
is(value($payloads), 'none none 3 none', 'then that goes as well');
value("SELECT unrdf.replay($prompt, 'beginning')");
wait_for($node, 'postgres', sprintf($got, 6));
value(q(SELECT unrdf.emit('order.paid', '{"n": 4}')));
wait_for($node, 'postgres', sprintf($got, 7));
is(value(q(SELECT string_agg(coalesce(args #>> '{payload,n}', 'none'), ' ' ORDER BY id) FROM unrdf.job WHERE args ? 'event')), '1 2 none 1 none none 4', 'an event whose payload is gone does not come again');
value("SELECT unrdf.drop_on_event($prompt), unrdf.drop_on_event($late)");

# A handler that is gone, and the extension
advance(60 * 24 * 100);
is(value('SELECT count(*) FROM unrdf.segments'), '0', 'nothing is left');
drain($node, 'postgres');
assert_ledger($node, 'postgres', 'in the end');
value('DROP EXTENSION unrdf');
is(value(q(SELECT count(*) FROM pg_class WHERE relname LIKE 'kept%')), '0', 'the segments go with the extension');
$node->stop;
done_testing();
