// What the server does without any queue: the practical limits the ratios are taken against.
import { rows, timed, value, payload, onePayload } from '../lib.mjs';

export default {
	name: 'bare',
	schema: 'public',
	enqueueSql: `INSERT INTO job (payload) VALUES ('${onePayload}');`,
	bulkSql: 'INSERT INTO job (payload) SELECT payload FROM bench_payload',

	/** One index on the table that is inserted into; the loop deletes batches and writes a hashed receipt row for each job. */
	create: db => rows(db, `
		CREATE TABLE job (id bigserial PRIMARY KEY, payload jsonb NOT NULL);
		CREATE TABLE receipt (job bigint PRIMARY KEY, at timestamptz NOT NULL, payload_hash bytea NOT NULL, receipt bytea NOT NULL);
		CREATE PROCEDURE drain(batch int) LANGUAGE plpgsql AS $$
		DECLARE
			n int;
		BEGIN
			LOOP
				WITH gone AS (
					DELETE FROM job WHERE id = ANY (ARRAY(SELECT id FROM job ORDER BY id FOR UPDATE SKIP LOCKED LIMIT batch)) RETURNING id, payload)
				INSERT INTO receipt SELECT id, now(), h, sha256(int8send(id) || h || convert_to(now()::text, 'utf8'))
					FROM (SELECT id, sha256(convert_to(payload::text, 'utf8')) AS h FROM gone) AS hashed;
				GET DIAGNOSTICS n = ROW_COUNT;
				COMMIT;
				EXIT WHEN n = 0;
			END LOOP;
		END $$`),

	fill: (db, n) => rows(db, `INSERT INTO job (payload) SELECT ${payload} FROM generate_series(1, ${n}) AS g`),

	/** Two sessions in batches of 1000. */
	async fillAndDrain(db, n) {
		await this.fill(db, n);
		await rows(db, 'ANALYZE');
		const ms = await timed(() => Promise.all([rows(db, 'CALL drain(1000)'), rows(db, 'CALL drain(1000)')]));
		const done = Number(await value(db, 'SELECT count(*) FROM receipt'));
		if (done !== n) throw new Error(`${done} receipts for ${n} jobs`);
		return n / ms * 1e3;
	},
};
