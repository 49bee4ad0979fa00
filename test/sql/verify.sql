-- Verification of ranges, of what came after a checkpoint, and by ranges that go on where they were interrupted; what was published. Forgeries.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA vf;
CREATE PROCEDURE vf.await_integration() LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT size FROM unrdf.log_size()) < (SELECT count(*) FROM unrdf.receipt) LOOP
		PERFORM pg_sleep(0.001);
		COMMIT;
	END LOOP;
END $$;
-- two checkpoints, and leaves after them; more than three tiles
SELECT count(unrdf.record('create', 'vf/a' || i)) FROM generate_series(1, 600) AS i;
CALL vf.await_integration();
SELECT unrdf.publish_checkpoint() AS old \gset
SELECT count(unrdf.record('create', 'vf/b' || i)) FROM generate_series(1, 300) AS i;
CALL vf.await_integration();
SELECT unrdf.publish_checkpoint() AS new \gset
SELECT count(unrdf.record('create', 'vf/c' || i)) FROM generate_series(1, 10) AS i;
CALL vf.await_integration();
SELECT size FROM unrdf.log_size() \gset
SELECT :size - :new AS after_new, :new - :old AS between;
SELECT unrdf.checkpoint(:old) AS old_text, unrdf.checkpoint(:new) AS new_text \gset
-- a receipt after the old checkpoint, in a tile that is full, and one of before it
SELECT max(id) AS receipt FROM unrdf.receipt WHERE subject = 'vf/b30' \gset
SELECT max(id) AS before FROM unrdf.receipt WHERE subject = 'vf/a30' \gset
SELECT unrdf.leaf_index(:receipt) AS leaf \gset
CREATE FUNCTION vf.masked(reason text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT regexp_replace(reason, '\d+', 'N', 'g') $$;

-- Every range is good
CREATE TEMP TABLE bound AS SELECT DISTINCT least(greatest(b, 0), :size) AS at FROM unnest(ARRAY[0, 1, 2, 3, 255, 256, 257, 511, 512, 513, :old - 1, :old, :old + 1, :leaf, :leaf + 1, :new, :size - 1, :size]) AS b;
SELECT count(*) > 100 AS ranges, count(v.reason) AS findings FROM bound AS f JOIN bound AS t ON f.at <= t.at LEFT JOIN LATERAL unrdf.verify_range(f.at, t.at, 0) AS v ON true;
SELECT count(*) FROM unrdf.verify_range(0);
SELECT count(*) FROM unrdf.verify_range(:leaf, workers => 2);
SELECT count(*) FROM unrdf.verify_range(:size);
SELECT count(*) FROM unrdf.verify_all();
\set VERBOSITY sqlstate
SELECT * FROM unrdf.verify_range(-1);
SELECT * FROM unrdf.verify_range(5, 4);
SELECT * FROM unrdf.verify_range(0, :size + 1);
SELECT * FROM unrdf.verify_range(:size + 1);
SELECT * FROM unrdf.verify_range(9223372036854775807);
SELECT * FROM unrdf.verify_range(0, -9223372036854775808);
SELECT * FROM unrdf.verify_range(NULL);
SELECT * FROM unrdf.verify_range(0, 1, -2);
\set VERBOSITY default

-- A forged receipt is found by the ranges that have it, and by no other
BEGIN;
UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = :receipt;
SELECT count(*) FILTER (WHERE f.at <= :leaf AND :leaf < t.at) > 10 AS having_it, count(*) FILTER (WHERE (v.receipt IS NOT DISTINCT FROM :receipt) <> (f.at <= :leaf AND :leaf < t.at)) AS wrong,
	string_agg(DISTINCT v.reason, '; ') AS reasons
FROM bound AS f JOIN bound AS t ON f.at <= t.at LEFT JOIN LATERAL unrdf.verify_range(f.at, t.at, 0) AS v ON true;
ROLLBACK;
-- with its leaf, and the tile: it is the root that is another
CREATE PROCEDURE vf.forge(forged bigint) LANGUAGE plpgsql AS $$
DECLARE
	leaf bigint := unrdf.leaf_index(forged);
	hash bytea;
BEGIN
	UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = forged;
	hash := unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(forged), 'UTF8'));
	UPDATE unrdf.integration SET leaves = overlay(leaves PLACING hash FROM ((leaf - first) * 40 + 9)::int) WHERE log = 1 AND leaf BETWEEN first AND first + n - 1;
	UPDATE unrdf.tile SET hashes = overlay(hashes PLACING hash FROM (leaf % 256 * 32 + 1)::int) WHERE log = 1 AND level = 0 AND idx = leaf / 256;
END $$;
BEGIN;
CALL vf.forge(:receipt);
SELECT verdict FROM unrdf.verify(:receipt);
SELECT receipt, vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf, :leaf + 1);
SELECT receipt, vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf - 1, :leaf + 1);
SELECT DISTINCT receipt, vf.masked(regexp_replace(reason, '^roots? of the trees? of size.*', 'roots are not those of their leaves')) AS reason FROM unrdf.verify_range(:leaf) ORDER BY 2;
ROLLBACK;
-- the newest root: no range is tied to it any more
BEGIN;
UPDATE unrdf.integration SET root = digest('x', 'sha256') WHERE log = 1 AND first = (SELECT max(first) FROM unrdf.integration WHERE log = 1);
SELECT DISTINCT vf.masked(reason) AS reason FROM bound AS b, unrdf.verify_range(b.at, b.at + 1, 0) WHERE b.at < :size - 1 ORDER BY 1;
SELECT vf.masked(reason) AS reason FROM unrdf.verify_range(:size);
ROLLBACK;
-- what is missing, in the range and before it
BEGIN; DELETE FROM unrdf.receipt WHERE id = :receipt; SELECT receipt = :receipt AS it, reason FROM unrdf.verify_range(:leaf, :leaf + 1); ROLLBACK;
-- whether trees of the range need more of the tile than its root depends on how many leaves there are
BEGIN; DELETE FROM unrdf.tile WHERE log = 1 AND level = 0 AND idx = :leaf / 256; SELECT DISTINCT vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf, :leaf + 1) WHERE reason LIKE 'tile%' ORDER BY 1; ROLLBACK;
BEGIN; DELETE FROM unrdf.tile WHERE log = 1 AND level = 0 AND idx = 0; SELECT vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf, :leaf + 1); ROLLBACK;
BEGIN; DELETE FROM unrdf.integration WHERE log = 1 AND :leaf BETWEEN first AND first + n - 1; SELECT vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf, :leaf + 1); ROLLBACK;
BEGIN; UPDATE unrdf.integration SET leaves = '' WHERE log = 1 AND :leaf BETWEEN first AND first + n - 1; SELECT vf.masked(reason) AS reason FROM unrdf.verify_range(:leaf, :leaf + 1); ROLLBACK;
-- tiles of levels and places that no log has
BEGIN; INSERT INTO unrdf.tile SELECT log, l, i, root, subroots, hashes FROM unrdf.tile, (VALUES (-1, 0), (7, 0), (2147483647, 5), (0, -1), (6, 0)) AS t (l, i) WHERE log = 1 AND level = 0 AND idx = 0; SELECT reason FROM unrdf.verify_all(); ROLLBACK;
-- a receipt that the log has gone past, of the transaction that wrote the newest leaves
ALTER TABLE unrdf.receipt DISABLE TRIGGER restore_begins;
BEGIN;
INSERT INTO unrdf.receipt SELECT nextval('unrdf.operation_id'), xid, started_at, finished_at, epoch, attempt, revision, kind, outcome, operation, actor, 'vf forged', salt, payload_hash, result_hash, previous, payload, result
	FROM unrdf.receipt WHERE id = :receipt RETURNING id AS forged \gset
SELECT receipt = :forged AS it, reason FROM unrdf.verify_all();
SELECT sum((v.receipt = :forged)::int) AS once FROM (SELECT at AS first, lead(at) OVER (ORDER BY at) AS stop FROM bound) AS b, unrdf.verify_range(b.first, b.stop, 0) AS v WHERE b.stop IS NOT NULL;
ROLLBACK;
ALTER TABLE unrdf.receipt ENABLE TRIGGER restore_begins;
-- a second leaf, in a tree that is otherwise right
CREATE TEMP TABLE leaf AS
	SELECT i.first + k AS index, ('x' || encode(substr(i.leaves, k * 40 + 1, 8), 'hex'))::bit(64)::bigint AS receipt FROM unrdf.integration AS i, generate_series(0, i.n - 1) AS k WHERE i.log = 1;
ALTER TABLE unrdf.integration DISABLE TRIGGER restore_begins;
BEGIN;
INSERT INTO unrdf.integration (log, first, n, epoch, xid_min, xid_max, at, position, root, landmarks, leaves)
	SELECT 1, :size, 1, i.epoch, r.xid, i.xid_max, i.at, p.position,
		(SELECT unrdf.merkle_root(convert_to(unrdf.canonical_receipt(t.receipt), 'UTF8') ORDER BY t.index) FROM (SELECT index, receipt FROM leaf UNION ALL SELECT :size, :receipt) AS t),
		int8send(:receipt),
		int8send(:receipt) || unrdf.leaf_hash(convert_to(unrdf.canonical_receipt(:receipt), 'UTF8'))
	FROM unrdf.receipt AS r, unrdf.integration AS i, unrdf.integration AS p
	WHERE r.id = :receipt AND i.log = 1 AND :leaf BETWEEN i.first AND i.first + i.n - 1 AND p.log = 1 AND p.first + p.n = :size;
SELECT receipt = :receipt AS it, reason FROM unrdf.verify_all();
SELECT receipt = :receipt AS it, reason FROM unrdf.verify_range(:leaf, :leaf + 1) UNION ALL SELECT receipt = :receipt AS it, reason FROM unrdf.verify_range(:size);
ROLLBACK;
ALTER TABLE unrdf.integration ENABLE TRIGGER restore_begins;

-- From a checkpoint on: what came after it, and that the log goes on from it
SELECT count(*) FROM unrdf.verify_all(since => :'old_text');
SELECT count(*) FROM unrdf.verify_all(2, :'new_text');
SELECT count(*) FROM unrdf.verify_all(since => regexp_replace(:'old_text', '\n\n.*', E'\n'));
BEGIN;
UPDATE unrdf.receipt SET actor = 'mallory' WHERE id IN (:receipt, :before);
SELECT receipt = :receipt AS after_it, reason FROM unrdf.verify_all(since => :'old_text');
SELECT count(*) AS nothing FROM unrdf.verify_all(since => :'new_text');
SELECT count(*) AS both FROM unrdf.verify_all();
ROLLBACK;
-- rewritten before it, consistently: found, since the tree is another
BEGIN;
CALL vf.forge(:before);
DELETE FROM unrdf.checkpoint;
CREATE TEMP TABLE root AS SELECT i.first, unrdf.merkle_root(convert_to(unrdf.canonical_receipt(l.receipt), 'UTF8') ORDER BY l.index) AS root
	FROM unrdf.integration AS i JOIN leaf AS l ON l.index < i.first + i.n WHERE i.log = 1 AND i.first + i.n > unrdf.leaf_index(:before) GROUP BY 1;
UPDATE unrdf.integration AS i SET root = r.root FROM root AS r WHERE i.log = 1 AND i.first = r.first;
CREATE TEMP TABLE tile AS SELECT t.idx, unrdf.merkle_root(convert_to(unrdf.canonical_receipt(l.receipt), 'UTF8') ORDER BY l.index) AS root
	FROM unrdf.tile AS t JOIN leaf AS l ON l.index / 256 = t.idx WHERE t.log = 1 AND t.level = 0 GROUP BY 1;
CREATE TEMP TABLE subroots AS SELECT idx, string_agg(root, '' ORDER BY g) AS subroots FROM (
	SELECT index / 256 AS idx, index / 16 AS g, unrdf.merkle_root(convert_to(unrdf.canonical_receipt(receipt), 'UTF8') ORDER BY index) AS root FROM leaf GROUP BY 1, 2) AS g GROUP BY 1;
UPDATE unrdf.tile AS t SET subroots = s.subroots FROM subroots AS s WHERE t.log = 1 AND t.level = 0 AND t.idx = s.idx;
UPDATE unrdf.tile AS t SET root = n.root FROM tile AS n WHERE t.log = 1 AND t.level = 0 AND t.idx = n.idx;
SELECT count(*) AS nothing_shows FROM unrdf.verify_all();
SELECT vf.masked(reason) AS reason FROM unrdf.verify_all(since => :'old_text');
SELECT vf.masked(reason) AS reason FROM unrdf.verify_all(since => :'new_text');
ROLLBACK;
-- cut off
BEGIN;
DELETE FROM unrdf.integration WHERE log = 1 AND first >= :old;
DELETE FROM unrdf.tile WHERE log = 1 AND level = 0 AND idx >= :old / 256;
SELECT vf.masked(reason) AS reason FROM unrdf.verify_all(since => :'new_text');
ROLLBACK;
SELECT vf.masked(reason) AS reason FROM unrdf.verify_all(since => E'x\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n');
\set VERBOSITY sqlstate
SELECT * FROM unrdf.verify_all(since => '');
SELECT * FROM unrdf.verify_all(since => 'x');
SELECT * FROM unrdf.verify_all(since => E'x\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n');
SELECT * FROM unrdf.verify_all(since => E'x\n1\nAAAA\n');
\set VERBOSITY default

-- What was published
CREATE FUNCTION vf.published(OUT by_all text, OUT by_range text, OUT elsewhere text) LANGUAGE sql AS $$
	SELECT (SELECT string_agg(DISTINCT vf.masked(reason), '; ') FROM unrdf.verify_all()),
		(SELECT string_agg(DISTINCT vf.masked(v.reason), '; ') FROM unrdf.checkpoint AS c, unrdf.verify_range(c.size - 1, c.size) AS v WHERE c.size BETWEEN 1 AND (SELECT size FROM unrdf.log_size())),
		(SELECT string_agg(DISTINCT vf.masked(v.reason), '; ') FROM unrdf.verify_range(0, 1) AS v)
$$;
SELECT * FROM vf.published();
BEGIN; UPDATE unrdf.checkpoint SET root = digest('x', 'sha256') WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET root = (SELECT root FROM unrdf.checkpoint WHERE size = :new) WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET size = size + 1 WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET size = :size + 1 WHERE size = :new; SELECT by_all FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET size = -size WHERE size = :new; SELECT by_all FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET epoch = epoch + 1000 WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET origin = 'x' WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET origin = E'x\ny' WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = (SELECT signatures FROM unrdf.checkpoint WHERE size = :new) WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = signatures || signatures WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = signatures || (SELECT signatures FROM unrdf.checkpoint WHERE size = :new) WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = rtrim(signatures, E'\n') WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = 'x' WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.checkpoint SET signatures = repeat(signatures, 101) WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; DELETE FROM unrdf.log_key; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; UPDATE unrdf.log_key SET key = 'x'; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; INSERT INTO unrdf.log_key SELECT 'other', key, epoch, first_used_at FROM unrdf.log_key; SELECT by_all FROM vf.published(); ROLLBACK;
-- every one of them
BEGIN; DELETE FROM unrdf.log_key; SELECT count(*) = (SELECT count(*) FROM unrdf.checkpoint) AS each FROM unrdf.verify_all(); ROLLBACK;
-- published without a key: only the root speaks
BEGIN; UPDATE unrdf.checkpoint SET signatures = ''; SELECT * FROM vf.published(); ROLLBACK;
-- a cosignature that nobody gave
BEGIN; INSERT INTO unrdf.cosignature SELECT 1, origin, size, 'x', 'x', now() FROM unrdf.checkpoint WHERE size = :old; SELECT * FROM vf.published(); ROLLBACK;
BEGIN; INSERT INTO unrdf.cosignature VALUES (1, 'x', :old, 'x', 'x', now()); SELECT * FROM vf.published(); ROLLBACK;

-- By ranges
CALL unrdf.verify_log(100) \gset
SELECT :leaves = :size AS all_of_it, :findings AS findings, :'verified' = regexp_replace(unrdf.checkpoint(:new), '\n.*', E'\n') || :size || E'\n' || encode((SELECT root FROM unrdf.log_size()), 'base64') || E'\n' AS tree;
SELECT count(*) = ceil(:size / 100.0) AS ranges, bool_and(stop - first = 100 OR stop = :size) AS steps, count(DISTINCT size) AS sizes, sum(findings) AS findings,
	bool_and((stop_root, stop) = (SELECT p.root, p.tree_size FROM unrdf.inclusion_proof(1, 0, stop) AS p)) AS roots, count(*) FILTER (WHERE first_root IS NULL AND first > 0) AS unknown
FROM unrdf.verified WHERE run = :run;
SELECT run AS first_run, verified AS tree FROM (VALUES (:run, :'verified')) AS v (run, verified) \gset
-- with nothing new since, and with something
CALL unrdf.verify_log(since => :'tree') \gset
SELECT :run - :first_run AS next_run, :leaves AS leaves, :findings AS findings, :'verified' = :'tree' AS same;
CALL unrdf.verify_log(since => :'new_text') \gset
SELECT :run - :first_run AS next_run, :leaves AS leaves, :findings AS findings;
-- interrupted behind 200 leaves; what is forged in them then is not looked at again, what is forged behind them is found
SELECT first, stop, findings, complete, verified FROM unrdf.verify_step(NULL, 150, 0);
SELECT run AS interrupted, first, stop, findings, complete, verified FROM unrdf.verify_step(NULL, 50, 1) \gset
SELECT :first AS first, :stop AS stop, :'complete' AS complete;
SELECT receipt AS verified_before FROM leaf WHERE index = 100 \gset
UPDATE unrdf.receipt SET actor = actor || 'x' WHERE id IN (:verified_before, :receipt);
CALL unrdf.verify_log(100) \gset
SELECT :run = :interrupted AS same_run, :leaves = :size - 200 AS the_rest, :findings AS findings, NOT :{?verified} AS and_no_tree;
SELECT receipt = :receipt AS it, reason FROM unrdf.finding WHERE run = :run;
CALL unrdf.verify_log(100, 0) \gset
SELECT :run - :interrupted AS next_run, :leaves = :size AS all_of_it, :findings AS findings;
SELECT array_agg(receipt ORDER BY first) = ARRAY[:verified_before, :receipt]::bigint[] AS both FROM unrdf.finding WHERE run = :run;
UPDATE unrdf.receipt SET actor = left(actor, -1) WHERE id IN (:verified_before, :receipt);
-- one that is complete is left alone; there is no other
CALL unrdf.verify_log(100, run => :run) \gset
SELECT :leaves AS leaves, :findings AS findings;
-- the tree that a range goes on from has to be there
SELECT run AS interrupted FROM unrdf.verify_step(NULL, 100) \gset
UPDATE unrdf.verified SET stop_root = digest('x', 'sha256') WHERE run = :interrupted;
CALL unrdf.verify_log() \gset
SELECT first, vf.masked(reason) AS reason FROM unrdf.finding WHERE run = :run;
-- an interrupted run goes on with the checkpoint that it began at, and with no other
SELECT run AS interrupted FROM unrdf.verify_step(NULL, 100, since => :'old_text') \gset
SELECT run - :interrupted AS goes_on, first - :old AS first FROM unrdf.verify_step(NULL, 50, since => :'old_text');
SELECT run - :interrupted AS begins, first - :new AS first, complete FROM unrdf.verify_step(NULL, 50, since => :'new_text');
SELECT run - :interrupted AS goes_on, first - :old AS first, complete FROM unrdf.verify_step(:interrupted, 1000000);
-- and not where all is asked for, nor the other way round
SELECT run AS interrupted FROM unrdf.verify_step(NULL, 50, since => :'old_text') \gset
SELECT run - :interrupted AS begins, first, stop FROM unrdf.verify_step(NULL, 50);
SELECT run - :interrupted AS goes_on, first, stop FROM unrdf.verify_step(NULL, 50);
SELECT run - :interrupted AS begins, first - :old AS first FROM unrdf.verify_step(NULL, 50, since => :'old_text');
-- whatever the isolation
SET default_transaction_isolation = serializable;
CALL unrdf.verify_log(300, 1) \gset
SELECT :leaves = :size AS all_of_it, :findings AS findings;
RESET default_transaction_isolation;
-- a log that is shorter than it was
SELECT run AS interrupted FROM unrdf.verify_step(NULL, :old + 100) \gset
BEGIN;
DELETE FROM unrdf.integration WHERE log = 1 AND first >= :old;
SELECT findings, complete, verified FROM unrdf.verify_step(NULL, 100);
SELECT vf.masked(reason) AS reason FROM unrdf.finding WHERE run = :interrupted;
ROLLBACK;
\set VERBOSITY sqlstate
CALL unrdf.verify_log(0);
CALL unrdf.verify_log(NULL);
CALL unrdf.verify_log(100, -2);
CALL unrdf.verify_log(since => 'x');
CALL unrdf.verify_log(run => 1000000);
BEGIN;
CALL unrdf.verify_log();
ROLLBACK;
\set VERBOSITY default

-- All is as it was
DELETE FROM unrdf.verified;
DELETE FROM unrdf.finding;
SELECT * FROM unrdf.verify_all();
SELECT count(*) AS running FROM unrdf.stat_verify;
