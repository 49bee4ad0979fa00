// unrdf: the handlers the rows use, and what only it has.
import { value, rows, session, timed, reach, chunks, payload, onePayload, pgbench } from '../lib.mjs';

const setup = `
	CREATE EXTENSION unrdf CASCADE;
	CREATE SCHEMA bench;
	CREATE TABLE bench.started (i int NOT NULL, at timestamptz NOT NULL);
	CREATE FUNCTION bench.noop(args jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	CREATE FUNCTION bench.noop_sql(args jsonb) RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION bench.nap(args jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); END';
	CREATE FUNCTION bench.note_start(args jsonb) RETURNS void LANGUAGE plpgsql AS $$
		DECLARE
			at timestamptz := clock_timestamp();
		BEGIN
			INSERT INTO bench.started VALUES ((args->>'i')::int, at);
		END $$;
	SELECT unrdf.register_handler(name, ('bench.' || name || '(jsonb)')::regprocedure)
		FROM unnest(ARRAY['noop', 'noop_sql', 'nap', 'note_start']) AS name`;

export const size = async client => Number((await client.query('SELECT size FROM unrdf.log_size()')).rows[0].size ?? 0);

/** Makes a temporary table of every leaf: its receipt, its index, and when the transaction that integrated it committed. */
export const leaves = `
	CREATE TEMP TABLE leaf AS
		SELECT ('x' || encode(substring(i.leaves FROM 40 * k + 1 FOR 8), 'hex'))::bit(64)::bigint AS id, i.first + k AS index,
			pg_xact_commit_timestamp(i.xmin) AS committed
		FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k
		WHERE i.log = 1`;

/** Waits until log 1 has grown to the size given. */
export const integrated = (client, target, what, every) => reach(() => size(client), target, what, { every });

export default {
	name: 'unrdf',
	schema: 'unrdf',
	enqueueSql: `SELECT unrdf.enqueue('noop', '${onePayload}');`,

	async create(db) {
		await rows(db, setup);
		await reach(() => value(db, `SELECT count(DISTINCT backend_type)::int FROM pg_stat_activity
			WHERE datname = $1 AND backend_type IN ('unrdf dispatcher', 'unrdf integrator')`, [db]), 2, 'start of the dispatcher and integrator');
		await rows(db, `SELECT unrdf.enqueue(h, '{"i": -1}') FROM unnest(ARRAY['noop', 'noop_sql', 'note_start']) AS h, generate_series(1, 10)`);
		await session(db, c => integrated(c, 30, 'warm-up jobs'));
	},

	pause: db => rows(db, `SELECT unrdf.pause_queue('default')`),
	resume: db => rows(db, `SELECT unrdf.resume_queue('default')`),

	/** Enqueues n jobs in calls of 20,000, args being SQL over g; with priorities, job i gets priorities[chunk mod length]. */
	async fill(db, n, { handler = 'noop', priorities = [5], args = payload } = {}) {
		let chunk = 0;
		await session(db, c => chunks(n, 20000, (from, to) => c.query(`SELECT count(*) FROM unrdf.enqueue_many($1,
			(SELECT array_agg(${args}) FROM generate_series($2::int, $3::int) AS g), priority => $4)`,
			[handler, from, to, priorities[chunk++ % priorities.length]])));
	},

	/** Jobs per second from resume_queue until every receipt of n paused jobs is integrated. */
	drain: (db, n) => session(db, async c => {
		const target = await size(c) + n;
		const ms = await timed(async () => {
			await c.query(`SELECT unrdf.resume_queue('default')`);
			await integrated(c, target, 'drain');
		});
		return n / ms * 1e3;
	}),

	/** Pause, fill, analyze, drain. */
	async fillAndDrain(db, n, options) {
		await this.pause(db);
		await this.fill(db, n, options);
		await rows(db, 'ANALYZE');
		return this.drain(db, n);
	},

	bulkSql: `SELECT count(*) FROM unrdf.enqueue_many('noop', (SELECT array_agg(payload) FROM bench_payload))`,
	singles: (db, args) => pgbench(db, `SELECT unrdf.enqueue('noop', '${onePayload}');\n`, args),
};
