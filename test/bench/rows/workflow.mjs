import { count, withDatabase, session, timed, payload } from '../lib.mjs';
import unrdf, { size, integrated } from '../parties/unrdf.mjs';

const side = count(100, 20), rounds = count(5, 2), jobs = side * side;
export const title = `workflow of ${(jobs + side + 2).toLocaleString('en')} jobs: one, then ${side}, then ${side} for each of those, then one that needs these all`;

/** Milliseconds from before the enqueue until every receipt of n jobs is integrated. */
async function through(c, n, enqueue) {
	const target = await size(c) + n;
	return timed(async () => {
		await enqueue();
		await integrated(c, target, 'jobs');
	});
}

const args = n => `(SELECT array_agg(${payload}) FROM generate_series(1, ${n}) AS g)`;

const plain = c => through(c, jobs + side + 2, () =>
	c.query(`SELECT count(*) FROM unrdf.enqueue_many('noop', ${args(jobs + side + 2)})`));

/** The whole graph in one transaction, a call for each fan-out. */
const workflow = c => through(c, jobs + side + 2, async () => {
	await c.query('BEGIN');
	const { rows: [{ w }] } = await c.query(`SELECT unrdf.create_workflow('bench') AS w`);
	const { rows: [{ first }] } = await c.query(`SELECT unrdf.enqueue_after('{}', 'noop', workflow => $1) AS first`, [w]);
	await c.query(`SELECT unrdf.enqueue_after(array_agg(leaf.id), 'noop', workflow => $1)
		FROM unrdf.fan_out(ARRAY[$2::bigint], 'noop', ${args(side)}, workflow => $1) AS branch (id),
			unrdf.fan_out(ARRAY[branch.id], 'noop', ${args(side)}, workflow => $1) AS leaf (id)`, [w, first]);
	await c.query('COMMIT');
});

export const run = ({ measure, inTurn }) => withDatabase(unrdf, db => session(db, async c => {
	await workflow(c);
	const total = { plain: 0, workflow: 0 };
	for (let i = 0; i < rounds; i++)
		await inTurn([async () => { total.plain += await plain(c); }, async () => { total.workflow += await workflow(c); }]);
	await measure('plain', () => total.plain / rounds);
	await measure('workflow', () => total.workflow / rounds);
}));

export const lines = [
	{ key: 'workflow', label: `workflow, from before the enqueue until every receipt is integrated, mean of ${rounds}`, unit: 'ms', ratios: { 'plain jobs': 'plain' },
		floor: '≤ 3 × the time of as many plain jobs', of: v => v.ratio('workflow', 'plain'), most: 3 },
	{ key: 'plain', label: 'as many plain jobs in one call, likewise', unit: 'ms' },
];
