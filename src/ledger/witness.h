#ifndef UNRDF_WITNESS_H
#define UNRDF_WITNESS_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "ledger/checkpoint.h"

/* A witness's answer: the status of the protocol, and what it signs where that is 200. */
typedef struct UnrdfWitnessAnswer
{
	int status;
	const char *body; /* NULL: none */
	char *origin;     /* NULL: not known */
	uint64 size;
} UnrdfWitnessAnswer;

extern void UnrdfWitnessCheck(const char *request, int len, UnrdfWitnessAnswer *answer);
extern bool UnrdfWitnessCosign(const char *origin, uint64 size, StringInfo lines);
extern char *UnrdfWitnessKeyAdd(void);
extern void UnrdfWitnessWatch(const char *key, int len);

/* cosignature.c */
extern void UnrdfWitnessTrust(const char *key, int len);
extern void UnrdfWitnessRequestAppend(uint64 old, const UnrdfPublished *p, StringInfo out);
extern bool UnrdfWitnessRequestBuild(uint64 old, StringInfo out);
extern int UnrdfWitnessesKnown(void);
extern int UnrdfCosignaturesCheck(const UnrdfPublished *p, const char *lines, int len);
extern int UnrdfCosignaturesKeep(const UnrdfPublished *p, const char *lines, int len);
extern int UnrdfCosignaturesAdd(const int64 *size, const char *lines, int len);

#endif /* UNRDF_WITNESS_H */
