import { count, withDatabase, pgbench, rows, session, sleep, value } from '../lib.mjs';
import unrdf, { integrated, leaves, size } from '../parties/unrdf.mjs';

const rate = 1000, seconds = count(60, 5);
export const title = `submission → receipt integrated, ${rate.toLocaleString('en')} jobs/s offered for ${seconds} s`;

/** Looks at the log's size, as an application would, while fn runs. Leaf i was visible at the first look that found more than i leaves. */
async function watching(db, fn) {
	const looks = [];
	let done = false;
	const watch = session(db, async c => {
		while (!done) {
			const { rows: [r] } = await c.query('SELECT size, (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS at FROM unrdf.log_size()');
			looks.push([Number(r.size), r.at]);
			await sleep(2);
		}
	});
	await Promise.all([watch, fn().finally(() => { done = true; })]);
	return looks;
}

const percentiles = ms => `percentile_disc(ARRAY[0.5, 0.95, 0.99, 0.999, 1]) WITHIN GROUP (ORDER BY ${ms})`;
const named = a => Object.fromEntries(['p50', 'p95', 'p99', 'p99.9', 'max'].map((p, i) => [p, Number(a[i])]));

/** Latencies from job.enqueued_at to the commit of its integration, and to the first look of the watching session that shows it. */
const latencies = (db, first, looks) => session(db, async c => {
	await c.query(leaves);
	await c.query('CREATE TEMP TABLE look (size bigint, at float8)');
	await c.query('INSERT INTO look SELECT * FROM unnest($1::bigint[], $2::float8[])', [looks.map(l => l[0]), looks.map(l => l[1])]);
	const { rows: [r] } = await c.query(`
		WITH seen AS (
			SELECT size, lag(size, 1, 0::bigint) OVER (ORDER BY size) AS before, at FROM (SELECT size, min(at) AS at FROM look GROUP BY size) AS l)
		SELECT count(*)::int AS jobs, count(l.id)::int AS integrated, count(*) FILTER (WHERE r.outcome = 1 AND l.id IS NOT NULL)::int AS ok,
			${percentiles('extract(epoch FROM l.committed - j.enqueued_at) * 1000')} FILTER (WHERE l.id IS NOT NULL) AS commit,
			${percentiles('s.at - extract(epoch FROM j.enqueued_at) * 1000')} FILTER (WHERE l.id IS NOT NULL) AS seen
		FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r USING (id) LEFT JOIN leaf AS l USING (id) LEFT JOIN seen AS s ON l.index >= s.before AND l.index < s.size
		WHERE j.id > $1`, [first]);
	return r;
});

async function offered(db) {
	const before = await session(db, size), first = await value(db, 'SELECT max(id) FROM unrdf.job');
	let load;
	const looks = await watching(db, async () => {
		load = await pgbench(db, `${unrdf.enqueueSql}\n`, ['-c', 4, '-j', 1, '-T', seconds, '--rate', rate]);
		await session(db, c => integrated(c, before + load.done, 'integration'));
		await sleep(20);        // for one look more
	});
	const r = await latencies(db, first, looks);
	return { ...named(r.commit), ...Object.fromEntries(Object.entries(named(r.seen)).map(([k, v]) => [`seen ${k}`, v])),
		success: 100 * r.ok / r.jobs, jobs: r.jobs, rate: r.jobs / seconds, lag: load.lag };
}

export async function run({ measure }) {
	await measure('unrdf', () => withDatabase(unrdf, offered));
}

const floors = { p50: 5, p95: 15, p99: 45, 'p99.9': 100 };
const percentileLines = (prefix, label) => ['p50', 'p95', 'p99', 'p99.9', 'max'].map(p => ({ key: `${prefix} ${p}`, label: `${label}, ${p}`, unit: 'ms',
	...(floors[p] ? { floor: `< ${floors[p]} ms`, below: floors[p] } : {}) }));
export const lines = [
	...percentileLines('unrdf', 'to the commit of the integration'),
	...percentileLines('unrdf seen', 'to another session seeing it (it looks every 2 ms)'),
	{ key: 'unrdf success', label: 'jobs with an integrated receipt of outcome ok', unit: '%', floor: '100 %', of: v => v.least('unrdf success'), least: 100 },
	{ key: 'unrdf rate', label: 'jobs offered', unit: 'jobs/s' },
	{ key: 'unrdf lag', label: "generator's own lag behind its schedule, mean", unit: 'ms' },
];
