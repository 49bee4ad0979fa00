-- Ways for a handler to become the executor's superuser, or to leave something behind that another job runs: all shut.
-- The jobs are those of a role without rights; each tries, says how far it came, and looks who it is.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA esc;
CREATE TABLE esc.seen (n int GENERATED ALWAYS AS IDENTITY, what text, who name, is_super boolean);
CREATE TABLE esc.crown (held_by name);	-- only a superuser can write here
CREATE ROLE regress_unrdf_king SUPERUSER;
CREATE ROLE regress_unrdf_thief;
CREATE ROLE regress_unrdf_victim;
SELECT unrdf.grant_access('regress_unrdf_thief', 'producer'), unrdf.grant_access('regress_unrdf_thief', 'operator');
SELECT unrdf.grant_access('regress_unrdf_victim', 'producer');
GRANT USAGE, CREATE ON SCHEMA esc TO regress_unrdf_thief;
GRANT USAGE ON SCHEMA esc TO regress_unrdf_victim;
GRANT INSERT, SELECT ON esc.seen TO PUBLIC;
SELECT unrdf.create_queue('esc', 1);

SET ROLE regress_unrdf_thief;
-- notes who runs it, and takes the crown if it can
CREATE FUNCTION esc.look(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO esc.seen (what, who, is_super) SELECT what, current_user, rolsuper FROM pg_roles WHERE rolname = current_user;
	BEGIN
		INSERT INTO esc.crown VALUES (current_user);
	EXCEPTION WHEN insufficient_privilege THEN
		NULL;
	END;
END $$;
-- runs a statement as a handler, then looks
CREATE FUNCTION esc.try(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	outcome text := 'done';
BEGIN
	BEGIN
		EXECUTE args->>'do';
	EXCEPTION WHEN OTHERS THEN
		outcome := SQLSTATE;
	END;
	PERFORM esc.look(args->>'do');
	RETURN to_jsonb(outcome);
END $$;
SELECT unrdf.register_handler('esc_try', 'esc.try(jsonb)', max_attempts => 1);
CREATE TABLE esc.target (id int PRIMARY KEY, x int);
CREATE FUNCTION esc.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE 'SET ROLE regress_unrdf_king'; END $$;
CREATE FUNCTION esc.definer_reset() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE 'RESET ROLE'; END $$;

-- Every statement in an own job
CREATE TEMP TABLE tried (n int GENERATED ALWAYS AS IDENTITY, what text, job bigint);
INSERT INTO tried (what, job) SELECT what, unrdf.enqueue('esc_try', jsonb_build_object('do', what), queue => 'esc') FROM unnest(ARRAY[
	'SELECT 1',
	'SET ROLE regress_unrdf_king',
	'SET LOCAL ROLE regress_unrdf_king',
	'RESET ROLE',
	'SET ROLE NONE',
	'SELECT set_config(''role'', ''regress_unrdf_king'', false)',
	'SELECT set_config(''role'', ''none'', true)',
	'SET SESSION AUTHORIZATION regress_unrdf_king',
	'SET LOCAL SESSION AUTHORIZATION regress_unrdf_king',
	'SET SESSION AUTHORIZATION DEFAULT',
	'RESET SESSION AUTHORIZATION',
	'SELECT set_config(''session_authorization'', ''regress_unrdf_king'', false)',
	'RESET ALL',
	'DISCARD ALL',
	'ALTER ROLE regress_unrdf_thief SUPERUSER',
	'ALTER ROLE regress_unrdf_king SET search_path = esc',
	'ALTER DATABASE ' || current_database() || ' SET search_path = esc',
	'ALTER SYSTEM SET search_path = esc',
	'SET session_preload_libraries = ''x''',
	'SET session_replication_role = replica',
	'LOAD ''x''',
	'COPY esc.seen TO PROGRAM ''cat''',
	'CREATE TEMP TABLE seen (n int)',
	'CREATE TEMP VIEW jobs AS SELECT 1',
	'CREATE TABLE pg_temp.job (id int)',
	'DECLARE c CURSOR WITH HOLD FOR SELECT esc.look(''holdable cursor'')',
	'PREPARE p AS SELECT 1',
	'LISTEN esc',
	'CREATE EVENT TRIGGER esc ON ddl_command_end EXECUTE FUNCTION esc.event()',
	'SELECT esc.definer()',
	'SELECT esc.definer_reset()',
	'ALTER FUNCTION esc.look(text) SET role = regress_unrdf_king',
	'CREATE FUNCTION esc.king() RETURNS void LANGUAGE sql SET session_authorization = regress_unrdf_king AS ''SELECT ''',
	'ALTER FUNCTION esc.look(text) OWNER TO regress_unrdf_king',
	'GRANT regress_unrdf_king TO regress_unrdf_thief',
	'SET TRANSACTION READ ONLY',
	'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE',
	'COMMIT',
	'SAVEPOINT s',
	'VACUUM esc.seen',
	'CREATE FUNCTION esc.c() RETURNS void LANGUAGE c AS ''x'', ''y''',
	'ALTER EXTENSION unrdf DROP FUNCTION unrdf.integrate()',
	'CREATE TRIGGER t BEFORE INSERT ON unrdf.receipt FOR EACH ROW EXECUTE FUNCTION esc.trigger()',
	'CREATE INDEX ON unrdf.receipt (esc.look(actor))',
	'CREATE FUNCTION unrdf.f() RETURNS void LANGUAGE sql AS ''SELECT ''',
	'SET search_path = esc, pg_catalog',
	'SELECT set_config(''search_path'', ''esc, pg_catalog'', false)',
	'SET CONSTRAINTS ALL DEFERRED',
	'CREATE SUBSCRIPTION esc CONNECTION '''' PUBLICATION p WITH (connect = false)',
	'SELECT unrdf.grant_access(''regress_unrdf_thief'', ''auditor'')',
	'SELECT unrdf.integrate()',
	'INSERT INTO unrdf.receipt SELECT * FROM unrdf.receipt LIMIT 1',
	'DELETE FROM unrdf.job'
	]) WITH ORDINALITY AS t (what, n) ORDER BY n;
SELECT unrdf.wait(job) AS ended, count(*) FROM tried GROUP BY 1 ORDER BY 1;
RESET ROLE;
-- what is done is undone before anybody else runs; a job that reached for temporary objects and caught the error is dead
SELECT replace(what, current_database(), 'this one') AS what, r.result #>> '{}' AS outcome, j.last_sqlstate AS dead_of
FROM tried AS t JOIN unrdf.receipt AS r ON r.id = t.job JOIN unrdf.jobs AS j ON j.id = t.job ORDER BY t.n;
SELECT who, is_super, count(*) FROM esc.seen GROUP BY 1, 2;
TRUNCATE esc.seen;

-- The next job in the same process has the settings of the first
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look('shadowed lower()'); RETURN $1; END $$;
CREATE FUNCTION esc.path(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(current_setting('search_path')) $$;
SELECT unrdf.register_handler('esc_path', 'esc.path(jsonb)', max_attempts => 1);
CREATE TEMP TABLE leaks AS SELECT unrdf.enqueue('esc_try', jsonb_build_object('do', what), queue => 'esc') AS set,
	unrdf.enqueue('esc_path', queue => 'esc') AS look
FROM generate_series(1, 10), unnest(ARRAY['SET search_path = esc, pg_catalog', 'RESET ALL']) AS what;
SELECT unrdf.wait(set) AS set, unrdf.wait(look) AS look, count(*) FROM leaks GROUP BY 1, 2;
RESET ROLE;
SELECT r.result AS path, count(*) FROM leaks AS l JOIN unrdf.receipt AS r ON r.id = l.look GROUP BY 1;
-- nor does what the executor itself runs use it: shadowed functions were never called but by their owner
SELECT what, who, is_super FROM esc.seen WHERE what LIKE 'shadowed%';
TRUNCATE esc.seen;

-- Nor does the next job of the same transaction, whose owner has other rights, find cursors, large objects, sequences or
-- settings of the first: until one of the thief's has run right after one of the victim's
CREATE TABLE esc.secret (s text);
INSERT INTO esc.secret VALUES ('secret');
GRANT SELECT ON esc.secret TO regress_unrdf_victim;
CREATE SEQUENCE esc.numbers;
GRANT ALL ON SEQUENCE esc.numbers TO PUBLIC;
CREATE FUNCTION esc.leave_open(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c refcursor;
	object oid := lo_from_bytea(0, 'secret');
BEGIN
	OPEN c FOR SELECT s FROM esc.secret;
	PERFORM lo_open(object, 262144), nextval('esc.numbers'), set_config('esc.left', 'secret', false), set_config('search_path', 'esc', false);
END $$;
CREATE FUNCTION esc.find_open(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c refcursor := (SELECT min(name) FROM pg_cursors);
	from_cursor text;
	from_object text;
	from_sequence text;
BEGIN
	BEGIN
		FETCH c INTO from_cursor;
	EXCEPTION WHEN OTHERS THEN
		from_cursor := SQLSTATE;
	END;
	BEGIN
		from_object := convert_from(loread(0, 100), 'UTF8');
	EXCEPTION WHEN OTHERS THEN
		from_object := SQLSTATE;
	END;
	BEGIN
		from_sequence := lastval();
	EXCEPTION WHEN OTHERS THEN
		from_sequence := SQLSTATE;
	END;
	RETURN jsonb_build_array(from_cursor, from_object, from_sequence, coalesce(current_setting('esc.left', true), ''), current_setting('search_path'));
END $$;
SELECT unrdf.register_handler('esc_leave', 'esc.leave_open(jsonb)', max_attempts => 1), unrdf.register_handler('esc_find', 'esc.find_open(jsonb)', max_attempts => 1);
CREATE TABLE esc.pair (handler text, id bigint);
GRANT INSERT ON esc.pair TO PUBLIC;
SELECT unrdf.create_queue('esc_shared');
CREATE PROCEDURE esc.share_a_transaction() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		FOR i IN 1..50 LOOP
			SET LOCAL ROLE regress_unrdf_victim;
			INSERT INTO esc.pair VALUES ('leave', unrdf.enqueue('esc_leave', queue => 'esc_shared'));
			SET LOCAL ROLE regress_unrdf_thief;
			INSERT INTO esc.pair VALUES ('find', unrdf.enqueue('esc_find', queue => 'esc_shared'));
			RESET ROLE;
		END LOOP;
		COMMIT;
		EXIT WHEN EXISTS (SELECT FROM esc.pair WHERE unrdf.wait(id) <> 'ok');
		EXIT WHEN EXISTS (SELECT FROM esc.pair AS a JOIN esc.pair AS b ON b.id = a.id + 1
			JOIN unrdf.receipt AS r ON r.id = a.id JOIN unrdf.receipt AS s ON s.id = b.id
			WHERE a.handler = 'leave' AND r.xid = s.xid AND r.started_at <= s.started_at);
		COMMIT;
	END LOOP;
END $$;
CALL esc.share_a_transaction();
SELECT DISTINCT p.handler, r.actor, r.outcome, r.result FROM esc.pair AS p JOIN unrdf.receipt AS r ON r.id = p.id ORDER BY 1;
SELECT count(lo_unlink(oid)) > 0 AS removed FROM pg_largeobject_metadata WHERE lomowner = 'regress_unrdf_victim'::regrole;

-- Code that runs by itself: triggers, functions in indexes, defaults, checks, rules, views, policies, types, event triggers
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look(TG_NAME); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER deferred_trigger AFTER INSERT ON esc.target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION esc.trigger();
CREATE TRIGGER before_trigger BEFORE INSERT ON esc.target FOR EACH ROW EXECUTE FUNCTION esc.trigger();
CREATE FUNCTION esc.index_fn(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM esc.look('index expression'); RETURN $1; END $$;
CREATE FUNCTION esc.look_int(what text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look(what); RETURN 1; END $$;
CREATE FUNCTION esc.look_bool(what text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look(what); RETURN true; END $$;
CREATE DOMAIN esc.domain AS int CHECK (esc.look_bool('domain'));
CREATE TABLE esc.indexed (id int DEFAULT esc.look_int('default') CHECK (esc.look_bool('check constraint')), d esc.domain);
CREATE TABLE esc.ruled (id int);
CREATE RULE rule AS ON INSERT TO esc.ruled DO ALSO SELECT esc.look('rule');
CREATE VIEW esc.view AS SELECT id, esc.look_int('view') AS x FROM esc.indexed;
CREATE VIEW esc.guarded WITH (security_barrier) AS SELECT id FROM esc.indexed WHERE esc.look_bool('security barrier view');
CREATE MATERIALIZED VIEW esc.materialized AS SELECT esc.look_int('materialized view') AS x WITH NO DATA;
CREATE TABLE esc.policed (id int);
ALTER TABLE esc.policed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY policy ON esc.policed USING (esc.look_bool('policy')) WITH CHECK (esc.look_bool('policy check'));
CREATE AGGREGATE esc.aggregate(int) (SFUNC = int4pl, STYPE = int, FINALFUNC = esc.index_fn);
RESET ROLE;
CREATE FUNCTION esc.event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look('event trigger'); END $$;
CREATE EVENT TRIGGER regress_unrdf_event ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION esc.event();
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.autorun(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO esc.target VALUES ((args->>'id')::int);
	CREATE INDEX IF NOT EXISTS indexed_fn ON esc.indexed (esc.index_fn(id));
	INSERT INTO esc.indexed VALUES (DEFAULT, 1);
	INSERT INTO esc.ruled VALUES (1);
	INSERT INTO esc.policed VALUES (1);
	PERFORM x FROM esc.view;
	PERFORM id FROM esc.guarded;
	PERFORM id FROM esc.policed;
	PERFORM esc.aggregate(id) FROM esc.ruled;
	REFRESH MATERIALIZED VIEW esc.materialized;
	ANALYZE esc.indexed;
	REINDEX TABLE esc.indexed;
END $$;
SELECT unrdf.register_handler('esc_autorun', 'esc.autorun(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('esc_autorun', '{"id": 1}', queue => 'esc') AS job \gset
SELECT unrdf.wait(:job);
RESET ROLE;
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;
SELECT what, who, is_super, count(*) > 0 AS ran FROM esc.seen GROUP BY 1, 2, 3 ORDER BY 1, 2;
DROP EVENT TRIGGER regress_unrdf_event;
TRUNCATE esc.seen;
-- deferred again by the handler itself: refused, rather than fired at commit as another role
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.defer(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL DEFERRED;
	INSERT INTO esc.target VALUES ((args->>'id')::int);
END $$;
SELECT unrdf.register_handler('esc_defer', 'esc.defer(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('esc_defer', '{"id": 2}', queue => 'esc') AS job \gset
SELECT unrdf.wait(:job);
RESET ROLE;
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;
SELECT what, who, is_super FROM esc.seen;

-- a transaction that a handler makes read-only, and a cursor that it leaves open, are no hindrance for its receipt; nobody reads it
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.leave(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c refcursor := 'left';
BEGIN
	OPEN c FOR SELECT esc.look('left cursor');
	SET TRANSACTION READ ONLY;
END $$;
SELECT unrdf.register_handler('esc_left', 'esc.leave(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('esc_left', queue => 'esc') AS job \gset
SELECT unrdf.wait(:job);
RESET ROLE;
SELECT what, who, is_super FROM esc.seen;

-- Objects in pg_temp that are no relations would stay for the next job, whose search_path has pg_temp in front: refused, too
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.temp(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE args->>'do'; END $$;
SELECT unrdf.register_handler('esc_temp', 'esc.temp(jsonb)', max_attempts => 1);
CREATE FUNCTION esc.check_text(t pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look('shadowed type'); RETURN true; END $$;
RESET ROLE;
CREATE FUNCTION esc.careless(args jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path = esc AS $$ DECLARE t text := 'x'; BEGIN RETURN to_jsonb(t); END $$;
SELECT unrdf.register_handler('esc_careless', 'esc.careless(jsonb)', max_attempts => 1);
SELECT unrdf.pause_queue('esc');
SET ROLE regress_unrdf_thief;
SELECT unrdf.enqueue('esc_temp', '{"do": "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (esc.check_text(VALUE))"}', queue => 'esc') AS a,
	unrdf.enqueue('esc_temp', '{"do": "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''SELECT 1''"}', queue => 'esc') AS b,
	unrdf.enqueue('esc_temp', '{"do": "CREATE TYPE pg_temp.t AS ENUM (''a'')"}', queue => 'esc') AS c \gset
RESET ROLE;
SET ROLE regress_unrdf_victim;
CREATE TEMP TABLE careless AS SELECT unrdf.enqueue('esc_careless', queue => 'esc') AS id FROM generate_series(1, 20);
RESET ROLE;
SELECT unrdf.resume_queue('esc');
SELECT unrdf.wait(:a), unrdf.wait(:b), unrdf.wait(:c);
SELECT unrdf.wait(id) AS outcome, count(*) FROM careless GROUP BY 1;
SELECT last_sqlstate FROM unrdf.jobs WHERE id IN (:a, :b, :c);
SELECT what, who, is_super FROM esc.seen;

-- A victim's job that calls the thief's code is the thief's business as far as the victim's rights go, not the executor's
SET ROLE regress_unrdf_victim;
SELECT unrdf.enqueue('esc_try', '{"do": "SELECT 1"}', queue => 'esc') AS job \gset
SELECT unrdf.wait(:job);
RESET ROLE;
SELECT what, who, is_super FROM esc.seen;

-- An owner who is no more: the job is not run as anybody else
CREATE ROLE regress_unrdf_gone;
SELECT unrdf.grant_access('regress_unrdf_gone', 'producer');
GRANT USAGE ON SCHEMA esc TO regress_unrdf_gone;
TRUNCATE esc.seen;
SELECT unrdf.pause_queue('esc');
SET ROLE regress_unrdf_gone;
SELECT unrdf.enqueue('esc_try', '{"do": "SELECT 1"}', queue => 'esc', max_attempts => 1) AS job \gset
RESET ROLE;
DROP OWNED BY regress_unrdf_gone;
DROP ROLE regress_unrdf_gone;
SELECT unrdf.resume_queue('esc');
SELECT unrdf.wait(:job);
SELECT state, last_sqlstate FROM unrdf.jobs WHERE id = :job;
SELECT what, who, is_super FROM esc.seen;

-- Nobody ever had the crown
SELECT * FROM esc.crown;
DROP OWNED BY regress_unrdf_thief, regress_unrdf_victim;
DROP ROLE regress_unrdf_thief, regress_unrdf_victim, regress_unrdf_king;
