#ifndef UNRDF_RECORD_H
#define UNRDF_RECORD_H

#include "postgres.h"

#include "ledger/receipt.h"

extern int64 UnrdfRecord(UnrdfKind kind, text *subject, Jsonb *payload, text *operation);
extern int64 UnrdfErase(int64 receipt, const char *reason);
extern void UnrdfWakeIntegrator(void);

#endif /* UNRDF_RECORD_H */
