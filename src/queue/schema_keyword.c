/*
 * schema_keyword.c: what the keywords of JSON Schema ask of a value, and the table of them.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "queue/schema.h"

#define DEPTH_MOST 500

static bool
matches(const JsonbValue *pattern, const JsonbValue *string)
{
	text *regex = cstring_to_text_with_len(pattern->val.string.val, pattern->val.string.len);

	return RE_compile_and_execute(regex, string->val.string.val, string->val.string.len,
								  REG_ADVANCED | REG_NOSUB, C_COLLATION_OID, 0, NULL);
}

static bool
has_type(const JsonbValue *v, const JsonbValue *name)
{
	if (UnrdfIsText(name, "null"))
		return v->type == jbvNull;
	if (UnrdfIsText(name, "boolean"))
		return v->type == jbvBool;
	if (UnrdfIsText(name, "string"))
		return v->type == jbvString;
	if (UnrdfIsText(name, "number"))
		return v->type == jbvNumeric;
	if (UnrdfIsText(name, "integer"))
		return UnrdfIsInteger(v);
	if (UnrdfIsText(name, "object"))
		return UnrdfIsObject(v);
	return UnrdfIsArray(v);
}

static bool
apply_type(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
		   const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	if (arg->type == jbvString)
		return has_type(value, arg) || UnrdfSchemaFail(c, place, "must be of type %.*s",
													   arg->val.string.len, arg->val.string.val);
	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w))
		if (has_type(value, &w.value))
			return true;
	return UnrdfSchemaFail(c, place, "is of none of the types that it may have");
}

static bool
apply_enum(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
		   const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w))
		if (UnrdfCompareJsonb(&w.value, value) == 0)
			return true;
	return UnrdfSchemaFail(c, place, "is none of the values that it may be");
}

static bool
apply_const(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			const UnrdfPlace *place)
{
	return UnrdfCompareJsonb(arg, value) == 0 ||
		   UnrdfSchemaFail(c, place, "is not the value that it has to be");
}

static bool
apply_number_limit(UnrdfSchemaCheck *c, JsonbValue *arg, JsonbValue *value, const UnrdfPlace *place,
				   int sign, bool inclusive, const char *words)
{
	int order;

	if (value->type != jbvNumeric)
		return true;
	order = UnrdfCompareJsonb(value, arg) * sign;
	if (order < 0 || (inclusive && order == 0))
		return true;
	return UnrdfSchemaFail(
		c, place, "must be %s %s", words,
		DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(arg->val.numeric))));
}

static bool
apply_maximum(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			  const UnrdfPlace *place)
{
	return apply_number_limit(c, arg, value, place, 1, true, "at most");
}

static bool
apply_exclusive_maximum(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
						JsonbValue *value, const UnrdfPlace *place)
{
	return apply_number_limit(c, arg, value, place, 1, false, "less than");
}

static bool
apply_minimum(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			  const UnrdfPlace *place)
{
	return apply_number_limit(c, arg, value, place, -1, true, "at least");
}

static bool
apply_exclusive_minimum(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
						JsonbValue *value, const UnrdfPlace *place)
{
	return apply_number_limit(c, arg, value, place, -1, false, "more than");
}

static bool
apply_multiple_of(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				  const UnrdfPlace *place)
{
	JsonbValue rest;

	if (value->type != jbvNumeric)
		return true;
	rest.type = jbvNumeric;
	rest.val.numeric = DatumGetNumeric(DirectFunctionCall2(
		numeric_mod, NumericGetDatum(value->val.numeric), NumericGetDatum(arg->val.numeric)));
	return UnrdfSignOf(&rest) == 0 ||
		   UnrdfSchemaFail(c, place, "must be a multiple of %s",
						   DatumGetCString(DirectFunctionCall1(numeric_out,
															   NumericGetDatum(arg->val.numeric))));
}

/* Compares a count with a keyword's number, which may be larger than any integer. */
static bool
apply_count(UnrdfSchemaCheck *c, JsonbValue *arg, int64 count, const UnrdfPlace *place, int sign,
			const char *words)
{
	JsonbValue n = {.type = jbvNumeric};

	n.val.numeric = int64_to_numeric(count);
	return UnrdfCompareJsonb(&n, arg) * sign <= 0 ||
		   UnrdfSchemaFail(c, place, "must have %s %s", words,
						   DatumGetCString(DirectFunctionCall1(numeric_out,
															   NumericGetDatum(arg->val.numeric))));
}

static int64
length_of(const JsonbValue *string)
{
	return pg_mbstrlen_with_len(string->val.string.val, string->val.string.len);
}

static bool
apply_max_length(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				 const UnrdfPlace *place)
{
	return value->type != jbvString ||
		   apply_count(c, arg, length_of(value), place, 1, "a length of at most");
}

static bool
apply_min_length(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				 const UnrdfPlace *place)
{
	return value->type != jbvString ||
		   apply_count(c, arg, length_of(value), place, -1, "a length of at least");
}

static bool
apply_max_items(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				const UnrdfPlace *place)
{
	return !UnrdfIsArray(value) ||
		   apply_count(c, arg, UnrdfJsonbCount(value), place, 1, "a number of items of at most");
}

static bool
apply_min_items(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				const UnrdfPlace *place)
{
	return !UnrdfIsArray(value) ||
		   apply_count(c, arg, UnrdfJsonbCount(value), place, -1, "a number of items of at least");
}

static bool
apply_max_properties(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
					 JsonbValue *value, const UnrdfPlace *place)
{
	return !UnrdfIsObject(value) || apply_count(c, arg, UnrdfJsonbCount(value), place, 1,
												"a number of properties of at most");
}

static bool
apply_min_properties(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
					 JsonbValue *value, const UnrdfPlace *place)
{
	return !UnrdfIsObject(value) || apply_count(c, arg, UnrdfJsonbCount(value), place, -1,
												"a number of properties of at least");
}

static bool
apply_pattern(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			  const UnrdfPlace *place)
{
	return value->type != jbvString || matches(arg, value) ||
		   UnrdfSchemaFail(c, place, "must match the pattern %.*s", arg->val.string.len,
						   arg->val.string.val);
}

static bool
apply_unique_items(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				   const UnrdfPlace *place)
{
	JsonbValue *items;
	UnrdfJsonbWalk w;
	uint32 n = 0;
	bool unique = true;

	if (!UnrdfIsArray(value) || !arg->val.boolean || UnrdfJsonbCount(value) < 2)
		return true;
	items = palloc_extended(UnrdfJsonbCount(value) * sizeof(JsonbValue), MCXT_ALLOC_HUGE);
	UnrdfWalkBegin(&w, value);
	while (UnrdfWalkNext(&w))
		items[n++] = w.value;
	qsort(items, n, sizeof(JsonbValue), UnrdfCompareJsonb);
	for (uint32 i = 1; i < n && unique; i++)
		unique = UnrdfCompareJsonb(&items[i - 1], &items[i]) != 0;
	pfree(items);
	return unique || UnrdfSchemaFail(c, place, "must not have two equal items");
}

static bool
apply_required(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			   const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	if (!UnrdfIsObject(value))
		return true;
	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w))
		if (getKeyJsonValueFromContainer(value->val.binary.data, w.value.val.string.val,
										 w.value.val.string.len, NULL) == NULL)
			return UnrdfSchemaFail(c, place, "must have property \"%.*s\"", w.value.val.string.len,
								   w.value.val.string.val);
	return true;
}

static bool
apply_properties(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				 const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	if (!UnrdfIsObject(value))
		return true;
	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, true);
		JsonbValue *v =
			getKeyJsonValueFromContainer(value->val.binary.data, at.key, at.keylen, NULL);

		if (v && !UnrdfSchemaFits(c, &w.value, v, &at))
			return false;
	}
	return true;
}

/* Checks a member against each pattern that its name matches; *any tells whether one does. */
static bool
fits_patterns(UnrdfSchemaCheck *c, JsonbValue *patterns, UnrdfJsonbWalk *member,
			  const UnrdfPlace *at, bool *any)
{
	UnrdfJsonbWalk p;

	*any = false;
	UnrdfWalkBegin(&p, patterns);
	while (UnrdfWalkNext(&p))
	{
		if (!matches(&p.key, &member->key))
			continue;
		*any = true;
		if (at && !UnrdfSchemaFits(c, &p.value, &member->value, at))
			return false;
	}
	return true;
}

static bool
apply_pattern_properties(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
						 JsonbValue *value, const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;
	bool any;

	if (!UnrdfIsObject(value))
		return true;
	UnrdfWalkBegin(&w, value);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, true);

		if (!fits_patterns(c, arg, &w, &at, &any))
			return false;
	}
	return true;
}

static bool
apply_additional_properties(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
							JsonbValue *value, const UnrdfPlace *place)
{
	JsonbValue *named = UnrdfMember(schema, "properties");
	JsonbValue *patterns = UnrdfMember(schema, "patternProperties");
	UnrdfJsonbWalk w;
	bool any = false;

	if (!UnrdfIsObject(value))
		return true;
	UnrdfWalkBegin(&w, value);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, true);

		if (named && getKeyJsonValueFromContainer(named->val.binary.data, at.key, at.keylen, NULL))
			continue;
		if (patterns)
			(void) fits_patterns(c, patterns, &w, NULL, &any);
		if (!any && !UnrdfSchemaFits(c, arg, &w.value, &at))
			return false;
	}
	return true;
}

static bool
apply_prefix_items(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
				   const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	if (!UnrdfIsArray(value))
		return true;
	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w) && w.index < UnrdfJsonbCount(value))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, false);
		JsonbValue *v = getIthJsonbValueFromContainer(value->val.binary.data, w.index);

		if (!UnrdfSchemaFits(c, &w.value, v, &at))
			return false;
	}
	return true;
}

static bool
apply_items(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			const UnrdfPlace *place)
{
	JsonbValue *prefix = UnrdfMember(schema, "prefixItems");
	UnrdfJsonbWalk w;

	if (!UnrdfIsArray(value))
		return true;
	UnrdfWalkBegin(&w, value);
	while (UnrdfWalkNext(&w))
	{
		UnrdfPlace at = UnrdfPlaceBelow(place, &w, false);

		if ((prefix == NULL || w.index >= UnrdfJsonbCount(prefix)) &&
			!UnrdfSchemaFits(c, arg, &w.value, &at))
			return false;
	}
	return true;
}

static bool
apply_all_of(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			 const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;

	UnrdfWalkBegin(&w, arg);
	while (UnrdfWalkNext(&w))
		if (!UnrdfSchemaFits(c, &w.value, value, place))
			return false;
	return true;
}

/* Whether a value fits, when it need not. */
static bool
would_fit(UnrdfSchemaCheck *c, JsonbValue *schema, JsonbValue *value, const UnrdfPlace *place)
{
	bool result;

	c->quiet++;
	result = UnrdfSchemaFits(c, schema, value, place);
	c->quiet--;
	return result;
}

static int
count_fitting(UnrdfSchemaCheck *c, JsonbValue *schemas, JsonbValue *value, const UnrdfPlace *place,
			  int enough)
{
	UnrdfJsonbWalk w;
	int n = 0;

	UnrdfWalkBegin(&w, schemas);
	while (n < enough && UnrdfWalkNext(&w))
		n += would_fit(c, &w.value, value, place);
	return n;
}

static bool
apply_any_of(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			 const UnrdfPlace *place)
{
	return count_fitting(c, arg, value, place, 1) > 0 ||
		   UnrdfSchemaFail(c, place, "fits none of the schemas of anyOf");
}

static bool
apply_one_of(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
			 const UnrdfPlace *place)
{
	int n = count_fitting(c, arg, value, place, 2);

	return n == 1 || UnrdfSchemaFail(c, place, "fits %s of the schemas of oneOf",
									 n == 0 ? "none" : "more than one");
}

static bool
apply_not(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
		  const UnrdfPlace *place)
{
	return !would_fit(c, arg, value, place) || UnrdfSchemaFail(c, place, "fits the schema of not");
}

static bool
apply_if(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
		 const UnrdfPlace *place)
{
	JsonbValue *branch = UnrdfMember(schema, would_fit(c, arg, value, place) ? "then" : "else");

	return branch == NULL || UnrdfSchemaFits(c, branch, value, place);
}

static bool
apply_ref(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg, JsonbValue *value,
		  const UnrdfPlace *place)
{
	JsonbValue *target = UnrdfSchemaResolve(c, arg);

	return target != NULL && UnrdfSchemaFits(c, target, value, place);
}

static const UnrdfKeyword keywords[] = {
	{"$comment", UNRDF_SHAPE_STRING, NULL},
	{"$defs", UNRDF_SHAPE_SCHEMA_MAP, NULL},
	{"$id", UNRDF_SHAPE_ROOT_ID, NULL},
	{"$ref", UNRDF_SHAPE_REFERENCE, apply_ref},
	{"$schema", UNRDF_SHAPE_ROOT_DIALECT, NULL},
	{"additionalProperties", UNRDF_SHAPE_SCHEMA, apply_additional_properties},
	{"allOf", UNRDF_SHAPE_SCHEMAS, apply_all_of},
	{"anyOf", UNRDF_SHAPE_SCHEMAS, apply_any_of},
	{"const", UNRDF_SHAPE_ANYTHING, apply_const},
	{"default", UNRDF_SHAPE_ANYTHING, NULL},
	{"deprecated", UNRDF_SHAPE_BOOLEAN, NULL},
	{"description", UNRDF_SHAPE_STRING, NULL},
	{"else", UNRDF_SHAPE_SCHEMA, NULL},
	{"enum", UNRDF_SHAPE_LIST, apply_enum},
	{"examples", UNRDF_SHAPE_LIST, NULL},
	{"exclusiveMaximum", UNRDF_SHAPE_NUMBER, apply_exclusive_maximum},
	{"exclusiveMinimum", UNRDF_SHAPE_NUMBER, apply_exclusive_minimum},
	{"format", UNRDF_SHAPE_STRING, NULL},
	{"if", UNRDF_SHAPE_SCHEMA, apply_if},
	{"items", UNRDF_SHAPE_SCHEMA, apply_items},
	{"maxItems", UNRDF_SHAPE_COUNT, apply_max_items},
	{"maxLength", UNRDF_SHAPE_COUNT, apply_max_length},
	{"maxProperties", UNRDF_SHAPE_COUNT, apply_max_properties},
	{"maximum", UNRDF_SHAPE_NUMBER, apply_maximum},
	{"minItems", UNRDF_SHAPE_COUNT, apply_min_items},
	{"minLength", UNRDF_SHAPE_COUNT, apply_min_length},
	{"minProperties", UNRDF_SHAPE_COUNT, apply_min_properties},
	{"minimum", UNRDF_SHAPE_NUMBER, apply_minimum},
	{"multipleOf", UNRDF_SHAPE_POSITIVE, apply_multiple_of},
	{"not", UNRDF_SHAPE_SCHEMA, apply_not},
	{"oneOf", UNRDF_SHAPE_SCHEMAS, apply_one_of},
	{"pattern", UNRDF_SHAPE_PATTERN, apply_pattern},
	{"patternProperties", UNRDF_SHAPE_PATTERN_MAP, apply_pattern_properties},
	{"prefixItems", UNRDF_SHAPE_SCHEMAS, apply_prefix_items},
	{"properties", UNRDF_SHAPE_SCHEMA_MAP, apply_properties},
	{"readOnly", UNRDF_SHAPE_BOOLEAN, NULL},
	{"required", UNRDF_SHAPE_STRINGS, apply_required},
	{"then", UNRDF_SHAPE_SCHEMA, NULL},
	{"title", UNRDF_SHAPE_STRING, NULL},
	{"type", UNRDF_SHAPE_TYPE_NAMES, apply_type},
	{"uniqueItems", UNRDF_SHAPE_BOOLEAN, apply_unique_items},
	{"writeOnly", UNRDF_SHAPE_BOOLEAN, NULL},
};

/* UnrdfFindKeyword returns a keyword, or NULL for one that is not known. */
const UnrdfKeyword *
UnrdfFindKeyword(const JsonbValue *name)
{
	for (int i = 0; i < lengthof(keywords); i++)
		if (UnrdfIsText(name, keywords[i].name))
			return &keywords[i];
	return NULL;
}

/* UnrdfSchemaFits tells whether a value fits a well-formed schema. Raises 54001 where that leads too deep. */
bool
UnrdfSchemaFits(UnrdfSchemaCheck *c, JsonbValue *schema, JsonbValue *value, const UnrdfPlace *place)
{
	UnrdfJsonbWalk w;
	bool result = true;

	check_stack_depth();
	if (schema->type == jbvBool)
		return schema->val.boolean || UnrdfSchemaFail(c, place, "must not be there");
	if (c->depth == DEPTH_MOST)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
						errmsg("JSON Schema leads more than %d schemas deep", DEPTH_MOST)));
	c->depth++;
	UnrdfWalkBegin(&w, schema);
	while (result && UnrdfWalkNext(&w))
	{
		const UnrdfKeyword *keyword = UnrdfFindKeyword(&w.key);

		if (keyword && keyword->applies)
			result = keyword->applies(c, schema->val.binary.data, &w.value, value, place);
	}
	c->depth--;
	return result;
}
