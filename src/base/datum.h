#ifndef UNRDF_DATUM_H
#define UNRDF_DATUM_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "crypto/canonical.h"

extern Datum UnrdfBytesDatum(const void *bytes, Size len);
extern UnrdfCanon UnrdfCanonRoom(StringInfo out, size_t len);
extern Datum UnrdfRecordDatum(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif /* UNRDF_DATUM_H */
