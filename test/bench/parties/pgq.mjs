// PgQ: a log with one position per consumer. It keeps no state per job, so it is the floor of what a queue can cost, not a like for like.
import { rows, connect, sleep, session, chunks, payload, onePayload, value } from '../lib.mjs';
import { drainWith } from '../worker.mjs';

export default {
	name: 'pgq',
	schema: 'pgq',
	enqueueSql: `SELECT pgq.insert_event('q', 'noop', '${onePayload}');`,
	bulkSql: `SELECT count(pgq.insert_event('q', 'noop', payload::text)) FROM bench_payload`,

	create: db => rows(db, `CREATE EXTENSION pgq; SELECT pgq.create_queue('q'), pgq.set_queue_config('q', 'rotation_period', '2 hours'),
		pgq.set_queue_config('q', 'ticker_max_lag', '0'), pgq.set_queue_config('q', 'ticker_idle_period', '0'),
		pgq.set_queue_config('q', 'ticker_max_count', '1'); SELECT pgq.register_consumer('q', 'c'), pgq.ticker('q')`),

	fill: (db, n) => session(db, c => chunks(n, 20000, (from, to) => c.query(
		`SELECT count(pgq.insert_event('q', 'noop', (${payload})::text)) FROM generate_series($1::int, $2::int) AS g`, [from, to]))),

	pending: db => value(db, `SELECT count(*)::int FROM pgq.get_consumer_info('q', 'c') WHERE pending_events > 0`),

	async fillAndDrain(db, n) {
		await this.fill(db, n);
		await rows(db, 'ANALYZE');
		await rows(db, `SELECT pgq.force_tick('q')`);
		await rows(db, `SELECT pgq.ticker('q')`);
		return drainWith(this, db, n, 1);
	},

	async work(db, handler) {
		const client = await connect(db);
		let stop = false;
		const loop = (async () => {
			while (!stop) {
				const { batch } = (await client.query(`SELECT pgq.next_batch('q', 'c') AS batch`)).rows[0];
				if (batch === null) {
					await sleep(5);
					continue;
				}
				for (const event of (await client.query('SELECT ev_data FROM pgq.get_batch_events($1)', [batch])).rows) await handler(JSON.parse(event.ev_data));
				await client.query('SELECT pgq.finish_batch($1)', [batch]);
			}
			await client.end();
		})();
		return async () => { stop = true; await loop; };
	},
};
