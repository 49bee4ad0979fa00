/*
 * arg.c: arguments of SQL functions, checked one by one.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/arg.h"
#include "base/clock.h"
#include "base/compat.h"

/* UnrdfArgNotNull raises 22004 for a null. */
void
UnrdfArgNotNull(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

/* UnrdfArgRefuse raises 22023. */
void
UnrdfArgRefuse(const char *name, const char *what_it_must_be)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s must be %s", name, what_it_must_be)));
}

/* UnrdfArgRange returns an int between min and max; raises 22023 for any other. */
int
UnrdfArgRange(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max)
{
	int value = PG_GETARG_INT32(arg);
	char range[64];

	if (value < min || value > max)
	{
		snprintf(range, sizeof(range), "between %d and %d", min, max);
		UnrdfArgRefuse(name, range);
	}
	return value;
}

/* UnrdfArgMillis returns an interval in milliseconds, between 0 and INT_MAX: 0 may have a meaning of its own. Raises 22023. */
int64
UnrdfArgMillis(FunctionCallInfo fcinfo, int arg, const char *name)
{
	int64 ms = UnrdfIntervalMillis(PG_GETARG_INTERVAL_P(arg));

	if (ms < 0 || ms > PG_INT32_MAX)
		UnrdfArgRefuse(name, "between 0 and 24 days");
	return ms;
}

/* UnrdfArgTime returns a point in time; raises 22023 for an infinite one. */
TimestampTz
UnrdfArgTime(FunctionCallInfo fcinfo, int arg, const char *name)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(arg);

	if (TIMESTAMP_NOT_FINITE(at))
		UnrdfArgRefuse(name, "finite");
	return at;
}

/* UnrdfArgName returns a name that users give, such as a key; raises 22023 for one that is empty or longer than 1024 bytes. */
text *
UnrdfArgName(Datum value, const char *what)
{
	text *name = DatumGetTextPP(value);

	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > 1024)
		UnrdfArgRefuse(what, "between 1 and 1024 bytes long");
	return name;
}

/* UnrdfArgSize returns a size such as '64 MB' in bytes; raises 22023 for one below min or over 1 TB. */
int64
UnrdfArgSize(FunctionCallInfo fcinfo, int arg, const char *name, int64 min)
{
	int64 size = DatumGetInt64(DirectFunctionCall1(pg_size_bytes, PG_GETARG_DATUM(arg)));

	if (size < min || size > INT64CONST(1) << 40)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be between " INT64_FORMAT " bytes and 1 TB", name, min)));
	return size;
}
