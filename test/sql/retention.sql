-- Queues that keep arguments, results and texts of failures for a time only: where these are, who sees them, that nothing but time
-- explains that they are gone. When segments are emptied is a matter of t/041_retention.pl.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA rt;
CREATE FUNCTION rt.greet(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('greeting', 'hello ' || (args ->> 'name')) $$;
CREATE FUNCTION rt.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cannot greet %', args ->> 'name' USING DETAIL = 'a detail', HINT = 'a hint'; END $$;
CREATE FUNCTION rt.sum(id bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_agg(n.result ORDER BY n.need) FROM unrdf.needs_results(id) AS n $$;
CREATE FUNCTION rt.steps(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unrdf.save_step('first', '{"n": 1}');
	PERFORM unrdf.save_step('second', '{"n": 2}');
	RETURN jsonb_build_array(unrdf.step_done('second'), unrdf.step_done('first'), unrdf.step_done('third'));
END
$$;
CREATE FUNCTION rt.goes_on(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN unrdf.step_done('first'); END $$;
SELECT unrdf.register_handler('rt_greet', 'rt.greet(jsonb)'), unrdf.register_handler('rt_fail', 'rt.fail(jsonb)', max_attempts => 1), unrdf.register_handler('rt_sum', 'rt.sum(bigint, jsonb)'),
	unrdf.register_handler('rt_steps', 'rt.steps(bigint, jsonb)'), unrdf.register_handler('rt_goes_on', 'rt.goes_on(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('rt_ever'), unrdf.create_queue('rt_some'), unrdf.create_queue('rt_none');

-- Settings
SELECT unrdf.alter_queue('rt_some', '{"keep_args": "a while"}');
SELECT unrdf.alter_queue('rt_some', '{"keep_args": 7}');
SELECT unrdf.alter_queue('rt_some', '{"keep_args": "-1 second"}');
SELECT unrdf.alter_queue('rt_some', '{"keep_results": "1001 years"}');
SELECT unrdf.alter_queue('rt_some', '{"keep_attempts": []}');
SELECT unrdf.alter_queue('rt_some', '{"keep": "1 day"}');
SELECT unrdf.alter_queue('rt_some', '{"keep_args": "1 day", "keep_results": "90 minutes", "weight": 2}');
SELECT unrdf.alter_queue('rt_some', '{"keep_attempts": "0.2 seconds"}');
-- nothing new: no other rule
SELECT unrdf.alter_queue('rt_some', '{"keep_attempts": "1 second", "max_running": 3}');
SELECT unrdf.alter_queue('rt_some', '{"keep_args": "1 day", "keep_attempts": "2 days"}');
SELECT unrdf.alter_queue('rt_none', '{"keep_args": "0", "keep_results": "0", "keep_attempts": "0"}');
SELECT name, weight, max_running, keep_args, keep_results, keep_attempts FROM unrdf.queues WHERE name LIKE 'rt%' ORDER BY name;
SELECT q.name, t.keep_args, t.keep_results, t.keep_attempts, r.kind, r.payload, r.subject = 'retention/' || q.id AS subject, v.verdict IN ('ok', 'pending') AS verifies
FROM unrdf.retention AS t JOIN unrdf.queue AS q ON q.id = t.queue JOIN unrdf.receipt AS r ON r.id = t.id, unrdf.verify(t.id) AS v WHERE q.name LIKE 'rt%' ORDER BY t.id;
SELECT unrdf.record('update', 'retention/1', '{"keep_args": 0}');

-- Bodies are apart from rows, and seen all the same
SELECT unrdf.enqueue('rt_greet', '{"name": "Ada"}', 'rt_some') AS ok, unrdf.enqueue('rt_fail', '{"name": "Ada"}', 'rt_some') AS dead,
	unrdf.enqueue('rt_greet', '{"name": "Eve"}', 'rt_none') AS brief, unrdf.enqueue('rt_fail', '{"name": "Eve"}', 'rt_none') AS brief_dead, unrdf.enqueue('rt_greet', '{"name": "Bob"}', 'rt_ever') AS ever \gset
SELECT unrdf.wait(:ok), unrdf.wait(:dead), unrdf.wait(:brief), unrdf.wait(:brief_dead), unrdf.wait(:ever);
SELECT j.args, j.retention IS NOT NULL AS has_rule, r.result, r.result_hash IS NOT NULL AS has_result, a.sqlstate, a.message, a.detail, a.hint, a.context
FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) LEFT JOIN unrdf.attempt AS a ON a.job = j.id WHERE j.id IN (:ok, :dead, :ever) ORDER BY id;
SELECT args, state, last_sqlstate, last_error, args_expire_at - finished_at AS kept FROM unrdf.jobs WHERE id IN (:ok, :dead, :ever) ORDER BY id;
SELECT unrdf.kept(:ok, 0), unrdf.kept(:ok, -1), unrdf.kept(:ok, 1), unrdf.kept(:ever, 0), unrdf.kept(-7, 0);
SELECT unrdf.kept(:dead, 0), unrdf.kept(:dead, -1), unrdf.kept(:dead, 1) - 'context', unrdf.kept(:dead, 1) ? 'context';
SELECT count(*) >= 2 AS segments, bool_and(bytes > 0 AND span > '0') AS are_something FROM unrdf.segments;

-- Only its owner sees a job's
CREATE ROLE regress_unrdf_retention;
SELECT unrdf.grant_access('regress_unrdf_retention', 'producer');
SET ROLE regress_unrdf_retention;
SELECT unrdf.kept(:ok, 0), unrdf.kept(:ok, -1), unrdf.kept(:dead, 1);
SELECT unrdf.expire();
SELECT * FROM unrdf.segments;
SELECT * FROM unrdf.kept_0;
RESET ROLE;
DROP OWNED BY regress_unrdf_retention;
DROP ROLE regress_unrdf_retention;

-- In bulk, with keys, for later, revived
SELECT unrdf.pause_queue('rt_some');
SELECT array_agg(e) AS many FROM unrdf.enqueue_many('rt_greet', ARRAY['{"name": 1}', '{"name": 2}', '{"name": 3}']::jsonb[], 'rt_some', keys => ARRAY['a', 'b', 'a']) AS e \gset
SELECT unrdf.enqueue('rt_greet', '{"name": "later"}', 'rt_some', run_at => '2100-01-01') AS later, unrdf.revive(:dead) AS revived \gset
SELECT args, state FROM unrdf.jobs WHERE id IN (SELECT unnest(:'many'::bigint[]) UNION SELECT :later UNION SELECT :revived) ORDER BY id;
SELECT unrdf.cancel(:later);
SELECT unrdf.resume_queue('rt_some');
SELECT unrdf.wait(id) FROM unnest(:'many'::bigint[]) AS id;
SELECT unrdf.wait(:revived);

-- Jobs that wait, what they get, and steps
SELECT unrdf.enqueue_after(ARRAY[:ok, :ever], 'rt_sum', '{"wait": "for it"}', 'rt_some') AS sum \gset
SELECT unrdf.enqueue('rt_steps', '{}', 'rt_some') AS steps \gset
SELECT unrdf.wait(:sum), unrdf.wait(:steps);
SELECT w.args AS waiting_args, j.args, unrdf.kept(:sum, 0), unrdf.kept(:sum, -1) FROM unrdf.waiting_job AS w JOIN unrdf.job AS j USING (id) WHERE id = :sum;
SELECT s.name, s.result, s.part, unrdf.kept(:steps, s.part) FROM unrdf.job_step AS s WHERE s.job = :steps ORDER BY s.name;
SELECT unrdf.kept(:steps, -1);

-- All of it verifies
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict, reason FROM unnest(ARRAY[:ok, :dead, :ever, :sum, :steps, :later]) WITH ORDINALITY AS e (id, n), unrdf.verify(id) ORDER BY n;
SELECT count(*) FROM unrdf.verify_all();

-- A body that is another one, or is gone before its time, is found
CREATE FUNCTION rt.tamper(command text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN FOR i IN 0..69 LOOP EXECUTE replace(command, 'KEPT', 'unrdf.kept_' || i); END LOOP; END $$;
BEGIN;
SELECT rt.tamper(format('UPDATE KEPT SET body = ''{"name": "Bob"}'' WHERE job = %s AND part = 0', :ok));
SELECT verdict, reason FROM unrdf.verify(:ok);
SELECT count(*), min(reason) FROM unrdf.verify_all();
ROLLBACK;
BEGIN;
SELECT rt.tamper(format('UPDATE KEPT SET body = ''{"greeting": "hello Bob"}'' WHERE job = %s AND part = -1', :ok));
SELECT verdict, reason FROM unrdf.verify(:ok);
ROLLBACK;
BEGIN;
SELECT rt.tamper(format('DELETE FROM KEPT WHERE job = %s AND part = 0', :ok));
SELECT verdict, reason FROM unrdf.verify(:ok);
SELECT count(*), min(reason) FROM unrdf.verify_all();
ROLLBACK;
BEGIN;
SELECT rt.tamper(format('DELETE FROM KEPT WHERE job = %s AND part = -1', :ok));
SELECT verdict, reason FROM unrdf.verify(:ok);
ROLLBACK;
-- in a queue that keeps them for ever, whatever rule is named for it
BEGIN;
UPDATE unrdf.job SET args = NULL WHERE id = :ever;
SELECT verdict, reason FROM unrdf.verify(:ever);
UPDATE unrdf.job SET retention = (SELECT retention FROM unrdf.job WHERE id = :brief) WHERE id = :ever;
SELECT verdict, reason FROM unrdf.verify(:ever);
UPDATE unrdf.job SET retention = :ok WHERE id = :ever;
SELECT verdict, reason FROM unrdf.verify(:ever);
SELECT unrdf.alter_queue('rt_ever', '{"keep_args": "0"}');
UPDATE unrdf.job SET retention = (SELECT max(id) FROM unrdf.retention) WHERE id = :ever;
SELECT verdict, reason FROM unrdf.verify(:ever);
SELECT count(*) FROM unrdf.verify_all() AS v WHERE v.receipt = :ever;
ROLLBACK;

-- A body that has been carried over is found
BEGIN;
SELECT rt.tamper(format('WITH gone AS (DELETE FROM KEPT WHERE job = %s RETURNING *) INSERT INTO unrdf.kept_5 SELECT * FROM gone WHERE job NOT IN (SELECT k.job FROM unrdf.kept_5 AS k WHERE k.part = gone.part)', :dead));
SELECT args, last_error FROM unrdf.jobs WHERE id = :dead;
SELECT verdict, reason FROM unrdf.verify(:dead);
SELECT unrdf.revive(:revived) > 0 AS revived;
ROLLBACK;

-- What is past its time and gone has expired, by its rule, and nothing more
SELECT rt.tamper(format('DELETE FROM KEPT WHERE job IN (%s, %s)', :brief, :brief_dead));
SELECT args, state, last_error, args_expire_at = finished_at AS at_its_end FROM unrdf.jobs WHERE id IN (:brief, :brief_dead) ORDER BY id;
SELECT e.id = :brief AS first, v.verdict, replace(v.reason, 'receipt ' || j.retention, 'receipt OF THE RULE') AS reason, v.evidence IS NOT NULL AS evidence
FROM unnest(ARRAY[:brief, :brief_dead]) AS e (id) JOIN unrdf.job AS j USING (id), unrdf.verify(e.id) AS v ORDER BY 1 DESC;
SELECT count(*) FROM unrdf.verify_all();
CREATE FUNCTION rt.revive(job bigint, OUT state text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unrdf.revive(job);
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	message := replace(message, job::text, 'N');
END
$$;
SELECT * FROM rt.revive(:brief_dead);
-- what its receipt says is still checked
BEGIN;
UPDATE unrdf.receipt SET attempt = 7 WHERE id = :brief;
SELECT verdict, reason FROM unrdf.verify(:brief);
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET payload = jsonb_set(payload, '{keep_args}', 'null') WHERE id = (SELECT retention FROM unrdf.job WHERE id = :brief);
SELECT verdict, reason FROM unrdf.verify(:brief);
UPDATE unrdf.receipt SET payload = '{"keep_args": 1e300, "keep_results": -1}' WHERE id = (SELECT retention FROM unrdf.job WHERE id = :brief);
SELECT verdict, reason FROM unrdf.verify(:brief);
UPDATE unrdf.receipt SET payload = '[]' WHERE id = (SELECT retention FROM unrdf.job WHERE id = :brief);
SELECT verdict, reason FROM unrdf.verify(:brief);
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET payload = payload || '{"queue": "another"}' WHERE id = (SELECT retention FROM unrdf.job WHERE id = :brief);
SELECT verdict, reason FROM unrdf.verify(:brief);
ROLLBACK;
-- a result of a step that is gone is no reason to do it again
SELECT rt.tamper(format('DELETE FROM KEPT WHERE job = %s AND part = -2', :steps));
SELECT unrdf.enqueue('rt_goes_on', '{}', 'rt_some') AS goes_on \gset
SELECT unrdf.wait(:goes_on), unrdf.integrate() >= 0 AS integrated;
UPDATE unrdf.receipt SET outcome = 2 WHERE id = :goes_on;
UPDATE unrdf.job SET retry_of = :steps WHERE id = :goes_on;
SELECT unrdf.revive(:goes_on) AS again \gset
SELECT unrdf.wait(:again);
SELECT replace(last_error, :'steps', 'STEPS') AS last_error, replace(unrdf.kept(:again, 1) ->> 'detail', :'steps', 'STEPS') AS detail FROM unrdf.jobs WHERE id = :again;
UPDATE unrdf.job SET retry_of = NULL WHERE id = :goes_on;
UPDATE unrdf.receipt SET outcome = 1 WHERE id = :goes_on;

-- Erasing takes everything, wherever it is
SELECT unrdf.erase(:dead, 'asked by Ada') > 0 AS dead, unrdf.erase(:ok, 'asked by Ada') > 0 AS ok, unrdf.erase(:brief, 'asked by Eve') > 0 AS expired;
SELECT unrdf.integrate() >= 0 AS integrated;
CREATE TABLE rt.left (job bigint, part int, body jsonb);
SELECT rt.tamper(format('INSERT INTO rt.left SELECT job, part, body FROM KEPT WHERE job IN (%s, %s, %s)', :ok, :dead, :brief));
SELECT count(*) AS kept FROM rt.left;
SELECT args, last_error FROM unrdf.jobs WHERE id IN (:ok, :dead) ORDER BY id;
SELECT verdict, reason LIKE 'erased by leaf %' AS by_a_leaf FROM unnest(ARRAY[:ok, :dead, :brief]) AS id, unrdf.verify(id);
SELECT count(*) FROM unrdf.verify_all();

-- Settings that change hold for what comes after them
SELECT unrdf.alter_queue('rt_some', '{"keep_args": null, "keep_results": null, "keep_attempts": null}');
SELECT keep_args, keep_results, keep_attempts FROM unrdf.queues WHERE name = 'rt_some';
SELECT unrdf.enqueue('rt_greet', '{"name": "Zoe"}', 'rt_some') AS after \gset
SELECT unrdf.wait(:after);
SELECT j.args, j.retention, r.result FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE id = :after;
SELECT r.revision, r.payload FROM unrdf.receipt AS r WHERE r.subject = 'retention/' || (SELECT id FROM unrdf.queue WHERE name = 'rt_some') ORDER BY r.revision;
SELECT unrdf.expire() >= 0 AS expired;

-- Events
SELECT unrdf.keep_events('rt.*x', '1 day');
SELECT unrdf.keep_events(NULL, '1 day');
SELECT unrdf.keep_events('rt.*', '-1 day');
SELECT unrdf.keep_events('rt.*', '1001 years');
SELECT unrdf.keep_events('rt.*', '1 day'), unrdf.keep_events('rt.ever', '30 days'), unrdf.keep_events('rt.none', '1 day'), unrdf.keep_events('rt.none', NULL);
SELECT pattern, keep, set_by = current_user::regrole AS set_by FROM unrdf.event_retention ORDER BY pattern;
SELECT unrdf.emit('rt.made', '{"n": 1}') > 0 AS made, unrdf.emit('rt.ever', '{"n": 2}') > 0 AS ever, unrdf.emit('rt', '{"n": 3}') > 0 AS other, unrdf.emit('rt.made') > 0 AS without;
SELECT e.name, e.payload AS in_row, v.payload, e.kept_until - e.at AS kept FROM unrdf.event AS e JOIN unrdf.events AS v USING (id) WHERE e.name LIKE 'rt%' ORDER BY id;
CREATE ROLE regress_unrdf_retention;
SELECT unrdf.grant_access('regress_unrdf_retention', 'producer');
SELECT max(id) AS made FROM unrdf.event WHERE name = 'rt.ever' \gset
SET ROLE regress_unrdf_retention;
SELECT unrdf.kept(:made, 2147483647);
SELECT unrdf.keep_events('rt.*', '1 day');
RESET ROLE;
SELECT unrdf.grant_events('regress_unrdf_retention', 'rt.*');
SET ROLE regress_unrdf_retention;
SELECT unrdf.kept(:made, 2147483647);
SELECT payload FROM unrdf.events WHERE id = :made;
RESET ROLE;
SELECT unrdf.revoke_events('regress_unrdf_retention', 'rt.*');
DROP OWNED BY regress_unrdf_retention;
DROP ROLE regress_unrdf_retention;
SELECT unrdf.keep_events(pattern, NULL) FROM unrdf.event_retention;
DROP SCHEMA rt CASCADE;
