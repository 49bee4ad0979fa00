// The thirty lines a team writes itself: SKIP LOCKED, eight Node connections, LISTEN to wake up.
import { rows, connect } from '../lib.mjs';

export default {
	name: 'rawsql',
	schema: 'public',
	pickupSql: `INSERT INTO job (payload) VALUES (jsonb_build_object('i', $1::int))`,

	create: db => rows(db, `CREATE TABLE job (id bigserial PRIMARY KEY, payload jsonb NOT NULL);
		CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY job; RETURN NULL; END $$;
		CREATE TRIGGER tell AFTER INSERT ON job FOR EACH STATEMENT EXECUTE FUNCTION tell()`),

	async work(db, handler) {
		let stop = false;
		const idle = new Set(), listener = await connect(db);
		await listener.query('LISTEN job');
		listener.on('notification', () => idle.values().next().value?.());
		const sleepUntilWoken = () => new Promise(done => {
			const wake = () => { idle.delete(wake); clearTimeout(timer); done(); };
			const timer = setTimeout(wake, 100);
			idle.add(wake);
		});
		const loops = Array.from({ length: 8 }, async () => {
			const client = await connect(db);
			while (!stop) {
				await client.query('BEGIN');
				const { rows: jobs } = await client.query({ name: 'take', text: `DELETE FROM job WHERE id = ANY (ARRAY(
					SELECT id FROM job ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1)) RETURNING payload` });
				for (const job of jobs) await handler(job.payload);
				await client.query('COMMIT');
				if (!jobs.length) await sleepUntilWoken();
			}
			await client.end();
		});
		return async () => { stop = true; await Promise.all(loops); await listener.end(); };
	},
};
