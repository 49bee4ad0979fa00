// unrdf with workers outside, in Node: jobs are claimed and completed by hundreds.
import { load, rows, url, value, session, chunks, payload } from '../lib.mjs';
import { drainWith } from '../worker.mjs';
import unrdf from './unrdf.mjs';

const batch = 100, connections = 12;

export default {
	...unrdf,
	name: 'outside',

	async create(db) {
		await unrdf.create(db);
		await rows(db, `SELECT unrdf.create_queue('outside'), unrdf.register_outside_handler('outside')`);
	},

	fill: (db, n) => session(db, c => chunks(n, 20000, (from, to) => c.query(`SELECT count(*) FROM unrdf.enqueue_many('outside',
		(SELECT array_agg(${payload}) FROM generate_series($1::int, $2::int) AS g), queue => 'outside')`, [from, to]))),

	pending: db => value(db, `SELECT unrdf.queue_depth('outside')::int`),

	async fillAndDrain(db, n) {
		await this.fill(db, n);
		await rows(db, 'ANALYZE');
		await this.pending(db);                                          // from its first call on that number is kept, and not counted
		return drainWith(this, db, n, 1);
	},

	/** In a worker process: runs handler(payload) for every job. Returns how to stop. */
	async work(db, handler) {
		const pool = new (load('pg').Pool)({ connectionString: url(db), max: connections });
		let stopping = false;
		const loop = async () => {
			let tokens = [];
			while (!stopping) {
				// what is done is completed on another connection while the next are claimed
				const [{ rows: jobs }] = await Promise.all([
					pool.query({ name: 'claim', text: `SELECT token, args FROM unrdf.claim('{outside}', ${batch}, wait => '500 ms')` }),
					tokens.length && pool.query({ name: 'complete', text: 'SELECT unrdf.complete($1::bigint[])', values: [tokens] })]);
				await Promise.all(jobs.map(job => handler(job.args)));
				tokens = jobs.map(job => job.token);
			}
			if (tokens.length) await pool.query('SELECT unrdf.complete($1::bigint[])', [tokens]);
		};
		const loops = Array.from({ length: connections / 2 }, loop);
		return async () => {
			stopping = true;
			await Promise.all(loops);
			await pool.end();
		};
	},
};
