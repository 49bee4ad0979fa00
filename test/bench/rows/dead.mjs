import { count, withDatabase, withSettings, rows, value, reach } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';
import graphile from '../parties/graphile.mjs';

const n = count(1000000, 20000), peerN = count(100000, 4000);
export const title = `dead tuples after ${n.toLocaleString('en')} jobs, autovacuum off`;

/** Dead tuples in every table of a schema, its TOAST tables too: counted by reading the pages (pgstattuple). */
async function dead(party, db) {
	await rows(db, 'CREATE EXTENSION pgstattuple');
	const [r] = await rows(db, `SELECT sum((pgstattuple(c.oid)).dead_tuple_count)::int AS dead
		FROM pg_class AS c
		WHERE c.relkind IN ('r', 't') AND coalesce((SELECT t.relnamespace FROM pg_class AS t WHERE t.reltoastrelid = c.oid), c.relnamespace) = $1::regnamespace`, [party.schema]);
	return r.dead;
}

/** Updates and deletes that the schema's tables have seen, once the statistics have all n inserts into a table that gets a row for each job. */
async function made(party, db, table, n) {
	await reach(() => value(db, 'SELECT n_tup_ins::int FROM pg_stat_all_tables WHERE relid = $1::regclass', [table]), n, 'statistics', { every: 100, patience: 15e3 });
	return value(db, 'SELECT sum(n_tup_upd + n_tup_del)::int FROM pg_stat_user_tables WHERE schemaname = $1', [party.schema]);
}

export const run = ({ measure }) => withSettings({ autovacuum: 'off' }, async () => {
	const after = (party, jobs, table) => measure(party.name, () => withDatabase(party, async db => {
		await party.fillAndDrain(db, jobs);
		await measure(`${party.name} left`, async () => await dead(party, db) / jobs * n);
		await measure(`${party.name} made`, async () => await made(party, db, table, jobs) / jobs * n);
		return jobs;
	}));
	await after(unrdf, n, 'unrdf.receipt');
	await after(graphile, peerN, 'graphile_worker._private_jobs');
});

const scaled = `graphile-worker, fast settings, ${peerN.toLocaleString('en')} jobs scaled to ${n.toLocaleString('en')}`;
export const lines = [
	{ key: 'unrdf left', label: 'unrdf, all its tables together, dead tuples on their pages', unit: 'tuples', floor: '< 1,000', of: v => v.worst('unrdf left'), below: 1000 },
	{ key: 'unrdf made', label: 'unrdf, all its tables together, rows ever updated or deleted', unit: 'tuples', floor: '< 1,000', of: v => v.worst('unrdf made'), below: 1000 },
	{ key: 'graphile left', label: `${scaled}, dead tuples on its pages (the server prunes some as it goes)`, unit: 'tuples' },
	{ key: 'graphile made', label: `${scaled}, rows ever updated or deleted`, unit: 'tuples' },
];
