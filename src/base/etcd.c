/*
 * etcd.c: a few keys in etcd v3, through its JSON gateway.
 *
 * Reads are linearizable: a quorum of the members has confirmed them. A value is changed by a transaction that compares the
 * revision of the key's last change, so of two that read the same value one writes. Where no answer came to such a
 * transaction it may have been done or not; who asks reads again.
 *
 * The endpoint that answered last is asked first the next time: where one is away its time-out is not waited for again and again.
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/etcd.h"
#include "base/http.h"
#include "base/json.h"
#include "crypto/base64.h"

#define MOST_ENDPOINTS 16

static int answered_last = 0;

static char *
encode(const char *text)
{
	int len = UNRDF_BASE64_LEN(strlen(text));
	char *out = palloc(len + 1);

	unrdf_base64_encode(text, strlen(text), out);
	out[len] = '\0';
	return out;
}

/* The milliseconds that may be waited for an answer; 0: none any more. */
static int
patience(const UnrdfEtcd *etcd)
{
	return etcd->until ? (int) UnrdfMillisUntilTick(etcd->until, etcd->timeout) : etcd->timeout;
}

/* Posts to one endpoint; *json is its answer. Returns why there is none, or NULL. */
static const char *
ask(const char *url, int timeout, const char *body, JsonbContainer **json)
{
	UnrdfHttpAnswer answer;
	Jsonb *parsed;
	const char *reason =
		UnrdfHttpPost(url, "application/json", body, strlen(body), timeout, &answer);

	if (reason)
		return reason;
	if (answer.status != 200)
		return psprintf("HTTP status %ld", answer.status);
	if ((parsed = UnrdfJsonParse(answer.body.data, answer.body.len)) == NULL)
		return "the answer is not JSON";
	*json = &parsed->root;
	return NULL;
}

/* Asks one endpoint for what has a header, as all of etcd's answers have. */
static const char *
ask_etcd(const char *endpoint, int timeout, const char *path, const char *body,
		 JsonbContainer **json)
{
	JsonbValue header;
	const char *reason = ask(psprintf("%s/v3/%s", endpoint, path), timeout, body, json);

	if (reason)
		return reason;
	return UnrdfJsonMember(*json, "header", &header) ? NULL : "the answer is not etcd's";
}

/* Posts to the endpoints in turn until one answers. Returns why the first one did not, where none does. */
static const char *
call(const UnrdfEtcd *etcd, const char *path, const char *body, JsonbContainer **json)
{
	char *list = pstrdup(etcd->endpoints);
	char *rest = NULL;
	char *endpoints[MOST_ENDPOINTS];
	int n = 0;
	const char *first_reason = NULL;

	for (char *e = strtok_r(list, ",", &rest); e && n < MOST_ENDPOINTS;
		 e = strtok_r(NULL, ",", &rest))
		endpoints[n++] = e;
	for (int i = 0, first = answered_last; i < n; i++)
	{
		int which = (first + i) % n;
		int timeout = patience(etcd);
		const char *reason = "there is no time left to ask";

		if (timeout > 0 && (reason = ask_etcd(endpoints[which], timeout, path, body, json)) == NULL)
		{
			answered_last = which;
			return NULL;
		}
		if (first_reason == NULL)
			first_reason = reason;
	}
	return first_reason ? first_reason : "there is no endpoint";
}

/* Decodes a member; an empty one is left out by etcd. False for what is no base64. */
static bool
decode_member(JsonbContainer *object, const char *name, char **out, int *len)
{
	JsonbValue v;

	*out = "";
	*len = 0;
	if (!UnrdfJsonMember(object, name, &v))
		return true;
	if (v.type != jbvString)
		return false;
	*out = palloc0(v.val.string.len + 1);
	*len =
		unrdf_base64_decode(v.val.string.val, v.val.string.len, (uint8 *) *out, v.val.string.len);
	return *len >= 0;
}

/* Reads an entry of "kvs". */
static bool
read_entry(JsonbContainer *entry, UnrdfEtcdValue *v)
{
	int len;

	memset(v, 0, sizeof(*v));
	(void) UnrdfJsonInt64(entry, "lease", &v->lease);
	return UnrdfJsonInt64(entry, "mod_revision", &v->revision) && v->revision > 0 &&
		   decode_member(entry, "key", &v->key, &len) &&
		   decode_member(entry, "value", &v->value, &v->len);
}

/* Asks for a range of keys; *kvs is NULL where there are none. */
static const char *
get_range(const UnrdfEtcd *etcd, const char *body, JsonbContainer **kvs)
{
	JsonbContainer *json;
	JsonbValue v;
	const char *reason = call(etcd, "kv/range", body, &json);

	*kvs = NULL;
	if (reason || !UnrdfJsonMember(json, "kvs", &v))
		return reason;
	if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
		return "the answer is not etcd's";
	*kvs = v.val.binary.data;
	return NULL;
}

/* UnrdfEtcdGet reads a key. Returns why nobody answers, or NULL. */
const char *
UnrdfEtcdGet(const UnrdfEtcd *etcd, const char *key, UnrdfEtcdValue *v)
{
	JsonbContainer *kvs;
	const char *reason = get_range(etcd, psprintf("{\"key\":\"%s\"}", encode(key)), &kvs);

	memset(v, 0, sizeof(*v));
	if (reason || kvs == NULL)
		return reason;
	return read_entry(UnrdfJsonElement(kvs, 0), v) ? NULL : "the answer is not etcd's";
}

/* UnrdfEtcdList reads all keys that begin with a prefix, as UnrdfEtcdValue. Returns why nobody answers, or NULL. */
const char *
UnrdfEtcdList(const UnrdfEtcd *etcd, const char *prefix, List **values)
{
	JsonbContainer *kvs;
	char *end = pstrdup(prefix);
	const char *reason;

	*values = NIL;
	end[strlen(end) - 1]++;
	reason = get_range(
		etcd, psprintf("{\"key\":\"%s\",\"range_end\":\"%s\"}", encode(prefix), encode(end)), &kvs);
	for (uint32 i = 0; reason == NULL && kvs && i < JsonContainerSize(kvs); i++)
	{
		UnrdfEtcdValue *v = palloc(sizeof(UnrdfEtcdValue));

		if (!read_entry(UnrdfJsonElement(kvs, i), v))
			return "the answer is not etcd's";
		*values = lappend(*values, v);
	}
	return reason;
}

/* Does something to a key where its last change still has the revision. */
static const char *
compare_and(const UnrdfEtcd *etcd, const char *key, int64 revision, const char *request, bool *done)
{
	JsonbContainer *json;
	JsonbValue succeeded;
	const char *reason =
		call(etcd, "kv/txn",
			 psprintf("{\"compare\":[{\"key\":\"%s\",\"target\":\"MOD\",\"result\":\"EQUAL\","
					  "\"mod_revision\":\"" INT64_FORMAT "\"}],\"success\":[{%s}]}",
					  encode(key), revision, request),
			 &json);

	/* false is left out */
	*done = reason == NULL && UnrdfJsonMember(json, "succeeded", &succeeded) &&
			succeeded.type == jbvBool && succeeded.val.boolean;
	return reason;
}

/*
 * UnrdfEtcdSwap writes a key where its last change still has the revision (0: it is not there). Returns why there was no
 * answer, after which it may have been written or not; or NULL.
 */
const char *
UnrdfEtcdSwap(const UnrdfEtcd *etcd, const char *key, int64 revision, const char *value,
			  bool *swapped)
{
	return compare_and(
		etcd, key, revision,
		psprintf("\"request_put\":{\"key\":\"%s\",\"value\":\"%s\"}", encode(key), encode(value)),
		swapped);
}

/* UnrdfEtcdDelete takes a key away, likewise. */
const char *
UnrdfEtcdDelete(const UnrdfEtcd *etcd, const char *key, int64 revision, bool *deleted)
{
	return compare_and(etcd, key, revision,
					   psprintf("\"request_delete_range\":{\"key\":\"%s\"}", encode(key)), deleted);
}

/* UnrdfEtcdPutFor writes a key that goes by itself after some seconds. Returns why there was no answer, or NULL. */
const char *
UnrdfEtcdPutFor(const UnrdfEtcd *etcd, const char *key, const char *value, int seconds)
{
	JsonbContainer *json;
	int64 lease;
	const char *reason = call(etcd, "lease/grant", psprintf("{\"TTL\":\"%d\"}", seconds), &json);

	if (reason)
		return reason;
	if (!UnrdfJsonInt64(json, "ID", &lease))
		return "the answer is not etcd's";
	return call(etcd, "kv/put",
				psprintf("{\"key\":\"%s\",\"value\":\"%s\",\"lease\":\"" INT64_FORMAT "\"}",
						 encode(key), encode(value), lease),
				&json);
}

/*
 * UnrdfEtcdLeaseLeft reads how many whole seconds a lease has at least left; -1 for one that is gone. Returns why there was no
 * answer, or NULL.
 */
const char *
UnrdfEtcdLeaseLeft(const UnrdfEtcd *etcd, int64 lease, int64 *seconds)
{
	JsonbContainer *json;
	const char *reason =
		call(etcd, "lease/timetolive", psprintf("{\"ID\":\"" INT64_FORMAT "\"}", lease), &json);

	if (reason == NULL && !UnrdfJsonInt64(json, "TTL", seconds))
		*seconds = 0; /* etcd leaves zeros out */
	return reason;
}
