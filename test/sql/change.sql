-- Changes of tables that become jobs.
SET statement_timeout = '120s';
SET client_min_messages = warning;
CREATE SCHEMA ch;
CREATE FUNCTION ch.raised(statement text, OUT code text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	-- ids differ from run to run
	message := regexp_replace(message, 'change handler \d\d*', 'change handler N');
	hint := regexp_replace(hint, '\(\d+\)', '(N)');
END $$;
CREATE FUNCTION ch.nothing(args jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT unrdf.register_handler('ch_a', 'ch.nothing(jsonb)');
SELECT unrdf.register_handler('ch_b', 'ch.nothing(jsonb)');
SELECT unrdf.create_queue('ch');
CREATE TABLE ch.seen AS SELECT coalesce(max(id), 0) AS id FROM unrdf.job;
-- the jobs since the last look, in their order
CREATE FUNCTION ch.look() RETURNS TABLE (handler text, args jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT h.name, j.args FROM unrdf.job AS j JOIN unrdf.handler AS h ON h.id = j.handler WHERE j.id > (SELECT s.id FROM ch.seen AS s) ORDER BY j.id;
	UPDATE ch.seen SET id = (SELECT max(j.id) FROM unrdf.job AS j);
END $$;

-- Rows
CREATE TABLE ch.stock (id int PRIMARY KEY, article text, pieces numeric, doc jsonb, at timestamptz, raw bytea, ok boolean, gone int, twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE ch.stock DROP COLUMN gone;
SELECT unrdf.on_change('ch.stock', 'ch_a') AS a \gset
-- text that does not depend on the session
SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Tokyo'; SET bytea_output = 'escape';
INSERT INTO ch.stock VALUES (1, 'an "apple"', 9007199254740993, '{"n": 1e400}', '2026-01-02 03:04:05+00', '\x00ff', true);
RESET DateStyle; RESET TimeZone; RESET bytea_output;
SELECT * FROM ch.look();
INSERT INTO ch.stock (id) SELECT generate_series(2, 3);
UPDATE ch.stock SET pieces = 1, ok = ok WHERE id = 2;
UPDATE ch.stock SET id = id WHERE id = 3;
UPDATE ch.stock SET article = 'none' WHERE id = 17;
INSERT INTO ch.stock (id, article) VALUES (2, 'pear') ON CONFLICT (id) DO UPDATE SET article = excluded.article;
DELETE FROM ch.stock WHERE id = 3;
SELECT * FROM ch.look();
SELECT (jsonb_populate_record(NULL::ch.stock, args -> 'new')).pieces + 1 AS as_a_row FROM unrdf.job WHERE args ->> 'event' = 'insert' AND args -> 'new' ->> 'article' = 'an "apple"' AND handler = (SELECT id FROM unrdf.handler WHERE name = 'ch_a');
TRUNCATE ch.stock;
SELECT * FROM ch.look();
SELECT id = :a AS id, relation, handler, owner = current_user::regrole AS mine, events, condition, columns, per, queue, priority, attached FROM unrdf.change_handlers;
ALTER TABLE ch.stock DISABLE TRIGGER ALL;
SELECT attached FROM unrdf.change_handlers;
ALTER TABLE ch.stock ENABLE TRIGGER ALL;

-- In the statement's transaction
BEGIN;
INSERT INTO ch.stock (id) VALUES (1);
SAVEPOINT s;
INSERT INTO ch.stock (id) VALUES (2);
ROLLBACK TO s;
COMMIT;
BEGIN;
INSERT INTO ch.stock (id) VALUES (3);
ROLLBACK;
SELECT handler, args -> 'new' ->> 'id' AS id FROM ch.look();
SELECT unrdf.drop_on_change(:a);
DELETE FROM ch.stock;
SELECT * FROM ch.look();
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'ch.stock'::regclass;

-- Conditions and columns; a truncation has no rows, and counts
SELECT unrdf.on_change('ch.stock', 'ch_a', '{update,truncate}', condition => 'OLD.pieces > NEW.pieces AND NEW.article <> ''x)''', priority => 2, queue => 'ch') AS a \gset
SELECT unrdf.on_change('ch.stock', 'ch_b', '{insert,update}', columns => '{article,ok}') AS b \gset
INSERT INTO ch.stock (id, article, pieces) VALUES (1, 'apple', 5), (2, 'x)', 5);
UPDATE ch.stock SET pieces = 6;
UPDATE ch.stock SET pieces = 4;
UPDATE ch.stock SET ok = true WHERE id = 1;
SELECT handler, args ->> 'event' AS event, args -> 'new' ->> 'id' AS id, args -> 'changed' AS changed FROM ch.look();
TRUNCATE ch.stock;
SELECT * FROM ch.look();
SELECT j.priority, q.name FROM unrdf.job AS j JOIN unrdf.queue AS q ON q.id = j.queue WHERE j.id = (SELECT max(id) FROM unrdf.job);
-- renamed: the condition goes along, a column that is named counts as changed
ALTER TABLE ch.stock RENAME COLUMN ok TO okay;
ALTER TABLE ch.stock RENAME COLUMN pieces TO n;
ALTER TABLE ch.stock RENAME TO goods;
INSERT INTO ch.goods (id, article, n) VALUES (1, 'apple', 5);
UPDATE ch.goods SET n = 4;
SELECT handler, args - 'new' - 'old' AS args FROM ch.look();
ALTER TABLE ch.goods RENAME TO stock;
SELECT unrdf.drop_on_change(:a), unrdf.drop_on_change(:b);
TRUNCATE ch.stock;

-- Statements: batches
SELECT unrdf.on_change('ch.stock', 'ch_a', columns => '{n}', per => 'statement', batch_size => 2) AS a \gset
INSERT INTO ch.stock (id, n) SELECT i, i FROM generate_series(1, 5) AS i;
SELECT handler, args -> 'part' AS part, args -> 'more' AS more, args ->> 'event' AS event, jsonb_path_query_array(args, '$.rows[*].new.id') AS ids FROM ch.look();
UPDATE ch.stock SET n = n + 1 WHERE id IN (1, 2);
UPDATE ch.stock SET n = CASE WHEN id = 4 THEN 0 ELSE n END;
SELECT args - 'table' AS args FROM ch.look();
UPDATE ch.stock SET article = 'not counted';
DELETE FROM ch.stock WHERE id > 100;
SELECT * FROM ch.look();
DELETE FROM ch.stock;
TRUNCATE ch.stock;
SELECT args -> 'more' AS more, args ->> 'event' AS event, jsonb_path_query_array(args, '$.rows[*].old.id') AS ids FROM ch.look();
SELECT unrdf.drop_on_change(:a);

-- Too large: by key
SET unrdf.max_args_size = '1 kB';
SELECT unrdf.on_change('ch.stock', 'ch_a') AS a, unrdf.on_change('ch.stock', 'ch_b', per => 'statement') AS b \gset
INSERT INTO ch.stock (id, article) VALUES (1, repeat('x', 2000)), (2, 'small'), (3, repeat('y', 600)), (4, repeat('z', 600));
UPDATE ch.stock SET n = 1 WHERE id = 1;
SELECT handler, regexp_replace(args::text, '(xx+|yy+|zz+)', '…', 'g') AS args FROM ch.look();
ALTER TABLE ch.stock DROP CONSTRAINT stock_pkey;
UPDATE ch.stock SET n = 2 WHERE id = 1;
SELECT handler, args -> 'truncated' AS truncated, args -> 'key' AS key FROM ch.look();
RESET unrdf.max_args_size;
SELECT unrdf.drop_on_change(:a), unrdf.drop_on_change(:b);

-- Partitions, also later ones and by their own names
CREATE TABLE ch.part (id int, region text) PARTITION BY LIST (region);
CREATE TABLE ch.part_n PARTITION OF ch.part FOR VALUES IN ('n');
SELECT unrdf.on_change('ch.part', 'ch_a') AS a, unrdf.on_change('ch.part', 'ch_b', per => 'statement') AS b \gset
CREATE TABLE ch.part_s PARTITION OF ch.part FOR VALUES IN ('s');
INSERT INTO ch.part VALUES (1, 'n'), (2, 's');
INSERT INTO ch.part_n VALUES (3, 'n');
INSERT INTO ch.part_s VALUES (4, 's');
UPDATE ch.part SET region = 'n' WHERE id = 2;
TRUNCATE ch.part;
SELECT handler, args FROM ch.look();
SELECT unrdf.drop_on_change(:a), unrdf.drop_on_change(:b);
SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('ch.part'::regclass, 'ch.part_n'::regclass, 'ch.part_s'::regclass);

-- What is refused
CREATE VIEW ch.view AS SELECT * FROM ch.stock;
CREATE TEMP TABLE ch_temporary (id int);
CREATE TABLE ch.parent (id int);
CREATE TABLE ch.child () INHERITS (ch.parent);
SELECT statement, r.* FROM unnest(ARRAY[
	'unrdf.on_change(NULL, ''ch_a'')',
	'unrdf.on_change(''ch.stock'', NULL)',
	'unrdf.on_change(''ch.stock'', ''ch_none'')',
	'unrdf.on_change(''ch.view'', ''ch_a'')',
	'unrdf.on_change(''ch_temporary'', ''ch_a'')',
	'unrdf.on_change(''ch.parent'', ''ch_a'')',
	'unrdf.on_change(''unrdf.job'', ''ch_a'')',
	'unrdf.on_change(0, ''ch_a'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', events => NULL)',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{insert,NULL}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{insert,insert}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{select}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', columns => ''{nothing}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', columns => ''{NULL}'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', per => ''page'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', per => ''statement'', condition => ''true'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', queue => ''none'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', priority => -1)',
	'unrdf.on_change(''ch.stock'', ''ch_a'', batch_size => 0)',
	'unrdf.on_change(''ch.stock'', ''ch_a'', condition => '''')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''NEW.nothing > 1'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''NEW.n'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{insert}'', ''OLD.n > 1'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{delete}'', ''NEW.n > 1'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''EXISTS (SELECT FROM ch.seen)'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''true FROM ch.seen'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''true AS x'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''true, true'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''true) EXECUTE FUNCTION ch.evil() --'')',
	'unrdf.on_change(''ch.stock'', ''ch_a'', ''{update}'', ''true; DROP TABLE ch.stock'')',
	'unrdf.drop_on_change(0)',
	'unrdf.change_row()']) WITH ORDINALITY AS s (statement, n), ch.raised('SELECT ' || statement) AS r ORDER BY n;
SELECT count(*) AS triggers, (SELECT count(*) FROM unrdf.change_handlers) AS handlers FROM pg_trigger WHERE tgrelid = 'ch.stock'::regclass;

-- Rights: the declarer's, not the writer's
CREATE ROLE regress_unrdf_declarer;
CREATE ROLE regress_unrdf_writer;
CREATE ROLE regress_unrdf_other;
GRANT USAGE, CREATE ON SCHEMA ch TO regress_unrdf_declarer;
GRANT USAGE ON SCHEMA ch TO regress_unrdf_writer, regress_unrdf_other;
SELECT unrdf.grant_access(r, 'producer') FROM unnest(ARRAY['regress_unrdf_declarer', 'regress_unrdf_other']::regrole[]) AS r;
SET ROLE regress_unrdf_declarer;
CREATE TABLE ch.orders (id int PRIMARY KEY);
GRANT INSERT, DELETE, TRIGGER ON ch.orders TO regress_unrdf_writer, regress_unrdf_other;
SELECT unrdf.on_change('ch.orders', 'ch_a', '{insert}') AS a \gset
SET ROLE regress_unrdf_writer;
INSERT INTO ch.orders VALUES (1);
SELECT unrdf.enqueue('ch_a');
RESET ROLE;
SELECT handler, args FROM ch.look();
SELECT owner FROM unrdf.job WHERE id = (SELECT max(id) FROM unrdf.job);
-- nobody else declares, ends, sees or attaches it
SET ROLE regress_unrdf_other;
SELECT unrdf.on_change('ch.orders', 'ch_a', '{insert}');
SELECT * FROM ch.raised(format('SELECT unrdf.drop_on_change(%s)', :a));
SELECT count(*) FROM unrdf.change_handlers;
SELECT * FROM ch.raised(format('CREATE TRIGGER mine AFTER DELETE ON ch.orders FOR EACH ROW EXECUTE FUNCTION unrdf.change_row(%s)', :a));
DELETE FROM ch.orders;
-- not by a name that is free either
SELECT * FROM ch.raised(format('CREATE TRIGGER unrdf_change_%s_delete AFTER DELETE ON ch.orders FOR EACH ROW EXECUTE FUNCTION unrdf.change_row(%1$s)', :a));
RESET ROLE;
DROP TRIGGER mine ON ch.orders;
SELECT regexp_replace(r.message, '\d+', 'N') AS message FROM ch.raised('DELETE FROM ch.orders') AS r;
SELECT format('DROP TRIGGER unrdf_change_%s_delete ON ch.orders', :a) AS drop \gset
:drop;
SET ROLE regress_unrdf_writer;
SELECT * FROM ch.raised(format('CREATE TRIGGER mine AFTER DELETE ON ch.orders FOR EACH ROW EXECUTE FUNCTION unrdf.change_row(%s)', :a));
RESET ROLE;
-- nor somebody to whom the table was given: he ends it, and declares his own
ALTER TABLE ch.orders OWNER TO regress_unrdf_other;
SELECT * FROM ch.raised('INSERT INTO ch.orders VALUES (2)');
SET ROLE regress_unrdf_other;
SELECT unrdf.drop_on_change(:a);
INSERT INTO ch.orders VALUES (2);
RESET ROLE;
SELECT * FROM ch.look();
DROP TABLE ch.orders;
-- Queue and priority are the handler's, unless something else is said; its schema is a constraint of who writes
CREATE TABLE ch.orders (id int PRIMARY KEY);
SELECT unrdf.create_queue('ch_slow');
SELECT unrdf.register_handler('ch_strict', 'ch.nothing(jsonb)', queue => 'ch_slow', priority => 7, args_schema => '{"properties": {"new": {"properties": {"id": {"maxLength": 2}}}}}');
SELECT unrdf.on_change('ch.orders', 'ch_strict', '{insert}') AS a, unrdf.on_change('ch.orders', 'ch_strict', '{insert}', priority => 1, queue => 'ch') AS b \gset
SELECT queue, priority FROM unrdf.change_handlers WHERE id IN (:a, :b) ORDER BY id;
INSERT INTO ch.orders VALUES (99);
SELECT queue, priority, args->'new' AS new FROM unrdf.jobs WHERE handler = 'ch_strict' ORDER BY id;
SELECT * FROM ch.raised('INSERT INTO ch.orders VALUES (100)');
DROP TABLE ch.orders;
-- A queue that a table's changes go to stays, while the table does; closed it takes no writes
CREATE TABLE ch.orders (id int PRIMARY KEY);
SELECT unrdf.create_queue('ch_closed');
SELECT unrdf.on_change('ch.orders', 'ch_a', '{insert}', queue => 'ch_closed') > 0 AS declared;
CALL unrdf.drain_queue('ch_closed');
SELECT * FROM ch.raised('INSERT INTO ch.orders VALUES (1)');
SELECT regexp_replace(r.message, 'handler \d+', 'handler N') AS message FROM ch.raised('SELECT unrdf.remove_queue(''ch_closed'')') AS r;
DROP TABLE ch.orders;
CALL unrdf.drop_queue('ch_closed');
DO $$ BEGIN WHILE EXISTS (SELECT FROM unrdf.jobs WHERE handler LIKE 'ch\_%' AND state NOT IN ('succeeded', 'dead')) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT state, count(*) > 0 AS some FROM unrdf.jobs WHERE handler LIKE 'ch\_%' GROUP BY 1;
DROP OWNED BY regress_unrdf_declarer, regress_unrdf_writer, regress_unrdf_other;
DROP ROLE regress_unrdf_declarer, regress_unrdf_writer, regress_unrdf_other;
DROP SCHEMA ch CASCADE;
