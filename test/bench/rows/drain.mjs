import { count, withDatabase, session } from '../lib.mjs';
import unrdf, { leaves } from '../parties/unrdf.mjs';
import bare from '../parties/bare.mjs';
import graphile from '../parties/graphile.mjs';
import pgboss from '../parties/pgboss.mjs';
import pgq from '../parties/pgq.mjs';

const n = count(200000, 4000);
export const title = `drain of ${n.toLocaleString('en')} no-op jobs with 100-byte arguments`;

/** How long after a receipt's commit the integration that has it commits, in ms, over the last n receipts. */
const lag = db => session(db, async c => {
	await c.query(leaves);
	const { rows: [r] } = await c.query(`
		SELECT percentile_disc(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM l.committed - pg_xact_commit_timestamp(r.xid::xid)) * 1000) AS ms
		FROM (SELECT * FROM leaf ORDER BY index DESC LIMIT $1) AS l JOIN unrdf.receipt AS r USING (id)`, [n]);
	const [p50, p99, max] = r.ms.map(Number);
	return { p50, p99, max };
});

async function ours(db, measure) {
	const rate = await unrdf.fillAndDrain(db, n);
	await measure('lag', () => lag(db));
	return rate;
}

export async function run({ measure, inTurn }) {
	const drain = (key, party, options) => () => measure(key, () => withDatabase(party, db => party.fillAndDrain(db, n, options)));
	await inTurn([
		() => measure('unrdf', () => withDatabase(unrdf, db => ours(db, measure))),
		drain('unrdf sql', unrdf, { handler: 'noop_sql' }),
		drain('graphile1', graphile),
		drain('graphile2', graphile, { processes: 2 }),
		drain('bare', bare),
		drain('pgboss', pgboss),
		drain('pgq', pgq),
	]);
}

export const lines = [
	{ key: 'unrdf', label: 'unrdf, PL/pgSQL handler, every receipt integrated', unit: 'jobs/s',
		ratios: { 'graphile-worker': 'graphile1', 'graphile-worker, 2 processes': 'graphile2', 'bare loop': 'bare' },
		floor: '≥ 1.5 × graphile-worker with one and with two processes', of: v => Math.min(v.ratio('unrdf', 'graphile1'), v.ratio('unrdf', 'graphile2')), least: 1.5 },
	{ key: 'unrdf', label: 'the same, against the bare loop', unit: 'jobs/s', ratios: { 'bare loop': 'bare' },
		floor: '≥ 0.5 × bare loop', of: v => v.ratio('unrdf', 'bare'), least: .5 },
	{ key: 'lag p50', label: 'in it, commit of the receipt → commit of its integration, p50', unit: 'ms' },
	{ key: 'lag p99', label: 'commit of the receipt → commit of its integration, p99', unit: 'ms', floor: '< 45 ms', below: 45 },
	{ key: 'lag max', label: 'the same, the longest', unit: 'ms' },
	{ key: 'unrdf sql', label: 'unrdf, LANGUAGE sql handler', unit: 'jobs/s', ratios: { 'graphile-worker': 'graphile1', 'bare loop': 'bare' } },
	{ key: 'graphile1', label: 'graphile-worker, fast settings', unit: 'jobs/s' },
	{ key: 'graphile2', label: 'graphile-worker, fast settings, 2 processes', unit: 'jobs/s' },
	{ key: 'bare', label: 'bare PL/pgSQL loop, 2 sessions, batches of 1000, plain receipt row', unit: 'jobs/s' },
	{ key: 'pgboss', label: 'pg-boss, 2 × batches of 2000 with burst', unit: 'jobs/s' },
	{ key: 'pgq', label: 'PgQ, Node consumer (keeps no state per job)', unit: 'jobs/s' },
];
