-- Depth limits: queues that are full, who is refused, who waits, who is warned.
SET statement_timeout = '60s';
SET client_min_messages = warning;
CREATE SCHEMA dp;
CREATE FUNCTION dp.act(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'enqueue' THEN
		PERFORM unrdf.enqueue('dp_act', queue => args->>'enqueue');
	END IF;
END $$;
CREATE FUNCTION dp.raised(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
CREATE PROCEDURE dp.await(query text) LANGUAGE plpgsql AS $$
DECLARE
	done boolean := false;
BEGIN
	WHILE NOT done LOOP
		EXECUTE query INTO done;
		COMMIT;
	END LOOP;
END $$;
SELECT unrdf.register_handler('dp_act', 'dp.act(jsonb)', max_attempts => 2, backoff => '1 hour', backoff_cap => '1 hour', own_transaction => true);
SELECT unrdf.create_queue('dp_a'), unrdf.create_queue('dp_b');
SELECT unrdf.pause_queue('dp_a');
SELECT statement, r.code, r.message FROM unnest(ARRAY['{"max_depth": 0}', '{"max_depth": 1.5}', '{"max_depth": "x"}', '{"when_full": "wait"}', '{"max_depth": 1, "when_full": "drop"}', '{"max_depth": 1, "when_full": 1}']) AS statement,
	dp.raised(format('SELECT unrdf.alter_queue(''dp_a'', %L)', statement)) AS r;
SELECT unrdf.alter_queue('dp_a', '{"max_depth": 3}');
SELECT max_depth, when_full FROM unrdf.queues WHERE name IN ('dp_a', 'dp_b') ORDER BY name;

-- Rejected: one by one, and many wholly; a key that is held needs no room
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a', key => 'dp_k') AS e;
SELECT r.* FROM dp.raised('SELECT unrdf.enqueue_many(''dp_act'', array_fill(''{}''::jsonb, ARRAY[3]), queue => ''dp_a'')') AS r;
SELECT count(*) FROM unrdf.enqueue_many('dp_act', array_fill('{}'::jsonb, ARRAY[2]), queue => 'dp_a', run_at => 'tomorrow');
SELECT r.* FROM dp.raised('SELECT unrdf.enqueue(''dp_act'', queue => ''dp_a'')') AS r;
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue_many(''dp_act'', ''{"{}","{}"}'', queue => ''dp_a'', keys => ''{dp_k,dp_l}'')') AS r;
SELECT count(DISTINCT id) AS same FROM unrdf.enqueue_many('dp_act', '{"{}","{}"}', queue => 'dp_a', keys => '{dp_k,dp_k}') AS id;
SELECT (e.job = (SELECT min(id) FROM unrdf.jobs WHERE queue = 'dp_a')) AS held, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a', key => 'dp_k') AS e;
SELECT e.job, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue_once(''dp_act'', ''{}'', ''dp_new'', queue => ''dp_a'')') AS r;
-- Debounce puts a job in another's place
SELECT unrdf.debounce('dp_act', '{}', 'dp_k', '1 hour', queue => 'dp_a') IS NOT NULL AS replaced;
SELECT unrdf.queue_depth('dp_a') AS depth;
-- Jobs that wait for others count from the beginning
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue_after(''{}'', ''dp_act'', queue => ''dp_a'')') AS r;
SELECT count(*) AS cancelled FROM unrdf.cancel_jobs(queue => 'dp_a', state => 'scheduled', most => 2);
SELECT count(*) FROM unrdf.fan_out('{}', 'dp_act', '{"{}","{}"}', queue => 'dp_a');
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue_after(''{}'', ''dp_act'', queue => ''dp_a'')') AS r;
CALL dp.await('SELECT waiting = 0 FROM unrdf.queue_depths WHERE queue = ''dp_a''');
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue(''dp_act'', queue => ''dp_a'')') AS r;
-- A revived job is a new one
SELECT r.code FROM dp.raised('SELECT unrdf.revive(max(id)) FROM unrdf.jobs WHERE queue = ''dp_a'' AND state = ''cancelled'' AND key IS NULL') AS r;

-- In one transaction: rolled back to a savepoint, ended and enqueued, prepared
SELECT count(*) AS cancelled FROM unrdf.cancel_jobs(queue => 'dp_a');
BEGIN;
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;
SAVEPOINT s;
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM generate_series(1, 3) AS i, unrdf.try_enqueue('dp_act', jsonb_build_object('i', i), queue => 'dp_a') AS e;
ROLLBACK TO s;
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM generate_series(1, 3) AS i, unrdf.try_enqueue('dp_act', jsonb_build_object('i', i), queue => 'dp_a') AS e;
PREPARE TRANSACTION 'dp';
BEGIN;
SELECT count(*) FROM unrdf.enqueue_many('dp_act', array_fill('{}'::jsonb, ARRAY[3]), queue => 'dp_a');
COMMIT;
BEGIN;
SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'dp_a' AND state = 'pending';
SAVEPOINT s;
SELECT (e.job IS NOT NULL) AS in_its_place, e.depth FROM generate_series(1, 2) AS i, unrdf.try_enqueue('dp_act', jsonb_build_object('i', i), queue => 'dp_a') AS e;
ROLLBACK TO s;
SAVEPOINT s;
SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'dp_a' AND state = 'pending';
RELEASE s;
SELECT (e.job IS NOT NULL) AS in_its_place, e.depth FROM generate_series(1, 3) AS i, unrdf.try_enqueue('dp_act', jsonb_build_object('i', i), queue => 'dp_a') AS e;
COMMIT;
SELECT unrdf.queue_depth('dp_a') AS depth;
BEGIN;
SAVEPOINT s;
SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'dp_a' AND state = 'pending';
ROLLBACK TO s;
SELECT r.code FROM dp.raised('SELECT unrdf.enqueue(''dp_act'', queue => ''dp_a'')') AS r;
ROLLBACK;

-- A limit that is lowered ends nothing; one that goes leaves all in
SELECT unrdf.alter_queue('dp_a', '{"max_depth": 1}');
SELECT e.job, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;
SELECT unrdf.alter_queue('dp_a', '{"max_depth": null}');
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;

-- Warned, once in a statement
SELECT unrdf.alter_queue('dp_a', '{"max_depth": 5, "when_full": "warn"}');
SELECT count(*) FROM unrdf.enqueue_many('dp_act', '{"{}"}', queue => 'dp_a');
SELECT count(unrdf.enqueue('dp_act', queue => 'dp_a')) FROM generate_series(1, 3);
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;

-- Who would have to wait for itself, or for whom it may hold up, is refused at once
SELECT count(*) AS cancelled FROM unrdf.cancel_jobs(queue => 'dp_a');
SELECT unrdf.alter_queue('dp_a', '{"max_depth": 2, "when_full": "wait"}');
SELECT r.code, r.detail FROM dp.raised('SELECT unrdf.enqueue_many(''dp_act'', array_fill(''{}''::jsonb, ARRAY[3]), queue => ''dp_a'')') AS r;
BEGIN;
SELECT count(*) FROM unrdf.enqueue_many('dp_act', '{"{}"}', queue => 'dp_a');
SELECT r.code, r.detail FROM dp.raised('SELECT unrdf.enqueue_many(''dp_act'', ''{"{}","{}"}'', queue => ''dp_a'')') AS r;
SELECT (e.job IS NOT NULL) AS enqueued, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;
SELECT r.code, r.detail FROM dp.raised('SELECT unrdf.enqueue(''dp_act'', queue => ''dp_a'')') AS r;
COMMIT;
-- time-outs
SET lock_timeout = '10ms';
SELECT r.* FROM dp.raised('SELECT unrdf.enqueue(''dp_act'', queue => ''dp_a'')') AS r;
RESET lock_timeout;
SET statement_timeout = '50ms';
SELECT unrdf.enqueue('dp_act', queue => 'dp_a');
SET statement_timeout = '60s';
SELECT e.job, e.depth FROM unrdf.try_enqueue('dp_act', queue => 'dp_a') AS e;

-- A job that finds its queue full fails an attempt, and a schedule's tick stays due: neither waits
SELECT unrdf.enqueue('dp_act', '{"enqueue": "dp_a"}', queue => 'dp_b') AS job \gset
CALL dp.await(format('SELECT state = ''retrying'' FROM unrdf.jobs WHERE id = %s', :job));
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;
SELECT unrdf.cancel(:job);
SELECT unrdf.schedule('dp', '@daily', 'dp_act', queue => 'dp_a') > now() AS later;
UPDATE unrdf.schedule SET since = now() - interval '2 days' WHERE name = 'dp';
CALL unrdf.run_schedules(wait => false);
SELECT s.next_at < now() AS still_due, (SELECT count(*) FROM unrdf.schedule_runs AS r WHERE r.schedule = 'dp') AS runs FROM unrdf.schedules AS s WHERE s.name = 'dp';
SELECT r.code FROM dp.raised('SELECT unrdf.run_schedule_now(''dp'')') AS r;
SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'dp_a' AND state = 'pending';
CALL unrdf.run_schedules(wait => false);
SELECT action, (SELECT state FROM unrdf.jobs WHERE id = r.job) AS state FROM unrdf.schedule_runs AS r WHERE schedule = 'dp';
SELECT unrdf.unschedule('dp');
-- the test of schedules begins with none
DELETE FROM unrdf.schedule_run;

-- Events wait for room in their table; a statement whose trigger finds none is refused, or waits, itself
SELECT unrdf.create_queue('dp_c'), unrdf.pause_queue('dp_c'), unrdf.alter_queue('dp_c', '{"max_depth": 2, "when_full": "wait"}');
SELECT unrdf.on_event('dp.*', 'dp_act', queue => 'dp_c') AS subscription \gset
SELECT count(unrdf.emit('dp.thing', jsonb_build_object('i', i))) FROM generate_series(1, 5) AS i;
CALL dp.await('SELECT unrdf.queue_depth(''dp_c'') = 2');
SELECT unrdf.cancel(min(id)) FROM unrdf.jobs WHERE queue = 'dp_c' AND state = 'pending';
CALL dp.await('SELECT count(*) = 3 AND unrdf.queue_depth(''dp_c'') = 2 FROM unrdf.jobs WHERE queue = ''dp_c''');
SELECT array_agg(args->'payload'->'i' ORDER BY id) AS in_order FROM unrdf.jobs WHERE queue = 'dp_c';
SELECT unrdf.drop_on_event(:subscription);
CREATE TABLE dp.orders (id int PRIMARY KEY);
SELECT unrdf.on_change('dp.orders', 'dp_act', '{insert}', queue => 'dp_c') AS change \gset
SELECT unrdf.alter_queue('dp_c', '{"when_full": "reject"}');
SELECT r.code FROM dp.raised('INSERT INTO dp.orders VALUES (1)') AS r;
SELECT unrdf.alter_queue('dp_c', '{"max_depth": 3}');
INSERT INTO dp.orders VALUES (2);
SELECT count(*) AS orders, unrdf.queue_depth('dp_c') AS depth FROM dp.orders;
SELECT unrdf.drop_on_change(:change);
CALL unrdf.drop_queue('dp_c', waiting => 'cancel');

-- What stands for work that was admitted needs no room: compensations, and what is moved
SELECT unrdf.alter_queue('dp_b', '{"max_depth": 1}');
SELECT unrdf.create_workflow('dp', saga => true) AS w \gset
SELECT unrdf.enqueue_after('{}', 'dp_act', queue => 'dp_b', workflow => :w, compensate => 'dp_act') AS step \gset
SELECT unrdf.wait(:step);
SELECT unrdf.pause_queue('dp_b');
SELECT count(*) FROM unrdf.enqueue_many('dp_act', '{"{}"}', queue => 'dp_b');
SELECT unrdf.cancel_workflow(:w);
CALL dp.await('SELECT pending = 2 FROM unrdf.queue_depths WHERE queue = ''dp_b''');
CALL unrdf.drop_queue('dp_a', waiting => 'move', move_to => 'dp_b');
SELECT pending, unrdf.queue_depth('dp_b') AS depth FROM unrdf.queue_depths WHERE queue = 'dp_b';
CALL unrdf.drop_queue('dp_b', waiting => 'cancel');
DROP SCHEMA dp CASCADE;
