-- What CREATE EXTENSION brings, as a snapshot: a difference here is a change of the public interface.

-- The extension's functions
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result,
	p.provolatile AS v, p.proparallel AS p, p.proisstrict AS strict, p.prosecdef AS definer
FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'unrdf')
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Its tables, views, sequences and indexes
SELECT c.oid::regclass AS relation, c.relkind AS kind,
	(SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
		FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_class AS c
WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relkind <> 'c' AND c.relname !~ '^kept_[1-9]'
ORDER BY c.relkind, c.oid::regclass::text COLLATE "C";
-- of the segments one stands for all
SELECT c.relkind AS kind, count(*) AS segments, (SELECT string_agg(DISTINCT a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ') FROM pg_attribute AS a
	WHERE a.attrelid = ANY (array_agg(c.oid)) AND a.attnum > 0) AS columns, count(DISTINCT c.reloptions) AS options
FROM pg_class AS c WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relname ~ '^kept_' GROUP BY c.relkind ORDER BY c.relkind;

-- Members without a comment: triggers' row types and what belongs to a table aside, none
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS uncommented
FROM pg_depend AS d
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'unrdf')
	AND d.deptype = 'e' AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL
	AND NOT EXISTS (SELECT FROM pg_depend AS o
		WHERE o.classid = d.classid AND o.objid = d.objid AND o.deptype IN ('a', 'i') AND o.refclassid = 'pg_class'::regclass)
ORDER BY 1;

-- Functions written in SQL or PL/pgSQL that do not fix their search_path: none
SELECT p.oid::regprocedure AS unsafe
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
WHERE p.pronamespace = 'unrdf'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
	AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
ORDER BY p.oid::regprocedure::text COLLATE "C";

-- Functions that every role may execute: they read nothing
SELECT p.oid::regprocedure AS public_function
FROM pg_proc AS p
WHERE p.pronamespace = 'unrdf'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1;
SELECT p.oid::regprocedure AS public_and_not_immutable
FROM pg_proc AS p
WHERE p.pronamespace = 'unrdf'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE') AND p.provolatile <> 'i';

-- Relations on which every role may do anything, and the schema itself: none
SELECT c.oid::regclass AS public_relation
FROM pg_class AS c
WHERE c.relnamespace = 'unrdf'::regnamespace AND c.relkind IN ('r', 'v', 'S')
	AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege('public', c.oid, 'USAGE, SELECT, UPDATE')
		ELSE has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END;
SELECT has_schema_privilege('public', 'unrdf', 'USAGE') AS usage, has_schema_privilege('public', 'unrdf', 'CREATE') AS "create";

-- What the kinds of access give is in access.sql
CREATE ROLE regress_unrdf_producer;
CREATE ROLE regress_unrdf_operator;
CREATE ROLE regress_unrdf_auditor;
SELECT unrdf.grant_access('regress_unrdf_producer', 'producer');
SELECT unrdf.grant_access('regress_unrdf_operator', 'operator');
SELECT unrdf.grant_access('regress_unrdf_auditor', 'auditor');
SELECT unrdf.grant_access('regress_unrdf_auditor', 'king');

-- Nobody else gets in, and grant_access itself is not to be had
SET ROLE regress_unrdf_producer;
SELECT count(*) FROM unrdf.job;
SELECT count(*) FROM unrdf.receipt;
SELECT unrdf.pause_queue('default');
SELECT unrdf.integrate();
SELECT unrdf.grant_access('regress_unrdf_producer', 'operator');
RESET ROLE;
SET ROLE regress_unrdf_auditor;
SELECT count(*) FROM unrdf.jobs;
SELECT unrdf.enqueue('anything');
RESET ROLE;

-- What was granted works: a producer and an operator do what they do in other tests, here is the rest
SET ROLE regress_unrdf_auditor;
SELECT count(*) AS wrong FROM unrdf.verify_all();
SELECT count(*) AS running FROM unrdf.stat_verify;
SELECT size >= 0 AS size, unrdf.receipt(-1) IS NULL AS receipt, (unrdf.verify(-1)).verdict, (unrdf.inclusion_proof(-1)).index FROM unrdf.log_size();
RESET ROLE;
SET ROLE regress_unrdf_operator;
SELECT count(*) > 0 AS workers FROM unrdf.stat_workers;
RESET ROLE;
-- to a role whose name has to be quoted as well, and not to one that is not there
CREATE ROLE "regress_unrdf Odd ""one""";
SELECT unrdf.grant_access('"regress_unrdf Odd ""one"""', 'producer');
SELECT has_function_privilege('regress_unrdf Odd "one"', 'unrdf.cancel(bigint)', 'EXECUTE') AS granted;
SELECT unrdf.grant_access('regress_unrdf_nobody', 'producer');
DROP OWNED BY "regress_unrdf Odd ""one""";
DROP ROLE "regress_unrdf Odd ""one""";
DROP OWNED BY regress_unrdf_producer, regress_unrdf_operator, regress_unrdf_auditor;
DROP ROLE regress_unrdf_producer, regress_unrdf_operator, regress_unrdf_auditor;
