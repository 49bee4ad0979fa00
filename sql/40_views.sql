CREATE VIEW unrdf.stat_workers WITH (security_barrier) AS
	SELECT w.pid, w.kind, w.datname, w.state, w.job, w.handler, w.since, w.jobs, w.transactions FROM unrdf.workers() AS w;
COMMENT ON VIEW unrdf.stat_workers IS 'One row per unrdf process: what it is, in which database, what it does since when, how many jobs and transactions it has finished.';

CREATE VIEW unrdf.stat_verify WITH (security_barrier) AS
	SELECT v.pid, v.phase, v.first, v.leaves_total, v.leaves_done, v.bad, v.started_at FROM unrdf.verify_progress() AS v;
COMMENT ON VIEW unrdf.stat_verify IS 'Progress of running verifications of the log in this database (verify_all, verify_range, verify_log): what the calling process does, the range''s first leaf and number of leaves, and how many of them are done. What verify_log has done before is in unrdf.verified.';

CREATE VIEW unrdf.log_status WITH (security_barrier) AS
	SELECT s.log, s.origin, s.size, s.root, s.published_size, s.published_at, s.publishing, s.reason, s.since FROM unrdf.log_state() AS s;
COMMENT ON VIEW unrdf.log_status IS 'The log''s newest tree and newest checkpoint. publishing: signed; unsigned (there is no key file); waiting (for synchronous standbys, or for the store that reason names); refused, with the reason; unknown before the publisher has looked; null on a standby.';

CREATE VIEW unrdf.log_keys WITH (security_barrier) AS
	SELECT k.key, k.origin, k.first_used_at FROM unrdf.log_key AS k;
COMMENT ON VIEW unrdf.log_keys IS 'The public halves of the keys that have signed checkpoints, as verifier keys (C2SP signed-note).';

CREATE VIEW unrdf.audited_tables WITH (security_barrier) AS
	SELECT a.id, a.relation, a.key_columns, a.excluded_columns, a.audited_at,
		(SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 3 AND pg_catalog.bool_and(t.tgenabled OPERATOR(pg_catalog.<>) 'D') FROM pg_catalog.pg_trigger AS t
			WHERE t.tgrelid OPERATOR(pg_catalog.=) a.relation AND t.tgfoid OPERATOR(pg_catalog.=) 'unrdf.audit_statement'::pg_catalog.regproc) AS attached
	FROM unrdf.audited AS a
	WHERE a.active AND EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) a.relation);
COMMENT ON VIEW unrdf.audited_tables IS 'The audited tables. attached: the table has its triggers, and none is disabled.';

CREATE VIEW unrdf.jobs WITH (security_barrier) AS
	SELECT j.id, q.name AS queue, j.priority, h.name AS handler, j.owner, j.args, j.key,
		CASE WHEN r.outcome OPERATOR(pg_catalog.=) 1 THEN 'succeeded'
			WHEN r.outcome OPERATOR(pg_catalog.=) 2 THEN 'dead'
			WHEN r.outcome OPERATOR(pg_catalog.=) 3 THEN 'cancelled'
			WHEN w.job IS NOT NULL THEN 'running'
			WHEN a.retry_at IS NOT NULL THEN 'retrying'
			WHEN j.run_at OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp() THEN 'scheduled'
			ELSE 'pending' END AS state,
		coalesce(r.attempt, a.n, 0) AS attempts,
		coalesce(j.max_attempts, h.max_attempts) AS max_attempts,
		a.sqlstate AS last_sqlstate, a.message AS last_error,
		j.enqueued_at, coalesce(a.retry_at, j.run_at, j.enqueued_at) AS due_at,
		CASE WHEN r.outcome OPERATOR(pg_catalog.=) 3 THEN NULL ELSE coalesce(r.started_at, w.since) END AS started_at, r.finished_at, j.retry_of
	FROM unrdf.job AS j
		LEFT JOIN unrdf.queue AS q ON q.id OPERATOR(pg_catalog.=) j.queue
		LEFT JOIN unrdf.handler AS h ON h.id OPERATOR(pg_catalog.=) j.handler
		LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) j.id
		LEFT JOIN LATERAL (SELECT t.n, t.retry_at, t.sqlstate, t.message FROM unrdf.attempt AS t
			WHERE t.job OPERATOR(pg_catalog.=) j.id ORDER BY t.n DESC LIMIT 1) AS a ON true
		LEFT JOIN (SELECT s.job, s.since FROM unrdf.workers() AS s
			WHERE s.job IS NOT NULL AND s.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS w ON w.job OPERATOR(pg_catalog.=) j.id
	WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
COMMENT ON VIEW unrdf.jobs IS 'Every job of the roles one is a member of, with its derived state: scheduled, pending, running, retrying, succeeded, dead or cancelled.';

CREATE VIEW unrdf.queues WITH (security_barrier) AS
	SELECT q.name, coalesce(s.paused, false) AS paused, s.max_running, q.created_at
	FROM unrdf.queue AS q LEFT JOIN unrdf.queue_state AS s ON s.queue OPERATOR(pg_catalog.=) q.id;
COMMENT ON VIEW unrdf.queues IS 'The queues and their settings.';
