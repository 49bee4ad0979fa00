#ifndef UNRDF_AUDIT_H
#define UNRDF_AUDIT_H

#include "postgres.h"

#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/rel.h"

#include "ledger/row.h"

/* audit.c */
extern int32 UnrdfAuditTable(Oid relation, ArrayType *keys, ArrayType *excluded);
extern void UnrdfUnauditTable(Oid relation);
extern bool UnrdfInherits(Oid relation);
extern bool UnrdfAuditedFind(Oid relation, UnrdfAudited *audited);
extern void UnrdfAuditedGet(int32 id, UnrdfAudited *audited);

/* audit_write.c */
extern void UnrdfAuditStatement(TriggerData *trigger, const UnrdfAudited *audited);
extern void UnrdfAuditRows(const UnrdfAudited *audited, List *relations, bool exist,
						   const char *operation);
extern void UnrdfAuditTableReceipt(const UnrdfAudited *audited, Relation relation, UnrdfKind kind,
								   const char *operation);

#endif /* UNRDF_AUDIT_H */
