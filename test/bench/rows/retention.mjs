import { count, rows, withDatabase, timed } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const n = count(200000, 4000);
export const title = `${n.toLocaleString('en')} jobs with 100-byte arguments, which they return, in a queue that keeps both for ever and in one that keeps them for an hour`;

const echo = `
	CREATE FUNCTION bench.echo(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN args; END';
	SELECT unrdf.register_handler('echo', 'bench.echo(jsonb)')`;

/** Enqueues and drains, in jobs per second each. */
async function once(db, settings) {
	await rows(db, echo);
	if (settings)
		await rows(db, `SELECT unrdf.alter_queue('default', $1)`, [settings]);
	await unrdf.pause(db);
	const ms = await timed(() => unrdf.fill(db, n, { handler: 'echo' }));
	await rows(db, 'ANALYZE');
	return { enqueue: n / ms * 1e3, drain: await unrdf.drain(db, n) };
}

export async function run({ measure, inTurn }) {
	const party = (key, settings) => () => measure(key, () => withDatabase(unrdf, db => once(db, settings)));
	await inTurn([party('ever', null), party('kept', { keep_args: '1 hour', keep_results: '1 hour' })]);
}

export const lines = [
	{ key: 'kept drain', label: 'drain, kept for an hour', unit: 'jobs/s', ratios: { 'for ever': 'ever drain' } },
	{ key: 'ever drain', label: 'drain, kept for ever', unit: 'jobs/s' },
	{ key: 'kept enqueue', label: 'enqueued in calls of 20,000, kept for an hour', unit: 'jobs/s', ratios: { 'for ever': 'ever enqueue' } },
	{ key: 'ever enqueue', label: 'the same, kept for ever', unit: 'jobs/s' },
];
