-- Cases for the verify row: good proofs, tampered ones, forged receipts.

CREATE FUNCTION bench.flip(data bytea, n bigint) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT set_bit(data, n % (8 * octet_length(data)), 1 - get_bit(data, n % (8 * octet_length(data)))) $$;

CREATE FUNCTION bench.flip_node(proof bytea[], node int, n bigint) RETURNS bytea[] LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT proof[:node - 1] || bench.flip(proof[node], n) || proof[node + 1:] $$;

-- Proofs of every receipt in the newest tree, then in one of three quarters its size; a tampered copy of each, in six ways by turns.
-- A changed tree size is not among them: a root alone holds for several sizes, which is why size and root are signed together.
CREATE FUNCTION bench.make_cases(wanted bigint) RETURNS void LANGUAGE plpgsql AS
$$
DECLARE
	whole bigint := (SELECT size FROM unrdf.log_size());
BEGIN
	CREATE UNLOGGED TABLE bench.proof AS
		SELECT row_number() OVER () AS k, p.leaf, p.index, p.tree_size, p.proof, p.root
			FROM unnest(ARRAY[whole, whole * 3 / 4]) AS t (size), unrdf.receipt AS r, unrdf.inclusion_proof(r.id, t.size) AS p
			WHERE p.index IS NOT NULL LIMIT wanted;
	CREATE UNLOGGED TABLE bench.tampered AS
		SELECT k, CASE k % 6 WHEN 0 THEN bench.flip(leaf, k) ELSE leaf END AS leaf,
			CASE k % 6 WHEN 1 THEN index # 1 ELSE index END AS index, tree_size,
			CASE k % 6 WHEN 2 THEN bench.flip_node(proof, 1 + (k / 6 % cardinality(proof))::int, k)
				WHEN 3 THEN proof[2:]
				WHEN 4 THEN proof || root
				ELSE proof END AS proof,
			CASE k % 6 WHEN 5 THEN bench.flip(root, k) ELSE root END AS root
			FROM bench.proof;
	IF (SELECT count(*) FROM bench.proof) <> wanted
		OR EXISTS (SELECT FROM bench.proof AS g JOIN bench.tampered AS t USING (k)
			WHERE (g.leaf, g.index, g.proof, g.root) = (t.leaf, t.index, t.proof, t.root)) THEN
		RAISE EXCEPTION 'the cases are not what they should be';
	END IF;
	ANALYZE bench.proof, bench.tampered;
END
$$;

-- Nine receipts of ten are changed, as a superuser could, in nine ways by turns. Ids are handed out in steps, so the turn goes by row number.
CREATE FUNCTION bench.forge() RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
	CREATE TABLE bench.turn AS SELECT id AS receipt, row_number() OVER (ORDER BY id) % 10 AS way FROM unrdf.receipt;
	CREATE TABLE bench.forged AS SELECT receipt FROM bench.turn WHERE way <> 9;
	ANALYZE bench.turn;
	UPDATE unrdf.receipt AS r SET
		started_at = CASE t.way WHEN 0 THEN r.started_at - interval '1 microsecond' ELSE r.started_at END,
		finished_at = CASE t.way WHEN 1 THEN r.finished_at + interval '1 microsecond' ELSE r.finished_at END,
		attempt = CASE t.way WHEN 2 THEN r.attempt + 1 ELSE r.attempt END,
		outcome = CASE t.way WHEN 3 THEN 2 ELSE r.outcome END,
		operation = CASE t.way WHEN 4 THEN r.operation || '_' ELSE r.operation END,
		actor = CASE t.way WHEN 5 THEN r.actor || '_' ELSE r.actor END,
		salt = CASE t.way WHEN 6 THEN bench.flip(r.salt, r.id) ELSE r.salt END,
		payload_hash = CASE t.way WHEN 7 THEN bench.flip(r.payload_hash, r.id) ELSE r.payload_hash END
		FROM bench.turn AS t WHERE t.receipt = r.id AND t.way < 8;
	UPDATE unrdf.job AS j SET args = '{"forged": true}' FROM bench.turn AS t WHERE t.receipt = j.id AND t.way = 8;
END
$$;
