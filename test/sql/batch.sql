-- Batches: one receipt for many items, each of which can be proved against it; erasing; forgeries.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA ba;

-- One receipt, with the count and the root of what an independent computation over the items gives
CREATE TABLE ba.item AS SELECT i - 1 AS index, jsonb_build_object('n', i, 'name', 'é' || i) AS item FROM generate_series(1, 1000) AS i;
SELECT unrdf.record_batch('ba/import', (SELECT array_agg(item ORDER BY index) FROM ba.item), 'import') AS batch \gset
SELECT kind, operation, subject, revision, payload ->> 'count' AS count FROM unrdf.receipt WHERE id = :batch;
SELECT unrdf.receipt(:batch) ->> 'kind' AS kind;
SELECT count(*) AS items, count(*) FILTER (WHERE p.leaf = digest('\x00'::bytea || p.salt || convert_to(unrdf.canonical_json(i.item), 'UTF8'), 'sha256')) AS leaves,
	count(*) FILTER (WHERE unrdf.verify_inclusion(p.leaf, p.index, p.count, p.proof, p.root)) AS proved,
	count(DISTINCT p.salt) AS salts,
	bool_and(encode(p.root, 'hex') = r.payload ->> 'root') AS root,
	unrdf.merkle_root(p.salt || convert_to(unrdf.canonical_json(i.item), 'UTF8') ORDER BY p.index) = min(p.root::text)::bytea AS of_items
FROM ba.item AS i, unrdf.item_proof(:batch, i.index) AS p, unrdf.receipt AS r WHERE r.id = :batch;
SELECT verdict, count(*) FROM ba.item, unrdf.verify_item(:batch, index, item) GROUP BY 1;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict, count(*) FROM ba.item, unrdf.verify_item(:batch, index, item) GROUP BY 1;
SELECT verdict, reason FROM unrdf.verify(:batch);

-- What is not an item of it
SELECT verdict, reason FROM unrdf.verify_item(:batch, 16, '{"n": 18, "name": "é18"}');
SELECT verdict, reason FROM unrdf.verify_item(:batch, 1000, '{}');
SELECT verdict, reason FROM unrdf.verify_item(:batch, -1, '{}');
SELECT verdict, reason FROM unrdf.verify_item(-1, 0, '{}');
SELECT p.* FROM unrdf.item_proof(:batch, 1000) AS p;
SELECT p.* FROM unrdf.item_proof(:batch, -1) AS p;
SELECT p.* FROM unrdf.item_proof(-1, 0) AS p;

-- Every size around those of groups; a batch is chained to its subject
CREATE TABLE ba.sized AS SELECT s AS size, (SELECT unrdf.record_batch('ba/size', array_agg(to_jsonb(i))) FROM generate_series(0, s - 1) AS i) AS id
FROM unnest(ARRAY[1, 2, 3, 255, 256, 257, 511, 512, 513]) AS s;
SELECT size, count(*) AS proved FROM ba.sized AS b, generate_series(0, size - 1) AS i, unrdf.item_proof(b.id, i) AS p
WHERE unrdf.verify_inclusion(unrdf.leaf_hash(p.salt || convert_to(i::text, 'UTF8')), p.index, p.count, p.proof, p.root) GROUP BY 1 ORDER BY 1;
SELECT max(revision) AS revisions, count(previous) AS linked FROM unrdf.receipt WHERE subject = 'ba/size';

-- More than a segment, in the memory of one
SELECT unrdf.record_batch('ba/large', (SELECT array_agg(to_jsonb(i) ORDER BY i) FROM generate_series(0, 99999) AS i)) AS large \gset
SELECT first, octet_length(keys) AS keys, octet_length(salts) AS salts, octet_length(leaves) AS leaves, octet_length(nodes) AS nodes FROM unrdf.batch_segment WHERE receipt = :large ORDER BY 1;
SELECT count(*) AS proved FROM unnest(ARRAY[0, 255, 256, 65535, 65536, 99999]) AS i, unrdf.item_proof(:large, i) AS p
WHERE unrdf.verify_inclusion(unrdf.leaf_hash(p.salt || convert_to(i::text, 'UTF8')), p.index, p.count, p.proof, p.root);
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict FROM unrdf.verify(:large);

-- What cannot be recorded
SELECT unrdf.record_batch('ba/none', '{}');
SELECT unrdf.record_batch('ba/null', ARRAY['1', NULL]::jsonb[]);
SELECT unrdf.record_batch('ba/null', NULL);
SELECT unrdf.record_batch(NULL, '{1}');
SELECT unrdf.record_batch('', '{1}');
SELECT unrdf.record_batch('audit/1/rows', '{1}');
SELECT unrdf.record_batch('receipt/1', '{1}');
SELECT unrdf.record_batch('ba/erase', '{1}', 'erase');
SELECT unrdf.record_batch('ba/number', '{1.00000000000000000000000000000000001}');
SELECT unrdf.record('batch', 'ba/kind');
SELECT count(*) AS left_by_those FROM unrdf.batch AS b WHERE NOT EXISTS (SELECT FROM unrdf.receipt AS r WHERE r.id = b.receipt);

-- Forgeries: each is found, and by what it changed
CREATE FUNCTION ba.try(change text, batch bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace(change, ':batch', batch::text);
	RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = (
		SELECT format('%s, %s; verify_all finds %s, item %s', v.verdict, v.reason, (SELECT count(*) FROM unrdf.verify_all() AS a WHERE a.receipt = batch), i.verdict)
		FROM unrdf.verify(batch) AS v, unrdf.verify_item(batch, 999, '{"n": 1000, "name": "é1000"}') AS i);
EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
	RETURN SQLERRM;
END
$$;
SELECT ba.try(change, :batch) FROM (VALUES
	('UPDATE unrdf.batch_segment SET leaves = set_byte(leaves, 5, 255 - get_byte(leaves, 5)) WHERE receipt = :batch'),
	('UPDATE unrdf.batch_segment SET leaves = substr(leaves, 2) WHERE receipt = :batch'),
	('UPDATE unrdf.batch_segment SET nodes = set_byte(nodes, 5, 255 - get_byte(nodes, 5)) WHERE receipt = :batch'),
	('DELETE FROM unrdf.batch_segment WHERE receipt = :batch'),
	('DELETE FROM unrdf.batch WHERE receipt = :batch'),
	('UPDATE unrdf.batch SET n = 999 WHERE receipt = :batch'),
	('UPDATE unrdf.batch SET n = 4611686018427387904 WHERE receipt = :batch'),
	('UPDATE unrdf.batch SET audited = 1 WHERE receipt = :batch'),
	('UPDATE unrdf.batch_segment SET salts = '''' WHERE receipt = :batch'),
	('UPDATE unrdf.batch_segment SET salts = set_byte(salts, 15999, 255 - get_byte(salts, 15999)) WHERE receipt = :batch'),
	('UPDATE unrdf.receipt SET payload = payload || ''{"count": 999}'' WHERE id = :batch'),
	('UPDATE unrdf.receipt SET payload = NULL WHERE id = :batch'),
	('UPDATE unrdf.receipt SET payload = ''[]'' WHERE id = :batch'),
	('UPDATE unrdf.receipt SET revision = NULL WHERE id = :batch'),
	('UPDATE unrdf.receipt SET kind = 2 WHERE id = :batch')) AS t (change);
SELECT verdict FROM unrdf.verify(:batch);

-- Erased, nobody can guess an item from its leaf, and every proof stays
CREATE TABLE ba.before AS SELECT p.* FROM ba.item, unrdf.item_proof(:batch, index) AS p;
SELECT unrdf.erase(:batch, 'asked for') > 0 AS erased;
\set VERBOSITY sqlstate
SELECT unrdf.erase(:batch, 'asked for');
\set VERBOSITY default
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict, reason LIKE 'erased by leaf %' AS by_a_leaf FROM unrdf.verify(:batch);
SELECT verdict, reason LIKE 'erased by leaf %' AS by_a_leaf, count(*) FROM ba.item, unrdf.verify_item(:batch, index, item) GROUP BY 1, 2;
SELECT count(*) AS proofs, count(*) FILTER (WHERE (p.leaf, p.root, p.proof) = (b.leaf, b.root, b.proof)) AS same, count(p.salt) AS salts,
	count(*) FILTER (WHERE unrdf.verify_inclusion(unrdf.leaf_hash(b.salt || convert_to(unrdf.canonical_json(i.item), 'UTF8')), p.index, p.count, p.proof, p.root)) AS with_kept_salt
FROM ba.before AS b JOIN ba.item AS i USING (index), unrdf.item_proof(:batch, index) AS p;
SELECT sum(octet_length(salts)) AS salts FROM unrdf.batch_segment WHERE receipt = :batch;
SELECT receipt, reason FROM unrdf.verify_all();
DROP SCHEMA ba CASCADE;
