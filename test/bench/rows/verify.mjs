import { readFileSync } from 'node:fs';
import { count, withDatabase, session, timed } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';
import { plpgsqlVerifier, sha256 } from '../verifiers.mjs';

const n = count(200000, 6000), cases = n * 3 / 2;
export const title = `verification of ${n.toLocaleString('en')} receipts, and ${cases.toLocaleString('en')} good and as many tampered proofs`;

const tampering = readFileSync(new URL('verify.sql', import.meta.url), 'utf8');
const number = async (c, sql) => Number(Object.values((await c.query(sql)).rows[0])[0]);

/** Whole-log verification: the rate, and what it names before and after receipts have been forged. */
async function wholeLog(c) {
	let named;
	const ms = await timed(async () => { named = await number(c, 'SELECT count(*) FROM unrdf.verify_all()'); });
	return { rate: await number(c, 'SELECT count(*) FROM unrdf.receipt') / ms * 1e3, false: named };
}

async function forgedRows(c) {
	await c.query('SELECT bench.forge()');
	await c.query('CREATE TABLE bench.named AS SELECT DISTINCT receipt FROM unrdf.verify_all() WHERE receipt IS NOT NULL');
	return {
		cases: await number(c, 'SELECT count(*) FROM bench.forged'),
		accepted: await number(c, 'SELECT count(*) FROM (SELECT receipt FROM bench.forged EXCEPT SELECT receipt FROM bench.named) AS missed'),
		rejected: await number(c, 'SELECT count(*) FROM (SELECT receipt FROM bench.named EXCEPT SELECT receipt FROM bench.forged) AS wronged'),
	};
}

/** One function over all good and all tampered proofs: proofs per second over the good ones, and its false answers. */
async function singleProofs(c, verifier) {
	const accepts = `${verifier}(leaf, index, tree_size, proof, root)`;
	let good;
	await c.query('SET max_parallel_workers_per_gather = 0');
	const ms = await timed(async () => { good = await number(c, `SELECT count(*) FROM bench.proof WHERE ${accepts}`); });
	return { rate: cases / ms * 1e3, rejected: cases - good, accepted: await number(c, `SELECT count(*) FROM bench.tampered WHERE ${accepts}`) };
}

export async function run({ measure }) {
	await measure('setup', () => withDatabase(unrdf, async db => {
		await unrdf.fillAndDrain(db, n);
		await session(db, async c => {
			await measure('all', () => wholeLog(c));
			await c.query(tampering);
			await c.query(plpgsqlVerifier('bench.verify_inclusion', sha256));
			await measure('cases', () => c.query('SELECT bench.make_cases($1)', [cases]).then(() => number(c, 'SELECT count(*) FROM bench.tampered')));
			await measure('one', () => singleProofs(c, 'unrdf.verify_inclusion'));
			await measure('plpgsql', () => singleProofs(c, 'bench.verify_inclusion'));
			await measure('forged', () => forgedRows(c));
		});
		return 'ready';
	}));
}

const none = key => ({ floor: '0', of: v => v.worst(key), most: 0 });
export const lines = [
	{ key: 'all rate', label: 'verify_all', unit: 'receipts/s', floor: '≥ 100,000/s', least: 100000 },
	{ key: 'all false', label: 'verify_all: good receipts called bad', unit: `of ${n.toLocaleString('en')}`, ...none('all false') },
	{ key: 'forged accepted', label: 'verify_all over forged rows: forged receipts not named', unit: `of ${(n * .9).toLocaleString('en')} and a few`, ...none('forged accepted') },
	{ key: 'forged rejected', label: 'verify_all over forged rows: untouched receipts named', unit: `of ${(n * .1).toLocaleString('en')} and a few`, ...none('forged rejected') },
	{ key: 'one rejected', label: 'verify_inclusion: good proofs refused', unit: `of ${cases.toLocaleString('en')}`, ...none('one rejected') },
	{ key: 'one accepted', label: 'verify_inclusion: tampered proofs accepted', unit: `of ${cases.toLocaleString('en')}`, ...none('one accepted') },
	{ key: 'one rate', label: 'verify_inclusion, one process', unit: 'proofs/s', ratios: { 'the same in PL/pgSQL': 'plpgsql rate' } },
	{ key: 'plpgsql accepted', label: 'the PL/pgSQL verifier (an independent one): tampered proofs accepted', unit: `of ${cases.toLocaleString('en')}`, ...none('plpgsql accepted') },
	{ key: 'plpgsql rejected', label: 'the PL/pgSQL verifier: good proofs refused', unit: `of ${cases.toLocaleString('en')}`, ...none('plpgsql rejected') },
];
