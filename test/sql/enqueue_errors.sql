-- Whatever is refused is refused with an SQLSTATE, and nothing is half done.
SET statement_timeout = '120s';
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE SCHEMA err;
CREATE FUNCTION err.noop(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION err.dropped(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION err.changed(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION err.secret(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
REVOKE EXECUTE ON FUNCTION err.secret(jsonb) FROM PUBLIC;
SELECT unrdf.register_handler('err_noop', 'err.noop(jsonb)');
SELECT unrdf.register_handler('err_dropped', 'err.dropped(jsonb)', max_attempts => 1);
SELECT unrdf.register_handler('err_changed', 'err.changed(jsonb)', max_attempts => 1);
SELECT unrdf.register_handler('err_secret', 'err.secret(jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('err');
SELECT unrdf.pause_queue('err');
SELECT last_value AS ids_before FROM unrdf.operation_id \gset

-- Unknown names: 42704; impossible ones: 42602
SELECT unrdf.enqueue('err_nothing');
SELECT unrdf.enqueue('err_noop', queue => 'err_nothing');
SELECT unrdf.enqueue('');
SELECT unrdf.enqueue(repeat('x', 64));
SELECT unrdf.enqueue('err_noop', queue => '');
SELECT unrdf.enqueue_many('err_nothing', '{1}');
SELECT unrdf.cancel(-1);
SELECT unrdf.cancel(9223372036854775807);
SELECT unrdf.wait(-1);
SELECT unrdf.revive(-1);
-- Nulls: 22004
SELECT unrdf.enqueue(NULL);
SELECT unrdf.enqueue('err_noop', NULL);
SELECT unrdf.enqueue_many(NULL, '{1}');
SELECT unrdf.enqueue_many('err_noop', NULL);
SELECT unrdf.enqueue_many('err_noop', '{1,NULL}');
SELECT unrdf.wait(NULL);
SELECT unrdf.record(NULL, 'err');
SELECT unrdf.record('create', NULL);
-- strict ones answer null; what may be null stands for the default
SELECT unrdf.cancel(NULL) IS NULL AND unrdf.revive(NULL) IS NULL AND unrdf.receipt(NULL) IS NULL AND unrdf.canonical_receipt(NULL) IS NULL
	AND unrdf.canonical_json(NULL) IS NULL AND unrdf.leaf_index(NULL) IS NULL AND unrdf.grant_access(NULL, 'producer') IS NULL AND unrdf.grant_access('pg_monitor', NULL) IS NULL AS strict;
BEGIN;
SELECT unrdf.enqueue('err_noop', queue => 'err', run_at => NULL, key => NULL, key_window => NULL, max_attempts => NULL, timeout => NULL) AS defaults \gset
SELECT * FROM unrdf.enqueue_many('err_noop', '{1}', queue => 'err', run_at => NULL, keys => NULL, key_window => NULL, max_attempts => NULL, timeout => NULL) AS many_defaults \gset
SELECT state, priority, key, max_attempts, due_at = enqueued_at AS at_once FROM unrdf.jobs WHERE id IN (:defaults, :many_defaults) ORDER BY id;
SELECT unrdf.record('create', 'err null', NULL, NULL) AS recorded \gset
SELECT operation, payload FROM unrdf.receipt WHERE id = :recorded;
ROLLBACK;
-- Out of range: 22023
SELECT unrdf.enqueue('err_noop', priority => -1);
SELECT unrdf.enqueue('err_noop', priority => 10);
SELECT unrdf.enqueue('err_noop', max_attempts => 0);
SELECT unrdf.enqueue('err_noop', max_attempts => 1001);
SELECT unrdf.enqueue('err_noop', run_at => 'infinity');
SELECT unrdf.enqueue('err_noop', run_at => '-infinity');
SELECT unrdf.enqueue('err_noop', timeout => '-1 ms');
SELECT unrdf.enqueue('err_noop', timeout => '25 days');
SELECT unrdf.enqueue('err_noop', key => 'k', key_window => '-1 s');
SELECT unrdf.enqueue('err_noop', key => 'k', key_window => '178000000 years');
SELECT unrdf.enqueue('err_noop', key => '');
SELECT unrdf.enqueue('err_noop', key => repeat('k', 1025));
SELECT unrdf.enqueue_many('err_noop', '{1,2}', keys => '{a}');
SELECT unrdf.enqueue_many('err_noop', '{1}', keys => '{a,b}');
SELECT unrdf.enqueue_many('err_noop', '{1}', keys => ARRAY['']);
SELECT unrdf.wait(1, '-1 s');
SELECT unrdf.enqueue_many('err_noop', '{1}', priority => -1);
SELECT unrdf.enqueue_many('err_noop', '{1}', priority => 10);
SELECT unrdf.enqueue_many('err_noop', '{1}', max_attempts => 0);
SELECT unrdf.enqueue_many('err_noop', '{1}', run_at => '-infinity');
SELECT unrdf.enqueue_many('err_noop', '{1}', timeout => '25 days');
SELECT unrdf.enqueue_many('err_noop', '{1}', keys => '{k}', key_window => '-1 s');
SELECT unrdf.enqueue_many('err_noop', '{1}', keys => ARRAY[repeat('k', 1025)]);
SELECT unrdf.record('execute', 'err');
SELECT unrdf.record('create', '');
SELECT unrdf.record('create', repeat('s', 1025));
SELECT unrdf.record('create', 'err', operation => '');
SELECT unrdf.record('create', 'err', operation => repeat('o', 1025));
SELECT unrdf.record('', 'err');
SELECT unrdf.grant_access('pg_monitor', 'king');
-- on the edge they pass
BEGIN;
SELECT unrdf.enqueue('err_noop', queue => 'err', priority => p, key => repeat('k', 1023) || p, max_attempts => m, timeout => t, key_window => t) > 0 AS passes
FROM (VALUES (0, 1, interval '0'), (9, 1000, interval '24 days')) AS v (p, m, t);
SELECT unrdf.record('create', repeat('s', 1024), operation => repeat('o', 1024)) > 0 AS passes;
ROLLBACK;
-- Arguments over unrdf.max_args_size: 54000, and just under it they pass
SET unrdf.max_args_size = '4kB';
SELECT unrdf.enqueue('err_noop', to_jsonb(repeat('x', 4096)));
SELECT unrdf.enqueue_many('err_noop', ARRAY['1', to_jsonb(repeat('x', 4096))]);
SELECT unrdf.record('create', 'err', to_jsonb(repeat('x', 4096)));
BEGIN;
SELECT unrdf.enqueue('err_noop', to_jsonb(repeat('x', 4000)), queue => 'err') > 0 AS passes;
ROLLBACK;
RESET unrdf.max_args_size;
-- Numbers that canonical JSON cannot carry: 22003
SELECT unrdf.enqueue('err_noop', '{"n": 9007199254740993}');
SELECT unrdf.enqueue('err_noop', '[1e400]');
SELECT unrdf.enqueue('err_noop', '0.1234567890123456789');
SELECT unrdf.enqueue_many('err_noop', '{1,9007199254740993}');
SELECT unrdf.record('create', 'err', '{"n": 9007199254740993}');
-- A job of this very transaction cannot be waited for: 55000
BEGIN;
SELECT unrdf.enqueue('err_noop') AS own \gset
SELECT unrdf.wait(:own);
ROLLBACK;
-- A read-only transaction: 25006
BEGIN READ ONLY;
SELECT unrdf.enqueue('err_noop');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.cancel(1);
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.record('create', 'err');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.pause_queue('err');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.resume_queue('err');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.create_queue('err_other');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.register_handler('err_other', 'err.noop(jsonb)');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.enqueue_many('err_noop', '{1}');
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.revive(1);
ROLLBACK;
BEGIN READ ONLY;
SELECT unrdf.integrate();
ROLLBACK;
-- Nor can it be waited for after a savepoint: 55000; an endless time-out is not one that is over
SELECT unrdf.enqueue('err_noop', queue => 'err') AS endless \gset
BEGIN;
SAVEPOINT s;
SELECT unrdf.enqueue('err_noop') AS own \gset
RELEASE s;
SELECT unrdf.wait(:own);
ROLLBACK;
SET statement_timeout = '50ms';
SELECT unrdf.wait(:endless, '170000000 years');
SET statement_timeout = '120s';
SELECT unrdf.cancel(:endless);
-- Of all this, nothing was kept
SELECT count(*) FROM unrdf.job WHERE id > :ids_before AND id <> :endless;
SELECT count(*) FROM unrdf.receipt WHERE id > :ids_before AND id <> :endless;

-- The function was dropped: enqueueing is refused with 42883, and a job that waited dies of it
SELECT unrdf.enqueue('err_dropped', queue => 'err') AS dropped \gset
SELECT unrdf.enqueue('err_changed', queue => 'err') AS changed \gset
DROP FUNCTION err.dropped(jsonb);
DROP FUNCTION err.changed(jsonb);
SELECT unrdf.enqueue('err_dropped', queue => 'err');
-- one of the same name is not it
CREATE FUNCTION err.changed(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT unrdf.enqueue('err_changed', queue => 'err');

-- The role that enqueues may not execute the function: 42501; nor once the right was revoked
CREATE ROLE regress_unrdf_producer;
CREATE ROLE regress_unrdf_other;
SELECT unrdf.grant_access('regress_unrdf_producer', 'producer'), unrdf.grant_access('regress_unrdf_other', 'producer');
GRANT USAGE ON SCHEMA err TO regress_unrdf_producer, regress_unrdf_other;
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('err_secret', queue => 'err');
-- nor may it lift the limits
SET unrdf.max_args_size = '1GB';
RESET ROLE;
GRANT EXECUTE ON FUNCTION err.secret(jsonb) TO regress_unrdf_producer;
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('err_secret', queue => 'err') AS revoked \gset
SELECT unrdf.enqueue('err_noop', queue => 'err') AS theirs \gset
RESET ROLE;
REVOKE EXECUTE ON FUNCTION err.secret(jsonb) FROM regress_unrdf_producer;

-- Cancelling: only the job's owner, 42501; once, then it is false
SET ROLE regress_unrdf_other;
SELECT unrdf.cancel(:theirs);
SELECT unrdf.revive(:theirs);
SELECT count(*) FROM unrdf.jobs WHERE id = :theirs;
RESET ROLE;
SET ROLE regress_unrdf_producer;
SELECT unrdf.revive(:theirs);
SELECT unrdf.cancel(:theirs);
SELECT unrdf.cancel(:theirs);
SELECT unrdf.wait(:theirs);
SELECT state FROM unrdf.jobs WHERE id = :theirs;
RESET ROLE;

SELECT unrdf.resume_queue('err');
SELECT unrdf.wait(:dropped), unrdf.wait(:changed), unrdf.wait(:revoked);
SELECT CASE j.id WHEN :dropped THEN 'dropped' WHEN :changed THEN 'changed' ELSE 'revoked' END AS job, state, attempts, last_sqlstate
FROM unrdf.jobs AS j WHERE j.id IN (:dropped, :changed, :revoked) ORDER BY j.id;
-- a job that ran cannot be cancelled or revived
SELECT unrdf.enqueue('err_noop') AS ran \gset
SELECT unrdf.wait(:ran);
SELECT unrdf.cancel(:ran);
SELECT unrdf.revive(:ran);
-- revived once, not twice: 23505
SELECT unrdf.revive(:theirs) AS again \gset
SELECT unrdf.wait(:again);
SELECT unrdf.revive(:theirs);
SELECT retry_of = :theirs AS of_it, owner, state FROM unrdf.jobs WHERE id = :again;

-- one whose key another job holds by now is that one
SELECT unrdf.pause_queue('err');
SELECT unrdf.enqueue('err_noop', queue => 'err', key => 'err key') AS first \gset
SELECT unrdf.cancel(:first);
SELECT unrdf.enqueue('err_noop', queue => 'err', key => 'err key') AS second \gset
SELECT unrdf.revive(:first) = :second AS the_holder;
SELECT unrdf.cancel(:second);
SELECT unrdf.revive(:first) > :second AS another;
-- The function changed to one that is no handler, arguments that somebody erased, a handler that somebody deleted: the job dies of it
CREATE FUNCTION err.later(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
SELECT unrdf.register_handler('err_later', 'err.later(jsonb)', max_attempts => 1);
CREATE FUNCTION err.schema_moved(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
SELECT unrdf.register_handler('err_moved', 'err.schema_moved(jsonb)', max_attempts => 1);
CREATE FUNCTION err.deleted(args jsonb) RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT unrdf.register_handler('err_deleted', 'err.deleted(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('err_later', queue => 'err') AS wrong, unrdf.enqueue('err_moved', '{"still": "found"}', queue => 'err') AS moved,
	unrdf.enqueue('err_noop', queue => 'err', max_attempts => 1) AS erased, unrdf.enqueue('err_deleted', queue => 'err', max_attempts => 1) AS deleted \gset
DROP FUNCTION err.later(jsonb);
CREATE PROCEDURE err.later(args jsonb) LANGUAGE sql AS $$ SELECT $$;
UPDATE unrdf.handler SET function = 'err.later(jsonb)' WHERE name = 'err_later';
ALTER FUNCTION err.schema_moved(jsonb) RENAME TO renamed;
UPDATE unrdf.job SET args = NULL WHERE id = :erased;
DELETE FROM unrdf.handler WHERE name = 'err_deleted';
-- the executors read handlers anew
SELECT unrdf.create_queue('err_anew');
SELECT unrdf.resume_queue('err');
SELECT unrdf.wait(:wrong) AS wrong, unrdf.wait(:moved) AS moved, unrdf.wait(:erased) AS erased, unrdf.wait(:deleted) AS deleted;
SELECT handler, state, attempts, last_sqlstate FROM unrdf.jobs WHERE id IN (:wrong, :moved, :erased, :deleted) ORDER BY id;
SELECT operation, outcome FROM unrdf.receipt WHERE id = :deleted;

DROP OWNED BY regress_unrdf_producer, regress_unrdf_other;
DROP ROLE regress_unrdf_producer, regress_unrdf_other;
