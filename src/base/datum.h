#ifndef UNRDF_DATUM_H
#define UNRDF_DATUM_H

#include "postgres.h"

#include "fmgr.h"

extern Datum UnrdfBytesDatum(const void *bytes, Size len);
extern Datum UnrdfRecordDatum(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif /* UNRDF_DATUM_H */
