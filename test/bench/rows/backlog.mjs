import { readFileSync } from 'node:fs';
import { count, withDatabase, rows, session, now, reach } from '../lib.mjs';
import unrdf, { size } from '../parties/unrdf.mjs';
import bare from '../parties/bare.mjs';

const n = count(5000000, 60000), small = count(100000, 5000), priorities = [2, 5, 8];
export const title = `backlog of ${n.toLocaleString('en')} pending jobs over ${priorities.length} priorities`;

/** MB of a process's own memory: pages of no file and of no shared mapping. (smaps_rollup walks the shared buffers too, and costs tens of ms.) */
const ownMemory = pid => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^RssAnon:\s+(\d+) kB/m)[1]) / 1024;

/** Jobs per second over [from, to) of the samples [ms, done]. */
function rateOver(samples, from, to) {
	const inside = samples.filter(([ms]) => ms >= from && ms <= to), [a, b] = [inside[0], inside.at(-1)];
	return (b[1] - a[1]) / (b[0] - a[0]) * 1e3;
}

async function drainBacklog(db) {
	await unrdf.pause(db);
	await unrdf.fill(db, n, { priorities });
	await rows(db, 'ANALYZE');
	const [{ pid }] = await rows(db, `SELECT pid FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'unrdf dispatcher'`, [db]);
	return session(db, async c => {
		const before = await size(c), start = now(), samples = [];
		let memory = ownMemory(pid);
		await c.query(`SELECT unrdf.resume_queue('default')`);
		await reach(async () => {
			const done = await size(c) - before;
			samples.push([now() - start, done]);
			if (samples.length % 20 === 0 || done >= n) memory = Math.max(memory, ownMemory(pid));
			return done;
		}, n, 'backlog', { every: 10 });
		const end = samples.at(-1)[0], minute = Math.min(60e3, end / 2);
		const begin = samples.find(([, done]) => done >= small);
		return { rate: n / end * 1e3, begin: begin[1] / begin[0] * 1e3, first: rateOver(samples, 0, minute), last: rateOver(samples, end - minute, end), memory };
	});
}

export async function run({ measure, inTurn }) {
	await inTurn([
		() => measure('small', () => withDatabase(unrdf, db => unrdf.fillAndDrain(db, small, { priorities }))),
		() => measure('backlog', () => withDatabase(unrdf, drainBacklog)),
		() => measure('bare small', () => withDatabase(bare, db => bare.fillAndDrain(db, small))),
		() => measure('bare', () => withDatabase(bare, db => bare.fillAndDrain(db, n))),
	]);
}

const ratios = { [`the rate at ${small.toLocaleString('en')}`]: 'small' };
export const lines = [
	{ key: 'backlog memory', label: "the dispatcher's own memory, most seen", unit: 'MB', floor: '≤ 64 MB', of: v => v.worst('backlog memory'), most: 64 },
	{ key: 'backlog rate', label: 'drain, whole backlog', unit: 'jobs/s', ratios, floor: `≥ 0.9 × the rate at ${small.toLocaleString('en')}`,
		of: v => v.ratio('backlog rate', 'small'), least: .9 },
	{ key: 'backlog begin', label: `drain, its first ${small.toLocaleString('en')} jobs`, unit: 'jobs/s', ratios },
	{ key: 'backlog first', label: 'drain, first minute (or half)', unit: 'jobs/s', ratios },
	{ key: 'backlog last', label: 'drain, last minute (or half)', unit: 'jobs/s', ratios },
	{ key: 'bare', label: 'bare PL/pgSQL loop, the same backlog', unit: 'jobs/s', ratios: { [`its rate at ${small.toLocaleString('en')}`]: 'bare small' } },
	{ key: 'small', label: `drain of ${small.toLocaleString('en')} over the same priorities`, unit: 'jobs/s' },
];
