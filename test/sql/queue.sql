-- Queues and handlers: making, changing, pausing, limits, and the order in which jobs are handed out.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA q;

-- Queues
SELECT unrdf.create_queue('q_plain');
SELECT unrdf.create_queue('q_limited', 1);
SELECT name, paused, max_running FROM unrdf.queues WHERE name IN ('default', 'q_plain', 'q_limited') ORDER BY name;
-- what a refused statement raises; nothing, where it is not refused
CREATE FUNCTION q.raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
SELECT statement, r.* FROM unnest(ARRAY[
	'unrdf.create_queue(''q_plain'')',
	'unrdf.create_queue('''')',
	'unrdf.create_queue(repeat(''x'', 64))',
	'unrdf.create_queue(NULL)',
	'unrdf.create_queue(''q_none'', 0)',
	'unrdf.create_queue(''q_none'', -1)',
	'unrdf.pause_queue(''q_none'')',
	'unrdf.pause_queue('''')',
	'unrdf.resume_queue(''q_none'')'
	]) AS statement, q.raised('SELECT ' || statement) AS r;
BEGIN;
SELECT unrdf.create_queue(repeat('x', 63), NULL), unrdf.create_queue('q_most', 2147483647);
SELECT length(name), max_running FROM unrdf.queues WHERE name LIKE 'xx%' OR name = 'q_most' ORDER BY name;
ROLLBACK;
SELECT unrdf.pause_queue(NULL) IS NULL AND unrdf.resume_queue(NULL) IS NULL AS strict;
SELECT unrdf.pause_queue('q_plain');
SELECT name, paused, max_running FROM unrdf.queues WHERE name = 'q_plain';
SELECT unrdf.pause_queue('q_plain');
SELECT unrdf.resume_queue('q_plain');
SELECT name, paused, max_running FROM unrdf.queues WHERE name = 'q_plain';
SELECT changed_by = quote_ident(current_user)::regrole AS by_me FROM unrdf.queue_state AS s JOIN unrdf.queue AS q ON q.id = s.queue WHERE q.name = 'q_plain';
-- pausing keeps the limit
SELECT unrdf.pause_queue('q_limited');
SELECT name, paused, max_running FROM unrdf.queues WHERE name = 'q_limited';

-- Handlers: both signatures, both results
CREATE TABLE q.done (n int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION q.note(args jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO q.done (what) VALUES (args->>'what') $$;
CREATE FUNCTION q.note_json(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO q.done (what) VALUES (args->>'what') RETURNING to_jsonb('did ' || what) $$;
CREATE FUNCTION q.note_id(job bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(job) $$;
CREATE FUNCTION q.bad_text(args text) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION q.bad_result(args jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION q.bad_set(args jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT args $$;
CREATE FUNCTION q.bad_three(a bigint, b jsonb, c jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION q.bad_order(b jsonb, a bigint) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE PROCEDURE q.bad_procedure(args jsonb) LANGUAGE sql AS $$ SELECT $$;
CREATE AGGREGATE q.bad_aggregate(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
CREATE FUNCTION q.bad_window(jsonb) RETURNS jsonb LANGUAGE internal WINDOW AS 'window_first_value';
CREATE FUNCTION q.bad_variadic(VARIADIC jsonb[]) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION q.bad_any(anyelement) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION q.bad_none() RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT unrdf.register_handler('q_note', 'q.note(jsonb)');
SELECT unrdf.register_handler('q_note_json', 'q.note_json(jsonb)');
SELECT unrdf.register_handler('q_note_id', 'q.note_id(bigint, jsonb)');
SELECT name, function, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms, own_transaction FROM unrdf.handler WHERE name LIKE 'q\_%' ORDER BY name;
SELECT unrdf.enqueue('q_note', '{"what": "first"}') AS a, unrdf.enqueue('q_note_json', '{"what": "second"}') AS b, unrdf.enqueue('q_note_id') AS c \gset
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c);
SELECT result FROM unrdf.receipt WHERE id = :a;
SELECT result FROM unrdf.receipt WHERE id = :b;
SELECT result = to_jsonb(id) AS knows_its_id FROM unrdf.receipt WHERE id = :c;

-- Handlers that cannot be
SELECT arguments, r.* FROM unnest(ARRAY[
	'''q_bad'', ''q.bad_text(text)''',
	'''q_bad'', ''q.bad_result(jsonb)''',
	'''q_bad'', ''q.bad_set(jsonb)''',
	'''q_bad'', ''q.bad_three(bigint, jsonb, jsonb)''',
	'''q_bad'', ''q.bad_order(jsonb, bigint)''',
	'''q_bad'', ''q.bad_procedure(jsonb)''',
	'''q_bad'', ''q.bad_aggregate(jsonb)''',
	'''q_bad'', ''q.bad_window(jsonb)''',
	'''q_bad'', ''q.bad_variadic(jsonb[])''',
	'''q_bad'', ''q.bad_any(anyelement)''',
	'''q_bad'', ''q.bad_none()''',
	'''q_bad'', ''q.nothing(jsonb)''',
	'''q_bad'', 0::oid::regprocedure',
	'''q_bad'', NULL',
	'NULL, ''q.note(jsonb)''',
	''''', ''q.note(jsonb)''',
	'repeat(''x'', 64), ''q.note(jsonb)''',
	'''q_bad'', ''q.note(jsonb)'', max_attempts => 0',
	'''q_bad'', ''q.note(jsonb)'', max_attempts => 1001',
	'''q_bad'', ''q.note(jsonb)'', max_attempts => NULL',
	'''q_bad'', ''q.note(jsonb)'', timeout => ''-1 s''',
	'''q_bad'', ''q.note(jsonb)'', timeout => ''25 days''',
	'''q_bad'', ''q.note(jsonb)'', timeout => NULL',
	'''q_bad'', ''q.note(jsonb)'', backoff => ''-1 s''',
	'''q_bad'', ''q.note(jsonb)'', backoff => ''25 days'', backoff_cap => ''25 days''',
	'''q_bad'', ''q.note(jsonb)'', backoff => NULL',
	'''q_bad'', ''q.note(jsonb)'', backoff => ''2 s'', backoff_cap => ''1 s''',
	'''q_bad'', ''q.note(jsonb)'', backoff_cap => ''25 days''',
	'''q_bad'', ''q.note(jsonb)'', backoff_cap => ''-1 s''',
	'''q_bad'', ''q.note(jsonb)'', backoff_cap => NULL',
	'''q_bad'', ''q.note(jsonb)'', own_transaction => NULL'
	]) AS arguments, q.raised('SELECT unrdf.register_handler(' || arguments || ')') AS r;
SELECT count(*) AS nothing_registered FROM unrdf.handler WHERE name = 'q_bad';

-- the most there can be; a time-out shorter than a millisecond is not none
BEGIN;
SELECT unrdf.register_handler('q_most', 'q.note(jsonb)', 1000, '24 days', '24 days', '24 days', true);
SELECT unrdf.register_handler('q_least', 'q.note(jsonb)', 1, '1 us', '0', '0', false);
SELECT name, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms, own_transaction FROM unrdf.handler WHERE name IN ('q_most', 'q_least') ORDER BY name;
ROLLBACK;

-- The owner may change a handler, and the next job runs the new function; nobody else may
SELECT unrdf.register_handler('q_note', 'q.note_json(jsonb)', max_attempts => 1, timeout => '1500 ms', backoff => '0', backoff_cap => '0', own_transaction => true);
SELECT name, function, max_attempts, timeout_ms, backoff_ms, backoff_cap_ms, own_transaction FROM unrdf.handler WHERE name = 'q_note';
SELECT unrdf.enqueue('q_note', '{"what": "third"}') AS a \gset
SELECT unrdf.wait(:a);
SELECT result FROM unrdf.receipt WHERE id = :a;
CREATE ROLE regress_unrdf_operator;
CREATE ROLE regress_unrdf_other;
SELECT unrdf.grant_access('regress_unrdf_operator', 'operator'), unrdf.grant_access('regress_unrdf_other', 'operator');
GRANT USAGE, CREATE ON SCHEMA q TO regress_unrdf_operator, regress_unrdf_other;
SET ROLE regress_unrdf_operator;
SELECT * FROM q.raised('SELECT unrdf.register_handler(''q_note'', ''q.note(jsonb)'')');
SELECT unrdf.register_handler('q_theirs', 'q.note(jsonb)');
SELECT unrdf.pause_queue('q_plain');
SET ROLE regress_unrdf_other;
SELECT * FROM q.raised('SELECT unrdf.register_handler(''q_theirs'', ''q.note_json(jsonb)'')');
SELECT unrdf.resume_queue('q_plain');
RESET ROLE;
SELECT name, function, nullif(owner, quote_ident(current_user)::regrole)::regrole AS of_other FROM unrdf.handler WHERE name IN ('q_note', 'q_theirs') ORDER BY name;
-- a member of the owner may, and ownership stays
GRANT regress_unrdf_operator TO regress_unrdf_other;
SET ROLE regress_unrdf_other;
SELECT unrdf.register_handler('q_theirs', 'q.note_json(jsonb)');
RESET ROLE;
SELECT name, function, owner FROM unrdf.handler WHERE name = 'q_theirs';
-- a function one may not execute
CREATE FUNCTION q.secret(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
REVOKE EXECUTE ON FUNCTION q.secret(jsonb) FROM PUBLIC;
SET ROLE regress_unrdf_other;
SELECT * FROM q.raised('SELECT unrdf.register_handler(''q_secret'', ''q.secret(jsonb)'')');
RESET ROLE;
-- rolled back, it is not there, in this session either
BEGIN;
SELECT unrdf.register_handler('q_gone', 'q.note(jsonb)');
SELECT unrdf.create_queue('q_gone');
SELECT unrdf.enqueue('q_gone', queue => 'q_gone') > 0 AS found;
ROLLBACK;
SELECT unrdf.enqueue('q_gone');
SELECT unrdf.enqueue('q_note_id', queue => 'q_gone');
BEGIN;
SAVEPOINT s;
SELECT unrdf.register_handler('q_gone', 'q.note(jsonb)');
SELECT unrdf.enqueue('q_gone') > 0 AS found;
ROLLBACK TO s;
SELECT unrdf.enqueue('q_gone');
ROLLBACK;

-- A paused queue hands out nothing: a job behind it in another queue ends, this one has not begun
SELECT unrdf.pause_queue('q_plain');
SELECT unrdf.enqueue('q_note_json', '{"what": "held"}', queue => 'q_plain') AS held \gset
SELECT unrdf.enqueue('q_note_json', '{"what": "free"}') AS free \gset
SELECT unrdf.wait(:free);
SELECT unrdf.wait(:held, '0') IS NULL AS waits, state FROM unrdf.jobs WHERE id = :held;
SELECT unrdf.resume_queue('q_plain');
SELECT unrdf.wait(:held);

-- Order: urgent first, then as enqueued. One at a time, all there before the first is handed out.
TRUNCATE q.done RESTART IDENTITY;
CREATE TEMP TABLE ordered AS
	SELECT unrdf.enqueue('q_note_json', jsonb_build_object('what', format('%s/%s', p, i)), queue => 'q_limited', priority => p) AS id
	FROM (VALUES (1, 5), (1, 9), (1, 0), (2, 9), (2, 0), (2, 5), (3, 5), (3, 0), (3, 3)) AS t (i, p);
SELECT unrdf.resume_queue('q_limited');
SELECT count(unrdf.wait(id)) FROM ordered;
SELECT string_agg(what, ' ' ORDER BY n) FROM q.done;

-- max_running 1: no two of its jobs at the same time, though there are more executors
CREATE FUNCTION q.count_running(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF NOT pg_try_advisory_lock(7700) THEN
		RAISE EXCEPTION 'two at once';
	END IF;
	PERFORM pg_sleep(0.002);
	RETURN to_jsonb(pg_advisory_unlock(7700));
END $$;
SELECT unrdf.register_handler('q_count', 'q.count_running(jsonb)', max_attempts => 1, own_transaction => true);
CREATE TEMP TABLE limited AS SELECT unrdf.enqueue('q_count', queue => 'q_limited') AS id FROM generate_series(1, 50);
SELECT unrdf.wait(id) AS outcome, count(*) FROM limited GROUP BY 1;

DROP OWNED BY regress_unrdf_operator, regress_unrdf_other;
DROP ROLE regress_unrdf_operator, regress_unrdf_other;
