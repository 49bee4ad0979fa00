#ifndef UNRDF_CHANGE_H
#define UNRDF_CHANGE_H

#include "postgres.h"

#include "commands/trigger.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

/* A row of unrdf.change_handler. */
typedef struct UnrdfChangeHandler
{
	int32 id;
	Oid relation;
	int32 handler;
	Oid owner;
	int32 queue; /* -1 in this and the next: the handler's */
	int16 priority;
	List *columns; /* names, char *; NIL: any */
	uint32 events; /* by the bits of change.c's kinds */
	bool per_row;
	int32 batch_size;
} UnrdfChangeHandler;

/* What unrdf.on_change() was asked for besides. */
typedef struct UnrdfChangeRequest
{
	UnrdfChangeHandler handler;
	ArrayType *events;
	ArrayType *columns; /* NULL: none named */
	text *condition;    /* NULL: none */
} UnrdfChangeRequest;

extern int32 UnrdfOnChange(UnrdfChangeRequest *request);
extern void UnrdfDropOnChange(int32 id);
extern bool UnrdfChangeHandlerFind(int32 id, UnrdfChangeHandler *h);
extern bool UnrdfChangeDeclared(const UnrdfChangeHandler *h, TriggerData *trigger);

/* change_write.c */
extern void UnrdfChangeRow(TriggerData *trigger, const UnrdfChangeHandler *h);
extern void UnrdfChangeStatement(TriggerData *trigger, const UnrdfChangeHandler *h);

#endif /* UNRDF_CHANGE_H */
