#ifndef UNRDF_HANDLER_H
#define UNRDF_HANDLER_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "queue/job.h"

/* What the function of a handler is, and so how it is run. */
typedef enum UnrdfHandlerKind
{
	UNRDF_FUNCTION,  /* called inside the executor's transaction: exactly once */
	UNRDF_PROCEDURE, /* CALLed where it can commit: at least once */
	UNRDF_COMMAND, /* returns the text of a command that runs outside of transactions: at least once */
	UNRDF_NO_FUNCTION /* there is none: workers outside run the jobs, at least once */
} UnrdfHandlerKind;

/* A handler in one of its versions: function, kind, schema and key_function are the version's. */
typedef struct UnrdfHandler
{
	int32 id;
	int32 version;
	int32 newest; /* version */
	UnrdfHandlerKind kind;
	Oid function;
	Oid owner;
	int32 max_attempts;
	int32 timeout_ms;
	int32 backoff_ms;
	int32 backoff_cap_ms;
	int32 queue;    /* -1: none */
	int32 priority; /* -1: none */
	int64 memory_limit;
	int64 max_result_size; /* bytes; 0 in this and the one before: none */
	bool own_transaction;
	bool pinned;    /* jobs keep the version they were enqueued for */
	bool encrypted; /* the arguments of some version's jobs are */
	Oid key_function;
	Jsonb *schema; /* NULL: none */
	char name[NAMEDATALEN];
} UnrdfHandler;

/* handler.c */
extern void UnrdfRegisterHandler(text *name, const UnrdfHandler *wanted);
extern const UnrdfHandler *UnrdfHandlerByName(text *name);
extern int32 UnrdfHandlerToEnqueue(text *name);
extern const UnrdfHandler *UnrdfHandlerById(int32 id);
extern const UnrdfHandler *UnrdfHandlerVersion(int32 id, int32 version);
extern const UnrdfHandler *UnrdfHandlerOf(const UnrdfJob *job);
extern bool UnrdfHandlerIsOutside(int32 id);
extern void UnrdfCheckRights(Oid function, Oid owner, const char *handler);
extern bool UnrdfHandlerRepeats(const UnrdfHandler *handler);
extern int UnrdfHandlerArgs(Oid function, UnrdfHandlerKind kind);
extern bool UnrdfHandlerKindOf(const char *name, UnrdfHandlerKind *kind);

/* schema.c, schema_check.c */
extern char *UnrdfSchemaMistake(Jsonb *schema);
extern char *UnrdfSchemaMismatch(Jsonb *schema, Jsonb *value);

/* accept.c */
extern void UnrdfCheckFit(const UnrdfHandler *handler, Jsonb *args);
extern void UnrdfAccept(UnrdfJob *job);
extern void UnrdfAcceptAgain(UnrdfJob *job);
extern int32 UnrdfQueueToEnqueue(int32 queue, const UnrdfHandler *handler);
extern text **UnrdfAcceptMany(UnrdfJob *job, int n, Jsonb **args, char **mismatches);

/* envelope.c */
extern void UnrdfCheckKeyFunction(Oid function);
extern Jsonb *UnrdfEnvelopeClose(const UnrdfHandler *handler, Jsonb *args);
extern text *UnrdfEnvelopeGroup(const UnrdfHandler *handler, text *group);
extern Jsonb *UnrdfJobArgs(const UnrdfHandler *handler, const UnrdfJob *job);

#endif /* UNRDF_HANDLER_H */
