import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { count, withDatabase, distribution, work, conninfo, rows, reach, now, sleep, session } from '../lib.mjs';
import { startWorkers } from '../worker.mjs';
import unrdf, { integrated, size } from '../parties/unrdf.mjs';
import graphile from '../parties/graphile.mjs';
import rawsql from '../parties/rawsql.mjs';
import { notifying as pgboss, opened } from '../parties/pgboss.mjs';

const n = count(300, 50), warmup = 20, interval = 20;
export const title = `pick-up, commit acknowledged → handler starts, idle system, ${n} samples ${interval} ms apart`;

/** Enqueues warmup + n jobs with the libpq client; returns the acknowledgements by job: µs of both clocks. */
async function enqueueAll(db, sql) {
	const { stdout } = await promisify(execFile)(`${work}/pickup`, [conninfo(db), sql, String(warmup + n), String(interval * 1000)]);
	return stdout.trim().split('\n').map(line => line.split(' ').map(Number)).map(([, realtime, monotonic]) => ({ realtime, monotonic }));
}

function latencies(acks, clock, starts) {
	const at = new Map(starts), samples = [];
	for (let i = warmup; i < warmup + n; i++) {
		if (!at.has(i)) throw new Error(`job ${i} did not start`);
		samples.push((at.get(i) - acks[i][clock]) / 1e3);
	}
	return { ...distribution(samples), 'before ack': samples.filter(ms => ms < 0).length };
}

async function ours(db) {
	const before = await session(db, size);
	const acks = await enqueueAll(db, `SELECT unrdf.enqueue('note_start', jsonb_build_object('i', $1::int))`);
	await session(db, c => integrated(c, before + warmup + n, 'pick-up'));
	const starts = await rows(db, 'SELECT i, (extract(epoch FROM at) * 1000000)::float8 AS at FROM bench.started WHERE i >= 0');
	return latencies(acks, 'realtime', starts.map(s => [s.i, s.at]));
}

async function peer(party, db, enqueue) {
	const workers = await startWorkers(party, db, 1);
	try {
		await workers.go();
		const acks = await enqueue(db);
		await reach(workers.handled, warmup + n, `${party.name} pick-up`);
		return latencies(acks, 'monotonic', await workers.stop());
	} finally {
		workers.kill();
	}
}

/** pg-boss has no SQL to enqueue with, so its own client does it from this process. */
const bossEnqueue = db => opened(db, async boss => {
	const acks = [], start = now();
	for (let i = 0; i < warmup + n; i++) {
		await sleep(Math.max(0, start + i * interval - now()));
		await pgboss.sendOne(boss, i);
		acks.push({ monotonic: now() * 1e3 });
	}
	return acks;
});

export async function run({ measure, inTurn }) {
	const one = (key, party, fn) => () => measure(key, () => withDatabase(party, fn));
	await inTurn([
		one('unrdf', unrdf, ours),
		one('graphile', graphile, db => peer(graphile, db, d => enqueueAll(d, graphile.pickupSql))),
		one('rawsql', rawsql, db => peer(rawsql, db, d => enqueueAll(d, rawsql.pickupSql))),
		one('pgboss', pgboss, db => peer(pgboss, db, bossEnqueue)),
	]);
}

const table = (key, label) => ['p50', 'p95', 'p99', 'max'].map(p => ({ key: `${key} ${p}`, label: `${label}, ${p}`, unit: 'ms' }));
const floors = { p50: { floor: '≤ 0.3 ms', most: .3 }, p99: { floor: '≤ 2 ms', most: 2 } };
export const lines = [
	...['p50', 'p95', 'p99', 'max'].map(p => ({ key: `unrdf ${p}`, label: `unrdf, ${p}`, unit: 'ms', ...floors[p],
		ratios: { 'graphile-worker': `graphile ${p}`, 'raw SQL': `rawsql ${p}`, 'pg-boss': `pgboss ${p}` } })),
	{ key: 'unrdf before ack', label: 'unrdf, samples in which the handler started before the client had the acknowledgement', unit: `of ${n}` },
	...table('graphile', 'graphile-worker, fast settings'),
	...table('rawsql', 'raw SQL, SKIP LOCKED with LISTEN, 8 connections'),
	...table('pgboss', 'pg-boss, notify queue, 4 workers'),
];
