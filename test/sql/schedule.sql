-- Schedules: making, changing, pausing and removing them, what fires, what came of it, and whose they are. Ticks that are due are
-- made by setting back what the schedule counts from: nothing here waits for a clock.
SET timezone = 'UTC';
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA sched;
CREATE TABLE sched.done (job bigint, args jsonb);
CREATE FUNCTION sched.note(job bigint, args jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'lock' THEN PERFORM pg_advisory_xact_lock(7117); END IF;
	INSERT INTO sched.done VALUES (job, args);
END $$;
SELECT unrdf.register_handler('sched_note', 'sched.note(bigint, jsonb)');
SELECT unrdf.create_queue('sched_held');
SELECT unrdf.pause_queue('sched_held');
-- what a refused statement raises; nothing, where it is not refused
CREATE FUNCTION sched.raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	message := regexp_replace(message, 'OID \d+', 'OID N');
END $$;
-- lets a schedule count from an earlier time
CREATE PROCEDURE sched.since(changed text, back interval) LANGUAGE sql AS $$ UPDATE unrdf.schedule SET since = clock_timestamp() - back WHERE name = changed $$;

-- Made, with what is left out and with everything; it says when it is due
SELECT unrdf.schedule('plain', '* * * * *', 'sched_note') - date_trunc('minute', now()) BETWEEN '1 minute' AND '2 minutes' AS next_minute;
SELECT unrdf.schedule('all', '30 2 29 2 *', 'sched_note', '{"a": [1]}', 'Europe/Berlin', '7', 'cancel', 'sched_held', 2) > now() AS later;
SELECT name, owner::text = current_user AS mine, cron, time_zone, handler, args, queue, priority, catch_up, overlap, paused, last_due_at, last_action, last_job FROM unrdf.schedules ORDER BY name;
SELECT next_at = unrdf.schedule_next(cron, time_zone, now() - interval '1 minute') OR next_at = unrdf.schedule_next(cron, time_zone, now()) AS next FROM unrdf.schedules ORDER BY name;
-- nothing is due yet
CALL unrdf.run_schedules(wait => false);
SELECT count(*) FROM unrdf.schedule_run;

-- Changed: it goes on from where it was, unless it is due at other times
CALL sched.since('plain', '10 minutes');
SELECT unrdf.schedule('plain', '* * * * *', 'sched_note', '{"b": 2}', catch_up => 'skip', overlap => 'queue') > now() AS later;
SELECT args, catch_up, overlap, next_at < now() AS overdue FROM unrdf.schedules WHERE name = 'plain';
SELECT unrdf.schedule('plain', '*/1 * * * *', 'sched_note', '{"b": 2}', catch_up => 'skip', overlap => 'queue') > now() AS later;
SELECT next_at > now() AS later FROM unrdf.schedules WHERE name = 'plain';
CALL sched.since('plain', '10 minutes');
SELECT unrdf.schedule('plain', '*/1 * * * *', 'sched_note', '{"b": 2}', time_zone => 'Europe/Berlin') > now() AS later;
SELECT next_at > now() AS later, catch_up, overlap FROM unrdf.schedules WHERE name = 'plain';
SELECT unrdf.unschedule('plain'), unrdf.unschedule('all');
SELECT count(*) FROM unrdf.schedules;

-- On time: every tick fires, up to two minutes late
SELECT unrdf.schedule('seconds', '1 second', 'sched_note', '{"what": "seconds"}', overlap => 'queue', catch_up => 'skip', queue => 'sched_held', priority => 3) > now() AS later;
CALL sched.since('seconds', '5 seconds');
CALL unrdf.run_schedules(wait => false);
SELECT count(*) BETWEEN 4 AND 8 AS all_of_them, count(*) = count(DISTINCT due_at) AS once, bool_and(action = 'enqueued' AND missed = 0 AND NOT by_hand) AS enqueued, count(job) = count(*) AS jobs,
	bool_and(due_at <= fired_at) AS after_due FROM unrdf.schedule_runs;
SELECT DISTINCT j.handler, j.queue, j.priority, j.owner = quote_ident(current_user)::regrole AS mine, j.args, j.state FROM unrdf.jobs AS j JOIN unrdf.schedule_runs AS r ON r.job = j.id;
-- once: nothing is due any more, or only what has come since
CALL unrdf.run_schedules(wait => false);
SELECT (SELECT count(*) FROM unrdf.jobs WHERE queue = 'sched_held') = count(job) AS once FROM unrdf.schedule_runs;
SELECT last_action, last_by_hand, last_outcome, last_error, next_at > last_due_at AS next FROM unrdf.schedules;
SELECT unrdf.unschedule('seconds');
-- its runs stay
SELECT DISTINCT schedule IS NULL AS gone, action FROM unrdf.schedule_runs;
SELECT bool_and(unrdf.cancel(j.id)) FROM unrdf.jobs AS j JOIN unrdf.schedule_runs AS r ON r.job = j.id;

-- Catching up after downtime
SELECT unrdf.schedule('catch ' || c, '100 days', 'sched_note', catch_up => c, overlap => 'queue', queue => 'sched_held') > now() AS later FROM unnest(ARRAY['skip', 'once', '3', '1000']) AS c;
UPDATE unrdf.schedule SET since = to_timestamp(floor(extract(epoch FROM clock_timestamp()) / 8640000) * 8640000) - interval '550 days';
CALL unrdf.run_schedules(wait => false);
SELECT schedule, action, missed, job IS NOT NULL AS job, to_timestamp(floor(extract(epoch FROM fired_at) / 8640000) * 8640000) - due_at AS before_newest
FROM unrdf.schedule_runs WHERE schedule LIKE 'catch %' ORDER BY schedule, due_at;
CALL unrdf.run_schedules(wait => false);
SELECT count(*) AS no_more FROM unrdf.schedule_runs WHERE schedule LIKE 'catch %';
SELECT name, catch_up, last_action FROM unrdf.schedules ORDER BY name;
SELECT unrdf.unschedule(name) FROM unrdf.schedules;

-- Overlap: the last job is held back
SELECT unrdf.schedule('over ' || o, '100 days', 'sched_note', overlap => o, catch_up => '3', queue => 'sched_held') > now() AS later FROM unnest(ARRAY['skip', 'queue', 'cancel']) AS o;
UPDATE unrdf.schedule SET since = since - interval '600 days';
CALL unrdf.run_schedules(wait => false);
SELECT r.schedule, r.action, j.state FROM unrdf.schedule_runs AS r LEFT JOIN unrdf.jobs AS j ON j.id = r.job WHERE r.schedule LIKE 'over %' ORDER BY r.schedule, r.due_at;
SELECT (unrdf.receipt(r.job)) ->> 'actor' = current_user AS by_the_owner FROM unrdf.schedule_runs AS r JOIN unrdf.jobs AS j ON j.id = r.job WHERE r.schedule = 'over cancel' AND j.state = 'cancelled' LIMIT 1;

-- By hand, which follows overlap and is no tick
SELECT name, unrdf.run_schedule_now(name) IS NULL AS skipped FROM unrdf.schedules ORDER BY name;
SELECT schedule, action, by_hand, missed, job IS NOT NULL AS job, due_at <= fired_at AS due FROM unrdf.schedule_runs WHERE by_hand ORDER BY schedule;
SELECT name, last_by_hand, last_action FROM unrdf.schedules ORDER BY name;
SELECT count(*) FILTER (WHERE state = 'cancelled') AS cancelled, count(*) FILTER (WHERE state = 'pending') AS pending FROM unrdf.jobs AS j JOIN unrdf.schedule_runs AS r ON r.job = j.id WHERE r.schedule = 'over cancel';
-- once it has ended, there is nothing to overlap; two in one statement are two
SELECT unrdf.cancel(last_job) FROM (SELECT max(job) AS last_job FROM unrdf.schedule_runs WHERE schedule = 'over skip') AS r;
SELECT unrdf.run_schedule_now('over skip') IS NULL AS first, unrdf.run_schedule_now('over skip') IS NULL AS second;
BEGIN;
SELECT unrdf.run_schedule_now('over queue') < unrdf.run_schedule_now('over queue') AS two;
SELECT count(*) FROM unrdf.schedule_runs WHERE schedule = 'over queue' AND by_hand;
ROLLBACK;
SELECT count(*) FROM unrdf.schedule_runs WHERE schedule = 'over queue' AND by_hand;
-- a tick that is yet to come comes nevertheless
SELECT t.next_at = s.next_at AS same FROM unrdf.schedules AS s, (SELECT unrdf.schedule_next(cron, time_zone, (SELECT max(due_at) FROM unrdf.schedule_runs WHERE schedule = 'over queue' AND NOT by_hand)) AS next_at FROM unrdf.schedules WHERE name = 'over queue') AS t WHERE s.name = 'over queue';
SELECT unrdf.unschedule(name) FROM unrdf.schedules;
SELECT count(unrdf.cancel(id)) > 0 AS cancelled FROM unrdf.jobs WHERE queue = 'sched_held' AND state = 'pending';

-- Pause and resume: what was due in between is none of its ticks
SELECT unrdf.schedule('paused', '1 second', 'sched_note', '{"what": "paused"}') > now() AS later;
SELECT unrdf.pause_schedule('paused'), unrdf.pause_schedule('paused');
CALL sched.since('paused', '30 seconds');
CALL unrdf.run_schedules(wait => false);
SELECT paused, next_at, last_due_at FROM unrdf.schedules;
-- it can be run by hand, and changed
SELECT unrdf.run_schedule_now('paused') AS job \gset
SELECT unrdf.wait(:job);
SELECT args FROM sched.done WHERE job = :job;
SELECT unrdf.schedule('paused', '1 second', 'sched_note', '{"what": "changed"}') > now() AS later;
SELECT paused, args FROM unrdf.schedules;
SELECT unrdf.resume_schedule('paused');
SELECT paused, next_at > now() - interval '10 seconds' AS from_now_on FROM unrdf.schedules;
CALL sched.since('paused', '3 seconds');
SELECT unrdf.resume_schedule('paused');
SELECT now() - next_at BETWEEN '1 second' AND '10 seconds' AS resuming_what_runs_changes_nothing FROM unrdf.schedules;
SELECT unrdf.unschedule('paused');

-- What fails is written down, and holds up nobody
CREATE FUNCTION sched.gone(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION sched.forbidden(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE ROLE regress_sched_owner;
CREATE ROLE regress_sched_gone;
CREATE ROLE regress_sched_other;
GRANT USAGE ON SCHEMA sched TO PUBLIC;
GRANT ALL ON sched.done TO PUBLIC;
SELECT unrdf.grant_access(r::regrole, 'producer') FROM unnest(ARRAY['regress_sched_owner', 'regress_sched_gone', 'regress_sched_other']) AS r;
SELECT unrdf.register_handler('sched_gone', 'sched.gone(jsonb)');
SELECT unrdf.register_handler('sched_forbidden', 'sched.forbidden(jsonb)');
SELECT unrdf.schedule('a gone', '100 days', 'sched_gone') > now() AS later;
SET ROLE regress_sched_gone;
SELECT unrdf.schedule('b dropped', '100 days', 'sched_note') > now() AS later;
SET ROLE regress_sched_owner;
SELECT unrdf.schedule('c forbidden', '100 days', 'sched_forbidden') > now() AS later;
SELECT unrdf.schedule('d good', '100 days', 'sched_note', '{"what": "good"}', 'America/Los_Angeles') > now() AS later;
SELECT name FROM unrdf.schedules ORDER BY name;
RESET ROLE;
SELECT unrdf.schedule('e no zone', '100 days', 'sched_note') > now() AS later;
UPDATE unrdf.schedule SET time_zone = 'Atlantis/Poseidonis' WHERE name = 'e no zone';
DROP FUNCTION sched.gone(jsonb);
REVOKE EXECUTE ON FUNCTION sched.forbidden(jsonb) FROM PUBLIC;
DROP OWNED BY regress_sched_gone;
DROP ROLE regress_sched_gone;
UPDATE unrdf.schedule SET since = since - interval '250 days';
CALL unrdf.run_schedules(wait => false);
SELECT name, last_action, regexp_replace(last_error, '\d+', 'N') AS last_error, next_at > now() AS goes_on FROM unrdf.schedules ORDER BY name;
SELECT r.sqlstate, count(*) FROM unrdf.schedule_runs AS r WHERE r.schedule ~ '^[a-e] ' GROUP BY 1 ORDER BY 1;
SELECT unrdf.wait(last_job) FROM unrdf.schedules WHERE name = 'd good';
SELECT j.owner, j.state, s.last_outcome FROM unrdf.schedules AS s JOIN unrdf.jobs AS j ON j.id = s.last_job WHERE s.name = 'd good';

-- Whose they are
SET ROLE regress_sched_other;
SELECT name FROM unrdf.schedules;
SELECT count(*) FROM unrdf.schedule_runs;
SELECT call, r.* FROM unnest(ARRAY['unschedule(''d good'')', 'pause_schedule(''d good'')', 'resume_schedule(''d good'')', 'run_schedule_now(''d good'')', 'schedule(''d good'', ''@daily'', ''sched_note'')',
	'schedule(''mine'', ''@daily'', ''sched_forbidden'')', 'start_clock()', 'clock_advice()']) AS call, sched.raised('SELECT unrdf.' || call) AS r;
SELECT (sched.raised('CALL unrdf.run_schedules()')).*;
SELECT count(*) FROM unrdf.schedule;
RESET ROLE;
GRANT regress_sched_owner TO regress_sched_other;
SET ROLE regress_sched_other;
SELECT name FROM unrdf.schedules ORDER BY name;
SELECT unrdf.schedule('d good', '@daily', 'sched_note') > now() AS a_member_may;
SELECT unrdf.run_schedule_now('d good') AS job \gset
RESET ROLE;
SELECT owner FROM unrdf.jobs WHERE id = :job;
SELECT owner FROM unrdf.schedules WHERE name = 'd good';
-- who may not enqueue any more has schedules that fail
SELECT unrdf.wait(:job);
REVOKE EXECUTE ON FUNCTION unrdf.enqueue FROM regress_sched_owner;
SELECT (sched.raised('SELECT unrdf.run_schedule_now(''d good'')')).*;

-- What is refused
SELECT call, r.* FROM unnest(ARRAY['NULL, ''@daily'', ''sched_note''', '''x'', NULL, ''sched_note''', '''x'', ''@daily'', NULL', '''x'', ''@daily'', ''sched_note'', NULL', '''x'', ''@daily'', ''sched_note'', time_zone => NULL',
	'''x'', ''@daily'', ''sched_note'', catch_up => NULL', '''x'', ''@daily'', ''sched_note'', overlap => NULL', ''''', ''@daily'', ''sched_note''', 'repeat(''x'', 64), ''@daily'', ''sched_note''',
	'''x'', ''0 0 30 2 *'', ''sched_note''', '''x'', ''0.1 s'', ''sched_note''', '''x'', ''@daily'', ''sched_none''', '''x'', ''@daily'', ''sched_gone''', '''x'', ''@daily'', ''sched_note'', time_zone => ''Mars''',
	'''x'', ''@daily'', ''sched_note'', catch_up => ''all''', '''x'', ''@daily'', ''sched_note'', catch_up => ''0''', '''x'', ''@daily'', ''sched_note'', catch_up => ''1001''', '''x'', ''@daily'', ''sched_note'', catch_up => ''2x''',
	'''x'', ''@daily'', ''sched_note'', catch_up => ''''', '''x'', ''@daily'', ''sched_note'', catch_up => ''99999999999999999999''',
	'''x'', ''@daily'', ''sched_note'', overlap => ''allow''', '''x'', ''@daily'', ''sched_note'', overlap => ''''', '''x'', ''@daily'', ''sched_note'', queue => ''sched_none''',
	'''x'', ''@daily'', ''sched_note'', priority => 10', '''x'', ''@daily'', ''sched_note'', priority => -1', '''x'', ''@daily'', ''sched_note'', ''{"n": 9007199254740993}''']) AS call,
	sched.raised(format('SELECT unrdf.schedule(%s)', call)) AS r;
SELECT call, r.* FROM unnest(ARRAY['unschedule(''none'')', 'pause_schedule(''none'')', 'resume_schedule(''none'')', 'run_schedule_now(''none'')']) AS call, sched.raised('SELECT unrdf.' || call) AS r;
SELECT unrdf.unschedule(NULL) IS NULL AND unrdf.pause_schedule(NULL) IS NULL AND unrdf.resume_schedule(NULL) IS NULL AND unrdf.run_schedule_now(NULL) IS NULL AS strict;
SELECT (sched.raised('CALL unrdf.run_schedules(false)')).*;
BEGIN;
CALL unrdf.run_schedules(false);
ROLLBACK;
CALL unrdf.run_schedules(NULL);
SELECT count(*) AS left_by_that FROM unrdf.schedule WHERE name = 'x';

-- A queue that is drained takes no job: the run has failed, and the schedule goes on
SELECT unrdf.create_queue('sched_drained');
SELECT unrdf.schedule('drained', '100 days', 'sched_note', catch_up => 'once', queue => 'sched_drained') > now() AS later;
CALL unrdf.drain_queue('sched_drained');
CALL sched.since('drained', '150 days');
CALL unrdf.run_schedules(wait => false);
CALL unrdf.run_schedules(wait => false);
SELECT r.action, r.sqlstate, r.message, s.next_at > now() AS goes_on FROM unrdf.schedules AS s JOIN unrdf.schedule_runs AS r ON r.schedule = s.name WHERE s.name = 'drained';
SELECT (sched.raised('SELECT unrdf.run_schedule_now(''drained'')')).*;
CALL unrdf.drop_queue('sched_drained');
SELECT unrdf.unschedule('drained');
CALL unrdf.drop_queue('sched_drained');
SELECT (sched.raised('SELECT unrdf.schedule(''drained'', ''@daily'', ''sched_note'', queue => ''sched_drained'')')).*;

-- A clock: there is none but what this test calls
SELECT unrdf.clock_runs();
SELECT unrdf.clock_advice();
SELECT (sched.raised('SELECT unrdf.start_clock()')).*;

SELECT unrdf.unschedule(name) FROM unrdf.schedules;
REVOKE regress_sched_owner FROM regress_sched_other;
DO $$ BEGIN WHILE EXISTS (SELECT FROM unrdf.jobs WHERE state NOT IN ('succeeded', 'dead', 'cancelled') AND handler LIKE 'sched\_%') LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT unrdf.resume_queue('sched_held');
DROP OWNED BY regress_sched_owner, regress_sched_other;
DROP ROLE regress_sched_owner, regress_sched_other;
DROP SCHEMA sched CASCADE;
