-- Receipts and the log they are integrated into. Append-only.

CREATE TABLE unrdf.epoch (
	epoch int CONSTRAINT epoch_pkey PRIMARY KEY,
	origin text NOT NULL,
	node text NOT NULL,
	system_identifier bigint NOT NULL,
	database oid NOT NULL,
	timeline int NOT NULL,
	started_at timestamptz NOT NULL
);
COMMENT ON TABLE unrdf.epoch IS 'One row for every server start or promotion in which work was done: the log''s origin, the node, and the cluster and database the transaction ids of that time belong to. An origin belongs to the database of its first row: only that publishes checkpoints under it.';

CREATE TABLE unrdf.receipt (
	id bigint NOT NULL,
	xid xid8 NOT NULL,
	started_at timestamptz NOT NULL,
	finished_at timestamptz NOT NULL,
	epoch int NOT NULL,
	attempt int NOT NULL,
	revision int,
	kind smallint NOT NULL CONSTRAINT receipt_kind_check CHECK (kind BETWEEN 1 AND 5),
	outcome smallint NOT NULL CONSTRAINT receipt_outcome_check CHECK (outcome BETWEEN 1 AND 4),
	operation text NOT NULL,
	actor text NOT NULL,
	subject text COLLATE "C",
	salt bytea NOT NULL,
	payload_hash bytea NOT NULL,
	result_hash bytea,
	previous bytea,
	payload jsonb,
	result jsonb,
	delivery smallint CONSTRAINT receipt_delivery_check CHECK (delivery = 1)
);
COMMENT ON TABLE unrdf.receipt IS 'Receipts: one immutable row per operation. The canonical JSON bytes are rebuilt from the columns by unrdf.canonical_receipt.';
COMMENT ON COLUMN unrdf.receipt.kind IS '1 execute, 2 create, 3 update, 4 delete, 5 batch';
COMMENT ON COLUMN unrdf.receipt.outcome IS '1 ok, 2 dead, 3 cancelled, 4 skipped';
COMMENT ON COLUMN unrdf.receipt.delivery IS '1 at least once: the job''s effects may have happened more often than there are receipts, or without one; null exactly once';
COMMENT ON COLUMN unrdf.receipt.payload IS 'Payload of a recorded operation; a job''s arguments are in unrdf.job.';
ALTER TABLE unrdf.receipt ADD CONSTRAINT receipt_pkey PRIMARY KEY (id);
CREATE INDEX receipt_xid_idx ON unrdf.receipt (xid, id);
CREATE UNIQUE INDEX receipt_subject_idx ON unrdf.receipt (subject, revision) WHERE subject IS NOT NULL;

CREATE TABLE unrdf.integration (
	log int NOT NULL,
	first bigint NOT NULL,
	n int NOT NULL CONSTRAINT integration_n_check CHECK (n > 0),
	epoch int NOT NULL,
	xid_min xid8 NOT NULL,
	xid_max xid8 NOT NULL,
	at timestamptz NOT NULL,
	position text NOT NULL,
	root bytea NOT NULL,
	landmarks bytea NOT NULL,
	leaves bytea NOT NULL,
	CONSTRAINT integration_pkey PRIMARY KEY (log, first)
);
COMMENT ON TABLE unrdf.integration IS 'One row per integration step: leaves first … first+n-1 of a log, the root of the tree of size first+n, and the follower''s position after it.';
COMMENT ON COLUMN unrdf.integration.landmarks IS 'The receipt ids of every 48th entry, from the first on, as eight bytes in network order: where a search begins. Nothing else goes by them.';
COMMENT ON COLUMN unrdf.integration.leaves IS 'n entries of 40 bytes in leaf order: the receipt id as eight bytes in network order, then its leaf hash.';
ALTER TABLE unrdf.integration ALTER COLUMN leaves SET STORAGE EXTERNAL;
ALTER TABLE unrdf.integration ALTER COLUMN landmarks SET STORAGE PLAIN;
CREATE INDEX integration_xid_idx ON unrdf.integration (log, xid_max, xid_min);

CREATE TABLE unrdf.tile (
	log int NOT NULL,
	level int NOT NULL,
	idx bigint NOT NULL,
	root bytea NOT NULL CONSTRAINT tile_root_check CHECK (octet_length(root) = 32),
	subroots bytea NOT NULL CONSTRAINT tile_subroots_check CHECK (octet_length(subroots) = 512),
	hashes bytea NOT NULL CONSTRAINT tile_hashes_check CHECK (octet_length(hashes) = 8192),
	CONSTRAINT tile_pkey PRIMARY KEY (log, level, idx)
);
COMMENT ON TABLE unrdf.tile IS 'Perfect 256-wide tiles of a log (C2SP tlog-tiles): 256 hashes of tree level 8 × level, from index 256 × idx. Written once, when full.';
COMMENT ON COLUMN unrdf.tile.root IS 'Root over the hashes: the hash that the next level has in this tile''s place, whose own tile may not be full yet.';
COMMENT ON COLUMN unrdf.tile.subroots IS 'Roots over each 16 of the hashes: a proof reads these and 16 hashes instead of 256.';
ALTER TABLE unrdf.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE unrdf.tile ALTER COLUMN subroots SET STORAGE PLAIN;

CREATE TABLE unrdf.checkpoint (
	log int NOT NULL,
	origin text NOT NULL,
	size bigint NOT NULL,
	root bytea NOT NULL CONSTRAINT checkpoint_root_check CHECK (octet_length(root) = 32),
	epoch int NOT NULL,
	published_at timestamptz NOT NULL,
	signatures text NOT NULL,
	replicated boolean NOT NULL,
	stores text NOT NULL,
	position pg_lsn NOT NULL,
	CONSTRAINT checkpoint_pkey PRIMARY KEY (log, origin, size)
);
COMMENT ON TABLE unrdf.checkpoint IS 'Every checkpoint that was published (C2SP tlog-checkpoint), kept for ever. unrdf.checkpoint() gives their text.';
COMMENT ON COLUMN unrdf.checkpoint.position IS 'Where the WAL of the cluster that published it had all of its leaves.';
COMMENT ON COLUMN unrdf.checkpoint.signatures IS 'The signature lines of the note, one for each key. Empty: published without a key.';
COMMENT ON COLUMN unrdf.checkpoint.replicated IS 'Whether there were synchronous standbys, which had its tree on disk before.';
COMMENT ON COLUMN unrdf.checkpoint.stores IS 'The stores outside the node that had taken it before (unrdf.checkpoint_stores).';

CREATE TABLE unrdf.divergence (
	log int NOT NULL,
	origin text NOT NULL,
	source text NOT NULL,
	their_size bigint NOT NULL,
	epoch int NOT NULL,
	found_at timestamptz NOT NULL,
	their_root bytea,
	their_head text,
	own_size bigint NOT NULL,
	own_root bytea NOT NULL,
	CONSTRAINT divergence_pkey PRIMARY KEY (log, origin, source, their_size, epoch)
);
COMMENT ON TABLE unrdf.divergence IS 'Evidence: trees that were published under our origin, and are no prefix of the log as it was found. While there is such a tree no checkpoint is published.';
COMMENT ON COLUMN unrdf.divergence.source IS 'Who had it: one of unrdf.checkpoint_stores, or the table unrdf.checkpoint.';
COMMENT ON COLUMN unrdf.divergence.epoch IS 'Of the tree that was to be published: one row per server start, not one per try.';
COMMENT ON COLUMN unrdf.divergence.their_root IS 'Null where a witness names only the size.';
COMMENT ON COLUMN unrdf.divergence.their_head IS 'The other tree''s checkpoint as it was found.';
CREATE INDEX checkpoint_size_idx ON unrdf.checkpoint (log, size);

CREATE TABLE unrdf.log_key (
	origin text NOT NULL,
	key text NOT NULL,
	epoch int NOT NULL,
	first_used_at timestamptz NOT NULL,
	CONSTRAINT log_key_pkey PRIMARY KEY (origin, key)
);
COMMENT ON TABLE unrdf.log_key IS 'The public halves of the keys that have signed checkpoints, as verifier keys (C2SP signed-note). Those that sign no more still verify what they signed.';

-- Receipts of many items, and tables whose rows have receipts.

CREATE TABLE unrdf.batch (
	receipt bigint CONSTRAINT batch_pkey PRIMARY KEY,
	audited int,
	n bigint NOT NULL CONSTRAINT batch_n_check CHECK (n > 0)
);
COMMENT ON TABLE unrdf.batch IS 'Receipts of kind batch, and the number of their items.';
COMMENT ON COLUMN unrdf.batch.audited IS 'The audited table whose rows the items speak of; null for what applications record.';
CREATE INDEX batch_audited_idx ON unrdf.batch (audited, receipt) WHERE audited IS NOT NULL;

CREATE TABLE unrdf.batch_segment (
	receipt bigint NOT NULL,
	first bigint NOT NULL,
	keys bytea NOT NULL,
	salts bytea NOT NULL,
	leaves bytea NOT NULL,
	nodes bytea NOT NULL,
	CONSTRAINT batch_segment_pkey PRIMARY KEY (receipt, first)
);
COMMENT ON TABLE unrdf.batch_segment IS 'Hashes of up to 65,536 items of a batch, from item first.';
COMMENT ON COLUMN unrdf.batch_segment.keys IS 'Of an audited table: 16 bytes per item that find the row it speaks of, ascending within the segment; else empty.';
COMMENT ON COLUMN unrdf.batch_segment.salts IS '16 random bytes per item that its leaf hash is over; empty once erased.';
COMMENT ON COLUMN unrdf.batch_segment.leaves IS 'The items'' leaf hashes.';
COMMENT ON COLUMN unrdf.batch_segment.nodes IS 'Roots over every 256 leaves.';
ALTER TABLE unrdf.batch_segment ALTER COLUMN keys SET STORAGE EXTERNAL, ALTER COLUMN salts SET STORAGE EXTERNAL, ALTER COLUMN leaves SET STORAGE EXTERNAL, ALTER COLUMN nodes SET STORAGE EXTERNAL;

CREATE TABLE unrdf.audited (
	id int GENERATED BY DEFAULT AS IDENTITY CONSTRAINT audited_pkey PRIMARY KEY,
	relation regclass NOT NULL CONSTRAINT audited_relation_key UNIQUE,
	key_columns text[] NOT NULL,
	excluded_columns text[] NOT NULL,
	secret bytea NOT NULL,
	audited_at timestamptz NOT NULL DEFAULT now(),
	active boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE unrdf.audited IS 'Tables that were given to unrdf.audit_table(). Their receipts name them by id, whatever they are called.';
COMMENT ON COLUMN unrdf.audited.secret IS 'Goes into the hashes by which receipts name rows: who has not got it cannot guess keys from them.';

-- Witnesses (C2SP tlog-witness): those that cosign our checkpoints, and the logs whose checkpoints we cosign.

CREATE TABLE unrdf.witness (
	key text CONSTRAINT witness_pkey PRIMARY KEY,
	name text NOT NULL,
	added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE unrdf.witness IS 'Witnesses whose cosignatures are kept with our checkpoints, by their verifier keys.';

CREATE TABLE unrdf.cosignature (
	log int NOT NULL,
	origin text NOT NULL,
	size bigint NOT NULL,
	key text NOT NULL,
	line text NOT NULL,
	cosigned_at timestamptz NOT NULL,
	CONSTRAINT cosignature_pkey PRIMARY KEY (log, origin, size, key)
);
COMMENT ON TABLE unrdf.cosignature IS 'Cosignatures of witnesses (C2SP tlog-cosignature), as lines of the checkpoints'' notes.';
CREATE INDEX cosignature_size_idx ON unrdf.cosignature (log, size);

CREATE TABLE unrdf.witness_log (
	origin text NOT NULL,
	key text NOT NULL,
	added_at timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT witness_log_pkey PRIMARY KEY (origin, key)
);
COMMENT ON TABLE unrdf.witness_log IS 'The logs that this database is a witness for, by their verifier keys.';

CREATE TABLE unrdf.witnessed (
	origin text NOT NULL,
	size bigint NOT NULL,
	root bytea NOT NULL CONSTRAINT witnessed_root_check CHECK (octet_length(root) = 32),
	checkpoint text NOT NULL,
	at timestamptz NOT NULL,
	xid xid8 NOT NULL,
	CONSTRAINT witnessed_pkey PRIMARY KEY (origin, size)
);
COMMENT ON TABLE unrdf.witnessed IS 'Every checkpoint that this database has cosigned, with what was sent. Per origin each goes on from the one before; the largest is the newest.';

-- Verification by ranges, which goes on where it was interrupted. Of this database only: no part of a dump.

CREATE TABLE unrdf.verified (
	run bigint NOT NULL,
	first bigint NOT NULL,
	stop bigint NOT NULL,
	size bigint NOT NULL,
	first_root bytea,
	stop_root bytea,
	findings bigint NOT NULL,
	at timestamptz NOT NULL,
	CONSTRAINT verified_pkey PRIMARY KEY (run, first)
);
COMMENT ON TABLE unrdf.verified IS 'One row per range of leaves that unrdf.verify_log() has verified: leaves first … stop-1 of a log that then had size. A run is complete with the range that reaches the size.';
COMMENT ON COLUMN unrdf.verified.first_root IS 'The root of the tree of first leaves that the range was to go on from: that of the range before, or what the caller gave. Null: leaf 0, or not known.';
COMMENT ON COLUMN unrdf.verified.stop_root IS 'The root of the tree of stop leaves, recomputed. Null where it could not be.';

CREATE TABLE unrdf.finding (
	run bigint NOT NULL,
	first bigint NOT NULL,
	receipt bigint,
	reason text NOT NULL
);
COMMENT ON TABLE unrdf.finding IS 'What unrdf.verify_log() found wrong, by run and range. receipt is null where a part of the log is meant.';
CREATE INDEX finding_run_idx ON unrdf.finding (run, first);
