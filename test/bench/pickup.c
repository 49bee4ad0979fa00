/*
 * pickup.c
 *	  Enqueues jobs one by one on a fixed schedule and prints when the server acknowledged each commit.
 *
 *	pickup CONNINFO SQL COUNT INTERVAL_US
 *
 * SQL takes the job's number as $1. One line per job: number, then microseconds of
 * CLOCK_REALTIME and of CLOCK_MONOTONIC, both read right after the acknowledgement.
 * Handlers in the server know the first clock, handlers in Node the second.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

static long long
microseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (long long) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void
sleep_until(long long due)
{
	struct timespec t;

	t.tv_sec = due / 1000000;
	t.tv_nsec = due % 1000000 * 1000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
		continue;
}

/* Ends the program with the server's message unless the result has the status wanted. */
static void
expect(PGconn *conn, PGresult *result, int ok)
{
	if (ok)
	{
		PQclear(result);
		return;
	}
	fprintf(stderr, "pickup: %s", PQerrorMessage(conn));
	exit(1);
}

static void
enqueue(PGconn *conn, int number)
{
	char		text[16];
	const char *values[1];
	PGresult   *result;
	long long	real;
	long long	monotonic;

	snprintf(text, sizeof(text), "%d", number);
	values[0] = text;
	result = PQexecPrepared(conn, "enqueue", 1, values, NULL, NULL, 0);
	real = microseconds(CLOCK_REALTIME);
	monotonic = microseconds(CLOCK_MONOTONIC);
	expect(conn, result,
		   PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK);
	printf("%d %lld %lld\n", number, real, monotonic);
}

int
main(int argc, char **argv)
{
	PGconn	   *conn;
	PGresult   *result;
	long long	start;
	int			count;
	int			interval;

	if (argc != 5)
	{
		fprintf(stderr, "usage: pickup CONNINFO SQL COUNT INTERVAL_US\n");
		return 2;
	}
	count = atoi(argv[3]);
	interval = atoi(argv[4]);
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "pickup: %s", PQerrorMessage(conn));
		return 1;
	}
	result = PQprepare(conn, "enqueue", argv[2], 1, NULL);
	expect(conn, result, PQresultStatus(result) == PGRES_COMMAND_OK);

	start = microseconds(CLOCK_MONOTONIC);
	for (int i = 0; i < count; i++)
	{
		sleep_until(start + (long long) i * interval);
		enqueue(conn, i);
	}
	PQfinish(conn);
	return 0;
}
