import { readFileSync } from 'node:fs';
import { count, withDatabase, rows, value, reach, sleep, now } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const seconds = count(60, 5);
export const title = `CPU of all unrdf processes over ${seconds} idle seconds, pool at its minimum`;

/** CPU milliseconds (user and system) of a process since it started, from the scheduler's nanoseconds: clock ticks of 10 ms would miss short wake-ups. */
const cpu = pid => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
const processes = () => rows('postgres', `SELECT pid, backend_type AS kind FROM pg_stat_activity WHERE backend_type LIKE 'unrdf %' ORDER BY pid`);

async function idle(db) {
	await reach(async () => -await value(db, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'unrdf executor'`, [db]),
		-await value(db, `SELECT current_setting('unrdf.min_executors')::int`), 'shrinking of the pool', { every: 500 });
	const before = await processes(), start = now(), used = before.map(p => cpu(p.pid));
	await sleep(seconds * 1e3);
	const after = await processes(), elapsed = now() - start;
	if (JSON.stringify(before) !== JSON.stringify(after)) throw new Error('processes came or went while idle');
	const shares = {};
	after.forEach((p, i) => { shares[p.kind.slice(6)] = (shares[p.kind.slice(6)] ?? 0) + (cpu(p.pid) - used[i]) / elapsed * 100; });
	return { all: Object.values(shares).reduce((a, b) => a + b, 0), ...shares, processes: after.length };
}

export async function run({ measure }) {
	await measure('unrdf', () => withDatabase(unrdf, idle));
}

export const lines = [
	{ key: 'unrdf all', label: 'all processes', unit: '% of a core', floor: '< 0.5 %', below: .5 },
	...['launcher', 'dispatcher', 'integrator', 'executor'].map(kind => ({ key: `unrdf ${kind}`, label: kind === 'executor' ? 'executors together' : kind, unit: '% of a core' })),
	{ key: 'unrdf processes', label: 'processes', unit: '' },
];
