#ifndef UNRDF_JSON_H
#define UNRDF_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

extern Jsonb *UnrdfJsonParse(const char *text, int len);
extern bool UnrdfJsonMember(JsonbContainer *object, const char *name, JsonbValue *value);
extern bool UnrdfJsonInt64(JsonbContainer *object, const char *name, int64 *value);
extern JsonbContainer *UnrdfJsonElement(JsonbContainer *array, uint32 i);

#endif /* UNRDF_JSON_H */
