import { connect, count, distribution, pgbenchLatencies, quiet, reach, rows, session, timed, value, withDatabase } from '../lib.mjs';
import unrdf, { integrated, size } from '../parties/unrdf.mjs';

const small = count(100000, 2000), large = count(10000000, 40000), picks = count(2000, 200), calls = count(5000, 300);
export const title = `a log of ${large.toLocaleString('en')} leaves: integrating, proving, verifying`;

/** Receipts spread evenly over the whole log, in no order. */
const pick = db => rows(db, `
	DROP TABLE IF EXISTS bench.pick;
	CREATE TABLE bench.pick AS SELECT row_number() OVER (ORDER BY random())::int AS i, r.id
		FROM (SELECT a + (b - a) * g / ${picks} AS start FROM (SELECT min(id) AS a, max(id) AS b FROM unrdf.receipt) AS m, generate_series(0, ${picks - 1}) AS g) AS s,
			LATERAL (SELECT id FROM unrdf.receipt WHERE id >= start ORDER BY id LIMIT 1) AS r;
	ALTER TABLE bench.pick ADD PRIMARY KEY (i);
	ANALYZE bench.pick`);

/** A call that is an error unless what it is asked is true, for a receipt by its id. */
const proof = `SELECT 1 / (p.index IS NOT NULL)::int, p.* FROM unrdf.inclusion_proof((SELECT id FROM bench.pick WHERE i = :i)) AS p;`;
/** The receipt from its rows, its inclusion in the newest tree, and the signature on the checkpoint of that very tree. */
const verification = `SELECT 1 / (v.verdict = 'ok' AND unrdf.verify_checkpoint(c, k.key)
		AND split_part(c, E'\\n', 2) = s.size::text AND split_part(c, E'\\n', 3) = encode(s.root, 'base64'))::int
	FROM unrdf.verify((SELECT id FROM bench.pick WHERE i = :i)) AS v, unrdf.checkpoint() AS c, unrdf.log_keys AS k, unrdf.log_size() AS s;`;

/** Milliseconds per call as a client sees them; every receipt picked is asked for once before. */
async function perCall(db, call) {
	const script = `\\set i random(1, ${picks})\n${call.replaceAll('\n', ' ')}\n`;
	await pgbenchLatencies(db, script, picks);
	return distribution(await pgbenchLatencies(db, script, calls));
}

/** Microseconds per proof inside one statement: nothing but the proofs. */
const inside = db => session(db, async c => {
	const proofs = `FROM bench.pick, LATERAL unrdf.inclusion_proof(id) AS p WHERE p.index IS NOT NULL`;
	await c.query(`SELECT count(*) ${proofs}`);
	const { rows: [r] } = await c.query(`SELECT array_agg(extract(epoch FROM clock_timestamp())::float8 * 1e6) AS at ${proofs}`);
	return distribution(r.at.slice(1).map((t, i) => t - r.at[i])).p50;
});

/** After a while in which what filled the log can end: vacuum, a checkpoint. */
const proofs = async db => {
	await rows(db, 'VACUUM ANALYZE');
	await rows(db, 'CHECKPOINT');
	await pick(db);
	await quiet();
	return { ...await perCall(db, proof), inside: await inside(db) };
};

/** Jobs run while the log is locked, so their receipts wait; then leaves per second until all are integrated. */
async function rebuild(db) {
	const holder = await connect(db), client = await connect(db);
	try {
		const before = await size(client);
		await holder.query('BEGIN; SELECT unrdf.integrate()');
		await unrdf.fill(db, large - before, { handler: 'noop_sql' });
		await reach(() => value(db, 'SELECT count(*) FROM unrdf.receipt').then(Number), large, 'running', { every: 1000 });
		if (await size(client) !== before) throw new Error('the log was not held');
		const ms = await timed(async () => {
			await holder.query('COMMIT');
			await integrated(client, large, 'rebuild');
		});
		return (large - before) / ms * 1e3;
	} finally {
		await holder.end();
		await client.end();
	}
}

export async function run({ measure }) {
	await measure('setup', () => withDatabase(unrdf, async db => {
		await unrdf.fill(db, small - await session(db, size), { handler: 'noop_sql' });
		await session(db, c => integrated(c, small, 'filling'));
		await measure('small', () => proofs(db));
		await measure('rebuild', () => rebuild(db));
		await measure('large', () => proofs(db));
		await rows(db, 'SELECT unrdf.publish_checkpoint()');
		await measure('verify', () => perCall(db, verification));
		return 'ready';
	}));
}

const at = n => `log of ${n.toLocaleString('en')} leaves`;
export const lines = [
	{ key: 'large p50', label: `inclusion_proof(receipt), ${at(large)}, warm, p50`, unit: 'ms', floor: '< 0.2 ms', below: .2 },
	{ key: 'large p99', label: `inclusion_proof(receipt), ${at(large)}, warm, p99`, unit: 'ms', floor: '< 1 ms', below: 1 },
	{ key: 'large p50', label: `inclusion_proof(receipt), p50, against ${at(small)}`, unit: 'ms', ratios: { 'p50 there': 'small p50' },
		floor: '≤ 1.6 ×', of: v => v.ratio('large p50', 'small p50'), most: 1.6 },
	{ key: 'rebuild', label: `integrating ${(large - small).toLocaleString('en')} receipts that are there already`, unit: 'leaves/s', floor: '≥ 200,000/s', least: 200000 },
	{ key: 'verify p99', label: 'one receipt by id, with the signature on the newest tree, p99', unit: 'ms', floor: '< 2 ms', below: 2 },
	{ key: 'verify p50', label: 'one receipt by id, with the signature on the newest tree, p50', unit: 'ms' },
	{ key: 'large inside', label: `inclusion_proof(receipt), ${at(large)}, in the server alone, p50`, unit: 'µs', ratios: { [at(small)]: 'small inside' } },
	{ key: 'small p50', label: `inclusion_proof(receipt), ${at(small)}, warm, p50`, unit: 'ms' },
	{ key: 'small p99', label: 'the same, p99', unit: 'ms' },
	{ key: 'small inside', label: 'the same, in the server alone, p50', unit: 'µs' },
];
