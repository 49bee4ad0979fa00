-- Handlers, what their jobs can ask and say while they run, and rules of uniqueness.

SELECT pg_catalog.pg_extension_config_dump('unrdf.handler_version', '');

CREATE FUNCTION unrdf.register_handler(name text, function regprocedure, max_attempts int DEFAULT 5, timeout interval DEFAULT '5 minutes',
	backoff interval DEFAULT '1 second', backoff_cap interval DEFAULT '1 hour', own_transaction boolean DEFAULT false,
	queue text DEFAULT NULL, priority int DEFAULT NULL, memory_limit text DEFAULT NULL, max_result_size text DEFAULT NULL,
	args_schema jsonb DEFAULT NULL, kind text DEFAULT 'function', encrypt_args regprocedure DEFAULT NULL, version_policy text DEFAULT 'newest') RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_register_handler' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.register_handler(text, regprocedure, int, interval, interval, interval, boolean, text, int, text, text, jsonb, text, regprocedure, text) IS 'Names a function (jsonb) or (bigint, jsonb) returning void or jsonb as a handler, or changes a handler of one''s own. timeout 0 means none. Attempt n is followed by a pause of backoff × 2^(n-1), at most backoff_cap, ± 25 %. own_transaction keeps its jobs from sharing a transaction with others. queue and priority are those of jobs that name none. memory_limit and max_result_size are sizes such as 64MB; a result is at most unrdf.max_args_size where there is none. args_schema is a JSON Schema (2020-12, the documented part) that arguments have to fit when they are enqueued. kind procedure is CALLed and may commit; command is a function that returns the text of one command such as VACUUM; both run at least once. encrypt_args is a function () returning text: the key with which arguments are encrypted. version_policy is newest, or pinned: jobs are run by the function they were enqueued for.';

CREATE FUNCTION unrdf.schema_error(value jsonb, schema jsonb) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_schema_error' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.schema_error(jsonb, jsonb) IS 'Why a value does not fit a JSON Schema (2020-12, the documented part), with the place as a JSON pointer; null where it fits. Raises 22023 for a schema that register_handler would refuse.';

CREATE FUNCTION unrdf.args_key(args jsonb, fields text[] DEFAULT NULL) RETURNS text
	AS $$ SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(unrdf.canonical_json(CASE WHEN fields IS NULL THEN args
		ELSE coalesce((SELECT pg_catalog.jsonb_object_agg(e.key, e.value) FROM pg_catalog.jsonb_each(args) AS e WHERE e.key OPERATOR(pg_catalog.=) ANY (fields)), '{}') END), 'UTF8')), 'hex') $$
	LANGUAGE SQL IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION unrdf.args_key(jsonb, text[]) IS 'A key made of arguments: SHA-256, in hex, of their canonical JSON, or of the canonical JSON of these members of them. The same for arguments that mean the same, however they are written.';

CREATE FUNCTION unrdf.enqueue_once(handler text, args jsonb, key text, key_states text[] DEFAULT '{scheduled,pending,running,retrying}', key_window interval DEFAULT NULL,
	queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL,
	group_key text DEFAULT NULL, tenant text DEFAULT NULL, OUT job bigint, OUT is_new boolean) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_enqueue_once' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.enqueue_once(text, jsonb, text, text[], interval, text, int, timestamptz, int, interval, text, text) IS 'Enqueues a job, unless there is one of the same queue and key in one of these states (scheduled, pending, running, retrying, succeeded, dead, cancelled) that was enqueued within key_window, or ever where that is null; then returns the newest such job.';

CREATE FUNCTION unrdf.throttle(handler text, args jsonb, key text, key_window interval,
	queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL,
	group_key text DEFAULT NULL, tenant text DEFAULT NULL, OUT job bigint, OUT is_new boolean) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_throttle' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.throttle(text, jsonb, text, interval, text, int, timestamptz, int, interval, text, text) IS 'Enqueues a job, unless one of the same queue and key was enqueued within key_window, whatever became of it; then returns that one.';

CREATE FUNCTION unrdf.debounce(handler text, args jsonb, key text, delay interval, max_delay interval DEFAULT NULL,
	queue text DEFAULT NULL, priority int DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL,
	group_key text DEFAULT NULL, tenant text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_debounce' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.debounce(text, jsonb, text, interval, interval, text, int, int, interval, text, text) IS 'Enqueues a job that is due after delay, in place of the one of the same queue and key that waits: that is cancelled, in this transaction. Where the jobs so replaced began max_delay ago or earlier, it is due at once. A job that runs already is left alone.';

CREATE FUNCTION unrdf.current_job(OUT id bigint, OUT attempt int, OUT handler text, OUT queue text, OUT priority int, OUT key text, OUT owner regrole, OUT enqueued_at timestamptz, OUT started_at timestamptz) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_current_job' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.current_job() IS 'The job that this process runs, for handlers and what they call; all null outside of one.';

CREATE FUNCTION unrdf.progress(done bigint, total bigint DEFAULT NULL, note text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.progress(bigint, bigint, text) IS 'Says how far the job is that this process runs: to be seen in unrdf.stat_progress at once, whatever becomes of the transaction, and gone when the job ends. note is clipped to 255 bytes. Outside of a job it does nothing.';

CREATE FUNCTION unrdf.snooze(delay interval) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_snooze' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.snooze(interval) IS 'Ends this attempt of the job that this process runs: its effects are rolled back, also where the handler catches what this raises, and it is due again after delay. Not a failure: max_attempts does not count it, unrdf.attempt has it.';

CREATE FUNCTION unrdf.job_progress(OUT job bigint, OUT attempt int, OUT handler text, OUT owner regrole, OUT pid int, OUT done bigint, OUT total bigint, OUT note text, OUT started_at timestamptz, OUT changed_at timestamptz)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'unrdf_job_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION unrdf.job_progress() IS 'What running jobs of the roles one is a member of have said of their progress; of all for members of pg_read_all_stats, and for operators without notes. Source of unrdf.stat_progress.';

CREATE VIEW unrdf.stat_progress WITH (security_barrier) AS
	SELECT p.job, p.attempt, p.handler, p.owner, p.pid, p.done, p.total,
		CASE WHEN p.total OPERATOR(pg_catalog.>) 0 THEN pg_catalog.round(100.0 OPERATOR(pg_catalog.*) p.done OPERATOR(pg_catalog./) p.total, 1) END AS percent,
		p.note, p.started_at, p.changed_at
	FROM unrdf.job_progress() AS p;
COMMENT ON VIEW unrdf.stat_progress IS 'Running jobs that have called unrdf.progress(): how much is done, of how much, since when. Jobs of the roles one is a member of; all for members of pg_read_all_stats, and for operators without notes.';

REVOKE EXECUTE ON FUNCTION
	unrdf.register_handler(text, regprocedure, int, interval, interval, interval, boolean, text, int, text, text, jsonb, text, regprocedure, text),
	unrdf.enqueue_once(text, jsonb, text, text[], interval, text, int, timestamptz, int, interval, text, text),
	unrdf.throttle(text, jsonb, text, interval, text, int, timestamptz, int, interval, text, text),
	unrdf.debounce(text, jsonb, text, interval, interval, text, int, int, interval, text, text),
	unrdf.current_job(), unrdf.progress(bigint, bigint, text), unrdf.snooze(interval), unrdf.job_progress()
	FROM PUBLIC;
