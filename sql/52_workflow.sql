-- Workflows: jobs that belong together and wait for each other. Their jobs are in unrdf.waiting_job.

CREATE TABLE unrdf.workflow (
	id bigint CONSTRAINT workflow_pkey PRIMARY KEY DEFAULT nextval('unrdf.operation_id'),
	name text NOT NULL,
	owner regrole NOT NULL,
	saga boolean NOT NULL,
	created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	args jsonb NOT NULL
);
COMMENT ON TABLE unrdf.workflow IS 'Workflows. One is open to further jobs until it has a row in unrdf.workflow_end.';

CREATE TABLE unrdf.workflow_end (
	workflow bigint CONSTRAINT workflow_end_pkey PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	reason text NOT NULL CONSTRAINT workflow_end_reason_check CHECK (reason IN ('cancelled', 'failed')),
	job bigint,
	actor text NOT NULL,
	compensated boolean NOT NULL
);
COMMENT ON TABLE unrdf.workflow_end IS 'Workflows that were cancelled, and sagas that have failed, by the job that failed them. Written together with the receipts of the jobs that this ended, and with the compensations.';

CREATE TABLE unrdf.job_step (
	job bigint NOT NULL,
	name text NOT NULL,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	result jsonb,
	part int,
	CONSTRAINT job_step_pkey PRIMARY KEY (job, name)
);
COMMENT ON TABLE unrdf.job_step IS 'What long jobs have done so far, as they saved it with unrdf.save_step(). part: under which number the result is kept for a time (unrdf.segments); null: it is here.';

CREATE FUNCTION unrdf.create_workflow(name text, args jsonb DEFAULT '{}', saga boolean DEFAULT false) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_create_workflow' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.create_workflow(text, jsonb, boolean) IS 'Creates a workflow of the current role and returns its id. Jobs are added with enqueue_after and fan_out, at any time, also by its own jobs. A saga fails when a job ends without success that nobody needs, or that a job which waits for all needs to succeed: what has not ended is cancelled then, and what has succeeded is compensated.';

CREATE FUNCTION unrdf.enqueue_after(needs bigint[], handler text, args jsonb DEFAULT '{}', queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL, wait_for text DEFAULT 'all', on_failure text[] DEFAULT '{fail}',
	workflow bigint DEFAULT NULL, name text DEFAULT NULL, compensate text DEFAULT NULL, group_key text DEFAULT NULL, tenant text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_enqueue_after' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.enqueue_after(bigint[], text, jsonb, text, int, timestamptz, int, interval, text, text[], bigint, text, text, text, text) IS 'Enqueues a job that waits for others, as enqueue does. wait_for: all of its needs; any, the first that succeeds; settled, until all have ended, however. on_failure, one for all needs or one for each, is what becomes of the job where the need does not succeed: fail (it is dead), skip, continue, or hold (it waits until the need is revived and succeeds). compensate names the handler that undoes this step of a saga: it gets the step''s job, name, args and result.';

CREATE FUNCTION unrdf.fan_out(needs bigint[], handler text, args jsonb[], queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL, wait_for text DEFAULT 'all', on_failure text[] DEFAULT '{fail}',
	workflow bigint DEFAULT NULL, name text DEFAULT NULL, compensate text DEFAULT NULL, group_key text DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'unrdf_fan_out' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION unrdf.fan_out(bigint[], text, jsonb[], text, int, timestamptz, int, interval, text, text[], bigint, text, text, text, text) IS 'Enqueues one job for each element of args, as enqueue_after does, all with the same needs, and returns their ids in the same order. They are named name/1, name/2 and so on.';

CREATE FUNCTION unrdf.cancel_workflow(workflow bigint, compensate boolean DEFAULT true) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_cancel_workflow' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.cancel_workflow(bigint, boolean) IS 'Ends all jobs of a workflow that have not ended, in this transaction, as cancel does, and returns how many these were; jobs that come later are cancelled, too. What steps of a saga have done is compensated, unless compensate is false. A job of the workflow that calls this goes on. For the workflow''s owner and operators.';

CREATE FUNCTION unrdf.step_done(name text) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'unrdf_step_done' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.step_done(text) IS 'What the running job saved as the result of a step, in this attempt or an earlier one, or in the job that it was revived from; null for a step that was not done. For handlers only.';

CREATE FUNCTION unrdf.save_step(name text, result jsonb DEFAULT 'null') RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_save_step' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.save_step(text, jsonb) IS 'Notes that the running job has done a step, in the current transaction, together with what the step did. For handlers only.';

CREATE VIEW unrdf.job_needs WITH (security_barrier) AS
	SELECT n.job, n.needs, w.name,
		CASE n.on_failure WHEN 1 THEN 'fail' WHEN 2 THEN 'skip' WHEN 3 THEN 'continue' ELSE 'hold' END AS on_failure,
		CASE r.outcome WHEN 1 THEN 'ok' WHEN 2 THEN 'dead' WHEN 3 THEN 'cancelled' WHEN 4 THEN 'skipped' END AS outcome,
		CASE WHEN r.outcome OPERATOR(pg_catalog.=) 1 AND (pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE') OR unrdf.holds_lease(n.job)) THEN CASE WHEN r.result IS NULL AND r.result_hash IS NOT NULL THEN unrdf.kept(n.needs, -1) ELSE r.result END END AS result
	FROM unrdf.job_need AS n JOIN unrdf.waiting_job AS j ON j.id OPERATOR(pg_catalog.=) n.job
		LEFT JOIN unrdf.waiting_job AS w ON w.id OPERATOR(pg_catalog.=) n.needs
		LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) n.needs
	WHERE NOT EXISTS (SELECT FROM unrdf.job_need AS s WHERE s.job OPERATOR(pg_catalog.=) n.job AND s.retry_of OPERATOR(pg_catalog.=) n.needs)
		AND (pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
			OR unrdf.holds_lease(n.job)
			OR (SELECT pg_catalog.has_function_privilege('unrdf.any_job()', 'EXECUTE')));
COMMENT ON VIEW unrdf.job_needs IS 'What the jobs of the roles one is a member of need, and those that one has claimed, and for operators, without results, all others: the needed job, its name in its workflow, how it ended and with which result. A need that held the job and was revived is shown as the job that it was revived as.';

CREATE FUNCTION unrdf.needs_results(job bigint, OUT need bigint, OUT name text, OUT outcome text, OUT result jsonb) RETURNS SETOF record
	AS $$ SELECT n.needs, n.name, n.outcome, n.result FROM unrdf.job_needs AS n WHERE n.job OPERATOR(pg_catalog.=) $1 ORDER BY n.needs $$
	LANGUAGE SQL STABLE STRICT PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION unrdf.needs_results(bigint) IS 'How the jobs that a job needs have ended, and with which results; what has not ended has no outcome. For the job''s handler, the worker outside that has claimed it, and whoever sees the job.';

CREATE VIEW unrdf.workflows WITH (security_barrier) AS
	SELECT w.id, w.name, w.owner, w.saga, CASE WHEN pg_catalog.pg_has_role(w.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE') THEN w.args END AS args, w.created_at,
		CASE WHEN c.stuck IS NOT NULL THEN 'stuck'
			WHEN c.unended OPERATOR(pg_catalog.>) 0 THEN 'compensating'
			WHEN c.jobs OPERATOR(pg_catalog.>) 0 THEN 'compensated'
			WHEN e.workflow IS NOT NULL THEN e.reason
			WHEN s.unended OPERATOR(pg_catalog.>) 0 OR s.jobs OPERATOR(pg_catalog.=) 0 THEN 'running'
			WHEN s.failed THEN 'failed'
			ELSE 'succeeded' END AS state,
		s.jobs, s.waiting, s.released, s.succeeded, s.dead, s.cancelled, s.skipped, c.jobs AS compensations, c.stuck,
		e.job AS failed_job, e.actor AS ended_by, e.at AS ended_at
	FROM unrdf.workflow AS w LEFT JOIN unrdf.workflow_end AS e ON e.workflow OPERATOR(pg_catalog.=) w.id
		LEFT JOIN LATERAL (SELECT pg_catalog.count(*) AS jobs,
				pg_catalog.count(*) FILTER (WHERE r.id IS NULL) AS unended,
				pg_catalog.count(*) FILTER (WHERE j.id IS NULL) AS waiting,
				pg_catalog.count(*) FILTER (WHERE j.id IS NOT NULL AND r.id IS NULL) AS released,
				pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 1) AS succeeded,
				pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 2) AS dead,
				pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 3) AS cancelled,
				pg_catalog.count(*) FILTER (WHERE r.outcome OPERATOR(pg_catalog.=) 4) AS skipped,
				coalesce(pg_catalog.bool_or(r.outcome OPERATOR(pg_catalog.=) ANY ('{2,3}') AND
					(NOT EXISTS (SELECT FROM unrdf.job_need AS n WHERE n.needs OPERATOR(pg_catalog.=) x.id)
					OR EXISTS (SELECT FROM unrdf.job_need AS n JOIN unrdf.waiting_job AS d ON d.id OPERATOR(pg_catalog.=) n.job
						WHERE n.needs OPERATOR(pg_catalog.=) x.id AND n.on_failure OPERATOR(pg_catalog.=) 1 AND NOT d.wait_any))), false) AS failed
			FROM unrdf.waiting_job AS x LEFT JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) x.id LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) x.id
			WHERE x.workflow OPERATOR(pg_catalog.=) w.id AND x.compensates IS NULL
				AND NOT EXISTS (SELECT FROM unrdf.waiting_job AS y WHERE y.retry_of OPERATOR(pg_catalog.=) x.id)) AS s ON true
		LEFT JOIN LATERAL (SELECT pg_catalog.count(*) AS jobs, pg_catalog.count(*) FILTER (WHERE r.id IS NULL) AS unended,
				pg_catalog.min(x.id) FILTER (WHERE r.outcome OPERATOR(pg_catalog.<>) 1) AS stuck
			FROM unrdf.waiting_job AS x LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) x.id
			WHERE x.workflow OPERATOR(pg_catalog.=) w.id AND x.compensates IS NOT NULL
				AND NOT EXISTS (SELECT FROM unrdf.waiting_job AS y WHERE y.retry_of OPERATOR(pg_catalog.=) x.id)) AS c ON true
	WHERE pg_catalog.pg_has_role(w.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
		OR (SELECT pg_catalog.has_function_privilege('unrdf.any_job()', 'EXECUTE'));
COMMENT ON VIEW unrdf.workflows IS 'The workflows of the roles one is a member of, and for operators those of all others without arguments: running, succeeded, failed, cancelled; of a saga that ended without success compensating, compensated, or stuck: the compensation of that id is dead, and the others wait until it is revived and succeeds. Jobs that were revived count as what they were revived as.';

-- OFFSET 0 has each job looked up: joined, all of unrdf.jobs would be computed
CREATE VIEW unrdf.workflow_graph WITH (security_barrier) AS
	SELECT w.workflow, w.id AS job, w.name, j.handler, j.state, CASE WHEN w.wait_any THEN 'any' ELSE 'all' END AS wait_for,
		n.needs, n.on_failure, w.compensates, w.retry_of
	FROM unrdf.waiting_job AS w CROSS JOIN LATERAL (SELECT x.handler, x.state FROM unrdf.jobs AS x WHERE x.id OPERATOR(pg_catalog.=) w.id OFFSET 0) AS j
		LEFT JOIN LATERAL (SELECT pg_catalog.array_agg(x.needs ORDER BY x.needs) AS needs, pg_catalog.array_agg(x.on_failure ORDER BY x.needs) AS on_failure
			FROM unrdf.job_needs AS x WHERE x.job OPERATOR(pg_catalog.=) w.id) AS n ON true
	WHERE w.workflow IS NOT NULL;
COMMENT ON VIEW unrdf.workflow_graph IS 'The jobs of workflows as one may see them, with their states, and for each what it needs and what becomes of it where that does not succeed.';

CREATE FUNCTION unrdf.workflow_dot(workflow bigint) RETURNS text
	AS $$
		SELECT concat('digraph workflow {', E'\n',
			string_agg(format('  %s [label="%s\n%s"];', g.job,
				replace(replace(coalesce(g.name, CASE WHEN g.compensates IS NULL THEN '' ELSE 'compensates ' || g.compensates || ' ' END || g.handler), '\', '\\'), '"', '\"'), g.state), E'\n' ORDER BY g.job), E'\n',
			string_agg(e.edges, E'\n' ORDER BY g.job) || E'\n', '}')
		FROM unrdf.workflow_graph AS g
			LEFT JOIN LATERAL (SELECT string_agg(format('  %s -> %s [label="%s"];', u.needs, g.job, u.on_failure), E'\n' ORDER BY u.needs) AS edges
				FROM unnest(g.needs, g.on_failure) AS u (needs, on_failure)) AS e ON true
		WHERE g.workflow = $1
		HAVING count(*) > 0
	$$ LANGUAGE SQL STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION unrdf.workflow_dot(bigint) IS 'The graph of a workflow as one may see it, in the DOT language of Graphviz; null where there is nothing.';

CREATE FUNCTION unrdf.start_workflow(name text, spec jsonb) RETURNS bigint
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	names text[];
	steps jsonb[];
	edge record;
	sources int[];   -- of edges, ascending: the step that is needed
	targets int[];
	missing int[];   -- by step: needs that are not enqueued yet
	first int[];     -- by step: its first edge as a source
	ready int[] := '{}';
	jobs text[];     -- by step: its jobs
	workflow bigint;
	needs bigint[];
	policies text[];
	bad text;
	path text[];
	i int;
	k int := 1;
	e int;
BEGIN
	IF jsonb_typeof(spec) <> 'object' OR jsonb_typeof(spec -> 'steps') IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION 'a workflow''s spec must be an object with an object "steps"' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT x.key INTO bad FROM jsonb_object_keys(spec) AS x (key) WHERE x.key NOT IN ('saga', 'args', 'steps') LIMIT 1;
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'a workflow''s spec has no "%"', bad USING ERRCODE = 'invalid_parameter_value', HINT = 'It has steps, args and saga.';
	END IF;
	SELECT coalesce(array_agg(x.key ORDER BY x.key), '{}'), coalesce(array_agg(x.value ORDER BY x.key), '{}') INTO names, steps FROM jsonb_each(spec -> 'steps') AS x;
	SELECT s.name INTO bad FROM unnest(names, steps) AS s (name, def)
		WHERE jsonb_typeof(s.def) <> 'object' OR jsonb_typeof(s.def -> 'handler') IS DISTINCT FROM 'string'
			OR coalesce(jsonb_typeof(s.def -> 'needs'), 'array') <> 'array' OR coalesce(jsonb_typeof(s.def -> 'for_each'), 'array') <> 'array' LIMIT 1;
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'step "%" must be an object with a handler; its needs and for_each are arrays', bad USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT format('"%s" of step "%s"', x.key, s.name) INTO bad FROM unnest(names, steps) AS s (name, def), jsonb_object_keys(s.def) AS x (key)
		WHERE x.key NOT IN ('handler', 'args', 'for_each', 'needs', 'wait_for', 'on_failure', 'compensate', 'queue', 'priority', 'run_at', 'max_attempts', 'timeout') LIMIT 1;
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'unknown %', bad USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A step has handler, args, for_each, needs, wait_for, on_failure, compensate, queue, priority, run_at, max_attempts and timeout.';
	END IF;
	SELECT s.name INTO bad FROM unnest(names, steps) AS s (name, def) WHERE s.def ? 'args' AND s.def ? 'for_each' LIMIT 1;
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'step "%" has both args and for_each', bad USING ERRCODE = 'invalid_parameter_value';
	END IF;

	-- who needs whom, as places in names
	missing := array_fill(0, ARRAY[cardinality(names)]);
	first := missing;
	jobs := array_fill(NULL::text, ARRAY[cardinality(names)]);
	FOR edge IN SELECT s.place AS target, t.place AS source, s.name, n.need
		FROM unnest(names, steps) WITH ORDINALITY AS s (name, def, place), jsonb_array_elements(s.def -> 'needs') AS x (value),
			LATERAL (SELECT CASE jsonb_typeof(x.value) WHEN 'object' THEN x.value ->> 'step' ELSE x.value #>> '{}' END) AS n (need)
			LEFT JOIN unnest(names) WITH ORDINALITY AS t (name, place) ON t.name = n.need
		ORDER BY t.place, s.place
	LOOP
		IF edge.source IS NULL THEN
			RAISE EXCEPTION 'step "%" needs "%", which is no step', edge.name, edge.need USING ERRCODE = 'invalid_parameter_value';
		END IF;
		sources := sources || edge.source::int;
		targets := targets || edge.target::int;
		missing[edge.target] := missing[edge.target] + 1;
		IF first[edge.source] = 0 THEN
			first[edge.source] := cardinality(sources);
		END IF;
	END LOOP;

	-- steps in an order in which each comes after what it needs
	FOR i IN 1 .. cardinality(names) LOOP
		IF missing[i] = 0 THEN
			ready := ready || i;
		END IF;
	END LOOP;
	WHILE k <= cardinality(ready) LOOP
		e := first[ready[k]];
		WHILE e > 0 AND sources[e] = ready[k] LOOP
			missing[targets[e]] := missing[targets[e]] - 1;
			IF missing[targets[e]] = 0 THEN
				ready := ready || targets[e];
			END IF;
			e := e + 1;
		END LOOP;
		k := k + 1;
	END LOOP;
	IF cardinality(ready) < cardinality(names) THEN
		-- every step that is left needs one that is left: going from one to the next ends in a circle
		i := (SELECT x.place FROM unnest(missing) WITH ORDINALITY AS x (n, place) WHERE x.n > 0 LIMIT 1);
		WHILE path IS NULL OR names[i] <> ALL (path) LOOP
			path := path || names[i];
			i := (SELECT x.source FROM unnest(sources, targets) AS x (source, target) WHERE x.target = i AND missing[x.source] > 0 LIMIT 1);
		END LOOP;
		path := path[array_position(path, names[i]) :] || names[i];
		RAISE EXCEPTION 'steps need each other in a circle: "%"', array_to_string(path, '" needs "') USING ERRCODE = 'invalid_parameter_value';
	END IF;

	workflow := unrdf.create_workflow(name, coalesce(spec -> 'args', '{}'), coalesce((spec ->> 'saga')::boolean, false));
	FOREACH i IN ARRAY ready LOOP
		SELECT coalesce(array_agg(j.id), '{}'), coalesce(array_agg(coalesce(x.value ->> 'on_failure', steps[i] ->> 'on_failure', 'fail')), '{fail}') INTO needs, policies
			FROM jsonb_array_elements(steps[i] -> 'needs') AS x (value),
				unnest(jobs[array_position(names, CASE jsonb_typeof(x.value) WHEN 'object' THEN x.value ->> 'step' ELSE x.value #>> '{}' END)]::bigint[]) AS j (id);
		IF steps[i] ? 'for_each' THEN
			jobs[i] := (SELECT coalesce(array_agg(f.id), '{}') FROM unrdf.fan_out(needs, steps[i] ->> 'handler',
				ARRAY(SELECT x.value FROM jsonb_array_elements(steps[i] -> 'for_each') WITH ORDINALITY AS x (value, place) ORDER BY x.place),
				steps[i] ->> 'queue', (steps[i] ->> 'priority')::int, (steps[i] ->> 'run_at')::timestamptz, (steps[i] ->> 'max_attempts')::int,
				(steps[i] ->> 'timeout')::interval, coalesce(steps[i] ->> 'wait_for', 'all'), policies, workflow, names[i], steps[i] ->> 'compensate') AS f (id));
		ELSE
			jobs[i] := ARRAY[unrdf.enqueue_after(needs, steps[i] ->> 'handler', coalesce(steps[i] -> 'args', '{}'),
				steps[i] ->> 'queue', (steps[i] ->> 'priority')::int, (steps[i] ->> 'run_at')::timestamptz, (steps[i] ->> 'max_attempts')::int,
				(steps[i] ->> 'timeout')::interval, coalesce(steps[i] ->> 'wait_for', 'all'), policies, workflow, names[i], steps[i] ->> 'compensate')];
		END IF;
	END LOOP;
	RETURN workflow;
END
$$;
COMMENT ON FUNCTION unrdf.start_workflow(text, jsonb) IS 'Creates a workflow with all its jobs, and returns its id. spec has steps, an object of steps by name, and may have args and saga. A step has a handler; args, or for_each: an array of args for as many jobs; needs: names of steps, or objects with step and on_failure; and what else enqueue_after takes. Steps that need each other in a circle are refused.';

REVOKE EXECUTE ON FUNCTION
	unrdf.create_workflow(text, jsonb, boolean),
	unrdf.enqueue_after(bigint[], text, jsonb, text, int, timestamptz, int, interval, text, text[], bigint, text, text, text, text),
	unrdf.fan_out(bigint[], text, jsonb[], text, int, timestamptz, int, interval, text, text[], bigint, text, text, text, text),
	unrdf.start_workflow(text, jsonb), unrdf.cancel_workflow(bigint, boolean), unrdf.step_done(text), unrdf.save_step(text, jsonb),
	unrdf.needs_results(bigint), unrdf.workflow_dot(bigint)
	FROM PUBLIC;
