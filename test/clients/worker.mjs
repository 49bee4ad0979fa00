// An outside worker in Node: node worker.mjs URL QUEUE [JOBS AT ONCE]. Handlers are asynchronous functions by their names.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const handlers = {
	async hello(args) {
		await sleep(1000 * (args.sleep ?? 0));
		if (args.fail) throw new Error('as asked');
		return { hello: args.name ?? 'world', by: 'node' };
	},
};

const [connectionString, queue, room = '100'] = process.argv.slice(2);
const lease = '10 s', batch = 100;
const pool = new pg.Pool({ connectionString, max: 3 });         // one claims, one reports, one beats
const running = new Set();
const done = [], failed = [];                                   // to be reported
let stopping = false, free = () => {}, news = () => {};

async function run({ token, handler, args }) {
	try {
		done.push([token, await handlers[handler](args)]);
	} catch (error) {
		failed.push([token, error.message]);
	}
	news();
}

async function claim() {
	while (!stopping) {
		const n = Math.min(batch, room - running.size);
		if (n <= 0) {
			await new Promise(wake => { free = wake; });
			continue;
		}
		const { rows } = await pool.query(
			'SELECT token, handler, args FROM unrdf.claim($1::text[], $2::int, $3::interval, $4::interval)', [[queue], n, lease, '1 s']);
		for (const job of rows) running.add(job.token);
		if (stopping) await pool.query('SELECT unrdf.release($1::bigint[])', [rows.map(job => { running.delete(job.token); return job.token; })]);
		else rows.forEach(run);
	}
}

/** Says what has become of jobs, as many at a time as there are. */
async function report() {
	for (;;) {
		const good = done.splice(0), bad = failed.splice(0);
		if (good.length) await pool.query('SELECT unrdf.complete($1::bigint[], $2::jsonb[])', [good.map(d => d[0]), good.map(d => JSON.stringify(d[1]))]);
		if (bad.length) await pool.query('SELECT unrdf.fail($1::bigint[], $2::text[])', [bad.map(f => f[0]), bad.map(f => f[1])]);
		for (const [token] of [...good, ...bad]) running.delete(token);
		free();
		if (stopping && running.size === 0) return;
		if (done.length + failed.length === 0) await new Promise(wake => { news = wake; setTimeout(wake, 100); });
	}
}

const beat = setInterval(() => running.size && pool.query('SELECT unrdf.heartbeat($1::bigint[], $2::interval)', [[...running], lease]).catch(console.error), 3000);
// what runs is finished, nothing more is claimed
process.on('SIGTERM', () => { stopping = true; free(); news(); });
await Promise.all([claim(), report()]);
clearInterval(beat);
await pool.end();
