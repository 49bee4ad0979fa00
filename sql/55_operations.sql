-- Operations: queues at run time, many jobs at once, numbers, reasons, and what is wrong with the settings.

CREATE FUNCTION unrdf.any_job() RETURNS boolean
	LANGUAGE SQL IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$ SELECT true $$;
COMMENT ON FUNCTION unrdf.any_job() IS 'Who may execute it may see and end everybody''s jobs, without arguments and error texts, and enqueue the dead ones again as their owners. Nothing calls it.';

-- Queues at run time

CREATE FUNCTION unrdf.close_queue(name text, closed boolean) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_close_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.close_queue(text, boolean) IS 'First step of drain_queue and drop_queue: from this transaction''s commit on a queue takes no new jobs (55000), or again takes some. False where that was so before.';

CREATE FUNCTION unrdf.queue_is_shut(name text, timeout interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_queue_is_shut' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.queue_is_shut(text, interval) IS 'Waits until every transaction has ended that may have enqueued in a queue before it was closed: no job can come any more. False after timeout.';

CREATE FUNCTION unrdf.queue_is_drained(name text, timeout interval DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_queue_is_drained' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.queue_is_drained(text, interval) IS 'Waits as queue_is_shut does, and then until all jobs of the queue have ended. False after timeout.';

CREATE FUNCTION unrdf.empty_queue(name text, after bigint, most int, move_to text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_empty_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.empty_queue(text, bigint, int, text) IS 'Step of drop_queue: cancels the next jobs of a queue, at most so many, or moves to another queue those that can be moved. after is 0 for the first, and then what the last call returned; it returns 0 where there was none.';

CREATE FUNCTION unrdf.remove_queue(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_remove_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.remove_queue(text) IS 'Last step of drop_queue: removes a queue that is closed and has no open job. Its name is free; its jobs and receipts stay.';

-- no SET search_path: a procedure that has one cannot commit. It does so between its waits, to hold back no vacuum.
CREATE PROCEDURE unrdf.drain_queue(name text, timeout interval DEFAULT NULL, INOUT drained boolean DEFAULT NULL)
	LANGUAGE plpgsql
AS $$
DECLARE
	until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) timeout;
BEGIN
	PERFORM unrdf.close_queue(name, true);
	LOOP
		COMMIT;
		drained := unrdf.queue_is_drained(name, least('1 s', greatest('0', until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp())));
		EXIT WHEN drained OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) until;
	END LOOP;
END
$$;
COMMENT ON PROCEDURE unrdf.drain_queue(text, interval, boolean) IS 'Has a queue take no new jobs (enqueue raises 55000) and waits until those that are there have ended, at most timeout; drained says whether they have. The queue stays closed until resume_queue. It commits, so it cannot be called in a transaction block.';

CREATE PROCEDURE unrdf.drop_queue(name text, waiting text DEFAULT 'refuse', move_to text DEFAULT NULL, timeout interval DEFAULT '1 minute')
	LANGUAGE plpgsql
AS $$
DECLARE
	until timestamptz := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) timeout;
	last bigint := 0;
	closed boolean;
	emptied boolean := waiting OPERATOR(pg_catalog.=) 'refuse';
	removed boolean := false;
	problem text;
	advice text;
BEGIN
	IF waiting IS NULL OR waiting OPERATOR(pg_catalog.<>) ALL (ARRAY['refuse', 'cancel', 'move']) OR (waiting OPERATOR(pg_catalog.=) 'move') OPERATOR(pg_catalog.<>) (move_to IS NOT NULL)
		OR move_to OPERATOR(pg_catalog.=) name THEN
		RAISE EXCEPTION 'waiting must be refuse, cancel, or move with the name of another queue in move_to' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF name OPERATOR(pg_catalog.=) 'default' THEN
		RAISE EXCEPTION 'queue "default" cannot be dropped' USING ERRCODE = 'reserved_name';
	END IF;
	closed := unrdf.close_queue(name, true);
	COMMIT;
	WHILE NOT unrdf.queue_is_shut(name, '1 s') LOOP
		COMMIT;
		IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) until THEN
			PERFORM unrdf.close_queue(name, NOT closed);
			COMMIT;
			RAISE EXCEPTION 'queue "%" cannot be dropped: a transaction that may enqueue in it goes on', name USING ERRCODE = 'object_in_use';
		END IF;
	END LOOP;
	COMMIT;
	WHILE NOT removed AND problem IS NULL LOOP
		BEGIN
			IF emptied THEN
				PERFORM unrdf.remove_queue(name);
				removed := true;
			ELSE
				last := unrdf.empty_queue(name, last, 1000, move_to);
				emptied := last OPERATOR(pg_catalog.=) 0;
			END IF;
		EXCEPTION WHEN object_in_use OR lock_not_available THEN
			-- somebody who enqueues elsewhere holds the same lock: that passes
			IF SQLSTATE OPERATOR(pg_catalog.=) '55006' OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.>=) until THEN
				GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, advice = PG_EXCEPTION_HINT;
				PERFORM unrdf.close_queue(name, NOT closed);
			END IF;
		END;
		COMMIT;
	END LOOP;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION '%', problem USING ERRCODE = 'object_in_use', HINT = advice;
	END IF;
END
$$;
COMMENT ON PROCEDURE unrdf.drop_queue(text, text, text, interval) IS 'Drops a queue. Where it has jobs that have not ended: refuse raises 55006; cancel cancels them; move cancels them and enqueues their work in queue move_to, as jobs of the same owners whose retry_of names them, but for jobs of workflows and those that others need. It raises 55006, too, where a schedule, a subscription or a change handler enqueues in the queue, or it is a handler''s. It waits, at most timeout, for transactions that may have enqueued in it. It commits, so it cannot be called in a transaction block.';

CREATE FUNCTION unrdf.try_enqueue(handler text, args jsonb DEFAULT '{}', queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	key text DEFAULT NULL, key_window interval DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL, group_key text DEFAULT NULL, tenant text DEFAULT NULL, OUT job bigint, OUT depth bigint)
	RETURNS record AS 'MODULE_PATHNAME', 'unrdf_try_enqueue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.try_enqueue(text, jsonb, text, int, timestamptz, text, interval, int, interval, text, text) IS 'Enqueues a job as enqueue does, and says how deep its queue is then: how many jobs have not ended as this transaction sees it, and for how many others have taken room. job is null where the queue has a max_depth and is full: it neither waits nor raises anything.';

-- Many jobs at once

CREATE FUNCTION unrdf.find_jobs(states text[], queue text, handler text, state text, owner regrole, enqueued_after timestamptz, enqueued_before timestamptz, key_like text, args_contain jsonb, most int) RETURNS bigint[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	IF state <> ALL (states) THEN
		RAISE EXCEPTION 'state must be one of %', array_to_string(states, ', ') USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF most IS NULL OR most NOT BETWEEN 1 AND 100000 THEN
		RAISE EXCEPTION 'most must be between 1 and 100000' USING ERRCODE = 'invalid_parameter_value', HINT = 'A call is one transaction. For more, call again.';
	END IF;
	IF num_nonnulls(queue, handler, state, owner, enqueued_after, enqueued_before, key_like, args_contain) = 0 THEN
		RAISE EXCEPTION 'a filter is needed' USING ERRCODE = 'invalid_parameter_value', HINT = 'owner => current_user::regrole means all of one''s own.';
	END IF;
	RETURN ARRAY(SELECT j.id FROM unrdf.jobs AS j
		WHERE j.state = ANY (states)
			AND (find_jobs.queue IS NULL OR j.queue = find_jobs.queue)
			AND (find_jobs.handler IS NULL OR j.handler = find_jobs.handler)
			AND (find_jobs.state IS NULL OR j.state = find_jobs.state)
			AND (find_jobs.owner IS NULL OR j.owner = find_jobs.owner)
			AND (enqueued_after IS NULL OR j.enqueued_at > enqueued_after)
			AND (enqueued_before IS NULL OR j.enqueued_at < enqueued_before)
			AND (key_like IS NULL OR j.key LIKE key_like)
			AND (args_contain IS NULL OR j.args @> args_contain)
		ORDER BY j.id LIMIT most);
END
$$;
COMMENT ON FUNCTION unrdf.find_jobs(text[], text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int) IS 'The jobs of unrdf.jobs, as the caller sees them, that a filter means: those in one of the states for which everything holds that is not null. What a caller does not see of a job matches nothing.';

CREATE FUNCTION unrdf.cancel_each(jobs bigint[]) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'unrdf_cancel_each' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION unrdf.cancel_each(bigint[]) IS 'Cancels many jobs as cancel does, and returns those that had not ended.';

CREATE FUNCTION unrdf.revive_each(jobs bigint[]) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'unrdf_revive_each' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION unrdf.revive_each(bigint[]) IS 'Revives many jobs as revive does, but for those that were revived before or whose arguments are erased or gone or whose workflow has ended, and returns the new ones.';

CREATE FUNCTION unrdf.erase_each(jobs bigint[], reason text) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'unrdf_erase_each' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION unrdf.erase_each(bigint[], text) IS 'Erases of many jobs that have ended what erase does, and returns those that were not erased before.';

CREATE FUNCTION unrdf.cancel_jobs(queue text DEFAULT NULL, handler text DEFAULT NULL, state text DEFAULT NULL, owner regrole DEFAULT NULL,
	enqueued_after timestamptz DEFAULT NULL, enqueued_before timestamptz DEFAULT NULL, key_like text DEFAULT NULL, args_contain jsonb DEFAULT NULL, most int DEFAULT 10000) RETURNS SETOF bigint
	LANGUAGE SQL VOLATILE PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c FROM unrdf.cancel_each(unrdf.find_jobs(ARRAY['waiting', 'scheduled', 'pending', 'running', 'retrying'], queue, handler, state, owner, enqueued_after, enqueued_before, key_like, args_contain, most)) AS c
$$;
COMMENT ON FUNCTION unrdf.cancel_jobs(text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int) IS 'Cancels the jobs that a filter means, the oldest first and at most so many, in this transaction, and returns them. At least one filter; key_like as LIKE has it, args_contain as @>. Of one''s own, for operators of all.';

CREATE FUNCTION unrdf.retry_jobs(queue text DEFAULT NULL, handler text DEFAULT NULL, state text DEFAULT NULL, owner regrole DEFAULT NULL,
	enqueued_after timestamptz DEFAULT NULL, enqueued_before timestamptz DEFAULT NULL, key_like text DEFAULT NULL, args_contain jsonb DEFAULT NULL, most int DEFAULT 10000) RETURNS SETOF bigint
	LANGUAGE SQL VOLATILE PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r FROM unrdf.revive_each(unrdf.find_jobs(ARRAY['dead', 'cancelled'], queue, handler, state, owner, enqueued_after, enqueued_before, key_like, args_contain, most)) AS r
$$;
COMMENT ON FUNCTION unrdf.retry_jobs(text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int) IS 'Revives the dead and cancelled jobs that a filter means, as cancel_jobs finds them, and returns the new ones. Those that were revived before are passed over, and those of workflows that have ended.';

CREATE FUNCTION unrdf.erase_jobs(reason text, queue text DEFAULT NULL, handler text DEFAULT NULL, state text DEFAULT NULL, owner regrole DEFAULT NULL,
	enqueued_after timestamptz DEFAULT NULL, enqueued_before timestamptz DEFAULT NULL, key_like text DEFAULT NULL, args_contain jsonb DEFAULT NULL, most int DEFAULT 10000) RETURNS SETOF bigint
	LANGUAGE SQL VOLATILE PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e FROM unrdf.erase_each(unrdf.find_jobs(ARRAY['succeeded', 'dead', 'cancelled', 'skipped'], queue, handler, state, owner, enqueued_after, enqueued_before, key_like, args_contain, most), reason) AS e
$$;
COMMENT ON FUNCTION unrdf.erase_jobs(text, text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int) IS 'Erases arguments, results and error texts of the jobs that have ended and that a filter means, as cancel_jobs finds them, and returns them. Their receipts stay, and one of its own says of each who erased it and why. Those that were erased before are not returned, but count for most.';

-- Numbers and reasons

CREATE FUNCTION unrdf.queue_numbers(OUT queue int, OUT running bigint, OUT running_again bigint, OUT open bigint, OUT failed bigint, OUT waiting bigint, OUT succeeded bigint, OUT dead bigint, OUT cancelled bigint, OUT skipped bigint)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'unrdf_queue_numbers' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION unrdf.queue_numbers() IS 'How many jobs of each queue run, and run after a failed attempt; could run or run, and of these have a failed attempt; wait for others; and have ended, and how. Counted once after the server''s start, and kept from then on; counted each time on a standby. Source of unrdf.queue_depths.';

CREATE FUNCTION unrdf.queue_depth(name text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_queue_depth' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.queue_depth(text) IS 'How many jobs of a queue have not ended, those that wait for others among them; those that this transaction enqueued are not.';

CREATE VIEW unrdf.queue_depths WITH (security_barrier) AS
	SELECT q.name AS queue,
		greatest(0, coalesce(n.open OPERATOR(pg_catalog.-) n.running OPERATOR(pg_catalog.-) (n.failed OPERATOR(pg_catalog.-) n.running_again) OPERATOR(pg_catalog.-) coalesce(s.n, 0), 0)) AS pending,
		coalesce(s.n, 0) AS scheduled, coalesce(n.running, 0) AS running, coalesce(n.failed OPERATOR(pg_catalog.-) n.running_again, 0) AS retrying, coalesce(n.waiting, 0) AS waiting,
		coalesce(n.succeeded, 0) AS succeeded, coalesce(n.dead, 0) AS dead, coalesce(n.cancelled, 0) AS cancelled, coalesce(n.skipped, 0) AS skipped
	FROM unrdf.queue AS q
		LEFT JOIN unrdf.queue_numbers() AS n ON n.queue OPERATOR(pg_catalog.=) q.id
		LEFT JOIN (SELECT x.queue, pg_catalog.count(*) AS n
			FROM (SELECT j.id, j.queue FROM unrdf.job AS j WHERE j.run_at OPERATOR(pg_catalog.>) unrdf.clock()
				UNION SELECT j.id, j.queue FROM unrdf.attempt AS a JOIN unrdf.job AS j ON j.id OPERATOR(pg_catalog.=) a.job
					WHERE a.retry_at OPERATOR(pg_catalog.>) unrdf.clock() AND a.failures OPERATOR(pg_catalog.=) 0) AS x
			WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id OPERATOR(pg_catalog.=) x.id)
			GROUP BY x.queue) AS s ON s.queue OPERATOR(pg_catalog.=) q.id
	WHERE q.dropped_at IS NULL;
COMMENT ON VIEW unrdf.queue_depths IS 'How many jobs of each queue are in which state, of all owners. Kept at every commit and not counted, but for those that are scheduled for later or snooze.';

CREATE FUNCTION unrdf.why(job bigint, OUT sentence text, OUT facts jsonb) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_why' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.why(bigint) IS 'Why a job is not running now, in one sentence, and the facts behind it; facts->>''reason'' is a word for each sentence that there is. For the job''s owner and operators.';

-- What is wrong with the settings

CREATE FUNCTION unrdf.key_file(OUT state text, OUT inside boolean) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_key_file' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.key_file() IS 'Whether unrdf.log_key_file can be used: none, absent, ok, or what is wrong with it; and whether it is inside the data directory. It is not read.';

-- as its owner: operators may not see other sessions' snapshots and the key file's permissions; it takes nothing from its caller but a time
CREATE FUNCTION unrdf.doctor(old interval DEFAULT '5 minutes', OUT severity text, OUT subject text, OUT finding text, OUT advice text) RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	libraries text[] := string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ',');
	clustered boolean := coalesce(current_setting('unrdf.cluster_dcs', true), '') <> '';
	databases int := (SELECT count(*) FROM unrdf.workers() AS w WHERE w.kind = 'dispatcher');
	fewest int := current_setting('unrdf.min_executors', true);
	most int := current_setting('unrdf.max_executors', true);
	-- the launcher, a sentinel, and the server's own for logical replication
	others int := 1 + clustered::int + (current_setting('max_logical_replication_workers')::int > 0)::int;
	-- three per database, and a releaser and a courier where there is something for them to do
	helpers int := 3 * greatest(databases, 1) + EXISTS (SELECT FROM unrdf.waiting_job)::int + EXISTS (SELECT FROM unrdf.subscription)::int;
	least_workers int := others + helpers + greatest(databases, 1) * fewest;
	-- a procedure or command has a process of its own beside its executor
	sessions int := EXISTS (SELECT FROM unrdf.handler AS h WHERE h.kind IN ('procedure', 'command'))::int;
	most_workers int := others + helpers + greatest(databases, 1) * greatest(fewest, most) * (1 + sessions);
	workers int := current_setting('max_worker_processes');
	safety text := current_setting('synchronous_commit');
BEGIN
	IF 'unrdf' <> ALL (libraries) THEN
		RETURN QUERY SELECT 'error', 'preload', 'The server does not preload unrdf: no job runs.', 'shared_preload_libraries = ''unrdf'', and restart';
		RETURN;
	END IF;
	RETURN QUERY
	SELECT f.severity, f.subject, f.finding, f.advice FROM (
		SELECT 'error' AS severity, 'workers' AS subject, 'The dispatcher of this database is not running: no job runs.' AS finding, 'See the server''s log; max_worker_processes may be too low.' AS advice
			WHERE NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM unrdf.workers() AS w WHERE w.kind = 'dispatcher' AND w.datname = current_database())
		UNION ALL SELECT 'error', 'restore', format('A restore is under way since %s: no job runs.', r.since), 'SELECT unrdf.finish_restore(), once everything is loaded' FROM unrdf.restoring AS r
		UNION ALL SELECT CASE WHEN workers < least_workers THEN 'error' ELSE 'warning' END, 'max_worker_processes',
				format('max_worker_processes is %s; %s are needed, and %s with all executors%s.', workers, least_workers, most_workers, CASE WHEN sessions > 0 THEN ' and their procedures' ELSE '' END), format('max_worker_processes = %s, and restart', most_workers + 8)
			WHERE workers < most_workers
		UNION ALL SELECT 'warning', 'executors', format('unrdf.min_executors is %s, more than unrdf.max_executors, %s.', fewest, most), format('unrdf.max_executors = %s', fewest) WHERE fewest > most
		UNION ALL SELECT 'warning', 'executors', format('unrdf.executor_slots is %s; %s databases can have %s executors each.', current_setting('unrdf.executor_slots'), databases, most), format('unrdf.executor_slots = %s, and restart', databases * most)
			WHERE current_setting('unrdf.executor_slots')::int < databases * most
		UNION ALL SELECT 'warning', 'xmin', format('Process %s keeps a transaction open since %s: vacuum removes nothing that is newer.', a.pid, a.xact_start), format('SELECT pg_terminate_backend(%s); and idle_in_transaction_session_timeout', a.pid)
			FROM pg_stat_activity AS a WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND coalesce(a.backend_xid, a.backend_xmin) IS NOT NULL AND a.xact_start < clock_timestamp() - old
		UNION ALL SELECT 'warning', 'xmin', format('Prepared transaction "%s" is open since %s: vacuum removes nothing that is newer.', p.gid, p.prepared), format('ROLLBACK PREPARED %L, or COMMIT PREPARED', p.gid)
			FROM pg_prepared_xacts AS p WHERE p.prepared < clock_timestamp() - old
		UNION ALL SELECT 'warning', 'xmin', format('Replication slot "%s" is not in use: it keeps WAL%s.', s.slot_name, CASE WHEN coalesce(s.xmin, s.catalog_xmin) IS NOT NULL THEN ' and holds back vacuum' ELSE '' END),
				format('SELECT pg_drop_replication_slot(%L), if nobody comes back for it', s.slot_name)
			FROM pg_replication_slots AS s WHERE NOT s.active
		UNION ALL SELECT 'error', 'autovacuum', 'autovacuum is off: statistics and transaction ids of large tables get old.', 'autovacuum = on' WHERE current_setting('autovacuum') = 'off'
		UNION ALL SELECT 'error', 'autovacuum', 'track_counts is off: autovacuum does nothing.', 'track_counts = on' WHERE current_setting('track_counts') = 'off'
		UNION ALL SELECT 'warning', 'autovacuum', format('Table %s has autovacuum disabled.', c.oid::regclass), format('ALTER TABLE %s RESET (autovacuum_enabled)', c.oid::regclass)
			FROM pg_class AS c WHERE c.relnamespace = 'unrdf'::regnamespace AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'autovacuum_enabled' AND NOT o.option_value::boolean)
		UNION ALL SELECT 'error', 'clock', format('unrdf.clock_offset, which is for tests, is %s.', current_setting('unrdf.clock_offset')), 'unrdf.clock_offset = 0' WHERE current_setting('unrdf.clock_offset') <> '0'
		UNION ALL SELECT 'error', 'test kit', 'unrdf.test_kit is on: superusers can set the clock, hold jobs and have things fail.', 'unrdf.test_kit = off, and restart' WHERE current_setting('unrdf.test_kit') = 'on'
		UNION ALL SELECT 'warning', 'subscriptions', format('Subscription %s to "%s" is full: %s of its jobs have not ended, and its events wait.', s.id, s.name, s.jobs_open), format('See unrdf.jobs of handler "%s".', s.handler)
			FROM unrdf.subscriptions AS s WHERE s.state = 'full'
		UNION ALL SELECT 'error', 'clock', format('The last start of the server was noted at %s, which is to come: the clock was set back.', max(e.started_at)), 'Have the clock set by NTP, and stepped only at boot.'
			FROM unrdf.epoch AS e HAVING max(e.started_at) > clock_timestamp() + '1 s'
		UNION ALL SELECT 'warning', 'clock', format('The clock of standby "%s" is ahead of this server''s by %s or more.', r.application_name, r.reply_time - clock_timestamp()), 'Have the clocks of all nodes set by NTP.'
			FROM pg_stat_replication AS r WHERE r.reply_time > clock_timestamp() + '1 s'
		UNION ALL SELECT 'error', 'durability', 'fsync is off: a crash of the machine loses the database.', 'fsync = on' WHERE current_setting('fsync') = 'off'
		UNION ALL SELECT 'error', 'durability', 'full_page_writes is off: a crash of the machine may tear pages.', 'full_page_writes = on' WHERE current_setting('full_page_writes') = 'off'
		UNION ALL SELECT 'warning', 'durability', format('synchronous_commit is %s: what was acknowledged may be lost in a %s.', safety, CASE safety WHEN 'off' THEN 'crash' ELSE 'failover' END), 'synchronous_commit = on'
			WHERE safety = 'off' OR (safety = 'local' AND current_setting('synchronous_standby_names') <> '')
		UNION ALL SELECT 'warning', 'standbys', 'synchronous_standby_names names standbys, and none is there: commits wait.', 'Start a standby, or change synchronous_standby_names.'
			WHERE NOT pg_is_in_recovery() AND current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (SELECT FROM pg_stat_replication AS r WHERE r.sync_state IN ('sync', 'quorum'))
		UNION ALL SELECT 'warning', 'standbys', 'Patroni manages this server, and no standby is synchronous: a failover loses what was acknowledged last.', 'synchronous_mode: true, in Patroni''s settings'
			WHERE clustered AND NOT pg_is_in_recovery() AND current_setting('synchronous_standby_names') = ''
		UNION ALL SELECT CASE WHEN clustered THEN 'error' ELSE 'notice' END, 'wal_level', 'wal_level is minimal: there can be no standby, and no backup of a running server.', 'wal_level = replica, and restart' WHERE current_setting('wal_level') = 'minimal'
		UNION ALL SELECT 'error', 'fence', format('The fence is refused: %s.', c.reason), 'See unrdf.fence_margin, and ttl in Patroni''s settings.' FROM unrdf.cluster_state() AS c WHERE c.fence = 'refused'
		UNION ALL SELECT 'error', 'key file', 'Keys have signed checkpoints, and unrdf.log_key_file is not there.', 'Put the copy back, readable to the server''s user only.' FROM unrdf.key_file() AS k WHERE k.state = 'absent' AND EXISTS (SELECT FROM unrdf.log_key)
		UNION ALL SELECT 'error', 'key file', format('unrdf.log_key_file cannot be used: %s.', k.state), 'chmod 600, and chown to the server''s user' FROM unrdf.key_file() AS k WHERE k.state NOT IN ('none', 'absent', 'ok')
		UNION ALL SELECT 'notice', 'key file', 'unrdf.log_key_file is inside the data directory: who has a backup can sign.', 'unrdf.log_key_file = a path outside of it' FROM unrdf.key_file() AS k WHERE k.inside
		UNION ALL SELECT 'notice', 'key file', 'unrdf.log_key_file is empty: checkpoints are not signed.', 'unrdf.log_key_file = a path outside of the data directory' FROM unrdf.key_file() AS k WHERE k.state = 'none'
		UNION ALL SELECT CASE WHEN clustered THEN 'warning' ELSE 'notice' END, 'checkpoint stores', 'unrdf.checkpoint_stores is empty: nobody notices when the log loses its end.', 'unrdf.checkpoint_stores = a store on another machine'
			WHERE current_setting('unrdf.checkpoint_stores') = ''
		UNION ALL SELECT CASE l.publishing WHEN 'refused' THEN 'error' ELSE 'warning' END, 'checkpoints', format('Checkpoints are not published since %s: %s.', l.since, coalesce(l.reason, l.publishing)), 'See unrdf.log_status and unrdf.divergence.'
			FROM unrdf.log_state() AS l WHERE l.publishing IN ('refused', 'waiting')
		UNION ALL SELECT CASE WHEN EXISTS (SELECT FROM unrdf.schedule AS s WHERE NOT s.paused) THEN 'warning' ELSE 'notice' END, 'schedules', 'Nothing fires schedules in this database.', c.advice
			FROM unrdf.clock_advice() AS c (advice) WHERE NOT pg_is_in_recovery() AND c.advice IS NOT NULL
		UNION ALL SELECT 'warning', 'retention', format('Segment %s was to be emptied at %s: %s.', s.segment, s.due_at, CASE WHEN s.held_by IS NULL THEN 'it is not' ELSE format('%s uses it', array_to_string(s.held_by, ', ')) END),
				CASE WHEN s.held_by IS NULL THEN 'See the server''s log.' ELSE 'End its transaction; idle_in_transaction_session_timeout.' END
			FROM unrdf.segments AS s WHERE NOT pg_is_in_recovery() AND s.due_at < clock_timestamp() - old
		) AS f
	ORDER BY array_position(ARRAY['error', 'warning', 'notice'], f.severity), f.subject, f.finding;
END
$$;
COMMENT ON FUNCTION unrdf.doctor(interval) IS 'Settings and states of the server that are wrong for unrdf, the worst first: severity error, warning or notice; what it is about; what was found; and the line to change. old: since when a transaction counts as left open.';

REVOKE EXECUTE ON FUNCTION
	unrdf.any_job(), unrdf.try_enqueue(text, jsonb, text, int, timestamptz, text, interval, int, interval, text, text), unrdf.close_queue(text, boolean), unrdf.queue_is_shut(text, interval), unrdf.queue_is_drained(text, interval), unrdf.empty_queue(text, bigint, int, text), unrdf.remove_queue(text),
	unrdf.find_jobs(text[], text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int), unrdf.cancel_each(bigint[]), unrdf.revive_each(bigint[]), unrdf.erase_each(bigint[], text),
	unrdf.cancel_jobs(text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int), unrdf.retry_jobs(text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int),
	unrdf.erase_jobs(text, text, text, text, regrole, timestamptz, timestamptz, text, jsonb, int),
	unrdf.queue_numbers(), unrdf.queue_depth(text), unrdf.why(bigint), unrdf.key_file(), unrdf.doctor(interval)
	FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE unrdf.drain_queue(text, interval, boolean), unrdf.drop_queue(text, text, text, interval) FROM PUBLIC;
