-- Jobs that wait for others, workflows, sagas and steps: what runs, what ends how, and who may do what.
SET statement_timeout = '60s';
SET client_min_messages = warning;
CREATE SCHEMA wf;
GRANT USAGE ON SCHEMA wf TO PUBLIC;
CREATE TABLE wf.ran (n bigserial, id bigint, what text, args jsonb);
CREATE FUNCTION wf.act(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
	IF args ? 'lock' THEN
		PERFORM pg_advisory_xact_lock((args->>'lock')::bigint);
	END IF;
	INSERT INTO wf.ran (id, what, args) VALUES (id, args->>'is', args);
	IF args ? 'fail' AND NOT EXISTS (SELECT FROM wf.mended) THEN
		RAISE EXCEPTION '%', args->>'fail' USING ERRCODE = 'WF001';
	END IF;
	RETURN args - 'lock';
END $$;
CREATE TABLE wf.mended (at timestamptz);
-- adds up what its needs returned
CREATE FUNCTION wf.sum(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('sum', (SELECT sum((r.result->>'n')::int) FROM unrdf.needs_results(id) AS r), 'needs', (SELECT count(*) FROM unrdf.needs_results(id)));
END $$;
CREATE PROCEDURE wf.await(query text) LANGUAGE plpgsql AS $$
DECLARE
	done boolean;
BEGIN
	LOOP
		EXECUTE query INTO done;
		EXIT WHEN done;
		PERFORM pg_sleep(0.001);
		COMMIT;
	END LOOP;
END $$;
-- in transactions of their own: nobody waits for a neighbour's lock
SELECT unrdf.register_handler('wf_act', 'wf.act(bigint, jsonb)', max_attempts => 1, own_transaction => true);
SELECT unrdf.register_handler('wf_sum', 'wf.sum(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('wf_paused');
SELECT unrdf.pause_queue('wf_paused');

-- Each policy, for a need that succeeds, is dead, is cancelled, was skipped
SELECT unrdf.create_workflow('policies') AS w \gset
BEGIN;
SELECT unrdf.enqueue('wf_act') AS ok, unrdf.enqueue('wf_act', '{"fail": "no"}') AS dead, unrdf.enqueue('wf_act', queue => 'wf_paused') AS cancelled \gset
SELECT unrdf.enqueue_after(ARRAY[:dead], 'wf_act', on_failure => '{skip}', workflow => :w, name => 'skipped') AS skipped \gset
SELECT count(unrdf.enqueue_after(ARRAY[n.id], 'wf_act', on_failure => ARRAY[p], workflow => :w, name => n.name || ' ' || p))
FROM (VALUES (:ok, 'ok'), (:dead, 'dead'), (:cancelled, 'cancelled'), (:skipped, 'skipped need')) AS n (id, name), unnest('{fail,skip,continue,hold}'::text[]) AS p;
COMMIT;
SELECT unrdf.cancel(:cancelled);
CALL wf.await(format('SELECT count(*) FILTER (WHERE state = ''waiting'') = 2 AND bool_and(state NOT IN (''pending'', ''running'')) FROM unrdf.workflow_graph WHERE workflow = %s', :w));
SELECT g.name, g.state, j.attempts, j.last_error, unrdf.receipt(g.job) -> 'outcome' AS receipt
FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job WHERE g.workflow = :w ORDER BY g.name COLLATE "C";
SELECT state, jobs, waiting, released, succeeded, dead, cancelled, skipped FROM unrdf.workflows WHERE id = :w;
-- what is held goes on once what it needs was revived, and succeeds: what it needs is now that
INSERT INTO wf.mended VALUES (now());
SELECT unrdf.revive(:dead) AS revived \gset
SELECT job AS held FROM unrdf.workflow_graph WHERE workflow = :w AND name = 'dead hold' \gset
SELECT unrdf.wait(:held);
SELECT needs = ARRAY[:revived]::bigint[] AS of_the_revived, on_failure FROM unrdf.workflow_graph WHERE job = :held;
DELETE FROM wf.mended;
SELECT unrdf.cancel(job) FROM unrdf.workflow_graph WHERE workflow = :w AND name = 'cancelled hold';

-- All, any, settled; also of jobs that ended before, and of none
BEGIN;
SELECT unrdf.enqueue('wf_act', '{"lock": 5201, "n": 1}') AS later \gset
SELECT pg_advisory_lock(5201);
COMMIT;
SELECT unrdf.create_workflow('waits') AS w \gset
SELECT unrdf.enqueue_after(ARRAY[:ok, :later], 'wf_act', wait_for => 'any', workflow => :w, name => 'any') AS one,
	unrdf.enqueue_after(ARRAY[:dead, :cancelled], 'wf_act', wait_for => 'any', workflow => :w, name => 'any of none') AS none,
	unrdf.enqueue_after(ARRAY[:dead, :later], 'wf_act', workflow => :w, name => 'all, of which one failed') AS failed,
	unrdf.enqueue_after(ARRAY[:dead, :later], 'wf_act', on_failure => '{skip}', workflow => :w, name => 'all, or skipped') AS skips,
	unrdf.enqueue_after(ARRAY[:dead, :later], 'wf_act', on_failure => '{skip,fail}', wait_for => 'any', workflow => :w, name => 'any, also late') AS late,
	unrdf.enqueue_after(ARRAY[:dead, :later], 'wf_sum', wait_for => 'settled', workflow => :w, name => 'settled') AS settled,
	unrdf.enqueue_after('{}', 'wf_sum', workflow => :w, name => 'nothing to wait for') AS nothing,
	unrdf.enqueue_after('{}', 'wf_act', run_at => now() + interval '1 hour', workflow => :w, name => 'an hour') AS scheduled \gset
SELECT unrdf.wait(:one), unrdf.wait(:none), unrdf.wait(:failed), unrdf.wait(:nothing);
CALL wf.await(format('SELECT state = ''scheduled'' FROM unrdf.jobs WHERE id = %s', :scheduled));
SELECT name, state FROM unrdf.workflow_graph WHERE workflow = :w ORDER BY name COLLATE "C";
SELECT pg_advisory_unlock(5201);
SELECT unrdf.wait(:skips), unrdf.wait(:late), unrdf.wait(:settled);
SELECT result FROM unrdf.receipt WHERE id = :settled;
SELECT name, outcome, result FROM unrdf.needs_results(:settled);
SELECT unrdf.cancel(:scheduled);

-- Group and tenant are what they are for any job
SELECT unrdf.enqueue_after(ARRAY[:ok], 'wf_act', group_key => 'g', tenant => 't') AS grouped \gset
SELECT unrdf.wait(:grouped);
SELECT group_key, tenant, flow IS NOT NULL AS flow FROM unrdf.job WHERE id = :grouped;

-- Fan out over what a query returns, and in again; the graph
SELECT unrdf.create_workflow('a "map"', '{"of": "numbers"}') AS w \gset
BEGIN;
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, name => 'list') AS list \gset
SELECT unrdf.enqueue_after((SELECT array_agg(f.id) FROM unrdf.fan_out(ARRAY[:list], 'wf_act',
	(SELECT array_agg(jsonb_build_object('n', i)) FROM generate_series(1, 100) AS i), workflow => :w, name => 'square') AS f (id)),
	'wf_sum', workflow => :w, name => 'sum') AS sum \gset
COMMIT;
SELECT unrdf.wait(:sum);
SELECT result FROM unrdf.receipt WHERE id = :sum;
SELECT name, owner, saga, args, state, jobs, succeeded, compensations, stuck FROM unrdf.workflows WHERE id = :w;
SELECT count(*), min(name COLLATE "C"), max(cardinality(needs)) FROM unrdf.workflow_graph WHERE workflow = :w;
SELECT count(*) FROM unrdf.fan_out('{}', 'wf_act', '{}');

-- In one call; a step of many jobs is needed as all of them
SELECT unrdf.start_workflow('in one call', '{"args": {"for": "all"}, "steps": {
	"z first": {"handler": "wf_act", "args": {"n": 1}, "priority": 0, "timeout": "1 min", "max_attempts": 3},
	"each": {"handler": "wf_act", "for_each": [{"n": 2}, {"n": 3}], "needs": ["z first"]},
	"nobody": {"handler": "wf_act", "for_each": []},
	"fails": {"handler": "wf_act", "args": {"fail": "\"so\""}},
	"sum": {"handler": "wf_sum", "needs": ["each", "z first", {"step": "fails", "on_failure": "continue"}, "nobody"]},
	"either": {"handler": "wf_sum", "needs": ["fails", "sum"], "wait_for": "any"}}}') AS w \gset
CALL wf.await(format('SELECT state <> ''running'' FROM unrdf.workflows WHERE id = %s', :w));
SELECT state, args, jobs, succeeded, dead FROM unrdf.workflows WHERE id = :w;
SELECT g.name, g.state, g.wait_for, (SELECT array_agg(n.name ORDER BY n.name COLLATE "C") FROM unrdf.workflow_graph AS n WHERE n.job = ANY (g.needs)) AS needs, g.on_failure, r.result
FROM unrdf.workflow_graph AS g JOIN unrdf.receipt AS r ON r.id = g.job WHERE g.workflow = :w ORDER BY g.name COLLATE "C";
SELECT regexp_replace(replace(line, j.first::text, 'N'), '\d{2,}', 'M', 'g') AS line FROM (SELECT min(job) AS first FROM unrdf.workflow_graph WHERE workflow = :w) AS j,
	regexp_split_to_table(unrdf.workflow_dot(:w), '\n') WITH ORDINALITY AS l (line, n) WHERE n IN (1, 2) OR line LIKE '%fails%';
SELECT unrdf.workflow_dot(0) IS NULL AS nothing;

-- Specs that are refused leave nothing
SELECT count(*) AS workflows FROM unrdf.workflow \gset
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "needs": ["c"]}, "b": {"handler": "wf_act", "needs": ["a"]}, "c": {"handler": "wf_act", "needs": ["b", "free"]},
	"d": {"handler": "wf_act", "needs": ["a"]}, "free": {"handler": "wf_act"}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "needs": ["a"]}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "needs": ["b"]}}}');
SELECT unrdf.start_workflow('x', '[]');
SELECT unrdf.start_workflow('x', '{"step": {}}');
SELECT unrdf.start_workflow('x', '{"steps": {}, "name": "y"}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"args": {}}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "needs": "b"}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "need": ["b"]}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "args": {}, "for_each": []}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "nobody"}}}');
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act"}, "b": {"handler": "wf_act", "needs": [{"step": "a", "on_failure": "weep"}]}}}');
\set VERBOSITY sqlstate
SELECT unrdf.start_workflow('x', '{"steps": {"a": {"handler": "wf_act", "compensate": "wf_act"}}}');
\set VERBOSITY default
SELECT count(*) - :workflows AS left_over FROM unrdf.workflow;

-- A job adds jobs to its own workflow
CREATE FUNCTION wf.grow(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	w bigint := (SELECT workflow FROM unrdf.workflow_graph WHERE job = id);
BEGIN
	PERFORM unrdf.enqueue_after(array_agg(f.id), 'wf_sum', workflow => w, name => 'sum')
		FROM unrdf.fan_out(ARRAY[id], 'wf_act', ARRAY['{"n": 20}', '{"n": 22}']::jsonb[], workflow => w, name => 'part') AS f (id);
END $$;
SELECT unrdf.register_handler('wf_grow', 'wf.grow(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.start_workflow('grows', '{"steps": {"plan": {"handler": "wf_grow"}}}') AS w \gset
CALL wf.await(format('SELECT jobs = 4 AND state = ''succeeded'' FROM unrdf.workflows WHERE id = %s', :w));
SELECT g.name, g.state, r.result FROM unrdf.workflow_graph AS g JOIN unrdf.receipt AS r ON r.id = g.job WHERE g.workflow = :w ORDER BY g.name;

-- Cancelled: jobs that wait, are pending, run; and those that come later
SELECT unrdf.create_workflow('cancelled') AS w \gset
SELECT pg_advisory_lock(5202);
BEGIN;
SELECT unrdf.enqueue_after('{}', 'wf_act', '{"is": "done"}', workflow => :w, name => 'done') AS done, unrdf.enqueue_after('{}', 'wf_act', queue => 'wf_paused', workflow => :w, name => 'pending') AS pending,
	unrdf.enqueue_after('{}', 'wf_act', '{"lock": 5202}', workflow => :w, name => 'running') AS running \gset
SELECT unrdf.enqueue_after(ARRAY[:running], 'wf_act', workflow => :w, name => 'waiting') AS waiting, unrdf.enqueue_after(ARRAY[:pending], 'wf_act', on_failure => '{continue}') AS outside \gset
COMMIT;
SELECT unrdf.wait(:done);
CALL wf.await(format('SELECT state = ''running'' FROM unrdf.jobs WHERE id = %s', :running));
SELECT state, jobs, waiting, released, succeeded FROM unrdf.workflows WHERE id = :w;
BEGIN;
SELECT unrdf.cancel_workflow(:w);
ROLLBACK;
SELECT state FROM unrdf.workflows WHERE id = :w;
SELECT unrdf.cancel_workflow(:w);
SELECT unrdf.cancel_workflow(:w);
SELECT state, jobs, waiting, released, succeeded, cancelled, ended_by, failed_job FROM unrdf.workflows WHERE id = :w;
SELECT unrdf.wait(:waiting), unrdf.wait(:outside);
\set VERBOSITY sqlstate
SELECT unrdf.revive(:done);
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w);
SELECT unrdf.revive(:waiting);
\set VERBOSITY default
SELECT pg_advisory_unlock(5202);
SELECT unrdf.cancel(:waiting);

-- Saga: what has succeeded is undone in the opposite order, one after the other
CREATE FUNCTION wf.undo(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
	INSERT INTO wf.ran (id, what, args) VALUES (id, 'undo ' || (args->>'step'), args);
	IF args->'args' ? 'stuck' AND NOT EXISTS (SELECT FROM wf.mended) THEN
		RAISE EXCEPTION 'cannot be undone';
	END IF;
	RETURN '"undone"';
END $$;
SELECT unrdf.register_handler('wf_undo', 'wf.undo(bigint, jsonb)', max_attempts => 1);
TRUNCATE wf.ran;
SELECT unrdf.start_workflow('saga', '{"saga": true, "steps": {
	"flight": {"handler": "wf_act", "args": {"is": "flight"}, "compensate": "wf_undo"},
	"hotel": {"handler": "wf_act", "args": {"is": "hotel", "stuck": true}, "needs": ["flight"], "compensate": "wf_undo"},
	"mail": {"handler": "wf_act", "args": {"is": "mail"}, "needs": ["hotel"]},
	"tolerated": {"handler": "wf_act", "args": {"fail": "but nobody minds"}, "needs": ["mail"]},
	"car": {"handler": "wf_act", "args": {"is": "car"}, "needs": [{"step": "tolerated", "on_failure": "continue"}], "compensate": "wf_undo"},
	"pay": {"handler": "wf_act", "args": {"fail": "no money"}, "needs": ["car"], "compensate": "wf_undo"},
	"ticket": {"handler": "wf_act", "needs": ["pay"], "compensate": "wf_undo"}}}') AS w \gset
CALL wf.await(format('SELECT state = ''stuck'' FROM unrdf.workflows WHERE id = %s', :w));
SELECT s.state, s.succeeded, s.dead, s.cancelled, s.compensations, s.stuck AS stuck_id, g.state AS stuck, f.name AS failed, s.ended_by
FROM unrdf.workflows AS s JOIN unrdf.workflow_graph AS g ON g.job = s.stuck JOIN unrdf.workflow_graph AS f ON f.job = s.failed_job WHERE s.id = :w \gset
SELECT :'state' AS state, :succeeded AS succeeded, :dead AS dead, :cancelled AS cancelled, :compensations AS compensations, :'stuck' AS stuck, :'failed' AS failed;
SELECT what, args - 'job' AS args FROM wf.ran ORDER BY n;
SELECT coalesce(g.name, 'undo ' || c.name) AS name, g.state, j.last_error FROM unrdf.workflow_graph AS g JOIN unrdf.jobs AS j ON j.id = g.job
	LEFT JOIN unrdf.workflow_graph AS c ON c.job = g.compensates WHERE g.workflow = :w ORDER BY g.job;
-- it goes on when the one that it is stuck with was revived; nothing is undone twice
INSERT INTO wf.mended VALUES (now());
SELECT unrdf.revive(:stuck_id) IS NOT NULL AS revived;
CALL wf.await(format('SELECT state = ''compensated'' FROM unrdf.workflows WHERE id = %s', :w));
SELECT what FROM wf.ran WHERE what LIKE 'undo%' ORDER BY n;
SELECT state, compensations, stuck FROM unrdf.workflows WHERE id = :w;
SELECT unrdf.cancel_workflow(:w);
DELETE FROM wf.mended;
-- cancelled, with compensations and without; a job that cancels its own workflow goes on
SELECT count(*) FROM (SELECT unrdf.start_workflow('saga ' || c, '{"saga": true, "steps": {"a": {"handler": "wf_act", "compensate": "wf_undo"}, "b": {"handler": "wf_act", "queue": "wf_paused", "needs": ["a"]}}}')
	FROM unnest('{true,false}'::text[]) AS c) AS s;
CALL wf.await('SELECT count(*) = 2 FROM unrdf.workflows WHERE name LIKE ''saga %'' AND released = 1 AND succeeded = 1');
SELECT name, unrdf.cancel_workflow(id, name = 'saga true') FROM unrdf.workflows WHERE name LIKE 'saga %' ORDER BY name;
CALL wf.await('SELECT count(*) = 1 FROM unrdf.workflows WHERE name LIKE ''saga %'' AND state = ''compensated''');
SELECT name, state, compensations FROM unrdf.workflows WHERE name LIKE 'saga %' ORDER BY name;
CREATE FUNCTION wf.give_up(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM unrdf.cancel_workflow((SELECT workflow FROM unrdf.workflow_graph WHERE job = id));
END $$;
SELECT unrdf.register_handler('wf_give_up', 'wf.give_up(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.start_workflow('gives up', '{"steps": {"a": {"handler": "wf_give_up"}, "b": {"handler": "wf_act", "needs": ["a"]}}}') AS w \gset
CALL wf.await(format('SELECT succeeded = 1 FROM unrdf.workflows WHERE id = %s', :w));
SELECT state, succeeded, cancelled FROM unrdf.workflows WHERE id = :w;

-- Dead by its needs and revived: it waits for what they are now
SELECT unrdf.start_workflow('revived', '{"steps": {"a": {"handler": "wf_act", "args": {"fail": "first", "n": 7}}, "b": {"handler": "wf_sum", "needs": ["a"]}}}') AS w \gset
CALL wf.await(format('SELECT state = ''failed'' FROM unrdf.workflows WHERE id = %s', :w));
INSERT INTO wf.mended VALUES (now());
SELECT unrdf.revive(a.job) AS a, unrdf.revive(b.job) AS b FROM unrdf.workflow_graph AS a, unrdf.workflow_graph AS b WHERE a.workflow = :w AND b.workflow = :w AND a.name = 'a' AND b.name = 'b' \gset
SELECT unrdf.wait(:b);
SELECT result FROM unrdf.receipt WHERE id = :b;
SELECT state, jobs, succeeded FROM unrdf.workflows WHERE id = :w;
\set VERBOSITY sqlstate
SELECT unrdf.revive(retry_of) FROM unrdf.workflow_graph WHERE job = :b;
\set VERBOSITY default
DELETE FROM wf.mended;

-- Steps of a job belong to the transaction that saved them
CREATE FUNCTION wf.steps(id bigint, args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF unrdf.step_done('one') IS NULL THEN
		PERFORM unrdf.save_step('one', '{"of": 1}');
	END IF;
	IF args ? 'twice' THEN
		PERFORM unrdf.save_step('one');
	END IF;
	RETURN unrdf.step_done('one');
END $$;
SELECT unrdf.register_handler('wf_steps', 'wf.steps(bigint, jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('wf_steps') AS good, unrdf.enqueue('wf_steps', '{"twice": true}') AS bad \gset
SELECT unrdf.wait(:good), unrdf.wait(:bad);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :bad;
SELECT job = :good AS good, name, result FROM unrdf.job_step WHERE part IS NULL;
SELECT unrdf.step_done('one');
SELECT unrdf.save_step('one');
-- what is erased is erased there, too
SELECT unrdf.start_workflow('erased', '{"steps": {"a": {"handler": "wf_steps", "args": {"secret": 1}}}}') AS w \gset
SELECT job AS a FROM unrdf.workflow_graph WHERE workflow = :w \gset
SELECT unrdf.wait(:a);
SELECT unrdf.erase(:a, 'asked to') IS NOT NULL AS erased;
SELECT w.args, j.args, s.result FROM unrdf.waiting_job AS w JOIN unrdf.job AS j USING (id) JOIN unrdf.job_step AS s ON s.job = id WHERE id = :a;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict FROM unrdf.verify(:a);

-- What is refused
SELECT unrdf.enqueue_after(ARRAY[:ok, 0], 'wf_act');
\set VERBOSITY sqlstate
SELECT unrdf.enqueue_after(ARRAY[:ok, :ok], 'wf_act');
\set VERBOSITY default
SELECT unrdf.enqueue_after(ARRAY[:ok, NULL], 'wf_act');
SELECT unrdf.enqueue_after(NULL, 'wf_act');
SELECT unrdf.enqueue_after('{}', NULL);
SELECT unrdf.enqueue_after('{}', 'wf_act', NULL);
SELECT unrdf.enqueue_after('{}', 'nobody');
SELECT unrdf.enqueue_after('{}', 'wf_act', queue => 'nowhere');
SELECT unrdf.enqueue_after('{}', 'wf_act', priority => 10);
SELECT unrdf.enqueue_after('{}', 'wf_act', run_at => 'infinity');
SELECT unrdf.enqueue_after('{}', 'wf_act', max_attempts => 0);
SELECT unrdf.enqueue_after('{}', 'wf_act', timeout => '-1 s');
SELECT unrdf.enqueue_after('{}', 'wf_act', wait_for => 'most');
SELECT unrdf.enqueue_after('{}', 'wf_act', wait_for => NULL);
SELECT unrdf.enqueue_after('{}', 'wf_act', on_failure => '{weep}');
SELECT unrdf.enqueue_after('{}', 'wf_act', on_failure => '{}') IS NOT NULL AS enqueued;
SELECT unrdf.enqueue_after('{}', 'wf_act', on_failure => '{NULL}');
SELECT unrdf.enqueue_after(ARRAY[:ok], 'wf_act', on_failure => '{fail,skip}');
SELECT unrdf.enqueue_after('{}', 'wf_act', on_failure => NULL);
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => 0);
SELECT unrdf.enqueue_after('{}', 'wf_act', name => 'alone');
SELECT unrdf.enqueue_after('{}', 'wf_act', compensate => 'wf_undo');
SELECT unrdf.enqueue_after('{}', 'wf_act', '{"n": 9007199254740993}');
SELECT unrdf.create_workflow('no saga') AS w \gset
\set VERBOSITY sqlstate
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, compensate => 'wf_undo');
\set VERBOSITY default
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, name => '');
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, name => repeat('x', 1025));
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, name => 'one') IS NOT NULL AS enqueued;
\set VERBOSITY sqlstate
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w, name => 'one');
\set VERBOSITY default
SELECT unrdf.create_workflow('');
SELECT unrdf.create_workflow('x', '{"n": 9007199254740993}');
SELECT unrdf.fan_out('{}', 'wf_act', ARRAY['{}', NULL]::jsonb[]);
SELECT unrdf.cancel_workflow(0);
BEGIN;
SELECT unrdf.enqueue_after('{}', 'wf_act') AS mine \gset
SELECT unrdf.wait(:mine);
ROLLBACK;

-- Who may do what: one's own, and the jobs of roles one is a member of
CREATE ROLE regress_unrdf_flow;
CREATE ROLE regress_unrdf_flow_other;
SELECT unrdf.grant_access(r::regrole, 'producer') FROM unnest(ARRAY['regress_unrdf_flow', 'regress_unrdf_flow_other']) AS r;
SET ROLE regress_unrdf_flow_other;
SELECT unrdf.enqueue('wf_act') AS theirs \gset
SET ROLE regress_unrdf_flow;
\set VERBOSITY sqlstate
SELECT unrdf.enqueue_after(ARRAY[:theirs], 'wf_act');
\set VERBOSITY default
SELECT unrdf.start_workflow('mine', '{"steps": {"a": {"handler": "wf_act", "args": {"is": "mine"}, "queue": "wf_paused"}, "b": {"handler": "wf_act", "needs": ["a"]}}}') AS w \gset
SELECT name, owner, state FROM unrdf.workflows;
SELECT job AS b FROM unrdf.workflow_graph WHERE name = 'b' \gset
SET ROLE regress_unrdf_flow_other;
SELECT count(*) FROM unrdf.workflows;
SELECT count(*) FROM unrdf.workflow_graph;
SELECT count(*) FROM unrdf.needs_results(:b);
SELECT unrdf.workflow_dot(:w) IS NULL AS nothing;
\set VERBOSITY sqlstate
SELECT unrdf.enqueue_after('{}', 'wf_act', workflow => :w);
SELECT unrdf.cancel_workflow(:w);
SELECT unrdf.cancel(:b);
SELECT * FROM unrdf.waiting_job;
\set VERBOSITY default
SET ROLE regress_unrdf_flow;
SELECT unrdf.cancel(:b);
SELECT unrdf.cancel_workflow(:w);
SELECT name, state FROM unrdf.workflow_graph ORDER BY name;
RESET ROLE;
CALL wf.await('SELECT NOT EXISTS (SELECT FROM unrdf.jobs WHERE handler LIKE ''wf%'' AND state IN (''waiting'', ''pending'', ''running''))');
DROP OWNED BY regress_unrdf_flow, regress_unrdf_flow_other;
DROP ROLE regress_unrdf_flow, regress_unrdf_flow_other;
SELECT count(*) FROM unrdf.verify_all();
DROP SCHEMA wf CASCADE;
