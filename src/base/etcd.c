/*
 * etcd.c: a few keys in etcd v3, through its JSON gateway.
 *
 * Reads are linearizable: a quorum of the members has confirmed them. A value is changed by a transaction that compares the
 * revision of the key's last change, so of two that read the same value one writes. Where no answer came to such a
 * transaction it may have been done or not; who asks reads again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "base/etcd.h"
#include "base/http.h"
#include "crypto/base64.h"

static char *
encode(const char *text)
{
	int len = UNRDF_BASE64_LEN(strlen(text));
	char *out = palloc(len + 1);

	unrdf_base64_encode(text, strlen(text), out);
	out[len] = '\0';
	return out;
}

/* Parses JSON from outside; NULL for what is none. Only computes, so an error leaves nothing but memory behind. */
static Jsonb *
parse(StringInfo text)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb *volatile json = NULL;

	/* the server's encoding may be any: all that is read is ASCII */
	for (int i = 0; i < text->len; i++)
		if (text->data[i] == '\0' || IS_HIGHBIT_SET(text->data[i]))
			return NULL;
	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text->data)));
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

/* A member of an object, in *value; false where there is none. */
static bool
member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return object && JsonContainerIsObject(object) &&
		   getKeyJsonValueFromContainer(object, name, strlen(name), value) != NULL;
}

/* Posts to the first endpoint that answers; *json is its answer. */
static const char *
call(const char *endpoints, const char *path, const char *body, Jsonb **json)
{
	char *list = pstrdup(endpoints);
	char *rest = NULL;
	const char *reason = "there is no endpoint";

	*json = NULL;
	for (char *e = strtok_r(list, ",", &rest); e && *json == NULL; e = strtok_r(NULL, ",", &rest))
	{
		UnrdfHttpAnswer answer;

		reason = UnrdfHttpPost(psprintf("%s/v3/kv/%s", e, path), "application/json", body,
							   strlen(body), &answer);
		if (reason)
			continue;
		if (answer.status != 200)
			reason = psprintf("HTTP status %ld", answer.status);
		else if ((*json = parse(&answer.body)) == NULL)
			reason = "the answer is not JSON";
	}
	return *json ? NULL : reason;
}

/* Reads an entry of "kvs". */
static bool
read_entry(JsonbContainer *entry, UnrdfEtcdValue *v)
{
	JsonbValue revision;
	JsonbValue value;
	char *end;

	if (!member(entry, "mod_revision", &revision) || revision.type != jbvString)
		return false;
	v->revision = strtoi64(pnstrdup(revision.val.string.val, revision.val.string.len), &end, 10);
	if (v->revision <= 0 || *end != '\0')
		return false;
	v->value = "";
	if (!member(entry, "value", &value))
		return true; /* an empty one is left out */
	if (value.type != jbvString)
		return false;
	v->value = palloc0(value.val.string.len + 1);
	v->len = unrdf_base64_decode(value.val.string.val, value.val.string.len, (uint8 *) v->value,
								 value.val.string.len);
	return v->len >= 0;
}

/*
 * UnrdfEtcdGet reads a key from the first of the endpoints (URLs, separated by commas) that answers. Returns why none does, or
 * NULL.
 */
const char *
UnrdfEtcdGet(const char *endpoints, const char *key, UnrdfEtcdValue *v)
{
	Jsonb *json;
	JsonbValue kvs;
	JsonbValue *entry;
	const char *reason = call(endpoints, "range", psprintf("{\"key\":\"%s\"}", encode(key)), &json);

	memset(v, 0, sizeof(*v));
	if (reason)
		return reason;
	if (!member(&json->root, "header", &kvs))
		return "the answer is not etcd's";
	if (!member(&json->root, "kvs", &kvs))
		return NULL;
	if (kvs.type != jbvBinary || !JsonContainerIsArray(kvs.val.binary.data) ||
		(entry = getIthJsonbValueFromContainer(kvs.val.binary.data, 0)) == NULL ||
		entry->type != jbvBinary || !read_entry(entry->val.binary.data, v))
		return "the answer is not etcd's";
	return NULL;
}

/*
 * UnrdfEtcdSwap writes a key where its last change still has the revision (0: it is not there). Returns why there was no
 * answer, after which it may have been written or not; or NULL.
 */
const char *
UnrdfEtcdSwap(const char *endpoints, const char *key, int64 revision, const char *value,
			  bool *swapped)
{
	char *name = encode(key);
	Jsonb *json;
	JsonbValue succeeded;
	const char *reason;

	/* a key that is not there has revision 0 */
	reason =
		call(endpoints, "txn",
			 psprintf("{\"compare\":[{\"key\":\"%s\",\"target\":\"MOD\",\"result\":\"EQUAL\","
					  "\"mod_revision\":\"" INT64_FORMAT
					  "\"}],\"success\":[{\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}}]}",
					  name, revision, name, encode(value)),
			 &json);
	*swapped = false;
	if (reason)
		return reason;
	/* false is left out */
	if (member(&json->root, "succeeded", &succeeded))
		*swapped = succeeded.type == jbvBool && succeeded.val.boolean;
	else if (!member(&json->root, "header", &succeeded))
		return "the answer is not etcd's";
	return NULL;
}
