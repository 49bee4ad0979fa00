import { bareRates, best, count, session, withDatabase } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const sizes = { 10: 2500, 100: 1200, 1000: 550 }, length = 100, leaves = count(1000000, 20000);
export const title = `Merkle commitment of ${Object.keys(sizes).join(', ')} leaves of ${length} bytes already in memory, one session`;

/** One array of entries, made once, and a call for every repetition; a call that depends on the repetition is made anew. */
const calls = (n, expression) => `
	SELECT count(root) FROM (SELECT array_agg(decode(rpad(to_hex(i), ${2 * length}, '0'), 'hex') ORDER BY i) AS entries FROM generate_series(1, ${n}) AS i) AS e,
		generate_series(1, ${leaves / n}) AS g, LATERAL (SELECT ${expression} AS root) AS r`;
const aggregate = `(SELECT unrdf.merkle_root(u.entry ORDER BY u.i) FROM unnest(e.entries) WITH ORDINALITY AS u (entry, i) WHERE g > 0)`;

const rate = async (c, n, expression) => leaves / n / await best(async () => {
	const done = Number((await c.query(calls(n, expression))).rows[0].count);
	if (done !== leaves / n) throw new Error(`${done} roots instead of ${leaves / n}`);
}) * 1e3;

export async function run({ measure }) {
	await measure('setup', () => withDatabase(unrdf, db => session(db, async c => {
		await c.query('SET jit = off');
		await c.query('SET enable_memoize = off');
		await c.query('SET enable_material = off');
		for (const n of Object.keys(sizes)) {
			await measure(`${n} array`, () => rate(c, n, 'unrdf.merkle_root(e.entries)'));
			await measure(`${n} aggregate`, () => rate(c, n, aggregate));
			await measure(`${n} bare`, () => bareRates('root', n, length));
		}
		return 'ready';
	})));
}

const ratios = n => ({ 'bare C by EVP': `${n} bare evp`, 'bare C by deprecated calls': `${n} bare old` });
export const lines = [
	...Object.entries(sizes).flatMap(([n, spec]) => [['array', 'merkle_root(bytea[])'], ['aggregate', 'the aggregate, ORDER BY']].map(([way, label]) => (
		{ key: `${n} ${way}`, label: `${n} leaves, ${label}`, unit: 'roots/s', ratios: ratios(n), floor: `≥ ${(5 * spec).toLocaleString('en')}/s`, least: 5 * spec }))),
	...Object.keys(sizes).flatMap(n => [
		{ key: `${n} bare evp`, label: `bare C by EVP, ${n} leaves`, unit: 'roots/s' },
		{ key: `${n} bare old`, label: `bare C by SHA256_Init and sisters, deprecated since OpenSSL 3.0, ${n} leaves`, unit: 'roots/s' },
	]),
];
