// Runs the rows asked for, N times each, prints every figure and writes RESULTS.md.
import { runs, quick, quiet } from './lib.mjs';
import { section, measured, writeResults } from './report.mjs';

const names = ['drain', 'pickup', 'latency', 'enqueue', 'wal', 'dead', 'snapshot', 'backlog', 'load', 'workflow', 'verify', 'proofs', 'commitment', 'log', 'audit',
	'limits', 'fair', 'schedules', 'outside', 'unique', 'retention', 'idle'];
const asked = process.argv.slice(2);
const unknown = asked.filter(name => !names.includes(name));
if (unknown.length) {
	console.error(`bench: no row named ${unknown.join(', ')}; there are ${names.join(' ')}`);
	process.exit(2);
}

/** One run of a row. What a party cannot do is kept as the reason, and the others go on. */
async function once(row, n) {
	const figures = {};
	const measure = async (key, fn) => {
		try {
			const v = await fn();
			if (v !== null && typeof v === 'object') for (const [k, x] of Object.entries(v)) figures[`${key} ${k}`] = x;
			else figures[key] = v;
		} catch (e) {
			figures[key] = new Error(e.message || String(e.code));
			console.error(`bench: ${key} is not measured: ${e.message}`);
		}
	};
	const busy = await quiet();
	console.log(`${row.name} run ${n + 1} of ${runs}${busy > .1 ? ` (the machine is ${Math.round(busy * 100)} % busy with other work)` : ''}`);
	await row.run({ measure, n, inTurn: async list => { for (const fn of n % 2 ? list.reverse() : list) await fn(); } });
	for (const [key, v] of Object.entries(figures)) console.log(`  ${key}: ${v instanceof Error ? `not measured: ${v.message}` : v}`);
	return { figures, busy };
}

const sections = {};
for (const name of names.filter(name => !asked.length || asked.includes(name))) {
	const row = { name, ...await import(`./rows/${name}.mjs`) };
	const done = [];
	for (let n = 0; n < runs; n++) done.push(await once(row, n));
	const text = section(row, done);
	console.log(`\n${text}`);
	if (measured(row, done)) sections[name] = text;
}
if (quick) console.log('QUICK=1: counts are too small to be figures; RESULTS.md is left as it is.');
else if (!Object.keys(sections).length) console.log('unrdf was not measured, so RESULTS.md is left as it is.');
else await writeResults(names, sections);
