/*
 * evidence.c: what stands behind a leaf of the receipts' log.
 *
 * A log that only its own database vouches for proves little; a checkpoint that others have proves more. Of the checkpoints
 * that have the leaf the best is taken: cosigned by enough witnesses, or in stores outside, or on standbys; then the newest.
 * It is looked for among the newest sixteen, and the newest sixteen that were cosigned. What it says is not believed: its root
 * has to come out of the log, and signatures and cosignatures have to verify. That standbys and stores had it is what the
 * publisher noted (publish.c); whoever forged that has to be found by asking them.
 *
 * Read only, also on a standby.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/guc.h"
#include "base/plan.h"
#include "crypto/note.h"
#include "ledger/checkpoint.h"
#include "ledger/evidence.h"
#include "ledger/proof.h"
#include "ledger/receipt.h"
#include "ledger/witness.h"

#define RECENT                                                                                                              \
	" WHERE log OPERATOR(pg_catalog.=) $1 AND origin OPERATOR(pg_catalog.=) $2 AND size OPERATOR(pg_catalog.>) $3 ORDER BY" \
	" size DESC LIMIT 16)"

const char *const UnrdfEvidenceNames[] = {"self-checked", "published", "replicated", "stored",
										  "witnessed"};

static UnrdfPlan find_best = {
	"WITH recent AS ((SELECT size FROM unrdf.checkpoint" RECENT
	" UNION (SELECT DISTINCT size FROM unrdf.cosignature" RECENT
	"), ranked AS (SELECT p.size, CASE WHEN (SELECT pg_catalog.count(*) FROM unrdf.cosignature AS c WHERE c.log"
	" OPERATOR(pg_catalog.=) p.log AND c.origin OPERATOR(pg_catalog.=) p.origin AND c.size OPERATOR(pg_catalog.=) p.size)"
	" OPERATOR(pg_catalog.>=) $4 THEN 4 WHEN p.stores OPERATOR(pg_catalog.<>) '' THEN 3 WHEN p.replicated THEN 2 ELSE 1 END"
	" AS class FROM unrdf.checkpoint AS p JOIN recent AS r ON r.size OPERATOR(pg_catalog.=) p.size"
	" WHERE p.log OPERATOR(pg_catalog.=) $1 AND p.origin OPERATOR(pg_catalog.=) $2)"
	" SELECT size, class FROM ranked ORDER BY class DESC, size DESC LIMIT 1",
	4,
	{INT4OID, TEXTOID, INT8OID, INT8OID}};
static UnrdfPlan list_keys = {
	"SELECT key FROM unrdf.log_key WHERE origin OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}};

/* Whether the log's keys have signed a checkpoint, as its signatures say. */
static bool
is_signed(const UnrdfPublished *p)
{
	Datum origin = CStringGetTextDatum(p->checkpoint.origin);
	UnrdfPublished own = *p;
	bool good = false;
	bool forged = false;
	StringInfoData note_text;
	UnrdfNote note;
	uint64 n;
	bool isnull;

	initStringInfo(&note_text);
	own.cosignatures = "";
	UnrdfCheckpointText(&own, &note_text);
	if (unrdf_note_parse(note_text.data, note_text.len, &note) != 0)
		return false;
	SPI_connect();
	n = UnrdfExecute(&list_keys, &origin, NULL, true);
	for (uint64 i = 0; i < n; i++)
	{
		text *stored = DatumGetTextPP(UnrdfResult(i, 0, &isnull));
		UnrdfNoteKey key;
		UnrdfSigned answer = UNRDF_FORGED;

		if (unrdf_note_key_parse(VARDATA_ANY(stored), VARSIZE_ANY_EXHDR(stored), &key) == 0)
			answer = unrdf_note_verify(&note, &key, NULL);
		good |= answer == UNRDF_SIGNED;
		forged |= answer == UNRDF_FORGED;
	}
	SPI_finish();
	return good && !forged;
}

/* The best checkpoint that has the leaf; false where there is none. */
static bool
find(uint64 index, UnrdfPublished *p, UnrdfEvidence *e)
{
	UnrdfLogHead head;
	const char *origin;
	Datum values[4];
	int64 size = 0;
	bool isnull;

	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	origin = UnrdfLogOrigin(&head);
	if (origin == NULL)
		return false;
	values[0] = Int32GetDatum(UNRDF_RECEIPTS_LOG);
	values[1] = CStringGetTextDatum(origin);
	values[2] = Int64GetDatum((int64) index);
	values[3] = Int64GetDatum(unrdf_witness_quorum);
	SPI_connect();
	if (UnrdfExecute(&find_best, values, NULL, true) == 1)
	{
		size = DatumGetInt64(UnrdfResult(0, 0, &isnull));
		e->class = (UnrdfEvidenceClass) DatumGetInt32(UnrdfResult(0, 1, &isnull));
	}
	SPI_finish();
	return size > 0 && UnrdfCheckpointFind(UNRDF_RECEIPTS_LOG, origin, &size, p);
}

/*
 * UnrdfEvidenceFind tells what stands behind the leaf of an index. Returns why the checkpoint that should cannot be what was
 * published, palloc'd, or NULL.
 */
const char *
UnrdfEvidenceFind(uint64 index, UnrdfEvidence *e)
{
	UnrdfPublished p;
	uint8 root[UNRDF_HASH_LEN];

	memset(e, 0, sizeof(*e));
	e->witnesses = UnrdfWitnessesKnown();
	if (!find(index, &p, e))
		return NULL;
	e->size = p.checkpoint.size;
	if (!UnrdfRootOfSize(UNRDF_RECEIPTS_LOG, e->size, root) ||
		memcmp(root, p.checkpoint.root, UNRDF_HASH_LEN) != 0)
		return psprintf("log does not have the root of its checkpoint of size " UINT64_FORMAT,
						e->size);
	if (*p.signatures && !is_signed(&p))
		return psprintf("checkpoint of size " UINT64_FORMAT " is not signed by the log's keys",
						e->size);
	if (*p.cosignatures)
		e->cosigned = UnrdfCosignaturesCheck(&p, p.cosignatures, strlen(p.cosignatures));
	if (e->cosigned < 0)
		return psprintf("a cosignature of the checkpoint of size " UINT64_FORMAT " does not verify",
						e->size);
	if (e->class == UNRDF_EVIDENCE_WITNESSED && e->cosigned < unrdf_witness_quorum)
		e->class = *p.stores      ? UNRDF_EVIDENCE_STORED
				   : p.replicated ? UNRDF_EVIDENCE_REPLICATED
								  : UNRDF_EVIDENCE_PUBLISHED;
	return NULL;
}
