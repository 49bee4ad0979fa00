/*
 * checkpoint_fuzz.c
 *	  Texts of checkpoints, proofs and requests to witnesses (src/crypto/checkpoint.c): what is accepted has
 *	  one text only, and everything in it lies within that.
 */
#include "crypto/checkpoint.h"
#include "fuzz.h"

#include <string.h>

static void
check_checkpoint(const char *text, size_t len)
{
	char again[FUZZ_TEXT_MAX];
	UnrdfCanon out = {again, sizeof(again), 0};
	UnrdfCheckpoint c;

	if (unrdf_checkpoint_parse(text, len, &c) != 0)
		return;
	fuzz_accepted();
	must(fuzz_within(c.origin, c.origin_len, text, len) &&
		 fuzz_within(c.extensions, c.extensions_len, text, len));
	must(unrdf_origin_is_good(c.origin, c.origin_len) && c.size <= UNRDF_TREE_SIZE_MAX);
	must(memmem(c.extensions, c.extensions_len, "\n\n", 2) == NULL);
	unrdf_checkpoint_format(&c, &out);
	must(fuzz_same(again, out.len, text, len));
}

static void
check_proof(const char *text, size_t len)
{
	static UnrdfTlogProof p;
	char again[FUZZ_TEXT_MAX];
	UnrdfCanon out = {again, sizeof(again), 0};

	if (unrdf_tlog_proof_parse(text, len, &p) != 0)
		return;
	fuzz_accepted();
	must(p.n >= 0 && p.n <= 64 && p.index <= UNRDF_TREE_SIZE_MAX);
	must(p.extra == NULL || (fuzz_within(p.extra, p.extra_len, text, len) &&
							 memchr(p.extra, '\n', p.extra_len) == NULL));
	must(fuzz_within(p.checkpoint, p.checkpoint_len, text, len));
	unrdf_tlog_proof_format(&p, &out);
	must(fuzz_same(again, out.len, text, len));
}

static void
check_request(const char *text, size_t len)
{
	static UnrdfWitnessRequest r;
	char again[FUZZ_TEXT_MAX];
	UnrdfCanon out = {again, sizeof(again), 0};

	if (unrdf_witness_request_parse(text, len, &r) != 0)
		return;
	fuzz_accepted();
	must(r.n >= 0 && r.n <= 63 && r.old_size <= UNRDF_TREE_SIZE_MAX);
	must(fuzz_within(r.checkpoint, r.checkpoint_len, text, len));
	unrdf_witness_request_format(&r, &out);
	must(fuzz_same(again, out.len, text, len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;

	if (size > FUZZ_TEXT_MAX)
		return 0;
	check_checkpoint(text, size);
	check_proof(text, size);
	check_request(text, size);
	return 0;
}
