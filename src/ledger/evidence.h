#ifndef UNRDF_EVIDENCE_H
#define UNRDF_EVIDENCE_H

#include "postgres.h"

/* What stands behind a leaf, besides the log itself; each class is worth more than those before it. */
typedef enum UnrdfEvidenceClass
{
	UNRDF_EVIDENCE_SELF,       /* no checkpoint has it */
	UNRDF_EVIDENCE_PUBLISHED,  /* a checkpoint has it */
	UNRDF_EVIDENCE_REPLICATED, /* that synchronous standbys had before */
	UNRDF_EVIDENCE_STORED,     /* that stores outside the node had before */
	UNRDF_EVIDENCE_WITNESSED   /* that unrdf.witness_quorum witnesses have cosigned */
} UnrdfEvidenceClass;

typedef struct UnrdfEvidence
{
	UnrdfEvidenceClass class;
	uint64 size;   /* of the checkpoint; 0: none */
	int cosigned;  /* witnesses that have cosigned it */
	int witnesses; /* that are known */
} UnrdfEvidence;

extern const char *const UnrdfEvidenceNames[];

extern const char *UnrdfEvidenceFind(uint64 index, UnrdfEvidence *e);

#endif /* UNRDF_EVIDENCE_H */
