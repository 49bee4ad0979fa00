CREATE VIEW unrdf.stat_workers WITH (security_barrier) AS
	SELECT w.pid, w.kind, w.datname, w.state, w.job, w.handler, w.since, w.jobs, w.transactions FROM unrdf.workers() AS w;
COMMENT ON VIEW unrdf.stat_workers IS 'One row per unrdf process, and per job that a worker outside has in hand (kind outside; pid is that of its connection, if that is the lease): what it is, in which database, what it does since when, how many jobs and transactions it has finished.';

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
	SELECT j.id, q.name AS queue, j.priority, h.name AS handler, j.owner,
		CASE WHEN pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE') THEN CASE WHEN j.args IS NULL AND j.retention IS NOT NULL THEN unrdf.kept(j.id, 0) ELSE j.args END END AS args, j.key,
		CASE WHEN r.outcome OPERATOR(pg_catalog.=) 1 THEN 'succeeded'
			WHEN r.outcome OPERATOR(pg_catalog.=) 2 THEN 'dead'
			WHEN r.outcome OPERATOR(pg_catalog.=) 3 THEN 'cancelled'
			WHEN r.outcome OPERATOR(pg_catalog.=) 4 THEN 'skipped'
			WHEN j.waits THEN 'waiting'
			WHEN w.job IS NOT NULL THEN 'running'
			WHEN a.failures OPERATOR(pg_catalog.>) 0 THEN 'retrying'
			WHEN coalesce(a.retry_at, j.run_at) OPERATOR(pg_catalog.>) unrdf.clock() THEN 'scheduled'
			ELSE 'pending' END AS state,
		coalesce(r.attempt, a.n, 0) AS attempts,
		coalesce(j.max_attempts, h.max_attempts) AS max_attempts,
		f.sqlstate AS last_sqlstate,
		coalesce(CASE WHEN pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE') THEN CASE WHEN f.message IS NULL AND j.retention IS NOT NULL AND f.n IS NOT NULL THEN unrdf.kept(j.id, f.n) OPERATOR(pg_catalog.->>) 'message' ELSE f.message END END, CASE WHEN r.outcome OPERATOR(pg_catalog.<>) 1 THEN r.result OPERATOR(pg_catalog.->>) 'reason' END) AS last_error,
		j.enqueued_at, coalesce(a.retry_at, j.run_at, j.enqueued_at) AS due_at,
		CASE WHEN r.outcome OPERATOR(pg_catalog.=) 3 OR r.attempt OPERATOR(pg_catalog.=) 0 THEN NULL ELSE coalesce(r.started_at, w.since) END AS started_at, r.finished_at, j.retry_of,
		r.finished_at OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => k.keep_args) AS args_expire_at
	FROM (SELECT x.id, x.queue, x.priority, x.handler, x.owner, x.args, x.key, x.run_at, x.max_attempts, x.enqueued_at, x.retry_of, x.retention, false AS waits FROM unrdf.job AS x
		UNION ALL SELECT x.id, x.queue, x.priority, x.handler, x.owner, x.args, x.key, x.run_at, x.max_attempts, x.enqueued_at, x.retry_of, x.retention, true FROM unrdf.waiting_job AS x
			WHERE NOT EXISTS (SELECT FROM unrdf.job AS y WHERE y.id OPERATOR(pg_catalog.=) x.id)) AS j
		LEFT JOIN unrdf.queue AS q ON q.id OPERATOR(pg_catalog.=) j.queue
		LEFT JOIN unrdf.handler AS h ON h.id OPERATOR(pg_catalog.=) j.handler
		LEFT JOIN unrdf.receipt AS r ON r.id OPERATOR(pg_catalog.=) j.id
		LEFT JOIN unrdf.retention AS k ON k.id OPERATOR(pg_catalog.=) j.retention
		LEFT JOIN LATERAL (SELECT t.n, t.retry_at, t.failures FROM unrdf.attempt AS t
			WHERE t.job OPERATOR(pg_catalog.=) j.id ORDER BY t.n DESC LIMIT 1) AS a ON true
		LEFT JOIN LATERAL (SELECT t.n, t.sqlstate, t.message FROM unrdf.attempt AS t
			WHERE t.job OPERATOR(pg_catalog.=) j.id AND NOT t.snoozed ORDER BY t.n DESC LIMIT 1) AS f ON true
		LEFT JOIN (SELECT s.job, s.since FROM unrdf.workers() AS s
			WHERE s.job IS NOT NULL AND s.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS w ON w.job OPERATOR(pg_catalog.=) j.id
	WHERE pg_catalog.pg_has_role(j.owner::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE')
		OR (SELECT pg_catalog.has_function_privilege('unrdf.any_job()', 'EXECUTE'));
COMMENT ON VIEW unrdf.jobs IS 'Every job of the roles one is a member of, and for operators those of all others without arguments and error texts, with its derived state: waiting for others, scheduled, pending, running, retrying, succeeded, dead, cancelled or skipped. args_expire_at: from when on its arguments may be gone, where its queue keeps them for a time.';

CREATE VIEW unrdf.queues WITH (security_barrier) AS
	SELECT q.name, coalesce(s.paused, false) AS paused, coalesce(s.draining, false) AS draining, s.max_running, coalesce(s.weight, 1) AS weight, s.rate, s.burst,
		s.group_by, s.group_max_running, s.group_rate, s.group_burst, s.fifo, s.share_by, s.max_depth, CASE WHEN s.max_depth IS NOT NULL THEN coalesce(s.when_full, 'reject') END AS when_full,
		(SELECT pg_catalog.jsonb_object_agg(h.name, h.weight) FROM unrdf.share AS h WHERE h.queue OPERATOR(pg_catalog.=) q.id) AS shares, q.created_at,
		pg_catalog.justify_hours(pg_catalog.make_interval(secs => t.keep_args)) AS keep_args, pg_catalog.justify_hours(pg_catalog.make_interval(secs => t.keep_results)) AS keep_results, pg_catalog.justify_hours(pg_catalog.make_interval(secs => t.keep_attempts)) AS keep_attempts
	FROM unrdf.queue AS q LEFT JOIN unrdf.queue_state AS s ON s.queue OPERATOR(pg_catalog.=) q.id
		LEFT JOIN unrdf.retention AS t ON t.id OPERATOR(pg_catalog.=) s.retention
	WHERE q.dropped_at IS NULL;
COMMENT ON VIEW unrdf.queues IS 'The queues and their settings.';

CREATE VIEW unrdf.failovers WITH (security_barrier) AS
	SELECT r.epoch, r.id AS receipt,
		r.payload OPERATOR(pg_catalog.->>) 'from_node' AS from_node, (r.payload OPERATOR(pg_catalog.->>) 'from_timeline')::int AS from_timeline,
		r.payload OPERATOR(pg_catalog.->>) 'to_node' AS to_node, (r.payload OPERATOR(pg_catalog.->>) 'to_timeline')::int AS to_timeline,
		(r.payload OPERATOR(pg_catalog.->>) 'position')::pg_lsn AS position,
		(r.payload OPERATOR(pg_catalog.->>) 'heard_at')::timestamptz AS heard_at, (r.payload OPERATOR(pg_catalog.->>) 'noticed_at')::timestamptz AS noticed_at,
		(r.payload OPERATOR(pg_catalog.->>) 'elected_at')::timestamptz AS elected_at, (r.payload OPERATOR(pg_catalog.->>) 'promoted_at')::timestamptz AS promoted_at,
		(r.payload OPERATOR(pg_catalog.->>) 'first_write_at')::timestamptz AS first_write_at,
		r.payload OPERATOR(pg_catalog.->>) 'log' AS log, r.payload OPERATOR(pg_catalog.->>) 'reason' AS reason,
		(r.payload OPERATOR(pg_catalog.#>>) '{checkpoint,size}')::bigint AS checkpoint_size, (r.payload OPERATOR(pg_catalog.#>>) '{tree,size}')::bigint AS size
	FROM unrdf.receipt AS r
	WHERE r.subject OPERATOR(pg_catalog.>=) 'failover/' AND r.subject OPERATOR(pg_catalog.<) 'failover0' AND r.operation OPERATOR(pg_catalog.=) 'failover';
COMMENT ON VIEW unrdf.failovers IS 'One row per promotion, out of its receipt: from which node and timeline to which, the old timeline''s last position, when the standby last heard the primary, noticed its silence, had the leader key, was promoted and had its first commit acknowledged (by its own clock), and whether the log goes on from its last checkpoint: consistent; refused, with the reason; unchecked where the stores outside did not answer for a minute.';

CREATE VIEW unrdf.cluster WITH (security_barrier) AS
	WITH k AS MATERIALIZED (SELECT c.key, c.value, c.seconds_left FROM unrdf.cluster_keys() AS c),
	leader AS (SELECT k.value AS name, k.seconds_left FROM k WHERE k.key OPERATOR(pg_catalog.=) 'leader'),
	sync AS (SELECT pg_catalog.string_to_array(k.value::jsonb OPERATOR(pg_catalog.->>) 'sync_standby', ',') AS names FROM k WHERE k.key OPERATOR(pg_catalog.=) 'sync'),
	member AS (
		SELECT pg_catalog.substr(k.key, 9) AS name, k.value::jsonb OPERATOR(pg_catalog.->>) 'state' AS state, (k.value::jsonb OPERATOR(pg_catalog.->>) 'timeline')::int AS timeline,
			'0/0'::pg_lsn OPERATOR(pg_catalog.+) (k.value::jsonb OPERATOR(pg_catalog.->>) 'xlog_location')::numeric AS position
		FROM k WHERE k.key OPERATOR(pg_catalog.~~) 'members/%'),
	own AS (SELECT s.node, s.fence, s.reason FROM unrdf.cluster_state() AS s)
	SELECT m.name AS member,
		CASE WHEN m.name OPERATOR(pg_catalog.=) l.name THEN 'leader' WHEN m.name OPERATOR(pg_catalog.=) ANY (s.names) THEN 'sync_standby' ELSE 'replica' END AS role,
		m.state, m.timeline, m.position, lm.position OPERATOR(pg_catalog.-) m.position AS lag,
		CASE WHEN m.name OPERATOR(pg_catalog.=) l.name THEN pg_catalog.make_interval(secs => l.seconds_left) END AS lease_left,
		(SELECT pg_catalog.max(c.size) FROM unrdf.checkpoint AS c JOIN unrdf.epoch AS e ON e.epoch OPERATOR(pg_catalog.=) c.epoch
			WHERE c.position OPERATOR(pg_catalog.<=) m.position AND e.system_identifier OPERATOR(pg_catalog.=) (SELECT p.system_identifier FROM pg_catalog.pg_control_system() AS p)) AS checkpoint_size,
		coalesce(m.name OPERATOR(pg_catalog.=) o.node, false) AS is_this_node,
		CASE WHEN m.name OPERATOR(pg_catalog.=) o.node THEN o.fence END AS fence,
		CASE WHEN m.name OPERATOR(pg_catalog.=) o.node THEN o.reason END AS fence_reason
	FROM member AS m LEFT JOIN leader AS l ON true LEFT JOIN sync AS s ON true LEFT JOIN member AS lm ON lm.name OPERATOR(pg_catalog.=) l.name LEFT JOIN own AS o ON true;
COMMENT ON VIEW unrdf.cluster IS 'The cluster''s members as Patroni keeps them in etcd: role, state, timeline, WAL position and how many bytes it is behind the leader''s, what the leader''s lease has at least left, the largest checkpoint whose leaves the member has, and of this node what its fence does. Empty where Patroni does not manage this server.';
