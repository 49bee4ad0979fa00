// RFC 9162, 2.1.3.2 once more, in PL/pgSQL: what a user would write. An independent check of ours, and what its speed is compared with.

/** SQL of a function of this name; hash turns an expression into one of its SHA-256. */
export const plpgsqlVerifier = (name, hash) => `
	CREATE FUNCTION ${name}(leaf bytea, index bigint, tree_size bigint, proof bytea[], root bytea) RETURNS boolean
		LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS
	$$
	DECLARE
		fn bigint := index;
		sn bigint := tree_size - 1;
		r bytea := leaf;
		p bytea;
	BEGIN
		IF index < 0 OR index >= tree_size THEN
			RETURN false;
		END IF;
		FOREACH p IN ARRAY proof LOOP
			IF sn = 0 THEN
				RETURN false;
			END IF;
			IF fn & 1 = 1 OR fn = sn THEN
				r := ${hash(`'\\x01'::bytea || p || r`)};
				WHILE fn & 1 = 0 AND fn <> 0 LOOP
					fn := fn >> 1;
					sn := sn >> 1;
				END LOOP;
			ELSE
				r := ${hash(`'\\x01'::bytea || r || p`)};
			END IF;
			fn := fn >> 1;
			sn := sn >> 1;
		END LOOP;
		RETURN sn = 0 AND r = root;
	END
	$$`;
export const sha256 = x => `sha256(${x})`;
export const digest = x => `digest(${x}, 'sha256')`;
