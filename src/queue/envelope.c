/*
 * envelope.c: arguments that are stored encrypted.
 *
 * A handler's key function gives the key; it is called as the handler's owner, so that who enqueues needs no right to it and
 * never sees it. The key is in memory while a message is closed or opened, and nowhere else. What is stored is an object of one
 * member with an OpenPGP message (pgcrypto, AES-256) in base 64; receipts hash that, so they verify without any key. Which key
 * function closed an envelope is said by the handler's version that the job has, which keeps it when the handler gets another.
 *
 * A compensation is given its step's arguments, which nobody opens before it runs: the process that enqueues it calls no key
 * function, so that none can hold it up. Its arguments are an object that has the step's envelope as a member, and the step's
 * id, by which the key is found. Users cannot make such arguments: what they enqueue for a handler with a key is closed.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/numeric.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/plan.h"
#include "crypto/digest.h"
#include "queue/handler.h"

#define MEMBER "encrypted"

static UnrdfPlan find_function = {
	"SELECT p.oid FROM pg_catalog.pg_extension AS e"
	" JOIN pg_catalog.pg_depend AS d ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass"
	" AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass"
	" JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) d.objid"
	" WHERE e.extname OPERATOR(pg_catalog.=) 'pgcrypto' AND p.proname OPERATOR(pg_catalog.=) $1 AND p.pronargs OPERATOR(pg_catalog.=) $2",
	2,
	{NAMEOID, INT2OID}};

/* The oid of a function of pgcrypto, wherever that is installed. */
static Oid
pgcrypto_function(const char *name, int nargs)
{
	NameData proname;
	Datum values[2];
	bool isnull;
	Oid oid = InvalidOid;

	namestrcpy(&proname, name);
	values[0] = NameGetDatum(&proname);
	values[1] = Int16GetDatum((int16) nargs);
	SPI_connect();
	if (UnrdfExecuteLatest(&find_function, values, NULL) == 1)
		oid = DatumGetObjectId(UnrdfResult(0, 0, &isnull));
	SPI_finish();
	if (!OidIsValid(oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("extension pgcrypto has no function %s", name)));
	return oid;
}

/* UnrdfCheckKeyFunction raises 42883 or 42P13 where a function cannot give a key. */
void
UnrdfCheckKeyFunction(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool usable;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("key function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	usable = proc->prokind == PROKIND_FUNCTION && !proc->proretset && proc->pronargs == 0 &&
			 proc->prorettype == TEXTOID;
	ReleaseSysCache(tuple);
	if (!usable)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("%s cannot give a key", format_procedure(function)),
						errhint("A key function takes no arguments and returns text.")));
}

/* Asks the key function, as the handler's owner and with a search_path that the caller has no part in. */
static text *
ask_for_key(const UnrdfHandler *handler)
{
	Oid owner = handler->owner;
	Oid function = handler->key_function;
	LOCAL_FCINFO(fcinfo, 0);
	FmgrInfo flinfo;
	Oid user;
	int security;
	int nest_level;
	Datum key;

	UnrdfCheckKeyFunction(function);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(owner,
						   security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	UnrdfCheckRights(function, owner, handler->name);
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 0, InvalidOid, NULL, NULL);
	key = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull || VARSIZE_ANY_EXHDR(DatumGetPointer(key)) == 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("key function %s gives no key", format_procedure(function))));
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, security);
	return DatumGetTextPCopy(key);
}

static void
forget_key(text *key)
{
	explicit_bzero(VARDATA(key), VARSIZE(key) - VARHDRSZ);
	pfree(key);
}

static void
append_member(JsonbParseState **state, const char *name, char *value, int len)
{
	JsonbValue v = {.type = jbvString};

	v.val.string.val = unconstify(char *, name);
	v.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = value;
	v.val.string.len = len;
	pushJsonbValue(state, WJB_VALUE, &v);
}

/*
 * UnrdfEnvelopeGroup returns what is stored of a group that was found in arguments: the same for the same group and key, and of no use
 * without the key. Raises what UnrdfEnvelopeClose does.
 */
text *
UnrdfEnvelopeGroup(const UnrdfHandler *handler, text *group)
{
	text *key = ask_for_key(handler);
	UnrdfBytes secret = {VARDATA(key), VARSIZE(key) - VARHDRSZ};
	UnrdfBytes message = {VARDATA_ANY(group), VARSIZE_ANY_EXHDR(group)};
	uint8 hash[UNRDF_HASH_LEN];
	char hex[2 * UNRDF_HASH_LEN];
	int failed = unrdf_hmac_sha256(secret, message, hash);

	forget_key(key);
	if (failed)
		elog(ERROR, "could not compute an HMAC");
	hex_encode((const char *) hash, sizeof(hash), hex);
	return cstring_to_text_with_len(hex, sizeof(hex));
}

/* UnrdfEnvelopeClose returns arguments as they are stored. Raises 55000 where there is no key, and what the key function raises. */
Jsonb *
UnrdfEnvelopeClose(const UnrdfHandler *handler, Jsonb *args)
{
	Oid encrypt = pgcrypto_function("pgp_sym_encrypt", 3);
	text *plain = cstring_to_text(JsonbToCString(NULL, &args->root, VARSIZE(args)));
	text *key = ask_for_key(handler);
	Datum message = OidFunctionCall3(encrypt, PointerGetDatum(plain), PointerGetDatum(key),
									 CStringGetTextDatum("cipher-algo=aes256"));
	text *lines =
		DatumGetTextPP(DirectFunctionCall2(binary_encode, message, CStringGetTextDatum("base64")));
	JsonbParseState *state = NULL;

	forget_key(key);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	append_member(&state, MEMBER, VARDATA_ANY(lines), VARSIZE_ANY_EXHDR(lines));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Datum
decrypt(Oid function, Datum message, text *key)
{
	Datum volatile plain = (Datum) 0;

	PG_TRY();
	{
		plain = OidFunctionCall2(function, message, PointerGetDatum(key));
	}
	PG_CATCH();
	{
		forget_key(key);
		errcontext("decryption of the job's arguments");
		PG_RE_THROW();
	}
	PG_END_TRY();
	forget_key(key);
	return plain;
}

/* The lines of an envelope; NULL: it is none. */
static JsonbValue *
lines_of(JsonbContainer *envelope)
{
	JsonbValue *lines = NULL;

	if (JsonContainerIsObject(envelope))
		lines = getKeyJsonValueFromContainer(envelope, MEMBER, strlen(MEMBER), NULL);
	return lines && lines->type == jbvString ? lines : NULL;
}

/* Returns what an envelope's lines hold. handler is in the version that closed it. Raises 39000 for another key. */
static Datum
open_envelope(const UnrdfHandler *handler, const JsonbValue *lines)
{
	Oid function = pgcrypto_function("pgp_sym_decrypt", 2);
	Datum message;
	Datum plain;

	message = DirectFunctionCall2(
		binary_decode,
		PointerGetDatum(cstring_to_text_with_len(lines->val.string.val, lines->val.string.len)),
		CStringGetTextDatum("base64"));
	plain = decrypt(function, message, ask_for_key(handler));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(plain)));
}

/* Returns the arguments of a compensation, whose step's may be an envelope; NULL where these are no such arguments. */
static Jsonb *
open_compensation(Jsonb *args)
{
	JsonbContainer *object = &args->root;
	JsonbValue *id = getKeyJsonValueFromContainer(object, "job", 3, NULL);
	JsonbValue *given = getKeyJsonValueFromContainer(object, "args", 4, NULL);
	const UnrdfHandler *handler;
	JsonbValue *lines;
	UnrdfJob step;
	Datum member = CStringGetTextDatum("args");

	if (id == NULL || id->type != jbvNumeric || given == NULL ||
		!UnrdfJobFetch(
			DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(id->val.numeric))),
			&step))
		return NULL;
	handler = UnrdfHandlerVersion(step.handler, step.handler_version);
	if (handler == NULL)
		return NULL;
	if (!OidIsValid(handler->key_function))
		return args;
	lines = given->type == jbvBinary ? lines_of(given->val.binary.data) : NULL;
	if (lines == NULL)
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall4(
		jsonb_set, JsonbPGetDatum(args),
		PointerGetDatum(construct_array(&member, 1, TEXTOID, -1, false, TYPALIGN_INT)),
		open_envelope(handler, lines), BoolGetDatum(false)));
}

/* Returns a job's arguments, which are stored as a handler with a key has them. */
static Jsonb *
open_args(const UnrdfHandler *handler, Jsonb *args)
{
	JsonbValue *lines = lines_of(&args->root);
	Jsonb *opened = NULL;

	if (lines)
		return DatumGetJsonbP(open_envelope(handler, lines));
	if (JsonContainerIsObject(&args->root))
		opened = open_compensation(args);
	if (opened == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the stored arguments are not the encrypted ones that they should be")));
	return opened;
}

/* UnrdfJobArgs returns the arguments that a job was enqueued with. Raises 22004 where they are gone, 55000 where its handler's version is. */
Jsonb *
UnrdfJobArgs(const UnrdfHandler *handler, const UnrdfJob *job)
{
	const UnrdfHandler *then;

	if (job->args == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("arguments of job " INT64_FORMAT " are gone", job->id)));
	if (!handler->encrypted)
		return job->args;
	then = UnrdfHandlerVersion(job->handler, job->handler_version);
	if (then == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("version %d of the job's handler is not known", job->handler_version)));
	return OidIsValid(then->key_function) ? open_args(then, job->args) : job->args;
}
