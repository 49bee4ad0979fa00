#ifndef UNRDF_EVENT_H
#define UNRDF_EVENT_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define UNRDF_EVENT_NAME_MAX 255

/* A row of unrdf.event. name and payload point into the row. */
typedef struct UnrdfEvent
{
	int64 id;
	uint64 xid;
	TimestampTz at;
	Oid emitter;
	text *name;
	Jsonb *payload;         /* NULL: none, or it is apart from the row */
	TimestampTz kept_until; /* when a payload that is apart may go; 0: there is none such */
} UnrdfEvent;

/* Whose events a role may read: those of its own roles, and those with names that were granted to one of them. */
typedef struct UnrdfEventReader
{
	Oid role;
	List *patterns; /* text * */
} UnrdfEventReader;

extern int64 UnrdfEmit(text *name, Jsonb *payload);
extern void UnrdfWakeCourier(void);
extern void UnrdfEventRead(TupleTableSlot *slot, UnrdfEvent *event);
extern bool UnrdfEventLoad(UnrdfEvent *event);
extern bool UnrdfEventFetch(int64 id, UnrdfEvent *event);
extern Jsonb *UnrdfEventArgs(const UnrdfEvent *event);
extern void UnrdfCheckPattern(text *pattern);
extern bool UnrdfPatternMatches(const text *pattern, const text *name);
extern void UnrdfEventReaderLoad(UnrdfEventReader *reader, Oid role);
extern bool UnrdfEventReadable(const UnrdfEventReader *reader, const UnrdfEvent *event);
extern void UnrdfGrantEvents(Oid grantee, text *pattern);
extern void UnrdfRevokeEvents(Oid grantee, text *pattern);

#endif /* UNRDF_EVENT_H */
