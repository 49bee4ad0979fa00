import { count, withDatabase, session, timed, distribution } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const n = count(100000, 5000), times = count(11, 3);
export const title = `INSERT … SELECT of ${n.toLocaleString('en')} rows, ${times} times in turn into a table that is audited and one that is not`;

const tables = `
	CREATE TABLE source AS SELECT g::bigint AS id, 'customer ' || g AS customer, g * 1.25 AS amount, now() + g * interval '1 s' AS at, md5(g::text) AS note
		FROM generate_series(1, ${n}) AS g;
	CREATE TABLE plain (id bigint PRIMARY KEY, customer text, amount numeric, at timestamptz, note text);
	CREATE TABLE audited (LIKE plain INCLUDING ALL);
	SELECT unrdf.audit_table('audited');
	ANALYZE source`;

/** Median of the statement's time in ms, the tables emptied in between. */
async function inTurn(c) {
	const ms = { plain: [], audited: [] };
	for (let i = 0; i < times; i++)
		for (const table of i % 2 ? ['audited', 'plain'] : ['plain', 'audited']) {
			await c.query(`TRUNCATE ${table}`);
			ms[table].push(await timed(() => c.query(`INSERT INTO ${table} SELECT * FROM source`)));
		}
	const median = table => distribution(ms[table]).p50;
	return { plain: median('plain'), audited: median('audited'), ratio: median('audited') / median('plain') };
}

export async function run({ measure }) {
	await measure('setup', () => withDatabase(unrdf, async db => {
		await session(db, async c => {
			await c.query(tables);
			await measure('insert', () => inTurn(c));
			await measure('verify', async () => {
				let wrong;
				const ms = await timed(async () => { wrong = Number((await c.query(`SELECT count(*) FROM unrdf.verify_table('audited')`)).rows[0].count); });
				return { rate: n / ms * 1e3, wrong };
			});
		});
		return 'ready';
	}));
}

export const lines = [
	{ key: 'insert audited', label: 'into the audited table', unit: 'ms', ratios: { 'the plain one': 'insert plain' } },
	{ key: 'insert ratio', label: 'audited over plain, of one run', unit: '×', floor: '≤ 2', most: 2 },
	{ key: 'verify rate', label: 'verify_table', unit: 'rows/s' },
	{ key: 'verify wrong', label: 'verify_table: good rows called bad', unit: `of ${n.toLocaleString('en')}`, floor: '0', of: v => v.worst('verify wrong'), most: 0 },
];
