/*
 * evidence_test.c
 *	  Unit tests of src/verifier/evidence.c: what is exported verifies, and nothing that was made of it.
 */
#include "verifier/evidence.h"
#include "sample.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"

static UnrdfPolicy signed_only; /* points into what it was parsed from, as policies do */
static UnrdfPolicy cosigned;
static char text[SAMPLE_TEXT_MAX];
static size_t text_len;

/* Why the text is refused by a policy, or NULL. */
static const char *
refusal(const UnrdfPolicy *policy)
{
	UnrdfEvidence e;

	(void) unrdf_evidence_check(text, text_len, policy, &e);
	unrdf_evidence_free(&e);
	return e.failure;
}

/* Makes the text that is exported for a receipt. */
static void
export_receipt(uint64_t index, uint64_t size, bool with_witness)
{
	UnrdfCanon out = {text, sizeof(text), 0};

	sample_export(index, size, with_witness, &out);
	text_len = out.len;
}

static void
test_good(void)
{
	uint64_t size = 0;
	int refused = 0;
	int i;

	for (i = 0; i < TRIALS; i++)
	{
		if (i % 1000 == 0)
			size = 1 + random64() % SAMPLE_LEAVES;
		export_receipt(random64() % size, size, false);
		refused += refusal(&signed_only) != NULL;
	}
	never(refused, TRIALS, "good receipts refused");
}

/* Every bit of one exported receipt after the other. */
static void
test_bits(void)
{
	int accepted = 0;
	int trials = 0;

	while (trials < TRIALS)
	{
		uint64_t size = 1 + random64() % SAMPLE_LEAVES;
		size_t bit;

		export_receipt(random64() % size, size, false);
		for (bit = 0; bit < 8 * text_len; bit++, trials++)
		{
			text[bit / 8] ^= (char) (1 << bit % 8);
			accepted += refusal(&signed_only) == NULL;
			text[bit / 8] ^= (char) (1 << bit % 8);
		}
	}
	never(accepted, trials, "receipts with one bit flipped accepted");
}

/* Where the witness's line is missing it is a good note still, which too few have signed. */
static void
test_lengths(void)
{
	bool accepted = false;
	size_t whole;

	export_receipt(1234, 4001, true);
	whole = text_len;
	for (text_len = 0; text_len < whole; text_len++)
		accepted |= refusal(&cosigned) == NULL;
	ok(!accepted, "no beginning of a receipt is accepted");
	ok(refusal(&cosigned) == NULL, "all of it is");
	text[text_len++] = '\n';
	ok(refusal(&cosigned) != NULL, "no empty line after it");
}

/*
 * Attacks on the tree.  Each gets the strongest form there is: a checkpoint that the log has really
 * signed, and a proof of hashes that are really in its tree.
 */

/* Says of bytes that they are leaf `index`, with leaf `proved`'s path but for its first `skip` hashes. */
static void
export_forged(const char *receipt, size_t len, uint64_t index, uint64_t proved, uint64_t size,
			  int skip)
{
	char base64[SAMPLE_TEXT_MAX];
	char note[SAMPLE_TEXT_MAX];
	UnrdfCanon checkpoint = {note, sizeof(note), 0};
	UnrdfCanon out = {text, sizeof(text), 0};
	UnrdfTlogProof p = {base64, UNRDF_BASE64_LEN(len), index, 0, {{0}}, note, 0};

	sample_checkpoint(size, false, &checkpoint);
	p.checkpoint_len = checkpoint.len;
	unrdf_base64_encode(receipt, len, base64);
	p.n = unrdf_inclusion_proof(proved, size, sample_node, NULL, p.hashes) - skip;
	memmove(p.hashes[0], p.hashes[skip], (size_t) p.n * UNRDF_HASH_LEN);
	unrdf_tlog_proof_format(&p, &out);
	text_len = out.len;
}

/* What is hashed for an inner node is given for a receipt, with the rest of the path above that node. */
static void
test_inner_node_as_leaf(void)
{
	bool accepted = false;
	uint64_t index;
	int level;

	for (index = 0; index < 300; index++)
	{
		for (level = 1; index << level < 4096 && level <= 12; level++)
		{
			uint64_t below = index << level; /* a leaf of it */
			char bytes[1 + 2 * UNRDF_HASH_LEN] = {1};

			(void) sample_node(NULL, level - 1, 2 * index, (uint8_t *) bytes + 1);
			(void) sample_node(NULL, level - 1, 2 * index + 1,
							   (uint8_t *) bytes + 1 + UNRDF_HASH_LEN);
			export_forged(bytes, sizeof(bytes), index, below, 4096, level);
			accepted |= refusal(&signed_only) == NULL;
			export_forged(bytes + 1, sizeof(bytes) - 1, index, below, 4096, level);
			accepted |= refusal(&signed_only) == NULL;
			export_forged(bytes + 1, sizeof(bytes) - 1, below, below, 4096, level);
			accepted |= refusal(&signed_only) == NULL;
		}
	}
	ok(!accepted, "no inner node of a tree of 4096 is a receipt");
}

/* A last leaf without a sibling is not its own sibling, so that it cannot be shown a second time. */
static void
test_duplicate_leaf(void)
{
	bool accepted = false;
	uint64_t size;

	for (size = 1; size <= 300; size++)
	{
		char receipt[SAMPLE_TEXT_MAX];
		size_t len = sample_receipt(size - 1, receipt);
		uint64_t index;

		for (index = size; index < 2 * size + 2; index++)
		{
			export_forged(receipt, len, index, size - 1, size, 0);
			accepted |= refusal(&signed_only) == NULL;
		}
		for (index = 0; index + 1 < size && index < 8; index++)
		{
			export_forged(receipt, len, index, index, size, 0);
			accepted |= refusal(&signed_only) == NULL;
		}
	}
	ok(!accepted, "the last receipt of trees of 1 to 300 is at no other index");
}

/* A path alone may fit another size as well; the checkpoint says which it is, and that is signed. */
static void
test_size_alias(void)
{
	bool aliased = false;
	bool accepted = false;
	uint64_t size;

	for (size = 5; size < 300; size += 3)
	{
		uint8_t proof[64][UNRDF_HASH_LEN];
		uint8_t leaf[UNRDF_HASH_LEN];
		uint8_t root[UNRDF_HASH_LEN];
		int n = unrdf_inclusion_proof(size / 2, size, sample_node, NULL, proof);
		uint64_t other;

		(void) sample_node(NULL, 0, size / 2, leaf);
		(void) unrdf_tree_root(size, sample_node, NULL, root);
		for (other = size / 2 + 1; other <= 300; other++)
		{
			char number[32];
			char *at;

			if (other == size ||
				!unrdf_verify_inclusion(size / 2, other, leaf,
										(const uint8_t(*)[UNRDF_HASH_LEN]) proof, n, root))
				continue;
			aliased = true;
			export_receipt(size / 2, size, false);
			text[text_len] = '\0';
			at = strstr(text, SAMPLE_ORIGIN) + strlen(SAMPLE_ORIGIN) + 1;
			snprintf(number, sizeof(number), "%llu", (unsigned long long) other);
			if (strcspn(at, "\n") != strlen(number))
				continue; /* other lengths are no different */
			memcpy(at, number, strlen(number));
			accepted |= refusal(&signed_only) == NULL;
		}
	}
	ok(aliased, "a path that fits its size fits others too");
	ok(!accepted, "but a receipt has the size that was signed");
}

/* Another log's checkpoint, a text that is none, and signatures that belong elsewhere. */
static void
test_checkpoint_of_another(void)
{
	char other[SAMPLE_TEXT_MAX] = "log.example/other\n";
	char note[SAMPLE_TEXT_MAX];
	UnrdfCanon body = {other, sizeof(other), strlen(other)};
	UnrdfCanon out = {note, sizeof(note), 0};
	UnrdfEvidence e;
	const char *failure;

	unrdf_canon_raw(&body, "1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", 47);
	sample_sign(other, body.len, true, &out);
	failure = unrdf_evidence_checkpoint(note, out.len, &cosigned, &e);
	is_text(failure ? failure : "accepted", "origin is not the name of the key that signed",
			"the log's key under another log's name");
	out.len = 0;
	sample_sign("only words\n", 11, true, &out);
	failure = unrdf_evidence_checkpoint(note, out.len, &cosigned, &e);
	is_text(failure ? failure : "accepted", "checkpoint is malformed",
			"a note of the log's that is no checkpoint");
}

void
test_evidence(void)
{
	const char *one;
	const char *both;
	int line;

	ok(sample_make(), "a log");
	one = sample_policy(false);
	both = sample_policy(true);
	ok(unrdf_policy_parse(one, strlen(one), &signed_only, &line) == 0 &&
		   unrdf_policy_parse(both, strlen(both), &cosigned, &line) == 0,
	   "its policies");
	test_good();
	test_bits();
	test_lengths();
	test_inner_node_as_leaf();
	test_duplicate_leaf();
	test_size_alias();
	test_checkpoint_of_another();
}
