-- Workers outside: they claim jobs whose handler is no function here, run them, and say what became of them.

CREATE TABLE unrdf.queue_worker (
	queue int NOT NULL,
	role regrole NOT NULL,
	CONSTRAINT queue_worker_pkey PRIMARY KEY (queue, role)
);
COMMENT ON TABLE unrdf.queue_worker IS 'Which roles may claim jobs of which queues, see unrdf.grant_queue.';
SELECT pg_catalog.pg_extension_config_dump('unrdf.queue_worker', '');

CREATE FUNCTION unrdf.register_outside_handler(name text, max_attempts int DEFAULT 5, timeout interval DEFAULT '5 minutes',
	backoff interval DEFAULT '1 second', backoff_cap interval DEFAULT '1 hour',
	queue text DEFAULT NULL, priority int DEFAULT NULL, max_result_size text DEFAULT NULL, args_schema jsonb DEFAULT NULL, encrypt_args regprocedure DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_register_outside_handler' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.register_outside_handler(text, int, interval, interval, interval, text, int, text, jsonb, regprocedure) IS 'Names a handler that workers outside run, or changes one of one''s own. timeout: how long after it was claimed an attempt is lost, whatever heartbeats say; 0 means never. The rest as for register_handler.';

CREATE FUNCTION unrdf.grant_queue(queue text, role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_grant_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.grant_queue(text, regrole) IS 'Lets a role and its members claim jobs of a queue, and so read their arguments.';

CREATE FUNCTION unrdf.revoke_queue(queue text, role regrole) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_revoke_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.revoke_queue(text, regrole) IS 'Takes back what grant_queue gave. Jobs that were claimed stay so until their leases end; claims that wait for some end (42501).';

CREATE FUNCTION unrdf.claim(queues text[], n int DEFAULT 1, lease interval DEFAULT '1 minute', wait interval DEFAULT '0')
	RETURNS TABLE (token bigint, job bigint, queue text, handler text, args jsonb, attempt int, deadline timestamptz)
	AS 'MODULE_PATHNAME', 'unrdf_claim' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION unrdf.claim(text[], int, interval, interval) IS 'Claims up to n jobs of queues that workers outside run, the most urgent first, and waits for some as long as wait says (null: for ever) where there are none. Until its deadline nobody else gets a job; lease null: until this connection ends. What is claimed in a transaction that rolls back goes back at once. For roles that grant_queue names.';

CREATE FUNCTION unrdf.complete(token bigint, result jsonb DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_complete' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.complete(bigint, jsonb) IS 'Ends a claimed job with its receipt, in this transaction. Raises 55000 where the lease has passed on.';

CREATE FUNCTION unrdf.complete(tokens bigint[], results jsonb[] DEFAULT NULL) RETURNS bigint[]
	AS 'MODULE_PATHNAME', 'unrdf_complete_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.complete(bigint[], jsonb[]) IS 'Ends many claimed jobs, and returns the tokens whose leases have passed on; nothing is written for those.';

CREATE FUNCTION unrdf.fail(token bigint, message text, sqlstate text DEFAULT 'P0001', retry_in interval DEFAULT NULL, permanently boolean DEFAULT false) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_fail' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.fail(bigint, text, text, interval, boolean) IS 'Records a failed attempt of a claimed job, in this transaction. It is tried again after retry_in, or as its handler says, or is dead if that was its last attempt, or permanently is true. Raises 55000 where the lease has passed on.';

CREATE FUNCTION unrdf.fail(tokens bigint[], messages text[], sqlstate text DEFAULT 'P0001', retry_in interval DEFAULT NULL, permanently boolean DEFAULT false) RETURNS bigint[]
	AS 'MODULE_PATHNAME', 'unrdf_fail_many' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.fail(bigint[], text[], text, interval, boolean) IS 'Records failed attempts of many claimed jobs, and returns the tokens whose leases have passed on.';

CREATE FUNCTION unrdf.snooze(token bigint, delay interval) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_snooze_lease' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.snooze(bigint, interval) IS 'Gives a claimed job back, to be handed out again after a delay, in this transaction. Not a failure: max_attempts does not count it, unrdf.attempt has it. Raises 55000 where the lease has passed on.';

CREATE FUNCTION unrdf.snooze(tokens bigint[], delay interval) RETURNS bigint[]
	AS 'MODULE_PATHNAME', 'unrdf_snooze_leases' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.snooze(bigint[], interval) IS 'Gives many claimed jobs back as snooze does, and returns the tokens whose leases have passed on.';

CREATE FUNCTION unrdf.release(tokens bigint[]) RETURNS bigint[]
	AS 'MODULE_PATHNAME', 'unrdf_release' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.release(bigint[]) IS 'Gives claimed jobs back, to be handed out again at once; the attempts do not count. Returns the tokens whose leases have passed on.';

CREATE FUNCTION unrdf.heartbeat(tokens bigint[], lease interval DEFAULT '1 minute') RETURNS bigint[]
	AS 'MODULE_PATHNAME', 'unrdf_heartbeat' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.heartbeat(bigint[], interval) IS 'Makes leases last for so long from now, at most until their handlers'' timeout, and returns the tokens whose leases have passed on: what they stand for need not be gone on with. At once, and whatever becomes of this transaction.';

REVOKE EXECUTE ON FUNCTION unrdf.register_outside_handler(text, int, interval, interval, interval, text, int, text, jsonb, regprocedure), unrdf.grant_queue(text, regrole), unrdf.revoke_queue(text, regrole),
	unrdf.claim(text[], int, interval, interval), unrdf.complete(bigint, jsonb), unrdf.complete(bigint[], jsonb[]),
	unrdf.fail(bigint, text, text, interval, boolean), unrdf.fail(bigint[], text[], text, interval, boolean),
	unrdf.snooze(bigint, interval), unrdf.snooze(bigint[], interval), unrdf.release(bigint[]), unrdf.heartbeat(bigint[], interval), unrdf.holds_lease(bigint) FROM PUBLIC;
