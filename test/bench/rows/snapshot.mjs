import { count, withDatabase, connect } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';
import graphile from '../parties/graphile.mjs';

const n = count(200000, 4000);
export const title = `drain of ${n.toLocaleString('en')} jobs while another session holds a REPEATABLE READ snapshot, from before the enqueue to after the drain`;

/** Holds a snapshot, and an id of its own so that nothing may be removed after it, while fn runs. */
async function holdingSnapshot(db, fn) {
	const c = await connect(db);
	await c.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	await c.query('SELECT pg_current_xact_id(), count(*) FROM pg_class');
	try {
		const rate = await fn();
		await c.query('SELECT count(*) FROM pg_class');
		return rate;
	} finally {
		await c.end();
	}
}

export async function run({ measure, inTurn }) {
	const free = (key, party) => () => measure(`${key} free`, () => withDatabase(party, db => party.fillAndDrain(db, n)));
	const held = (key, party) => () => measure(`${key} held`, () => withDatabase(party, db => holdingSnapshot(db, () => party.fillAndDrain(db, n))));
	await inTurn([free('unrdf', unrdf), held('unrdf', unrdf), free('graphile', graphile), held('graphile', graphile)]);
}

export const lines = [
	{ key: 'unrdf held', label: 'unrdf, snapshot held', unit: 'jobs/s', ratios: { 'without it': 'unrdf free' }, floor: '≥ 0.95 × without it',
		of: v => v.ratio('unrdf held', 'unrdf free'), least: .95 },
	{ key: 'unrdf free', label: 'unrdf, without it', unit: 'jobs/s' },
	{ key: 'graphile held', label: 'graphile-worker, fast settings, snapshot held', unit: 'jobs/s', ratios: { 'without it': 'graphile free' } },
	{ key: 'graphile free', label: 'graphile-worker, without it', unit: 'jobs/s' },
];
