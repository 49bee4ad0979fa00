-- Workers outside: what they claim, and what they say of it.
\set VERBOSITY terse
SELECT unrdf.create_queue('o_q');
SELECT unrdf.register_outside_handler('o_h', max_attempts => 3, backoff => '0', backoff_cap => '0');
CREATE FUNCTION o_inside(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT unrdf.register_handler('o_in', 'o_inside(jsonb)');

-- a handler has a function or it has none
SELECT unrdf.register_outside_handler('o_in');
SELECT unrdf.register_handler('o_h', 'o_inside(jsonb)');
SELECT unrdf.register_outside_handler('o_h', max_attempts => 2, backoff => '0', backoff_cap => '0', timeout => '1 hour');
SELECT name, function, max_attempts, timeout_ms FROM unrdf.handler WHERE name LIKE 'o\_%' ORDER BY name;

-- claimed, and completed
SELECT unrdf.enqueue('o_h', '{"a": 1}', queue => 'o_q') AS job \gset
SELECT flow FROM unrdf.job WHERE id = :job;
SELECT token, job = :job AS mine, queue, handler, args, attempt, deadline - now() BETWEEN '50 s' AND '65 s' AS deadline FROM unrdf.claim(ARRAY['o_q']) \gset c_
SELECT :'c_mine', :'c_queue', :'c_handler', :'c_args', :'c_attempt', :'c_deadline';
SELECT state, attempts, started_at IS NOT NULL AS started FROM unrdf.jobs WHERE id = :job;
SELECT pid, kind, state, handler FROM unrdf.workers() WHERE job = :job;
SELECT count(*) FROM unrdf.claim(ARRAY['o_q']);
SELECT unrdf.heartbeat(ARRAY[:c_token]);
SELECT unrdf.complete(:c_token, '{"b": 2}');
SELECT unrdf.wait(:job);
SELECT state, attempts FROM unrdf.jobs WHERE id = :job;
SELECT r.result, r.actor = current_user AS owner, r.attempt FROM unrdf.receipt AS r WHERE id = :job;
\set VERBOSITY sqlstate
SELECT unrdf.complete(:c_token::bigint);
\set VERBOSITY terse
SELECT unrdf.heartbeat(ARRAY[:c_token]) = ARRAY[:c_token];

-- jobs of both kinds in one queue
SELECT unrdf.enqueue('o_h', '{"n": 1}', queue => 'o_q', priority => 1) AS first \gset
SELECT unrdf.enqueue('o_in', queue => 'o_q', priority => 9) AS inside \gset
SELECT unrdf.wait(:inside);

-- what rolls back was not claimed, nor completed; also in a savepoint
SELECT unrdf.enqueue('o_h', '{"n": 2}', queue => 'o_q') AS second \gset
BEGIN;
SELECT args, attempt FROM unrdf.claim(ARRAY['o_q'], 10);
ROLLBACK;
BEGIN;
SELECT token, args, attempt FROM unrdf.claim(ARRAY['o_q']) \gset c_
SAVEPOINT s;
SELECT unrdf.complete(:c_token::bigint);
\set VERBOSITY sqlstate
SELECT unrdf.complete(:c_token::bigint);
\set VERBOSITY terse
ROLLBACK TO s;
SAVEPOINT s;
SELECT args FROM unrdf.claim(ARRAY['o_q'], 5);
ROLLBACK TO s;
SELECT unrdf.complete(:c_token::bigint);
COMMIT;
SELECT unrdf.wait(:first);
SELECT state FROM unrdf.jobs WHERE id = :second;
BEGIN;
SELECT token FROM unrdf.claim(ARRAY['o_q']) \gset c_
PREPARE TRANSACTION 'o';

-- fails, is tried again, is dead
SELECT token, attempt, args FROM unrdf.claim(ARRAY['o_q'], wait => '1 minute') \gset c_
SELECT :c_attempt, :'c_args';
SELECT unrdf.fail(:c_token, 'as asked', 'UX001');
SELECT token, attempt FROM unrdf.claim(ARRAY['o_q'], wait => '1 minute') \gset c_
SELECT :c_attempt;
SELECT unrdf.fail(:c_token, 'as asked again');
SELECT unrdf.wait(:second);
SELECT n, sqlstate, message, retry_at IS NULL AS last FROM unrdf.attempt WHERE job = :second ORDER BY n;
SELECT unrdf.revive(:second) AS second \gset
SELECT token FROM unrdf.claim(ARRAY['o_q'], wait => '1 minute') \gset c_
SELECT unrdf.fail(:c_token, 'for good', permanently => true);
SELECT unrdf.wait(:second);
SELECT unrdf.enqueue('o_h', queue => 'o_q') AS job \gset
SELECT token FROM unrdf.claim(ARRAY['o_q'], wait => '1 minute') \gset c_
SELECT unrdf.fail(:c_token, 'later', retry_in => '1 hour');
SELECT state, due_at > now() + '59 minutes' AS later FROM unrdf.jobs WHERE id = :job;
SELECT unrdf.cancel(:job);

-- in batches
SELECT count(*) FROM unrdf.enqueue_many('o_h', ARRAY(SELECT jsonb_build_object('i', i) FROM generate_series(1, 6) AS i), queue => 'o_q');
CREATE TABLE o_claimed AS SELECT * FROM unrdf.claim(ARRAY['o_q', 'default'], 100, wait => '1 minute');
SELECT queue, args, attempt FROM o_claimed ORDER BY job;
SELECT unrdf.complete(ARRAY(SELECT token FROM o_claimed ORDER BY job LIMIT 2) || 7::bigint || ARRAY(SELECT min(token) FROM o_claimed WHERE args = '{"i": 1}'), ARRAY['{"r": 1}', NULL, NULL, NULL]::jsonb[])
	= ARRAY[7, (SELECT token FROM o_claimed WHERE args = '{"i": 1}')] AS refused;
SELECT job.args, r.result FROM o_claimed AS job JOIN unrdf.receipt AS r ON r.id = job.job ORDER BY r.id;
SELECT unrdf.fail(ARRAY(SELECT token FROM o_claimed WHERE args @> '{"i": 3}'), ARRAY['no'], permanently => true);
SELECT unrdf.snooze(ARRAY(SELECT token FROM o_claimed WHERE args @> '{"i": 4}'), '1 hour');
SELECT unrdf.release(ARRAY(SELECT token FROM o_claimed WHERE args @> '{"i": 5}'));
CREATE TABLE o_again AS SELECT * FROM unrdf.claim(ARRAY['o_q'], 100, wait => '1 minute');
SELECT args, attempt FROM o_again;
SELECT unrdf.complete(ARRAY(SELECT token FROM o_again));
SELECT unrdf.heartbeat(ARRAY(SELECT token FROM o_claimed ORDER BY job)) = ARRAY(SELECT token FROM o_claimed WHERE args <> '{"i": 6}' ORDER BY job) AS lost;

-- cancelled while somebody has it
SELECT token, job FROM o_claimed WHERE args = '{"i": 6}' \gset c_
SELECT unrdf.cancel(:c_job);
SELECT unrdf.heartbeat(ARRAY[:c_token]) = ARRAY[:c_token] AS lost;
SELECT unrdf.complete(ARRAY[:c_token]::bigint[]) = ARRAY[:c_token] AS refused;
SELECT state FROM unrdf.jobs WHERE id = :c_job;

-- a cancel that is rolled back leaves the lease
SELECT unrdf.enqueue('o_h', queue => 'o_q') AS job \gset
SELECT token FROM unrdf.claim(ARRAY['o_q'], wait => '1 minute') \gset c_
BEGIN;
SAVEPOINT s;
SELECT unrdf.cancel(:job);
ROLLBACK TO s;
COMMIT;
SELECT unrdf.heartbeat(ARRAY[:c_token]) AS lost;
SELECT unrdf.complete(:c_token::bigint);

-- what is refused
SELECT unrdf.claim(NULL);
SELECT unrdf.claim('{}');
SELECT unrdf.claim(ARRAY['o_q', NULL]);
SELECT unrdf.claim(ARRAY['o_none']);
SELECT unrdf.claim(ARRAY['o_q'], 0);
SELECT unrdf.claim(ARRAY['o_q'], 10001);
SELECT unrdf.claim(ARRAY['o_q'], NULL);
SELECT unrdf.claim(ARRAY['o_q'], lease => '0');
SELECT unrdf.claim(ARRAY['o_q'], lease => '-1 s');
SELECT unrdf.claim(ARRAY['o_q'], lease => '1 year');
SELECT unrdf.claim(ARRAY['o_q'], wait => '-1 s');
SELECT unrdf.claim(array_fill('o_q'::text, ARRAY[65]));
SELECT unrdf.complete(NULL::bigint);
SELECT unrdf.complete(-1::bigint);
SELECT unrdf.complete(9223372036854775807::bigint);
SELECT unrdf.complete(NULL::bigint[]);
SELECT unrdf.complete(ARRAY[1, NULL]::bigint[]);
SELECT unrdf.complete(ARRAY[1]::bigint[], '{}'::jsonb[]);
SELECT unrdf.complete('{}'::bigint[]);
SELECT unrdf.fail(1, NULL);
SELECT unrdf.fail(1, 'x', 'abc');
SELECT unrdf.fail(1, 'x', '00000');
SELECT unrdf.fail(1, 'x', NULL);
SELECT unrdf.fail(1, 'x', retry_in => '-1 s');
SELECT unrdf.fail(1, 'x', permanently => NULL);
SELECT unrdf.fail(ARRAY[1]::bigint[], ARRAY['x', 'y']);
SELECT unrdf.fail(1, 'x');
SELECT unrdf.snooze(1, '0');
SELECT unrdf.snooze(1, NULL);
SELECT unrdf.snooze(1, '1 s');
SELECT unrdf.release(NULL);
SELECT unrdf.heartbeat(ARRAY[1]::bigint[], NULL);
SELECT unrdf.heartbeat(ARRAY[1]::bigint[], '0');
SELECT unrdf.register_outside_handler('');
SELECT unrdf.register_outside_handler(NULL);
SELECT unrdf.register_outside_handler('o_x', max_attempts => 0);
SELECT unrdf.register_outside_handler('o_x', backoff => '2 s', backoff_cap => '1 s');
SELECT unrdf.grant_queue('o_none', 'pg_monitor');
BEGIN READ ONLY;
SELECT unrdf.claim(ARRAY['o_q']);
ROLLBACK;

-- who may
CREATE ROLE o_operator;
CREATE ROLE o_worker;
CREATE ROLE o_other;
SELECT unrdf.grant_access('o_operator', 'operator');
SELECT unrdf.grant_access('o_worker', 'worker');
SELECT unrdf.grant_access('o_other', 'worker');
SELECT unrdf.enqueue('o_h', '{"secret": 1}', queue => 'o_q') AS job \gset
SET ROLE o_worker;
SELECT unrdf.claim(ARRAY['o_q']);
SELECT unrdf.grant_queue('o_q', 'o_worker');
SELECT unrdf.enqueue('o_h');
SELECT count(*) FROM unrdf.job;
SET ROLE o_operator;
SELECT unrdf.grant_queue('o_q', 'o_worker'), unrdf.grant_queue('o_q', 'o_other'), unrdf.grant_queue('o_q', 'o_other');
SELECT unrdf.register_outside_handler('o_h');
SET ROLE o_worker;
SELECT unrdf.claim(ARRAY['o_q', 'default']);
SELECT token, args FROM unrdf.claim(ARRAY['o_q']) \gset c_
SELECT :'c_args';
SET ROLE o_other;
\set VERBOSITY sqlstate
SELECT unrdf.complete(:c_token::bigint);
\set VERBOSITY terse
SELECT unrdf.heartbeat(ARRAY[:c_token]);
SELECT unrdf.release(ARRAY[:c_token]);
RESET ROLE;
SELECT unrdf.revoke_queue('o_q', 'o_worker');
SET ROLE o_worker;
SELECT unrdf.claim(ARRAY['o_q']);
SELECT unrdf.complete(:c_token::bigint);
RESET ROLE;
SELECT unrdf.wait(:job);
SELECT unrdf.revoke_queue('o_q', 'o_other');
DROP OWNED BY o_operator, o_worker, o_other;
DROP ROLE o_operator, o_worker, o_other;
