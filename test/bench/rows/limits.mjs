import { count, withDatabase, rows, value } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const n = count(200000, 4000), keys = count(10000, 200), ordered = count(1000, 20);
export const title = `drain of ${n.toLocaleString('en')} no-op jobs under limits`;

const keyed = k => `jsonb_build_object('i', g, 'k', g % ${k}, 'pad', repeat('x', 70))`;
const drain = (settings, args) => async db => {
	if (settings) await rows(db, `SELECT unrdf.alter_queue('default', $1)`, [settings]);
	return unrdf.fillAndDrain(db, n, { args });
};

/** Jobs of a key that began before the one enqueued before them had ended. */
const disorder = db => value(db, `
	SELECT count(*)::int FROM (
		SELECT r.started_at, lag(r.finished_at) OVER (PARTITION BY j.args->>'k' ORDER BY j.id) AS before
		FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE j.args ? 'k') AS x
	WHERE started_at < before`);

async function strict(db) {
	const rate = await drain({ group_by: '$.k', fifo: 'wait' }, keyed(ordered))(db);
	return { rate, disorder: await disorder(db) };
}

export async function run({ measure, inTurn }) {
	const one = (key, fn) => () => measure(key, () => withDatabase(unrdf, fn));
	await inTurn([
		one('plain', drain(null, keyed(keys))),
		one('keys', drain({ group_by: '$.k', group_max_running: 4 }, keyed(keys))),
		one('rate', drain({ rate: 1000000, burst: 1000000 }, keyed(keys))),
		one('fifo', strict),
	]);
}

export const lines = [
	{ key: 'plain', label: 'no limits', unit: 'jobs/s' },
	{ key: 'keys', label: `at most 4 of each of ${keys.toLocaleString('en')} keys at once`, unit: 'jobs/s', ratios: { 'no limits': 'plain' },
		floor: '≥ 0.8 × no limits', of: v => v.ratio('keys', 'plain'), least: .8 },
	{ key: 'rate', label: 'a rate limit that never binds', unit: 'jobs/s', ratios: { 'no limits': 'plain' },
		floor: '≥ 0.8 × no limits', of: v => v.ratio('rate', 'plain'), least: .8 },
	{ key: 'fifo rate', label: `strict order for each of ${ordered.toLocaleString('en')} keys`, unit: 'jobs/s', ratios: { 'no limits': 'plain' },
		floor: '≥ 0.5 × no limits', of: v => v.ratio('fifo rate', 'plain'), least: .5 },
	{ key: 'fifo disorder', label: 'jobs that began before the one before them of their key had ended', unit: '', floor: '0', most: 0 },
];
