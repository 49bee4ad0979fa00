-- Handlers: defaults of their jobs, kinds, versions, limits, what running jobs can ask and say.
CREATE SCHEMA hd;
CREATE TABLE hd.effect (job bigint, what text);
CREATE FUNCTION hd.note(id bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO hd.effect VALUES (id, args->>'what') RETURNING '1'::jsonb $$;
CREATE FUNCTION hd.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
CREATE ROLE regress_unrdf_producer LOGIN;
SELECT unrdf.grant_access('regress_unrdf_producer', 'producer');
GRANT USAGE ON SCHEMA hd TO regress_unrdf_producer;
GRANT INSERT, SELECT ON hd.effect TO regress_unrdf_producer;

-- Queue and priority of jobs that name none
SELECT unrdf.create_queue('hd_mail');
SELECT unrdf.pause_queue('hd_mail');
SELECT unrdf.register_handler('hd_note', 'hd.note(bigint, jsonb)', queue => 'hd_mail', priority => 2);
SELECT unrdf.register_handler('hd_plain', 'hd.note(bigint, jsonb)');
SELECT unrdf.enqueue('hd_note') AS a, unrdf.enqueue('hd_note', queue => 'default', priority => 9) AS b, unrdf.enqueue('hd_plain', queue => NULL, priority => NULL) AS c,
	(SELECT * FROM unrdf.enqueue_many('hd_note', '{1}')) AS d, (SELECT * FROM unrdf.enqueue_many('hd_note', '{1}', priority => 0)) AS e \gset
SELECT queue, priority FROM unrdf.jobs WHERE id IN (:a, :b, :c, :d, :e) ORDER BY id;
SELECT unrdf.cancel(:a), unrdf.cancel(:d), unrdf.cancel(:e), unrdf.wait(:b), unrdf.wait(:c);
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', queue => 'hd_nowhere');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', priority => 10);
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', kind => 'thing');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', kind => NULL);
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', version_policy => 'oldest');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', version_policy => NULL);
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', memory_limit => '1 kB');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', memory_limit => 'much');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', max_result_size => '0');
SELECT unrdf.register_handler('hd_bad', 'hd.note(bigint, jsonb)', max_result_size => '2 TB');

-- The job that runs
CREATE FUNCTION hd.self(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('same', j.owner = current_user::regrole AND j.started_at >= j.enqueued_at) || to_jsonb(j) - 'id' - 'owner' - 'enqueued_at' - 'started_at' FROM unrdf.current_job() AS j $$;
SELECT unrdf.register_handler('hd_self', 'hd.self(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('hd_self', key => 'hd', priority => 3) AS a, unrdf.enqueue('hd_self') AS b \gset
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT result FROM unrdf.receipt WHERE id IN (:a, :b) ORDER BY id;
SELECT * FROM unrdf.current_job();

-- Snooze: no failure, no effect, also where the handler goes on
CREATE SEQUENCE hd.tries;
CREATE FUNCTION hd.sleepy(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	try bigint := nextval('hd.tries');
BEGIN
	INSERT INTO hd.effect VALUES (id, 'try ' || try);
	IF try = 2 THEN
		RAISE EXCEPTION 'failed once';
	ELSIF try < 4 THEN
		BEGIN
			PERFORM unrdf.snooze('1 ms');
		EXCEPTION WHEN query_canceled THEN
			NULL;
		END;
	END IF;
	RETURN to_jsonb(try);
END $$;
SELECT unrdf.register_handler('hd_sleepy', 'hd.sleepy(bigint, jsonb)', max_attempts => 2, backoff => '1 ms');
SELECT unrdf.enqueue('hd_sleepy') AS a \gset
SELECT unrdf.wait(:a);
SELECT outcome, attempt, result FROM unrdf.receipt WHERE id = :a;
SELECT n, failures, snoozed, sqlstate, message, retry_at IS NOT NULL AS again FROM unrdf.attempt WHERE job = :a ORDER BY n;
SELECT what FROM hd.effect WHERE job = :a;
SELECT state, attempts, max_attempts, last_error FROM unrdf.jobs WHERE id = :a;
CREATE FUNCTION hd.later(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT unrdf.snooze('1 hour') $$;
SELECT unrdf.register_handler('hd_later', 'hd.later(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('hd_later') AS a \gset
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM unrdf.jobs WHERE handler = 'hd_later' AND state = 'scheduled') LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT state, attempts, last_error, due_at > now() + interval '59 minutes' AS in_an_hour FROM unrdf.jobs WHERE id = :a;
SELECT unrdf.cancel(:a);
SELECT unrdf.snooze('1 s');
SELECT unrdf.snooze('-1 s');
-- a failure stays one while the job snoozes, a snooze is none, and numbers and reasons know both
CREATE FUNCTION hd.moody(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	doing text := args->>((SELECT j.attempt FROM unrdf.current_job() AS j) - 1);
BEGIN
	IF doing = 'fail' THEN
		RAISE EXCEPTION 'bad mood';
	ELSIF doing IS NOT NULL THEN
		PERFORM unrdf.snooze(doing::interval);
	END IF;
END $$;
SELECT unrdf.create_queue('hd_moods');
SELECT unrdf.register_handler('hd_moody', 'hd.moody(bigint, jsonb)', max_attempts => 3, backoff => '1 ms', backoff_cap => '1 ms', queue => 'hd_moods');
SELECT unrdf.enqueue('hd_moody', '["1 ms"]') AS a, unrdf.enqueue('hd_moody', '["1 hour"]') AS b, unrdf.enqueue('hd_moody', '["1 ms", "fail", "1 hour"]') AS c, unrdf.enqueue('hd_moody', '["fail", "1 ms", "fail", "fail"]') AS d \gset
SELECT unrdf.wait(:a), unrdf.wait(:d);
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.jobs WHERE handler = 'hd_moody' AND due_at > now() + interval '59 minutes') < 2 LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT state, attempts FROM unrdf.jobs WHERE id IN (:a, :b, :c, :d) ORDER BY id;
SELECT pending, scheduled, running, retrying, succeeded, dead, cancelled FROM unrdf.queue_depths WHERE queue = 'hd_moods';
SELECT facts->>'reason' AS reason, sentence ~ '^It snoozes until .*, as it said in attempt \d\.$' AS sentence, facts->'failed_attempts' AS failed FROM unnest(ARRAY[:b, :c]::bigint[]) AS j (id), unrdf.why(j.id);
SELECT unrdf.cancel(:b), unrdf.cancel(:c);
SELECT pending, scheduled, running, retrying, succeeded, dead, cancelled FROM unrdf.queue_depths WHERE queue = 'hd_moods';
SELECT id = :b AS b, attempt FROM unrdf.receipt WHERE id IN (:b, :c) ORDER BY id;
CALL unrdf.drop_queue('hd_moods');
SELECT unrdf.register_handler('hd_moody', 'hd.moody(bigint, jsonb)');
CALL unrdf.drop_queue('hd_moods');
SELECT unrdf.register_handler('hd_moody', 'hd.moody(bigint, jsonb)', queue => 'hd_moods');
-- a job whose time is over has failed, whatever it asked for before
CREATE FUNCTION hd.undecided(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unrdf.snooze('1 ms');
EXCEPTION WHEN query_canceled THEN
	PERFORM pg_sleep(3600);
END $$;
SELECT unrdf.register_handler('hd_undecided', 'hd.undecided(jsonb)', max_attempts => 1, timeout => '20 ms');
SELECT unrdf.enqueue('hd_undecided') AS a \gset
SELECT unrdf.wait(:a);
SELECT failures, snoozed, sqlstate FROM unrdf.attempt WHERE job = :a;

-- Progress
CREATE FUNCTION hd.busy(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unrdf.progress(1);
	PERFORM unrdf.progress(25, 200, repeat('ä', 200));
	PERFORM pg_advisory_xact_lock(7731);
END $$;
GRANT EXECUTE ON FUNCTION hd.busy(jsonb) TO regress_unrdf_producer;
SELECT unrdf.register_handler('hd_busy', 'hd.busy(jsonb)');
SELECT pg_advisory_lock(7731);
SELECT unrdf.enqueue('hd_busy') AS a \gset
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM unrdf.stat_progress WHERE done = 25) LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT job = :a AS this, attempt, handler, done, total, percent, octet_length(note), note = repeat('ä', 127) AS clipped, changed_at >= started_at AS in_order FROM unrdf.stat_progress;
SET ROLE regress_unrdf_producer;
SELECT count(*) FROM unrdf.stat_progress;
SELECT count(*) FROM unrdf.job_progress();
RESET ROLE;
GRANT pg_read_all_stats TO regress_unrdf_producer;
SET ROLE regress_unrdf_producer;
SELECT count(*) FROM unrdf.stat_progress;
RESET ROLE;
REVOKE pg_read_all_stats FROM regress_unrdf_producer;
CREATE ROLE regress_unrdf_operator;
SELECT unrdf.grant_access('regress_unrdf_operator', 'operator');
SET ROLE regress_unrdf_operator;
SELECT done, note FROM unrdf.stat_progress;
RESET ROLE;
DROP OWNED BY regress_unrdf_operator;
DROP ROLE regress_unrdf_operator;
SELECT pg_advisory_unlock(7731);
SELECT unrdf.wait(:a);
SELECT count(*) FROM unrdf.stat_progress WHERE job = :a;
SELECT unrdf.progress(1, 2, 'nobody listens');
SELECT unrdf.progress(NULL);
SELECT unrdf.progress(-1);
SELECT unrdf.progress(1, -1);

-- Results that are too large
SELECT unrdf.register_handler('hd_echo', 'hd.echo(jsonb)', max_attempts => 1, max_result_size => '1 kB');
SELECT unrdf.enqueue('hd_echo', to_jsonb(repeat('x', 900))) AS a, unrdf.enqueue('hd_echo', to_jsonb(repeat('x', 1100))) AS b \gset
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT last_sqlstate, last_error, (SELECT result IS NULL FROM unrdf.receipt WHERE id = :b) AS no_result FROM unrdf.jobs WHERE id = :b;
CREATE FUNCTION hd.large(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', (args->>'n')::int)) $$;
SELECT unrdf.register_handler('hd_large', 'hd.large(jsonb)', max_attempts => 1);
SELECT unrdf.register_handler('hd_larger', 'hd.large(jsonb)', max_attempts => 1, max_result_size => '2 MB');
SELECT unrdf.enqueue('hd_large', '{"n": 1100000}') AS a, unrdf.enqueue('hd_larger', '{"n": 1100000}') AS b \gset
SELECT unrdf.wait(:a) AS default_limit, unrdf.wait(:b) AS own_limit;

-- Memory: what goes beyond the limit is refused, and the process is as it was
CREATE FUNCTION hd.swell(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	a bytea[];
BEGIN
	FOR i IN 1..(args->>'mb')::int LOOP
		a[i] := decode(repeat(to_hex(i % 10), 2097152), 'hex');
	END LOOP;
	RETURN to_jsonb(cardinality(a));
END $$;
SELECT unrdf.register_handler('hd_swell', 'hd.swell(jsonb)', max_attempts => 1, memory_limit => '64 MB');
SELECT unrdf.register_handler('hd_free', 'hd.swell(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('hd_swell', '{"mb": 8}') AS a, unrdf.enqueue('hd_swell', '{"mb": 400}') AS b, unrdf.enqueue('hd_free', '{"mb": 100}') AS c, unrdf.enqueue('hd_swell', '{"mb": 8}') AS d \gset
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c), unrdf.wait(:d);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :b;
-- in one process, one after the other
SELECT unrdf.create_queue('hd_alone', 1);
CREATE TEMP TABLE pairs AS SELECT unrdf.enqueue('hd_swell', '{"mb": 1}', queue => 'hd_alone') AS limited, unrdf.enqueue('hd_free', '{"mb": 150}', queue => 'hd_alone') AS free FROM generate_series(1, 6);
SELECT unrdf.wait(limited) AS limited, unrdf.wait(free) AS free, count(*) FROM pairs GROUP BY 1, 2;

-- Procedures commit; their receipts say what that means
CREATE PROCEDURE hd.steps(id bigint, args jsonb) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..2 LOOP
		INSERT INTO hd.effect VALUES (id, 'step ' || i);
		COMMIT;
	END LOOP;
	INSERT INTO hd.effect VALUES (id, current_user || ' ' || (SELECT (j.id = steps.id)::text FROM unrdf.current_job() AS j));
	IF args ? 'fail' THEN
		RAISE EXCEPTION 'as asked';
	ELSIF args ? 'snooze' AND (SELECT count(*) FROM hd.effect AS e WHERE e.job = steps.id) < 4 THEN
		PERFORM unrdf.snooze('1 ms');
	END IF;
END $$;
CREATE PROCEDURE hd.lone(args jsonb) LANGUAGE sql AS $$ INSERT INTO hd.effect VALUES (0, 'lone') $$;
SELECT unrdf.register_handler('hd_steps', 'hd.steps(bigint, jsonb)', kind => 'procedure', max_attempts => 1);
SELECT unrdf.register_handler('hd_lone', 'hd.lone(jsonb)', kind => 'procedure', max_attempts => 1);
SELECT unrdf.enqueue('hd_steps') AS a, unrdf.enqueue('hd_steps', '{"fail": 1}') AS b, unrdf.enqueue('hd_lone') AS c, unrdf.enqueue('hd_steps', '{"snooze": 1}') AS d \gset
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c), unrdf.wait(:d);
SELECT CASE job WHEN :a THEN 'a' WHEN :b THEN 'b' WHEN :d THEN 'd' ELSE 'c' END AS job, what FROM hd.effect WHERE job IN (0, :a, :b, :d) ORDER BY 1, ctid;
SELECT r->>'outcome' AS outcome, r->>'delivery' AS delivery, r->>'attempt' AS attempt FROM unnest(ARRAY[:a, :b, :c, :d]::bigint[]) AS id, unrdf.receipt(id) AS r ORDER BY id;
SELECT n, failures, snoozed, sqlstate, message, context FROM unrdf.attempt WHERE job IN (:b, :d) ORDER BY job, n;
SELECT unrdf.receipt(:a) ? 'delivery' AS said, (SELECT count(*) FROM unrdf.receipt AS r WHERE r.delivery IS NOT NULL AND r.operation !~ '^hd_(steps|lone)') AS of_others;
-- it is part of what is proved
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.receipt) > (SELECT size FROM unrdf.log_size()) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT verdict FROM unrdf.verify(:a);
BEGIN;
UPDATE unrdf.receipt SET delivery = NULL WHERE id = :a;
SELECT verdict FROM unrdf.verify(:a);
ROLLBACK;
-- as the owner, who has to be able to log in; a time-out and a cancel reach it
GRANT EXECUTE ON PROCEDURE hd.steps(bigint, jsonb) TO regress_unrdf_producer;
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('hd_steps') AS a \gset
SELECT unrdf.wait(:a);
RESET ROLE;
SELECT what, (SELECT actor FROM unrdf.receipt WHERE id = :a) FROM hd.effect WHERE job = :a ORDER BY ctid DESC LIMIT 1;
ALTER ROLE regress_unrdf_producer NOLOGIN;
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('hd_steps') AS a \gset
SELECT unrdf.wait(:a);
RESET ROLE;
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :a;
CREATE PROCEDURE hd.escape(args jsonb) LANGUAGE plpgsql AS $$
BEGIN
	COMMIT;
	EXECUTE args->>'do';
END $$;
GRANT EXECUTE ON PROCEDURE hd.escape(jsonb) TO regress_unrdf_producer;
ALTER ROLE regress_unrdf_producer LOGIN;
SELECT unrdf.register_handler('hd_escape', 'hd.escape(jsonb)', kind => 'procedure', max_attempts => 1);
SET ROLE regress_unrdf_producer;
CREATE TEMP TABLE escapes AS SELECT x.sql, unrdf.enqueue('hd_escape', jsonb_build_object('do', x.sql)) AS id FROM unnest(ARRAY['SET ROLE pg_read_all_data', 'SET SESSION AUTHORIZATION DEFAULT; TABLE unrdf.job',
	'RESET ROLE; TABLE unrdf.job', 'SET LOCAL SESSION AUTHORIZATION pg_read_all_data', 'CREATE TABLE hd.mine (x int)', 'TABLE unrdf.receipt', 'SELECT unrdf.pause_queue(''default'')']) AS x (sql);
SELECT sql, unrdf.wait(id) FROM escapes;
RESET ROLE;
SELECT e.sql, j.last_sqlstate FROM escapes AS e JOIN unrdf.jobs AS j USING (id) ORDER BY e.id;
CREATE PROCEDURE hd.endless(args jsonb) LANGUAGE plpgsql AS $$ BEGIN COMMIT; PERFORM unrdf.progress(1); PERFORM pg_sleep(3600); END $$;
SELECT unrdf.register_handler('hd_endless', 'hd.endless(jsonb)', kind => 'procedure', max_attempts => 1, timeout => '0');
SELECT unrdf.enqueue('hd_endless', timeout => '50 ms') AS a, unrdf.enqueue('hd_endless') AS b \gset
SELECT unrdf.wait(:a);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :a;
SELECT format('DO $do$ BEGIN WHILE NOT EXISTS (SELECT FROM unrdf.stat_progress WHERE job = %s) LOOP PERFORM pg_sleep(0.001); END LOOP; END $do$', :b) AS wait_until_it_runs \gset
:wait_until_it_runs;
SELECT unrdf.cancel(:b);
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'unrdf session') LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT state, attempts FROM unrdf.jobs WHERE id = :b;
SELECT r->>'outcome' AS outcome, r->>'delivery' AS delivery FROM unrdf.receipt(:b) AS r;
SELECT unrdf.register_handler('hd_bad', 'hd.echo(jsonb)', kind => 'procedure');
SELECT unrdf.register_handler('hd_bad', 'hd.lone(jsonb)');

-- Commands outside of transactions
CREATE FUNCTION hd.command(args jsonb) RETURNS text LANGUAGE sql AS $$ SELECT args->>'do' $$;
SELECT unrdf.register_handler('hd_command', 'hd.command(jsonb)', kind => 'command', max_attempts => 1);
SELECT unrdf.create_queue('hd_one_at_a_time', 1);
CREATE TEMP TABLE commands AS SELECT x.sql, unrdf.enqueue('hd_command', jsonb_build_object('do', x.sql), queue => 'hd_one_at_a_time') AS id FROM unnest(ARRAY['VACUUM (ANALYZE) hd.effect', 'REINDEX TABLE CONCURRENTLY hd.effect',
	'CREATE INDEX CONCURRENTLY effect_idx ON hd.effect (job)', 'VACUUM hd.effect; VACUUM hd.effect', 'SELECT 1', 'COMMIT', 'VACUUM hd.nothing', 'not SQL', '', NULL]) AS x (sql);
-- not by unrdf.wait(): its snapshot is what the creation of an index waits for
DO $$ BEGIN WHILE EXISTS (SELECT FROM commands AS c WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = c.id)) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT c.sql, j.state, j.last_sqlstate, r.result, r.delivery FROM commands AS c JOIN unrdf.jobs AS j USING (id) JOIN unrdf.receipt AS r USING (id) ORDER BY id;
SELECT indexrelid::regclass, indisvalid FROM pg_index WHERE indrelid = 'hd.effect'::regclass;
SELECT unrdf.register_handler('hd_bad', 'hd.echo(jsonb)', kind => 'command');

-- Versions: jobs that wait run by the newest, or by what they were enqueued for
CREATE FUNCTION hd.one(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
CREATE FUNCTION hd.two(id bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '2'::jsonb $$;
SELECT unrdf.create_queue('hd_later');
SELECT unrdf.pause_queue('hd_later');
SELECT unrdf.register_handler('hd_newest', 'hd.one(jsonb)', max_attempts => 1), unrdf.register_handler('hd_pinned', 'hd.one(jsonb)', max_attempts => 1, version_policy => 'pinned');
SELECT unrdf.enqueue('hd_newest', queue => 'hd_later') AS a, unrdf.enqueue('hd_pinned', queue => 'hd_later') AS b \gset
SELECT unrdf.register_handler('hd_newest', 'hd.two(bigint, jsonb)', max_attempts => 1), unrdf.register_handler('hd_pinned', 'hd.two(bigint, jsonb)', max_attempts => 1, version_policy => 'pinned');
SELECT unrdf.enqueue('hd_newest', queue => 'hd_later') AS c, unrdf.enqueue('hd_pinned', queue => 'hd_later') AS d \gset
SELECT unrdf.register_handler('hd_pinned', 'hd.two(bigint, jsonb)', max_attempts => 2, version_policy => 'pinned');
SELECT unrdf.register_handler('hd_pinned', 'hd.lone(jsonb)', kind => 'procedure', max_attempts => 1, version_policy => 'pinned');
SELECT unrdf.enqueue('hd_pinned', queue => 'hd_later') AS e \gset
SELECT unrdf.resume_queue('hd_later');
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c), unrdf.wait(:d), unrdf.wait(:e);
SELECT h.name, j.handler_version, r.result, r.delivery FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) JOIN unrdf.handler AS h ON h.id = j.handler WHERE j.id IN (:a, :b, :c, :d, :e) ORDER BY j.id;
SELECT h.name, h.version, (SELECT string_agg(v.version || ' ' || v.function || ' ' || v.kind, ', ' ORDER BY v.version) FROM unrdf.handler_version AS v WHERE v.handler = h.id) AS before
FROM unrdf.handler AS h WHERE name IN ('hd_newest', 'hd_pinned') ORDER BY name;
-- what is gone is a failure of the job; revived, it is still what it was enqueued for
SELECT unrdf.pause_queue('hd_later');
SELECT unrdf.register_handler('hd_pinned', 'hd.one(jsonb)', max_attempts => 1, version_policy => 'pinned');
SELECT unrdf.enqueue('hd_pinned', queue => 'hd_later') AS a \gset
SELECT unrdf.register_handler('hd_pinned', 'hd.two(bigint, jsonb)', max_attempts => 1, version_policy => 'pinned');
DROP FUNCTION hd.one(jsonb);
SELECT unrdf.resume_queue('hd_later');
SELECT unrdf.wait(:a);
SELECT last_sqlstate FROM unrdf.jobs WHERE id = :a;
SELECT unrdf.register_handler('hd_pinned', 'hd.two(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.revive(:a) AS again \gset
SELECT unrdf.wait(:again);
SELECT result FROM unrdf.receipt WHERE id = :again;

-- Arguments have to fit their schema when they are enqueued, and only then
SELECT unrdf.register_handler('hd_schema', 'hd.echo(jsonb)', max_attempts => 1, queue => 'hd_later',
	args_schema => '{"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"], "additionalProperties": false}');
SELECT unrdf.pause_queue('hd_later');
SELECT unrdf.enqueue('hd_schema', '{"n": 1}') AS a \gset
SELECT unrdf.enqueue('hd_schema', '{"n": 0}');
SELECT unrdf.enqueue('hd_schema');
SELECT unrdf.enqueue_many('hd_schema', '{"{\"n\": 1}", "{\"n\": 1, \"m/\": 2}"}');
SELECT count(*) FROM unrdf.jobs WHERE handler = 'hd_schema';
SELECT unrdf.register_handler('hd_schema', 'hd.echo(jsonb)', max_attempts => 1, args_schema => '{"required": ["m"]}');
SELECT unrdf.enqueue('hd_schema', '{"n": 1}');
SELECT unrdf.enqueue('hd_schema', '{"m": 1}') AS b \gset
SELECT unrdf.resume_queue('hd_later');
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT handler_version, r.result FROM unrdf.job JOIN unrdf.receipt AS r USING (id) WHERE id IN (:a, :b) ORDER BY id;
SELECT unrdf.register_handler('hd_schema', 'hd.echo(jsonb)', args_schema => '{"required": "m"}');
SELECT unrdf.register_handler('hd_schema', 'hd.echo(jsonb)', args_schema => '{"properties": {"a": {"dependentRequired": {}}}}');
SELECT unrdf.register_handler('hd_schema', 'hd.echo(jsonb)', args_schema => '{"pattern": "("}');

-- Encrypted arguments. The key is the handler's owner's; who enqueues has no right to it.
CREATE TABLE hd.vault (key text);
INSERT INTO hd.vault VALUES ('correct horse');
CREATE FUNCTION hd.key() RETURNS text LANGUAGE sql STABLE AS $$ SELECT key FROM hd.vault $$;
CREATE FUNCTION hd.open(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args->'card' $$;
REVOKE EXECUTE ON FUNCTION hd.key() FROM PUBLIC;
SELECT unrdf.register_handler('hd_secret', 'hd.open(jsonb)', max_attempts => 1, encrypt_args => 'hd.key()', args_schema => '{"required": ["card"]}', queue => 'hd_later');
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('hd_secret', '{"card": "4111"}') AS a, (SELECT * FROM unrdf.enqueue_many('hd_secret', ARRAY['{"card": [1.50, "ü"]}']::jsonb[])) AS b \gset
SELECT unrdf.enqueue('hd_secret', '{"cart": "4111"}');
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT hd.key();
SELECT args::text LIKE '{"encrypted": "%"}' AS envelope, args::text LIKE '%4111%' AS plain FROM unrdf.jobs WHERE id IN (:a, :b);
RESET ROLE;
SELECT result FROM unrdf.receipt WHERE id IN (:a, :b) ORDER BY id;
SELECT pgp_sym_decrypt(decode(args->>'encrypted', 'base64'), 'correct horse') FROM unrdf.job WHERE id = :a;
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.receipt) > (SELECT size FROM unrdf.log_size()) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT verdict FROM unrdf.verify(:a);
-- another key, or none; another key function, under which the old one's jobs are still opened with theirs
SELECT unrdf.pause_queue('hd_later');
SELECT unrdf.enqueue('hd_secret', '{"card": 1}') AS a, unrdf.enqueue('hd_secret', '{"card": 2}') AS b \gset
UPDATE hd.vault SET key = 'battery';
SELECT unrdf.resume_queue('hd_later');
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id IN (:a, :b);
SELECT context FROM unrdf.attempt WHERE job = :a;
UPDATE hd.vault SET key = 'correct horse';
CREATE FUNCTION hd.new_key() RETURNS text LANGUAGE sql AS $$ SELECT 'staple' $$;
SELECT unrdf.register_handler('hd_secret', 'hd.open(jsonb)', max_attempts => 1, encrypt_args => 'hd.new_key()');
SELECT unrdf.revive(:a) AS a, unrdf.enqueue('hd_secret', '{"card": 3}') AS c \gset
SELECT unrdf.register_handler('hd_secret', 'hd.open(jsonb)', max_attempts => 1);
SELECT unrdf.revive(:b) AS b, unrdf.enqueue('hd_secret', '{"card": 4}') AS d \gset
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c), unrdf.wait(:d);
SELECT result FROM unrdf.receipt WHERE id IN (:a, :b, :c, :d) ORDER BY id;
SELECT args ? 'encrypted' AS encrypted FROM unrdf.job WHERE id IN (:a, :b, :c, :d) ORDER BY id;
DELETE FROM hd.vault;
SELECT unrdf.register_handler('hd_secret', 'hd.open(jsonb)', encrypt_args => 'hd.key()');
SELECT unrdf.enqueue('hd_secret', '{"card": 5}');
SELECT unrdf.register_handler('hd_bad', 'hd.open(jsonb)', encrypt_args => 'hd.open(jsonb)');
SELECT unrdf.register_handler('hd_bad', 'hd.open(jsonb)', encrypt_args => 0);

-- Who may
SET ROLE regress_unrdf_producer;
SELECT unrdf.register_handler('hd_mine', 'hd.echo(jsonb)');
TABLE unrdf.handler_version;
RESET ROLE;
SELECT unrdf.grant_access('regress_unrdf_producer', 'operator');
SET ROLE regress_unrdf_producer;
SELECT unrdf.register_handler('hd_mine', 'hd.echo(jsonb)');
SELECT unrdf.register_handler('hd_mine', 'hd.echo(jsonb)', encrypt_args => 'hd.key()');
SELECT unrdf.register_handler('hd_plain', 'hd.echo(jsonb)');
RESET ROLE;
SELECT name, version FROM unrdf.handler WHERE name IN ('hd_mine', 'hd_plain', 'hd_bad') ORDER BY name;
DROP OWNED BY regress_unrdf_producer;
DELETE FROM unrdf.handler WHERE name = 'hd_mine';
DROP ROLE regress_unrdf_producer;
