-- What the demo needs in its database: the events, the table they maintain, the handler, and what is reported.

SET client_min_messages = warning;
CREATE EXTENSION unrdf CASCADE;
CREATE SCHEMA demo;

-- One line of the package manager's log, as a complete statement of a package's state at that moment.
CREATE TABLE demo.event (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamp NOT NULL,
	state text NOT NULL,
	package text NOT NULL,
	version text
);

-- What the jobs maintain: the packages that are there.
CREATE TABLE demo.package (
	name text PRIMARY KEY,
	version text,
	state text NOT NULL,
	changed_at timestamp NOT NULL
);

-- The newest event applied to a package, also to one that is gone. Jobs run side by side and may overtake
-- each other: an event older than this one has nothing left to say.
CREATE TABLE demo.newest (
	package text PRIMARY KEY,
	seq bigint NOT NULL
);

CREATE FUNCTION demo.apply_event(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	-- This also locks the package against other jobs until our transaction ends.
	INSERT INTO demo.newest AS n (package, seq) VALUES (args ->> 'package', (args ->> 'seq')::bigint)
		ON CONFLICT (package) DO UPDATE SET seq = excluded.seq WHERE n.seq < excluded.seq;
	IF NOT FOUND THEN
		RETURN '{"change": "none, a newer event was faster"}';
	END IF;
	IF args ->> 'state' = 'not-installed' THEN
		DELETE FROM demo.package WHERE name = args ->> 'package';
		RETURN '{"change": "delete"}';
	END IF;
	UPDATE demo.package SET version = args ->> 'version', state = args ->> 'state', changed_at = (args ->> 'at')::timestamp
		WHERE name = args ->> 'package';
	IF FOUND THEN
		RETURN '{"change": "update"}';
	END IF;
	INSERT INTO demo.package (name, version, state, changed_at)
		VALUES (args ->> 'package', args ->> 'version', args ->> 'state', (args ->> 'at')::timestamp);
	RETURN '{"change": "insert"}';
END
$$;

-- A transaction of its own, because two that changed several packages each, in different orders, could deadlock.
SELECT unrdf.register_handler('demo.apply_event', 'demo.apply_event(jsonb)', own_transaction => true);

CREATE PROCEDURE demo.enqueue_events(chunk int) LANGUAGE plpgsql AS $$
DECLARE
	events jsonb[];
BEGIN
	FOR lowest IN 1 .. (SELECT max(seq) FROM demo.event) BY chunk LOOP
		SELECT array_agg(jsonb_strip_nulls(to_jsonb(e)) ORDER BY e.seq) INTO events
			FROM demo.event AS e WHERE e.seq BETWEEN lowest AND lowest + chunk - 1;
		PERFORM unrdf.enqueue_many('demo.apply_event', events);
		COMMIT;
	END LOOP;
END
$$;

-- The same events applied one after the other by a loop that knows nothing of jobs: what the table has to be.
CREATE FUNCTION demo.replay() RETURNS SETOF demo.package LANGUAGE plpgsql AS $$
DECLARE
	e demo.event;
BEGIN
	CREATE TEMPORARY TABLE replayed (LIKE demo.package INCLUDING INDEXES) ON COMMIT DROP;
	FOR e IN SELECT * FROM demo.event ORDER BY seq LOOP
		DELETE FROM replayed WHERE name = e.package;
		IF e.state <> 'not-installed' THEN
			INSERT INTO replayed VALUES (e.package, e.version, e.state, e.at);
		END IF;
	END LOOP;
	RETURN QUERY SELECT * FROM replayed;
END
$$;

CREATE VIEW demo.leaf AS
	SELECT i.first + k AS index, i.at AS integrated_at,
		('x' || encode(substr(i.leaves, 40 * k + 1, 8), 'hex'))::bit(64)::bigint AS receipt
	FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k
	WHERE i.log = 1;

CREATE VIEW demo.timing AS
	SELECT j.id, j.enqueued_at, r.finished_at, l.integrated_at,
		1000 * extract(epoch FROM r.finished_at - j.enqueued_at)::float8 AS receipt_ms,
		1000 * extract(epoch FROM l.integrated_at - j.enqueued_at)::float8 AS integrated_ms
	FROM unrdf.job AS j JOIN unrdf.receipt AS r ON r.id = j.id JOIN demo.leaf AS l ON l.receipt = r.id;
