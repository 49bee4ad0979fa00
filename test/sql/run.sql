-- Running jobs: effects and receipt, failures and what is kept of them, time-outs, and what a handler may leave behind: nothing.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA run;
CREATE TABLE run.effect (job bigint, n int);

-- Effects and receipt together
CREATE FUNCTION run.effect(job bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO run.effect VALUES (job, (args->>'n')::int);
	IF args ? 'fail' THEN
		RAISE EXCEPTION 'no';
	END IF;
	RETURN jsonb_build_object('doubled', (args->>'n')::int * 2);
END $$;
SELECT unrdf.register_handler('run_effect', 'run.effect(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_effect', '{"n": 21}') AS good, unrdf.enqueue('run_effect', '{"n": 1, "fail": true}') AS bad \gset
SELECT unrdf.wait(:good), unrdf.wait(:bad);
SELECT n, e.xmin = r.xmin AS same_transaction, kind, outcome, attempt, operation, actor = current_user AS actor, subject, revision, result, payload, octet_length(salt) AS salt,
	started_at <= finished_at AS in_order
FROM run.effect AS e JOIN unrdf.receipt AS r ON r.id = e.job WHERE e.job = :good;
SELECT count(*) AS effects_of_the_dead FROM run.effect WHERE job = :bad;
SELECT kind, outcome, attempt, operation, actor = current_user AS actor, result FROM unrdf.receipt WHERE id = :bad;
-- a job that fails in a group takes no neighbour with it, and no effect twice
CREATE TEMP TABLE grouped AS
	SELECT id, n FROM unrdf.enqueue_many('run_effect', (SELECT array_agg(CASE WHEN i % 10 = 0 THEN jsonb_build_object('n', i, 'fail', true) ELSE jsonb_build_object('n', i) END ORDER BY i)
		FROM generate_series(1, 300) AS i)) WITH ORDINALITY AS t (id, n);
SELECT unrdf.wait(id) AS outcome, count(*), bool_and((n % 10 = 0) = (unrdf.wait(id) = 'dead')) AS right FROM grouped GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT job), sum(e.n) FROM run.effect AS e JOIN grouped AS g ON g.id = e.job;

-- Who is who inside
CREATE ROLE regress_unrdf_producer;
SELECT unrdf.grant_access('regress_unrdf_producer', 'producer');
GRANT USAGE ON SCHEMA run TO regress_unrdf_producer;
CREATE FUNCTION run.who(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('current_user', current_user, 'session_user', (SELECT oid FROM pg_roles WHERE rolname = session_user),
		'is_superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
		'application', current_setting('application_name'), 'path', current_setting('search_path'), 'database', current_database()) $$;
SELECT unrdf.register_handler('run_who', 'run.who(jsonb)', max_attempts => 1);
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('run_who') AS job \gset
RESET ROLE;
SELECT unrdf.wait(:job);
SELECT result - 'database' AS result, result->>'database' = current_database() AS here FROM unrdf.receipt WHERE id = :job;
SELECT actor FROM unrdf.receipt WHERE id = :job;

-- Failures: retried with what was raised, then dead, then revived
CREATE FUNCTION run.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'could not %', args->>'do' USING ERRCODE = 'UN042', DETAIL = 'It was the ' || (args->>'what'), HINT = 'Try tea.';
END $$;
SELECT unrdf.register_handler('run_fail', 'run.fail(jsonb)', max_attempts => 3, backoff => '2 ms', backoff_cap => '3 ms');
SELECT unrdf.enqueue('run_fail', '{"do": "brew", "what": "kettle"}') AS job \gset
SELECT unrdf.wait(:job);
SELECT n, sqlstate, message, detail, hint, context, retry_at IS NULL AS last, started_at <= finished_at AS in_order FROM unrdf.attempt WHERE job = :job ORDER BY n;
SELECT state, attempts, max_attempts, last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;
SELECT bool_and(b.started_at >= a.retry_at) AS not_before FROM unrdf.attempt AS a JOIN unrdf.attempt AS b ON b.job = a.job AND b.n = a.n + 1 WHERE a.job = :job;
-- mended, it comes back by revive, with the attempts counted anew
CREATE OR REPLACE FUNCTION run.fail(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT unrdf.revive(:job) AS revived \gset
SELECT unrdf.wait(:revived);
SELECT state, attempts, retry_of = :job AS of_it, args FROM unrdf.jobs WHERE id = :revived;
SELECT state FROM unrdf.jobs WHERE id = :job;
-- the pauses: 4 ms, doubled each time, at most 20 ms, and some of them shorter or longer by up to a quarter
CREATE FUNCTION run.always(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'always'; END $$;
SELECT unrdf.register_handler('run_always', 'run.always(jsonb)', max_attempts => 6, backoff => '4 ms', backoff_cap => '20 ms');
CREATE TEMP TABLE always AS SELECT unrdf.enqueue('run_always') AS id FROM generate_series(1, 60);
SELECT unrdf.wait(id) AS outcome, count(*) FROM always GROUP BY 1;
SELECT a.n, count(*), bool_and(pause BETWEEN floor(0.75 * p.base) AND 1.25 * p.base) AS in_bounds,
	count(*) FILTER (WHERE pause < p.base) > 0 AS some_shorter, count(*) FILTER (WHERE pause > p.base) > 0 OR p.base = 4 AS some_longer
FROM unrdf.attempt AS a JOIN always ON id = a.job JOIN (VALUES (1, 4), (2, 8), (3, 16), (4, 20), (5, 20)) AS p (n, base) ON p.n = a.n,
	LATERAL (SELECT extract(epoch FROM a.retry_at - a.finished_at) * 1000 AS pause) AS t
GROUP BY a.n, p.base ORDER BY 1;
SELECT count(*) AS last_ones, count(retry_at) AS with_a_pause FROM unrdf.attempt JOIN always ON id = job WHERE n = 6;
SELECT bool_and(b.started_at >= a.retry_at) AS not_before FROM always JOIN unrdf.attempt AS a ON a.job = id JOIN unrdf.attempt AS b ON b.job = a.job AND b.n = a.n + 1;
-- a job's own limit comes before the handler's
SELECT unrdf.enqueue('run_always', max_attempts => 2) AS job \gset
SELECT unrdf.wait(:job);
SELECT state, attempts, max_attempts FROM unrdf.jobs WHERE id = :job;
-- the second attempt succeeds: the receipt says so
CREATE SEQUENCE run.tries;
CREATE FUNCTION run.second(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	try bigint := nextval('run.tries');
BEGIN
	IF try = 1 THEN
		PERFORM 1 / 0;
	END IF;
	RETURN to_jsonb(try);
END $$;
SELECT unrdf.register_handler('run_second', 'run.second(jsonb)', backoff => '0', backoff_cap => '0');
SELECT unrdf.enqueue('run_second') AS job \gset
SELECT unrdf.wait(:job);
SELECT outcome, attempt, result FROM unrdf.receipt WHERE id = :job;
SELECT n, sqlstate, message, retry_at IS NULL AS last FROM unrdf.attempt WHERE job = :job;

-- Time-outs: a sleeping handler; one that catches the cancel and goes on; the job's own limit before the handler's
CREATE FUNCTION run.sleep(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(3600) $$;
CREATE FUNCTION run.stubborn(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		BEGIN
			PERFORM pg_sleep(3600);
		EXCEPTION WHEN query_canceled THEN
			NULL;
		END;
	END LOOP;
END $$;
CREATE FUNCTION run.spin(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP END LOOP; END $$;
SELECT unrdf.register_handler('run_sleep', 'run.sleep(jsonb)', max_attempts => 1, timeout => '50 ms');
SELECT unrdf.register_handler('run_sleep_default', 'run.sleep(jsonb)', max_attempts => 1);
SELECT unrdf.register_handler('run_spin', 'run.spin(jsonb)', max_attempts => 1, timeout => '50 ms');
SELECT unrdf.register_handler('run_stubborn', 'run.stubborn(jsonb)', max_attempts => 1, timeout => '50 ms');
SELECT unrdf.enqueue('run_sleep') AS a, unrdf.enqueue('run_sleep_default', timeout => '50 ms') AS b, unrdf.enqueue('run_spin') AS c,
	unrdf.enqueue('run_stubborn') AS d \gset
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c), unrdf.wait(:d);
SELECT j.handler, state, last_sqlstate FROM unrdf.jobs AS j WHERE j.id IN (:a, :b, :c, :d) ORDER BY id;
SELECT message FROM unrdf.attempt WHERE job = :a;
-- a time-out shorter than a millisecond is one; a handler that catches the cancel and comes to its end has ended (tried
-- again, should the cancel come before it can catch anything)
CREATE FUNCTION run.patient(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(3600);
EXCEPTION WHEN query_canceled THEN
	RETURN '"after all"';
END $$;
SELECT unrdf.register_handler('run_patient', 'run.patient(jsonb)', max_attempts => 1000, timeout => '50 ms', backoff => '0');
SELECT unrdf.enqueue('run_patient') AS a, unrdf.enqueue('run_sleep_default', timeout => '1 us') AS b \gset
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT result FROM unrdf.receipt WHERE id = :a;
SELECT last_sqlstate FROM unrdf.jobs WHERE id = :b;
-- none
SELECT unrdf.register_handler('run_no_timeout', 'run.effect(bigint, jsonb)', max_attempts => 1, timeout => '0');
SELECT unrdf.enqueue('run_no_timeout', '{"n": 1}') AS a, unrdf.enqueue('run_effect', '{"n": 1}', timeout => '0') AS b \gset
SELECT unrdf.wait(:a), unrdf.wait(:b);

-- An error of 1 MB is clipped, on a character's boundary; one raised with DETAIL and no message has one
CREATE FUNCTION run.shout(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING MESSAGE = 'x' || repeat('é', 524288), DETAIL = repeat('d', 1048576), HINT = repeat('h', 1048576);
END $$;
SELECT unrdf.register_handler('run_shout', 'run.shout(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_shout') AS job \gset
SELECT unrdf.wait(:job);
SELECT octet_length(message) AS message, right(message, 1), octet_length(detail) AS detail, octet_length(hint) AS hint, octet_length(context) < 8193 AS context FROM unrdf.attempt WHERE job = :job;

CREATE FUNCTION run.mumble(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING DETAIL = 'only this', ERRCODE = 'UN043'; END $$;
SELECT unrdf.register_handler('run_mumble', 'run.mumble(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_mumble') AS job \gset
SELECT unrdf.wait(:job);
SELECT sqlstate, message <> '' AS message, detail, hint FROM unrdf.attempt WHERE job = :job;

-- A result that canonical JSON cannot carry is the job's failure
CREATE FUNCTION run.precise(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO run.effect VALUES (-1, 0); SELECT '9007199254740993'::jsonb $$;
SELECT unrdf.register_handler('run_precise', 'run.precise(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_precise') AS job \gset
SELECT unrdf.wait(:job);
SELECT last_sqlstate, (SELECT count(*) FROM run.effect WHERE job = -1) AS effects FROM unrdf.jobs WHERE id = :job;

-- A unique constraint of the handler's own table is the handler's failure, not taken for a cancel
CREATE TABLE run.once (id int PRIMARY KEY);
CREATE FUNCTION run.once(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO run.once VALUES (1) $$;
SELECT unrdf.register_handler('run_once', 'run.once(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_once') AS a \gset
SELECT unrdf.wait(:a);
SELECT unrdf.enqueue('run_once') AS b \gset
SELECT unrdf.wait(:b);
SELECT last_sqlstate FROM unrdf.jobs WHERE id = :b;
-- a deferred constraint is checked at once
CREATE TABLE run.later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION run.later(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO run.later VALUES (1), (1) $$;
SELECT unrdf.register_handler('run_later', 'run.later(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_later') AS a \gset
SELECT unrdf.wait(:a);
SELECT last_sqlstate, (SELECT count(*) FROM run.later) AS effects FROM unrdf.jobs WHERE id = :a;
CREATE OR REPLACE FUNCTION run.later(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO run.later VALUES (1), (2) $$;
SELECT unrdf.enqueue('run_later') AS a \gset
SELECT unrdf.wait(:a);
SELECT count(*) AS effects FROM run.later;

-- A handler that enqueues: both or neither
CREATE FUNCTION run.parent(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	child bigint := unrdf.enqueue('run_effect', '{"n": 5}');
BEGIN
	IF args ? 'fail' THEN
		RAISE EXCEPTION 'after all, no';
	END IF;
	RETURN to_jsonb(child);
END $$;
SELECT unrdf.register_handler('run_parent', 'run.parent(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_parent') AS a, unrdf.enqueue('run_parent', '{"fail": 1}') AS b \gset
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT result AS child FROM unrdf.receipt WHERE id = :a \gset
SELECT unrdf.wait(:child);

-- What a handler leaves in its session is gone for the next: one executor at a time, so the next job is in the same process
CREATE FUNCTION run.litter(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c refcursor;
	row record;
BEGIN
	PERFORM set_config('work_mem', '77MB', false), set_config('run.mine', 'left', false), set_config('TimeZone', 'Asia/Tokyo', false),
		set_config('statement_timeout', '1', false), set_config('role', 'none', true);
	RETURN '"no"';
EXCEPTION WHEN insufficient_privilege THEN
	PERFORM set_config('work_mem', '77MB', false), set_config('run.mine', 'left', false), set_config('TimeZone', 'Asia/Tokyo', false),
		set_config('search_path', 'run', false);
	PERFORM pg_advisory_lock(7702);
	PERFORM pg_advisory_lock_shared(7703);
	OPEN c FOR SELECT generate_series(1, 10);
	FETCH c INTO row;
	PERFORM nextval('run.tries');
	RETURN to_jsonb(pg_backend_pid());
END $$;
CREATE FUNCTION run.look(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	lastval_state text := 'set';
BEGIN
	BEGIN
		PERFORM currval('run.tries');
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		lastval_state := 'unset';
	END;
	RETURN jsonb_build_object('pid', pg_backend_pid(), 'work_mem', (SELECT setting = reset_val FROM pg_settings WHERE name = 'work_mem'), 'mine', coalesce(current_setting('run.mine', true), ''),
		'zone', current_setting('TimeZone') = (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'),
		'path', current_setting('search_path'), 'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid IN (7702, 7703)),
		'cursors', (SELECT count(*) FROM pg_cursors), 'currval', lastval_state);
END $$;
SELECT unrdf.create_queue('run_one', 1);
SELECT unrdf.register_handler('run_litter', 'run.litter(jsonb)', max_attempts => 1, own_transaction => true);
SELECT unrdf.register_handler('run_look', 'run.look(jsonb)', max_attempts => 1, own_transaction => true);
-- enough pairs that some look is in the process of a litter before it
CREATE TEMP TABLE pairs AS SELECT i, unrdf.enqueue('run_litter', queue => 'run_one') AS litter, unrdf.enqueue('run_look', queue => 'run_one') AS look FROM generate_series(1, 20) AS i;
SELECT unrdf.wait(litter) AS litter, unrdf.wait(look) AS look, count(*) FROM pairs GROUP BY 1, 2;
SELECT l.result - 'pid' AS seen, count(*) AS times, count(*) FILTER (WHERE EXISTS (SELECT FROM pairs AS q JOIN unrdf.receipt AS t ON t.id = q.litter
		WHERE q.i <= p.i AND t.result = l.result->'pid')) > 0 AS same_process
FROM pairs AS p JOIN unrdf.receipt AS l ON l.id = p.look GROUP BY 1;
SELECT count(*) AS locks_left FROM pg_locks WHERE locktype = 'advisory' AND objid IN (7702, 7703);
-- Temporary tables are refused
CREATE FUNCTION run.temp(args jsonb) RETURNS void LANGUAGE sql AS $$ CREATE TEMP TABLE t (x int) $$;
SELECT unrdf.register_handler('run_temp', 'run.temp(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_temp') AS job \gset
SELECT unrdf.wait(:job);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;

-- Transaction control is refused
CREATE FUNCTION run.commit(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO run.effect VALUES (-2, 0); COMMIT; END $$;
SELECT unrdf.register_handler('run_commit', 'run.commit(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('run_commit') AS job \gset
SELECT unrdf.wait(:job);
SELECT last_sqlstate, (SELECT count(*) FROM run.effect WHERE job = -2) AS effects FROM unrdf.jobs WHERE id = :job;

DROP OWNED BY regress_unrdf_producer;
DROP ROLE regress_unrdf_producer;
