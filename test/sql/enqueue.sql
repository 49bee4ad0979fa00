-- Enqueueing: every argument, in bulk, later, and with idempotency keys.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA enq;
CREATE FUNCTION enq.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
SELECT unrdf.register_handler('enq_echo', 'enq.echo(jsonb)', max_attempts => 7);
SELECT unrdf.create_queue('enq_paused');
SELECT unrdf.pause_queue('enq_paused');
SELECT unrdf.create_queue('enq_open');

-- Defaults, and every argument
SELECT unrdf.enqueue('enq_echo') AS a \gset
SELECT unrdf.enqueue('enq_echo', '{"b": [1, 2]}', 'enq_paused', 9, '2126-01-02 03:04:05+00', 'enq key', '1 hour', 3, '90 s') AS b \gset
SELECT id = :a AS is_a, args, queue, priority, owner = quote_ident(current_user)::regrole AS mine, key, max_attempts, due_at = enqueued_at AS due_at_once FROM unrdf.jobs WHERE id = :a;
SELECT id = :b AS is_b, args, queue, priority, owner = quote_ident(current_user)::regrole AS mine, key, max_attempts, due_at AT TIME ZONE 'UTC' AS due_at, state FROM unrdf.jobs WHERE id = :b;
SELECT timeout_ms FROM unrdf.job WHERE id = :b;
SELECT timeout_ms IS NULL AS the_handlers FROM unrdf.job WHERE id = :a;
SELECT unrdf.wait(:a), unrdf.cancel(:b);
SELECT result FROM unrdf.receipt WHERE id = :a;
-- ids ascend, and xid is this transaction's
BEGIN;
SELECT unrdf.enqueue('enq_echo') AS a, unrdf.enqueue('enq_echo') AS b \gset
SELECT :b > :a AS ascend, (SELECT bool_and(xid = pg_current_xact_id()) FROM unrdf.job WHERE id IN (:a, :b)) AS xid;
COMMIT;

-- Rolled back, there was no job
BEGIN;
SELECT unrdf.enqueue('enq_echo') AS a \gset
ROLLBACK;
SELECT count(*) FROM unrdf.job WHERE id = :a;
BEGIN;
SAVEPOINT s;
SELECT unrdf.enqueue('enq_echo') AS a \gset
ROLLBACK TO s;
SELECT unrdf.enqueue('enq_echo') AS b \gset
COMMIT;
SELECT unrdf.wait(:b);
SELECT count(*) FROM unrdf.job WHERE id = :a;
SELECT count(*) FROM unrdf.receipt WHERE id = :a;

-- In bulk: ids in the order of the arguments
CREATE TEMP TABLE bulk AS
	SELECT id, n FROM unrdf.enqueue_many('enq_echo', ARRAY['{"n": 1}', '{"n": 2}', '{"n": 3}']::jsonb[], priority => 2, max_attempts => 1, timeout => '5 s')
		WITH ORDINALITY AS t (id, n);
SELECT n, args, priority, b.id - min(b.id) OVER () AS id FROM bulk AS b JOIN unrdf.jobs AS j ON j.id = b.id ORDER BY n;
SELECT unrdf.wait(id) FROM bulk;
SELECT count(*) FROM unrdf.enqueue_many('enq_echo', '{}');
-- also several dimensions and other lower bounds
SELECT count(*) FROM unrdf.enqueue_many('enq_echo', '[4:5]={"{\"n\": 1}","{\"n\": 2}"}'::jsonb[], queue => 'enq_paused');
-- Delays: a job is not begun before its time, and is due at it
SELECT unrdf.enqueue('enq_echo', run_at => now() + interval '1 hour') AS later \gset
SELECT unrdf.enqueue('enq_echo', run_at => now() - interval '1 hour') AS past \gset
SELECT unrdf.enqueue('enq_echo', run_at => clock_timestamp() + interval '300 ms') AS soon \gset
SELECT unrdf.wait(:past), unrdf.wait(:soon);
SELECT r.started_at >= j.run_at AS not_before FROM unrdf.job AS j JOIN unrdf.receipt AS r ON r.id = j.id WHERE j.id = :soon;
SELECT unrdf.wait(:later, '0') IS NULL AS waits, state FROM unrdf.jobs WHERE id = :later;
SELECT unrdf.cancel(:later);

-- Idempotency keys: the same job while it has not ended
SELECT unrdf.enqueue('enq_echo', '{"first": true}', queue => 'enq_paused', key => 'k1') AS a \gset
SELECT unrdf.enqueue('enq_echo', '{"first": false}', queue => 'enq_paused', key => 'k1') = :a AS same;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k2') = :a AS same;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_open', key => 'k1') = :a AS same;
SELECT args FROM unrdf.jobs WHERE id = :a;
-- also within one transaction, one statement, and after a savepoint was rolled back
BEGIN;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k3') = unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k3') AS same;
SAVEPOINT s;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k4') AS undone \gset
ROLLBACK TO s;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k4') AS b \gset
SELECT :b <> :undone AS other;
COMMIT;
SELECT count(*) FROM unrdf.jobs WHERE queue = 'enq_paused' AND key IN ('k3', 'k4');
-- once it has ended, a new one; within the window still the old one
SELECT unrdf.cancel(:a);
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k1', key_window => '1 hour') = :a AS same;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k1', key_window => '0') AS b \gset
SELECT :b <> :a AS other;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'k1') = :b AS same;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_open', key => 'k5') AS a \gset
SELECT unrdf.wait(:a);
SELECT unrdf.enqueue('enq_echo', queue => 'enq_open', key => 'k5', key_window => '1 day') = :a AS same;
SELECT unrdf.enqueue('enq_echo', queue => 'enq_open', key => 'k5', key_window => '0') = :a AS same;
-- keys in bulk: twice the same in one call, one that is held, none
SELECT unrdf.enqueue('enq_echo', queue => 'enq_paused', key => 'held') AS held \gset
CREATE TEMP TABLE keyed AS
	SELECT id, n FROM unrdf.enqueue_many('enq_echo', ARRAY['1', '2', '3', '4', '5', '6']::jsonb[], queue => 'enq_paused',
		keys => ARRAY['m1', NULL, 'held', 'm1', NULL, 'm2']) WITH ORDINALITY AS t (id, n);
SELECT k.n, dense_rank() OVER (ORDER BY k.id = :held, k.id) AS job, k.id = :held AS held, j.key, j.args FROM keyed AS k JOIN unrdf.jobs AS j ON j.id = k.id ORDER BY k.n;
SELECT count(*) FROM unrdf.enqueue_many('enq_echo', (SELECT array_agg('1'::jsonb) FROM generate_series(1, 2000)), queue => 'enq_paused',
	keys => (SELECT array_agg('b' || i % 500) FROM generate_series(1, 2000) AS i));
SELECT count(*) FROM unrdf.jobs WHERE queue = 'enq_paused' AND key LIKE 'b%';
