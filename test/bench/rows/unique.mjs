import { count, withDatabase, pgbench, value } from '../lib.mjs';
import unrdf from '../parties/unrdf.mjs';

const sessions = 32, attempts = count(100000, 3200), keys = 8;
export const title = `rules of uniqueness: ${sessions} sessions, ${attempts.toLocaleString('en')} attempts each, ${keys} keys`;

const call = (fn, ...args) => `\\set k random(1, ${keys})\nSELECT unrdf.${fn}(${["'noop'", "'{}'", ...args].join(', ')});\n`;
const key = "key => 'k' || :k";
const rules = {
	plain: { sql: call('enqueue') },
	key: { sql: call('enqueue', key), wrong: `SELECT abs(count(*) - ${keys}) FROM unrdf.job WHERE key IS NOT NULL` },
	once: { sql: call('enqueue_once', key), wrong: `SELECT abs(count(*) - ${keys}) FROM unrdf.job WHERE key IS NOT NULL` },
	throttle: { sql: call('throttle', key, "key_window => '1 s'"),
		wrong: `SELECT count(*) FROM (SELECT enqueued_at - lag(enqueued_at) OVER (PARTITION BY key ORDER BY id) AS apart FROM unrdf.job WHERE key IS NOT NULL) AS x WHERE apart < '1 s'` },
	debounce: { sql: call('debounce', key, "delay => '1 hour'"),
		wrong: `SELECT abs(count(*) - ${attempts}) + abs(count(*) FILTER (WHERE r.id IS NULL) - ${keys}) FROM unrdf.job AS j LEFT JOIN unrdf.receipt AS r USING (id) WHERE key IS NOT NULL` },
};

const attempt = rule => async db => {
	await unrdf.pause(db);
	const { rate, failed } = await pgbench(db, rule.sql, ['-c', sessions, '-j', 2, '-t', attempts / sessions]);
	return rule.wrong ? { rate, wrong: Number(await value(db, rule.wrong)) + failed } : { rate };
};

export async function run({ measure, inTurn }) {
	await inTurn(Object.entries(rules).map(([name, rule]) => () => measure(name, () => withDatabase(unrdf, attempt(rule)))));
}

const labels = { key: 'enqueue with a key', once: 'enqueue_once', throttle: 'throttle', debounce: 'debounce' };
export const lines = [
	{ key: 'plain rate', label: 'enqueue without a key', unit: 'attempts/s' },
	...Object.entries(labels).flatMap(([name, label]) => [
		{ key: `${name} rate`, label, unit: 'attempts/s', ratios: { 'without a key': 'plain rate' } },
		{ key: `${name} wrong`, label: `${label}: jobs more or less than the rule allows`, unit: '', floor: '0', most: 0 },
	]),
];
