// pg-boss: batches with burst for throughput, a notify queue for latency. It has no SQL API: its Node client enqueues.
import { load, rows, value, url, chunks } from '../lib.mjs';
import { drainWith } from '../worker.mjs';

const queue = 'noop';
async function open(db, options = {}) {
	const { PgBoss } = load('pg-boss');
	const boss = new PgBoss({ connectionString: url(db), supervise: false, schedule: false, ...options });
	boss.on('error', () => {});
	await boss.start();
	return boss;
}
export async function opened(db, fn) {
	const boss = await open(db, { max: 8, migrate: false });
	try {
		return await fn(boss);
	} finally {
		await boss.stop({ graceful: false });
	}
}

const party = notify => ({
	name: notify ? 'pgboss_notify' : 'pgboss',
	schema: 'pgboss',

	async create(db) {
		const boss = await open(db);
		await boss.createQueue(queue, notify ? { notify: true } : {});
		await boss.stop({ graceful: false });
	},

	fill: (db, n) => opened(db, boss => chunks(n, 2000, (from, to) => boss.insert(queue,
		Array.from({ length: to - from + 1 }, (_, k) => ({ data: { i: from + k, kind: 'noop', pad: 'x'.repeat(72) } }))))),
	sendOne: (boss, i) => boss.send(queue, { i, kind: 'noop', pad: 'x'.repeat(72) }),
	sendMany: (boss, n) => boss.insert(queue, Array.from({ length: n }, (_, i) => ({ data: { i, kind: 'noop', pad: 'x'.repeat(72) } }))),

	pending: db => value(db, `SELECT count(*)::int FROM pgboss.job WHERE name = '${queue}' AND state < 'completed'`),

	async fillAndDrain(db, n) {
		await this.fill(db, n);
		await rows(db, 'ANALYZE');
		return drainWith(this, db, n, 1);
	},

	async work(db, handler) {
		const boss = await open(db, { max: 6, migrate: false, ...(notify ? { useListenNotify: true } : {}) });
		await boss.work(queue, { batchSize: notify ? 500 : 2000, localConcurrency: notify ? 4 : 2, pollingIntervalSeconds: 0.5, burstWhenBatchFull: true },
			async jobs => { await Promise.all(jobs.map(j => handler(j.data))); });
		return () => boss.stop({ graceful: false });
	},
});
export const notifying = party(true);
export default party(false);
