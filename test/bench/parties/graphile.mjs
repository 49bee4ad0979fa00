// graphile-worker with the settings its documentation calls fastest.
import { load, rows, value, url, session, chunks, payload, onePayload } from '../lib.mjs';
import { drainWith } from '../worker.mjs';

const preset = db => {
	const { Logger } = load('graphile-worker');
	return { worker: { connectionString: url(db), concurrentJobs: 24, maxPoolSize: 25, localQueue: { size: 500 },
		completeJobBatchDelay: 0, failJobBatchDelay: 0, logger: new Logger(() => () => {}) } };
};
const spec = `('noop', (${payload})::json, NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec`;

export default {
	name: 'graphile',
	schema: 'graphile_worker',
	enqueueSql: `SELECT graphile_worker.add_job('noop', '${onePayload}');`,
	pickupSql: `SELECT graphile_worker.add_job('noop', json_build_object('i', $1::int))`,
	bulkSql: `SELECT count(*) FROM graphile_worker.add_jobs((SELECT array_agg(('noop', payload::json, NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) FROM bench_payload))`,

	async create(db) {
		const utils = await load('graphile-worker').makeWorkerUtils({ preset: preset(db) });
		await utils.migrate();
		await utils.release();
	},

	fill: (db, n) => session(db, c => chunks(n, 20000, (from, to) => c.query(
		`SELECT count(*) FROM graphile_worker.add_jobs((SELECT array_agg(${spec}) FROM generate_series($1::int, $2::int) AS g))`, [from, to]))),

	pending: db => value(db, 'SELECT count(*)::int FROM graphile_worker._private_jobs'),

	async fillAndDrain(db, n, { processes = 1 } = {}) {
		await this.fill(db, n);
		await rows(db, 'ANALYZE');
		return drainWith(this, db, n, processes);
	},

	/** In a worker process: runs handler(payload) for every job. Returns how to stop. */
	async work(db, handler) {
		const runner = await load('graphile-worker').run({ noHandleSignals: true, taskList: { noop: handler }, preset: preset(db) });
		return () => runner.stop();
	},
};
