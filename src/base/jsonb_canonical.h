/*
 * jsonb_canonical.h
 *	  jsonb values in canonical JSON (RFC 8785).
 */
#ifndef UNRDF_JSONB_CANONICAL_H
#define UNRDF_JSONB_CANONICAL_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

extern char *UnrdfCanonicalJsonb(Jsonb *jb, size_t *len);
extern size_t UnrdfCanonicalJsonbInto(Jsonb *jb, StringInfo out);

#endif /* UNRDF_JSONB_CANONICAL_H */
