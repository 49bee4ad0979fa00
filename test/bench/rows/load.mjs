import { count, withDatabase, withSettings, session, rows, value, now, sleep, payload } from '../lib.mjs';
import unrdf, { integrated, size } from '../parties/unrdf.mjs';

const jobs = count(2000, 200), seconds = count(60, 6), cap = 100, burst = count(1000, 200);
const profiles = [[10, 10], [100, 33], [500, 40], [1000, 40]];
export const title = `the load test: a handler that sleeps 100 ms, at most ${cap} executors`;

/** What the jobs enqueued after the id given came to: waits in ms, the most that were accepted and not finished, failures, completions of the 5-second windows. */
async function outcome(db, first, length) {
	const [r] = await rows(db, `
		WITH run AS (
			SELECT j.id, j.enqueued_at, r.started_at, r.finished_at, r.outcome FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r USING (id) WHERE j.id > $1),
		begun AS (SELECT min(enqueued_at) AS at FROM run),
		steps AS (SELECT enqueued_at AS at, 1 AS d FROM run UNION ALL SELECT finished_at, -1 FROM run),
		depth AS (SELECT sum(d) OVER (ORDER BY at, d DESC ROWS UNBOUNDED PRECEDING) AS n FROM steps),
		windows AS (
			SELECT w, count(run.id)::float8 AS done FROM begun, generate_series(0, $2::int / 5 - 1) AS w LEFT JOIN run
				ON run.finished_at >= (SELECT at FROM begun) + w * interval '5 s' AND run.finished_at < (SELECT at FROM begun) + (w + 1) * interval '5 s'
			GROUP BY w)
		SELECT count(*)::int AS jobs, percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - enqueued_at) * 1000)::float8 AS "p99 wait",
			(count(*) FILTER (WHERE outcome IS DISTINCT FROM 1) + (SELECT count(*) FROM unrdf.attempt WHERE job > $1))::int AS failures,
			(SELECT max(n)::int FROM depth) AS depth, (count(*) / extract(epoch FROM max(finished_at) - min(enqueued_at)))::float8 AS rate,
			(SELECT avg(done) / 5 FROM windows) AS "window rate", (SELECT 100 * stddev_pop(done) / nullif(avg(done), 0) FROM windows) AS variation
		FROM run`, [first, length]);
	return r;
}

const lastJob = db => value(db, 'SELECT max(id) FROM unrdf.job');
const enqueueNaps = (client, n) => client.query(`SELECT count(*) FROM unrdf.enqueue_many('nap', (SELECT array_agg(${payload}) FROM generate_series(1, $1::int) AS g))`, [n]);

/** One job every 30 ms, whatever the server does. */
const steady = db => session(db, async c => {
	const first = await lastJob(db), target = await size(c) + jobs, start = now(), sent = [];
	for (let i = 0; i < jobs; i++) {
		await sleep(Math.max(0, start + i * seconds * 1e3 / jobs - now()));
		sent.push(c.query({ name: 'nap', text: `SELECT unrdf.enqueue('nap', '{"i": 1}')` }));
	}
	await Promise.all(sent);
	await integrated(c, target, 'load');
	return outcome(db, first, seconds);
});

/** All in one transaction. */
const atOnce = db => session(db, async c => {
	const first = await lastJob(db), target = await size(c) + burst;
	await enqueueNaps(c, burst);
	await integrated(c, target, 'burst');
	return outcome(db, first, 5);
});

/** n submitted at once, then as many as have ended every 20 ms, so that n stay accepted and not finished. */
const profile = n => db => session(db, async c => {
	const first = await lastJob(db), before = await size(c), end = now() + seconds * 1e3;
	let sent = 0;
	while (now() < end) {
		const free = n - (sent - (await size(c) - before));
		if (free > 0) await enqueueNaps(c, free);
		sent += Math.max(0, free);
		await sleep(20);
	}
	await integrated(c, before + sent, 'profile');
	return outcome(db, first, seconds);
});

export async function run({ measure }) {
	const one = (key, fn) => measure(key, () => withSettings({ 'unrdf.max_executors': cap }, () => withDatabase(unrdf, fn)));
	await one('steady', steady);
	await one('burst', atOnce);
	for (const [n] of profiles) await one(`profile ${n}`, profile(n));
}

const none = key => ({ floor: '0', of: v => v.worst(key), most: 0 });
const what = `${jobs.toLocaleString('en')} jobs in ${seconds} s`;
export const lines = [
	{ key: 'steady rate', label: `${what}: sustained`, unit: 'jobs/s', floor: '≥ 33/s', least: 33 },
	{ key: 'steady p99 wait', label: `${what}: p99 wait, enqueued → started`, unit: 'ms', floor: '< 500 ms', below: 500 },
	{ key: 'steady depth', label: `${what}: most accepted and not finished`, unit: 'jobs', floor: '< 500', below: 500 },
	{ key: 'steady failures', label: `${what}: failures`, unit: 'jobs', ...none('steady failures') },
	{ key: 'steady variation', label: `${what}: variation of the 5-second windows`, unit: '%', floor: '< 5 %', below: 5 },
	{ key: 'burst rate', label: `${burst.toLocaleString('en')} at once`, unit: 'jobs/s', floor: '≥ 33/s', least: 33 },
	{ key: 'burst p99 wait', label: `${burst.toLocaleString('en')} at once: p99 wait (${burst} × 100 ms / ${cap} executors = ${burst * 100 / cap} ms for the last)`, unit: 'ms' },
	{ key: 'burst failures', label: `${burst.toLocaleString('en')} at once: failures`, unit: 'jobs', ...none('burst failures') },
	...profiles.flatMap(([n, least]) => [
		{ key: `profile ${n} window rate`, label: `profile ${n}: ${n} accepted and not finished for ${seconds} s`, unit: 'jobs/s', floor: `≥ ${least}/s`, least },
		{ key: `profile ${n} p99 wait`, label: `profile ${n}: p99 wait`, unit: 'ms' },
		{ key: `profile ${n} failures`, label: `profile ${n}: failures`, unit: 'jobs', ...none(`profile ${n} failures`) },
	]),
];
