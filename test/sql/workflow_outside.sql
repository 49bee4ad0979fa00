-- Jobs for workers outside in workflows and schedules.
\set VERBOSITY terse
SELECT unrdf.create_queue('ow_q');
SELECT unrdf.register_outside_handler('ow_h');
CREATE FUNCTION ow_inside(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT unrdf.register_handler('ow_in', 'ow_inside(jsonb)');

-- in a workflow a job is claimed once it is released; its result goes on to who needs it, its end as the edge says
CREATE FUNCTION ow_needs(id bigint, args jsonb) RETURNS jsonb LANGUAGE sql AS
	'SELECT jsonb_agg(jsonb_build_array(n.name, n.outcome, n.result) ORDER BY n.name) FROM unrdf.needs_results($1) AS n';
SELECT unrdf.register_handler('ow_needs', 'ow_needs(bigint, jsonb)');
SELECT unrdf.start_workflow('ow_flow', '{"steps": {
	"first": {"handler": "ow_h", "queue": "ow_q"},
	"bad": {"handler": "ow_h", "queue": "ow_q", "args": {"is": "bad"}, "needs": ["first"]},
	"good": {"handler": "ow_h", "queue": "ow_q", "args": {"is": "good"}, "needs": ["first"]},
	"after": {"handler": "ow_needs", "needs": ["good"]},
	"both": {"handler": "ow_needs", "needs": ["good", {"step": "bad", "on_failure": "continue"}]},
	"skipped": {"handler": "ow_needs", "needs": [{"step": "bad", "on_failure": "skip"}]},
	"dies": {"handler": "ow_needs", "needs": ["bad"]}}}') AS flow \gset
SELECT name, state FROM unrdf.workflow_graph WHERE workflow = :flow AND name IN ('good', 'bad') ORDER BY name;
SELECT token AS c_token, job AS needed FROM unrdf.claim(ARRAY['ow_q'], 10, wait => '1 minute') \gset
SELECT unrdf.complete(:c_token::bigint, '{"n": 1}');
SELECT token, args FROM unrdf.claim(ARRAY['ow_q'], 1, wait => '1 minute') \gset c_
SELECT :'c_args';
SELECT unrdf.fail(:c_token, 'as asked', permanently => true);
SELECT token, job, args FROM unrdf.claim(ARRAY['ow_q'], 1, wait => '1 minute') \gset c_
SELECT :'c_args';
SELECT name, outcome, result FROM unrdf.needs_results(:c_job);
SELECT unrdf.complete(:c_token::bigint, '{"n": 2}');
SELECT unrdf.wait(g.job) FROM unrdf.workflow_graph AS g WHERE g.workflow = :flow ORDER BY g.name;
SELECT g.name, g.state, r.result FROM unrdf.workflow_graph AS g JOIN unrdf.receipt AS r ON r.id = g.job
	WHERE g.workflow = :flow AND g.handler = 'ow_needs' AND g.name NOT IN ('skipped', 'dies') ORDER BY g.name;
SELECT name, state FROM unrdf.workflow_graph WHERE workflow = :flow ORDER BY name;

-- a saga's compensation may be of the other kind than its step; a step that a worker has in hand when the saga fails is lost to it
SELECT unrdf.start_workflow('ow_saga', '{"saga": true, "steps": {
	"inside": {"handler": "ow_in", "queue": "ow_q", "compensate": "ow_h"},
	"outside": {"handler": "ow_h", "queue": "ow_q", "needs": ["inside"], "compensate": "ow_in"},
	"fails": {"handler": "ow_h", "queue": "ow_q", "needs": ["outside"], "priority": 0},
	"slow": {"handler": "ow_h", "queue": "ow_q", "needs": ["outside"], "priority": 1}}}') AS saga \gset
SELECT token FROM unrdf.claim(ARRAY['ow_q'], 10, wait => '1 minute') \gset c_
SELECT unrdf.complete(:c_token::bigint);
SELECT token AS fails FROM unrdf.claim(ARRAY['ow_q'], 1, wait => '1 minute') \gset c_
SELECT token AS slow FROM unrdf.claim(ARRAY['ow_q'], 1, wait => '1 minute') \gset c_
SELECT unrdf.fail(:c_fails, 'as asked', permanently => true);
SELECT token, args ->> 'step' AS step FROM unrdf.claim(ARRAY['ow_q'], 10, wait => '1 minute') \gset c_
SELECT :'c_step', unrdf.heartbeat(ARRAY[:c_slow]) = ARRAY[:c_slow] AS lost;
SELECT unrdf.complete(:c_token::bigint);
SELECT g.name, g.state, g.handler, g.compensates IS NOT NULL AS compensation, j.flow < 0 AS outside
	FROM unrdf.workflow_graph AS g JOIN unrdf.job AS j ON j.id = g.job WHERE g.workflow = :saga ORDER BY g.job;
SELECT state FROM unrdf.workflows WHERE id = :saga;

-- steps are for handlers in the database
SELECT unrdf.enqueue('ow_h', queue => 'ow_q') AS job \gset
SELECT token FROM unrdf.claim(ARRAY['ow_q'], wait => '1 minute') \gset c_
\set VERBOSITY sqlstate
SELECT unrdf.step_done('one');
SELECT unrdf.save_step('one');
\set VERBOSITY terse
SELECT unrdf.complete(:c_token::bigint);

-- schedules
SET client_min_messages = warning;
SELECT unrdf.schedule('ow_daily', '@daily', 'ow_h', '{"daily": true}', queue => 'ow_q', overlap => 'cancel') > now() AS later;
RESET client_min_messages;
SELECT unrdf.run_schedule_now('ow_daily') AS first \gset
SELECT token, args FROM unrdf.claim(ARRAY['ow_q'], wait => '1 minute') \gset c_
SELECT :'c_args';
SELECT unrdf.run_schedule_now('ow_daily') AS second \gset
SELECT state FROM unrdf.jobs WHERE id = :first;
SELECT unrdf.heartbeat(ARRAY[:c_token]) = ARRAY[:c_token] AS lost;
SELECT token, job = :second AS mine FROM unrdf.claim(ARRAY['ow_q'], wait => '1 minute') \gset c_
SELECT :'c_mine', unrdf.complete(:c_token::bigint);
SELECT last_action, last_outcome FROM unrdf.schedules WHERE name = 'ow_daily';
SELECT unrdf.unschedule('ow_daily');

-- who has claimed a job sees the results of what it needs, until it has completed it
CREATE ROLE ow_worker;
CREATE ROLE ow_other;
SELECT unrdf.grant_access('ow_worker', 'worker'), unrdf.grant_access('ow_other', 'worker'), unrdf.grant_queue('ow_q', 'ow_worker');
SELECT unrdf.enqueue_after(ARRAY[:needed], 'ow_h', queue => 'ow_q') AS job \gset
SET ROLE ow_worker;
SELECT count(*) FROM unrdf.needs_results(:job);
SELECT token FROM unrdf.claim(ARRAY['ow_q'], wait => '1 minute') \gset c_
SELECT outcome, result FROM unrdf.needs_results(:job);
SELECT count(*) FROM unrdf.job_needs;
SET ROLE ow_other;
SELECT count(*) FROM unrdf.needs_results(:job);
SET ROLE ow_worker;
SELECT unrdf.complete(:c_token::bigint);
SELECT count(*) FROM unrdf.needs_results(:job);
RESET ROLE;
SELECT unrdf.revoke_queue('ow_q', 'ow_worker');
DROP OWNED BY ow_worker, ow_other;
DROP ROLE ow_worker, ow_other;
