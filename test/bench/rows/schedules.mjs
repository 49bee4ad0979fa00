import { count, withDatabase, rows, session, reach, value } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const n = count(1000, 200);
export const title = `${n.toLocaleString('en')} schedules that are due in the same minute`;

/** From the tick to the commit of each schedule's row and job, for a call of the clock that is there when the minute begins. */
async function lag(db) {
	await rows(db, `SET client_min_messages = warning; SELECT count(unrdf.schedule('s' || g, '* * * * *', 'noop', '{"i": 1}')) FROM generate_series(1, ${n}) AS g`);
	await session(db, c => c.query('CALL unrdf.run_schedules()'));
	await reach(() => value(db, `SELECT count(*)::int FROM unrdf.schedule_run WHERE action = 'enqueued'`), n, 'ticks', { every: 100 });
	const [v] = await rows(db, `SELECT count(*)::int AS ticks, count(DISTINCT schedule)::int AS schedules,
			max(extract(epoch FROM pg_xact_commit_timestamp(xmin) - due_at) * 1e3)::float8 AS last,
			percentile_cont(.5) WITHIN GROUP (ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - due_at) * 1e3) AS half
		FROM unrdf.schedule_run WHERE due_at = (SELECT max(due_at) FROM unrdf.schedule_run)`);
	if (v.ticks !== n || v.schedules !== n) throw new Error(`${v.ticks} ticks of ${v.schedules} schedules`);
	return { last: v.last, half: v.half };
}

export async function run({ measure }) {
	await measure('unrdf', () => withDatabase(unrdf, lag));
}

export const lines = [
	{ key: 'unrdf last', label: 'from the tick to the commit of the last job', unit: 'ms', floor: '≤ 1,000 ms', of: v => v.worst('unrdf last'), most: 1000 },
	{ key: 'unrdf half', label: 'to the commit of half of them', unit: 'ms' },
];
