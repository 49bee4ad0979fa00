-- Rules of uniqueness, in one session. What concurrent ones do is in isolation/unique and t/032_unique.
CREATE SCHEMA un;
CREATE TABLE un.effect (job bigint, args jsonb);
CREATE FUNCTION un.note(id bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO un.effect VALUES (id, args);
	IF args ? 'lock' THEN
		PERFORM pg_advisory_xact_lock(7732);
	ELSIF args ? 'fail' THEN
		RAISE EXCEPTION 'as asked';
	END IF;
END $$;
SELECT unrdf.register_handler('un', 'un.note(bigint, jsonb)', max_attempts => 1), unrdf.register_handler('un_again', 'un.note(bigint, jsonb)', backoff => '1 hour');
SELECT unrdf.create_queue('un_paused');
SELECT unrdf.pause_queue('un_paused');

-- Keys made of arguments
SELECT unrdf.args_key('{"b": 1.0, "a": [1, "ü"]}') = unrdf.args_key('{"a": [1.00, "\u00fc"], "b": 1}') AS same,
	unrdf.args_key('{"a": 1, "b": 2}', '{a}') = unrdf.args_key('{"a": 1, "b": 3}', '{a,none}') AS same_chosen,
	unrdf.args_key('{"a": 1}') <> unrdf.args_key('{"a": 2}') AS others, unrdf.args_key('{"a": 1}', '{}') = unrdf.args_key('{}') AS nothing_chosen,
	unrdf.args_key('[1]') = encode(digest('[1]', 'sha256'), 'hex') AS is_sha256, unrdf.args_key(NULL) IS NULL AS "null";
SELECT unrdf.args_key('9007199254740993');
SELECT unrdf.args_key('[1]', '{a}');

-- One job in each state, of a key of its own
SELECT pg_advisory_lock(7732);
SELECT unrdf.enqueue('un', queue => 'un_paused', key => 'pending') AS pending, unrdf.enqueue('un', run_at => now() + interval '1 hour', key => 'scheduled') AS scheduled,
	unrdf.enqueue('un', '{"lock": 1}', key => 'running') AS running, unrdf.enqueue('un_again', '{"fail": 1}', key => 'retrying') AS retrying, unrdf.enqueue('un', key => 'succeeded') AS succeeded,
	unrdf.enqueue('un', '{"fail": 1}', key => 'dead') AS dead, unrdf.enqueue('un', queue => 'un_paused', key => 'cancelled') AS cancelled \gset
SELECT unrdf.wait(:succeeded), unrdf.wait(:dead), unrdf.cancel(:cancelled);
DO $$ BEGIN WHILE (SELECT count(*) FROM unrdf.jobs WHERE key = state AND handler LIKE 'un%') < 7 LOOP PERFORM pg_sleep(0.001); END LOOP; END $$;
SELECT key, state FROM unrdf.jobs WHERE handler LIKE 'un%' ORDER BY key;
-- each state counts where it is asked for and not where it is not: 36 calls, of which 6 find a job
CREATE TEMP TABLE asked AS
SELECT k.key, s.state, o.job, o.is_new
FROM unnest(ARRAY['pending', 'running', 'retrying', 'succeeded', 'dead', 'cancelled']) AS k (key), unnest(ARRAY['pending', 'running', 'retrying', 'succeeded', 'dead', 'cancelled']) AS s (state),
	LATERAL unrdf.enqueue_once('un', '{}', k.key, ARRAY[s.state], queue => CASE WHEN k.key IN ('pending', 'cancelled') THEN 'un_paused' ELSE 'default' END, run_at => now() + interval '1 day') AS o;
SELECT count(*), count(*) FILTER (WHERE NOT is_new) AS found, bool_and(is_new = (key <> state)) AS as_asked FROM asked;
SELECT bool_and(job = CASE key WHEN 'pending' THEN :pending WHEN 'running' THEN :running WHEN 'retrying' THEN :retrying WHEN 'succeeded' THEN :succeeded WHEN 'dead' THEN :dead ELSE :cancelled END) AS the_one FROM asked WHERE key = state;
-- by default those that have not ended: a scheduled one
SELECT (unrdf.enqueue_once('un', '{}', 'scheduled')).job = :scheduled AS the_one;
SELECT (unrdf.enqueue_once('un', '{}', 'scheduled', '{pending,running,retrying,succeeded,dead,cancelled}', run_at => now() + interval '1 day')).is_new;
SELECT pg_advisory_unlock(7732);
-- within a window, and ever
SELECT (unrdf.enqueue_once('un', '{}', 'once', '{succeeded}')).job AS once \gset
SELECT unrdf.wait(:once);
SELECT (unrdf.enqueue_once('un', '{}', 'once', '{succeeded}')).job = :once AS ever, (unrdf.enqueue_once('un', '{}', 'once', '{succeeded}', '1 hour')).job = :once AS within,
	(unrdf.enqueue_once('un', '{}', 'once', '{dead,succeeded}', '0', queue => 'un_paused')).is_new AS other_queue;
SELECT pg_sleep(0.002);
SELECT (unrdf.enqueue_once('un', '{}', 'once', '{succeeded}', '1 ms', queue => 'default')).is_new AS past;
-- behind many that do not count
SELECT (unrdf.enqueue_once('un', '{}', 'deep', '{succeeded}')).job AS deep \gset
SELECT unrdf.wait(:deep);
SELECT count(unrdf.cancel((unrdf.enqueue_once('un', '{}', 'deep', '{running}', run_at => now() + interval '1 day')).job)) FROM generate_series(1, 150);
SELECT (unrdf.enqueue_once('un', '{}', 'deep', '{succeeded}')).job = :deep AS found, (unrdf.enqueue_once('un', '{}', 'deep', '{dead}')).is_new AS not_found;

-- Throttle: one per window, whatever becomes of it
SELECT count(*), count(*) FILTER (WHERE (t).is_new) AS new, count(DISTINCT (t).job) AS jobs FROM (SELECT unrdf.throttle('un', '{}', 'th', '1 hour', queue => 'un_paused') AS t FROM generate_series(1, 100) OFFSET 0) AS x;
SELECT unrdf.cancel((unrdf.throttle('un', '{}', 'th', '1 hour', queue => 'un_paused')).job);
SELECT (unrdf.throttle('un', '{}', 'th', '1 hour', queue => 'un_paused')).is_new AS after_cancel;
SELECT pg_sleep(0.002);
SELECT (unrdf.throttle('un', '{}', 'th', '1 ms', queue => 'un_paused')).is_new AS past, (unrdf.throttle('un', '{}', 'th', '0', queue => 'un_paused')).is_new AS none;

-- Debounce: the newest takes the place of the one that waits
CREATE TEMP TABLE debounced AS SELECT i, unrdf.debounce('un', jsonb_build_object('i', i), 'db', '1 hour') AS id FROM generate_series(1, 5) AS i;
SELECT d.i, j.state, j.args, r->>'outcome' AS outcome, j.due_at > now() + interval '59 minutes' AS later FROM debounced AS d JOIN unrdf.jobs AS j USING (id) LEFT JOIN LATERAL unrdf.receipt(j.id) AS r ON true ORDER BY 1;
SELECT count(DISTINCT debounced_since) AS bursts, min(debounced_since) = min(enqueued_at) AS since_the_first FROM unrdf.job JOIN debounced USING (id);
-- at most so long after the first
SELECT unrdf.debounce('un', '{"i": 6}', 'db', '1 hour', '0') AS id \gset
SELECT unrdf.wait(:id);
SELECT args FROM un.effect WHERE job = :id;
SELECT unrdf.debounce('un', '{}', 'db', '1 hour', '2 hours') AS a \gset
SELECT run_at = enqueued_at + interval '1 hour' AS after_delay, debounced_since = enqueued_at AS new_burst FROM unrdf.job WHERE id = :a;
SELECT unrdf.debounce('un', '{}', 'db', '1 hour', '30 minutes') AS b \gset
SELECT run_at = debounced_since + interval '30 minutes' AS at_most, debounced_since = (SELECT enqueued_at FROM unrdf.job WHERE id = :a) AS same_burst FROM unrdf.job WHERE id = :b;
SELECT unrdf.cancel(:b);
-- one that runs is left alone, and a new one follows; the key is the new one's
SELECT pg_advisory_lock(7732);
SELECT unrdf.enqueue('un', '{"lock": 2}', key => 'busy') AS busy \gset
SELECT format('DO $do$ BEGIN WHILE NOT EXISTS (SELECT FROM unrdf.jobs WHERE id = %s AND state = ''running'') LOOP PERFORM pg_sleep(0.001); END LOOP; END $do$', :busy) AS wait_until_it_runs \gset
:wait_until_it_runs;
SELECT unrdf.debounce('un', '{}', 'busy', '1 hour') AS next \gset
SELECT state FROM unrdf.jobs WHERE id IN (:busy, :next) ORDER BY id;
SELECT unrdf.enqueue('un', key => 'busy') = :next AS is_the_next;
SELECT pg_advisory_unlock(7732);
SELECT unrdf.wait(:busy), unrdf.cancel(:next);
-- one that failed and waits for its next attempt is replaced as well, one that has ended is not
SELECT unrdf.debounce('un', '{}', 'retrying', '1 hour') > :retrying AS new;
SELECT state FROM unrdf.jobs WHERE id = :retrying;
SELECT unrdf.debounce('un', '{}', 'succeeded', '1 hour') > :succeeded AS new;
SELECT state FROM unrdf.jobs WHERE id = :succeeded;
-- both or neither
BEGIN;
SELECT unrdf.debounce('un', '{}', 'both', '1 hour') AS a \gset
COMMIT;
BEGIN;
SELECT unrdf.debounce('un', '{}', 'both', '1 hour') > :a AS new;
SELECT state FROM unrdf.jobs WHERE id = :a;
ROLLBACK;
SELECT state FROM unrdf.jobs WHERE key = 'both';

-- Numbers and reasons know debounced jobs; a queue that is closed keeps the one that it has
SELECT unrdf.create_queue('un_numbers');
SELECT unrdf.debounce('un', '{}', 'n', '1 hour', queue => 'un_numbers') AS a, unrdf.debounce('un', '{}', 'n', '1 hour', queue => 'un_numbers') AS b \gset
SELECT pending, scheduled, running, retrying, succeeded, dead, cancelled FROM unrdf.queue_depths WHERE queue = 'un_numbers';
SELECT facts->>'reason' AS reason, sentence ~ '^It is debounced until .*, since .*: a new one of its key takes its place\.$' AS sentence FROM unrdf.why(:b);
SELECT unrdf.close_queue('un_numbers', true);
SELECT unrdf.debounce('un', '{}', 'n', '1 hour', queue => 'un_numbers');
SELECT unrdf.throttle('un', '{}', 'l', '1 hour', queue => 'un_numbers');
SELECT state FROM unrdf.jobs WHERE id IN (:a, :b) ORDER BY id;
SELECT unrdf.cancel(:b);

-- What cannot be
SELECT unrdf.enqueue_once('un', '{}', NULL);
SELECT unrdf.enqueue_once('un', '{}', '');
SELECT unrdf.enqueue_once('un', NULL, 'k');
SELECT unrdf.enqueue_once('un', '{}', 'k', NULL);
SELECT unrdf.enqueue_once('un', '{}', 'k', '{}');
SELECT unrdf.enqueue_once('un', '{}', 'k', '{asleep}');
SELECT unrdf.enqueue_once('un', '{}', 'k', '{NULL}');
SELECT unrdf.enqueue_once('un', '{}', 'k', key_window => '-1 s');
SELECT unrdf.enqueue_once('nothing', '{}', 'k');
SELECT unrdf.enqueue_once('un', '{}', 'k', queue => 'un_nowhere');
SELECT unrdf.throttle('un', '{}', 'k', NULL);
SELECT unrdf.throttle('un', '{}', NULL, '1 s');
SELECT unrdf.throttle('un', '{}', 'k', '25 days');
SELECT unrdf.throttle('un', '9007199254740993', 'k', '1 s');
SELECT unrdf.debounce('un', '{}', 'k', NULL);
SELECT unrdf.debounce('un', '{}', 'k', '-1 s');
SELECT unrdf.debounce('un', '{}', 'k', '1 s', '-1 s');
SELECT unrdf.debounce('un', '{}', NULL, '1 s');
SELECT count(*) FROM unrdf.jobs WHERE key = 'k';
CREATE ROLE regress_unrdf_producer;
GRANT USAGE ON SCHEMA un TO regress_unrdf_producer;
SET ROLE regress_unrdf_producer;
SELECT unrdf.throttle('un', '{}', 'k', '1 s');
RESET ROLE;
SELECT unrdf.grant_access('regress_unrdf_producer', 'producer');
SET ROLE regress_unrdf_producer;
SELECT (unrdf.throttle('un', '{}', 'theirs', '1 hour', queue => 'un_paused')).is_new;
-- another's job can be found, and not replaced
SELECT (unrdf.enqueue_once('un', '{}', 'both')).is_new;
\set VERBOSITY sqlstate
SELECT unrdf.debounce('un', '{}', 'both', '1 hour');
\set VERBOSITY default
RESET ROLE;
DO $$ BEGIN PERFORM unrdf.cancel(id) FROM unrdf.jobs WHERE handler LIKE 'un%' AND state IN ('scheduled', 'pending'); END $$;
DROP OWNED BY regress_unrdf_producer;
DROP ROLE regress_unrdf_producer;
