#ifndef UNRDF_TESTKIT_H
#define UNRDF_TESTKIT_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Places at which a test can have something happen, in the order of a job's path. */
typedef enum UnrdfTestPointId
{
	UNRDF_POINT_ENQUEUE,
	UNRDF_POINT_EMIT,
	UNRDF_POINT_TICK_COMMIT,
	UNRDF_POINT_TICK_COMMITTED,
	UNRDF_POINT_COURIER_READ,
	UNRDF_POINT_COURIER_ENQUEUED,
	UNRDF_POINT_COURIER_COMMIT,
	UNRDF_POINT_COURIER_COMMITTED,
	UNRDF_POINT_RELEASE_COMMIT,
	UNRDF_POINT_RELEASE_COMMITTED,
	UNRDF_POINT_DISPATCH,
	UNRDF_POINT_EXECUTE,
	UNRDF_POINT_EXECUTED,
	UNRDF_POINT_EXECUTE_COMMIT,
	UNRDF_POINT_EXECUTE_COMMITTED,
	UNRDF_POINT_FAIL_COMMIT,
	UNRDF_POINT_FAIL_COMMITTED,
	UNRDF_POINT_CLAIM,
	UNRDF_POINT_COMPLETE,
	UNRDF_POINT_INTEGRATE_COMMIT,
	UNRDF_POINT_INTEGRATE_COMMITTED,
	UNRDF_POINTS
} UnrdfTestPointId;

typedef enum UnrdfTestAction
{
	UNRDF_TEST_NOTHING,
	UNRDF_TEST_ERROR, /* raise 58000 */
	UNRDF_TEST_EXIT,  /* the process or session ends */
	UNRDF_TEST_CRASH, /* it is killed, as by SIGKILL, and the server with it */
	UNRDF_TEST_WAIT,  /* it waits for unrdf.test_clear() */
	UNRDF_TEST_ACTIONS
} UnrdfTestAction;

/* What is known of a point in the current database. */
typedef struct UnrdfTestPointState
{
	UnrdfTestAction action;
	int32 nth;     /* the time at which it happens, counted from when it was asked for */
	int32 reached; /* so often since then */
	int32 pid;     /* to whom it has happened; 0: not yet */
} UnrdfTestPointState;

typedef struct UnrdfTestPointName
{
	const char *name;
	const char *description;
} UnrdfTestPointName;

typedef struct UnrdfTestShared UnrdfTestShared;

extern UnrdfTestShared *UnrdfTestKit;
extern const UnrdfTestPointName UnrdfTestPoints[UNRDF_POINTS];
extern const char *const UnrdfTestActions[UNRDF_TEST_ACTIONS];

/* UnrdfTestPoint marks a place; where there is no test kit it costs a look at a pointer. */
#define UnrdfTestPoint(point)               \
	do                                      \
	{                                       \
		if (unlikely(UnrdfTestKit != NULL)) \
			UnrdfTestReach(point);          \
	} while (0)

extern void UnrdfTestInit(void);
extern void UnrdfRequireTestKit(void);
extern int64 UnrdfTestOffset(void);
extern void UnrdfTestSetOffset(int64 micros);
extern void UnrdfTestHold(bool hold);
extern void UnrdfTestAsk(bool begins);
extern bool UnrdfTestHolds(void);
extern uint64 UnrdfTestSettle(void);
extern bool UnrdfTestSettled(uint64 number);
extern uint64 UnrdfTestToSettle(void);
extern void UnrdfTestHasSettled(uint64 number);
extern void UnrdfTestReach(UnrdfTestPointId point);
extern void UnrdfTestArm(UnrdfTestPointId point, UnrdfTestAction action, int32 nth);
extern void UnrdfTestPointRead(UnrdfTestPointId point, UnrdfTestPointState *state);

#endif /* UNRDF_TESTKIT_H */
