-- The test kit: a clock that can be set, forced failures, and running what is due. Nothing of it works unless the server was started with unrdf.test_kit = on.

CREATE FUNCTION unrdf.test_set_time(new_time timestamptz) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'unrdf_test_set_time' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_set_time(timestamptz) IS 'Test kit: sets the clock that unrdf goes by in this database, for all processes and at once. It goes on from there at its usual pace.';

CREATE FUNCTION unrdf.test_advance(by interval) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'unrdf_test_advance' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_advance(interval) IS 'Test kit: sets the clock forward, or back, by an interval, and returns what it shows then.';

CREATE FUNCTION unrdf.test_real_time() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'unrdf_test_real_time' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_real_time() IS 'Test kit: gives the clock back to the server.';

CREATE FUNCTION unrdf.test_hold(hold boolean DEFAULT true) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_test_hold' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_hold(boolean) IS 'Test kit: from now on executors run jobs of this database only while somebody calls test_run_due; or, with false, by themselves again.';

CREATE FUNCTION unrdf.test_run_due(queue text DEFAULT NULL, max bigint DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_test_run_due' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_run_due(text, bigint) IS 'Test kit: waits until no job of the queue, or of any that is not paused, is left that is due by the time of the call, and no event that is to become one; or until max have ended. Returns how many have since the call. Jobs that are held run meanwhile. Jobs of workers outside it does not wait for: the test claims them.';

CREATE FUNCTION unrdf.test_fail_at(point text, nth int DEFAULT 1, action text DEFAULT 'error') RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_test_fail_at' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_fail_at(text, int, text) IS 'Test kit: when a point of unrdf.test_points is reached in this database for the nth time from now on, something happens there, once: error; exit: the process ends; crash: it is killed, and the server recovers; wait: it waits for test_clear.';

CREATE FUNCTION unrdf.test_clear(point text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_test_clear' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_clear(text) IS 'Test kit: takes back what test_fail_at asked for at a point, or at all of them; who waits there goes on.';

CREATE FUNCTION unrdf.test_point_state() RETURNS TABLE (point text, description text, action text, nth int, reached int, pid int)
	AS 'MODULE_PATHNAME', 'unrdf_test_point_state' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.test_point_state() IS 'What the view unrdf.test_points shows.';

CREATE VIEW unrdf.test_points WITH (security_barrier) AS
	SELECT s.point, s.description, s.action, s.nth, s.reached, s.pid FROM unrdf.test_point_state() AS s;
COMMENT ON VIEW unrdf.test_points IS 'Test kit: the points that test_fail_at knows, in the order of a job''s path; what is to happen there, how often the point was reached since that was asked for, and to which process it has happened.';

REVOKE EXECUTE ON FUNCTION unrdf.test_set_time(timestamptz), unrdf.test_advance(interval), unrdf.test_real_time(), unrdf.test_hold(boolean), unrdf.test_run_due(text, bigint),
	unrdf.test_fail_at(text, int, text), unrdf.test_clear(text), unrdf.test_point_state() FROM PUBLIC;
