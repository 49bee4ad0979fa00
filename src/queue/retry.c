/*
 * retry.c: how long to wait before the next attempt. Pure.
 */
#include "postgres.h"

#include "queue/retry.h"

/*
 * UnrdfBackoffMillis returns the pause after failed attempt number `attempt` (from 1): base × 2^(attempt-1), at most cap,
 * then jittered by ± 25 % so that jobs that failed together do not come back together. random is in [0, 1).
 */
int64
UnrdfBackoffMillis(int attempt, int base_ms, int cap_ms, double random)
{
	double pause = base_ms;

	for (int i = 1; i < attempt && pause < cap_ms; i++)
		pause *= 2;
	if (pause > cap_ms)
		pause = cap_ms;
	return (int64) (pause * (0.75 + 0.5 * random));
}
