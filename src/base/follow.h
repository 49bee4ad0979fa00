#ifndef UNRDF_FOLLOW_H
#define UNRDF_FOLLOW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/snapshot.h"

#include "base/catalog.h"

#define UNRDF_FOLLOW_PREFIX 3

/* A snapshot as plain values: which transactions were over when it was taken. */
typedef struct UnrdfXidSet
{
	uint64 xmin; /* all below are over */
	uint64 xmax; /* all from here on are not */
	int nxip;
	uint64 *xip; /* between: those not over, ascending */
} UnrdfXidSet;

typedef struct UnrdfFollower
{
	/* set by the owner */
	UnrdfRel table;
	UnrdfRel index; /* on (prefix…, xid, id) */
	int nprefix;    /* how many of: queue int4, priority int2, flow int8 */
	Datum prefix[UNRDF_FOLLOW_PREFIX];
	int xid_column; /* from 0 */
	int id_column;
	/* the position */
	MemoryContext context; /* owns the sets */
	bool started;          /* false: everything visible is new, but for rows below `from` */
	uint64 from;           /* nobody wants rows with lower xids in the first reading, */
	int64 from_id;         /* nor rows of that xid with lower ids */
	UnrdfXidSet seen;      /* S0: everything in it has been returned */
	bool reading;          /* S1 is set and not yet used up */
	UnrdfXidSet target;    /* S1 */
	int part;              /* which of S0's xip is being read; nxip: the range */
	uint64 last_xid;       /* within the part, the last row returned */
	int64 last_id;
} UnrdfFollower;

typedef void (*UnrdfFollowFn)(void *arg, TupleTableSlot *slot, uint64 xid, int64 id);

extern void UnrdfXidSetTake(UnrdfXidSet *set, Snapshot snap, MemoryContext context);
extern bool UnrdfXidSetIsOver(const UnrdfXidSet *set, uint64 xid);
extern void UnrdfFollowInit(UnrdfFollower *f, MemoryContext context);
extern void UnrdfFollowEnd(UnrdfFollower *f);
extern void UnrdfFollowAgain(UnrdfFollower *f, uint64 from);
extern void UnrdfFollowFrom(UnrdfFollower *f, Snapshot snapshot);
extern int UnrdfFollow(UnrdfFollower *f, int most, UnrdfFollowFn fn, void *arg);
extern bool UnrdfFollowReturned(const UnrdfFollower *f, uint64 xid, int64 id);
extern uint64 UnrdfFollowFloor(const UnrdfFollower *f);
extern bool UnrdfFollowedAll(const UnrdfFollower *f);
extern void UnrdfFollowWrite(const UnrdfFollower *f, StringInfo out);
extern bool UnrdfFollowRead(UnrdfFollower *f, const char *text);

#endif /* UNRDF_FOLLOW_H */
