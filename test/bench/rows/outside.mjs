import { spawn } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { cache, count, now, reach, root, rows, sleep, url, value, withDatabase } from '../lib.mjs';
import outside from '../parties/outside.mjs';
import graphile from '../parties/graphile.mjs';
import pgboss from '../parties/pgboss.mjs';

const n = count(200000, 4000), seconds = count(60, 6), together = 1000, nap = .1;
export const title = `workers outside, in Node: drain of ${n.toLocaleString('en')} no-op jobs, and ${together} jobs of 100 ms at once`;

/** The example worker, with a thousand jobs at once. */
function example(db) {
	const modules = `${root}/test/clients/node_modules`;
	if (!existsSync(modules)) symlinkSync(`${cache}/npm/pg/node_modules`, modules);
	return spawn('node', [`${root}/test/clients/worker.mjs`, url(db), 'outside', String(together)], { stdio: ['ignore', 'inherit', 'inherit'] });
}

const leased = db => value(db, `SELECT count(*)::int FROM unrdf.workers() WHERE kind = 'outside'`);
const ended = db => value(db, `SELECT count(*)::int FROM unrdf.receipt WHERE operation = 'hello'`);

/** Jobs per second that a worker ends which has a thousand in hand, and what was lost, or run twice. */
async function atOnce(db) {
	await rows(db, `SELECT unrdf.register_outside_handler('hello')`);
	await rows(db, `SELECT count(*) FROM unrdf.enqueue_many('hello', array_fill('{"sleep": ${nap}}'::jsonb, ARRAY[$1::int]), queue => 'outside')`, [Math.round(together / nap * seconds)]);
	const worker = example(db);
	try {
		await reach(() => ended(db), 1, 'the first job');
		const from = await ended(db), start = now();
		await sleep(seconds * 1e3);
		const rate = (await ended(db) - from) / (now() - start) * 1e3;
		worker.kill('SIGTERM');
		await new Promise(done => worker.on('exit', done));
		const [r] = await rows(db, `SELECT (SELECT count(*)::int FROM unrdf.attempt) AS lost, (SELECT count(*) - count(DISTINCT id) FROM unrdf.receipt)::int AS twice`);
		return { rate, ...r };
	} finally {
		worker.kill('SIGKILL');
	}
}

/** How long after kill -9 of what had a thousand jobs, its connection being the lease, all of them can be claimed again, in ms. */
async function killed(db) {
	await rows(db, `SELECT unrdf.register_outside_handler('hello', backoff => '0', backoff_cap => '0')`);
	await rows(db, `SELECT count(*) FROM unrdf.enqueue_many('hello', array_fill('{}'::jsonb, ARRAY[$1::int]), queue => 'outside')`, [together]);
	const psql = spawn('psql', ['-XAtq', url(db), '-c', `SELECT count(*) FROM unrdf.claim('{outside}', ${together}, lease => NULL, wait => '1 minute')`, '-c', 'SELECT pg_sleep(600)'],
		{ stdio: ['ignore', 'ignore', 'ignore'] });
	await reach(() => leased(db), together, 'claims');
	const start = now();
	psql.kill('SIGKILL');
	await rows(db, `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'`);
	await reach(() => value(db, `SELECT count(*)::int FROM unrdf.attempt`), together, 'leases that come back', { every: 1 });
	return now() - start;
}

export async function run({ measure, inTurn }) {
	await inTurn([outside, graphile, pgboss].map(party => () => measure(party.name, () => withDatabase(party, db => party.fillAndDrain(db, n)))));
	await measure('at once', () => withDatabase(outside, atOnce));
	await measure('killed', () => withDatabase(outside, killed));
}

export const lines = [
	{ key: 'outside', label: 'unrdf, claimed and completed by hundreds, every job with its receipt', unit: 'jobs/s', ratios: { 'graphile-worker': 'graphile', 'pg-boss': 'pgboss' },
		floor: '≥ 2 × the faster of graphile-worker and pg-boss', of: v => Math.min(v.ratio('outside', 'graphile'), v.ratio('outside', 'pgboss')), least: 2 },
	{ key: 'graphile', label: 'graphile-worker, fast settings', unit: 'jobs/s' },
	{ key: 'pgboss', label: 'pg-boss, 2 × batches of 2000 with burst', unit: 'jobs/s' },
	{ key: 'at once rate', label: `the example worker, ${together} jobs of 100 ms at once, ${seconds} s`, unit: 'jobs/s' },
	{ key: 'at once lost', label: 'in it, attempts that were lost', unit: '' },
	{ key: 'at once twice', label: 'jobs completed twice', unit: '' },
	{ key: 'killed', label: `kill -9 of a client whose connection was the lease of ${together} jobs, until all are recorded and back`, unit: 'ms', floor: '< 1,000 ms', below: 1000 },
];
