/*
 * sample.c
 *	  A log to try the verifier on: receipts, their tree, the keys of the log and of a witness.
 */
#include "sample.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"

#define LEVELS 13 /* of a perfect tree of SAMPLE_LEAVES leaves */

static const uint8_t log_seed[UNRDF_SEED_LEN] = {1};
static const uint8_t witness_seed[UNRDF_SEED_LEN] = {2};
static UnrdfNoteKey log_key;
static UnrdfNoteKey witness_key;
static uint8_t nodes[LEVELS][SAMPLE_LEAVES][UNRDF_HASH_LEN];

static bool
make_key(const char *name, UnrdfKeyType type, const uint8_t *seed, UnrdfNoteKey *key)
{
	uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];

	return unrdf_public_key(seed, public_key) == 0 &&
		   unrdf_note_key(name, strlen(name), type, public_key, key) == 0;
}

static int
keep_node(void *arg, int level, uint64_t index, const uint8_t hash[UNRDF_HASH_LEN])
{
	(void) arg;
	memcpy(nodes[level][index], hash, UNRDF_HASH_LEN);
	return 0;
}

/* Makes keys and tree. To be called before everything else; false where OpenSSL fails. */
bool
sample_make(void)
{
	UnrdfRange range;
	char text[SAMPLE_TEXT_MAX];
	uint64_t i;

	unrdf_range_init(&range);
	for (i = 0; i < SAMPLE_LEAVES; i++)
	{
		UnrdfBytes leaf = {text, sample_receipt(i, text)};
		uint8_t hash[UNRDF_HASH_LEN];

		if (unrdf_leaf_hash(&leaf, 1, hash) != 0 ||
			unrdf_range_append(&range, hash, keep_node, NULL) != 0)
			return false;
	}
	return make_key(SAMPLE_ORIGIN, UNRDF_KEY_ED25519, log_seed, &log_key) &&
		   make_key("witness.example/sample", UNRDF_KEY_COSIGNATURE, witness_seed, &witness_key);
}

/* An UnrdfNodeSource. */
int
sample_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	(void) arg;
	memcpy(out, nodes[level][index], UNRDF_HASH_LEN);
	return 0;
}

static const char *
key_text(const UnrdfNoteKey *key)
{
	static char text[2][SAMPLE_TEXT_MAX];
	static int last;
	UnrdfCanon out = {text[last = !last], SAMPLE_TEXT_MAX - 1, 0};

	unrdf_note_key_format(key, &out);
	out.buf[out.len] = '\0';
	return out.buf;
}

/* The log's verifier key. */
const char *
sample_key(void)
{
	return key_text(&log_key);
}

/* A policy that demands the log's signature, or the witness's as well. */
const char *
sample_policy(bool cosigned)
{
	static char text[2][SAMPLE_TEXT_MAX];

	snprintf(text[cosigned], SAMPLE_TEXT_MAX, "log %s\nwitness w %s\nquorum %s\n",
			 key_text(&log_key), key_text(&witness_key), cosigned ? "w" : "none");
	return text[cosigned];
}

/* Writes a receipt's canonical bytes; returns how many. */
size_t
sample_receipt(uint64_t index, char *out)
{
	return (size_t) sprintf(out,
							"{\"actor\":\"app\",\"id\":%" PRIu64 ",\"operation\":\"create\","
							"\"payload_hash\":\"%064" PRIx64 "\",\"subject\":\"order/%" PRIu64
							"\"}",
							index + 1, index * 0x9e3779b9, index * 7919 % 1000);
}

/* Appends a checkpoint's text as a note that the log has signed, and if asked the witness too. */
void
sample_sign(const char *text, size_t len, bool cosigned, UnrdfCanon *out)
{
	unrdf_canon_raw(out, text, len);
	unrdf_canon_raw(out, "\n", 1);
	(void) unrdf_note_sign(text, len, &log_key, log_seed, 0, out);
	if (cosigned)
		(void) unrdf_note_sign(text, len, &witness_key, witness_seed, 1700000000, out);
}

/* Appends the signed checkpoint of a size. */
void
sample_checkpoint(uint64_t size, bool cosigned, UnrdfCanon *out)
{
	UnrdfCheckpoint c = {SAMPLE_ORIGIN, strlen(SAMPLE_ORIGIN), size, {0}, "", 0};
	char text[SAMPLE_TEXT_MAX];
	UnrdfCanon body = {text, sizeof(text), 0};

	(void) unrdf_tree_root(size, sample_node, NULL, c.root);
	unrdf_checkpoint_format(&c, &body);
	sample_sign(text, body.len, cosigned, out);
}

/* Appends what unrdf.export_receipt() would give for a receipt, with the checkpoint of a size. */
void
sample_export(uint64_t index, uint64_t size, bool cosigned, UnrdfCanon *out)
{
	static uint64_t signed_size; /* the last checkpoint is kept: signing it anew is slow */
	static bool with_witness;
	static char checkpoint[SAMPLE_TEXT_MAX];
	static UnrdfCanon kept = {checkpoint, sizeof(checkpoint), 0};
	char receipt[SAMPLE_TEXT_MAX];
	char extra[SAMPLE_TEXT_MAX];
	size_t len = sample_receipt(index, receipt);
	UnrdfTlogProof p = {extra, UNRDF_BASE64_LEN(len), index, 0, {{0}}, checkpoint, 0};

	if (signed_size != size || with_witness != cosigned)
	{
		kept.len = 0;
		sample_checkpoint(size, cosigned, &kept);
		signed_size = size;
		with_witness = cosigned;
	}
	p.checkpoint_len = kept.len;
	p.n = unrdf_inclusion_proof(index, size, sample_node, NULL, p.hashes);
	unrdf_base64_encode(receipt, len, extra);
	unrdf_tlog_proof_format(&p, out);
}
