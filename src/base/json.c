/*
 * json.c: reads JSON that came from outside. Nothing in it raises: what is not what it should be is not there.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "base/json.h"

/*
 * UnrdfJsonParse parses a text, palloc'd; NULL for what is no JSON, or not all ASCII: the server's encoding may be any. Only
 * computes, so an error leaves nothing but memory behind.
 */
Jsonb *
UnrdfJsonParse(const char *text, int len)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb *volatile json = NULL;

	for (int i = 0; i < len; i++)
		if (text[i] == '\0' || IS_HIGHBIT_SET(text[i]))
			return NULL;
	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pnstrdup(text, len))));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION &&
			geterrcode() != ERRCODE_STATEMENT_TOO_COMPLEX)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return json;
}

/* UnrdfJsonMember reads a member of an object; false where there is none. */
bool
UnrdfJsonMember(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return object && JsonContainerIsObject(object) &&
		   getKeyJsonValueFromContainer(object, name, strlen(name), value) != NULL;
}

/* UnrdfJsonInt64 reads a member that is a whole number, or a string of one; false where there is none. */
bool
UnrdfJsonInt64(JsonbContainer *object, const char *name, int64 *value)
{
	JsonbValue v;
	char *text;
	char *end;

	if (!UnrdfJsonMember(object, name, &v))
		return false;
	if (v.type == jbvString)
		text = pnstrdup(v.val.string.val, v.val.string.len);
	else if (v.type == jbvNumeric)
		text = numeric_normalize(v.val.numeric);
	else
		return false;
	errno = 0;
	*value = strtoi64(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
}

/* UnrdfJsonElement returns an object or array in an array; NULL where there is none. */
JsonbContainer *
UnrdfJsonElement(JsonbContainer *array, uint32 i)
{
	JsonbValue *v =
		array && JsonContainerIsArray(array) ? getIthJsonbValueFromContainer(array, i) : NULL;

	return v && v->type == jbvBinary ? v->val.binary.data : NULL;
}
