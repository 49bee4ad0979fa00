#ifndef UNRDF_RECORD_H
#define UNRDF_RECORD_H

#include "postgres.h"

#include "utils/array.h"

#include "ledger/receipt.h"

/* subjects of audited tables and their rows, which applications cannot record anything about */
#define UNRDF_AUDIT_SUBJECT_PREFIX "audit/"

extern int64 UnrdfRecord(UnrdfKind kind, text *subject, Jsonb *payload, text *operation);
extern int64 UnrdfRecordBatch(text *subject, ArrayType *items, text *operation);
extern int64 UnrdfWriteReceipt(int64 id, UnrdfKind kind, text *subject, bool chained,
							   Jsonb *payload, text *operation);
extern Jsonb *UnrdfJsonbOf(const char *json);
extern char *UnrdfRetentionSubject(int32 queue);
extern int64 UnrdfRecordRetention(int32 queue, Jsonb *rule);
extern int64 UnrdfErase(int64 receipt, const char *reason);
extern void UnrdfWakeIntegrator(void);

#endif /* UNRDF_RECORD_H */
