import { count, withDatabase, rows, session, distribution, reach, value } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const backlog = count(1000000, 20000), jobs = 100;
export const title = `fairness: one owner has ${backlog.toLocaleString('en')} jobs pending, another enqueues ${jobs}`;

const as = (db, role, sql) => session(db, async c => { await c.query(`SET ROLE ${role}`); return c.query(sql); });
const setup = `
	SELECT unrdf.alter_queue('default', '{"share_by": "owner"}');
	GRANT USAGE ON SCHEMA bench TO PUBLIC;
	CREATE FUNCTION bench.work(args jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.005); END';
	SELECT unrdf.register_handler('work', 'bench.work(jsonb)');
	DO $$ BEGIN
		CREATE ROLE bench_many; CREATE ROLE bench_few;
	EXCEPTION WHEN duplicate_object THEN NULL; END $$;
	SELECT unrdf.grant_access('bench_many', 'producer'), unrdf.grant_access('bench_few', 'producer')`;
const enqueue = (n, chunk = 20000) => `
	DO $$ BEGIN
		FOR i IN 1..${Math.ceil(n / chunk)} LOOP
			PERFORM count(*) FROM unrdf.enqueue_many('work', array_fill('{}'::jsonb, ARRAY[${Math.min(n, chunk)}]));
		END LOOP;
	END $$`;

/** Waits, in ms, of the second owner's jobs, from the call until each began. */
async function waits(db) {
	await as(db, 'bench_few', enqueue(jobs));
	const theirs = `FROM unrdf.job AS j JOIN unrdf.receipt AS r USING (id) WHERE j.owner = 'bench_few'::regrole`;
	await reach(() => value(db, `SELECT count(*)::int ${theirs}`), jobs, 'the second owner');
	return distribution((await rows(db, `SELECT extract(epoch FROM r.started_at - j.enqueued_at)::float8 * 1000 AS ms ${theirs}`)).map(r => r.ms));
}

const measureWith = pending => () => withDatabase(unrdf, async db => {
	await rows(db, setup);
	if (pending) {
		await as(db, 'bench_many', enqueue(backlog));
		await reach(() => value(db, 'SELECT count(*)::int FROM unrdf.receipt'), 500, 'the first owner');     // every executor is at it
	}
	const { p50, p99 } = await waits(db);
	return { p50, p99 };
});

export async function run({ measure, inTurn }) {
	await inTurn([() => measure('alone', measureWith(false)), () => measure('beside', measureWith(true))]);
	await rows('postgres', 'DROP ROLE IF EXISTS bench_many, bench_few');
}

export const lines = [
	{ key: 'alone p50', label: 'wait alone, p50', unit: 'ms' },
	{ key: 'alone p99', label: 'wait alone, p99', unit: 'ms' },
	{ key: 'beside p50', label: 'wait beside the first owner, p50', unit: 'ms' },
	{ key: 'beside p99', label: 'wait beside the first owner, p99', unit: 'ms', ratios: { alone: 'alone p99' },
		floor: '≤ 2 × alone', of: v => v.ratio('beside p99', 'alone p99'), most: 2 },
];
