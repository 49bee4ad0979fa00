-- Audited tables: receipts of what statements do, for every kind of statement and table; verification of rows against them.
SET statement_timeout = '180s';
SET client_min_messages = warning;
CREATE SCHEMA au;
CREATE VIEW au.written AS SELECT r.id, (ARRAY['execute', 'create', 'update', 'delete', 'batch'])[r.kind] AS kind, r.operation, split_part(r.subject, '/', 3) AS about, r.revision, r.payload -> 'key' AS key,
	(r.payload ->> 'count')::int AS count, r.payload -> 'row' AS row FROM unrdf.receipt AS r WHERE r.subject LIKE 'audit/%' ORDER BY r.id;
CREATE TABLE au.seen (id bigint);
INSERT INTO au.seen VALUES (0);
-- what was written since the last call
CREATE FUNCTION au.news() RETURNS TABLE (kind text, operation text, about text, revision int, key jsonb, count int, "row" jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT w.kind, w.operation, w.about, w.revision, w.key, w.count, w.row FROM au.written AS w WHERE w.id > (SELECT max(s.id) FROM au.seen AS s);
	INSERT INTO au.seen SELECT max(w.id) FROM au.written AS w;
END
$$;

-- A table with rows: from here on each has a receipt
CREATE TABLE au.orders (id bigint PRIMARY KEY, customer text, amount numeric, note text, double numeric GENERATED ALWAYS AS (amount * 2) STORED);
INSERT INTO au.orders VALUES (1, 'Ada', 1.50), (2, 'Bob', 2);
SELECT unrdf.audit_table('au.orders', excluded_columns => '{note}') AS audited \gset
SELECT relation, key_columns, excluded_columns, attached FROM unrdf.audited_tables;
SELECT * FROM au.news();
SELECT i, v.verdict FROM generate_series(1, 3) AS i, unrdf.verify_row('au.orders', i::text) AS v;

-- One row: a receipt of its own, chained
INSERT INTO au.orders VALUES (3, 'Cy "é\', 'NaN', 'secret');
UPDATE au.orders SET amount = 12.50 WHERE id = 3;
UPDATE au.orders SET amount = 12.5 WHERE id = 3;
UPDATE au.orders SET id = 4 WHERE id = 3;
DELETE FROM au.orders WHERE id = 4;
INSERT INTO au.orders VALUES (4, NULL, NULL);
SELECT * FROM au.news();
SELECT i, v.verdict FROM generate_series(1, 4) AS i, unrdf.verify_row('au.orders', i::text) AS v;

-- No row: no receipt
UPDATE au.orders SET amount = 0 WHERE false;
DELETE FROM au.orders WHERE false;
INSERT INTO au.orders SELECT 1 WHERE false;
SELECT * FROM au.news();

-- More rows: one receipt for all
INSERT INTO au.orders SELECT i, 'c' || i, i FROM generate_series(10, 19) AS i;
UPDATE au.orders SET amount = amount + 1 WHERE id >= 10;
UPDATE au.orders SET id = id + 1000 WHERE id >= 15;
DELETE FROM au.orders WHERE id BETWEEN 10 AND 12;
SELECT kind, operation, about, revision, count FROM au.news();
SELECT v.verdict, count(*), min(i), max(i) FROM (SELECT i FROM generate_series(1, 20) AS i UNION ALL SELECT 1000 + i FROM generate_series(15, 20) AS i) AS t, unrdf.verify_row('au.orders', i::text) AS v GROUP BY 1 ORDER BY 1;

-- ON CONFLICT, MERGE, COPY, WITH
INSERT INTO au.orders VALUES (1, 'Ada', 2), (5, 'Eve', 5) ON CONFLICT (id) DO UPDATE SET amount = excluded.amount;
INSERT INTO au.orders VALUES (1, 'Ada', 3) ON CONFLICT (id) DO NOTHING;
MERGE INTO au.orders AS o USING (VALUES (1), (2), (6), (7)) AS s (id) ON o.id = s.id
	WHEN MATCHED AND o.id = 2 THEN DELETE WHEN MATCHED THEN UPDATE SET amount = 4 WHEN NOT MATCHED THEN INSERT (id, amount) VALUES (s.id, 0);
COPY au.orders (id, customer, amount) FROM stdin;
20	x	1
21	y	2
\.
WITH gone AS (DELETE FROM au.orders WHERE id = 20 RETURNING *) INSERT INTO au.orders (id, amount) SELECT id + 10, amount FROM gone;
SELECT kind, operation, about, revision, key, count FROM au.news();
SELECT * FROM unrdf.verify_table('au.orders');

-- Whatever the session's settings are
BEGIN;
SET LOCAL datestyle = 'German';
SET LOCAL timezone = 'Asia/Kolkata';
SET LOCAL extra_float_digits = -15;
SET LOCAL bytea_output = 'escape';
SET LOCAL intervalstyle = 'iso_8601';
CREATE TABLE au.types (id date PRIMARY KEY, t timestamptz, l timestamp, f float8, b bytea, i interval, j jsonb, a text[], m money, r regclass, n numeric, e bool, c "char", x bpchar(3));
SELECT unrdf.audit_table('au.types') IS NOT NULL AS audited;
INSERT INTO au.types VALUES ('2026-02-03', '2026-02-03 04:05:06.789Z', '2026-02-03 04:05', 0.1::float8 + 0.2, '\x00ff', '1 day 2 hours', '{"a": 1e400}', '{a,NULL,"b,c"}', 1.5, 'au.orders', 1e-20, true, 'c', 'x');
SELECT payload -> 'row' AS row FROM unrdf.receipt WHERE payload ->> 'table' = 'au.types' AND kind = 2 AND payload ? 'row';
COMMIT;
SELECT verdict FROM unrdf.verify_row('au.types', '2026-02-03');
INSERT INTO au.types (id, t, f, n) VALUES ('2026-02-04', 'infinity', 'NaN', 'Infinity'), ('2026-02-05', '-infinity', '-0', '123456789012345678901234567890.5');
SELECT key, verdict FROM unrdf.verify_table('au.types');

-- Rows too large for a payload, and TOASTed ones that an UPDATE leaves alone
CREATE TABLE au.large (id int PRIMARY KEY, x text, y int);
ALTER TABLE au.large ALTER x SET STORAGE EXTERNAL;
SELECT unrdf.audit_table('au.large') IS NOT NULL AS audited;
INSERT INTO au.large VALUES (1, repeat('x', 2000000), 1), (2, repeat('y', 100000), 1);
UPDATE au.large SET y = 2 WHERE id = 1;
UPDATE au.large SET y = 2 WHERE id = 2;
SELECT kind, operation, about, count FROM au.news() AS n WHERE kind <> 'create' ORDER BY 1, 2, 4;
SELECT key, verdict FROM unrdf.verify_table('au.large');

-- A key of several columns, one that is no primary key
CREATE TABLE au.pairs (a text NOT NULL, b int NOT NULL, c int UNIQUE, d int UNIQUE DEFERRABLE, UNIQUE (b, a));
SELECT unrdf.audit_table('au.pairs');
SELECT unrdf.audit_table('au.pairs', '{c}');
SELECT unrdf.audit_table('au.pairs', '{d}');
SELECT unrdf.audit_table('au.pairs', '{a}');
SELECT unrdf.audit_table('au.pairs', '{a,nothing}');
SELECT unrdf.audit_table('au.pairs', '{a,b}', '{b}');
SELECT unrdf.audit_table('au.pairs', '{a,b}', '{nothing}');
SELECT unrdf.audit_table('au.pairs', '{a,NULL}');
SELECT unrdf.audit_table('au.pairs', '{a,b}') IS NOT NULL AS audited;
INSERT INTO au.pairs VALUES ('1', 1), ('1,1', 2), ('x', 3);
SELECT verdict FROM unrdf.verify_row('au.pairs', 'x', '3');
SELECT verdict FROM unrdf.verify_row('au.pairs', '1', '2');
SELECT verdict FROM unrdf.verify_row('au.pairs', 'x');
SELECT verdict FROM unrdf.verify_row('au.pairs', 'x', 'three');
SELECT verdict FROM unrdf.verify_row('au.pairs', 'x', NULL);

-- Partitions, written to by either name, moved between, truncated
CREATE TABLE au.parts (id int PRIMARY KEY, x text) PARTITION BY RANGE (id);
CREATE TABLE au.part1 (x text, id int NOT NULL);
ALTER TABLE au.parts ATTACH PARTITION au.part1 FOR VALUES FROM (0) TO (100);
CREATE TABLE au.part2 PARTITION OF au.parts FOR VALUES FROM (100) TO (200);
INSERT INTO au.parts SELECT i, 'old' FROM generate_series(95, 104) AS i;
SELECT unrdf.audit_table('au.parts') IS NOT NULL AS audited;
SELECT unrdf.audit_table('au.part1');
INSERT INTO au.parts VALUES (1, 'a'), (101 + 50, 'b');
INSERT INTO au.part1 (id, x) VALUES (2, 'c');
UPDATE au.parts SET id = id + 20 WHERE id BETWEEN 95 AND 104;
DELETE FROM au.part2 WHERE id = 119;
SELECT * FROM unrdf.verify_table('au.parts');
TRUNCATE au.part1;
SELECT verdict FROM unrdf.verify_row('au.parts', '1');
SELECT * FROM unrdf.verify_table('au.parts');
CREATE TABLE au.part3 PARTITION OF au.parts FOR VALUES FROM (200) TO (300);
INSERT INTO au.part3 VALUES (200, 'by the name of a partition that came later');
SELECT key, verdict FROM unrdf.verify_table('au.parts');
SELECT unrdf.audit_table('au.parts') IS NOT NULL AS again;
UPDATE au.part3 SET x = 'seen' WHERE id = 200;
TRUNCATE au.parts;
INSERT INTO au.parts VALUES (1, 'a');
SELECT key, verdict FROM unrdf.verify_table('au.parts');
SELECT i, v.verdict FROM unnest(ARRAY[1, 2, 200]) AS i, unrdf.verify_row('au.parts', i::text) AS v;

-- TRUNCATE, and what was there before is there no more
TRUNCATE au.large;
SELECT kind, operation, about, key, count FROM au.news() AS n WHERE operation = 'truncate';
SELECT verdict, reason FROM unrdf.verify_row('au.large', '1');
INSERT INTO au.large VALUES (1, 'new', 1);
SELECT verdict FROM unrdf.verify_row('au.large', '1');
SELECT key, verdict FROM unrdf.verify_table('au.large');

-- Tables change
ALTER TABLE au.orders RENAME TO invoices;
ALTER TABLE au.invoices ADD COLUMN paid boolean DEFAULT false;
SELECT key, verdict FROM unrdf.verify_table('au.invoices');
UPDATE au.invoices SET paid = true WHERE id = 1;
SELECT verdict FROM unrdf.verify_row('au.invoices', '1');
ALTER TABLE au.invoices RENAME COLUMN amount TO total;
SELECT verdict, reason FROM unrdf.verify_row('au.invoices', '1');
ALTER TABLE au.invoices DROP COLUMN note;
UPDATE au.invoices SET paid = true WHERE id = 1;
SELECT unrdf.audit_table('au.invoices') = :audited AS again;
UPDATE au.invoices SET paid = false WHERE id = 1;
SELECT key, verdict FROM unrdf.verify_table('au.invoices');
ALTER TABLE au.invoices RENAME COLUMN id TO number;
INSERT INTO au.invoices VALUES (100);
SELECT verdict FROM unrdf.verify_row('au.invoices', '1');
SELECT unrdf.audit_table('au.invoices') = :audited AS again;

-- Rows that change without receipts are found: by a superuser past the triggers, whatever the last receipt is
SELECT * FROM (SELECT (au.news()).kind) AS n WHERE false;
INSERT INTO au.invoices (number, total) SELECT i, i FROM generate_series(200, 209) AS i;
INSERT INTO au.invoices (number, total) VALUES (300, 1);
INSERT INTO au.invoices (number, total) VALUES (301, 1);
INSERT INTO au.invoices (number, total) VALUES (302, 1);
DELETE FROM au.invoices WHERE number IN (302);
DELETE FROM au.invoices WHERE number IN (208, 209);
SET session_replication_role = replica;
UPDATE au.invoices SET total = total * 10 WHERE number IN (200, 300);
DELETE FROM au.invoices WHERE number IN (201, 301);
INSERT INTO au.invoices (number, total) VALUES (400, 1), (302, 1), (208, 208);
RESET session_replication_role;
SELECT i, v.verdict, nullif(v.reason, 'not integrated yet') AS reason FROM unnest(ARRAY[200, 201, 202, 208, 209, 300, 301, 302, 400, 401]) AS i, unrdf.verify_row('au.invoices', i::text) AS v;
SELECT key, verdict, reason FROM unrdf.verify_table('au.invoices') ORDER BY key, verdict;

-- So are receipts that are forged to fit them, and keys that hide a row
BEGIN;
UPDATE unrdf.receipt SET payload = jsonb_set(payload, '{row,total}', '"10"') WHERE payload -> 'key' = '["300"]' AND subject LIKE 'audit/' || :audited || '/row/%';
SELECT verdict, reason FROM unrdf.verify_row('au.invoices', '300');
ROLLBACK;
SELECT max(receipt) AS batch FROM unrdf.batch WHERE audited = :audited AND n = 10 \gset
BEGIN;
UPDATE unrdf.batch_segment SET leaves = set_byte(leaves, 7, 255 - get_byte(leaves, 7)) WHERE receipt = :batch;
SELECT verdict, reason, receipt = :batch AS of_batch FROM unrdf.verify_table('au.invoices') WHERE key IS NULL AND verdict = 'bad';
ROLLBACK;
BEGIN;
UPDATE unrdf.batch_segment SET keys = overlay(keys PLACING '\xffffffffffffffffffffffffffffffff' FROM octet_length(keys) - 15) WHERE receipt = :batch;
SELECT verdict, reason FROM unrdf.verify(:batch);
ROLLBACK;
BEGIN;
DELETE FROM unrdf.batch_segment WHERE receipt = :batch;
SELECT verdict, reason FROM unrdf.verify_row('au.invoices', '202');
ROLLBACK;

-- Erased, a row cannot be compared any more
SELECT unrdf.erase(:batch, 'asked for') > 0 AS erased;
SELECT verdict FROM unrdf.verify_row('au.invoices', '202');
SELECT unrdf.erase((SELECT receipt FROM unrdf.verify_row('au.invoices', '300')), 'asked for') > 0 AS erased;
SELECT verdict FROM unrdf.verify_row('au.invoices', '300');
SELECT count(*) FILTER (WHERE verdict = 'erased') >= 2 AS erased FROM unrdf.verify_table('au.invoices');
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT receipt, reason FROM unrdf.verify_all();

-- What cannot be audited
CREATE VIEW au.view AS SELECT 1 AS id;
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CREATE UNLOGGED TABLE au.unlogged (id int PRIMARY KEY);
CREATE TABLE au.parent (id int PRIMARY KEY);
CREATE TABLE au.child () INHERITS (au.parent);
SELECT unrdf.audit_table('au.view');
SELECT unrdf.audit_table('temporary');
SELECT unrdf.audit_table('au.unlogged');
SELECT unrdf.audit_table('au.parent');
SELECT unrdf.audit_table('au.child');
SELECT unrdf.audit_table('unrdf.receipt');
SELECT unrdf.audit_table('pg_class');
SELECT unrdf.audit_table(NULL);
SELECT unrdf.audit_table(1);
SELECT unrdf.verify_row('au.parent', '1');
SELECT * FROM unrdf.verify_table('au.parent');
SELECT unrdf.unaudit_table('au.parent');
DROP TABLE au.child;
SELECT unrdf.audit_table('au.parent') IS NOT NULL AS audited;
CREATE TABLE au.child () INHERITS (au.parent);
INSERT INTO au.parent VALUES (1);
SELECT unrdf.record('create', 'audit/1/row/0123');

-- Who may: the table's owner with a grant; who writes needs nothing of ours; the trigger cannot be had by hand
CREATE ROLE regress_unrdf_owner;
CREATE ROLE regress_unrdf_writer;
GRANT USAGE, CREATE ON SCHEMA au TO regress_unrdf_owner, regress_unrdf_writer;
SET ROLE regress_unrdf_owner;
CREATE TABLE au.own (id int PRIMARY KEY, x text);
CREATE FUNCTION au.write_own(n int) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ INSERT INTO au.own VALUES (n, 'by definer') $$;
GRANT INSERT, SELECT ON au.own TO regress_unrdf_writer;
SELECT unrdf.audit_table('au.own');
RESET ROLE;
GRANT USAGE ON SCHEMA unrdf TO regress_unrdf_owner;
GRANT EXECUTE ON FUNCTION unrdf.audit_table(regclass, text[], text[]), unrdf.unaudit_table(regclass), unrdf.verify_row(regclass, text[]), unrdf.verify_table(regclass) TO regress_unrdf_owner;
SET ROLE regress_unrdf_owner;
SELECT unrdf.audit_table('au.own') IS NOT NULL AS audited;
SELECT unrdf.audit_table('au.invoices');
SELECT unrdf.unaudit_table('au.invoices');
SELECT * FROM unrdf.verify_table('au.invoices');
CREATE TRIGGER forged AFTER INSERT ON au.own FOR EACH STATEMENT EXECUTE FUNCTION unrdf.audit_statement('1');
SELECT * FROM unrdf.audited;
SET ROLE regress_unrdf_writer;
INSERT INTO au.own VALUES (1, 'by writer');
SELECT au.write_own(2);
RESET ROLE;
SELECT actor, payload -> 'key' AS key, payload ->> 'session' = session_user AS session FROM unrdf.receipt WHERE payload ->> 'table' = 'au.own' AND payload ? 'key' ORDER BY id;
-- by the superuser, for another table, it refuses
CREATE TABLE au.other (id int PRIMARY KEY);
CREATE TRIGGER forged AFTER INSERT ON au.other REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION unrdf.audit_statement('1');
INSERT INTO au.other VALUES (1);
DROP TRIGGER forged ON au.other;
CREATE TRIGGER forged AFTER INSERT ON au.other FOR EACH ROW EXECUTE FUNCTION unrdf.audit_statement('1');
INSERT INTO au.other VALUES (1);
DROP TRIGGER forged ON au.other;
CREATE TRIGGER forged AFTER INSERT ON au.other REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION unrdf.audit_statement('0');
INSERT INTO au.other VALUES (1);
DROP TRIGGER forged ON au.other;
SELECT unrdf.audit_statement();
-- row security would hide rows
SET ROLE regress_unrdf_owner;
ALTER TABLE au.own ENABLE ROW LEVEL SECURITY;
ALTER TABLE au.own FORCE ROW LEVEL SECURITY;
SELECT * FROM unrdf.verify_table('au.own');
SELECT * FROM unrdf.verify_row('au.own', '1');
RESET ROLE;
SHOW row_security;

-- Batch after batch in one session: every row is found in its own
CREATE TABLE au.many (n int PRIMARY KEY);
SELECT unrdf.audit_table('au.many') > 0 AS audited;
DO $$ BEGIN FOR i IN 0 .. 99 LOOP INSERT INTO au.many SELECT i * 1000 + j FROM generate_series(1, 1000) AS j; END LOOP; END $$;
SELECT count(*) FROM unrdf.verify_table('au.many');

-- The end of it
ALTER TABLE au.own DISABLE TRIGGER unrdf_audit_insert;
SELECT attached FROM unrdf.audited_tables WHERE relation = 'au.own'::regclass;
SELECT unrdf.unaudit_table('au.own');
SELECT unrdf.unaudit_table('au.own');
INSERT INTO au.own VALUES (3);
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'au.own'::regclass;
SELECT * FROM unrdf.verify_table('au.own');
SELECT count(*) FROM unrdf.audited_tables WHERE relation = 'au.own'::regclass;
DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT relation FROM unrdf.audited_tables LOOP PERFORM unrdf.unaudit_table(t); END LOOP; END $$;
DROP SCHEMA au CASCADE;
DROP OWNED BY regress_unrdf_owner, regress_unrdf_writer;
DROP ROLE regress_unrdf_owner, regress_unrdf_writer;
SELECT unrdf.integrate() >= 0 AS integrated;
SELECT receipt, reason FROM unrdf.verify_all();
