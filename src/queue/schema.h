#ifndef UNRDF_SCHEMA_H
#define UNRDF_SCHEMA_H

#include "postgres.h"

#include "utils/jsonb.h"

/* A place in a document: its way up to the root. */
typedef struct UnrdfPlace
{
	const struct UnrdfPlace *up; /* NULL: the root */
	const char *key;             /* NULL: an element of an array */
	int keylen;
	uint32 index;
} UnrdfPlace;

typedef struct UnrdfSchemaCheck
{
	JsonbValue root; /* the schema */
	int depth;
	int quiet;   /* above 0: a mismatch decides only between alternatives */
	char *found; /* the first mistake or mismatch */
} UnrdfSchemaCheck;

/* What a keyword's value has to be. */
typedef enum UnrdfKeywordShape
{
	UNRDF_SHAPE_ANYTHING,
	UNRDF_SHAPE_TYPE_NAMES,
	UNRDF_SHAPE_LIST,
	UNRDF_SHAPE_STRINGS,
	UNRDF_SHAPE_BOOLEAN,
	UNRDF_SHAPE_STRING,
	UNRDF_SHAPE_NUMBER,
	UNRDF_SHAPE_POSITIVE,
	UNRDF_SHAPE_COUNT,
	UNRDF_SHAPE_PATTERN,
	UNRDF_SHAPE_SCHEMA,
	UNRDF_SHAPE_SCHEMAS,
	UNRDF_SHAPE_SCHEMA_MAP,
	UNRDF_SHAPE_PATTERN_MAP,
	UNRDF_SHAPE_REFERENCE,
	UNRDF_SHAPE_ROOT_ID,
	UNRDF_SHAPE_ROOT_DIALECT
} UnrdfKeywordShape;

/* Whether a value is what a keyword asks for; schema is the object that has the keyword, arg the keyword's value. */
typedef bool (*UnrdfKeywordApplies)(UnrdfSchemaCheck *c, JsonbContainer *schema, JsonbValue *arg,
									JsonbValue *value, const UnrdfPlace *place);

typedef struct UnrdfKeyword
{
	const char *name;
	UnrdfKeywordShape shape;
	UnrdfKeywordApplies applies; /* NULL: asks for nothing by itself */
} UnrdfKeyword;

/* A step through the members of an object or the elements of an array. */
typedef struct UnrdfJsonbWalk
{
	JsonbIterator *it;
	JsonbValue key; /* of an object's member */
	JsonbValue value;
	uint32 index;
} UnrdfJsonbWalk;


/* schema_value.c */
extern void UnrdfJsonbRoot(Jsonb *jb, JsonbValue *v);
extern bool UnrdfIsObject(const JsonbValue *v);
extern bool UnrdfIsArray(const JsonbValue *v);
extern uint32 UnrdfJsonbCount(const JsonbValue *v);
extern bool UnrdfIsText(const JsonbValue *v, const char *text);
extern JsonbValue *UnrdfMember(JsonbContainer *object, const char *name);
extern void UnrdfWalkBegin(UnrdfJsonbWalk *w, const JsonbValue *v);
extern bool UnrdfWalkNext(UnrdfJsonbWalk *w);
extern UnrdfPlace UnrdfPlaceBelow(const UnrdfPlace *up, const UnrdfJsonbWalk *w, bool object);
extern bool UnrdfSchemaFail(UnrdfSchemaCheck *c, const UnrdfPlace *place, const char *format, ...)
	pg_attribute_printf(3, 4);
extern int UnrdfCompareJsonb(const void *left, const void *right);
extern bool UnrdfIsInteger(const JsonbValue *v);
extern int UnrdfSignOf(const JsonbValue *number);
extern JsonbValue *UnrdfSchemaResolve(UnrdfSchemaCheck *c, const JsonbValue *ref);

/* schema_keyword.c */
extern const UnrdfKeyword *UnrdfFindKeyword(const JsonbValue *name);
extern bool UnrdfSchemaFits(UnrdfSchemaCheck *c, JsonbValue *schema, JsonbValue *value,
							const UnrdfPlace *place);

#endif /* UNRDF_SCHEMA_H */
