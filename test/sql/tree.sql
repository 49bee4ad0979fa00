-- Merkle trees (RFC 9162, 2.1) against an independent computation in SQL, with pgcrypto's digest: roots, inclusion and
-- consistency proofs of the log, and what is malformed.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA tree;

-- The definitions, as the RFC writes them
CREATE FUNCTION tree.leaf(d bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT public.digest('\x00'::bytea || d, 'sha256') $$;
CREATE FUNCTION tree.node(l bytea, r bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$ SELECT public.digest('\x01'::bytea || l || r, 'sha256') $$;
CREATE FUNCTION tree.split(n bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	k bigint := 1;
BEGIN
	WHILE k * 2 < n LOOP
		k := k * 2;
	END LOOP;
	RETURN k;
END $$;
CREATE FUNCTION tree.root(leaves bytea[]) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n bigint := cardinality(leaves);
	k bigint;
BEGIN
	IF n = 0 THEN
		RETURN public.digest(''::bytea, 'sha256');
	ELSIF n = 1 THEN
		RETURN leaves[1];
	END IF;
	k := tree.split(n);
	RETURN tree.node(tree.root(leaves[1:k]), tree.root(leaves[k + 1:n]));
END $$;
CREATE FUNCTION tree.path(m bigint, leaves bytea[]) RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n bigint := cardinality(leaves);
	k bigint;
BEGIN
	IF n = 1 THEN
		RETURN '{}';
	END IF;
	k := tree.split(n);
	IF m < k THEN
		RETURN tree.path(m, leaves[1:k]) || tree.root(leaves[k + 1:n]);
	END IF;
	RETURN tree.path(m - k, leaves[k + 1:n]) || tree.root(leaves[1:k]);
END $$;
CREATE FUNCTION tree.subproof(m bigint, leaves bytea[], b boolean) RETURNS bytea[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	n bigint := cardinality(leaves);
	k bigint;
BEGIN
	IF m = n THEN
		RETURN CASE WHEN b THEN '{}' ELSE ARRAY[tree.root(leaves)] END;
	END IF;
	k := tree.split(n);
	IF m <= k THEN
		RETURN tree.subproof(m, leaves[1:k], b) || tree.root(leaves[k + 1:n]);
	END IF;
	RETURN tree.subproof(m - k, leaves[k + 1:n], false) || tree.root(leaves[1:k]);
END $$;

-- RFC 6962's reference leaves
SELECT n, encode(unrdf.merkle_root(entries[1:n]), 'hex') AS root,
	unrdf.merkle_root(entries[1:n]) = (SELECT unrdf.merkle_root(e ORDER BY i) FROM unnest(entries[1:n]) WITH ORDINALITY AS t (e, i)) AS aggregated,
	unrdf.merkle_root(entries[1:n]) = tree.root((SELECT coalesce(array_agg(tree.leaf(e) ORDER BY i), '{}') FROM unnest(entries[1:n]) WITH ORDINALITY AS t (e, i))) AS defined
FROM (SELECT ARRAY['', '\x00', '\x10', '\x2021', '\x3031', '\x40414243', '\x5051525354555657', '\x606162636465666768696a6b6c6d6e6f']::bytea[] AS entries) AS d, generate_series(0, 8) AS n;
SELECT count(*) AS same FROM generate_series(0, 300) AS n
WHERE unrdf.merkle_root((SELECT coalesce(array_agg(int4send(i) ORDER BY i), '{}') FROM generate_series(1, n) AS i))
	= tree.root((SELECT coalesce(array_agg(tree.leaf(int4send(i)) ORDER BY i), '{}') FROM generate_series(1, n) AS i));
SELECT unrdf.node_hash(unrdf.leaf_hash('a'), unrdf.leaf_hash('b')) = tree.node(tree.leaf('a'), tree.leaf('b')) AS node, unrdf.merkle_root('{}'::bytea[]) = sha256('') AS empty,
	unrdf.merkle_root(ARRAY['a', 'b']::bytea[]) = unrdf.merkle_root(ARRAY['b', 'a']::bytea[]) AS in_any_order, unrdf.merkle_root(NULL::bytea[]) IS NULL AS of_null;
SELECT unrdf.merkle_root(e) = sha256('') AS empty FROM (SELECT ''::bytea AS e WHERE false) AS s;
SELECT unrdf.merkle_root(repeat('x', 100000)::bytea) = tree.leaf(repeat('x', 100000)::bytea) AS of_one;
\set VERBOSITY sqlstate
SELECT unrdf.merkle_root(ARRAY['a', NULL]::bytea[]);
SELECT unrdf.merkle_root(e) FROM (VALUES ('a'::bytea), (NULL)) AS t (e);
SELECT unrdf.node_hash('a', unrdf.leaf_hash('b'));
\set VERBOSITY default

-- The log: a few hundred leaves, more than a tile
SELECT count(unrdf.record('create', 'tree/' || i)) FROM generate_series(1, 300) AS i;
-- whoever integrates them, they are in the log after this
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT size FROM unrdf.log_size() \gset
CREATE TABLE tree.leaves AS SELECT i, (unrdf.inclusion_proof(1, i, NULL)).* FROM generate_series(0, :size - 1) AS i;
SELECT count(*) = :size AS all, count(*) FILTER (WHERE index = i AND tree_size >= :size AND unrdf.verify_inclusion(leaf, index, tree_size, proof, root)) = :size AS verify FROM tree.leaves;
SELECT count(*) FILTER (WHERE l.leaf <> unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(r.id), 'UTF8'))) AS other_leaf
FROM unrdf.receipt AS r JOIN tree.leaves AS l ON l.i = unrdf.leaf_index(r.id) WHERE r.subject LIKE 'tree/%';
SELECT array_agg(leaf ORDER BY i) AS leaves INTO tree.log FROM tree.leaves;

-- Inclusion at sizes of the past, where the RFC's definition gives the same path and root
SELECT count(*), count(*) FILTER (WHERE p.proof = tree.path(x.i, g.leaves[1:x.n]) AND p.root = tree.root(g.leaves[1:x.n]) AND p.leaf = g.leaves[x.i + 1] AND p.tree_size = x.n) AS defined
FROM tree.log AS g, (SELECT n, i FROM unnest(ARRAY[1, 2, 3, 7, 8, 100, 255, 256, 257, 300]) AS n, unnest(ARRAY[0, 1, 2, 6, 64, 99, 254, 255, 256, 299]) AS i WHERE i < n) AS x,
	unrdf.inclusion_proof(1, x.i, x.n) AS p;

-- Consistency of any two sizes
CREATE TABLE tree.pairs AS
SELECT p.* FROM (SELECT a, b FROM unnest(ARRAY[1, 2, 3, 4, 6, 7, 8, 128, 255, 256, 257, 299, 300]) AS a, unnest(ARRAY[1, 2, 3, 5, 8, 127, 255, 256, 257, 290, 300]) AS b WHERE a <= b) AS x, unrdf.consistency_proof(1, x.a, x.b) AS p;
SELECT count(*), count(*) FILTER (WHERE p.proof = tree.subproof(old_tree_size, g.leaves[1:tree_size], true) AND old_root = tree.root(g.leaves[1:old_tree_size]) AND root = tree.root(g.leaves[1:tree_size])) AS defined,
	count(*) FILTER (WHERE unrdf.verify_consistency(old_tree_size, old_root, tree_size, root, proof)) AS verify,
	count(*) FILTER (WHERE unrdf.verify_consistency(old_tree_size, old_root, tree_size, root, proof || sha256(''))) AS longer,
	count(*) FILTER (WHERE cardinality(proof) > 0 AND unrdf.verify_consistency(old_tree_size, old_root, tree_size, root, proof[2:])) AS shorter,
	count(*) FILTER (WHERE unrdf.verify_consistency(old_tree_size, set_byte(old_root, 31, get_byte(old_root, 31) # 1), tree_size, root, proof)) AS other_old_root,
	count(*) FILTER (WHERE unrdf.verify_consistency(old_tree_size, old_root, tree_size, set_byte(root, 0, get_byte(root, 0) # 128), proof)) AS other_root,
	count(*) FILTER (WHERE old_tree_size < tree_size AND unrdf.verify_consistency(tree_size, root, old_tree_size, old_root, proof)) AS backwards
FROM tree.log AS g, tree.pairs AS p;
SELECT old_tree_size, tree_size >= :size AS newest FROM unrdf.consistency_proof(1, 300);
SELECT (p.i).* FROM (SELECT unrdf.inclusion_proof(1, NULL, 5) AS i) AS p;
SELECT (p.c).* FROM (SELECT unrdf.consistency_proof(NULL, 1, 5) AS c) AS p;

-- What is malformed is false
SELECT count(*) AS refused FROM (VALUES
	(1::bigint, '\x00'::bytea, 2::bigint, sha256('')::bytea, ARRAY[sha256('')]),
	(1, sha256(''), 2, '\x00', ARRAY[sha256('')]),
	(0, sha256(''), 2, sha256(''), '{}'),
	(-1, sha256(''), 2, sha256(''), ARRAY[sha256('')]),
	(1, sha256(''), -2, sha256(''), ARRAY[sha256('')]),
	(2, sha256(''), 1, sha256(''), ARRAY[sha256('')]),
	(1, sha256(''), 2, sha256(''), ARRAY['\x00'::bytea]),
	(1, sha256(''), 2, sha256(''), ARRAY[NULL::bytea]),
	(1, sha256(''), 2, sha256(''), ARRAY[ARRAY[sha256('')]]),
	(1, sha256(''), 9223372036854775807, sha256(''), array_fill(sha256(''), ARRAY[65])),
	(1, sha256(''), 9223372036854775807, sha256(''), array_fill(sha256(''), ARRAY[1000])),
	(9223372036854775806, sha256(''), 9223372036854775807, sha256(''), array_fill(sha256(''), ARRAY[63])),
	(1, sha256(''), 2, sha256(''), ARRAY[repeat('x', 100000)::bytea])) AS t (a, ra, b, rb, p)
WHERE NOT unrdf.verify_consistency(a, ra, b, rb, p);

-- What there is not is an error
\set VERBOSITY sqlstate
SELECT unrdf.consistency_proof(1, 0, 5);
SELECT unrdf.consistency_proof(1, 6, 5);
SELECT unrdf.consistency_proof(1, -1, 5);
SELECT unrdf.consistency_proof(7, 1, 5);
SELECT unrdf.inclusion_proof(7, 1, 5);
SELECT unrdf.inclusion_proof(1, 5, 5);
SELECT unrdf.inclusion_proof(1, -5, 5);
SELECT unrdf.inclusion_proof(1, 1, -5);
SELECT unrdf.consistency_proof(1, 1, 9223372036854775807);
SELECT unrdf.inclusion_proof(1, 1, 9223372036854775807);

DROP SCHEMA tree CASCADE;
