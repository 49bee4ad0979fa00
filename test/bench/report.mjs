// From the figures of all runs to Markdown: a table per row, and RESULTS.md, of which a run replaces only the rows it measured.
import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { root, rows as query, packageVersion } from './lib.mjs';

const file = `${root}/test/bench/RESULTS.md`;
const median = values => {
	const s = [...values].sort((a, b) => a - b), m = s.length >> 1;
	return s.length % 2 ? s[m] : (s[m - 1] + s[m]) / 2;
};
const format = v => v === 0 ? '0' : Math.abs(v) >= 100 ? Math.round(v).toLocaleString('en') : Number(v.toPrecision(3)).toString();

/** The runs of one row seen by figure: medians, ratios of figures of the same run, and why a figure is missing. */
function view(done) {
	const all = key => done.map(d => d.figures[key]);
	const numbers = key => all(key).filter(v => typeof v === 'number' && Number.isFinite(v));
	return {
		numbers,
		median: key => numbers(key).length ? median(numbers(key)) : NaN,
		worst: key => numbers(key).length ? Math.max(...numbers(key)) : NaN,
		least: key => numbers(key).length ? Math.min(...numbers(key)) : NaN,
		ratio: (a, b) => {
			const r = done.map(d => d.figures[a] / d.figures[b]).filter(Number.isFinite);
			return r.length ? median(r) : NaN;
		},
		reason: key => {
			for (let k = key; k; k = k.slice(0, Math.max(0, k.lastIndexOf(' ')))) {
				const e = all(k).find(v => v instanceof Error);
				if (e) return e.message.split('\n')[0];
			}
			return Object.values(done[0].figures).find(x => x instanceof Error)?.message.split('\n')[0] ?? 'no value';
		},
	};
}

/** A floor is a bound (least, most or below) on a number, by default the median of the line's figure; a missing number is neither met nor missed. */
function verdict(line, v) {
	if (!line.floor) return '';
	const x = line.of ? line.of(v) : v.median(line.key);
	if (Number.isNaN(x)) return 'not measured';
	return x >= (line.least ?? -Infinity) && x <= (line.most ?? Infinity) && x < (line.below ?? Infinity) ? 'met' : 'falls short';
}

function tableLine(line, v) {
	const numbers = v.numbers(line.key);
	const ratios = Object.entries(line.ratios ?? {}).map(([label, key]) => [label, v.ratio(line.key, key)])
		.filter(([, r]) => Number.isFinite(r)).map(([label, r]) => `${format(r)} × ${label}`).join('; ');
	const shown = numbers.length
		? [`${format(median(numbers))} ${line.unit}`.trim(), `${format(Math.min(...numbers))} – ${format(Math.max(...numbers))}`]
		: [`not measured: ${v.reason(line.key)}`, ''];
	return `| ${[line.label, ...shown, numbers.length, ratios, line.floor ?? '', verdict(line, v)].join(' | ')} |`;
}

/** Whether a row's first figure, which is always unrdf's, was measured. */
export const measured = (row, done) => view(done).numbers(row.lines[0].key).length > 0;

/** Markdown of one row. */
export function section(row, done) {
	const v = view(done), noisy = done.filter(d => d.busy > .1).length;
	return [`## ${row.name}: ${row.title}`, '',
		`${new Date().toISOString().slice(0, 10)}, ${commit()}${noisy ? `, ${noisy} of ${done.length} runs began beside other work on the machine` : ''}.`, '',
		'| figure | median of runs | min – max | runs | ratio, same run | floor | |', '|---|---|---|---|---|---|---|',
		...row.lines.map(line => tableLine(line, v)), ''].join('\n');
}

function commit() {
	const git = (...args) => execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
	try {
		const changed = git('status', '--porcelain', '--', 'src', 'sql', 'Makefile') !== '';
		return `commit ${git('rev-parse', '--short', 'HEAD')}${changed ? ' with local changes' : ''}`;
	} catch {
		return 'no commit known';
	}
}

async function machine() {
	const [v] = await query('postgres', `SELECT current_setting('server_version') AS server,
		(SELECT default_version FROM pg_available_extensions WHERE name = 'unrdf') AS unrdf,
		(SELECT default_version FROM pg_available_extensions WHERE name = 'pgq') AS pgq`);
	return `Last run ${new Date().toISOString().slice(0, 10)}: ${cpus().length} cores (${cpus()[0].model}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}; ` +
		`PostgreSQL ${v.server}, unrdf ${v.unrdf}, graphile-worker ${packageVersion('graphile-worker')}, pg-boss ${packageVersion('pg-boss')}, ` +
		`PgQ ${v.pgq ?? 'not installed'}, Node ${process.versions.node}, pg ${packageVersion('pg')}.`;
}

/** Splits RESULTS.md into its sections by heading. */
function readSections() {
	if (!existsSync(file)) return {};
	const parts = readFileSync(file, 'utf8').split(/^## /m).slice(1);
	return Object.fromEntries(parts.map(p => [p.match(/^[^:\n]+/)[0], `## ${p}`]));
}

const WHY = 'What falls short, and why';

export async function writeResults(names, fresh) {
	const kept = readSections(), all = { ...kept, ...fresh };
	const floors = names.filter(n => all[n]).flatMap(n => all[n].split('\n').filter(l => /^\| .* \| (met|falls short|not measured) \|$/.test(l)).map(l => {
		const [figure, shown, , , ratio, floor, met] = l.slice(2, -2).split(' | ');
		return `| ${[n, figure, shown, ratio || '–', floor, met].join(' | ')} |`;
	}));
	writeFileSync(file, ['# Measured figures', '',
		'Written by `make bench` (`test/bench/run`); README.md says what each figure means and how it is taken. A partial run replaces only its own sections. The section',
		`“${WHY}” is written by hand and kept.`, '', await machine(), '',
		'## Floors', '', '| row | figure | median | ratio | floor | |', '|---|---|---|---|---|---|', ...floors, '',
		(kept[WHY] ?? `## ${WHY}\n\n`).trimEnd(), '',
		...names.filter(n => all[n]).map(n => all[n].trimEnd() + '\n')].join('\n'));
	console.log(`written: ${file}`);
}
