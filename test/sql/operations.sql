-- Queues at run time, many jobs at once, numbers of queues, and why a job does not run.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA op;
-- fails, or waits for a lock that this session holds
CREATE FUNCTION op.act(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'lock' THEN
		PERFORM pg_advisory_xact_lock((args->>'lock')::bigint);
	END IF;
	IF args ? 'fail' THEN
		RAISE EXCEPTION '%', args->>'fail' USING ERRCODE = 'OP001';
	END IF;
END $$;
CREATE FUNCTION op.raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
CREATE PROCEDURE op.await(job bigint, wanted text) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT facts->>'reason' FROM unrdf.why(job)) IS DISTINCT FROM wanted LOOP
		COMMIT;
	END LOOP;
END $$;
-- what the numbers say, beside what counting says: nothing where they agree
CREATE VIEW op.differs AS
	SELECT d.*, c.* FROM unrdf.queue_depths AS d
	JOIN (SELECT q.name, count(*) FILTER (WHERE state = 'pending') AS n_pending, count(*) FILTER (WHERE state = 'scheduled') AS n_scheduled, count(*) FILTER (WHERE state = 'running') AS n_running,
			count(*) FILTER (WHERE state = 'retrying') AS n_retrying, count(*) FILTER (WHERE state = 'succeeded') AS n_succeeded, count(*) FILTER (WHERE state = 'dead') AS n_dead,
			count(*) FILTER (WHERE state = 'cancelled') AS n_cancelled, count(*) FILTER (WHERE state = 'waiting') AS n_waiting, count(*) FILTER (WHERE state = 'skipped') AS n_skipped
		FROM unrdf.queue AS q LEFT JOIN (unrdf.jobs AS j JOIN (SELECT id, queue FROM unrdf.job UNION SELECT id, queue FROM unrdf.waiting_job) AS k ON k.id = j.id) ON k.queue = q.id WHERE q.dropped_at IS NULL GROUP BY 1) AS c ON c.name = d.queue
	WHERE (pending, scheduled, running, retrying, succeeded, dead, cancelled, waiting, skipped) IS DISTINCT FROM (n_pending, n_scheduled, n_running, n_retrying, n_succeeded, n_dead, n_cancelled, n_waiting, n_skipped);
-- numbers follow a commit by an instant, and so may what runs
CREATE PROCEDURE op.agree() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM op.differs) LOOP
		COMMIT;
	END LOOP;
END $$;
SELECT unrdf.register_handler('op_act', 'op.act(jsonb)', max_attempts => 2, backoff => '1 hour', backoff_cap => '1 hour', own_transaction => true);
SELECT unrdf.create_queue('op_a'), unrdf.create_queue('op_b'), unrdf.create_queue('op_c');

-- Scaling
SELECT unrdf.alter_queue('op_a', '{"max_running": 3}');
SELECT max_running, paused FROM unrdf.queues WHERE name = 'op_a';
SELECT unrdf.alter_queue('op_a', '{"max_running": null}'), unrdf.pause_queue('op_a');
SELECT max_running, paused FROM unrdf.queues WHERE name = 'op_a';
SELECT unrdf.resume_queue('op_a');
SELECT statement, r.* FROM unnest(ARRAY[
	'SELECT unrdf.queue_is_drained(''op_a'', ''0'')',
	'SELECT unrdf.queue_is_shut(''op_a'', ''0'')',
	'SELECT unrdf.queue_is_shut(''op_a'', ''-1 s'')',
	'SELECT unrdf.queue_is_shut(NULL)',
	'SELECT unrdf.remove_queue(''op_a'')',
	'SELECT unrdf.empty_queue(''op_a'', 0, 0)',
	'SELECT unrdf.empty_queue(NULL, 0, 1)',
	'SELECT unrdf.queue_depth(''op_none'')',
	'CALL unrdf.drop_queue(''default'')',
	'CALL unrdf.drop_queue(''op_a'', ''burn'')',
	'CALL unrdf.drop_queue(''op_a'', NULL)',
	'CALL unrdf.drop_queue(''op_a'', ''move'')',
	'CALL unrdf.drop_queue(''op_a'', ''cancel'', ''op_b'')',
	'CALL unrdf.drop_queue(''op_a'', ''move'', ''op_a'')',
	'SELECT unrdf.cancel_jobs()',
	'SELECT unrdf.cancel_jobs(state => ''succeeded'')',
	'SELECT unrdf.cancel_jobs(queue => ''op_a'', most => 0)',
	'SELECT unrdf.cancel_jobs(queue => ''op_a'', most => 100001)',
	'SELECT unrdf.cancel_jobs(queue => ''op_a'', most => NULL)',
	'SELECT unrdf.retry_jobs(state => ''pending'')',
	'SELECT unrdf.erase_jobs(''because'')',
	'SELECT unrdf.cancel_each(ARRAY[NULL]::bigint[])',
	'SELECT unrdf.cancel_each(ARRAY[-1])',
	'SELECT unrdf.revive_each(ARRAY[-1])',
	'SELECT unrdf.why(-1)'
	]) AS statement, op.raised(statement) AS r;
CALL unrdf.drop_queue('op_none');
CALL unrdf.drain_queue('op_none');
BEGIN;
CALL unrdf.drain_queue('op_a', '1 s');
ROLLBACK;
SELECT (SELECT count(*) FROM unrdf.cancel_each(NULL)) AS strict, (SELECT count(*) FROM unrdf.cancel_each('{}')) AS none;

-- A queue limited to one, with a job that runs, one behind it, and all other states
SELECT unrdf.alter_queue('op_a', '{"max_running": 1}');
SELECT pg_advisory_lock(7710);
SELECT unrdf.enqueue('op_act', '{"fail": "first"}', queue => 'op_a') AS retrying \gset
CALL op.await(:retrying, 'retrying');
SELECT unrdf.enqueue('op_act', '{"lock": 7710}', queue => 'op_a') AS running \gset
CALL op.await(:running, 'running');
SELECT unrdf.enqueue('op_act', '{"secret": 1}', queue => 'op_a', key => 'op-limited') AS limited,
	unrdf.enqueue('op_act', queue => 'op_a', run_at => '2100-01-01 00:00:00+00') AS scheduled \gset
SET timezone = 'UTC';
SELECT regexp_replace(sentence, 'process \d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00', '…', 'g') AS sentence, facts - '{pid,since,due_at}'::text[] AS facts
FROM unnest(ARRAY[:running, :limited, :scheduled, :retrying]) AS job, unrdf.why(job);
CALL op.agree();
SELECT * FROM unrdf.queue_depths WHERE queue LIKE 'op\_%' ORDER BY queue;
-- paused
SELECT unrdf.pause_queue('op_a');
SELECT facts->>'reason' AS reason, sentence LIKE 'Its queue "op_a" is paused, since % by %' AS sentence FROM unrdf.why(:limited);
SELECT unrdf.resume_queue('op_a');
-- of this transaction
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_b') AS own \gset
SELECT sentence FROM unrdf.why(:own);
ROLLBACK;
-- a cancel that has not been committed
BEGIN;
SELECT unrdf.cancel(:scheduled);
SELECT facts->>'reason' AS reason FROM unrdf.why(:scheduled);
PREPARE TRANSACTION 'op_cancel';
SELECT sentence, facts->>'reason' AS reason FROM unrdf.why(:scheduled);
ROLLBACK PREPARED 'op_cancel';
SELECT facts->>'reason' AS reason FROM unrdf.why(:scheduled);

-- Numbers: rolled back with savepoints and transactions, prepared, in procedures
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_b', run_at => 'tomorrow') > 0 AS a;
SAVEPOINT s;
SELECT count(*) FROM unrdf.enqueue_many('op_act', array_fill('{}'::jsonb, ARRAY[10]), queue => 'op_b', run_at => 'tomorrow');
SAVEPOINT t;
SELECT unrdf.enqueue('op_act', queue => 'op_b', run_at => 'tomorrow') > 0 AS b;
RELEASE t;
SELECT unrdf.queue_depth('op_b') AS without_own;
ROLLBACK TO s;
SELECT unrdf.enqueue('op_act', queue => 'op_b', run_at => 'tomorrow') > 0 AS c;
COMMIT;
SELECT unrdf.queue_depth('op_b') AS depth;
SELECT * FROM op.differs;
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_b', run_at => 'tomorrow') > 0 AS prepared;
PREPARE TRANSACTION 'op_enqueue';
SELECT unrdf.queue_depth('op_b') AS depth;
COMMIT PREPARED 'op_enqueue';
SELECT unrdf.queue_depth('op_b') AS depth;
SELECT * FROM op.differs;
-- with own jobs uncommitted while somebody counts
SELECT unrdf.close_queue('op_b', true), unrdf.close_queue('op_b', false);
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_c', run_at => 'tomorrow') > 0 AS own;
PREPARE TRANSACTION 'op_enqueue';
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_b', run_at => 'tomorrow') > 0 AS own;
COMMIT PREPARED 'op_enqueue';
ROLLBACK;
COMMIT PREPARED 'op_enqueue';
BEGIN;
SELECT unrdf.enqueue('op_act', queue => 'op_c', run_at => 'tomorrow') > 0 AS own;
SELECT unrdf.queue_depth('op_c') AS without_own;
COMMIT;
SELECT unrdf.queue_depth('op_c') AS depth;
SELECT * FROM op.differs;

-- Many at once: by each filter, of what is there; none twice
SELECT count(*) FROM unrdf.enqueue_many('op_act', ARRAY(SELECT jsonb_build_object('n', i, 'odd', i % 2 = 1) FROM generate_series(1, 600) AS i), queue => 'op_c', run_at => 'tomorrow',
	keys => ARRAY(SELECT 'k' || i % 3 || '-' || i FROM generate_series(1, 600) AS i));
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_c', args_contain => '{"odd": true}', key_like => 'k1-%', most => 7);
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_c', args_contain => '{"odd": true}', key_like => 'k1-%');
SELECT count(*) AS n FROM unrdf.cancel_jobs(handler => 'op_act', state => 'scheduled', key_like => 'k2-%', enqueued_before => now() - interval '1 day');
SELECT count(*) AS n FROM unrdf.cancel_jobs(handler => 'op_act', state => 'scheduled', key_like => 'k2-%', enqueued_after => now() - interval '1 day', owner => current_user::regrole);
SELECT count(*) AS n FROM unrdf.cancel_jobs(owner => 'pg_monitor', key_like => 'k%');
SELECT state, count(*), count(*) FILTER (WHERE args @> '{"odd": true}') AS odd FROM unrdf.jobs WHERE key LIKE 'k_-%' GROUP BY 1 ORDER BY 1;
SELECT * FROM op.differs;
BEGIN;
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_c');
ROLLBACK;
SELECT unrdf.pause_queue('op_c');
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_c', state => 'cancelled', most => 10);
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_c');
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_c');
SELECT count(*) AS n, count(DISTINCT retry_of) AS of_jobs, bool_and(state = 'pending') AS pending FROM unrdf.jobs WHERE queue = 'op_c' AND retry_of IS NOT NULL;
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_c');
SELECT count(*) AS n FROM unrdf.erase_jobs('not needed', queue => 'op_c', key_like => 'k1-%');
SELECT count(*) AS n FROM unrdf.erase_jobs('not needed', queue => 'op_c', key_like => 'k1-%');
SELECT count(*) FILTER (WHERE args = '{}') AS erased, count(*) FROM unrdf.jobs WHERE key LIKE 'k1-%';
-- what was erased is not revived
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_c', key_like => 'k1-%');
SELECT * FROM op.differs;

-- Draining: no new ones, and what is there runs to its end
SELECT unrdf.cancel(:scheduled), unrdf.cancel(:retrying);
CALL unrdf.drain_queue('op_a', '0');
SELECT draining, paused FROM unrdf.queues WHERE name = 'op_a';
SELECT r.* FROM op.raised('SELECT unrdf.enqueue(''op_act'', queue => ''op_a'')') AS r;
SELECT r.* FROM op.raised('SELECT unrdf.enqueue_many(''op_act'', ''{"{}"}'', queue => ''op_a'')') AS r;
SELECT r.* FROM op.raised(format('SELECT unrdf.revive(%s)', :scheduled)) AS r;
SELECT unrdf.pause_queue('op_a');
SELECT r.code, r.message, r.hint FROM op.raised('SELECT unrdf.queue_is_drained(''op_a'')') AS r;
SELECT draining, paused FROM unrdf.queues WHERE name = 'op_a';
SELECT unrdf.resume_queue('op_a');
SELECT draining, paused FROM unrdf.queues WHERE name = 'op_a';
SELECT pg_advisory_unlock(7710);
CALL unrdf.drain_queue('op_a');
SELECT unrdf.queue_depth('op_a') AS depth, state FROM unrdf.jobs WHERE id = :limited;

-- Dropping
CALL unrdf.drop_queue('op_b');
SELECT draining FROM unrdf.queues WHERE name = 'op_b';
SELECT unrdf.pause_queue('op_b');
SELECT unrdf.create_queue('op_d');
SELECT unrdf.pause_queue('op_d');
SELECT unrdf.enqueue('op_act', '{"n": 1}', queue => 'op_b', key => 'same', priority => 2) AS first, unrdf.enqueue('op_act', '{"n": 2}', queue => 'op_d', key => 'same') AS second \gset
CALL unrdf.drop_queue('op_b', waiting => 'move', move_to => 'op_d');
SELECT args, key, priority, retry_of = :first AS of_first, state FROM unrdf.jobs WHERE queue = 'op_d' AND args ? 'n' ORDER BY id;
SELECT count(*) AS moved, count(*) FILTER (WHERE run_at IS NOT NULL) AS scheduled FROM unrdf.job WHERE queue = (SELECT id FROM unrdf.queue WHERE name = 'op_d') AND retry_of IS NOT NULL;
SELECT state, count(*) FROM unrdf.jobs WHERE queue = 'op_b' GROUP BY 1 ORDER BY 1;
SELECT r.* FROM op.raised('SELECT unrdf.enqueue(''op_act'', queue => ''op_b'')') AS r;
SELECT r.* FROM op.raised(format('SELECT unrdf.revive(id) FROM unrdf.jobs WHERE queue = ''op_b'' AND state = ''cancelled'' AND id <> %s LIMIT 1', :first)) AS r;
CALL unrdf.drop_queue('op_d', waiting => 'cancel');
CALL unrdf.drop_queue('op_c', waiting => 'cancel');
CALL unrdf.drop_queue('op_a');
SELECT count(*) AS open FROM unrdf.jobs WHERE queue LIKE 'op\_%' AND finished_at IS NULL;
SELECT name FROM unrdf.queues WHERE name LIKE 'op\_%';
-- the name is free
SELECT unrdf.create_queue('op_a');
SELECT unrdf.enqueue('op_act', queue => 'op_a') AS again \gset
SELECT unrdf.wait(:again);
SELECT sentence LIKE 'It has ended: succeeded since %, after 1 attempt.' AS sentence, facts->>'outcome' AS outcome FROM unrdf.why(:again);
SELECT count(*) AS two FROM unrdf.queue WHERE name = 'op_a';
SELECT * FROM op.differs;
CALL unrdf.drop_queue('op_a');

-- Jobs that wait for others: why, numbers, many at once, and in a queue that is dropped
SELECT unrdf.create_queue('op_w'), unrdf.create_queue('op_x'), unrdf.pause_queue('op_w');
SELECT unrdf.alter_queue('op_w', '{"share_by": "owner", "shares": {"op_somebody": 3}}');
SELECT unrdf.create_workflow('op') AS w \gset
SELECT unrdf.enqueue('op_act', queue => 'op_w') AS need, unrdf.enqueue('op_act', queue => 'op_w') AS other \gset
SELECT unrdf.enqueue_after(ARRAY[:need, :other], 'op_act', '{"n": 1}', queue => 'op_w', workflow => :w) AS a \gset
SELECT unrdf.enqueue_after(ARRAY[:a], 'op_act', queue => 'op_x', on_failure => '{skip}', workflow => :w) AS skips,
	unrdf.enqueue_after(ARRAY[:other], 'op_act', queue => 'op_x', on_failure => '{hold}') AS held \gset
SELECT replace(sentence, :need::text, 'need') AS sentence, facts->>'reason' AS reason, (facts->>'need')::bigint = :need AS need, facts->'needs' AS needs, facts->'open' AS open FROM unrdf.why(:a);
SELECT queue, pending, waiting, unrdf.queue_depth(queue) FROM unrdf.queue_depths WHERE queue IN ('op_w', 'op_x') ORDER BY 1;
-- nobody in between is moved, and the queue stays open
CALL unrdf.drop_queue('op_w', waiting => 'move', move_to => 'op_x');
SELECT draining, paused FROM unrdf.queues WHERE name = 'op_w';
SELECT id = :need AS need, id = :other AS other, state FROM unrdf.jobs WHERE id IN (:need, :other) ORDER BY 1;
BEGIN;
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_w', state => 'waiting');
SELECT state FROM unrdf.jobs WHERE id = :a;
ROLLBACK;
CALL op.agree();
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_w', state => 'waiting');
CALL op.await(:skips, 'ended');
SELECT sentence LIKE 'It has ended: skipped since %, after 0 attempts.' AS sentence, facts->'outcome' AS outcome FROM unrdf.why(:skips);
SELECT unrdf.cancel(:other);
CALL op.await(:held, 'held');
SELECT replace(sentence, :other::text, 'other') AS sentence FROM unrdf.why(:held);
CALL op.agree();
SELECT queue, pending, waiting, cancelled, skipped FROM unrdf.queue_depths WHERE queue IN ('op_w', 'op_x') ORDER BY 1;
-- revived they wait again; once their workflow has ended they are passed over
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_w', args_contain => '{"n": 1}');
SELECT state FROM unrdf.jobs WHERE retry_of = :a;
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_w', args_contain => '{"n": 1}');
SELECT unrdf.cancel_workflow(:w) AS n;
SELECT count(*) AS n FROM unrdf.retry_jobs(queue => 'op_w', args_contain => '{"n": 1}');
SELECT count(*) AS n FROM unrdf.erase_jobs('not needed', queue => 'op_w', state => 'cancelled');
SELECT count(*) AS kept FROM unrdf.waiting_job AS j JOIN unrdf.queue AS q ON q.id = j.queue WHERE q.name = 'op_w' AND j.args ? 'n';
SELECT r.* FROM op.raised('SELECT unrdf.close_queue(''op_w'', true); SELECT unrdf.enqueue_after(''{}'', ''op_act'', queue => ''op_w'')') AS r;
SELECT count(*) AS n FROM unrdf.fan_out(ARRAY[:need], 'op_act', array_fill('{}'::jsonb, ARRAY[1500]), queue => 'op_w');
CALL unrdf.drop_queue('op_w', waiting => 'cancel');
CALL unrdf.drop_queue('op_x', waiting => 'cancel');
SELECT state, count(*) FROM unrdf.jobs WHERE queue = 'op_w' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS shares FROM unrdf.share AS s WHERE s.name = 'op_somebody';
SELECT * FROM op.differs;
-- a compensation finds its step's queue dropped
SELECT unrdf.create_queue('op_x'), unrdf.create_workflow('op_saga', saga => true) AS w \gset
SELECT unrdf.enqueue_after('{}', 'op_act', queue => 'op_x', workflow => :w, compensate => 'op_act') AS step \gset
SELECT unrdf.wait(:step);
CALL unrdf.drop_queue('op_x');
SELECT unrdf.cancel_workflow(:w);
SELECT j.queue, unrdf.wait(j.id) FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job WHERE g.workflow = :w AND g.compensates = :step;

-- Workers outside: why, numbers, many at once, and a queue that is dropped
SELECT unrdf.create_queue('op_o'), unrdf.register_outside_handler('op_outside', backoff => '1 hour', backoff_cap => '1 hour'), unrdf.grant_queue('op_o', 'pg_monitor');
SELECT unrdf.enqueue('op_outside', queue => 'op_o') AS first, unrdf.enqueue('op_outside', queue => 'op_o') AS second \gset
CALL op.await(:second, 'unclaimed');
SELECT sentence, facts->'before' AS before FROM unrdf.why(:second);
SELECT token AS first_token FROM unrdf.claim('{op_o}') \gset
SELECT token AS second_token FROM unrdf.claim('{op_o}') \gset
SELECT sentence LIKE 'It runs, since % by a worker outside.' AS sentence, facts->>'role' = current_user AS role, facts->'attempt' AS attempt FROM unrdf.why(:first);
SELECT pending, running, retrying, unrdf.queue_depth(queue) FROM unrdf.queue_depths WHERE queue = 'op_o';
SELECT unrdf.fail(:first_token, 'no');
CALL op.await(:first, 'retrying');
CALL op.agree();
SELECT pending, running, retrying, unrdf.queue_depth(queue) FROM unrdf.queue_depths WHERE queue = 'op_o';
SELECT count(*) AS n FROM unrdf.cancel_jobs(queue => 'op_o', state => 'running');
SELECT r.code FROM op.raised(format('SELECT unrdf.complete(%s)', :second_token)) AS r;
CALL op.agree();
SELECT retrying, cancelled FROM unrdf.queue_depths WHERE queue = 'op_o';
CALL unrdf.drop_queue('op_o', waiting => 'cancel');
SELECT (unrdf.receipt(:first)->>'attempt')::int AS attempts_before_its_end, (SELECT count(*) FROM unrdf.queue_worker AS w WHERE w.role = 'pg_monitor'::regrole) AS grants;
SELECT * FROM op.differs;

-- Why: limits and rates of groups, and the queue's rate
SELECT pg_advisory_lock(7710);
SELECT unrdf.create_queue('op_e');
SELECT unrdf.alter_queue('op_e', '{"group_max_running": 1}');
SELECT unrdf.enqueue('op_act', '{"lock": 7710}', queue => 'op_e', group_key => 'g') AS first \gset
CALL op.await(:first, 'running');
SELECT unrdf.enqueue('op_act', queue => 'op_e', group_key => 'g') AS second \gset
CALL op.await(:second, 'group_limit');
SELECT sentence, facts->>'group' AS "group" FROM unrdf.why(:second);
SELECT unrdf.alter_queue('op_e', '{"group_max_running": null, "fifo": "wait"}');
CALL op.await(:second, 'group_order');
SELECT sentence FROM unrdf.why(:second);
SELECT unrdf.alter_queue('op_e', '{"fifo": null, "group_rate": 0.000001}');
SELECT unrdf.enqueue('op_act', queue => 'op_e', group_key => 'h') AS third \gset
CALL op.await(:third, 'group_rate');
SELECT regexp_replace(sentence, 'at \d.*$', 'at …') AS sentence, (facts->>'open_at')::timestamptz > now() + interval '1 day' AS later FROM unrdf.why(:third);
SELECT unrdf.alter_queue('op_e', '{"group_rate": null, "rate": 0.000001}');
SELECT unrdf.enqueue('op_act', queue => 'op_e') AS fourth \gset
CALL op.await(:fourth, 'queue_rate');
SELECT regexp_replace(sentence, 'at \d.*$', 'at …') AS sentence, (facts->>'open_at')::timestamptz > now() + interval '1 day' AS later FROM unrdf.why(:fourth);
CALL unrdf.drop_queue('op_e', waiting => 'cancel');
SELECT pg_advisory_unlock(7710);
DROP SCHEMA op CASCADE;
