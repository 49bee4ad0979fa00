/*
 * schema.c: JSON Schema (draft 2020-12), of which the part that README.md lists.
 *
 * No library in C for this is kept up and packaged; those for C++ or other languages (valijson, RapidJSON, python-jsonschema)
 * would bring exceptions, an allocator of their own or an interpreter into the server, and want the arguments as text. This
 * works on jsonb in place.
 *
 * One table has every keyword: what its value has to look like, which is checked once, when a handler is registered, and what it
 * asks of a value. A keyword that is not in the table is refused then, so none is ever silently ignored. A
 * schema that refers to itself is followed a limited way down, and every step can be interrupted.
 *
 * Messages name the place as a JSON pointer (RFC 6901) and never show a value: it may be one that is stored encrypted.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "queue/handler.h"
#include "queue/schema.h"

#define DIALECT "https://json-schema.org/draft/2020-12/schema"

static bool well_formed(UnrdfSchemaCheck *c, JsonbValue *schema, const UnrdfPlace *place);

static bool
is_type_name(const JsonbValue *v)
{
	static const char *const names[] = {"null",   "boolean", "object", "array",
										"number", "string",  "integer"};

	for (int i = 0; i < lengthof(names); i++)
		if (UnrdfIsText(v, names[i]))
			return true;
	return false;
}

static bool
compiles(UnrdfSchemaCheck *c, const JsonbValue *pattern)
{
	text *regex = cstring_to_text_with_len(pattern->val.string.val, pattern->val.string.len);

	(void) RE_compile_and_cache(regex, REG_ADVANCED | REG_NOSUB, C_COLLATION_OID);
	return true;
}

/* Each element or member has to be something. */
static bool
each(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	bool object = UnrdfIsObject(v);
	UnrdfJsonbWalk w;

	UnrdfWalkBegin(&w, v);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, object);

		if (shape == UNRDF_SHAPE_TYPE_NAMES && !is_type_name(&w.value))
			return UnrdfSchemaFail(c, &at, "must be the name of a type");
		if (shape == UNRDF_SHAPE_STRINGS && w.value.type != jbvString)
			return UnrdfSchemaFail(c, &at, "must be a string");
		if (shape == UNRDF_SHAPE_PATTERN_MAP)
			(void) compiles(c, &w.key);
		if ((shape == UNRDF_SHAPE_SCHEMAS || shape == UNRDF_SHAPE_SCHEMA_MAP ||
			 shape == UNRDF_SHAPE_PATTERN_MAP) &&
			!well_formed(c, &w.value, &at))
			return false;
	}
	return true;
}

static bool
is_list(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	if (!UnrdfIsArray(v))
		return UnrdfSchemaFail(c, place, "must be an array");
	if (shape == UNRDF_SHAPE_SCHEMAS && UnrdfJsonbCount(v) == 0)
		return UnrdfSchemaFail(c, place, "must not be empty");
	return each(c, v, place, shape);
}

static bool
is_map(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	return UnrdfIsObject(v) ? each(c, v, place, shape)
							: UnrdfSchemaFail(c, place, "must be an object");
}

static bool
is_number(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	if (v->type != jbvNumeric)
		return UnrdfSchemaFail(c, place, "must be a number");
	if (shape == UNRDF_SHAPE_POSITIVE && UnrdfSignOf(v) <= 0)
		return UnrdfSchemaFail(c, place, "must be more than 0");
	if (shape == UNRDF_SHAPE_COUNT && (UnrdfSignOf(v) < 0 || !UnrdfIsInteger(v)))
		return UnrdfSchemaFail(c, place, "must be a whole number and not negative");
	return true;
}

static bool
is_string(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	if (v->type != jbvString)
		return UnrdfSchemaFail(c, place, "must be a string");
	if (shape == UNRDF_SHAPE_PATTERN)
		return compiles(c, v);
	if (shape == UNRDF_SHAPE_REFERENCE && UnrdfSchemaResolve(c, v) == NULL)
		return UnrdfSchemaFail(
			c, place, "must be # or name a schema in $defs of the root, as in #/$defs/name");
	if ((shape == UNRDF_SHAPE_ROOT_ID || shape == UNRDF_SHAPE_ROOT_DIALECT) && place->up != NULL)
		return UnrdfSchemaFail(c, place, "can only be at the root");
	if (shape == UNRDF_SHAPE_ROOT_DIALECT && !UnrdfIsText(v, DIALECT) &&
		!UnrdfIsText(v, DIALECT "#"))
		return UnrdfSchemaFail(c, place, "must be %s", DIALECT);
	return true;
}

static bool
has_shape(UnrdfSchemaCheck *c, JsonbValue *v, const UnrdfPlace *place, UnrdfKeywordShape shape)
{
	switch (shape)
	{
		case UNRDF_SHAPE_ANYTHING:
			return true;
		case UNRDF_SHAPE_TYPE_NAMES:
			if (v->type == jbvString)
				return is_type_name(v) || UnrdfSchemaFail(c, place, "must be the name of a type");
			return is_list(c, v, place, shape);
		case UNRDF_SHAPE_LIST:
		case UNRDF_SHAPE_STRINGS:
		case UNRDF_SHAPE_SCHEMAS:
			return is_list(c, v, place, shape);
		case UNRDF_SHAPE_BOOLEAN:
			return v->type == jbvBool || UnrdfSchemaFail(c, place, "must be true or false");
		case UNRDF_SHAPE_NUMBER:
		case UNRDF_SHAPE_POSITIVE:
		case UNRDF_SHAPE_COUNT:
			return is_number(c, v, place, shape);
		case UNRDF_SHAPE_SCHEMA:
			return well_formed(c, v, place);
		case UNRDF_SHAPE_SCHEMA_MAP:
		case UNRDF_SHAPE_PATTERN_MAP:
			return is_map(c, v, place, shape);
		default:
			return is_string(c, v, place, shape);
	}
}

static bool
well_formed(UnrdfSchemaCheck *c, JsonbValue *schema, const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	check_stack_depth();
	if (schema->type == jbvBool)
		return true;
	if (!UnrdfIsObject(schema))
		return UnrdfSchemaFail(c, place, "must be an object, true or false");
	UnrdfWalkBegin(&w, schema);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, true);
		const UnrdfKeyword *keyword = UnrdfFindKeyword(&w.key);

		if (keyword == NULL)
			return UnrdfSchemaFail(c, &at, "is no keyword that is known here");
		if (!has_shape(c, &w.value, &at, keyword->shape))
			return false;
	}
	return true;
}

/* UnrdfSchemaMistake tells why a JSON Schema cannot be used, or NULL where it can. Raises 2201B for a bad pattern. */
char *
UnrdfSchemaMistake(Jsonb *schema)
{
	UnrdfSchemaCheck c = {0};

	UnrdfJsonbRoot(schema, &c.root);
	(void) well_formed(&c, &c.root, NULL);
	return c.found;
}

/* UnrdfSchemaMismatch tells where and why a value does not fit a schema that can be used, or NULL where it does. */
char *
UnrdfSchemaMismatch(Jsonb *schema, Jsonb *value)
{
	MemoryContext scratch =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf schema", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	UnrdfSchemaCheck c = {0};
	JsonbValue v;
	char *mismatch = NULL;

	UnrdfJsonbRoot(schema, &c.root);
	UnrdfJsonbRoot(value, &v);
	if (!UnrdfSchemaFits(&c, &c.root, &v, NULL))
		mismatch = MemoryContextStrdup(old, c.found);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return mismatch;
}
