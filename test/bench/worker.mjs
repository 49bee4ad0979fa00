// Worker processes of the Node peers. As a program: node worker.mjs PARTY DATABASE.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { now, reach, timed, load } from './lib.mjs';

const file = fileURLToPath(import.meta.url);
const parties = { graphile: './parties/graphile.mjs', pgboss: './parties/pgboss.mjs', pgboss_notify: './parties/pgboss.mjs', pgq: './parties/pgq.mjs', outside: './parties/outside.mjs', rawsql: './parties/rawsql.mjs' };
const party = async name => { const m = await import(parties[name]); return name === 'pgboss_notify' ? m.notifying : m.default; };

/** Modules are loaded before "loaded" is said, so that what is timed from "go" on is only the peer's own start. */
async function child(name, db) {
	const p = await party(name);
	if (name === 'graphile') load('graphile-worker');
	if (name.startsWith('pgboss')) load('pg-boss');
	let handled = 0, stop;
	const starts = [], handler = async job => {
		if (starts.length < 10000) starts.push([job.i, now() * 1e3]);
		handled++;
	};
	const report = setInterval(() => process.send({ handled }), 20);
	process.on('disconnect', () => process.exit(1));
	process.on('message', async message => {
		if (message === 'go') {
			stop = await p.work(db, handler);
			process.send({ working: true });
		} else {
			clearInterval(report);
			await stop();
			process.send({ handled, starts }, () => process.exit(0));
		}
	});
	process.send({ loaded: true });
}

/** Starts worker processes; they wait for go(). */
export async function startWorkers(p, db, processes) {
	const workers = Array.from({ length: processes }, () => {
		const w = { handled: 0, starts: [], child: fork(file, [p.name, db], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }) };
		w.exited = new Promise(done => w.child.on('exit', done));
		w.said = key => new Promise((done, fail) => {
			w.child.on('message', m => m[key] && done());
			w.child.on('exit', code => fail(new Error(`a ${p.name} worker ended with ${code}`)));
		});
		w.child.on('message', m => Object.assign(w, m));
		w.isLoaded = w.said('loaded');
		w.isWorking = w.said('working');
		w.isWorking.catch(() => {});
		return w;
	});
	await Promise.all(workers.map(w => w.isLoaded));
	return {
		handled: () => workers.reduce((n, w) => n + w.handled, 0),
		go: () => { for (const w of workers) w.child.send('go'); return Promise.all(workers.map(w => w.isWorking)); },
		/** Stops them and returns [job, µs of CLOCK_MONOTONIC] of every start. */
		stop: async () => {
			for (const w of workers) w.child.send('stop');
			await Promise.all(workers.map(w => w.exited));
			return workers.flatMap(w => w.starts);
		},
		kill: () => { for (const w of workers) w.child.kill('SIGKILL'); },
	};
}

/** Jobs per second from the start of the peer's worker in loaded processes until its tables say that nothing is left. */
export async function drainWith(p, db, n, processes) {
	const workers = await startWorkers(p, db, processes);
	try {
		const ms = await timed(async () => {
			await workers.go();
			await reach(workers.handled, n, `${p.name} drain`);
			await reach(async () => -await p.pending(db), 0, `${p.name} completion`);
		});
		await workers.stop();
		return n / ms * 1e3;
	} finally {
		workers.kill();
	}
}

if (process.argv[1] === file) child(process.argv[2], process.argv[3]);
