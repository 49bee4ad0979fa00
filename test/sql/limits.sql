-- Settings of queues: what they take, what they refuse, and what they make of a job.
\set VERBOSITY terse
SELECT unrdf.create_queue('l_q');
SELECT unrdf.alter_queue('l_q', '{"max_running": 3, "weight": 2, "rate": 1.5, "burst": 10, "group_by": "$.customer.id", "group_max_running": 2, "group_rate": 0.1, "group_burst": 2, "share_by": "tenant", "shares": {"acme": 3, "other": 1}}');
SELECT max_running, weight, rate, burst, group_by, group_max_running, group_rate, group_burst, fifo, share_by, shares FROM unrdf.queues WHERE name = 'l_q' \gx
-- the rest stays, and null is the default
SELECT unrdf.alter_queue('l_q', '{"max_running": null, "weight": null, "rate": 2, "shares": {"acme": 5}}');
SELECT max_running, weight, rate, burst, group_by, shares FROM unrdf.queues WHERE name = 'l_q';
SELECT unrdf.alter_queue('l_q', '{"shares": null}');
SELECT unrdf.alter_queue('l_q', '{}');
SELECT max_running, weight, rate, shares FROM unrdf.queues WHERE name = 'l_q';

-- What is refused
SELECT unrdf.alter_queue('l_none', '{}');
SELECT unrdf.alter_queue('l_q', '[]');
SELECT unrdf.alter_queue('l_q', '"x"');
SELECT unrdf.alter_queue('l_q', '{"max_runing": 3}');
SELECT unrdf.alter_queue('l_q', '{"max_running": 0}');
SELECT unrdf.alter_queue('l_q', '{"max_running": 1.5}');
SELECT unrdf.alter_queue('l_q', '{"max_running": "3"}');
SELECT unrdf.alter_queue('l_q', '{"max_running": 1e30}');
SELECT unrdf.alter_queue('l_q', '{"weight": 1001}');
SELECT unrdf.alter_queue('l_q', '{"rate": 0}');
SELECT unrdf.alter_queue('l_q', '{"rate": -1}');
SELECT unrdf.alter_queue('l_q', '{"rate": [1]}');
SELECT unrdf.alter_queue('l_q', '{"rate": null}');
SELECT unrdf.alter_queue('l_q', '{"group_rate": null}');
SELECT unrdf.alter_queue('l_q', '{"group_by": "customer id"}');
SELECT unrdf.alter_queue('l_q', '{"group_by": 1}');
SELECT unrdf.alter_queue('l_q', '{"fifo": "yes"}');
SELECT unrdf.alter_queue('l_q', '{"fifo": "wait"}');
SELECT unrdf.alter_queue('l_q', '{"fifo": "wait", "group_max_running": null}');
SELECT unrdf.alter_queue('l_q', '{"share_by": "customer"}');
SELECT unrdf.alter_queue('l_q', '{"shares": [1]}');
SELECT unrdf.alter_queue('l_q', '{"shares": {"acme": 0}}');
SELECT unrdf.alter_queue('l_q', '{"shares": {"acme": {"a": 1}}}');
SELECT unrdf.alter_queue('l_q', '{"shares": 3}');
BEGIN READ ONLY;
SELECT unrdf.alter_queue('l_q', '{}');
ROLLBACK;
SELECT max_running, weight, rate, fifo FROM unrdf.queues WHERE name = 'l_q';

-- A job's group, share and flow
SELECT unrdf.pause_queue('l_q');
CREATE FUNCTION l_nothing(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT unrdf.register_handler('l_nothing', 'l_nothing(jsonb)');
CREATE TABLE l_job (what text, id bigint);
INSERT INTO l_job VALUES
	('found', unrdf.enqueue('l_nothing', '{"customer": {"id": 7}}', queue => 'l_q')),
	('same', unrdf.enqueue('l_nothing', '{"customer": {"id": "7"}}', queue => 'l_q')),
	('said', unrdf.enqueue('l_nothing', '{"customer": {"id": 7}}', queue => 'l_q', group_key => '8')),
	('nothing', unrdf.enqueue('l_nothing', '{"customer": 7}', queue => 'l_q')),
	('null', unrdf.enqueue('l_nothing', '{"customer": {"id": null}}', queue => 'l_q')),
	('tenant', unrdf.enqueue('l_nothing', queue => 'l_q', tenant => 'acme')),
	('both', unrdf.enqueue('l_nothing', '{"customer": {"id": 7}}', queue => 'l_q', tenant => 'acme')),
	('plain', unrdf.enqueue('l_nothing', queue => 'default', tenant => 'acme')),
	('group without limits', unrdf.enqueue('l_nothing', queue => 'default', group_key => 'g'));
SELECT what, group_key, tenant, dense_rank() OVER (ORDER BY flow) AS flow, flow IS NULL AS plain FROM l_job JOIN unrdf.job USING (id) ORDER BY id;
INSERT INTO l_job SELECT 'many', unrdf.enqueue_many('l_nothing', '{"{\"customer\": {\"id\": 1}}","{\"customer\": {\"id\": 2}}","{}"}', queue => 'l_q');
SELECT group_key FROM l_job JOIN unrdf.job USING (id) WHERE what = 'many' ORDER BY id;
SELECT unrdf.enqueue('l_nothing', jsonb_build_object('customer', jsonb_build_object('id', repeat('x', 1025))), queue => 'l_q');
SELECT unrdf.enqueue('l_nothing', queue => 'l_q', group_key => '');
SELECT unrdf.enqueue('l_nothing', queue => 'l_q', tenant => repeat('x', 1025));
-- a job of its own again keeps them
SELECT count(unrdf.cancel(id)) FROM l_job WHERE what = 'both';
SELECT unrdf.revive(id) AS again FROM l_job WHERE what = 'both' \gset
SELECT a.group_key = b.group_key AS same_group, a.tenant = b.tenant AS same_tenant, a.flow = b.flow AS same_flow FROM unrdf.job AS a, unrdf.job AS b, l_job WHERE a.id = :again AND b.id = l_job.id AND what = 'both';
SELECT unrdf.resume_queue('l_q');
SELECT unrdf.alter_queue('l_q', '{"group_rate": null, "group_burst": null, "rate": null, "burst": null}');
SELECT unrdf.wait(id, '1 min'), count(*) FROM l_job WHERE what <> 'both' GROUP BY 1;
SELECT unrdf.wait(:again, '1 min');
DROP TABLE l_job;
DROP FUNCTION l_nothing(jsonb);
