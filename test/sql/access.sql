-- Who may do what: the whole matrix, and what each kind of access must not see or do.
SET statement_timeout = '120s';
SET client_min_messages = warning;
\set VERBOSITY terse
CREATE ROLE regress_unrdf_producer;
CREATE ROLE regress_unrdf_worker;
CREATE ROLE regress_unrdf_operator;
CREATE ROLE regress_unrdf_auditor;
CREATE ROLE regress_unrdf_witness;
SELECT unrdf.grant_access(('regress_unrdf_' || access)::regrole, access) FROM unnest(ARRAY['producer', 'worker', 'operator', 'auditor', 'witness']) AS access;

-- Every routine: who may execute it
\pset format unaligned
SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS routine,
	concat_ws(' ', CASE WHEN has_function_privilege('public', p.oid, 'EXECUTE') THEN 'PUBLIC' ELSE
		(SELECT string_agg(substr(r.rolname, 15), ' ' ORDER BY r.rolname) FROM pg_roles AS r WHERE r.rolname LIKE 'regress\_unrdf\_%' AND has_function_privilege(r.oid, p.oid, 'EXECUTE')) END) AS executed_by
FROM pg_proc AS p WHERE p.pronamespace = 'unrdf'::regnamespace
ORDER BY p.proname COLLATE "C", oidvectortypes(p.proargtypes) COLLATE "C";
-- Every table, view and sequence, and the schema: who may do what with it
SELECT c.relname AS relation, string_agg(coalesce(substr(r.rolname, 15), 'PUBLIC') || ' ' || p.privilege, ', ' ORDER BY r.rolname, p.privilege) AS privileges
FROM pg_class AS c
	LEFT JOIN (unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'USAGE']) AS p (privilege)
		CROSS JOIN (SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'regress\_unrdf\_%' UNION ALL SELECT NULL) AS r)
	ON CASE WHEN c.relkind = 'S' THEN p.privilege IN ('SELECT', 'UPDATE', 'USAGE') AND has_sequence_privilege(coalesce(r.rolname, 'public'), c.oid, CASE WHEN p.privilege IN ('SELECT', 'UPDATE', 'USAGE') THEN p.privilege ELSE 'USAGE' END)
		ELSE p.privilege <> 'USAGE' AND has_table_privilege(coalesce(r.rolname, 'public'), c.oid, CASE WHEN p.privilege = 'USAGE' THEN 'SELECT' ELSE p.privilege END) END
WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S') AND c.relname !~ '^kept_[1-9]'
GROUP BY c.relname ORDER BY c.relname COLLATE "C";
-- of the segments one stands for all: nobody has anything of any
SELECT count(*) AS segments, count(c.relacl) AS granted FROM pg_class AS c WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relname ~ '^kept_\d+$';
\pset format aligned
SELECT r.rolname, has_schema_privilege(r.rolname, 'unrdf', 'USAGE') AS usage, has_schema_privilege(r.rolname, 'unrdf', 'CREATE') AS "create"
FROM (SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'regress\_unrdf\_%' UNION ALL SELECT 'public') AS r ORDER BY 1;
-- Functions that run as their owner: all with a fixed search_path, and none that everybody may execute
SELECT p.oid::regprocedure AS definer, p.proconfig AS settings, has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc AS p WHERE p.pronamespace = 'unrdf'::regnamespace AND p.prosecdef ORDER BY 1;
-- Views that show jobs keep what they hide: all of ours are barriers
SELECT c.oid::regclass AS leaks FROM pg_class AS c WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relkind = 'v' AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false);

-- A job of somebody else, with secrets in all that it carries
CREATE SCHEMA acc;
GRANT USAGE ON SCHEMA acc TO PUBLIC;
CREATE FUNCTION acc.fail(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'fail' THEN
		RAISE EXCEPTION 'hunter2 in a message' USING DETAIL = 'hunter2 in a detail', HINT = 'hunter2 in a hint';
	END IF;
	RETURN '{"result": "hunter2"}';
END $$;
SELECT unrdf.register_handler('acc_fail', 'acc.fail(jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('acc');
CREATE ROLE regress_unrdf_victim;
SELECT unrdf.grant_access('regress_unrdf_victim', 'producer');
SET ROLE regress_unrdf_victim;
SELECT unrdf.enqueue('acc_fail', '{"fail": true, "password": "hunter2"}', queue => 'acc', key => 'order-7') AS dead, unrdf.enqueue('acc_fail', '{"password": "hunter2"}', queue => 'acc') AS ok \gset
SELECT unrdf.wait(:dead), unrdf.wait(:ok);
SELECT count(*) AS own, bool_and(args->>'password' = 'hunter2') AS with_args, string_agg(last_error, '') AS error FROM unrdf.jobs;
RESET ROLE;
SELECT unrdf.pause_queue('acc');
SET ROLE regress_unrdf_victim;
SELECT unrdf.enqueue('acc_fail', '{"password": "hunter2"}', queue => 'acc') AS open \gset
SELECT unrdf.create_workflow('acc', '{"password": "hunter2"}') AS workflow \gset
SELECT unrdf.emit('acc', '{"password": "hunter2"}') > 0 AS emitted;
SELECT name, payload FROM unrdf.events;
SELECT unrdf.enqueue_after(ARRAY[:ok], 'acc_fail', '{"password": "hunter2"}', queue => 'acc', workflow => :workflow, name => 'after') AS after,
	unrdf.enqueue_after(ARRAY[:open], 'acc_fail', '{"password": "hunter2"}', queue => 'acc', workflow => :workflow, name => 'waits') AS waits \gset
RESET ROLE;

-- ids differ from run to run
\set VERBOSITY sqlstate
-- says what it is given
CREATE FUNCTION acc.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE WARNING 'leaked %', t; RETURN true; END $$;
-- A producer: nothing of it
SET ROLE regress_unrdf_producer;
SET client_min_messages = warning;
SELECT count(*) FROM unrdf.jobs;
SELECT count(*) FROM unrdf.jobs WHERE acc.leak(args::text) AND acc.leak(last_error) AND acc.leak(key);
SELECT count(*) FROM unrdf.jobs WHERE 1 / (args->>'password' = 'hunter2')::int = 0 OR (key || 'x')::int = 0;
EXPLAIN (COSTS OFF) SELECT FROM unrdf.jobs WHERE false;
SELECT unrdf.why(:open);
SELECT unrdf.wait(:ok);
SELECT unrdf.cancel(:open);
SELECT unrdf.revive(:dead);
SELECT unrdf.cancel_each(ARRAY[:open]);
SELECT unrdf.revive_each(ARRAY[:dead]);
SELECT count(*) FROM unrdf.cancel_jobs(queue => 'acc');
SELECT count(*) FROM unrdf.cancel_jobs(owner => 'regress_unrdf_victim', key_like => '%', args_contain => '{}');
SELECT count(*) FROM unrdf.retry_jobs(queue => 'acc');
SELECT unrdf.cancel(:waits);
SELECT unrdf.why(:waits);
SELECT unrdf.cancel_workflow(:workflow);
SELECT (SELECT count(*) FROM unrdf.workflows) AS workflows, (SELECT count(*) FROM unrdf.workflow_graph) AS graph, (SELECT count(*) FROM unrdf.job_needs) AS needs;
SELECT count(*) FROM unrdf.events WHERE acc.leak(payload::text);
SELECT unrdf.grant_events('regress_unrdf_producer', '*');
SELECT unrdf.erase_jobs('x', queue => 'acc');
SELECT unrdf.erase_each(ARRAY[:dead], 'x');
SELECT * FROM unrdf.queue_depths;
SELECT unrdf.doctor();
CALL unrdf.drain_queue('acc');
CALL unrdf.drop_queue('acc', 'cancel');
SELECT unrdf.alter_queue('acc', '{"max_running": 1}');
SELECT unrdf.remove_queue('acc');
SELECT unrdf.any_job();
SELECT count(*) FROM unrdf.attempt;
RESET ROLE;
-- An operator: that it is there and how it goes; neither arguments nor texts, and no way to ask for them
SET ROLE regress_unrdf_operator;
SELECT queue, handler, owner, args, key, state, last_sqlstate, last_error FROM unrdf.jobs WHERE id IN (:dead, :ok, :open) ORDER BY id;
SELECT count(*) FROM unrdf.jobs WHERE acc.leak(args::text) AND acc.leak(last_error) AND id = :dead;
SELECT count(*) FROM unrdf.cancel_jobs(args_contain => '{"password": "hunter2"}');
SELECT sentence LIKE '%hunter2%' OR facts::text LIKE '%hunter2%' AS leaks FROM unrdf.why(:dead);
SELECT count(*) > 0 AS findings, bool_or(d::text LIKE '%hunter2%') AS leaks FROM unrdf.doctor() AS d;
SELECT payload FROM unrdf.receipt WHERE id = :ok;
SELECT count(*) FROM unrdf.events WHERE acc.leak(payload::text);
SELECT message FROM unrdf.attempt;
SELECT unrdf.erase_jobs('x', queue => 'acc');
SELECT unrdf.receipt(:ok);
SELECT name, args, state, (SELECT count(*) FROM unrdf.workflow_graph AS g WHERE g.workflow = w.id) AS jobs FROM unrdf.workflows AS w WHERE id = :workflow;
SELECT n.needs = :ok AS needs, n.outcome, n.result, (SELECT r.result FROM unrdf.needs_results(:after) AS r) AS results FROM unrdf.job_needs AS n WHERE n.job = :after;
SELECT unrdf.enqueue_after('{}', 'acc_fail', workflow => :workflow);
-- what it may do with it
SELECT unrdf.cancel_workflow(:workflow);
SELECT unrdf.cancel(:open);
SELECT unrdf.retry_jobs(queue => 'acc', state => 'dead') IS NOT NULL AS revived;
SELECT unrdf.resume_queue('acc');
CALL unrdf.drain_queue('acc');
RESET ROLE;
SELECT owner, retry_of = :dead AS of_it, state FROM unrdf.jobs WHERE retry_of = :dead;
SELECT r->>'actor' AS cancelled_by FROM unrdf.receipt(:open) AS r;
-- A retrying job's error text is for its owner only
SELECT unrdf.register_handler('acc_fail', 'acc.fail(jsonb)', max_attempts => 2, backoff => '1 hour');
SELECT unrdf.resume_queue('acc');
SET ROLE regress_unrdf_victim;
SELECT unrdf.enqueue('acc_fail', '{"fail": true}', queue => 'acc') AS retrying \gset
DO $$ BEGIN WHILE (SELECT state FROM unrdf.jobs ORDER BY id DESC LIMIT 1) <> 'retrying' LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT sentence LIKE '%: attempt 1 failed with P0001, hunter2 in a message.' AS owner FROM unrdf.why(:retrying);
SET ROLE regress_unrdf_operator;
SELECT sentence LIKE '%: attempt 1 failed with P0001.' AS operator, facts ? 'error' AS error FROM unrdf.why(:retrying);
SELECT unrdf.cancel(:retrying);
RESET ROLE;
-- An auditor: receipts and proofs, which carry hashes
SET ROLE regress_unrdf_auditor;
SELECT unrdf.receipt(:dead)::text LIKE '%hunter2%' OR unrdf.receipt(:ok)::text LIKE '%hunter2%' AS leaks, (unrdf.verify(:ok)).verdict IN ('ok', 'pending') AS verifies;
SELECT count(*) FROM unrdf.jobs;
SELECT count(*) FROM unrdf.receipt;
SELECT count(*) FROM unrdf.attempt;
SELECT unrdf.why(:dead);
SELECT unrdf.cancel(:open);
SELECT unrdf.erase(:ok, 'x');
RESET ROLE;
-- An outside worker: the queues
SET ROLE regress_unrdf_worker;
SELECT queue, succeeded > 0 AS succeeded FROM unrdf.queue_depths WHERE queue = 'acc';
SELECT count(*) FROM unrdf.jobs;
SELECT unrdf.enqueue('acc_fail');
SELECT unrdf.why(:ok);
RESET ROLE;
-- A witness's relay: its protocol
SET ROLE regress_unrdf_witness;
SELECT count(*) FROM unrdf.jobs;
SELECT count(*) FROM unrdf.queue_depths;
SELECT unrdf.receipt(:ok);
RESET ROLE;

-- Whoever owns a handler's function can replace it, also after a job was enqueued: it then runs with the rights of who enqueued, as
-- any function does with those of who calls it. Where that would be a superuser's, it does not run.
CREATE TABLE acc.crown (held_by name);
GRANT CREATE ON SCHEMA acc TO regress_unrdf_operator;
SET ROLE regress_unrdf_operator;
CREATE FUNCTION acc.trap(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT unrdf.register_handler('acc_trap', 'acc.trap(jsonb)', max_attempts => 1);
RESET ROLE;
\set VERBOSITY terse
SELECT unrdf.enqueue('acc_trap', queue => 'acc');
-- nor where the function passes to such a role while the job waits
ALTER FUNCTION acc.trap(jsonb) OWNER TO CURRENT_USER;
SELECT unrdf.pause_queue('acc');
SELECT unrdf.enqueue('acc_trap', queue => 'acc') AS trapped \gset
ALTER FUNCTION acc.trap(jsonb) OWNER TO regress_unrdf_operator;
SET ROLE regress_unrdf_operator;
CREATE OR REPLACE FUNCTION acc.trap(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO acc.crown VALUES (current_user); END $$;
SELECT unrdf.resume_queue('acc');
RESET ROLE;
SELECT unrdf.wait(:trapped);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :trapped;
-- nor where the handler is given another function meanwhile
SELECT unrdf.pause_queue('acc');
ALTER FUNCTION acc.trap(jsonb) OWNER TO CURRENT_USER;
SELECT unrdf.enqueue('acc_trap', queue => 'acc') AS trapped \gset
SET ROLE regress_unrdf_operator;
CREATE FUNCTION acc.trap2(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO acc.crown VALUES (current_user); END $$;
SELECT unrdf.register_handler('acc_trap', 'acc.trap2(jsonb)', max_attempts => 1);
SELECT unrdf.resume_queue('acc');
RESET ROLE;
SELECT unrdf.wait(:trapped);
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :trapped;
SELECT count(*) AS crowned FROM acc.crown;
-- nobody may replace what somebody else registered
SET ROLE regress_unrdf_operator;
SELECT unrdf.register_handler('acc_fail', 'acc.trap2(jsonb)');
RESET ROLE;
CALL unrdf.drop_queue('acc', 'cancel');
DROP SCHEMA acc CASCADE;
DROP OWNED BY regress_unrdf_producer, regress_unrdf_worker, regress_unrdf_operator, regress_unrdf_auditor, regress_unrdf_witness, regress_unrdf_victim;
DROP ROLE regress_unrdf_producer, regress_unrdf_worker, regress_unrdf_operator, regress_unrdf_auditor, regress_unrdf_witness, regress_unrdf_victim;
