import { count, withDatabase, pgbench, session, timed, now, payload } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';
import bare from '../parties/bare.mjs';
import graphile from '../parties/graphile.mjs';
import pgq from '../parties/pgq.mjs';
import pgboss, { opened } from '../parties/pgboss.mjs';

const n = 20000, seconds = count(10, 2);
export const title = `enqueue one by one (8 connections, ${seconds} s) and in bulk (one call of ${n.toLocaleString('en')})`;

const singles = (party, db) => pgbench(db, `${party.enqueueSql}\n`, ['-c', 8, '-j', 2, '-T', seconds]).then(r => r.rate);

/** The payloads lie in a table of the server, so that every party's bulk call gets them at the same cost. Second call: the first pays for empty caches. */
const bulk = (party, db) => session(db, async c => {
	await c.query(`CREATE TABLE bench_payload AS SELECT ${payload} AS payload FROM generate_series(1, ${n}) AS g`);
	await c.query('ANALYZE bench_payload');
	await c.query(party.bulkSql);
	return n / await timed(() => c.query(party.bulkSql)) * 1e3;
});

async function ours(db) {
	await unrdf.pause(db);
	return { single: await singles(unrdf, db), bulk: await bulk(unrdf, db) };
}
const sqlPeer = party => async db => ({ single: await singles(party, db), bulk: await bulk(party, db) });

const boss = db => opened(db, async b => {
	const end = now() + seconds * 1e3;
	let done = 0;
	await Promise.all(Array.from({ length: 8 }, async () => { while (now() < end) await pgboss.sendOne(b, done++); }));
	await pgboss.sendMany(b, n);
	return { single: done / seconds, bulk: n / await timed(() => pgboss.sendMany(b, n)) * 1e3 };
});

export async function run({ measure, inTurn }) {
	const one = (key, party, fn) => () => measure(key, () => withDatabase(party, fn));
	await inTurn([
		one('bare', bare, sqlPeer(bare)),
		one('unrdf', unrdf, ours),
		one('unrdf live', unrdf, db => singles(unrdf, db)),
		one('pgq', pgq, sqlPeer(pgq)),
		one('graphile', graphile, sqlPeer(graphile)),
		one('pgboss', pgboss, boss),
	]);
}

export const lines = [
	{ key: 'unrdf single', label: 'unrdf, one by one', unit: 'jobs/s', floor: '≥ 0.8 × bare INSERT', of: v => v.ratio('unrdf single', 'bare single'), least: .8,
		ratios: { 'bare INSERT': 'bare single', PgQ: 'pgq single', 'graphile-worker': 'graphile single', 'pg-boss': 'pgboss single' } },
	{ key: 'unrdf live', label: 'unrdf, one by one while its executors run the jobs', unit: 'jobs/s', ratios: { 'bare INSERT': 'bare single' } },
	{ key: 'unrdf bulk', label: 'unrdf, bulk', unit: 'jobs/s', floor: '≥ 150,000/s', least: 150000,
		ratios: { 'bare INSERT': 'bare bulk', PgQ: 'pgq bulk', 'graphile-worker': 'graphile bulk', 'pg-boss': 'pgboss bulk' } },
	...[['bare', 'bare one-index INSERT'], ['pgq', 'PgQ insert_event'], ['graphile', 'graphile-worker add_job, add_jobs'], ['pgboss', 'pg-boss send, insert (Node client: no SQL API)']]
		.flatMap(([key, label]) => [{ key: `${key} single`, label: `${label}, one by one`, unit: 'jobs/s' }, { key: `${key} bulk`, label: `${label}, bulk`, unit: 'jobs/s' }]),
];
