/*
 * evidence_fuzz.c
 *	  Exported receipts as the verifier reads them (src/verifier/evidence.c), twice: as they are, where
 *	  only what the sample's log has really signed may be accepted; and with their checkpoint signed anew
 *	  by the log's key, so that the proof is reached, where the RFC's definition has to agree.
 */
#include "verifier/evidence.h"
#include "fuzz.h"
#include "sample.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/base64.h"

static UnrdfPolicy cosigned;

static void
make_policy(void)
{
	const char *rules;
	int line;

	if (cosigned.nlogs > 0)
		return;
	must(sample_make());
	rules = sample_policy(true);
	must(unrdf_policy_parse(rules, strlen(rules), &cosigned, &line) == 0);
}

/*
 * The root that a path leads to, as RFC 9162 section 2.1.3.1 defines paths: the last hash is the root's
 * other child.  False where it has another length.
 */
static bool
root_of_path(uint64_t index, uint64_t size, const uint8_t leaf[UNRDF_HASH_LEN],
			 const uint8_t (*path)[UNRDF_HASH_LEN], int n, uint8_t root[UNRDF_HASH_LEN])
{
	uint8_t below[UNRDF_HASH_LEN];
	uint64_t k = 1;

	if (size == 1)
	{
		memcpy(root, leaf, UNRDF_HASH_LEN);
		return n == 0;
	}
	while (k < size - k)
		k *= 2;
	if (n == 0)
		return false;
	if (index < k)
		return root_of_path(index, k, leaf, path, n - 1, below) &&
			   unrdf_node_hash(below, path[n - 1], root) == 0;
	return root_of_path(index - k, size - k, leaf, path, n - 1, below) &&
		   unrdf_node_hash(path[n - 1], below, root) == 0;
}

/* Whether a receipt is in the checkpoint's tree, by the definition. */
static bool
is_shown(const UnrdfTlogProof *p, const UnrdfCheckpoint *c)
{
	uint8_t bytes[FUZZ_TEXT_MAX];
	uint8_t leaf[UNRDF_HASH_LEN];
	uint8_t root[UNRDF_HASH_LEN];
	int len = p->extra ? unrdf_base64_decode(p->extra, p->extra_len, bytes, sizeof(bytes)) : -1;
	UnrdfBytes entry = {bytes, (size_t) len};

	return len >= 0 && p->index < c->size && unrdf_leaf_hash(&entry, 1, leaf) == 0 &&
		   root_of_path(p->index, c->size, leaf, (const uint8_t(*)[UNRDF_HASH_LEN]) p->hashes, p->n,
						root) &&
		   memcmp(root, c->root, UNRDF_HASH_LEN) == 0;
}

/* Nobody but the sample has the keys: what is accepted is one of its receipts, but for signatures of others. */
static void
check_as_it_is(const char *text, size_t len)
{
	char expected[FUZZ_TEXT_MAX];
	UnrdfCanon out = {expected, sizeof(expected), 0};
	const char *end;
	const char *next;
	UnrdfEvidence e;

	if (unrdf_evidence_check(text, len, &cosigned, &e))
	{
		fuzz_accepted();
		must(e.index < e.checkpoint.size && e.checkpoint.size <= SAMPLE_LEAVES && e.witnesses == 1);
		must(fuzz_same(e.receipt, e.receipt_len, expected, sample_receipt(e.index, expected)));
		sample_export(e.index, e.checkpoint.size, true, &out);
		end = memmem(expected, out.len, "\n\n\xe2", 3);
		must(end != NULL && len > (size_t) (end - expected) + 2 &&
			 memcmp(text, expected, end - expected + 2) == 0);
		for (end += 2; end < expected + out.len; end = next)
		{
			next = (const char *) memchr(end, '\n', expected + out.len - end) + 1;
			must(memmem(text, len, end, next - end) != NULL);
		}
	}
	unrdf_evidence_free(&e);
}

/* The same text with the log's and the witness's signatures under whatever checkpoint it has. */
static void
check_signed_anew(const char *text, size_t len)
{
	static UnrdfTlogProof p;
	char signed_text[FUZZ_TEXT_MAX];
	char checkpoint[FUZZ_TEXT_MAX];
	UnrdfCanon note_out = {checkpoint, sizeof(checkpoint), 0};
	UnrdfCanon out = {signed_text, sizeof(signed_text), 0};
	UnrdfCheckpoint c;
	UnrdfNote note;
	UnrdfEvidence e;
	bool is_ours;

	if (unrdf_tlog_proof_parse(text, len, &p) != 0 ||
		unrdf_note_parse(p.checkpoint, p.checkpoint_len, &note) != 0 ||
		unrdf_checkpoint_parse(note.text, note.text_len, &c) != 0)
		return;
	is_ours = fuzz_same(c.origin, c.origin_len, SAMPLE_ORIGIN, strlen(SAMPLE_ORIGIN));
	sample_sign(note.text, note.text_len, true, &note_out);
	p.checkpoint = checkpoint;
	p.checkpoint_len = note_out.len;
	unrdf_tlog_proof_format(&p, &out);
	must(unrdf_evidence_check(signed_text, out.len, &cosigned, &e) ==
		 (is_ours && is_shown(&p, &c)));
	must(e.failure != NULL ||
		 fuzz_within(e.checkpoint.origin, e.checkpoint.origin_len, signed_text, out.len));
	unrdf_evidence_free(&e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	make_policy();
	if (size > FUZZ_TEXT_MAX / 4)
		return 0;
	check_as_it_is((const char *) data, size);
	check_signed_anew((const char *) data, size);
	return 0;
}
