-- Who may do what: nobody but the installing superuser, until granted. The pure functions stay with PUBLIC.

REVOKE ALL ON SCHEMA unrdf FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION
	unrdf.create_queue(text, int), unrdf.alter_queue(text, jsonb), unrdf.pause_queue(text), unrdf.resume_queue(text),
	unrdf.enqueue(text, jsonb, text, int, timestamptz, text, interval, int, interval, text, text),
	unrdf.enqueue_many(text, jsonb[], text, int, timestamptz, text[], interval, int, interval, text, text),
	unrdf.cancel(bigint), unrdf.revive(bigint), unrdf.wait(bigint, interval), unrdf.clock(),
	unrdf.record(text, text, jsonb, text), unrdf.record_batch(text, jsonb[], text), unrdf.audit_table(regclass, text[], text[]), unrdf.unaudit_table(regclass), unrdf.audit_statement(), unrdf.item_proof(bigint, bigint), unrdf.verify_item(bigint, bigint, jsonb), unrdf.verify_row(regclass, text[]), unrdf.verify_table(regclass), unrdf.erase(bigint, text), unrdf.canonical_receipt(bigint), unrdf.receipt(bigint), unrdf.leaf_index(bigint), unrdf.log_size(),
	unrdf.inclusion_proof(bigint, bigint), unrdf.inclusion_proof(int, bigint, bigint), unrdf.consistency_proof(int, bigint, bigint), unrdf.verify(bigint), unrdf.verify_all(int, text), unrdf.verify_range(bigint, bigint, int), unrdf.verify_step(bigint, bigint, int, text), unrdf.integrate(),
	unrdf.checkpoint(bigint), unrdf.publish_checkpoint(interval), unrdf.add_log_key(), unrdf.draw_origin(), unrdf.new_origin(text), unrdf.trust_witness(text), unrdf.witness_request(bigint), unrdf.add_cosignatures(text, bigint),
	unrdf.add_witness_key(), unrdf.watch_log(text), unrdf.witness_check(text), unrdf.witness_cosign(text, bigint), unrdf.export_receipt(bigint), unrdf.export_tiles(text), unrdf.first_difference(text), unrdf.log_state(),
	unrdf.workers(), unrdf.cluster_keys(), unrdf.cluster_state(), unrdf.verify_progress(), unrdf.restore_begins(), unrdf.restore_ends(), unrdf.finish_restore()
	FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE unrdf.witness_add_checkpoint(text, int, text), unrdf.verify_log(bigint, int, text, bigint, bigint, bigint, text) FROM PUBLIC;

CREATE FUNCTION unrdf.grant_access(grantee regrole, access text) RETURNS void
	LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	functions text;
BEGIN
	functions := CASE access
		WHEN 'producer' THEN 'enqueue, try_enqueue, enqueue_many, enqueue_once, debounce, throttle, cancel, revive, wait, why, find_jobs, cancel_each, revive_each, cancel_jobs, retry_jobs, record, record_batch, item_proof, verify_item, receipt, canonical_receipt, leaf_index, log_size, inclusion_proof, consistency_proof, checkpoint, export_receipt, verify, schedule, unschedule, pause_schedule, resume_schedule, run_schedule_now, schedule_due_times, schedule_next, enqueue_after, fan_out, create_workflow, start_workflow, cancel_workflow, needs_results, workflow_dot, step_done, save_step, current_job, progress, snooze(interval), job_progress, holds_lease, clock, emit, on_event, drop_on_event, pause_subscription, resume_subscription, replay, subscription_lag, on_change, drop_on_change, change_row, change_statement, kept'
		WHEN 'operator' THEN 'any_job, create_queue, alter_queue, pause_queue, resume_queue, drain_queue, drop_queue, close_queue, queue_is_shut, queue_is_drained, empty_queue, remove_queue, cancel, revive, wait, why, find_jobs, cancel_each, revive_each, cancel_jobs, retry_jobs, queue_numbers, queue_depth, doctor, register_handler, job_progress, audit_table, unaudit_table, workers, cluster_keys, cluster_state, publish_checkpoint, log_state, witness_request, add_cosignatures, run_schedules, schedule_next, clock_runs, clock_advice, start_clock, cancel_workflow, needs_results, workflow_dot, holds_lease, register_outside_handler, grant_queue, revoke_queue, clock, grant_events, revoke_events, subscription_lag, kept, keep_events, expire, segment_dues'
		WHEN 'auditor' THEN 'canonical_receipt, receipt, leaf_index, log_size, inclusion_proof, consistency_proof, checkpoint, publish_checkpoint, export_receipt, log_state, item_proof, verify_item, verify_row, verify_table, verify, verify_all, verify_range, verify_step, verify_log, verify_progress'
		WHEN 'worker' THEN 'claim, complete, fail, snooze, release, heartbeat, needs_results, holds_lease, queue_numbers, queue_depth, clock, kept'
		WHEN 'witness' THEN 'witness_add_checkpoint, witness_check, witness_cosign'
	END;
	IF functions IS NULL THEN
		RAISE EXCEPTION 'unknown access "%"', access USING ERRCODE = 'invalid_parameter_value', HINT = 'It is producer, operator, worker, auditor or witness.';
	END IF;
	EXECUTE format('GRANT USAGE ON SCHEMA unrdf TO %s', grantee::regrole);
	EXECUTE (SELECT string_agg(format('GRANT EXECUTE ON ROUTINE %s TO %s', p.oid::regprocedure, grantee::regrole), '; ')
		FROM pg_proc AS p WHERE p.pronamespace = 'unrdf'::regnamespace AND string_to_array(functions, ', ') && ARRAY[p.proname::text, format('%s(%s)', p.proname, oidvectortypes(p.proargtypes))]);
	EXECUTE format(CASE access
		WHEN 'producer' THEN 'GRANT SELECT ON unrdf.jobs, unrdf.queues, unrdf.schedules, unrdf.schedule_runs, unrdf.job_needs, unrdf.workflows, unrdf.workflow_graph, unrdf.stat_progress, unrdf.events, unrdf.subscriptions, unrdf.change_handlers TO %s; GRANT EXECUTE ON FUNCTION unrdf.workers() TO %1$s'
		WHEN 'worker' THEN 'GRANT SELECT ON unrdf.queues, unrdf.queue_depths, unrdf.job_needs TO %s'
		WHEN 'operator' THEN 'GRANT SELECT ON unrdf.jobs, unrdf.queues, unrdf.queue_depths, unrdf.schedules, unrdf.schedule_runs, unrdf.stat_workers, unrdf.stat_progress, unrdf.log_status, unrdf.audited_tables, unrdf.cluster, unrdf.failovers, unrdf.job_needs, unrdf.workflows, unrdf.workflow_graph, unrdf.events, unrdf.subscriptions, unrdf.change_handlers, unrdf.event_grant, unrdf.event_retention, unrdf.segments TO %s'
		WHEN 'witness' THEN 'GRANT SELECT ON unrdf.witnessed TO %s'
		ELSE 'GRANT SELECT ON unrdf.stat_verify, unrdf.verified, unrdf.finding, unrdf.log_status, unrdf.log_keys, unrdf.audited_tables, unrdf.failovers TO %s' END, grantee::regrole);
END
$$;
COMMENT ON FUNCTION unrdf.grant_access(regrole, text) IS 'Grants a role what a producer (enqueues and watches its jobs), an operator (queues, handlers, checkpoints, and all jobs but for their payloads), a worker outside (claims jobs of the queues that grant_queue names), an auditor (receipts and proofs, no payloads) or a witness''s relay needs.';
REVOKE EXECUTE ON FUNCTION unrdf.grant_access(regrole, text) FROM PUBLIC;
