/*
 * schema_value.c: what checking schemas and checking values by them have in common: walks through jsonb, places in it, equality.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "queue/schema.h"

/* UnrdfJsonbRoot makes a value of a whole jsonb, pointing into it. */
void
UnrdfJsonbRoot(Jsonb *jb, JsonbValue *v)
{
	if (JsonbExtractScalar(&jb->root, v))
		return;
	v->type = jbvBinary;
	v->val.binary.data = &jb->root;
	v->val.binary.len = VARSIZE(jb) - VARHDRSZ;
}

/* UnrdfIsObject tells whether a value is an object. */
bool
UnrdfIsObject(const JsonbValue *v)
{
	return v->type == jbvBinary && JsonContainerIsObject(v->val.binary.data);
}

/* UnrdfIsArray tells whether a value is an array. */
bool
UnrdfIsArray(const JsonbValue *v)
{
	return v->type == jbvBinary && JsonContainerIsArray(v->val.binary.data);
}

/* UnrdfJsonbCount returns how many members or elements an object or array has. */
uint32
UnrdfJsonbCount(const JsonbValue *v)
{
	return JsonContainerSize(v->val.binary.data);
}

/* UnrdfIsText tells whether a value is this string. */
bool
UnrdfIsText(const JsonbValue *v, const char *text)
{
	return v->type == jbvString && v->val.string.len == strlen(text) &&
		   memcmp(v->val.string.val, text, v->val.string.len) == 0;
}

/* UnrdfMember returns an object's member, palloc'd, or NULL. */
JsonbValue *
UnrdfMember(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

/* UnrdfWalkBegin begins a walk through an object or array. */
void
UnrdfWalkBegin(UnrdfJsonbWalk *w, const JsonbValue *v)
{
	JsonbValue begin;

	w->it = JsonbIteratorInit(v->val.binary.data);
	w->index = PG_UINT32_MAX;
	(void) JsonbIteratorNext(&w->it, &begin, true);
}

/* UnrdfWalkNext takes a step; false at the end. */
bool
UnrdfWalkNext(UnrdfJsonbWalk *w)
{
	JsonbIteratorToken token = JsonbIteratorNext(&w->it, &w->value, true);

	CHECK_FOR_INTERRUPTS();
	w->index++;
	if (token == WJB_KEY)
	{
		w->key = w->value;
		token = JsonbIteratorNext(&w->it, &w->value, true);
	}
	return token == WJB_VALUE || token == WJB_ELEM;
}

/* UnrdfPlaceBelow returns the place that a walk has come to. */
UnrdfPlace
UnrdfPlaceBelow(const UnrdfPlace *up, const UnrdfJsonbWalk *w, bool object)
{
	UnrdfPlace place = {.up = up, .index = w->index};

	if (object)
	{
		place.key = w->key.val.string.val;
		place.keylen = w->key.val.string.len;
	}
	return place;
}

static void
append_pointer(StringInfo s, const UnrdfPlace *place)
{
	if (place == NULL)
		return;
	append_pointer(s, place->up);
	appendStringInfoChar(s, '/');
	if (place->key == NULL)
		appendStringInfo(s, "%u", place->index);
	for (int i = 0; place->key && i < place->keylen; i++)
		if (place->key[i] == '~' || place->key[i] == '/')
			appendStringInfoString(s, place->key[i] == '~' ? "~0" : "~1");
		else
			appendStringInfoChar(s, place->key[i]);
}

/* UnrdfSchemaFail notes what is wrong, if it is the first and matters. False always. */
bool
UnrdfSchemaFail(UnrdfSchemaCheck *c, const UnrdfPlace *place, const char *format, ...)
{
	StringInfoData s;
	int needed;

	if (c->quiet > 0 || c->found)
		return false;
	initStringInfo(&s);
	appendStringInfoString(&s, "At \"");
	append_pointer(&s, place);
	appendStringInfoString(&s, "\": ");
	for (;;)
	{
		va_list args;

		va_start(args, format);
		needed = appendStringInfoVA(&s, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&s, needed);
	}
	appendStringInfoChar(&s, '.');
	c->found = s.data;
	return false;
}

/* UnrdfCompareJsonb is an order of values in which those that are equal by JSON Schema are equal: 1 and 1.0 are. */
int
UnrdfCompareJsonb(const void *left, const void *right)
{
	const JsonbValue *a = left;
	const JsonbValue *b = right;

	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type)
	{
		case jbvNull:
			return 0;
		case jbvBool:
			return (int) a->val.boolean - (int) b->val.boolean;
		case jbvNumeric:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->val.numeric),
													 NumericGetDatum(b->val.numeric)));
		case jbvString:
			if (a->val.string.len != b->val.string.len)
				return a->val.string.len < b->val.string.len ? -1 : 1;
			return memcmp(a->val.string.val, b->val.string.val, a->val.string.len);
		default:
			return compareJsonbContainers(a->val.binary.data, b->val.binary.data);
	}
}

/* UnrdfIsInteger tells whether a value is a whole number, also one written as 1.0. */
bool
UnrdfIsInteger(const JsonbValue *v)
{
	JsonbValue whole = *v;

	if (v->type != jbvNumeric)
		return false;
	whole.val.numeric = DatumGetNumeric(
		DirectFunctionCall2(numeric_trunc, NumericGetDatum(v->val.numeric), Int32GetDatum(0)));
	return UnrdfCompareJsonb(v, &whole) == 0;
}

/* UnrdfSignOf returns the sign of a number. */
int
UnrdfSignOf(const JsonbValue *number)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(number->val.numeric),
											 NumericGetDatum(int64_to_numeric(0))));
}

/* UnrdfSchemaResolve finds what a reference names: the root, or one of its $defs. NULL where there is none, or it names something else. */
JsonbValue *
UnrdfSchemaResolve(UnrdfSchemaCheck *c, const JsonbValue *ref)
{
	static const char prefix[] = "#/$defs/";
	int len = ref->val.string.len - (int) strlen(prefix);
	const char *s = ref->val.string.val + strlen(prefix);
	JsonbValue *defs;
	char *name;
	int n = 0;

	if (UnrdfIsText(ref, "#"))
		return &c->root;
	if (len <= 0 || strncmp(ref->val.string.val, prefix, strlen(prefix)) != 0 ||
		!UnrdfIsObject(&c->root))
		return NULL;
	name = palloc(len);
	for (int i = 0; i < len; i++)
	{
		bool escaped = s[i] == '~' && i + 1 < len && (s[i + 1] == '0' || s[i + 1] == '1');

		if (s[i] == '/' || s[i] == '%' || (s[i] == '~' && !escaped))
			return NULL;
		name[n++] = escaped ? (s[++i] == '0' ? '~' : '/') : s[i];
	}
	defs = UnrdfMember(c->root.val.binary.data, "$defs");
	if (defs == NULL || !UnrdfIsObject(defs))
		return NULL;
	return getKeyJsonValueFromContainer(defs->val.binary.data, name, n, NULL);
}
