/*
 * audit_fn.c: the SQL functions about batches and audited tables.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "base/datum.h"
#include "base/jsonb_canonical.h"
#include "base/shmem.h"
#include "ledger/audit.h"
#include "ledger/proof.h"
#include "ledger/record.h"
#include "ledger/verify_row.h"

PG_FUNCTION_INFO_V1(unrdf_audit_statement);
PG_FUNCTION_INFO_V1(unrdf_audit_table);
PG_FUNCTION_INFO_V1(unrdf_record_batch);
PG_FUNCTION_INFO_V1(unrdf_unaudit_table);
PG_FUNCTION_INFO_V1(unrdf_item_proof);
PG_FUNCTION_INFO_V1(unrdf_verify_item);
PG_FUNCTION_INFO_V1(unrdf_verify_row);
PG_FUNCTION_INFO_V1(unrdf_verify_table);

/* unrdf.audit_statement(): UnrdfAuditStatement, for the table that the trigger's argument names. */
Datum
unrdf_audit_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	UnrdfAudited audited;
	Oid relation;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != 1)
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("unrdf.audit_statement() is for the triggers that unrdf.audit_table() makes")));
	UnrdfRequirePreload();
	UnrdfAuditedGet(pg_strtoint32(trigger->tg_trigger->tgargs[0]), &audited);
	relation = RelationGetRelid(trigger->tg_relation);
	if (!audited.active || (audited.relation != relation &&
							!list_member_oid(get_partition_ancestors(relation), audited.relation)))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("table \"%s\" is not the audited table of its trigger",
							   RelationGetRelationName(trigger->tg_relation)),
						errhint("Drop the trigger, or run unrdf.audit_table().")));
	if (trigger->tg_relation->rd_rel->relhassubclass &&
		trigger->tg_relation->rd_rel->relkind == RELKIND_RELATION && UnrdfInherits(relation))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("audited table \"%s\" is inherited from",
							   RelationGetRelationName(trigger->tg_relation))));
	UnrdfAuditStatement(trigger, &audited);
	PG_RETURN_POINTER(NULL);
}

/* An array of names without nulls; NULL where it is null. */
static ArrayType *
names(FunctionCallInfo fcinfo, int arg)
{
	ArrayType *array;

	if (PG_ARGISNULL(arg))
		return NULL;
	array = PG_GETARG_ARRAYTYPE_P(arg);
	if (array_contains_nulls(array))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("names of columns must not be null")));
	return array;
}

/* unrdf.audit_table(relation, key_columns, excluded_columns): UnrdfAuditTable. */
Datum
unrdf_audit_table(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null")));
	PG_RETURN_INT32(UnrdfAuditTable(PG_GETARG_OID(0), names(fcinfo, 1), names(fcinfo, 2)));
}

/* unrdf.unaudit_table(relation): UnrdfUnauditTable. */
Datum
unrdf_unaudit_table(PG_FUNCTION_ARGS)
{
	UnrdfUnauditTable(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

/* unrdf.record_batch(subject, items, operation): UnrdfRecordBatch. Raises 22004 for nulls. */
Datum
unrdf_record_batch(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("%s must not be null", PG_ARGISNULL(0) ? "subject" : "items")));
	PG_RETURN_INT64(UnrdfRecordBatch(PG_GETARG_TEXT_PP(0), PG_GETARG_ARRAYTYPE_P(1),
									 PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2)));
}

/* unrdf.item_proof(receipt, index): UnrdfBatchProve; all null where there is no such item. */
Datum
unrdf_item_proof(PG_FUNCTION_ARGS)
{
	int64 index = PG_GETARG_INT64(1);
	UnrdfBatchReader reader;
	UnrdfItemProof p;
	Datum values[6] = {0};
	bool nulls[6] = {true, true, true, true, true, true};

	UnrdfBatchReaderBegin(&reader);
	if (index >= 0 && UnrdfBatchOpen(&reader, PG_GETARG_INT64(0)) &&
		UnrdfBatchProve(&reader, (uint64) index, &p))
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = Int64GetDatum((int64) p.index);
		values[1] = Int64GetDatum((int64) p.count);
		nulls[2] = p.erased;
		values[2] = UnrdfBytesDatum(p.salt, p.erased ? 0 : UNRDF_SALT_LEN);
		values[3] = UnrdfBytesDatum(p.leaf, UNRDF_HASH_LEN);
		values[4] = UnrdfBytesDatum(p.root, UNRDF_HASH_LEN);
		values[5] = UnrdfProofDatum(p.hashes, p.n);
	}
	UnrdfBatchReaderEnd(&reader);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify_item(receipt, index, item): UnrdfVerifyItem. */
Datum
unrdf_verify_item(PG_FUNCTION_ARGS)
{
	const char *reason;
	UnrdfVerdict verdict =
		UnrdfVerifyItem(PG_GETARG_INT64(0), PG_GETARG_INT64(1), PG_GETARG_JSONB_P(2), &reason);
	Datum values[2] = {0};
	bool nulls[2] = {false, reason == NULL};

	values[0] = CStringGetTextDatum(UnrdfVerdictNames[verdict]);
	if (reason)
		values[1] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify_row(relation, key…): UnrdfVerifyRow. */
Datum
unrdf_verify_row(PG_FUNCTION_ARGS)
{
	const char *reason;
	int64 receipt;
	UnrdfRowVerdict verdict =
		UnrdfVerifyRow(PG_GETARG_OID(0), PG_GETARG_ARRAYTYPE_P(1), &receipt, &reason);
	Datum values[3] = {0};
	bool nulls[3] = {false, receipt == 0, reason == NULL};

	values[0] = CStringGetTextDatum(UnrdfRowVerdictNames[verdict]);
	values[1] = Int64GetDatum(receipt);
	if (reason)
		values[2] = CStringGetTextDatum(reason);
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify_table(relation): UnrdfVerifyTable. */
Datum
unrdf_verify_table(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	UnrdfVerifyTable(PG_GETARG_OID(0), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
