-- Queue control

CREATE FUNCTION unrdf.create_queue(name text, max_running int DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_create_queue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.create_queue(text, int) IS 'Creates a queue. max_running limits how many of its jobs run at once; null means as many as there are executors.';

CREATE FUNCTION unrdf.alter_queue(name text, settings jsonb) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_alter_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.alter_queue(text, jsonb) IS 'Changes settings of a queue; null gives a setting its default back. max_running: how many of its jobs may run at once. weight: its part among queues, 1 to 1000. rate: jobs started per second, and burst: how many of them at once after a pause. group_by: jsonpath over the arguments that gives a job its group where enqueue gives none. group_max_running, group_rate, group_burst: the same limits for each group. fifo: strict order within a group; wait: what follows waits until a job that failed has ended; skip: only until its attempt has. share_by: owner or tenant, among whom the queue is divided, however much each has waiting; shares: their weights. max_depth: how many jobs it may have that have not ended, also those for later and those that wait for others; when_full: who enqueues more is refused (reject, 53400), waits for room (wait), or gets a WARNING (warn). keep_args, keep_results, keep_attempts: for how long after a job''s end its arguments, its result and what its failures said are kept, as an interval; for jobs that are enqueued from then on. What is kept longer than that is dropped, many jobs at a time; rows and receipts of jobs stay.';

CREATE FUNCTION unrdf.pause_queue(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_pause_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.pause_queue(text) IS 'Stops handing out jobs of a queue from this transaction''s commit on. Jobs that run already go on.';

CREATE FUNCTION unrdf.resume_queue(name text) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_resume_queue' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.resume_queue(text) IS 'Hands out jobs of a paused queue again.';

CREATE FUNCTION unrdf.enqueue(handler text, args jsonb DEFAULT '{}', queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	key text DEFAULT NULL, key_window interval DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL, group_key text DEFAULT NULL, tenant text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_enqueue' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.enqueue(text, jsonb, text, int, timestamptz, text, interval, int, interval, text, text) IS 'Enqueues one job as the current role and returns its id. It runs after this transaction commits, not before run_at. Where queue or priority is null it is the handler''s, or else queue default and priority 5; 0 is the most urgent, 9 the least. With a key, a job of the same queue and key that has not ended, or was enqueued within key_window, is returned instead of a new one. group_key: the group that the queue''s limits and order per group go by; tenant: whose share of the queue it is (unrdf.alter_queue).';

CREATE FUNCTION unrdf.enqueue_many(handler text, args jsonb[], queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	keys text[] DEFAULT NULL, key_window interval DEFAULT NULL, max_attempts int DEFAULT NULL, timeout interval DEFAULT NULL, group_key text DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF bigint
	AS 'MODULE_PATHNAME', 'unrdf_enqueue_many' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION unrdf.enqueue_many(text, jsonb[], text, int, timestamptz, text[], interval, int, interval, text, text) IS 'Enqueues one job for each element of args, as enqueue does, and returns their ids in the same order.';

CREATE FUNCTION unrdf.cancel(job bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_cancel' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.cancel(bigint) IS 'Ends a job with a receipt of outcome cancelled, in this transaction: once it commits, no effect of the job ever does. Interrupts it if it runs. False when the job had ended already. For the job''s owner and superusers.';

CREATE FUNCTION unrdf.revive(job bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_revive' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.revive(bigint) IS 'The way back from the dead letters: enqueues a dead or cancelled job anew, as its owner, and returns the new job''s id. The old receipt stays as it is.';

CREATE FUNCTION unrdf.wait(job bigint, timeout interval DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.wait(bigint, interval) IS 'Sleeps until the job has ended and returns its outcome: ok, dead or cancelled; null after timeout.';

CREATE FUNCTION unrdf.clock() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'unrdf_clock' LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.clock() IS 'The time that unrdf goes by: the server''s, unless a test has set another.';

CREATE FUNCTION unrdf.kept(job bigint, part int) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'unrdf_kept' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.kept(bigint, int) IS 'What is kept of a job for a time only: its arguments (part 0), its result (-1), or what its failed attempt of that number said; of an event, for part 2147483647, its payload. Null where it is gone, or never was, and for who must not see it.';

-- Receipts

CREATE FUNCTION unrdf.record(kind text, subject text, payload jsonb DEFAULT NULL, operation text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_record' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.record(text, text, jsonb, text) IS 'Writes a receipt of kind create, update or delete about a subject, in this transaction, chained to the subject''s previous receipt. delete leaves a tombstone. Returns the receipt''s id.';

CREATE FUNCTION unrdf.record_batch(subject text, items jsonb[], operation text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_record_batch' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.record_batch(text, jsonb[], text) IS 'Writes one receipt of kind batch about a subject, as record does, that commits to many items: to their number and the root of a Merkle tree over their salted hashes. The items are not kept. Returns the receipt''s id.';

CREATE FUNCTION unrdf.audit_table(relation regclass, key_columns text[] DEFAULT NULL, excluded_columns text[] DEFAULT '{}') RETURNS int
	AS 'MODULE_PATHNAME', 'unrdf_audit_table' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.audit_table(regclass, text[], text[]) IS 'Has a receipt written for every INSERT, UPDATE, DELETE and TRUNCATE of a table from here on, and one at once for all rows that exist. key_columns name a row, by default the primary key; excluded_columns are left out of receipts. To be called again after columns or partitions were added. For the table''s owner. Returns the id by which receipts name the table.';

CREATE FUNCTION unrdf.unaudit_table(relation regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_unaudit_table' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.unaudit_table(regclass) IS 'Ends what audit_table began. A receipt says so; the others stay.';

CREATE FUNCTION unrdf.audit_statement() RETURNS trigger
	AS 'MODULE_PATHNAME', 'unrdf_audit_statement' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.audit_statement() IS 'Statement trigger of audited tables: writes the receipts.';

CREATE FUNCTION unrdf.item_proof(receipt bigint, index bigint, OUT index bigint, OUT count bigint, OUT salt bytea, OUT leaf bytea, OUT root bytea, OUT proof bytea[]) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_item_proof' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.item_proof(bigint, bigint) IS 'The inclusion proof (RFC 9162, 2.1.3) of an item in its batch, by its index from 0. The leaf is unrdf.leaf_hash of the salt and the item''s canonical JSON; the batch''s receipt has count and root as its payload. All null where there is no such item; salt is null once erased.';

CREATE FUNCTION unrdf.verify_item(receipt bigint, index bigint, item jsonb, OUT verdict text, OUT reason text) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_verify_item' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.verify_item(bigint, bigint, jsonb) IS 'Checks the receipt of a batch as verify does, and that it commits to this item at this index. ok; erased: the item''s salt is gone; pending; missing: there is no receipt; bad, with the reason.';

CREATE FUNCTION unrdf.verify_row(relation regclass, VARIADIC key text[], OUT verdict text, OUT receipt bigint, OUT reason text) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_verify_row' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.verify_row(regclass, text[]) IS 'Compares the row of a key, its values as text, with the last receipt that speaks of it. ok; differs; missing: it should exist; deleted: it does not exist, and should not; unknown: no receipt speaks of it; erased: what could be compared was erased; bad: the receipt does not verify. For who may read the table.';

CREATE FUNCTION unrdf.verify_table(relation regclass) RETURNS TABLE (key jsonb, verdict text, receipt bigint, reason text)
	AS 'MODULE_PATHNAME', 'unrdf_verify_table' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.verify_table(regclass) IS 'Compares all rows of an audited table as verify_row does, and returns those that are not as they should be. The key of a missing row is null where only a batch speaks of it.';

CREATE FUNCTION unrdf.erase(receipt bigint, reason text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_erase' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.erase(bigint, text) IS 'Erases what a receipt has only hashes of: payload, result, a job''s arguments and the texts of its failed attempts, and the salt of the hashes. Receipt, chain and proofs stay valid; a receipt of its own says who erased and why, and its id is returned. VACUUM, WAL and backups keep old rows as long as they do.';

CREATE FUNCTION unrdf.canonical_receipt(receipt bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_canonical_receipt' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.canonical_receipt(bigint) IS 'The receipt''s canonical JSON (RFC 8785), rebuilt from its row: what its leaf hash is computed over.';

CREATE FUNCTION unrdf.canonical_json(value jsonb) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_canonical_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.canonical_json(jsonb) IS 'A value in the JSON Canonicalization Scheme (RFC 8785). Raises 22003 for a number whose decimal value is not that of the shortest decimal naming its nearest double.';

CREATE FUNCTION unrdf.receipt(job bigint) RETURNS jsonb
	AS $$ SELECT unrdf.canonical_receipt(job)::pg_catalog.jsonb $$
	LANGUAGE SQL STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION unrdf.receipt(bigint) IS 'The receipt of a job or recorded operation as JSON; null while there is none.';

CREATE FUNCTION unrdf.leaf_index(receipt bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_leaf_index' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.leaf_index(bigint) IS 'The receipt''s index in the log; null while it is not integrated.';

CREATE FUNCTION unrdf.log_size(OUT size bigint, OUT root bytea) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_log_size' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.log_size() IS 'The log''s newest size and the root hash of the tree of that size.';

CREATE FUNCTION unrdf.inclusion_proof(receipt bigint, size bigint DEFAULT NULL, OUT index bigint, OUT tree_size bigint, OUT leaf bytea, OUT root bytea, OUT proof bytea[]) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_inclusion_proof_fn' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.inclusion_proof(bigint, bigint) IS 'The receipt''s inclusion proof (RFC 9162, 2.1.3) in the tree of the given size, by default the newest, computed from the log''s tiles; all null while the receipt is not in that tree.';

CREATE FUNCTION unrdf.inclusion_proof(log int, index bigint, size bigint, OUT index bigint, OUT tree_size bigint, OUT leaf bytea, OUT root bytea, OUT proof bytea[]) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_inclusion_proof_at' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.inclusion_proof(int, bigint, bigint) IS 'The inclusion proof (RFC 9162, 2.1.3) of a log''s leaf in the tree of the given size, or of the newest where size is null. The log of receipts is 1.';

CREATE FUNCTION unrdf.consistency_proof(log int, old_size bigint, size bigint DEFAULT NULL, OUT old_tree_size bigint, OUT old_root bytea, OUT tree_size bigint, OUT root bytea, OUT proof bytea[]) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_consistency_proof_fn' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.consistency_proof(int, bigint, bigint) IS 'The proof (RFC 9162, 2.1.4) that the tree of old_size leaves is a prefix of that of size leaves, by default the newest, with both roots. Any two sizes the log has had can be asked for.';

CREATE FUNCTION unrdf.verify_inclusion(leaf bytea, index bigint, tree_size bigint, proof bytea[], root bytea) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_verify_inclusion_fn' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.verify_inclusion(bytea, bigint, bigint, bytea[], bytea) IS 'Whether the proof shows the leaf hash at index of the tree of tree_size with this root (RFC 9162, 2.1.3.2). False for anything malformed.';

CREATE FUNCTION unrdf.verify_consistency(old_tree_size bigint, old_root bytea, tree_size bigint, root bytea, proof bytea[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_verify_consistency_fn' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.verify_consistency(bigint, bytea, bigint, bytea, bytea[]) IS 'Whether the proof shows that the tree of old_tree_size with old_root is a prefix of the tree of tree_size with root (RFC 9162, 2.1.4.2). False for anything malformed, and from size 0, which needs no proof.';

CREATE FUNCTION unrdf.leaf_hash(data bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'unrdf_leaf_hash_fn' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.leaf_hash(bytea) IS 'SHA-256(0x00 ‖ data), the leaf hash of RFC 9162.';

CREATE FUNCTION unrdf.node_hash(left_child bytea, right_child bytea) RETURNS bytea
	AS 'MODULE_PATHNAME', 'unrdf_node_hash_fn' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.node_hash(bytea, bytea) IS 'The hash of an inner node over the hashes of its two children (RFC 9162, 2.1.1).';

CREATE FUNCTION unrdf.merkle_root(entries bytea[]) RETURNS bytea
	AS 'MODULE_PATHNAME', 'unrdf_merkle_root' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.merkle_root(bytea[]) IS 'The root of the Merkle tree over entries, in their order (RFC 9162, 2.1.1). Each is hashed as a leaf; none gives SHA-256 of nothing.';

CREATE FUNCTION unrdf.merkle_root_step(state internal, entry bytea) RETURNS internal
	AS 'MODULE_PATHNAME', 'unrdf_merkle_root_step' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.merkle_root_step(internal, bytea) IS 'Transition function of unrdf.merkle_root(bytea).';

CREATE FUNCTION unrdf.merkle_root_final(state internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'unrdf_merkle_root_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.merkle_root_final(internal) IS 'Final function of unrdf.merkle_root(bytea).';

CREATE AGGREGATE unrdf.merkle_root(entry bytea) (SFUNC = unrdf.merkle_root_step, STYPE = internal, SSPACE = 2080, FINALFUNC = unrdf.merkle_root_final, PARALLEL = SAFE);
COMMENT ON AGGREGATE unrdf.merkle_root(bytea) IS 'The root of the Merkle tree over the entries (RFC 9162, 2.1.1). Call it with ORDER BY: another order is another tree.';

CREATE FUNCTION unrdf.verify(receipt bigint, OUT verdict text, OUT reason text, OUT evidence text, OUT checkpoint bigint, OUT cosigned int, OUT witnesses int) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_verify' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.verify(bigint) IS 'Recomputes everything about one receipt from the rows: payload and result hashes, canonical bytes, link to the subject''s previous receipt, inclusion in the newest tree. verdict is ok, erased (payload and result were, by the leaf that reason names; everything else is right), pending (not integrated yet), missing or bad; reason says which check failed. A job''s arguments or result that are past the time for which its queue kept them make it expired: everything else is right, and the receipt of the queue''s rule, which reason names, verifies. evidence is what stands behind it: self-checked (by this log alone), or a checkpoint, whose size is given and whose root and signatures are checked, that was published, or before that replicated (to synchronous standbys) or stored (outside the node), or is witnessed: cosigned, of all witnesses that are known, by at least unrdf.witness_quorum.';

CREATE FUNCTION unrdf.verify_all(workers int DEFAULT NULL, since text DEFAULT NULL) RETURNS TABLE (receipt bigint, reason text)
	AS 'MODULE_PATHNAME', 'unrdf_verify_all' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.verify_all(int, text) IS 'Recomputes the whole log from the rows, in parallel, and returns one row for every receipt, leaf, tile, root, checkpoint, key or cosignature that is wrong, with the reason; none when everything verifies. since: a checkpoint that you kept; then that the log goes on from its tree, and what came after, not what was before. Progress is in unrdf.stat_verify.';

CREATE FUNCTION unrdf.verify_range(first bigint, stop bigint DEFAULT NULL, workers int DEFAULT NULL) RETURNS TABLE (receipt bigint, reason text)
	AS 'MODULE_PATHNAME', 'unrdf_verify_range' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.verify_range(bigint, bigint, int) IS 'Does what verify_all does for the leaves from first to before stop, by default to the log''s end, and what was published of trees that end there, and ties them to the newest root; in time proportional to the range.';

CREATE FUNCTION unrdf.verify_step(INOUT run bigint, step bigint, workers int DEFAULT NULL, since text DEFAULT NULL, OUT first bigint, OUT stop bigint, OUT findings bigint, OUT complete boolean, OUT verified text) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_verify_step' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.verify_step(bigint, bigint, int, text) IS 'One range of unrdf.verify_log(), in this transaction.';

-- no SET search_path: a procedure that has one cannot commit
CREATE PROCEDURE unrdf.verify_log(step bigint DEFAULT 1000000, workers int DEFAULT NULL, since text DEFAULT NULL,
	INOUT run bigint DEFAULT NULL, INOUT leaves bigint DEFAULT NULL, INOUT findings bigint DEFAULT NULL, INOUT verified text DEFAULT NULL)
	LANGUAGE plpgsql
AS $$
DECLARE
	done record;
BEGIN
	leaves := 0;
	LOOP
		SELECT * INTO done FROM unrdf.verify_step(run, step, workers, since);
		COMMIT;
		run := done.run;
		leaves := leaves OPERATOR(pg_catalog.+) (done.stop OPERATOR(pg_catalog.-) done.first);
		findings := done.findings;
		verified := done.verified;
		EXIT WHEN done.complete;
	END LOOP;
END
$$;
COMMENT ON PROCEDURE unrdf.verify_log(bigint, int, text, bigint, bigint, bigint, text) IS 'Does what verify_all does in ranges of step leaves, each in a transaction of its own, and so can be interrupted: called again, it goes on with the newest run, where that is not complete and began at the same place, and else begins a new one, at leaf 0 or after the tree of the checkpoint since. What is wrong is in unrdf.finding, what was done in unrdf.verified. Returns the run, the leaves this call has verified, the run''s findings, and where there are none the text of the tree that was verified, to be kept elsewhere and handed in as since the next time.';

CREATE FUNCTION unrdf.checkpoint(size bigint DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_checkpoint' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.checkpoint(bigint) IS 'The newest checkpoint of the log, or the one of a size, as a signed note (C2SP tlog-checkpoint, signed-note): origin, size, root, signatures. Null where there is none.';

CREATE FUNCTION unrdf.publish_checkpoint(timeout interval DEFAULT '10 s') RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_publish_checkpoint' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.publish_checkpoint(interval) IS 'Has the publisher publish a checkpoint of everything integrated so far and returns its size; null after timeout. Raises 55000 where publishing is refused, with the reason.';

CREATE FUNCTION unrdf.verify_checkpoint(checkpoint text, key text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_verify_checkpoint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.verify_checkpoint(text, text) IS 'Whether a checkpoint is signed by a verifier key (C2SP signed-note; also a witness''s, tlog-cosignature). False for anything malformed.';

CREATE FUNCTION unrdf.add_log_key() RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_add_log_key' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.add_log_key() IS 'Adds a key to unrdf.log_key_file and returns its public half. From the next checkpoint on it signs beside those that are there; a key is retired by removing its line from the file.';

CREATE FUNCTION unrdf.draw_origin() RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_draw_origin' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.draw_origin() IS 'Begins an epoch under a new origin. Called by unrdf.new_origin().';

CREATE FUNCTION unrdf.new_origin(reason text) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old record;
	drawn text;
BEGIN
	IF reason IS NULL OR reason = '' THEN
		RAISE EXCEPTION 'a new origin needs a reason' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT * INTO old FROM unrdf.log_state();
	drawn := unrdf.draw_origin();
	PERFORM unrdf.record('create', 'log/' || drawn, jsonb_build_object('reason', reason, 'old_origin', old.origin, 'size', old.size, 'root', encode(old.root, 'hex')), 'new_origin');
	RETURN drawn;
END
$$;
COMMENT ON FUNCTION unrdf.new_origin(text) IS 'Lets a log go on under a new name, where checkpoints under the old one are refused for good: a copy of another database, a fork. It keeps all leaves; a receipt says why, and what the old log''s tree was. Returns the new origin.';

CREATE FUNCTION unrdf.export_receipt(receipt bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_export_receipt' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.export_receipt(bigint) IS 'A receipt with its proof in the newest checkpoint (C2SP tlog-proof; the receipt''s canonical JSON is the extra data), for unrdf-verify and others to check without this database. Null while no checkpoint has it.';

CREATE FUNCTION unrdf.integrate() RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_integrate' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.integrate() IS 'Integrates every receipt that has become visible, in this transaction, under the integrator''s lock, and returns how many. The integrator does this by itself.';

CREATE FUNCTION unrdf.export_tiles(directory text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_export_tiles' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.export_tiles(text) IS 'Writes the log up to its newest checkpoint as static files (C2SP tlog-tiles: checkpoint, tiles, entry bundles) into a directory of the server''s, which any web server can serve, and returns how many files it wrote. What is there already is kept: called again it goes on. For members of pg_write_server_files.';

CREATE FUNCTION unrdf.first_difference(directory text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'unrdf_first_difference_fn' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.first_difference(text) IS 'The index of the first leaf that this log and another, whose tiles are in a directory of the server (C2SP tlog-tiles, as unrdf.export_tiles() writes them), do not have in common; also where one is only longer. Null where they are the same. Reads a few hashes per level. For members of pg_read_server_files.';

-- Witnesses

CREATE FUNCTION unrdf.trust_witness(key text) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_trust_witness' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.trust_witness(text) IS 'Makes a witness known by its verifier key (type 0x04): its cosignatures are kept with our checkpoints.';

CREATE FUNCTION unrdf.witness_request(old_size bigint DEFAULT 0) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_witness_request' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.witness_request(bigint) IS 'What a witness is sent to have our newest checkpoint cosigned (C2SP tlog-witness, add-checkpoint): old_size is that of the last one it cosigned, which it says in a 409. Null where there is no signed checkpoint.';

CREATE FUNCTION unrdf.add_cosignatures(lines text, size bigint DEFAULT NULL) RETURNS int
	AS 'MODULE_PATHNAME', 'unrdf_add_cosignatures' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.add_cosignatures(text, bigint) IS 'Keeps the cosignatures of witnesses that we trust with our checkpoint of a size, by default the newest, and returns how many are new. Those of others are passed over. Raises 22023 where one does not verify.';

CREATE FUNCTION unrdf.add_witness_key() RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_add_witness_key' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.add_witness_key() IS 'Adds a key named unrdf.witness_name to unrdf.log_key_file, with which this server cosigns, and returns its public half.';

CREATE FUNCTION unrdf.watch_log(key text) RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_watch_log' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.watch_log(text) IS 'Makes this database a witness of a log, known by its verifier key; the key''s name is the log''s origin.';

CREATE FUNCTION unrdf.witness_check(request text, OUT status int, OUT body text, OUT origin text, OUT size bigint) RETURNS record
	AS 'MODULE_PATHNAME', 'unrdf_witness_check' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.witness_check(text) IS 'First half of unrdf.witness_add_checkpoint(): compares a checkpoint with what was cosigned before and stores it.';

CREATE FUNCTION unrdf.witness_cosign(origin text, size bigint) RETURNS text
	AS 'MODULE_PATHNAME', 'unrdf_witness_cosign' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.witness_cosign(text, bigint) IS 'Second half of unrdf.witness_add_checkpoint(): the cosignatures of a checkpoint that is stored, committed and the newest of its origin; else null.';

-- no SET search_path: a procedure that has one cannot commit
CREATE PROCEDURE unrdf.witness_add_checkpoint(request text, INOUT status int DEFAULT NULL, INOUT body text DEFAULT NULL)
	LANGUAGE plpgsql
AS $$
DECLARE
	checked record;
BEGIN
	SELECT * INTO checked FROM unrdf.witness_check(request);
	COMMIT;
	status := checked.status;
	body := checked.body;
	IF status OPERATOR(pg_catalog.=) 200 THEN
		body := unrdf.witness_cosign(checked.origin, checked.size);
		IF body IS NULL THEN
			status := 409;
			body := (SELECT pg_catalog.concat(pg_catalog.max(w.size), E'\n') FROM unrdf.witnessed AS w WHERE w.origin OPERATOR(pg_catalog.=) checked.origin);
		END IF;
	END IF;
END
$$;
COMMENT ON PROCEDURE unrdf.witness_add_checkpoint(text, int, text) IS 'Answers a request to cosign a checkpoint of a log that this database is a witness for (C2SP tlog-witness, add-checkpoint), with the protocol''s status and body: 200 and cosignatures; 400 malformed; 403 not signed by a known key; 404 unknown log; 409 not what was cosigned last, whose size is the body; 422 no consistency proof. It commits before it signs, so it cannot be called in a transaction block.';

-- Observation

CREATE FUNCTION unrdf.workers(OUT pid int, OUT kind text, OUT datname name, OUT state text, OUT job bigint, OUT handler text, OUT since timestamptz, OUT jobs bigint, OUT transactions bigint)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'unrdf_workers' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 20;
COMMENT ON FUNCTION unrdf.workers() IS 'What every unrdf process is doing, and which jobs workers outside have in hand. Source of unrdf.stat_workers.';

CREATE FUNCTION unrdf.holds_lease(job bigint) RETURNS boolean
	AS 'MODULE_PATHNAME', 'unrdf_holds_lease' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION unrdf.holds_lease(bigint) IS 'Whether a worker outside has a job in hand that claimed it as a role one is a member of.';

CREATE FUNCTION unrdf.log_state(OUT log int, OUT origin text, OUT size bigint, OUT root bytea, OUT published_size bigint, OUT published_at timestamptz, OUT publishing text, OUT reason text, OUT since timestamptz)
	RETURNS record AS 'MODULE_PATHNAME', 'unrdf_log_state' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.log_state() IS 'The log''s newest tree and checkpoint, and whether checkpoints are published. Source of unrdf.log_status.';

CREATE FUNCTION unrdf.verify_progress(OUT pid int, OUT phase text, OUT first bigint, OUT leaves_total bigint, OUT leaves_done bigint, OUT bad bigint, OUT started_at timestamptz)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'unrdf_verify_progress' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 4;
COMMENT ON FUNCTION unrdf.verify_progress() IS 'Progress of running verifications of the log in this database. Source of unrdf.stat_verify.';

CREATE FUNCTION unrdf.cluster_keys(OUT key text, OUT value text, OUT seconds_left bigint)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'unrdf_cluster_keys' LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 5;
COMMENT ON FUNCTION unrdf.cluster_keys() IS 'What Patroni keeps in etcd of members, leader (with what its lease has at least left) and synchronous standbys. No rows where Patroni does not manage this server, and, with a warning, where etcd does not answer within unrdf.store_timeout. Source of unrdf.cluster.';

CREATE FUNCTION unrdf.cluster_state(OUT node text, OUT sentinel int, OUT fence text, OUT reason text, OUT milliseconds_left bigint)
	RETURNS record AS 'MODULE_PATHNAME', 'unrdf_cluster_state' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION unrdf.cluster_state() IS 'This node''s name, its sentinel''s process id, and its fence: off, standby, waiting (for a lease), armed (nothing is committed once milliseconds_left have passed, unless the lease is renewed), paused (with Patroni), refused (its settings leave no time), stopping.';

-- Restore

CREATE FUNCTION unrdf.restore_begins() RETURNS trigger
	AS 'MODULE_PATHNAME', 'unrdf_restore_begins' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.restore_begins() IS 'Statement trigger: rows that reach these tables by COPY or INSERT come from a dump. Hands out nothing until finish_restore.';

CREATE FUNCTION unrdf.finish_restore() RETURNS void
	AS 'MODULE_PATHNAME', 'unrdf_finish_restore' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.finish_restore() IS 'Says that a restore is complete: restored jobs run from this transaction''s commit on. pg_restore needs no call, it refreshes unrdf.dump_end last, which does this.';

CREATE FUNCTION unrdf.restore_ends() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'unrdf_restore_ends' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION unrdf.restore_ends() IS 'Called by the refresh of unrdf.dump_end: does what finish_restore does, where a restore is under way. Returns the time.';
