#ifndef UNRDF_ROOM_H
#define UNRDF_ROOM_H

#include "postgres.h"

/* What becomes of who enqueues in a queue that is as deep as it may be. */
typedef enum UnrdfRoomNeed
{
	UNRDF_ROOM_NEEDED, /* it is refused, or waits, as the queue's settings say */
	UNRDF_ROOM_IF_ANY, /* it is told, and enqueues nothing */
	UNRDF_ROOM_FREE    /* it needs none: the work was admitted before */
} UnrdfRoomNeed;

extern bool UnrdfRoomTake(int32 queue, int64 n, UnrdfRoomNeed need);
extern bool UnrdfRoomMayWait(bool may);
extern void UnrdfRoomChanged(void);
extern int64 UnrdfRoomLeft(int32 queue);
extern int64 UnrdfDepthNow(int32 queue);

#endif /* UNRDF_ROOM_H */
