import { count, withDatabase, withSettings, walBytes, pgbench, session } from '../lib.mjs';
import unrdf, { integrated, size } from '../parties/unrdf.mjs';
import graphile from '../parties/graphile.mjs';
import pgboss from '../parties/pgboss.mjs';
import pgq from '../parties/pgq.mjs';

const n = count(100000, 4000), singles = count(20000, 2000);
export const title = `WAL per job from enqueue to its end, without full-page images, ${n.toLocaleString('en')} jobs enqueued in bulk, then drained`;

const perJob = (bytes, jobs) => ({ bytes: bytes.bytes / jobs, images: bytes.images / jobs });

async function oneByOne(db) {
	const target = await session(db, size) + singles;
	return (await walBytes(async () => {
		await pgbench(db, `${unrdf.enqueueSql}\n`, ['-c', 8, '-j', 2, '-t', singles / 8]);
		await session(db, c => integrated(c, target, 'integration'));
	})).bytes / singles;
}

export const run = ({ measure, inTurn }) => withSettings({ autovacuum: 'off' }, async () => {
	const one = (key, party) => () => measure(key, () => withDatabase(party, async db => perJob(await walBytes(() => party.fillAndDrain(db, n)), n)));
	await inTurn([
		one('unrdf', unrdf),
		() => measure('unrdf singles', () => withDatabase(unrdf, oneByOne)),
		one('graphile', graphile),
		one('pgboss', pgboss),
		one('pgq', pgq),
	]);
});

export const lines = [
	{ key: 'unrdf bytes', label: 'unrdf, to the integrated receipt', unit: 'B/job', floor: '≤ 1,000 B', most: 1000,
		ratios: { 'graphile-worker': 'graphile bytes', 'pg-boss': 'pgboss bytes', PgQ: 'pgq bytes' } },
	{ key: 'unrdf singles', label: `unrdf, ${singles.toLocaleString('en')} jobs one by one over 8 connections, run as they come`, unit: 'B/job' },
	{ key: 'graphile bytes', label: 'graphile-worker, fast settings (keeps nothing)', unit: 'B/job' },
	{ key: 'pgboss bytes', label: 'pg-boss (keeps the completed job)', unit: 'B/job' },
	{ key: 'pgq bytes', label: 'PgQ (no state per job)', unit: 'B/job' },
	{ key: 'unrdf images', label: 'unrdf, full-page images besides', unit: 'B/job' },
];
