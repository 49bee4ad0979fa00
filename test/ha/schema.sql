-- What the load works on: handlers with effects, and records with a row of the application beside them. Nothing here is unique,
-- so that what is done twice is there twice. For a database that has the extension.
CREATE SCHEMA ha;

-- "timeline" is that of the server the job ran on: the first effect of a new one is the first job of the new leader's pool. "mark" is of a
-- worker outside, and another for each of its completions.
CREATE TABLE ha.effect (job bigint NOT NULL, key text NOT NULL, timeline int NOT NULL, mark text, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON ha.effect (timeline) WHERE mark IS NULL;
CREATE TABLE ha.event (subject text NOT NULL, n int NOT NULL, receipt bigint NOT NULL);
CREATE INDEX ON ha.event (subject, n);
CREATE TABLE ha.probe (node text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());

CREATE FUNCTION ha.timeline() RETURNS int LANGUAGE sql VOLATILE AS $$
	SELECT ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
$$;

-- The effect comes first, and time after it in which the server may die.
CREATE FUNCTION ha.work(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO ha.effect (job, key, timeline) VALUES (id, args->>'key', ha.timeline());
	IF args ? 'sleep' THEN
		PERFORM pg_sleep((args->>'sleep')::float);
	END IF;
END $$;

-- Fails once, after its effect.
CREATE FUNCTION ha.fail_once(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM ha.work(id, args);
	IF NOT EXISTS (SELECT FROM unrdf.attempt WHERE job = id) THEN
		RAISE EXCEPTION 'the first attempt fails';
	END IF;
END $$;

-- A record that is safe to send again: who sent it before is waited for, and what it wrote is found. What is found may be on one
-- node only, if its commit's wait for a standby was cut short: the message makes this commit wait for it.
CREATE FUNCTION ha.record(kind text, subject text, n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	receipt bigint;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended(subject, 0));
	SELECT e.receipt INTO receipt FROM ha.event AS e WHERE e.subject = $2 AND e.n = $3;
	IF receipt IS NOT NULL THEN
		PERFORM pg_logical_emit_message(true, 'ha', '');
		RETURN receipt;
	END IF;
	receipt := unrdf.record(kind, subject, jsonb_build_object('n', n));
	INSERT INTO ha.event VALUES (subject, n, receipt);
	RETURN receipt;
END $$;

-- Completes jobs of a worker outside, with their effects; returns the tokens that are refused.
CREATE FUNCTION ha.complete(tokens bigint[], jobs bigint[], keys text[], mark text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	refused bigint[] := unrdf.complete(tokens);
BEGIN
	INSERT INTO ha.effect (job, key, timeline, mark)
		SELECT u.job, u.key, ha.timeline(), $4 FROM unnest(tokens, jobs, keys) AS u(token, job, key) WHERE u.token <> ALL (refused);
	RETURN refused;
END $$;

SELECT unrdf.register_handler('work', 'ha.work(bigint, jsonb)');
SELECT unrdf.register_handler('slow', 'ha.work(bigint, jsonb)', own_transaction => true);
SELECT unrdf.register_handler('flaky', 'ha.fail_once(bigint, jsonb)', backoff => '200 ms');
-- Nobody is asked to give up: a lease that was lost with its connection is a failed attempt.
SELECT unrdf.register_outside_handler('outside', max_attempts => 20, backoff => '200 ms');
