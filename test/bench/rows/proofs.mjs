import { writeFileSync } from 'node:fs';
import { bareRates, best, connect, count, distribution, session, timed, withDatabase, work } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';
import { digest, plpgsqlVerifier, sha256 } from '../verifiers.mjs';

const n = count(100000, 2000), depths = [10, 12, 14, 16], least = { 10: 500000, 16: 300000 }, sessions = [1, 2, 4];
export const title = `verify_inclusion over ${n.toLocaleString('en')} stored proofs each of depth ${depths.join(', ')}`;

/** Distinct proofs with exactly `depth` hashes: leaves of the left half of trees between half and whole 2^depth. */
const store = (c, depth) => c.query(`
	CREATE UNLOGGED TABLE bench.proof_${depth} AS
		SELECT p.* FROM generate_series(0, ${n - 1}) AS k,
			LATERAL unrdf.inclusion_proof(1, k % ${2 ** (depth - 1)}, ${2 ** (depth - 1) + 1} + k / ${2 ** (depth - 1)} * 7 % ${2 ** (depth - 1)}) AS p`);

const verified = (depth, verifier) => `SELECT count(*) FROM bench.proof_${depth} WHERE ${verifier}(leaf, index, tree_size, proof, root)`;

/** Proofs per second of one statement; throws where it does not find every proof good. */
const rate = async (c, depth, verifier) => n / await best(async () => {
	const good = Number((await c.query(verified(depth, verifier))).rows[0].count);
	if (good !== n) throw new Error(`${verifier} finds ${good} of ${n} proofs good`);
}) * 1e3;

/** The same proofs for bare.c. */
async function bare(c, depth) {
	const { rows } = await c.query(`
		SELECT leaf || int8send(index) || int8send(tree_size) || root || string_agg(h, ''::bytea ORDER BY i) AS record
		FROM (SELECT ctid, * FROM bench.proof_${depth}) AS p, unnest(proof) WITH ORDINALITY AS u (h, i) GROUP BY p.ctid, leaf, index, tree_size, root ORDER BY p.ctid`);
	const file = `${work}/proofs`;
	writeFileSync(file, Buffer.concat(rows.map(r => r.record)));
	return bareRates('proofs', file, depth);
}

/** Runs fn with every(sql), which runs one statement in each of k sessions at once. */
async function inSessions(db, k, fn) {
	const clients = await Promise.all(Array.from({ length: k }, () => connect(db)));
	try {
		const every = sql => Promise.all(clients.map(c => c.query(sql)));
		await every('SET max_parallel_workers_per_gather = 0');
		return await fn(every);
	} finally {
		await Promise.all(clients.map(c => c.end()));
	}
}

/** k sessions verify all proofs, each in one statement: their rate together; then with the clock read after each proof, the time from one to the next. */
const atOnce = (db, depth, k) => inSessions(db, k, async every => {
	await every(verified(depth, 'unrdf.verify_inclusion'));
	const ms = await timed(() => every(verified(depth, 'unrdf.verify_inclusion')));
	await every(`CREATE TEMP TABLE sample AS
		SELECT array_agg(clock_timestamp()) AS at FROM bench.proof_${depth} WHERE unrdf.verify_inclusion(leaf, index, tree_size, proof, root)`);
	const samples = await every(`SELECT (extract(epoch FROM t - lag(t) OVER (ORDER BY i)) * 1e6)::float8 AS us
		FROM sample, unnest(at) WITH ORDINALITY AS u (t, i) ORDER BY i OFFSET 1`);
	return { rate: k * n / ms * 1e3, ...distribution(samples.flatMap(r => r.rows.map(x => x.us))) };
});

export async function run({ measure }) {
	await measure('setup', () => withDatabase(unrdf, async db => {
		await unrdf.fillAndDrain(db, 2 ** depths.at(-1));
		await session(db, async c => {
			await c.query(plpgsqlVerifier('bench.with_sha256', sha256));
			await c.query(plpgsqlVerifier('bench.with_digest', digest));
			for (const depth of depths) await store(c, depth);
			await c.query('VACUUM ANALYZE');
			await c.query('SET max_parallel_workers_per_gather = 0');
			for (const depth of depths) {
				await measure(`${depth} bare`, () => bare(c, depth));
				await measure(`${depth} unrdf`, () => rate(c, depth, 'unrdf.verify_inclusion'));
				if (least[depth]) {
					await measure(`${depth} sha256`, () => rate(c, depth, 'bench.with_sha256'));
					await measure(`${depth} digest`, () => rate(c, depth, 'bench.with_digest'));
				}
				for (const k of sessions) await measure(`${depth} ${k}`, () => atOnce(db, depth, k));
			}
		});
		return 'ready';
	}));
}

const percentiles = { p50: 10, p95: 25, p99: 50 };
const ofSessions = k => `${k} session${k > 1 ? 's' : ''}`;
export const lines = [
	...depths.flatMap(d => [
		{ key: `${d} unrdf`, label: `depth ${d}, one core, one statement`, unit: 'proofs/s',
			...(least[d] ? {} : { ratios: { 'bare C by EVP': `${d} bare evp`, 'bare C by deprecated calls': `${d} bare old` } }),
			...(least[d] ? { floor: `≥ ${least[d].toLocaleString('en')}/s`, least: least[d] } : {}) },
		...(least[d] ? [
			{ key: `${d} unrdf`, label: `depth ${d}, against bare C`, unit: 'proofs/s', ratios: { 'by EVP': `${d} bare evp`, 'by deprecated calls': `${d} bare old` },
				floor: '≥ 0.7 × bare C, both ways', of: v => Math.min(v.ratio(`${d} unrdf`, `${d} bare evp`), v.ratio(`${d} unrdf`, `${d} bare old`)), least: .7 },
			{ key: `${d} unrdf`, label: `depth ${d}, against what a user would write`, unit: 'proofs/s',
				ratios: { 'PL/pgSQL, sha256()': `${d} sha256`, 'PL/pgSQL, digest()': `${d} digest` },
				floor: '≥ 4 × PL/pgSQL, both ways', of: v => Math.min(v.ratio(`${d} unrdf`, `${d} sha256`), v.ratio(`${d} unrdf`, `${d} digest`)), least: 4 },
		] : []),
	]),
	...sessions.flatMap(k => Object.entries(percentiles).map(([p, below]) => ({ key: `16 ${k} ${p}`, label: `depth 16, ${ofSessions(k)}, per proof, ${p}`, unit: 'µs',
		floor: `< ${below} µs, at every depth`, of: v => Math.max(...depths.map(d => v.median(`${d} ${k} ${p}`))), below }))),
	...depths.slice(0, -1).flatMap(d => sessions.flatMap(k => Object.keys(percentiles).map(p => (
		{ key: `${d} ${k} ${p}`, label: `depth ${d}, ${ofSessions(k)}, per proof, ${p}`, unit: 'µs' })))),
	...depths.flatMap(d => sessions.map(k => ({ key: `${d} ${k} rate`, label: `depth ${d}, ${ofSessions(k)} together`, unit: 'proofs/s' }))),
	...depths.flatMap(d => [
		{ key: `${d} bare evp`, label: `bare C by EVP, depth ${d}`, unit: 'proofs/s' },
		{ key: `${d} bare old`, label: `bare C by SHA256_Init and sisters, deprecated since OpenSSL 3.0, depth ${d}`, unit: 'proofs/s' },
	]),
	...Object.keys(least).flatMap(d => [
		{ key: `${d} sha256`, label: `PL/pgSQL over sha256(), depth ${d}`, unit: 'proofs/s' },
		{ key: `${d} digest`, label: `PL/pgSQL over pgcrypto's digest(), depth ${d}`, unit: 'proofs/s' },
	]),
];
