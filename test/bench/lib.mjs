// What every row uses: connections, clocks, pgbench, waiting, WAL accounting, databases made and dropped.
import { createRequire } from 'node:module';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';

export const { BENCH_CACHE: cache, BENCH_WORK: work, BENCH_SOCKET: socket, BENCH_PORT: port, BENCH_BIN: bin, BENCH_ROOT: root } = process.env;
export const quick = process.env.QUICK === '1';
export const runs = Number(process.env.N || 3);

/** The count of a real run, or the one for trying the harness. */
export const count = (full, small) => quick ? small : full;

/** Loads an npm package from its own folder in the cache; throws with the reason where it did not install. */
export function load(name) {
	if (!existsSync(`${cache}/npm/${name}/.installed`)) throw new Error(`npm package ${name} did not install`);
	return createRequire(`${cache}/npm/${name}/x.js`)(name);
}
export const packageVersion = name => {
	const file = `${cache}/npm/${name}/node_modules/${name}/package.json`;
	return existsSync(file) ? JSON.parse(readFileSync(file)).version : 'not installed';
};

export const pg = load('pg');
export const sleep = ms => new Promise(done => setTimeout(done, ms));
export const now = () => Number(process.hrtime.bigint()) / 1e6;     // ms, CLOCK_MONOTONIC
export const url = db => `postgres:///${db}?host=${encodeURIComponent(socket)}&port=${port}&user=postgres`;
export const conninfo = db => `host=${socket} port=${port} user=postgres dbname=${db}`;

export async function connect(db) {
	const client = new pg.Client({ host: socket, port: Number(port), user: 'postgres', database: db });
	client.on('error', () => {});       // a dropped database ends its sessions; the query in flight reports it
	await client.connect();
	return client;
}

/** Runs fn with a connection of its own. */
export async function session(db, fn) {
	const client = await connect(db);
	try {
		return await fn(client);
	} finally {
		await client.end().catch(() => {});
	}
}
export const rows = (db, sql, args) => session(db, async c => (await c.query(sql, args)).rows);
export const value = async (db, sql, args) => Object.values((await rows(db, sql, args))[0])[0];

/** Milliseconds that fn takes. */
export async function timed(fn) {
	const start = now();
	await fn();
	return now() - start;
}

/** Waits until progress() is at least target; throws when it has not moved for a while. Returns what it reached. */
export async function reach(progress, target, what, { every = 5, patience = 120e3 } = {}) {
	let last = -Infinity, moved = now();
	for (;;) {
		const at = await progress();
		if (at >= target) return at;
		if (at !== last) [last, moved] = [at, now()];
		if (now() - moved > patience) throw new Error(`${what}: stalled at ${at} of ${target}`);
		await sleep(every);
	}
}

export const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)];
export function distribution(values) {
	const s = [...values].sort((a, b) => a - b);
	return { p50: percentile(s, .5), p95: percentile(s, .95), p99: percentile(s, .99), 'p99.9': percentile(s, .999), max: s.at(-1) };
}

/** Runs a pgbench script; returns its transactions, rate and, with --rate, the generator's own lag in ms. */
export async function pgbench(db, script, args) {
	const file = `${work}/script.sql`;
	writeFileSync(file, script);
	const { stdout } = await promisify(execFile)(`${bin}/pgbench`, ['-n', '-M', 'prepared', '-h', socket, '-p', port, '-U', 'postgres',
		...args.map(String), '-f', file, db], { maxBuffer: 1 << 24 });
	const number = pattern => Number(stdout.match(pattern)?.[1]);
	return { done: number(/actually processed: (\d+)/), failed: number(/failed transactions: (\d+)/), rate: number(/^tps = ([\d.]+)/m),
		lag: number(/schedule lag: avg ([\d.]+)/) };
}

/** Milliseconds of each of n transactions of a pgbench script on one connection, as its client saw them. */
export async function pgbenchLatencies(db, script, n) {
	const prefix = `${work}/latency`;
	await pgbench(db, script, ['-c', 1, '-t', n, '--log', `--log-prefix=${prefix}`]);
	const file = readdirSync(work).filter(name => name.startsWith('latency.'))[0];
	const lines = readFileSync(`${work}/${file}`, 'utf8').trim().split('\n');
	unlinkSync(`${work}/${file}`);
	return lines.map(line => Number(line.split(' ')[2]) / 1e3);
}

/** Rates that bare.c prints, by way to hash. */
export async function bareRates(...args) {
	const { stdout } = await promisify(execFile)(`${work}/bare`, args.map(String));
	return Object.fromEntries(stdout.trim().split('\n').map(line => line.split(' ')).map(([way, rate]) => [way, Number(rate)]));
}

/** The least milliseconds that fn takes in several passes. */
export async function best(fn, passes = count(5, 2)) {
	let least = Infinity;
	for (let i = 0; i < passes; i++) least = Math.min(least, await timed(fn));
	return least;
}

/** Sets server parameters for the length of fn. */
export async function withSettings(settings, fn) {
	const each = async sql => { for (const s of Object.entries(settings)) await rows('postgres', sql(...s)); await rows('postgres', 'SELECT pg_reload_conf()'); };
	await each((name, v) => `ALTER SYSTEM SET ${name} = '${v}'`);
	try {
		return await fn();
	} finally {
		await each(name => `ALTER SYSTEM RESET ${name}`);
	}
}

/** Makes a database, sets a party up in it, runs fn(db), drops it. */
export async function withDatabase(party, fn) {
	const db = `bench_${party.name.replace(/\W/g, '_')}`;
	await rows('postgres', `DROP DATABASE IF EXISTS ${db} WITH (FORCE)`);
	await rows('postgres', `CREATE DATABASE ${db} TEMPLATE template0`);
	try {
		await party.create(db);
		await rows(db, 'CHECKPOINT');
		return await fn(db);
	} finally {
		await rows('postgres', `DROP DATABASE IF EXISTS ${db} WITH (FORCE)`);
	}
}

/** WAL bytes that fn causes, without full-page images: exact, by reading the WAL records (pg_walinspect). */
export async function walBytes(fn) {
	await rows('postgres', 'CREATE EXTENSION IF NOT EXISTS pg_walinspect');
	await rows('postgres', 'CHECKPOINT');
	const from = await value('postgres', 'SELECT pg_current_wal_flush_lsn()');
	await fn();
	const to = await value('postgres', 'SELECT pg_current_wal_flush_lsn()');
	const [w] = await rows('postgres', 'SELECT $2::pg_lsn - $1::pg_lsn AS total, sum(fpi_size) AS images FROM pg_get_wal_stats($1::pg_lsn, $2::pg_lsn)', [from, to]);
	return { bytes: Number(w.total) - Number(w.images), images: Number(w.images) };
}

/** Share of all cores that is busy, over a second. */
async function busy() {
	const read = () => readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1, 9).map(Number);
	const a = read();
	await sleep(1000);
	const d = read().map((v, i) => v - a[i]), all = d.reduce((x, y) => x + y);
	return 1 - (d[3] + d[4]) / all;
}

/** Waits, at most a minute, until the machine has nothing else to do; returns the busy share that it found last. */
export async function quiet() {
	let share = 1;
	for (const end = now() + count(60e3, 5e3); now() < end && share > .1;) share = await busy();
	return share;
}

export const payload = `jsonb_build_object('i', g, 'kind', 'noop', 'pad', repeat('x', 72))`;     // about 100 bytes as text
export const onePayload = `{"i": 1, "kind": "noop", "pad": "${'x'.repeat(72)}"}`;

/** Calls fn(from, to) for 1 … n in steps of size. */
export async function chunks(n, size, fn) {
	for (let from = 1; from <= n; from += size) await fn(from, Math.min(n, from + size - 1));
}
