/*
 * handler_fn.c: SQL-callable functions of handlers.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/arg.h"
#include "base/clock.h"
#include "queue/closing.h"
#include "queue/config.h"
#include "queue/handler.h"

PG_FUNCTION_INFO_V1(unrdf_register_handler);
PG_FUNCTION_INFO_V1(unrdf_register_outside_handler);
PG_FUNCTION_INFO_V1(unrdf_schema_error);

/* Where in a function's arguments what all handlers have is. The name comes first. */
typedef struct HandlerArgs
{
	int max_attempts;
	int timeout;
	int backoff;
	int backoff_cap;
	int queue;
	int priority;
	int max_result_size;
	int args_schema;
	int encrypt_args;
} HandlerArgs;

/* Arguments of register_handler. */
enum
{
	ARG_FUNCTION = 1,
	ARG_OWN_TRANSACTION = 6,
	ARG_MEMORY_LIMIT = 9,
	ARG_KIND = 12,
	ARG_VERSION_POLICY = 14
};
static const HandlerArgs inside_args = {.max_attempts = 2,
										.timeout = 3,
										.backoff = 4,
										.backoff_cap = 5,
										.queue = 7,
										.priority = 8,
										.max_result_size = 10,
										.args_schema = 11,
										.encrypt_args = 13};
static const HandlerArgs outside_args = {.max_attempts = 1,
										 .timeout = 2,
										 .backoff = 3,
										 .backoff_cap = 4,
										 .queue = 5,
										 .priority = 6,
										 .max_result_size = 7,
										 .args_schema = 8,
										 .encrypt_args = 9};

/* Reads the arguments that must not be null. */
static void
read_attempts(FunctionCallInfo fcinfo, const HandlerArgs *at, UnrdfHandler *h)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	UnrdfArgNotNull(fcinfo, at->max_attempts, "max_attempts");
	UnrdfArgNotNull(fcinfo, at->timeout, "timeout");
	UnrdfArgNotNull(fcinfo, at->backoff, "backoff");
	UnrdfArgNotNull(fcinfo, at->backoff_cap, "backoff_cap");
	h->backoff_ms = (int) UnrdfArgMillis(fcinfo, at->backoff, "backoff");
	h->backoff_cap_ms = (int) UnrdfArgMillis(fcinfo, at->backoff_cap, "backoff_cap");
	if (h->backoff_cap_ms < h->backoff_ms)
		UnrdfArgRefuse("backoff_cap", "at least backoff");
	h->max_attempts =
		UnrdfArgRange(fcinfo, at->max_attempts, "max_attempts", 1, UNRDF_MAX_ATTEMPTS);
	h->timeout_ms = (int) UnrdfArgMillis(fcinfo, at->timeout, "timeout");
}

static void
read_handler(FunctionCallInfo fcinfo, const HandlerArgs *at, UnrdfHandler *h)
{
	read_attempts(fcinfo, at, h);
	h->queue = h->priority = -1;
	if (!PG_ARGISNULL(at->queue))
		h->queue = UnrdfQueueToUse(PG_GETARG_TEXT_PP(at->queue));
	if (!PG_ARGISNULL(at->priority))
		h->priority = UnrdfArgRange(fcinfo, at->priority, "priority", 0, UNRDF_PRIORITIES - 1);
	if (!PG_ARGISNULL(at->max_result_size))
		h->max_result_size = UnrdfArgSize(fcinfo, at->max_result_size, "max_result_size", 1);
	if (!PG_ARGISNULL(at->args_schema))
		h->schema = PG_GETARG_JSONB_P(at->args_schema);
	if (!PG_ARGISNULL(at->encrypt_args))
		UnrdfCheckKeyFunction(h->key_function = PG_GETARG_OID(at->encrypt_args));
}

Datum
unrdf_register_handler(PG_FUNCTION_ARGS)
{
	UnrdfHandler h = {0};
	char *policy;

	UnrdfArgNotNull(fcinfo, ARG_FUNCTION, "function");
	UnrdfArgNotNull(fcinfo, ARG_OWN_TRANSACTION, "own_transaction");
	read_handler(fcinfo, &inside_args, &h);
	h.function = PG_GETARG_OID(ARG_FUNCTION);
	h.own_transaction = PG_GETARG_BOOL(ARG_OWN_TRANSACTION);
	if (!PG_ARGISNULL(ARG_MEMORY_LIMIT))
		h.memory_limit = UnrdfArgSize(fcinfo, ARG_MEMORY_LIMIT, "memory_limit", 1024 * 1024);
	UnrdfArgNotNull(fcinfo, ARG_KIND, "kind");
	if (!UnrdfHandlerKindOf(text_to_cstring(PG_GETARG_TEXT_PP(ARG_KIND)), &h.kind) ||
		h.kind == UNRDF_NO_FUNCTION)
		UnrdfArgRefuse("kind", "function, procedure or command");
	UnrdfArgNotNull(fcinfo, ARG_VERSION_POLICY, "version_policy");
	policy = text_to_cstring(PG_GETARG_TEXT_PP(ARG_VERSION_POLICY));
	h.pinned = strcmp(policy, "pinned") == 0;
	if (!h.pinned && strcmp(policy, "newest") != 0)
		UnrdfArgRefuse("version_policy", "newest or pinned");
	UnrdfRegisterHandler(PG_GETARG_TEXT_PP(0), &h);
	PG_RETURN_VOID();
}

Datum
unrdf_register_outside_handler(PG_FUNCTION_ARGS)
{
	UnrdfHandler h = {.kind = UNRDF_NO_FUNCTION};

	read_handler(fcinfo, &outside_args, &h);
	UnrdfRegisterHandler(PG_GETARG_TEXT_PP(0), &h);
	PG_RETURN_VOID();
}

Datum
unrdf_schema_error(PG_FUNCTION_ARGS)
{
	Jsonb *value = PG_GETARG_JSONB_P(0);
	Jsonb *schema = PG_GETARG_JSONB_P(1);
	char *text = UnrdfSchemaMistake(schema);

	if (text)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("schema is no JSON Schema that can be checked"),
						errdetail_internal("%s", text)));
	text = UnrdfSchemaMismatch(schema, value);
	if (text == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text));
}
