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
SELECT unrdf.enqueue('err_noop', queue => NULL);
SELECT unrdf.enqueue('err_noop', priority => NULL);
SELECT unrdf.enqueue_many(NULL, '{1}');
SELECT unrdf.enqueue_many('err_noop', NULL);
SELECT unrdf.enqueue_many('err_noop', '{1,NULL}');
SELECT unrdf.wait(NULL);
SELECT unrdf.record(NULL, 'err');
SELECT unrdf.record('create', NULL);
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
SELECT unrdf.record('execute', 'err');
SELECT unrdf.record('create', '');
SELECT unrdf.record('create', repeat('s', 1025));
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
-- Of all this, nothing was kept
SELECT count(*) FROM unrdf.job WHERE id > :ids_before;
SELECT count(*) FROM unrdf.receipt WHERE id > :ids_before;

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

DROP OWNED BY regress_unrdf_producer, regress_unrdf_other;
DROP ROLE regress_unrdf_producer, regress_unrdf_other;
