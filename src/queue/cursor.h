#ifndef UNRDF_CURSOR_H
#define UNRDF_CURSOR_H

#include "postgres.h"

#include "base/follow.h"

#define UNRDF_CURSOR_LEVELS 8
#define UNRDF_NEVER_AGAIN PG_INT64_MAX

/* A follower of events, and what it has to know in its first reading. */
typedef struct UnrdfCursorLevel
{
	UnrdfFollower follower;
	int64
		again; /* events from this id on come again, whatever the level before this one has returned */
	int64 restored; /* events up to this id came by a restore, before this level began */
	bool foreign;   /* the level before this one is of the cluster that they came from */
} UnrdfCursorLevel;

/* How far a subscription has come: levels[0] reads, each other is what was before the one in front of it. */
typedef struct UnrdfCursor
{
	MemoryContext context;
	int n;
	UnrdfCursorLevel levels[UNRDF_CURSOR_LEVELS];
} UnrdfCursor;

extern void UnrdfCursorInit(UnrdfCursor *c, MemoryContext context);
extern void UnrdfCursorPass(UnrdfCursor *c);
extern void UnrdfCursorAgain(UnrdfCursor *c, int64 from);
extern void UnrdfCursorAfterRestore(UnrdfCursor *c, int64 restored);
extern int UnrdfCursorNext(UnrdfCursor *c, int most, UnrdfFollowFn fn, void *arg);
extern bool UnrdfCursorReturned(const UnrdfCursor *c, uint64 xid, int64 id);
extern bool UnrdfCursorAtEnd(const UnrdfCursor *c);
extern void UnrdfCursorWrite(const UnrdfCursor *c, StringInfo out);
extern void UnrdfCursorRead(UnrdfCursor *c, const char *text);

#endif /* UNRDF_CURSOR_H */
