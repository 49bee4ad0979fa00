-- Receipts and their log against an independent computation in SQL, with pgcrypto's digest; forgeries; proofs.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA rc;
CREATE FUNCTION rc.echo(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT CASE WHEN args ? 'none' THEN NULL ELSE args END $$;
CREATE FUNCTION rc.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
SELECT unrdf.register_handler('rc_echo', 'rc.echo(jsonb)', max_attempts => 1);
SELECT unrdf.register_handler('rc_fail', 'rc.fail(jsonb)', max_attempts => 1);
SELECT unrdf.create_queue('rc_paused');
SELECT unrdf.pause_queue('rc_paused');

-- What there is to look at: jobs that ended in every way, and operations that were recorded
CREATE TABLE rc.mine (name text, id bigint);
INSERT INTO rc.mine SELECT 'job', unrdf.enqueue('rc_echo', jsonb_build_object('b', i, 'a', ARRAY[NULL, 'é"\']::text[])) FROM generate_series(1, 700) AS i;
INSERT INTO rc.mine VALUES ('no result', unrdf.enqueue('rc_echo', '{"none": 1}')), ('dead', unrdf.enqueue('rc_fail')),
	('cancelled', unrdf.enqueue('rc_echo', queue => 'rc_paused'));
SELECT unrdf.cancel(id) FROM rc.mine WHERE name = 'cancelled';
INSERT INTO rc.mine VALUES ('create', unrdf.record('create', 'invoice/1 é', '{"total": 10, "lines": []}', 'issue'));
INSERT INTO rc.mine VALUES ('update', unrdf.record('update', 'invoice/1 é', '{"total": 12.5}'));
INSERT INTO rc.mine VALUES ('delete', unrdf.record('delete', 'invoice/1 é'));
INSERT INTO rc.mine VALUES ('other', unrdf.record('create', 'invoice/2'));
-- two of one subject in one statement and in one transaction are linked, too
INSERT INTO rc.mine SELECT 'twice', unrdf.record(kind, 'twice') FROM (VALUES ('create'), ('update'), ('update')) AS t (kind);
-- rolled back, it leaves no gap in the chain
BEGIN;
SELECT unrdf.record('update', 'twice') > 0 AS recorded;
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT unrdf.record('update', 'twice') > 0 AS recorded;
ROLLBACK TO s;
INSERT INTO rc.mine VALUES ('twice', unrdf.record('update', 'twice'));
COMMIT;
SELECT unrdf.wait(id) AS outcome, count(*) FROM rc.mine WHERE name IN ('job', 'no result', 'dead', 'cancelled') GROUP BY 1 ORDER BY 1;
CREATE PROCEDURE rc.await_integration() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM unrdf.receipt WHERE unrdf.leaf_index(id) IS NULL) LOOP
		PERFORM pg_sleep(0.001);
		COMMIT;
	END LOOP;
END $$;
CALL rc.await_integration();
-- what comes last is in no tile yet; three of one transaction are one integration, and one more is another
SELECT count(unrdf.record('create', 'pad/' || i)) < 56 AS padded FROM unrdf.log_size(), generate_series(size % 256, 255) AS i WHERE size % 256 > 200;
CALL rc.await_integration();
INSERT INTO rc.mine SELECT 'three', unrdf.record('create', 'three/' || i) FROM generate_series(1, 3) AS i;
CALL rc.await_integration();
INSERT INTO rc.mine VALUES ('newest', unrdf.record('create', 'newest'));
CALL rc.await_integration();
-- and a checkpoint of all of it, whose root is wrong with any leaf's
SELECT unrdf.publish_checkpoint() = size AS published FROM unrdf.log_size();
-- one whose tile is full: hundreds of leaves come after it
SELECT id AS job FROM rc.mine WHERE name = 'job' ORDER BY unrdf.leaf_index(id) LIMIT 1 OFFSET 300 \gset
SELECT id AS newest FROM rc.mine WHERE name = 'newest' \gset
SELECT min(id) AS three FROM rc.mine WHERE name = 'three' \gset
SELECT id AS create FROM rc.mine WHERE name = 'create' \gset
SELECT id AS update FROM rc.mine WHERE name = 'update' \gset

-- The chain of a subject
SELECT m.name, r.kind, r.outcome, r.operation, r.revision, r.actor = current_user AS actor, r.payload, r.attempt, previous = unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(lag(r.id) OVER (ORDER BY r.revision)), 'UTF8')) AS linked
FROM rc.mine AS m JOIN unrdf.receipt AS r ON r.id = m.id WHERE subject = 'invoice/1 é' ORDER BY revision;
SELECT revision, previous IS NOT NULL AS has_previous FROM unrdf.receipt WHERE subject IN ('twice', 'invoice/2') ORDER BY subject, revision;
SELECT name, unrdf.receipt(id) - '{actor,id,epoch,node,origin,started,finished,payload,previous,result}'::text[] - CASE WHEN kind = 1 THEN 'subject' ELSE '' END AS receipt,
	unrdf.receipt(id)->>'subject' = coalesce(subject, 'job/' || id) AS subject, unrdf.receipt(id)->>'actor' = current_user AS actor
FROM rc.mine JOIN unrdf.receipt USING (id) WHERE name NOT IN ('job', 'twice', 'three', 'newest') ORDER BY id;
SELECT unrdf.receipt(-1) IS NULL AS none, unrdf.canonical_receipt(-1) IS NULL AS none_either, unrdf.leaf_index(-1) IS NULL AS nor_a_leaf;

-- Canonical JSON, for what was put in here
CREATE FUNCTION rc.jcs(v jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT CASE jsonb_typeof(v)
		WHEN 'object' THEN '{' || coalesce((SELECT string_agg(to_json(key)::text || ':' || rc.jcs(value), ',' ORDER BY key COLLATE "C") FROM jsonb_each(v)), '') || '}'
		WHEN 'array' THEN '[' || coalesce((SELECT string_agg(rc.jcs(value), ',' ORDER BY n) FROM jsonb_array_elements(v) WITH ORDINALITY AS t (value, n)), '') || ']'
		ELSE v::text END $$;
-- Payload and result hashes
SELECT count(*), bool_and(r.payload_hash = digest(r.salt || convert_to(rc.jcs(CASE WHEN j.id IS NULL THEN coalesce(r.payload, 'null') ELSE j.args END), 'UTF8'), 'sha256')) AS payload,
	count(r.result) AS results, bool_and(r.result_hash = digest(r.salt || convert_to(rc.jcs(r.result), 'UTF8'), 'sha256')) AS result,
	count(DISTINCT r.salt) AS salts
FROM rc.mine AS m JOIN unrdf.receipt AS r ON r.id = m.id LEFT JOIN unrdf.job AS j ON j.id = r.id;
-- The receipt's canonical form, rebuilt from its columns
CREATE FUNCTION rc.instant(t timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
CREATE FUNCTION rc.rebuilt(r unrdf.receipt) RETURNS text LANGUAGE sql AS $$
	SELECT rc.jcs(jsonb_strip_nulls(jsonb_build_object('version', 1, 'id', r.id, 'kind', (ARRAY['execute', 'create', 'update', 'delete'])[r.kind],
		'outcome', (ARRAY['ok', 'dead', 'cancelled'])[r.outcome], 'operation', r.operation, 'actor', r.actor, 'attempt', r.attempt, 'epoch', r.epoch,
		'origin', e.origin, 'node', e.node, 'subject', coalesce(r.subject, 'job/' || r.id), 'revision', r.revision,
		'started', rc.instant(r.started_at), 'finished', rc.instant(r.finished_at),
		'payload', encode(r.payload_hash, 'hex'), 'result', encode(r.result_hash, 'hex'), 'previous', encode(r.previous, 'hex'))))
	FROM unrdf.epoch AS e WHERE e.epoch = r.epoch $$;
SELECT count(*), bool_and(unrdf.canonical_receipt(r.id) = rc.rebuilt(r)) AS same FROM rc.mine AS m JOIN unrdf.receipt AS r ON r.id = m.id;
SELECT bool_and(unrdf.receipt(id) = unrdf.canonical_receipt(id)::jsonb) AS same FROM rc.mine;

-- The log: every receipt once, in gapless order; leaf hashes; roots
CREATE TEMP TABLE leaf AS
	SELECT i.first + k AS index, ('x' || encode(substr(i.leaves, k * 40 + 1, 8), 'hex'))::bit(64)::bigint AS receipt, substr(i.leaves, k * 40 + 9, 32) AS hash
	FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k WHERE i.log = 1;
SELECT count(*) = (SELECT count(*) FROM unrdf.receipt) AS all, count(DISTINCT receipt) = count(*) AS once, min(index) AS first, max(index) = count(*) - 1 AS gapless,
	count(*) = (SELECT size FROM unrdf.log_size()) AS size FROM leaf;
SELECT count(*), bool_and(l.index = unrdf.leaf_index(m.id) AND l.hash = digest('\x00'::bytea || convert_to(rc.rebuilt(r), 'UTF8'), 'sha256')) AS right
FROM rc.mine AS m JOIN unrdf.receipt AS r ON r.id = m.id JOIN leaf AS l ON l.receipt = m.id;
CREATE FUNCTION rc.root(leaves bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(leaves);
	k int := 1;
BEGIN
	IF n = 0 THEN
		RETURN public.digest('', 'sha256');
	ELSIF n = 1 THEN
		RETURN leaves[1];
	END IF;
	WHILE k * 2 < n LOOP
		k := k * 2;
	END LOOP;
	RETURN public.digest('\x01'::bytea || rc.root(leaves[:k]) || rc.root(leaves[k + 1:]), 'sha256');
END $$;
SELECT (SELECT root FROM unrdf.log_size()) = rc.root(array_agg(hash ORDER BY index)) AS newest FROM leaf;
SELECT count(*) > 0 AS any, bool_and(i.root = rc.root((SELECT array_agg(l.hash ORDER BY l.index) FROM leaf AS l WHERE l.index < i.first + i.n))) AS right
FROM (SELECT * FROM unrdf.integration WHERE log = 1 ORDER BY first LIMIT 20) AS i;
-- tiles; those of higher levels are in test volume
SELECT count(*) > 1 AS any, bool_and(hashes = (SELECT string_agg(l.hash, '' ORDER BY l.index) FROM leaf AS l WHERE l.index / 256 = t.idx)) AS right
FROM unrdf.tile AS t WHERE log = 1 AND level = 0;
SELECT unrdf.leaf_hash('') = digest('\x00'::bytea, 'sha256') AS leaf_hash, unrdf.leaf_hash(convert_to('é', 'UTF8')) = digest('\x00c3a9'::bytea, 'sha256') AS of_bytes, unrdf.leaf_hash(NULL) IS NULL AS strict;

-- All good
SELECT (v).verdict, (v).reason, count(*) FROM (SELECT unrdf.verify(id) AS v FROM rc.mine) AS t GROUP BY 1, 2;
SELECT * FROM unrdf.verify(-1);
SELECT * FROM unrdf.verify(NULL);
SELECT * FROM unrdf.verify_all();
SELECT * FROM unrdf.verify_all(0);
SELECT * FROM unrdf.verify_all(2);
-- not integrated yet: this transaction's own
BEGIN;
SELECT unrdf.record('create', 'rc pending') AS own \gset
SELECT verdict, reason FROM unrdf.verify(:own);
SELECT unrdf.leaf_index(:own) IS NULL AS not_yet;
ROLLBACK;

-- Forgeries. What verify says of the receipt, and what verify_all finds: numbers are left out, they depend on what ran before
CREATE FUNCTION rc.check(forged bigint) RETURNS TABLE (found_by text, names_it boolean, reason text) LANGUAGE sql AS $$
	SELECT 'verify', true, verdict || coalesce(': ' || regexp_replace(reason, '\d+', 'N', 'g'), '') FROM unrdf.verify(forged)
	UNION ALL
	(SELECT DISTINCT 'verify_all', receipt IS NOT DISTINCT FROM forged,
		regexp_replace(regexp_replace(reason, '^roots? of the trees? of size.*', 'roots are not those of their leaves'), '\d+', 'N', 'g')
	FROM unrdf.verify_all() ORDER BY 2 DESC, 3)
$$;
BEGIN; UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET outcome = 2 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET kind = 4 WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET attempt = 2 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET finished_at = finished_at + interval '1 us' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET started_at = started_at - interval '1 us' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET operation = 'else' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET epoch = epoch + 1000 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET xid = '1' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET salt = gen_random_bytes(16) WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET salt = '' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.job SET args = args || '{"b": 0}' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.job SET args = NULL WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.job SET args = '9007199254740993' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; DELETE FROM unrdf.job WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result = '"better"' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result = NULL WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result = '"better"', result_hash = digest(salt || '"better"', 'sha256') WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET payload = '{"total": 0}' WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET payload = '{"total": 0}', payload_hash = digest(salt || '{"total":0}', 'sha256') WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET previous = digest('x', 'sha256') WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET previous = NULL WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET subject = 'invoice/3' WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET revision = 77 WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; DELETE FROM unrdf.receipt WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; DELETE FROM unrdf.receipt WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
-- the remaining columns, and those that a receipt of its kind does not have
BEGIN; UPDATE unrdf.receipt SET id = nextval('unrdf.operation_id') WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET payload_hash = digest('x', 'sha256') WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET payload_hash = substr(payload_hash, 2) WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET salt = salt || '\x00' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result_hash = digest('x', 'sha256') WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result_hash = NULL WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET result_hash = NULL, result = NULL WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET payload = '1' WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET subject = 'job/' || id WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET revision = 1 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET subject = 'job/' || id, revision = 1 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET previous = payload_hash WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET kind = 2 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET kind = 1 WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET revision = NULL WHERE id = :update; SELECT * FROM rc.check(:update); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET subject = NULL WHERE id = :newest; SELECT * FROM rc.check(:newest); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET subject = NULL, revision = NULL WHERE id = :newest; SELECT * FROM rc.check(:newest); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET previous = payload_hash WHERE id = :create; SELECT * FROM rc.check(:create); ROLLBACK;
BEGIN; UPDATE unrdf.receipt SET xid = (xid::text::bigint + 1000000)::text::xid8 WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.job SET id = -id WHERE id = :job; SELECT * FROM rc.check(:job); ROLLBACK;
-- a row that was never integrated, though the log is past its transaction; the trigger would take it for a restored one
ALTER TABLE unrdf.receipt DISABLE TRIGGER restore_begins;
BEGIN;
INSERT INTO unrdf.receipt SELECT nextval('unrdf.operation_id'), xid, started_at, finished_at, epoch, attempt, revision, kind, outcome, operation, actor, 'forged', salt, payload_hash, result_hash, previous, payload, result
	FROM unrdf.receipt WHERE id = :newest RETURNING id AS forged \gset
SELECT * FROM rc.check(:forged);
ROLLBACK;
ALTER TABLE unrdf.receipt ENABLE TRIGGER restore_begins;

-- the receipt's leaf in unrdf.integration: its hash, its receipt
SELECT first, (unrdf.leaf_index(:job) - first) * 40 AS at FROM unrdf.integration WHERE log = 1 AND unrdf.leaf_index(:job) BETWEEN first AND first + n - 1 \gset
BEGIN; UPDATE unrdf.integration SET leaves = set_byte(leaves, :at + 8, get_byte(leaves, :at + 8) # 1) WHERE log = 1 AND first = :first; SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET leaves = set_byte(leaves, :at, 1) WHERE log = 1 AND first = :first; SELECT names_it, count(*) > 0 AS findings FROM rc.check(:job) GROUP BY 1 ORDER BY 1; ROLLBACK;
-- every column of an integration, of which another follows
SELECT first AS at_three FROM unrdf.integration WHERE log = 1 AND unrdf.leaf_index(:three) BETWEEN first AND first + n - 1 \gset
BEGIN; UPDATE unrdf.integration SET leaves = substr(leaves, 2) WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET leaves = substr(leaves, 41, 40) || substr(leaves, 1, 40) || substr(leaves, 81) WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET leaves = substr(leaves, 1, 40) || substr(leaves, 1, 40) || substr(leaves, 81) WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET n = 2 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET n = 4 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET n = 2, leaves = substr(leaves, 1, 80) WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET first = first + 1 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET first = -1 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET log = 2 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET xid_min = (xid_min::text::bigint + 1)::text::xid8, xid_max = (xid_max::text::bigint + 1)::text::xid8 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET xid_max = (xid_max::text::bigint - 1)::text::xid8 WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET root = substr(root, 2) WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
BEGIN; DELETE FROM unrdf.integration WHERE log = 1 AND first = :at_three; SELECT * FROM rc.check(:three); ROLLBACK;
-- what no receipt and no root speaks of: where the integrator has read to and when, a job's lane, its failures
BEGIN;
UPDATE unrdf.integration SET at = at + interval '1 s', epoch = epoch + 1, position = '' WHERE log = 1 AND first = :at_three;
UPDATE unrdf.job SET queue = 0, priority = 0, key = 'x', run_at = now(), enqueued_at = now(), max_attempts = 1, timeout_ms = 1 WHERE id = :job;
UPDATE unrdf.attempt SET message = 'x', sqlstate = '00000';
SELECT * FROM rc.check(:job);
ROLLBACK;
-- one that is in no tile yet
SELECT first AS last, (unrdf.leaf_index(:newest) - first) * 40 AS at FROM unrdf.integration WHERE log = 1 AND unrdf.leaf_index(:newest) BETWEEN first AND first + n - 1 \gset
BEGIN; UPDATE unrdf.integration SET leaves = set_byte(leaves, :at + 8, get_byte(leaves, :at + 8) # 1) WHERE log = 1 AND first = :last; SELECT * FROM rc.check(:newest); ROLLBACK;
-- its tile
SELECT unrdf.leaf_index(:job) / 256 AS tile, unrdf.leaf_index(:job) % 256 * 32 AS at \gset
BEGIN; UPDATE unrdf.tile SET hashes = set_byte(hashes, :at, get_byte(hashes, :at) # 128) WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; DELETE FROM unrdf.tile WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET root = set_byte(root, 7, get_byte(root, 7) # 1) WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET subroots = set_byte(subroots, 7, get_byte(subroots, 7) # 1) WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET log = 2 WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET level = 1 WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET idx = idx + 1000 WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; UPDATE unrdf.tile SET hashes = substr(hashes, 33) || substr(hashes, 1, 32) WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
BEGIN; INSERT INTO unrdf.tile SELECT log, 3, 5, root, subroots, hashes FROM unrdf.tile WHERE log = 1 AND level = 0 AND idx = :tile; SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
-- the newest root, and an older one
BEGIN; UPDATE unrdf.integration SET root = set_byte(root, 31, get_byte(root, 31) # 1) WHERE log = 1 AND first = (SELECT max(first) FROM unrdf.integration WHERE log = 1); SELECT * FROM rc.check(:job); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET root = set_byte(root, 0, get_byte(root, 0) # 1) WHERE log = 1 AND first = (SELECT min(first) FROM unrdf.integration WHERE log = 1); SELECT * FROM rc.check(:job) WHERE found_by = 'verify_all'; ROLLBACK;
-- the epoch: every receipt of it
BEGIN; UPDATE unrdf.epoch SET node = node || 'x'; SELECT * FROM rc.check(:job) WHERE found_by = 'verify'; SELECT count(*) >= 700 AS every_one FROM unrdf.verify_all(); ROLLBACK;
BEGIN; UPDATE unrdf.epoch SET origin = origin || 'x'; SELECT * FROM rc.check(:job) WHERE found_by = 'verify'; SELECT count(*) >= 700 AS every_one FROM unrdf.verify_all(); ROLLBACK;
BEGIN; DELETE FROM unrdf.epoch; SELECT * FROM rc.check(:job); ROLLBACK;
-- and all is good again
SELECT * FROM unrdf.verify_all();

-- Inclusion proofs, in the newest tree and in older ones
CREATE TEMP TABLE proof AS SELECT m.id, p.* FROM rc.mine AS m, unrdf.inclusion_proof(m.id) AS p;
SELECT count(*), bool_and(unrdf.verify_inclusion(leaf, index, tree_size, proof, root)) AS verify,
	bool_and(root = (SELECT root FROM unrdf.log_size()) AND leaf = unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(id), 'UTF8')) AND index = unrdf.leaf_index(id)) AS right FROM proof;
SELECT count(*) > 0 AS any, bool_and(p.root = i.root AND p.tree_size = i.first + i.n AND unrdf.verify_inclusion(p.leaf, p.index, p.tree_size, p.proof, p.root)) AS verify
FROM unrdf.integration AS i, unrdf.inclusion_proof(:job, i.first + i.n) AS p WHERE i.log = 1 AND i.first + i.n > unrdf.leaf_index(:job);
SELECT bool_and(p.root = rc.root((SELECT array_agg(l.hash ORDER BY l.index) FROM leaf AS l WHERE l.index < s)) AND unrdf.verify_inclusion(p.leaf, p.index, s, p.proof, p.root)) AS verify
FROM (SELECT receipt FROM leaf WHERE index = 3) AS r, generate_series(4, 40) AS s, unrdf.inclusion_proof(r.receipt, s) AS p;
SELECT * FROM unrdf.inclusion_proof(-1);
SELECT * FROM unrdf.inclusion_proof(NULL);
SELECT index IS NULL AS not_in_it FROM unrdf.inclusion_proof(:job, 0);
SELECT p.index IS NULL AS not_in_it FROM unrdf.inclusion_proof(:job, unrdf.leaf_index(:job)) AS p;
\set VERBOSITY sqlstate
SELECT p.index IS NULL AS larger_than_the_log FROM unrdf.log_size() AS s, unrdf.inclusion_proof(:job, s.size + 1) AS p;
SELECT * FROM unrdf.inclusion_proof(:job, -1);
SELECT * FROM unrdf.verify_all(-2);
SELECT * FROM unrdf.verify_all(1025);
\set VERBOSITY default
-- each bit of a proof counts
CREATE TEMP TABLE one AS SELECT * FROM proof WHERE id = :job;
SELECT count(*) > 0 AS any, count(*) FILTER (WHERE unrdf.verify_inclusion(leaf, index, tree_size, proof[:e - 1] || set_bit(proof[e], b, 1 - get_bit(proof[e], b)) || proof[e + 1:], root)) AS accepted
FROM one, generate_series(1, cardinality(proof)) AS e, generate_series(0, 255) AS b;
SELECT count(*) FILTER (WHERE unrdf.verify_inclusion(set_bit(leaf, b, 1 - get_bit(leaf, b)), index, tree_size, proof, root)) AS leaf,
	count(*) FILTER (WHERE unrdf.verify_inclusion(leaf, index, tree_size, proof, set_bit(root, b, 1 - get_bit(root, b)))) AS root FROM one, generate_series(0, 255) AS b;
SELECT count(*) FILTER (WHERE unrdf.verify_inclusion(leaf, i, tree_size, proof, root)) AS indexes FROM one, generate_series(0, tree_size + 1) AS i;
-- and so does its shape; garbage is false, never an error, and null where there is nothing to answer
SELECT unrdf.verify_inclusion(NULL, index, tree_size, proof, root) IS NULL AS leaf, unrdf.verify_inclusion(leaf, NULL, tree_size, proof, root) IS NULL AS index,
	unrdf.verify_inclusion(leaf, index, NULL, proof, root) IS NULL AS size, unrdf.verify_inclusion(leaf, index, tree_size, NULL, root) IS NULL AS proof,
	unrdf.verify_inclusion(leaf, index, tree_size, proof, NULL) IS NULL AS root FROM one;
SELECT unrdf.verify_inclusion(leaf, index, tree_size, proof || root, root) AS longer, unrdf.verify_inclusion(leaf, index, tree_size, proof[2:], root) AS shorter,
	unrdf.verify_inclusion(leaf, index, tree_size, '{}', root) AS empty, unrdf.verify_inclusion(leaf, tree_size, tree_size, proof, root) AS outside,
	unrdf.verify_inclusion(leaf, -1, tree_size, proof, root) AS negative, unrdf.verify_inclusion(leaf, index, -1, proof, root) AS negative_size,
	unrdf.verify_inclusion(leaf, index, 0, proof, root) AS size_0, unrdf.verify_inclusion(leaf, 9223372036854775806, 9223372036854775807, proof, root) AS huge FROM one;
SELECT unrdf.verify_inclusion('', index, tree_size, proof, root) AS no_leaf, unrdf.verify_inclusion(leaf || '\x00', index, tree_size, proof, root) AS long_leaf,
	unrdf.verify_inclusion(leaf, index, tree_size, proof, '') AS no_root, unrdf.verify_inclusion(leaf, index, tree_size, proof[:1] || NULL::bytea || proof[3:], root) AS a_null,
	unrdf.verify_inclusion(leaf, index, tree_size, proof[:1] || '\x00'::bytea || proof[3:], root) AS short_hash, unrdf.verify_inclusion(leaf, index, tree_size, ARRAY[proof, proof], root) AS two_dimensions,
	unrdf.verify_inclusion(leaf, index, tree_size, array_fill(root, ARRAY[65]), root) AS too_long FROM one;
SELECT unrdf.verify_inclusion(leaf, 0, 1, '{}', leaf) AS only_leaf, unrdf.verify_inclusion(leaf, 0, 1, ARRAY[leaf], leaf) AS with_proof FROM one;
