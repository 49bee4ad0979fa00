#ifndef UNRDF_ROW_H
#define UNRDF_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "ledger/batch.h"

#define UNRDF_AUDIT_SECRET_LEN 32

/* A row of unrdf.audited. */
typedef struct UnrdfAudited
{
	int32 id;
	Oid relation;
	List *keys;     /* names of columns, char * */
	List *excluded; /* the same */
	uint8 secret[UNRDF_AUDIT_SECRET_LEN];
	bool active;
} UnrdfAudited;

/* A column as it goes into a row's JSON. */
typedef struct UnrdfRowColumn
{
	AttrNumber attnum;
	Oid type;
	FmgrInfo output;
	const char *bare_name;
	const char *utf8;
	char
		*name; /* as a JSON string in UTF-8, with a comma or brace before it and a colon after it */
	int name_len;
	int start; /* of its value in the last row */
	int len;
} UnrdfRowColumn;

/* How rows of one descriptor become JSON, and the last of them. */
typedef struct UnrdfShape
{
	const UnrdfAudited *audited;
	MemoryContext values; /* of what one row's values leave behind */
	int n;
	UnrdfRowColumn *columns; /* in the order of RFC 8785 */
	int nkeys;
	int *keys;                     /* in the order of the key: places in columns */
	StringInfoData row;            /* canonical JSON object */
	StringInfoData key;            /* canonical JSON array */
	StringInfoData item;           /* what a batch's leaf is over */
	uint8 hash[UNRDF_ROW_KEY_LEN]; /* stands for the key */
} UnrdfShape;

extern UnrdfShape *UnrdfShapeMake(const UnrdfAudited *audited, TupleDesc desc, List *columns);
extern void UnrdfShapeRow(UnrdfShape *shape, TupleTableSlot *slot);
extern void UnrdfShapeKey(UnrdfShape *shape, const Datum *keys);
extern void UnrdfShapeItem(UnrdfShape *shape, bool exists);

#endif /* UNRDF_ROW_H */
