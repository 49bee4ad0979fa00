-- The test kit where the server was not started with it: it is not there. What it does is in t/036_testkit.pl.
\set VERBOSITY terse
SHOW unrdf.test_kit;
SET unrdf.test_kit = on;
SELECT unrdf.test_set_time(now());
SELECT unrdf.test_advance('1 day');
SELECT unrdf.test_real_time();
SELECT unrdf.test_hold();
SELECT unrdf.test_run_due();
SELECT unrdf.test_fail_at('execute');
SELECT unrdf.test_clear();
SELECT * FROM unrdf.test_points;
SELECT unrdf.clock() BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() + interval '1 minute' AS real_time;
-- nor is it for anybody but superusers
CREATE ROLE regress_unrdf_tester;
SELECT unrdf.grant_access('regress_unrdf_tester', a) FROM unnest(ARRAY['producer', 'operator', 'auditor', 'witness']) AS a;
SELECT p.proname AS function, has_function_privilege('regress_unrdf_tester', p.oid, 'EXECUTE') AS may
FROM pg_proc AS p WHERE p.pronamespace = 'unrdf'::regnamespace AND p.proname LIKE 'test\_%' ORDER BY 1;
SELECT has_table_privilege('regress_unrdf_tester', 'unrdf.test_points', 'SELECT') AS may;
DROP OWNED BY regress_unrdf_tester;
DROP ROLE regress_unrdf_tester;
