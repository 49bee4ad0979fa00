-- unrdf.jobs derives every state of a job; who sees which jobs; what the other views show.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA vw;
-- waits for a lock that this session holds, then does as it is told
CREATE FUNCTION vw.act(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF args ? 'lock' THEN
		PERFORM pg_advisory_xact_lock((args->>'lock')::bigint);
	END IF;
	IF args ? 'fail' THEN
		RAISE EXCEPTION '%', args->>'fail' USING ERRCODE = 'VW001';
	END IF;
	RETURN args;
END $$;
CREATE PROCEDURE vw.await(job bigint, wanted text) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT state FROM unrdf.jobs WHERE id = job) <> wanted LOOP
		PERFORM pg_sleep(0.001);
		COMMIT;
	END LOOP;
END $$;
SELECT unrdf.register_handler('vw_act', 'vw.act(jsonb)', max_attempts => 2, backoff => '1 hour', own_transaction => true);
SELECT unrdf.create_queue('vw_paused');
SELECT unrdf.pause_queue('vw_paused');

SELECT pg_advisory_lock(7701);
SELECT unrdf.enqueue('vw_act', '{"is": "scheduled"}', run_at => now() + interval '1 hour') AS scheduled,
	unrdf.enqueue('vw_act', '{"is": "pending"}', queue => 'vw_paused', key => 'vw') AS pending,
	unrdf.enqueue('vw_act', '{"is": "running", "lock": 7701}') AS running,
	unrdf.enqueue('vw_act', '{"is": "retrying", "fail": "first"}') AS retrying,
	unrdf.enqueue('vw_act', '{"is": "succeeded"}') AS succeeded,
	unrdf.enqueue('vw_act', '{"is": "dead", "fail": "last"}', max_attempts => 1) AS dead,
	unrdf.enqueue('vw_act', '{"is": "cancelled"}', queue => 'vw_paused') AS cancelled \gset
SELECT unrdf.cancel(:cancelled);
SELECT unrdf.wait(:succeeded), unrdf.wait(:dead);
CALL vw.await(:retrying, 'retrying');
CALL vw.await(:running, 'running');
SELECT args->>'is' AS wanted, state, queue, handler, attempts, max_attempts, last_sqlstate, last_error, key,
	started_at IS NOT NULL AS started, finished_at IS NOT NULL AS finished, due_at > now() AS due_later
FROM unrdf.jobs WHERE handler = 'vw_act' ORDER BY id;
SELECT kind, state, job = :running AS job, handler FROM unrdf.stat_workers WHERE datname = current_database() AND handler = 'vw_act';
SELECT DISTINCT kind FROM unrdf.stat_workers WHERE (datname = current_database() OR datname IS NULL) AND kind <> 'releaser' ORDER BY 1;
-- a revived job says of which it is
SELECT unrdf.revive(:dead) AS revived \gset
SELECT retry_of = :dead AS of_it, args FROM unrdf.jobs WHERE id = :revived;
SELECT pg_advisory_unlock(7701);
SELECT unrdf.wait(:running);
SELECT state FROM unrdf.jobs WHERE id = :running;

-- One sees the jobs of the roles one is a member of; pg_read_all_data sees all
CREATE ROLE regress_unrdf_producer;
CREATE ROLE regress_unrdf_other;
CREATE ROLE regress_unrdf_member;
CREATE ROLE regress_unrdf_reader;
GRANT regress_unrdf_producer TO regress_unrdf_member;
GRANT pg_read_all_data TO regress_unrdf_reader;
SELECT unrdf.grant_access(r::regrole, 'producer') FROM unnest(ARRAY['regress_unrdf_producer', 'regress_unrdf_other', 'regress_unrdf_member', 'regress_unrdf_reader']) AS r;
GRANT USAGE ON SCHEMA vw TO PUBLIC;
SET ROLE regress_unrdf_producer;
SELECT unrdf.enqueue('vw_act', '{"is": "mine"}') AS mine \gset
SELECT unrdf.wait(:mine);
SELECT owner, args FROM unrdf.jobs;
SET ROLE regress_unrdf_member;
SELECT owner, args FROM unrdf.jobs;
SET ROLE regress_unrdf_other;
SELECT owner, args FROM unrdf.jobs;
-- not even by a function in the query that would leak what it is given
CREATE FUNCTION pg_temp.leak(t jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE WARNING 'leaked %', t; RETURN true; END $$;
SELECT count(*) FROM unrdf.jobs WHERE pg_temp.leak(args);
SET ROLE regress_unrdf_reader;
SELECT nullif(owner, quote_ident(session_user)::regrole)::regrole AS of_other, args FROM unrdf.jobs WHERE id IN (:mine, :succeeded) ORDER BY id;
RESET ROLE;
DROP OWNED BY regress_unrdf_producer, regress_unrdf_other, regress_unrdf_member, regress_unrdf_reader;
DROP ROLE regress_unrdf_producer, regress_unrdf_other, regress_unrdf_member, regress_unrdf_reader;
