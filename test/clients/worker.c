/* An outside worker with libpq: worker CONNINFO QUEUE. It runs one job after the other, claimed and completed by tens. */
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t stopping = 0;

static void stop(int signal_number) { stopping = 1; }

static PGresult *
query(PGconn *conn, const char *sql, int n, const char *const *values)
{
	PGresult *result = PQexecParams(conn, sql, n, NULL, values, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		exit(1);
	}
	return result;
}

/* The handler: NULL, or what went wrong. */
static const char *
hello(const char *args)
{
	return strstr(args, "\"fail\"") ? "as asked" : NULL;
}

/* Adds a token to an array's text. */
static void
add(char *array, const char *token)
{
	array[strlen(array) - 1] = '\0';
	strcat(strcat(strcat(array, array[1] ? "," : ""), token), "}");
}

static void
work(PGconn *conn, PGresult *jobs)
{
	char done[512] = "{}";
	char left[512] = "{}";

	for (int i = 0; i < PQntuples(jobs); i++)
	{
		const char *failure[2] = {PQgetvalue(jobs, i, 0)};

		if (stopping)
			add(left, failure[0]);
		else if ((failure[1] = hello(PQgetvalue(jobs, i, 1))) != NULL)
			PQclear(query(conn, "SELECT unrdf.fail($1::bigint, $2)", 2, failure));
		else
			add(done, failure[0]);
	}
	PQclear(query(conn, "SELECT unrdf.complete($1::bigint[])", 1, (const char *[]) {done}));
	PQclear(query(conn, "SELECT unrdf.release($1::bigint[])", 1, (const char *[]) {left}));
}

int
main(int argc, char **argv)
{
	PGconn *conn = PQconnectdb(argc > 2 ? argv[1] : "");
	const char *claim[] = {argc > 2 ? argv[2] : "default", "10", "30 s", "1 s"};

	signal(SIGTERM, stop);
	while (!stopping)
	{
		PGresult *jobs = query(conn, "SELECT token, args FROM unrdf.claim(ARRAY[$1], $2::int, $3::interval, $4::interval)", 4, claim);

		work(conn, jobs);
		PQclear(jobs);
	}
	PQfinish(conn);
	return 0;
}
