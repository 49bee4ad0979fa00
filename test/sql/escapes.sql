-- Ways for a handler to become the executor's superuser, or to leave something behind that another job runs: all shut.
-- The jobs are those of a role without rights; each tries, says how far it came, and looks who it is.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA esc;
CREATE TABLE esc.seen (n int GENERATED ALWAYS AS IDENTITY, what text, who name, is_super boolean);
CREATE TABLE esc.crown (held_by name);	-- only a superuser can write here
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
		outcome := SQLSTATE || ' ' || SQLERRM;
	END;
	PERFORM esc.look(args->>'do');
	RETURN to_jsonb(outcome);
END $$;
SELECT unrdf.register_handler('esc_try', 'esc.try(jsonb)', max_attempts => 1);
CREATE TABLE esc.target (id int PRIMARY KEY, x int);
CREATE FUNCTION esc.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$;
CREATE FUNCTION esc.definer_reset() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN EXECUTE 'RESET ROLE'; END $$;

-- Every statement in an own job
CREATE TEMP TABLE tried (n int GENERATED ALWAYS AS IDENTITY, what text, job bigint);
INSERT INTO tried (what, job) SELECT what, unrdf.enqueue('esc_try', jsonb_build_object('do', what), queue => 'esc') FROM unnest(ARRAY[
	'SELECT 1',
	'SET ROLE postgres',
	'SET LOCAL ROLE postgres',
	'RESET ROLE',
	'SET ROLE NONE',
	'SELECT set_config(''role'', ''postgres'', false)',
	'SELECT set_config(''role'', ''none'', true)',
	'SET SESSION AUTHORIZATION postgres',
	'SET SESSION AUTHORIZATION DEFAULT',
	'RESET SESSION AUTHORIZATION',
	'SELECT set_config(''session_authorization'', ''postgres'', false)',
	'RESET ALL',
	'DISCARD ALL',
	'ALTER ROLE regress_unrdf_thief SUPERUSER',
	'ALTER ROLE postgres SET search_path = esc',
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
	'SET search_path = esc, pg_catalog',
	'SELECT set_config(''search_path'', ''esc, pg_catalog'', false)',
	'SET CONSTRAINTS ALL DEFERRED',
	'CREATE SUBSCRIPTION esc CONNECTION '''' PUBLICATION p WITH (connect = false)',
	'SELECT unrdf.grant_access(''regress_unrdf_thief'', ''auditor'')',
	'SELECT unrdf.integrate()',
	'INSERT INTO unrdf.receipt SELECT * FROM unrdf.receipt LIMIT 1',
	'DELETE FROM unrdf.job'
	]) WITH ORDINALITY AS t (what, n) ORDER BY n;
SELECT count(*) AS ended FROM tried WHERE unrdf.wait(job) = 'ok';
RESET ROLE;
SELECT what, r.result #>> '{}' AS outcome FROM tried AS t JOIN unrdf.receipt AS r ON r.id = t.job ORDER BY t.n;
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

-- Code that runs by itself: deferred and other triggers, functions in indexes, defaults, checks, rules, policies, types
SET ROLE regress_unrdf_thief;
CREATE FUNCTION esc.trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM esc.look(TG_NAME); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER deferred_trigger AFTER INSERT ON esc.target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION esc.trigger();
CREATE TRIGGER before_trigger BEFORE INSERT ON esc.target FOR EACH ROW EXECUTE FUNCTION esc.trigger();
CREATE FUNCTION esc.index_fn(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM esc.look('index expression'); RETURN $1; END $$;
CREATE TABLE esc.indexed (id int);
CREATE FUNCTION esc.autorun(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO esc.target VALUES ((args->>'id')::int);
	CREATE INDEX IF NOT EXISTS indexed_fn ON esc.indexed (esc.index_fn(id));
	INSERT INTO esc.indexed VALUES (1);
END $$;
SELECT unrdf.register_handler('esc_autorun', 'esc.autorun(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('esc_autorun', '{"id": 1}', queue => 'esc') AS job \gset
SELECT unrdf.wait(:job);
RESET ROLE;
SELECT last_sqlstate, last_error FROM unrdf.jobs WHERE id = :job;
SELECT what, who, is_super, count(*) > 0 AS ran FROM esc.seen GROUP BY 1, 2, 3 ORDER BY 1, 2;
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
DROP ROLE regress_unrdf_thief, regress_unrdf_victim;
