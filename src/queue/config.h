#ifndef UNRDF_CONFIG_H
#define UNRDF_CONFIG_H

#include "postgres.h"

typedef struct UnrdfHandler
{
	int32 id;
	Oid function;
	Oid owner;
	int32 max_attempts;
	int32 timeout_ms;
	int32 backoff_ms;
	int32 backoff_cap_ms;
	bool own_transaction;
	char name[NAMEDATALEN];
} UnrdfHandler;

typedef struct UnrdfQueue
{
	int32 id;
	bool paused;
	int32 max_running; /* 0: no limit */
} UnrdfQueue;

extern void UnrdfCreateQueue(text *name, int32 max_running);
extern void UnrdfPauseQueue(text *name, bool paused);
extern void UnrdfRegisterHandler(text *name, Oid function, int32 max_attempts, int32 timeout_ms,
								 int32 backoff_ms, int32 backoff_cap_ms, bool own_transaction);
extern int32 UnrdfQueueId(text *name);
extern const UnrdfHandler *UnrdfHandlerByName(text *name);
extern const UnrdfHandler *UnrdfHandlerById(int32 id);
extern bool UnrdfQueueById(int32 id, UnrdfQueue *queue);
extern int UnrdfHandlerArgs(Oid function);
extern void UnrdfConfigChanged(void);

#endif /* UNRDF_CONFIG_H */
