/*
 * evidence.h
 *	  Checks an exported receipt without the database that wrote it.
 *
 * Pure code over crypto/: no PostgreSQL header.
 */
#ifndef UNRDF_EVIDENCE_H
#define UNRDF_EVIDENCE_H

#include "crypto/checkpoint.h"
#include "crypto/policy.h"

/* What was found out; strings point into the text that was checked. */
typedef struct UnrdfEvidence
{
	const char *failure; /* the check that failed; NULL: none */
	UnrdfCheckpoint checkpoint;
	uint64_t index;
	int witnesses;
	char *receipt; /* canonical JSON, malloc'd; NULL where it could not be read */
	size_t receipt_len;
} UnrdfEvidence;

extern const char *unrdf_evidence_checkpoint(const char *text, size_t len,
											 const UnrdfPolicy *policy, UnrdfEvidence *e);
extern bool unrdf_evidence_check(const char *text, size_t len, const UnrdfPolicy *policy,
								 UnrdfEvidence *e);
extern void unrdf_evidence_free(UnrdfEvidence *e);

#endif /* UNRDF_EVIDENCE_H */
