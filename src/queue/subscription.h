#ifndef UNRDF_SUBSCRIPTION_H
#define UNRDF_SUBSCRIPTION_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "queue/cursor.h"

#define UNRDF_LAG_LOOKS 100000 /* events that UnrdfSubscriptionLag reads at a time */

/* A row of unrdf.subscription. */
typedef struct UnrdfSubscription
{
	int32 id;
	text *pattern;
	int32 handler;
	Oid owner;
	int32 queue; /* -1 in this and the next: the handler's */
	int16 priority;
	int32 max_behind;
	bool paused;
} UnrdfSubscription;

/* The newest row of unrdf.delivery of a subscription, without its jobs. */
typedef struct UnrdfDelivered
{
	int64 n;
	int64 oldest_open;
	int64 last_event;        /* 0: none */
	TimestampTz restored_at; /* the last restore into this database; 0: none */
} UnrdfDelivered;

extern int UnrdfSubscriptionList(UnrdfSubscription **list);
extern bool UnrdfSubscriptionFind(int32 id, UnrdfSubscription *s);
extern int32 UnrdfSubscribe(UnrdfSubscription *s, const char *from);
extern void UnrdfUnsubscribe(int32 id);
extern void UnrdfSubscriptionPause(int32 id, bool paused);
extern void UnrdfReplay(int32 id, const char *from);
extern bool UnrdfSubscriptionLag(int32 id, int64 *events, TimestampTz *oldest);

/* delivery.c */
extern void UnrdfDeliveryRead(int32 subscription, UnrdfCursor *cursor, UnrdfDelivered *newest);
extern int64 UnrdfDeliveryNewest(int32 subscription);
extern void UnrdfDeliveryWrite(int32 subscription, const UnrdfDelivered *delivery,
							   const UnrdfCursor *cursor, const int64 *jobs, int njobs);

#endif /* UNRDF_SUBSCRIPTION_H */
