/*
 * event_fn.c: SQL-callable functions of events and subscriptions.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/arg.h"
#include "base/datum.h"
#include "queue/handler.h"
#include "queue/event.h"
#include "queue/job.h"
#include "queue/request.h"
#include "queue/subscription.h"

PG_FUNCTION_INFO_V1(unrdf_emit);
PG_FUNCTION_INFO_V1(unrdf_on_event);
PG_FUNCTION_INFO_V1(unrdf_drop_on_event);
PG_FUNCTION_INFO_V1(unrdf_pause_subscription);
PG_FUNCTION_INFO_V1(unrdf_resume_subscription);
PG_FUNCTION_INFO_V1(unrdf_replay);
PG_FUNCTION_INFO_V1(unrdf_grant_events);
PG_FUNCTION_INFO_V1(unrdf_revoke_events);
PG_FUNCTION_INFO_V1(unrdf_subscription_lag);

/* unrdf.emit(name, payload): UnrdfEmit. */
Datum
unrdf_emit(PG_FUNCTION_ARGS)
{
	UnrdfArgNotNull(fcinfo, 0, "name");
	PG_RETURN_INT64(UnrdfEmit(PG_GETARG_TEXT_PP(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1)));
}

/* unrdf.on_event(name, handler, from_position, queue, priority, max_behind): UnrdfSubscribe. */
Datum
unrdf_on_event(PG_FUNCTION_ARGS)
{
	UnrdfSubscription s = {0};

	UnrdfArgNotNull(fcinfo, 0, "name");
	UnrdfArgNotNull(fcinfo, 1, "handler");
	UnrdfArgNotNull(fcinfo, 2, "from_position");
	UnrdfArgNotNull(fcinfo, 5, "max_behind");
	s.pattern = PG_GETARG_TEXT_PP(0);
	s.handler = UnrdfHandlerToEnqueue(PG_GETARG_TEXT_PP(1));
	UnrdfReadPlace(fcinfo, 3, 4, &s.queue, &s.priority);
	s.max_behind = UnrdfArgRange(fcinfo, 5, "max_behind", 1, 1000000);
	PG_RETURN_INT32(UnrdfSubscribe(&s, text_to_cstring(PG_GETARG_TEXT_PP(2))));
}

/* unrdf.drop_on_event(subscription): UnrdfUnsubscribe. */
Datum
unrdf_drop_on_event(PG_FUNCTION_ARGS)
{
	UnrdfUnsubscribe(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/* unrdf.pause_subscription(subscription): UnrdfSubscriptionPause. */
Datum
unrdf_pause_subscription(PG_FUNCTION_ARGS)
{
	UnrdfSubscriptionPause(PG_GETARG_INT32(0), true);
	PG_RETURN_VOID();
}

/* unrdf.resume_subscription(subscription): UnrdfSubscriptionPause. */
Datum
unrdf_resume_subscription(PG_FUNCTION_ARGS)
{
	UnrdfSubscriptionPause(PG_GETARG_INT32(0), false);
	PG_RETURN_VOID();
}

/* unrdf.replay(subscription, from_position): UnrdfReplay. */
Datum
unrdf_replay(PG_FUNCTION_ARGS)
{
	UnrdfReplay(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/* unrdf.grant_events(grantee, pattern): UnrdfGrantEvents. */
Datum
unrdf_grant_events(PG_FUNCTION_ARGS)
{
	UnrdfGrantEvents(PG_GETARG_OID(0), PG_GETARG_TEXT_PP(1));
	PG_RETURN_VOID();
}

/* unrdf.revoke_events(grantee, pattern): UnrdfRevokeEvents. */
Datum
unrdf_revoke_events(PG_FUNCTION_ARGS)
{
	UnrdfRevokeEvents(PG_GETARG_OID(0), PG_GETARG_TEXT_PP(1));
	PG_RETURN_VOID();
}

/* unrdf.subscription_lag(subscription): UnrdfSubscriptionLag; null where one may not know. */
Datum
unrdf_subscription_lag(PG_FUNCTION_ARGS)
{
	int64 events = 0;
	TimestampTz oldest = 0;
	bool found = UnrdfSubscriptionLag(PG_GETARG_INT32(0), &events, &oldest);
	Datum values[2] = {Int64GetDatum(events), TimestampTzGetDatum(oldest)};
	bool nulls[2] = {!found, events == 0};

	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}
