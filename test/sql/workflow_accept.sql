-- Whatever is enqueued, by a call, after other jobs, in a workflow, by a schedule or a rule of uniqueness, is accepted alike: the
-- handler's defaults, its schema, its encryption, its version.
SET client_min_messages = warning;
CREATE SCHEMA ac;
CREATE FUNCTION ac.one(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('one', args) $$;
CREATE FUNCTION ac.two(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('two', args) $$;
CREATE FUNCTION ac.fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE FUNCTION ac.key() RETURNS text LANGUAGE sql AS $$ SELECT 'correct horse' $$;
CREATE FUNCTION ac.other_key() RETURNS text LANGUAGE sql AS $$ SELECT 'battery' $$;
SELECT unrdf.create_queue('ac_own');
SELECT unrdf.register_handler('ac_default', 'ac.one(jsonb)', queue => 'ac_own', priority => 2, max_attempts => 1, version_policy => 'pinned',
	args_schema => '{"properties": {"n": {"minimum": 1}}}');

-- Queue and priority
SELECT unrdf.enqueue_after('{}', 'ac_default') AS a, unrdf.enqueue_after('{}', 'ac_default', queue => 'default', priority => 9) AS b,
	(SELECT * FROM unrdf.fan_out('{}', 'ac_default', '{1}')) AS c,
	(SELECT job FROM unrdf.throttle('ac_default', '{}', 'ac', '1 hour', group_key => 'g', tenant => 't')) AS d \gset
SELECT unrdf.start_workflow('ac', '{"steps": {"a": {"handler": "ac_default"}, "b": {"handler": "ac_default", "queue": "default", "priority": 0}}}') AS w \gset
SELECT unrdf.schedule('ac_default', '@yearly', 'ac_default') IS NOT NULL AS next, unrdf.schedule('ac_said', '@yearly', 'ac_default', queue => 'default', priority => 7) IS NOT NULL AS next;
SELECT unrdf.run_schedule_now('ac_default') AS e, unrdf.run_schedule_now('ac_said') AS f \gset
SELECT queue, priority FROM unrdf.jobs WHERE id IN (:a, :b, :c, :d, :e, :f) ORDER BY array_position(ARRAY[:a, :b, :c, :d, :e, :f]::bigint[], id);
SELECT g.name, j.queue, j.priority FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job WHERE g.workflow = :w ORDER BY g.name;
SELECT group_key, tenant FROM unrdf.job WHERE id = :d;

-- Schema: when it is enqueued, not when it is released or due
SELECT unrdf.enqueue_after('{}', 'ac_default', '{"n": 0}');
SELECT unrdf.fan_out('{}', 'ac_default', ARRAY['{"n": 1}', '{"n": 0}']::jsonb[]);
SELECT unrdf.start_workflow('ac', '{"steps": {"a": {"handler": "ac_default", "args": {"n": 0}}}}');
SELECT unrdf.schedule('ac_default', '@yearly', 'ac_default', '{"n": 0}');
SELECT unrdf.enqueue_once('ac_default', '{"n": 0}', 'ac');
SELECT unrdf.debounce('ac_default', '{"n": 0}', 'ac', '1 s');
SELECT unrdf.schedule('ac_default', '@yearly', 'ac_default', '{"n": 1}') IS NOT NULL AS next;

-- Versions: of the time at which the job was enqueued, not at which it was released. A schedule's job is enqueued when it is due.
SELECT unrdf.create_queue('ac_held');
SELECT unrdf.pause_queue('ac_held');
SELECT unrdf.enqueue('ac_default', queue => 'ac_held') AS need \gset
SELECT unrdf.enqueue_after(ARRAY[:need], 'ac_default', '{"n": 1}') AS a \gset
SELECT unrdf.register_handler('ac_default', 'ac.two(jsonb)', max_attempts => 1, version_policy => 'pinned', args_schema => '{"properties": {"n": {"minimum": 2}}}');
SELECT unrdf.run_schedule_now('ac_default');
SELECT unrdf.resume_queue('ac_held');
SELECT unrdf.wait(:a);
SELECT j.handler_version, r.result FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE id = :a;

-- Encryption: of what waits, and of what a schedule keeps
SELECT unrdf.register_handler('ac_secret', 'ac.one(jsonb)', max_attempts => 1, encrypt_args => 'ac.key()', args_schema => '{"required": ["card"]}');
SELECT unrdf.enqueue('ac_default', '{"n": 2}', queue => 'ac_held') AS need \gset
SELECT unrdf.enqueue_after(ARRAY[:need], 'ac_secret', '{"card": "4111"}') AS a, (SELECT * FROM unrdf.fan_out('{}', 'ac_secret', ARRAY['{"card": "4222"}']::jsonb[])) AS b \gset
SELECT args ? 'encrypted' AS encrypted, args::text LIKE '%card%' AS plain FROM unrdf.waiting_job WHERE id IN (:a, :b);
SELECT unrdf.register_handler('ac_secret', 'ac.one(jsonb)', max_attempts => 1, encrypt_args => 'ac.other_key()', args_schema => '{"required": ["card"]}');
SELECT unrdf.wait(:a), unrdf.wait(:b);
SELECT result FROM unrdf.receipt WHERE id IN (:a, :b) ORDER BY id;
SELECT unrdf.schedule('ac_secret', '@yearly', 'ac_secret', '{}');
SELECT unrdf.schedule('ac_secret', '@yearly', 'ac_secret', '{"card": "4333"}') IS NOT NULL AS next;
SELECT args ? 'encrypted' AS encrypted, args::text LIKE '%card%' AS plain FROM unrdf.schedules WHERE name = 'ac_secret';
SELECT unrdf.register_handler('ac_secret', 'ac.one(jsonb)', max_attempts => 1, encrypt_args => 'ac.key()', args_schema => '{"required": ["card"]}');
SELECT unrdf.run_schedule_now('ac_secret') AS a \gset
SELECT unrdf.register_handler('ac_secret', 'ac.one(jsonb)', max_attempts => 1);
SELECT unrdf.wait(:a);
SELECT unrdf.run_schedule_now('ac_secret') AS b \gset
SELECT unrdf.wait(:b);
SELECT j.args ? 'encrypted' AS encrypted, r.result FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE id IN (:a, :b) ORDER BY id;
SELECT unrdf.schedule('ac_secret', '@yearly', 'ac_secret', '{"card": "4444"}') IS NOT NULL AS next;
SELECT args FROM unrdf.schedules WHERE name = 'ac_secret';
SELECT unrdf.register_handler('ac_secret', 'ac.one(jsonb)', max_attempts => 1, encrypt_args => 'ac.key()');

-- The group that encrypted arguments have is hidden, too, and still a group; one that was given is not
SELECT unrdf.alter_queue('ac_held', '{"group_by": "$.card"}');
SELECT unrdf.pause_queue('ac_held');
SELECT unrdf.enqueue('ac_secret', '{"card": "4111"}', queue => 'ac_held') AS a, unrdf.enqueue_after('{}', 'ac_secret', '{"card": "4111"}', queue => 'ac_held') AS b,
	(SELECT * FROM unrdf.enqueue_many('ac_secret', ARRAY['{"card": "4222"}']::jsonb[], queue => 'ac_held')) AS c, unrdf.enqueue('ac_secret', '{"card": "4111"}', queue => 'ac_held', group_key => 'given') AS d,
	unrdf.enqueue('ac_default', '{"card": "4111", "n": 2}', queue => 'ac_held') AS e, unrdf.enqueue('ac_secret', '{}', queue => 'ac_held') AS f \gset
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.job WHERE group_key IS NOT NULL AND group_key <> 'g') < 5 LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT encode(hmac('4111', 'correct horse', 'sha256'), 'hex') = x.group_key AS hidden, CASE WHEN length(x.group_key) < 10 THEN x.group_key END AS shown, x.flow IS NOT NULL AS has_flow
FROM unrdf.job AS x WHERE x.id IN (:a, :b, :c, :d, :e, :f) ORDER BY array_position(ARRAY[:a, :b, :c, :d, :e, :f]::bigint[], x.id);
SELECT unrdf.cancel(:a);
SELECT unrdf.revive(:a) AS a \gset
SELECT count(DISTINCT flow) FROM unrdf.job WHERE id IN (:a, :b);
SELECT unrdf.resume_queue('ac_held');
SELECT unrdf.wait(:a), unrdf.wait(:c);

-- Compensations are given what their steps were given, and open it when they run
SELECT unrdf.register_handler('ac_fail', 'ac.fail(jsonb)', max_attempts => 1), unrdf.register_handler('ac_undo', 'ac.two(jsonb)', max_attempts => 1, args_schema => 'false'),
	unrdf.register_handler('ac_secret_undo', 'ac.two(jsonb)', max_attempts => 1, encrypt_args => 'ac.other_key()');
SELECT unrdf.start_workflow('ac', '{"saga": true, "steps": {"a": {"handler": "ac_secret", "args": {"card": "4111"}, "compensate": "ac_undo"}}}');
SELECT unrdf.start_workflow('ac', '{"saga": true, "steps": {
	"a": {"handler": "ac_secret", "args": {"card": "4111"}, "compensate": "ac_secret_undo"},
	"b": {"handler": "ac_default", "args": {"n": 2, "encrypted": "no"}, "needs": ["a"], "compensate": "ac_secret_undo"},
	"c": {"handler": "ac_default", "args": {"n": 3}, "needs": ["b"], "compensate": "ac_undo"},
	"d": {"handler": "ac_fail", "needs": ["c"]}}}') AS w \gset
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM unrdf.workflows WHERE name = 'ac' AND saga AND state IN ('compensated', 'stuck')) LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT state FROM unrdf.workflows WHERE id = :w;
SELECT (SELECT s.name FROM unrdf.workflow_graph AS s WHERE s.job = g.compensates) AS undoes, (j.args->'args')::text LIKE '{"encrypted": "%"}' AND (j.args->'args')::text NOT LIKE '%card%' AS hidden, r.result->'two'->'args' AS args
FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job JOIN unrdf.receipt AS r ON r.id = g.job WHERE g.workflow = :w AND g.compensates IS NOT NULL ORDER BY 1;
-- what looks like one, and is none
SELECT unrdf.enqueue('ac_secret_undo', jsonb_build_object('job', g.job, 'args', j.args)) AS a FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job WHERE g.workflow = :w AND g.name = 'a' \gset
SELECT unrdf.wait(:a);
SELECT result->'two'->'args' ? 'encrypted' AS still_hidden FROM unrdf.receipt WHERE id = :a;

-- Debounce goes by the job's own group and tenant
SELECT unrdf.pause_queue('ac_held');
SELECT unrdf.debounce('ac_default', '{"n": 2, "card": 1}', 'ac_debounced', '1 hour', queue => 'ac_held', tenant => 'one') AS a \gset
SELECT unrdf.debounce('ac_default', '{"n": 2, "card": 2}', 'ac_debounced', '1 hour', queue => 'ac_held', group_key => 'two', tenant => 'two') AS b \gset
SELECT x.group_key, x.tenant, j.state FROM unrdf.job AS x JOIN unrdf.jobs AS j USING (id) WHERE x.id IN (:a, :b) ORDER BY x.id;
SELECT unrdf.debounce('ac_default', '{"n": 2}', 'ac_debounced', '1 hour', queue => 'ac_held', group_key => '');
SELECT unrdf.throttle('ac_default', '{"n": 2}', 'ac_throttled', '1 hour', queue => 'ac_held', tenant => '');
SELECT unrdf.cancel(:b);
SELECT unrdf.unschedule(name) FROM unrdf.schedules WHERE name LIKE 'ac\_%';

-- Handlers that workers outside run: the same, and their arguments are opened when they are claimed
SELECT unrdf.create_queue('ac_outside');
SELECT unrdf.register_outside_handler('ac_out', max_attempts => 2, backoff => '0', backoff_cap => '0', queue => 'ac_outside', priority => 1, max_result_size => '1 kB',
	args_schema => '{"required": ["card"]}', encrypt_args => 'ac.key()');
SELECT kind, function, version FROM unrdf.handler WHERE name = 'ac_out';
SELECT unrdf.enqueue('ac_out');
SELECT unrdf.enqueue('ac_out', '{"card": "4111"}') AS a, unrdf.enqueue_after('{}', 'ac_out', '{"card": "4222"}') AS b \gset
SELECT args ? 'encrypted' AS encrypted, queue, priority FROM unrdf.jobs WHERE id IN (:a, :b) ORDER BY id;
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.job WHERE queue = (SELECT id FROM unrdf.queue WHERE name = 'ac_outside')) < 2 LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT token AS a_token, args, attempt FROM unrdf.claim(ARRAY['ac_outside'], wait => '60 s') WHERE job = :a \gset c_
SELECT token AS b_token, args, attempt FROM unrdf.claim(ARRAY['ac_outside'], wait => '60 s') WHERE job = :b \gset d_
SELECT :'c_args' AS a, :'d_args' AS b;
SELECT unrdf.complete(:c_a_token, to_jsonb(repeat('x', 1100)));
SELECT unrdf.complete(:c_a_token, '"done"');
SELECT r->>'outcome' AS outcome, r->>'delivery' AS delivery FROM unrdf.receipt(:a) AS r;
-- a snooze is an attempt that does not count, and is kept
SELECT unrdf.snooze(:d_b_token, '1 hour');
SELECT n, failures, snoozed, retry_at > now() + interval '59 minutes' AS in_an_hour FROM unrdf.attempt WHERE job = :b;
SELECT state, attempts FROM unrdf.jobs WHERE id = :b;
SELECT unrdf.cancel(:b);
SELECT r->>'outcome' AS outcome, r->>'delivery' AS delivery, r->>'attempt' AS attempt FROM unrdf.receipt(:b) AS r;
-- what cannot be opened has failed, and does not keep others from being claimed
SELECT unrdf.enqueue('ac_out', '{"card": "4333"}', priority => 0) AS a, unrdf.enqueue('ac_out', '{"card": "4444"}') AS b \gset
CREATE OR REPLACE FUNCTION ac.key() RETURNS text LANGUAGE sql AS $$ SELECT 'another' $$;
SELECT unrdf.enqueue('ac_out', '{"card": "4555"}') AS c \gset
SELECT args FROM unrdf.claim(ARRAY['ac_outside'], 3, wait => '60 s');
DO $$ BEGIN WHILE EXISTS (SELECT FROM unrdf.jobs WHERE handler = 'ac_out' AND state <> ALL ('{dead,running,succeeded,cancelled}')) LOOP PERFORM count(*) FROM unrdf.claim(ARRAY['ac_outside'], 3); COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT state, attempts, last_sqlstate, last_error FROM unrdf.jobs WHERE id IN (:a, :b, :c) ORDER BY id;
SELECT context FROM unrdf.attempt WHERE job = :a ORDER BY n LIMIT 1;
SELECT unrdf.cancel(:c);
-- debounce leaves alone what is claimed
SELECT unrdf.debounce('ac_out', '{"card": 1}', 'ac_debounced', '0') AS a \gset
SELECT count(*) FROM unrdf.claim(ARRAY['ac_outside'], wait => '60 s');
SELECT unrdf.debounce('ac_out', '{"card": 2}', 'ac_debounced', '1 hour') AS b \gset
SELECT unrdf.debounce('ac_out', '{"card": 3}', 'ac_debounced', '1 hour') AS c \gset
SELECT id = :a AS first, state FROM unrdf.jobs WHERE id IN (:a, :b, :c) ORDER BY id;
SELECT is_new, job = :a AS first FROM unrdf.enqueue_once('ac_out', '{"card": 2}', 'ac_debounced', key_states => '{running}');
SELECT unrdf.cancel(:a), unrdf.cancel(:c);
-- as it is registered, so it stays; versions are of schema and key
SELECT unrdf.register_outside_handler('ac_default');
SELECT unrdf.register_handler('ac_out', 'ac.one(jsonb)');
SELECT unrdf.register_handler('ac_bad', 'ac.one(jsonb)', kind => 'outside');
SELECT unrdf.register_outside_handler('ac_out', args_schema => '{"required": "card"}');
SELECT unrdf.register_outside_handler('ac_out', queue => 'ac_nowhere');
SELECT unrdf.register_outside_handler('ac_out', queue => 'ac_own');
SELECT h.kind, h.version, v.function, v.kind, v.args_schema, v.encrypt_args FROM unrdf.handler AS h JOIN unrdf.handler_version AS v ON v.handler = h.id WHERE h.name = 'ac_out';
