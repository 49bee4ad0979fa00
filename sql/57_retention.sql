-- Bodies that are kept for a time: segments, which are emptied as a whole. Which of them a body is in follows from when it may go.

DO $$
DECLARE
	segment text;
BEGIN
	FOR i IN 0..69 LOOP
		segment := pg_catalog.concat('kept_', i);
		EXECUTE format('CREATE TABLE unrdf.%I (
			job bigint NOT NULL,
			part int NOT NULL,
			until timestamptz NOT NULL,
			body jsonb NOT NULL,
			CONSTRAINT %I PRIMARY KEY (job, part)
		) WITH (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2147483647)', segment, pg_catalog.concat(segment, '_pkey'));
		EXECUTE format('COMMENT ON TABLE unrdf.%I IS %L', segment, 'A segment of what is kept of jobs for a time: arguments (part 0), results (-1; of steps below that) and texts of failed attempts (their number).');
		PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.concat('unrdf.', segment)::pg_catalog.regclass, '');
	END LOOP;
END
$$;
SELECT pg_catalog.pg_extension_config_dump('unrdf.retention', '');

CREATE TABLE unrdf.event_retention (
	pattern text COLLATE "C" CONSTRAINT event_retention_pkey PRIMARY KEY,
	keep bigint NOT NULL CONSTRAINT event_retention_keep_check CHECK (keep >= 0),
	set_by regrole NOT NULL,
	set_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE unrdf.event_retention IS 'For how many seconds payloads of events are kept, see unrdf.keep_events; of those that fit a name the longest pattern counts.';
SELECT pg_catalog.pg_extension_config_dump('unrdf.event_retention', '');

CREATE FUNCTION unrdf.keep_events(pattern text, keep interval) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_keep_events' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.keep_events(text, interval) IS 'Sets for how long payloads of events of a name, of the names below it ("order.*") or of any ("*") are kept, of those that are emitted from then on; null: for ever. What a subscription is still to get stays longer. Events themselves stay.';

CREATE FUNCTION unrdf.expire() RETURNS int
	AS 'MODULE_PATHNAME', 'unrdf_expire' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.expire() IS 'Empties the segments whose time has come, as a worker does every unrdf.expiry_interval, but for those that somebody uses. Returns how many.';

CREATE FUNCTION unrdf.segment_dues(OUT segment regclass, OUT span interval, OUT due_at timestamptz) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'unrdf_segment_dues' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION unrdf.segment_dues() IS 'The segments that take space, but for one that is just being emptied, and when each can be; null where nothing that was written there is committed. Source of unrdf.segments.';

CREATE VIEW unrdf.segments WITH (security_barrier) AS
	SELECT d.segment, pg_catalog.justify_hours(d.span) AS span, pg_catalog.pg_total_relation_size(d.segment) AS bytes, d.due_at,
		(SELECT pg_catalog.array_agg(DISTINCT coalesce(l.pid::pg_catalog.text, 'prepared transaction')) FROM pg_catalog.pg_locks AS l
			WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.relation OPERATOR(pg_catalog.=) d.segment::pg_catalog.oid AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
				AND l.database OPERATOR(pg_catalog.=) (SELECT b.oid FROM pg_catalog.pg_database AS b WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) AS held_by
	FROM unrdf.segment_dues() AS d;
COMMENT ON VIEW unrdf.segments IS 'Where arguments, results and texts of failures are that are kept for a time: the segments that are not empty, the span of time that may go with each, bytes, when it can be emptied, and the processes that use it: while there are any it is not.';

REVOKE EXECUTE ON FUNCTION unrdf.kept(bigint, int), unrdf.keep_events(text, interval), unrdf.expire(), unrdf.segment_dues() FROM PUBLIC;
