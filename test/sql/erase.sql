-- Erasing a payload: it is gone, receipt, chain and proofs stay, a receipt says so, and verification never calls it ok. What is
-- gone without that is found.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA er;
CREATE FUNCTION er.greet(args jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('greeting', 'hello ' || (args ->> 'name')) $$;
CREATE FUNCTION er.fail(args jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cannot greet %', args ->> 'name' USING DETAIL = args ->> 'name', HINT = 'Ask ' || (args ->> 'name'); END $$;
SELECT unrdf.register_handler('er_greet', 'er.greet(jsonb)'), unrdf.register_handler('er_fail', 'er.fail(jsonb)', max_attempts => 1);
SELECT unrdf.enqueue('er_greet', '{"name": "Ada"}') AS job, unrdf.enqueue('er_fail', '{"name": "Ada"}') AS dead, unrdf.enqueue('er_greet', '{"name": "Bob"}') AS other \gset
SELECT unrdf.record('create', 'er/person', '{"name": "Ada"}') AS person \gset
SELECT unrdf.record('update', 'er/person', '{"name": "Eve"}') AS later \gset
SELECT unrdf.wait(:job), unrdf.wait(:dead), unrdf.wait(:other);
-- whoever integrates them, receipts are in the log after this
SELECT unrdf.integrate() >= 0 AS integrated;
CREATE TABLE er.before AS SELECT id, unrdf.canonical_receipt(id) AS canonical, (unrdf.inclusion_proof(id)).* FROM unnest(ARRAY[:job, :dead, :other, :person, :later]::bigint[]) AS id;

-- Gone
SELECT unrdf.erase(:job, 'asked by Ada') AS erasure \gset
SELECT verdict, reason FROM unrdf.verify(:job) WHERE verdict = 'ok';
SELECT unrdf.erase(:dead, 'asked by Ada') > 0 AS dead, unrdf.erase(:person, 'asked by Ada') > 0 AS person;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT count(*) FILTER (WHERE r.payload IS NOT NULL OR r.result IS NOT NULL OR r.salt <> '') AS in_receipts, count(*) FROM unrdf.receipt AS r WHERE id IN (:job, :dead, :person);
SELECT args FROM unrdf.job WHERE id IN (:job, :dead);
SELECT sqlstate, message, detail, hint, context FROM unrdf.attempt WHERE job = :dead;
SELECT count(*) AS mentions FROM unrdf.job AS j WHERE j::text LIKE '%Ada%';

-- Everything else is there
SELECT count(*) FILTER (WHERE b.canonical = unrdf.canonical_receipt(b.id)) AS same, count(*) FILTER (WHERE unrdf.verify_inclusion(b.leaf, b.index, b.tree_size, b.proof, b.root)) AS old_proofs,
	count(*) FILTER (WHERE unrdf.verify_inclusion(p.leaf, p.index, p.tree_size, p.proof, p.root) AND p.leaf = b.leaf) AS new_proofs
FROM er.before AS b, unrdf.inclusion_proof(b.id) AS p;
SELECT v.verdict, v.reason = 'erased by leaf ' || unrdf.leaf_index(r.id) AS by_its_leaf, r.kind, r.operation, r.payload, r.actor = current_user AS actor
FROM unnest(ARRAY[:job, :dead, :person]::bigint[]) WITH ORDINALITY AS e (id, n), unrdf.verify(e.id) AS v, unrdf.receipt AS r WHERE r.subject = 'receipt/' || e.id ORDER BY n;
SELECT verdict, reason FROM unnest(ARRAY[:erasure, :other, :later]::bigint[]) AS id, unrdf.verify(id);
SELECT count(*) FROM unrdf.verify_all();
SELECT state, attempts FROM unrdf.jobs WHERE id IN (:job, :dead) ORDER BY id;

-- An erasure can be erased, and stays one
SELECT unrdf.erase(:erasure, 'it named her') > 0 AS erased;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT verdict, reason LIKE 'erased by leaf %' AS by_a_leaf FROM unnest(ARRAY[:job, :erasure]::bigint[]) AS id, unrdf.verify(id);

-- What is gone without a receipt that says so, and what is not gone
BEGIN;
UPDATE unrdf.receipt SET salt = '', result = NULL WHERE id = :other;
SELECT verdict, reason FROM unrdf.verify(:other);
SELECT receipt = :other AS found, reason FROM unrdf.verify_all();
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET result = NULL WHERE id = :other;
SELECT verdict, reason FROM unrdf.verify(:other);
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET result = '{"greeting": "hello Bob"}' WHERE id = :job;
SELECT verdict, reason FROM unrdf.verify(:job);
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET actor = 'mallory' WHERE id = :person;
SELECT verdict, reason FROM unrdf.verify(:person);
ROLLBACK;
BEGIN;
UPDATE unrdf.receipt SET actor = 'mallory' WHERE subject = 'receipt/' || :person;
SELECT verdict, reason FROM unrdf.verify(:person);
ROLLBACK;

-- Refused
\set VERBOSITY sqlstate
SELECT unrdf.erase(:job, 'twice');
SELECT unrdf.erase(-1, 'nothing');
SELECT unrdf.erase(:other, '');
SELECT unrdf.erase(:other, NULL) IS NULL AS nothing;
SELECT unrdf.record('delete', 'receipt/' || :other, '{}');
SELECT unrdf.record('delete', 'er/person', '{}', 'erase');
SELECT unrdf.revive(:dead);
CREATE ROLE regress_unrdf_eraser;
SELECT unrdf.grant_access('regress_unrdf_eraser', access) FROM unnest(ARRAY['producer', 'operator', 'auditor']) AS access;
SET ROLE regress_unrdf_eraser;
SELECT unrdf.erase(:other, 'because');
RESET ROLE;
\set VERBOSITY default
SELECT verdict FROM unrdf.verify(:other);
DROP OWNED BY regress_unrdf_eraser;
DROP ROLE regress_unrdf_eraser;
DROP SCHEMA er CASCADE;
