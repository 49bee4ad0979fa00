-- Dump and restore. The tables' rows are part of a dump; restoring and restored belong to this database only and are not.

CREATE TABLE unrdf.restoring (
	since timestamptz NOT NULL
);
COMMENT ON TABLE unrdf.restoring IS 'Has a row while a restore is under way: nothing is handed out or integrated.';

CREATE TABLE unrdf.restored (
	at timestamptz NOT NULL DEFAULT now(),
	xid xid8 NOT NULL,
	event bigint NOT NULL
);
COMMENT ON TABLE unrdf.restored IS 'One row per restore into this database: the highest transaction id among the restored rows, up to which followers may meet a row twice, and the highest id of a restored event.';

CREATE MATERIALIZED VIEW unrdf.dump_end AS SELECT unrdf.restore_ends() AS at;
COMMENT ON MATERIALIZED VIEW unrdf.dump_end IS 'Marked as configuration, so that pg_dump has it refreshed. pg_restore does that last, also with -j: after all data. The refresh ends the restore.';

CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.job FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.waiting_job FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.attempt FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.receipt FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.integration FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.event FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.delivery FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();
CREATE TRIGGER restore_begins BEFORE INSERT ON unrdf.epoch FOR EACH STATEMENT EXECUTE FUNCTION unrdf.restore_begins();

SELECT pg_catalog.pg_extension_config_dump('unrdf.queue', 'WHERE id OPERATOR(pg_catalog.<>) 0');
SELECT pg_catalog.pg_extension_config_dump('unrdf.queue_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.queue_state', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.share', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.handler', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.handler_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.operation_id', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.job', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.waiting_job', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.job_need', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.workflow', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.workflow_end', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.job_step', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.attempt', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.epoch', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.receipt', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.integration', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.tile', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.checkpoint', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.divergence', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.log_key', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.witness', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.cosignature', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.witness_log', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.witnessed', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.batch', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.batch_segment', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.audited', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.audited_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.event', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.event_id', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.event_grant', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.subscription_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.delivery', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.change_handler', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.change_handler_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('unrdf.dump_end', '');
