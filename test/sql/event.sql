-- Events, subscriptions and who may read what.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA ev;
-- what a refused statement raises; nothing, where it is not refused
CREATE FUNCTION ev.raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
END $$;
CREATE TABLE ev.got (handler text, job bigint, args jsonb);
CREATE FUNCTION ev.note(id bigint, args jsonb) RETURNS void LANGUAGE sql SECURITY DEFINER AS
	'INSERT INTO ev.got SELECT h.name, $1, $2 FROM unrdf.job AS j JOIN unrdf.handler AS h ON h.id = j.handler WHERE j.id = $1';
CREATE FUNCTION ev.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''as asked''; END';
SELECT unrdf.register_handler('ev_a', 'ev.note(bigint, jsonb)');
SELECT unrdf.register_handler('ev_b', 'ev.note(bigint, jsonb)');
SELECT unrdf.register_handler('ev_fail', 'ev.fail(jsonb)', max_attempts => 1);
-- waits until every subscription has what there is for it, and then until every job of theirs has ended
CREATE FUNCTION ev.settle() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM unrdf.subscriptions WHERE state = 'active' AND lag_events > 0)
	LOOP PERFORM pg_sleep(0.01); END LOOP;
	WHILE EXISTS (SELECT FROM unrdf.job AS j JOIN unrdf.handler AS h ON h.id = j.handler AND h.name LIKE 'ev\_%'
			WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = j.id))
	LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
-- what handlers got since the last look, in the order of their jobs
CREATE FUNCTION ev.look() RETURNS TABLE (handler text, name text, payload jsonb) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM ev.settle();
	RETURN QUERY SELECT g.handler, g.args ->> 'name', g.args -> 'payload' FROM ev.got AS g ORDER BY g.handler, g.job;
	TRUNCATE ev.got;
END $$;

-- Without a subscription there is no courier; an event is a row
SELECT unrdf.emit('order.created', '{"n": 0}') AS before \gset
SELECT count(*) FROM unrdf.stat_workers WHERE kind = 'courier' AND datname = current_database();
SELECT name, payload, emitter = current_user::regrole AS mine FROM unrdf.events WHERE id = :before;

-- From now on, by prefix and by name; each subscriber gets each event once
SELECT unrdf.on_event('order.*', 'ev_a') AS a \gset
SELECT unrdf.on_event('order.created', 'ev_b', priority => 3) AS b \gset
SELECT unrdf.emit('order.created', '{"n": 1}') AS one, unrdf.emit('order.paid', '{"n": 2.5}') AS two, unrdf.emit('order') AS bare, unrdf.emit('orders.x') AS other \gset
SELECT * FROM ev.look();
SELECT name, handler, owner = current_user::regrole AS mine, queue, priority, max_behind, state, last_event - :before AS last, lag_events, lag_age IS NULL AS no_lag, jobs_open
FROM unrdf.subscriptions ORDER BY handler;
-- payloads of every kind, and what a job says of an event besides
SELECT count(*) FROM (SELECT unrdf.emit('order.kinds', p) FROM unnest(ARRAY['null', 'true', '1e2', '"text"', '[]', '[1, {"a": []}]', '{}']::jsonb[]) AS p) AS e;
SELECT unrdf.emit('order.kinds') > 0 AS emitted;
SELECT * FROM ev.look();
SELECT unrdf.emit('order.paid') AS id \gset
SELECT ev.settle();
SELECT (args ->> 'event')::bigint = :id AS id, args ->> 'emitter' = current_user AS emitter, (args ->> 'at')::timestamptz = e.at AS at,
	(SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(args) AS k) AS keys
FROM ev.got, unrdf.events AS e WHERE e.id = :id;
TRUNCATE ev.got;

-- What is rolled back never was
BEGIN;
SELECT unrdf.emit('order.created') > 0 AS emitted;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT unrdf.emit('order.created', '"gone"') > 0 AS emitted;
ROLLBACK TO s;
SELECT unrdf.emit('order.created', '"kept"') > 0 AS emitted;
COMMIT;
SELECT * FROM ev.look();

-- Prepared transactions: an event comes when it is visible, after later ones
BEGIN;
SELECT unrdf.emit('order.paid', '"prepared"') > 0 AS emitted;
PREPARE TRANSACTION 'event';
SELECT unrdf.emit('order.paid', '"later"') > 0 AS emitted;
SELECT * FROM ev.look();
COMMIT PREPARED 'event';
SELECT * FROM ev.look();

-- Pause, resume, replay
SELECT unrdf.pause_subscription(:a);
SELECT unrdf.emit('order.paid', '"while paused"') AS paused \gset
SELECT handler, state, lag_events, lag_age > '0' AS lags FROM unrdf.subscriptions WHERE id = :a;
SELECT unrdf.resume_subscription(:a);
SELECT * FROM ev.look();
SELECT unrdf.replay(:a, :'paused');
SELECT * FROM ev.look();
SELECT unrdf.replay(:b, 'beginning');
SELECT * FROM ev.look();
-- what was asked for twice at once comes once; what has not come yet comes in any case
SELECT unrdf.pause_subscription(:a);
SELECT unrdf.emit('order.paid', '"new"') AS new \gset
SELECT unrdf.replay(:a, :'new');
SELECT unrdf.replay(:a, :'paused');
SELECT unrdf.replay(:a, (:new + 100)::text);
SELECT lag_events FROM unrdf.subscriptions WHERE id = :a;
SELECT unrdf.resume_subscription(:a);
SELECT * FROM ev.look();
-- also what is before the event that it is sent to
SELECT unrdf.pause_subscription(:a);
SELECT unrdf.emit('order.paid', '"not had yet"') AS fresh \gset
SELECT unrdf.replay(:a, (:fresh + 100)::text);
SELECT unrdf.resume_subscription(:a);
SELECT * FROM ev.look();
-- forward: what is passed over does not come
SELECT unrdf.pause_subscription(:a);
SELECT unrdf.emit('order.paid', '"passed over"') > 0 AS emitted;
SELECT unrdf.replay(:a, 'now');
SELECT unrdf.resume_subscription(:a);
SELECT unrdf.emit('order.paid', '"after"') > 0 AS emitted;
SELECT * FROM ev.look();
-- however many events for others it has to pass
SELECT unrdf.pause_subscription(:a);
SELECT count(unrdf.emit('noise')) FROM generate_series(1, 100000) AS i;
SELECT unrdf.emit('order.paid', '"behind the noise"') > 0 AS emitted;
SELECT lag_events FROM unrdf.subscriptions WHERE id = :a;
SELECT unrdf.resume_subscription(:a);
SELECT * FROM ev.look();
-- a new subscriber from the beginning, or from an event on
SELECT unrdf.on_event('order.created', 'ev_a', 'beginning') AS c \gset
SELECT * FROM ev.look();
SELECT unrdf.on_event('order.paid', 'ev_a', :'new') AS d \gset
SELECT * FROM ev.look();
SELECT unrdf.drop_on_event(:c), unrdf.drop_on_event(:d);

-- Bounded: no more than max_behind jobs that have not ended
SELECT unrdf.create_queue('ev slow');
SELECT unrdf.pause_queue('ev slow');
SELECT unrdf.on_event('slow', 'ev_b', queue => 'ev slow', max_behind => 5) AS slow \gset
SELECT count(*) FROM (SELECT unrdf.emit('slow', to_jsonb(i)) FROM generate_series(1, 12) AS i) AS e;
DO $$ BEGIN WHILE (SELECT state FROM unrdf.subscriptions WHERE name = 'slow') <> 'full' LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT state, jobs_open, lag_events FROM unrdf.subscriptions WHERE id = :slow;
SELECT unrdf.resume_queue('ev slow');
DO $$ BEGIN WHILE (SELECT count(*) FROM ev.got) < 12 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT * FROM ev.look();
SELECT unrdf.drop_on_event(:slow);
-- dead jobs have ended
SELECT unrdf.on_event('fails', 'ev_fail', max_behind => 1) AS fails \gset
SELECT count(*) FROM (SELECT unrdf.emit('fails', to_jsonb(i)) FROM generate_series(1, 3) AS i) AS e;
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.jobs WHERE handler = 'ev_fail' AND state = 'dead') < 3 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT unrdf.drop_on_event(:fails);

-- What is refused
SELECT statement, r.* FROM unnest(ARRAY[
	'unrdf.emit('''')',
	'unrdf.emit(NULL)',
	'unrdf.emit(''a*'')',
	'unrdf.emit(repeat(''x'', 256))',
	'unrdf.emit(''order'', ''9007199254740993'')',
	'unrdf.emit(''order'', to_jsonb(repeat(''x'', 1100000)))',
	'unrdf.on_event('''', ''ev_a'')',
	'unrdf.on_event(NULL, ''ev_a'')',
	'unrdf.on_event(''a*'', ''ev_a'')',
	'unrdf.on_event(''*.a'', ''ev_a'')',
	'unrdf.on_event(''a.**'', ''ev_a'')',
	'unrdf.on_event(repeat(''x'', 256), ''ev_a'')',
	'unrdf.on_event(''a'', ''ev_none'')',
	'unrdf.on_event(''a'', ''ev_a'', queue => ''none'')',
	'unrdf.on_event(''a'', ''ev_a'', priority => 10)',
	'unrdf.on_event(''a'', ''ev_a'', max_behind => 0)',
	'unrdf.on_event(''a'', ''ev_a'', ''yesterday'')',
	'unrdf.on_event(''a'', ''ev_a'', ''0'')',
	'unrdf.on_event(''a'', ''ev_a'', ''99999999999999999999'')',
	'unrdf.on_event(''order.*'', ''ev_a'')',
	'unrdf.replay(0, ''now'')',
	'unrdf.replay((SELECT min(id) FROM unrdf.subscription), ''then'')',
	'unrdf.pause_subscription(0)',
	'unrdf.resume_subscription(0)',
	'unrdf.drop_on_event(0)',
	'unrdf.grant_events(''pg_monitor'', ''a*'')',
	'unrdf.revoke_events(''pg_monitor'', ''a'')',
	'unrdf.subscription_lag(0)']) AS statement, ev.raised('SELECT ' || statement) AS r;
SELECT (unrdf.subscription_lag(0)).*;
SELECT unrdf.replay(NULL, 'now') IS NULL AND unrdf.drop_on_event(NULL) IS NULL AND unrdf.grant_events(NULL, 'a') IS NULL AS strict;
BEGIN;
SELECT unrdf.on_event('a', 'ev_a') > 0 AS subscribed;
PREPARE TRANSACTION 'subscribing';
BEGIN READ ONLY;
SELECT unrdf.emit('order');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.grant_events('pg_monitor', 'a');
ROLLBACK;

-- Who may read what: own events, and what was granted; decided when an event is delivered
CREATE ROLE regress_unrdf_emitter;
CREATE ROLE regress_unrdf_reader;
CREATE ROLE regress_unrdf_group;
GRANT USAGE ON SCHEMA ev TO regress_unrdf_emitter, regress_unrdf_reader;
SELECT unrdf.grant_access(r, 'producer') FROM unnest(ARRAY['regress_unrdf_emitter', 'regress_unrdf_reader']::regrole[]) AS r;
SET ROLE regress_unrdf_reader;
SELECT unrdf.on_event('*', 'ev_b') AS reader \gset
SELECT unrdf.emit('private.reader', '"own"') > 0 AS emitted;
SET ROLE regress_unrdf_emitter;
SELECT unrdf.emit('private.emitter', '"not granted"') AS secret \gset
RESET ROLE;
SELECT * FROM ev.look();
SELECT unrdf.grant_events('regress_unrdf_group', 'private.*');
GRANT regress_unrdf_group TO regress_unrdf_reader;
SET ROLE regress_unrdf_emitter;
SELECT unrdf.emit('private.emitter', '"granted"') > 0 AS one, unrdf.emit('privateer', '"not granted"') > 0 AS two;
RESET ROLE;
SELECT * FROM ev.look();
SELECT unrdf.revoke_events('regress_unrdf_group', 'private.*');
SET ROLE regress_unrdf_emitter;
SELECT unrdf.emit('private.emitter', '"revoked"') > 0 AS emitted;
-- the view says the same, also to a leaking function
CREATE FUNCTION pg_temp.leak(t jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE WARNING 'leaked %', t; RETURN true; END $$;
SET ROLE regress_unrdf_reader;
SELECT name, payload FROM unrdf.events WHERE pg_temp.leak(payload) ORDER BY id;
SELECT count(*) FROM unrdf.event;
SELECT count(*) FROM unrdf.delivery;
RESET ROLE;
SELECT * FROM ev.look();
-- and one's own subscriptions only
SET ROLE regress_unrdf_emitter;
SELECT name, handler FROM unrdf.subscriptions;
SELECT (unrdf.subscription_lag(:reader)).*;
SELECT split_part(statement, '(', 1) AS function, r.code, regexp_replace(r.message, '\d+', 'N') AS message FROM unnest(ARRAY[
	'unrdf.replay(' || :reader || ', ''now'')',
	'unrdf.pause_subscription(' || :reader || ')',
	'unrdf.resume_subscription(' || :reader || ')',
	'unrdf.drop_on_event(' || :reader || ')',
	'unrdf.grant_events(''regress_unrdf_emitter'', ''*'')',
	'unrdf.revoke_events(''regress_unrdf_emitter'', ''*'')']) WITH ORDINALITY AS s (statement, n), ev.raised('SELECT ' || statement) AS r ORDER BY n;
RESET ROLE;
-- who may not run the handler cannot subscribe with it
REVOKE EXECUTE ON FUNCTION ev.fail(jsonb) FROM PUBLIC;
SET ROLE regress_unrdf_reader;
SELECT unrdf.on_event('a', 'ev_fail');
RESET ROLE;
-- queue and priority are the handler's, unless the subscription says other ones; its schema does not keep events from coming
SELECT unrdf.create_queue('ev_slow');
CREATE FUNCTION ev.key() RETURNS text LANGUAGE sql AS 'SELECT ''a key''';
SELECT unrdf.register_handler('ev_strict', 'ev.note(bigint, jsonb)', queue => 'ev_slow', priority => 7, encrypt_args => 'ev.key()',
	args_schema => '{"properties": {"payload": {"type": "object", "required": ["card"]}}}');
SELECT unrdf.on_event('strict', 'ev_strict') AS strict \gset
SELECT queue, priority FROM unrdf.subscriptions WHERE id = :strict;
SELECT unrdf.emit('strict', p) > 0 AS emitted FROM unnest(ARRAY['{"card": 1}', '{"cart": 2}', '{"card": 3}']::jsonb[]) AS p;
SELECT * FROM ev.look();
SELECT queue, priority, args ? 'encrypted' AS encrypted, state, attempts, last_error FROM unrdf.jobs WHERE handler = 'ev_strict' ORDER BY id;
SELECT r.result->>'detail' AS detail FROM unrdf.receipt AS r JOIN unrdf.jobs AS j ON j.id = r.id WHERE j.handler = 'ev_strict' AND j.state = 'dead';
-- a key that is not there, or does not come, holds up this subscription and no other; what is due stays so
CREATE OR REPLACE FUNCTION ev.key() RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
SELECT unrdf.on_event('strict', 'ev_b') AS other \gset
SELECT unrdf.emit('strict', '{"card": 4}') > 0 AS emitted;
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM ev.got) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT name, handler, lag_events FROM unrdf.subscriptions WHERE name = 'strict' ORDER BY handler;
CREATE OR REPLACE FUNCTION ev.key() RETURNS text LANGUAGE sql AS 'SELECT ''a key''';
SELECT * FROM ev.look();
SELECT unrdf.drop_on_event(:strict), unrdf.drop_on_event(:other);
-- a queue that a subscription enqueues in stays
SELECT unrdf.create_queue('ev_closed');
SELECT unrdf.on_event('closed', 'ev_a', queue => 'ev_closed') AS closed \gset
SELECT regexp_replace(r.message, 'subscription \d+', 'subscription N') AS message FROM ev.raised('SELECT unrdf.close_queue(''ev_closed'', true), unrdf.remove_queue(''ev_closed'')') AS r;
SELECT unrdf.drop_on_event(:closed);
CALL unrdf.drop_queue('ev_closed');
SET ROLE regress_unrdf_reader;
SELECT unrdf.drop_on_event(:reader);
RESET ROLE;
SELECT unrdf.drop_on_event(id) FROM unrdf.subscription ORDER BY id;
SELECT count(*) FROM unrdf.subscriptions;
DROP OWNED BY regress_unrdf_emitter, regress_unrdf_reader, regress_unrdf_group;
DROP ROLE regress_unrdf_emitter, regress_unrdf_reader, regress_unrdf_group;
DO $$ BEGIN WHILE EXISTS (SELECT FROM unrdf.stat_workers WHERE kind = 'courier' AND datname = current_database()) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
