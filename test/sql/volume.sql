-- 100,000 jobs in one call, and a log large enough for tiles of the second level. The last test, so that the others' logs are small.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA vol;
CREATE FUNCTION vol.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT args $$;
SELECT unrdf.register_handler('vol_echo', 'vol.echo(jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('vol');
CREATE TEMP TABLE many AS
	SELECT id, n FROM unrdf.enqueue_many('vol_echo', (SELECT array_agg(jsonb_build_object('n', i) ORDER BY i) FROM generate_series(1, 100000) AS i),
		queue => 'vol') WITH ORDINALITY AS t (id, n);
-- every one runs once
SELECT count(*), count(DISTINCT id), bool_and(unrdf.wait(id) = 'ok') AS ok FROM many;
SELECT count(*), bool_and(r.result = jsonb_build_object('n', m.n) AND r.attempt = 1) AS right FROM many AS m JOIN unrdf.receipt AS r ON r.id = m.id;
CREATE PROCEDURE vol.await_integration() LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT size FROM unrdf.log_size()) < (SELECT count(*) FROM unrdf.receipt) LOOP
		PERFORM pg_sleep(0.01);
		COMMIT;
	END LOOP;
END $$;
CALL vol.await_integration();

-- The log: every receipt once
CREATE TEMP TABLE leaf AS
	SELECT i.first + k AS index, ('x' || encode(substr(i.leaves, k * 40 + 1, 8), 'hex'))::bit(64)::bigint AS receipt, substr(i.leaves, k * 40 + 9, 32) AS hash
	FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k WHERE i.log = 1;
SELECT count(DISTINCT receipt) = count(*) AS once, max(index) = count(*) - 1 AS gapless, count(*) = (SELECT size FROM unrdf.log_size()) AS size FROM leaf;
SELECT count(*) AS many, bool_and(l.hash = digest('\x00'::bytea || convert_to(unrdf.canonical_receipt(m.id), 'UTF8'), 'sha256')) AS right
FROM many AS m JOIN leaf AS l ON l.receipt = m.id WHERE m.n % 10 = 0;

-- Its tree, as RFC 6962 (2.1) has it: the roots of each 256 leaves, then the tree of those
CREATE FUNCTION vol.root(hashes bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(hashes);
	k int := 1;
BEGIN
	IF n = 1 THEN
		RETURN hashes[1];
	END IF;
	WHILE k * 2 < n LOOP
		k := k * 2;
	END LOOP;
	RETURN public.digest('\x01'::bytea || vol.root(hashes[:k]) || vol.root(hashes[k + 1:]), 'sha256');
END $$;
CREATE TEMP TABLE of_256 AS SELECT index / 256 AS idx, vol.root(array_agg(hash ORDER BY index)) AS hash FROM leaf GROUP BY 1;
SELECT (SELECT root FROM unrdf.log_size()) = vol.root(array_agg(hash ORDER BY idx)) AS root FROM of_256;
SELECT count(*) = (SELECT size / 256 FROM unrdf.log_size()) AS all FROM unrdf.tile WHERE log = 1 AND level = 0;
SELECT count(*) > 25 AS any,
	bool_and(hashes = (SELECT string_agg(hash, '' ORDER BY index) FROM leaf WHERE index BETWEEN t.idx * 256 AND t.idx * 256 + 255)) AS right,
	bool_and(subroots = (SELECT string_agg(vol.root(ARRAY(SELECT substr(hashes, 512 * g + 32 * i + 1, 32) FROM generate_series(0, 15) AS i)), '' ORDER BY g) FROM generate_series(0, 15) AS g)) AS subroots
FROM unrdf.tile AS t WHERE log = 1 AND level = 0 AND idx % 10 = 0;
SELECT count(*) > 0 AS any, count(*) = (SELECT size / 65536 FROM unrdf.log_size()) AS all,
	bool_and(hashes = (SELECT string_agg(hash, '' ORDER BY idx) FROM of_256 AS o WHERE o.idx / 256 = t.idx)) AS right,
	bool_and(subroots = (SELECT string_agg(vol.root(ARRAY(SELECT substr(hashes, 512 * g + 32 * i + 1, 32) FROM generate_series(0, 15) AS i)), '' ORDER BY g) FROM generate_series(0, 15) AS g)) AS subroots
FROM unrdf.tile AS t WHERE log = 1 AND level = 1;

-- Each is found where it is: ids that follow one another, and, in one integration, ids with wide and uneven gaps
CREATE TEMP TABLE gapped AS SELECT unrdf.record('create', 'vol/' || i) AS receipt, (SELECT count(nextval('unrdf.operation_id')) FROM generate_series(1, i * i % 1000)) AS gap
	FROM generate_series(1, 600) AS i;
CALL vol.await_integration();
INSERT INTO leaf SELECT i.first + k, ('x' || encode(substr(i.leaves, k * 40 + 1, 8), 'hex'))::bit(64)::bigint, substr(i.leaves, k * 40 + 9, 32)
	FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k WHERE i.log = 1 AND i.first > (SELECT max(index) FROM leaf);
SELECT count(*) > 10000 AS many, bool_and(unrdf.leaf_index(receipt) = index) AS right FROM leaf WHERE index % 10 = 0;
SELECT count(*), bool_and(unrdf.leaf_index(receipt) = index) AS right, max(index) - min(index) AS apart, max(receipt) - min(receipt) > 100000 AS gaps FROM gapped JOIN leaf USING (receipt);
-- also where the landmarks of rows are wrong
BEGIN;
SELECT bool_and(landmarks = (SELECT string_agg(substr(leaves, 48 * 40 * m + 1, 8), '' ORDER BY m) FROM generate_series(0, (n - 1) / 48) AS m)) AS right FROM unrdf.integration WHERE log = 1;
CREATE FUNCTION pg_temp.found(bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	UPDATE unrdf.integration SET landmarks = $1;
	RETURN (SELECT bool_and(unrdf.leaf_index(receipt) = index) FROM leaf WHERE index % 100 = 0 OR receipt IN (SELECT receipt FROM gapped));
END $$;
SELECT count(*), bool_and(pg_temp.found(wrong)) AS right
FROM unnest(ARRAY['', '\x00', int8send(0), decode(repeat('00', 4000), 'hex'), decode(repeat('7f', 4000), 'hex'), decode(repeat('7f00000000000000', 100) || repeat('00', 400), 'hex')]) AS wrong;
ROLLBACK;

-- Proofs across the levels, of leaves at both ends and in between
SELECT count(*) > 100 AS many, bool_and(unrdf.verify_inclusion(p.leaf, p.index, p.tree_size, p.proof, p.root)) AS verify,
	bool_and(p.index = l.index AND p.leaf = l.hash AND p.tree_size = s.size AND p.root = s.root) AS right
FROM unrdf.log_size() AS s, LATERAL (SELECT * FROM leaf WHERE index % 997 = 0 OR index IN (255, 256, 65535, 65536, s.size - 1)) AS l, unrdf.inclusion_proof(l.receipt) AS p;
SELECT bool_and(p.root = vol.root((SELECT array_agg(hash ORDER BY idx) FROM of_256 WHERE idx < z / 256)) AND unrdf.verify_inclusion(p.leaf, p.index, z, p.proof, p.root)) AS older
FROM (SELECT receipt FROM leaf WHERE index = 300) AS l, unnest(ARRAY[512, 65280, 65536, 65792]) AS z, unrdf.inclusion_proof(l.receipt, z) AS p;

-- Verification of all, with and without help, and of the second level
SELECT * FROM unrdf.verify_all(0);
SELECT * FROM unrdf.verify_all(2);
BEGIN; UPDATE unrdf.tile SET hashes = set_byte(hashes, 100, get_byte(hashes, 100) # 1) WHERE log = 1 AND level = 1 AND idx = 0; SELECT * FROM unrdf.verify_all(); ROLLBACK;
BEGIN; UPDATE unrdf.tile SET root = set_byte(root, 7, get_byte(root, 7) # 1) WHERE log = 1 AND level = 1 AND idx = 0; SELECT * FROM unrdf.verify_all(); ROLLBACK;
BEGIN; DELETE FROM unrdf.tile WHERE log = 1 AND level = 1 AND idx = 0; SELECT * FROM unrdf.verify_all(); ROLLBACK;
SELECT count(*) AS forgeries FROM many WHERE n % 20000 = 0;
BEGIN; UPDATE unrdf.receipt SET finished_at = finished_at + interval '1 us' WHERE id IN (SELECT id FROM many WHERE n % 20000 = 0);
SELECT m.n, v.reason FROM unrdf.verify_all() AS v LEFT JOIN many AS m ON m.id = v.receipt ORDER BY 1; ROLLBACK;
-- a range reads its own leaves, and what ties them to the newest root; one in which a long transaction was integrated, more
CREATE FUNCTION vol.pages(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) ' || query INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::bigint + (plan->0->'Plan'->>'Shared Read Blocks')::bigint;
END $$;
SELECT vol.pages('SELECT * FROM unrdf.verify_all(0)') > 10000 AS whole, percentile_disc(0.5) WITHIN GROUP (ORDER BY vol.pages(format('SELECT * FROM unrdf.verify_range(%s, %s, 0)', f, f + 1))) < 1000 AS leaf
FROM unnest(ARRAY[0, 5, 255, 256, 50000, 65535, 65536, 99999]) AS f;
-- ranges with help, and what they find; a run of them
SELECT count(*) FROM unrdf.verify_range(1, 50000, 2);
BEGIN; UPDATE unrdf.receipt SET finished_at = finished_at + interval '1 us' WHERE id IN (SELECT receipt FROM leaf WHERE index IN (20000, 20001, 49999, 50000));
SELECT array_agg(l.index ORDER BY l.index) FROM unrdf.verify_range(20001, 50000, 2) AS v LEFT JOIN leaf AS l ON l.receipt = v.receipt; ROLLBACK;
CALL unrdf.verify_log(30000, 2) \gset
SELECT :leaves = size AS all_of_it, :findings AS findings FROM unrdf.log_size();
DELETE FROM unrdf.verified WHERE run = :run;
-- checkpoints of many sizes, one of them forged
BEGIN;
INSERT INTO unrdf.checkpoint SELECT 1, 'vol', p.tree_size, p.root, e.epoch, now(), '', false, '', '0/0'
	FROM (SELECT epoch FROM unrdf.epoch LIMIT 1) AS e, generate_series(1, 100000, 77) AS s, unrdf.consistency_proof(1, s, s) AS p;
SELECT * FROM unrdf.verify_all();
SELECT * FROM unrdf.verify_range(30000, 30100);
UPDATE unrdf.checkpoint SET root = set_byte(root, 5, get_byte(root, 5) # 1) WHERE origin = 'vol' AND size = 30031;
SELECT regexp_replace(reason, 'epoch \d+', 'epoch') AS reason FROM unrdf.verify_all() UNION ALL SELECT regexp_replace(reason, 'epoch \d+', 'epoch') FROM unrdf.verify_range(30030, 30031);
SELECT * FROM unrdf.verify_range(30000, 30030);
SELECT * FROM unrdf.verify_range(30031, 30100);
ROLLBACK;
-- thousands, each named
BEGIN; UPDATE unrdf.receipt SET finished_at = finished_at + interval '1 us' WHERE id IN (SELECT id FROM many WHERE n <= 10005);
SELECT count(v.receipt) AS listed, count(*) - count(v.receipt) AS others, max(v.reason) FILTER (WHERE v.receipt IS NULL) AS other FROM unrdf.verify_all() AS v; ROLLBACK;
SELECT * FROM unrdf.verify_all();
SELECT count(*) AS running FROM unrdf.stat_verify;
