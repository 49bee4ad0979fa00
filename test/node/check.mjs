// Checks what a database exported with other people's code: canonical JSON with "canonicalize", inclusion and signed notes with
// "@sigstore/verify", roots, paths and consistency with "@transmute/rfc9162", key ids and once more signatures with Node's own
// crypto. None of unrdf's code is used, and nothing is read but the files of one folder, which test/t/015_node.pl fills:
//
//   key                a verifier key                            (unrdf.log_keys)
//   receipts           exported receipts, one after the other    (unrdf.export_receipt)
//   old, new           two checkpoints                           (unrdf.checkpoint)
//   consistency.json   proofs from many sizes to the newest      (unrdf.consistency_proof)
//   values.json        values and their canonical texts          (unrdf.canonical_json)
//   site/              the log as static files                   (unrdf.export_tiles)
//
// Prints TAP. Writes beside them what is for unrdf's side to judge: tampered/<n>, changed receipts, and inclusion.tsv and
// consistency.tsv, proofs that the packages made.

import { createHash, createPublicKey, verify } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import canonicalize from 'canonicalize'
import rfc9162module from '@transmute/rfc9162'
import merkle from '@sigstore/verify/dist/timestamp/merkle.js'
import checkpoints from '@sigstore/verify/dist/timestamp/checkpoint.js'

const rfc9162 = rfc9162module.default ?? rfc9162module
const folder = process.argv[2]
let tests = 0

const text = (name) => readFileSync(`${folder}/${name}`, 'utf8')
const hex = (bytes) => Buffer.from(bytes).toString('hex')
const same = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()

function ok(good, name) {
	console.log(`${good ? 'ok' : 'not ok'} ${++tests} - ${name}`)
}

// Whether something holds for all of many; with nothing to look at it does not.
async function all(items, holds, name) {
	let bad = 0
	for (const item of items)
		if (!(await holds(item))) bad++
	ok(items.length > 0 && bad === 0, `${name}: ${items.length - bad} of ${items.length}`)
}

// Whether a package that throws its refusals accepts something.
function accepted(check) {
	try {
		check()
		return true
	} catch (error) {
		if (error.code !== 'TLOG_INCLUSION_PROOF_ERROR') throw error
		return false
	}
}

// <name>+<id>+<base64 of a type and a public key>
function readKey(line) {
	const [, name, id, material] = /^([^+\n]+)\+([0-9a-f]{8})\+(\S+)\n*$/.exec(line)
	const bytes = Buffer.from(material, 'base64')
	const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), bytes.subarray(1)])
	return { name, id, bytes, publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }) }
}

function readCheckpoint(note) {
	const [origin, size, root] = note.split('\n')
	return { note, origin, size: Number(size), root: Buffer.from(root, 'base64') }
}

function readReceipts(whole) {
	return whole.split(/^(?=c2sp\.org\/tlog-proof@v1\n)/m).map((one) => {
		const [, extra, index, hashes, note] =
			/^c2sp\.org\/tlog-proof@v1\nextra (\S+)\nindex (\d+)\n((?:\S{44}\n)*)\n([^]*?\n)\n*$/.exec(one)
		return {
			text: one.replace(/\n+$/, '\n'),
			body: Buffer.from(extra, 'base64'),
			index: Number(index),
			hashes: hashes.split('\n').filter((line) => line).map((line) => Buffer.from(line, 'base64')),
			checkpoint: readCheckpoint(note),
		}
	})
}

// The entries of the log, out of its bundles, as C2SP tlog-tiles names and fills them.
function readEntries(size) {
	const entries = []
	for (let n = 0; n * 256 < size; n++) {
		const width = Math.min(256, size - n * 256)
		const name = `site/tile/entries/${String(n).padStart(3, '0')}${width < 256 ? `.p/${width}` : ''}`
		const bundle = readFileSync(`${folder}/${name}`)
		for (let at = 0; at < bundle.length; ) {
			const length = bundle.readUInt16BE(at)
			entries.push(bundle.subarray(at + 2, at + 2 + length))
			at += 2 + length
		}
	}
	return entries
}

// In the form that @sigstore/verify has for an entry of a transparency log.
function entryOf(receipt) {
	return {
		canonicalizedBody: receipt.body,
		integratedTime: '0',
		inclusionProof: {
			logIndex: String(receipt.index),
			treeSize: String(receipt.checkpoint.size),
			rootHash: receipt.checkpoint.root,
			hashes: receipt.hashes,
			checkpoint: { envelope: receipt.checkpoint.note },
		},
	}
}

// Everything that a stranger has to check of a receipt, by two packages.
async function believed(receipt, key) {
	const { checkpoint, index, hashes, body } = receipt
	const log = {
		logID: Buffer.from(key.id, 'hex'),
		publicKey: key.publicKey,
		validFor: { start: new Date(0), end: new Date(0) },
	}
	const bySigstore =
		checkpoint.origin === key.name &&
		accepted(() => merkle.verifyMerkleInclusion(entryOf(receipt))) &&
		accepted(() => checkpoints.verifyCheckpoint(entryOf(receipt), [log]))
	const byTransmute = await rfc9162.verifyInclusionProof(checkpoint.root, await rfc9162.leaf(body), {
		log_id: '',
		tree_size: checkpoint.size,
		leaf_index: index,
		inclusion_path: hashes,
	})
	return [bySigstore, byTransmute]
}

// The package keeps the first root in the path also where the RFC leaves it out: where its size is a power of two.
const isPowerOfTwo = (n) => Number.isInteger(Math.log2(n))

function isConsistent({ old, oldRoot, size, root, proof }) {
	const path = proof.map((hash) => Buffer.from(hash, 'hex'))
	const first = Buffer.from(oldRoot, 'hex')
	return rfc9162.verifyConsistencyProof(first, Buffer.from(root, 'hex'), {
		log_id: '',
		tree_size_1: old,
		tree_size_2: size,
		consistency_path: isPowerOfTwo(old) ? [first, ...path] : path,
	})
}

async function consistencyPath(old, entries) {
	const path = await rfc9162.PROOF(old, entries)
	return isPowerOfTwo(old) ? path.slice(1) : path
}

function flipBit(bytes, bit) {
	const copy = Buffer.from(bytes)
	copy[bit >> 3] ^= 1 << (bit & 7)
	return copy
}

// Changes of a receipt, none of which may be believed.
function tampered(receipt, n) {
	const at = (length) => (n * 2654435761) % (8 * length)
	const changes = [
		{ body: flipBit(receipt.body, at(receipt.body.length)) },
		{ index: receipt.index + 1 < receipt.checkpoint.size ? receipt.index + 1 : 0 },
		{ hashes: receipt.hashes.slice(1) },
		{ hashes: [...receipt.hashes, sha256('')] },
		{ hashes: receipt.hashes.map((hash, i) => (i === n % receipt.hashes.length ? flipBit(hash, at(32)) : hash)) },
		{ checkpoint: readCheckpoint(receipt.checkpoint.note.replace(/^\d+$/m, (size) => String(Number(size) + 1))) },
		{
			checkpoint: readCheckpoint(
				receipt.checkpoint.note.replace(/^\S{44}$/m, (root) => flipBit(Buffer.from(root, 'base64'), at(32)).toString('base64'))),
		},
		{
			checkpoint: readCheckpoint(
				receipt.checkpoint.note.replace(/ (\S+)\n$/, (_, line) =>
					` ${flipBit(Buffer.from(line, 'base64'), 32 + at(64)).toString('base64')}\n`)),
		},
	]
	return { ...receipt, ...changes[n % changes.length] }
}

const toText = ({ body, index, hashes, checkpoint }) =>
	['c2sp.org/tlog-proof@v1', `extra ${body.toString('base64')}`, `index ${index}`, ...hashes.map((hash) => hash.toString('base64')), '', '']
		.join('\n') + checkpoint.note

async function checkReceipts(key, receipts, entries) {
	ok(key.id === hex(sha256(key.name, '\n', key.bytes)).slice(0, 8) && key.bytes[0] === 1, 'the key id is that of the key')
	await all(receipts, (r) => canonicalize(JSON.parse(r.body)) === r.body.toString(), 'receipts are canonical')
	await all(receipts, (r) => same(r.body, entries[r.index]), 'receipts are the entries of the tiles')
	await all(receipts, async (r) => (await believed(r, key)).every((yes) => yes), 'receipts are proved')
	const changed = Array.from({ length: 400 }, (_, n) => tampered(receipts[n % receipts.length], n))
	await all(changed, async (r) => !(await believed(r, key)).every((yes) => yes), 'tampered receipts are refused')
	mkdirSync(`${folder}/tampered`)
	changed.forEach((r, n) => writeFileSync(`${folder}/tampered/${n}`, toText(r)))
	ok(receipts.every((r) => toText(r) === r.text), 'and are written as they are read')
}

async function checkTrees(key, entries, proofs) {
	for (const name of ['old', 'new']) {
		const { note, origin, size, root } = readCheckpoint(text(name).replace(/\n*$/, '\n'))
		const end = note.indexOf('\n\n') + 1
		const [, signer, line] = /^\u2014 (\S+) (\S+)\n$/.exec(note.slice(end + 1))
		const signature = Buffer.from(line, 'base64')
		ok(origin === key.name && signer === key.name && hex(signature.subarray(0, 4)) === key.id &&
			verify(null, Buffer.from(note.slice(0, end)), key.publicKey, signature.subarray(4)), `checkpoint ${name} is signed`)
		ok(same(await rfc9162.treeHead(entries.slice(0, size)), root), `checkpoint ${name} is the entries' root`)
	}
	await all(proofs, isConsistent, 'trees are consistent')
	await all(proofs, async (p) => same(await rfc9162.treeHead(entries.slice(0, p.old)), Buffer.from(p.oldRoot, 'hex')), 'their roots are the entries\'')
	await all(proofs, async (p) => (await consistencyPath(p.old, entries.slice(0, p.size))).map(hex).join() === p.proof.join(), 'and their proofs the package\'s')
	await all(proofs, async (p) => !(await isConsistent({ ...p, oldRoot: hex(flipBit(Buffer.from(p.oldRoot, 'hex'), p.old % 256)) })), 'not with another old root')
	await all(proofs, async (p) => !(await isConsistent({ ...p, proof: [...p.proof, p.root] })), 'nor with a longer proof')
}

// The leaves of RFC 6962's reference tree, and more.
const reference = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']

// For SQL to verify: all proofs of all trees up to a size.
async function writeProofs(most) {
	const leaves = Array.from({ length: most }, (_, i) => Buffer.from(reference[i] ?? '', 'hex'))
	const array = (hashes) => `{${hashes.map((hash) => `"\\\\\\\\x${hex(hash)}"`).join()}}`
	const bytes = (hash) => `\\\\x${hex(hash)}`
	const inclusion = []
	const consistency = []
	for (let size = 1; size <= most; size++) {
		const tree = leaves.slice(0, size)
		const root = await rfc9162.treeHead(tree)
		for (let i = 0; i < size; i++) {
			inclusion.push([i, size, bytes(tree[i]), bytes(root), array(await rfc9162.PATH(i, tree))].join('\t'))
			const old = i + 1
			const path = old === size ? [] : await consistencyPath(old, tree)
			consistency.push([old, size, bytes(await rfc9162.treeHead(leaves.slice(0, old))), bytes(root), array(path)].join('\t'))
		}
	}
	writeFileSync(`${folder}/inclusion.tsv`, inclusion.join('\n') + '\n')
	writeFileSync(`${folder}/consistency.tsv`, consistency.join('\n') + '\n')
	ok(inclusion.length === (most * (most + 1)) / 2, `${inclusion.length} proofs of each kind are made`)
}

const key = readKey(text('key'))
const receipts = readReceipts(text('receipts'))
const entries = readEntries(readCheckpoint(text('site/checkpoint')).size)
await checkReceipts(key, receipts, entries)
await checkTrees(key, entries, JSON.parse(text('consistency.json')))
await all(JSON.parse(text('values.json')), ([value, canonical]) => canonicalize(JSON.parse(value)) === canonical, 'values are canonical')
await writeProofs(32)
console.log(`1..${tests}`)
