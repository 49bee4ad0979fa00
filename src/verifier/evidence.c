/*
 * evidence.c
 *	  Checks an exported receipt without the database that wrote it: the checkpoint's signatures by a
 *	  policy, then that the receipt's bytes are the leaf that the proof shows in the checkpoint's tree.
 *
 * Size and root are taken from the signed checkpoint only.
 */
#include "verifier/evidence.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/base64.h"
#include "crypto/note.h"

/*
 * Checks a checkpoint by a policy and fills in e->checkpoint and e->witnesses.  Returns why it is not one
 * to believe, or NULL.
 */
const char *
unrdf_evidence_checkpoint(const char *text, size_t len, const UnrdfPolicy *policy, UnrdfEvidence *e)
{
	const UnrdfNoteKey *log;
	UnrdfNote note;

	if (unrdf_note_parse(text, len, &note) != 0)
		return "checkpoint is not a signed note";
	if (unrdf_checkpoint_parse(note.text, note.text_len, &e->checkpoint) != 0)
		return "checkpoint is malformed";
	switch (unrdf_policy_check(policy, &note, &log, &e->witnesses))
	{
		case UNRDF_POLICY_FORGED:
			return "a signature of the log's does not verify";
		case UNRDF_POLICY_UNKNOWN_LOG:
			return "checkpoint is signed by no known log";
		case UNRDF_POLICY_NO_QUORUM:
			return "too few witnesses have signed";
		case UNRDF_POLICY_MET:
			break;
	}
	if (log->name_len != e->checkpoint.origin_len ||
		memcmp(log->name, e->checkpoint.origin, log->name_len) != 0)
		return "origin is not the name of the key that signed";
	return NULL;
}

/* Reads the receipt's bytes. */
static bool
read_receipt(const UnrdfTlogProof *proof, UnrdfEvidence *e)
{
	int len;

	if (proof->extra == NULL || (e->receipt = malloc(proof->extra_len + 1)) == NULL)
		return false;
	len = unrdf_base64_decode(proof->extra, proof->extra_len, (uint8_t *) e->receipt,
							  proof->extra_len);
	if (len < 0)
		return false;
	e->receipt_len = len;
	return true;
}

static const char *
check(const char *text, size_t len, const UnrdfPolicy *policy, UnrdfEvidence *e)
{
	UnrdfTlogProof proof;
	UnrdfBytes entry;
	uint8_t leaf[UNRDF_HASH_LEN];
	const char *failure;

	if (unrdf_tlog_proof_parse(text, len, &proof) != 0)
		return "not an exported receipt";
	e->index = proof.index;
	failure = unrdf_evidence_checkpoint(proof.checkpoint, proof.checkpoint_len, policy, e);
	if (failure)
		return failure;
	if (!read_receipt(&proof, e))
		return "the receipt is not in it";
	entry.data = e->receipt;
	entry.len = e->receipt_len;
	if (unrdf_leaf_hash(&entry, 1, leaf) != 0)
		return "SHA-256 failed";
	if (!unrdf_verify_inclusion(proof.index, e->checkpoint.size, leaf,
								(const uint8_t(*)[UNRDF_HASH_LEN]) proof.hashes, proof.n,
								e->checkpoint.root))
		return "the proof does not show this receipt in the checkpoint's tree";
	return NULL;
}

/*
 * Checks an exported receipt by a policy and says in *e what was found, which the caller frees.  True
 * where every check holds.
 */
bool
unrdf_evidence_check(const char *text, size_t len, const UnrdfPolicy *policy, UnrdfEvidence *e)
{
	memset(e, 0, sizeof(*e));
	e->failure = check(text, len, policy, e);
	return e->failure == NULL;
}

/* Frees what unrdf_evidence_check allocated. */
void
unrdf_evidence_free(UnrdfEvidence *e)
{
	free(e->receipt);
	e->receipt = NULL;
}
