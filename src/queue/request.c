/*
 * request.c: reads and checks arguments that several functions have.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/lsyscache.h"

#include "base/clock.h"
#include "base/compat.h"
#include "queue/request.h"

/* UnrdfRequireNotNull raises 22004 for an argument that is null. */
void
UnrdfRequireNotNull(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

/* UnrdfOutOfRange raises 22023: what an argument must be. */
void
UnrdfOutOfRange(const char *name, const char *range)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be %s", name, range)));
}

/* UnrdfIntervalArg returns an interval in milliseconds, between 0 and INT_MAX: 0 may have a meaning of its own. Raises 22023. */
int64
UnrdfIntervalArg(Interval *i, const char *name)
{
	int64 ms = UnrdfIntervalMillis(i);

	if (ms < 0 || ms > PG_INT32_MAX)
		UnrdfOutOfRange(name, "between 0 and 24 days");
	return ms;
}

/* UnrdfRangeArg returns an integer argument; raises 22023 where it is not between min and max. */
int
UnrdfRangeArg(FunctionCallInfo fcinfo, int arg, const char *name, int min, int max)
{
	int value = PG_GETARG_INT32(arg);
	char range[64];

	if (value < min || value > max)
	{
		snprintf(range, sizeof(range), "between %d and %d", min, max);
		UnrdfOutOfRange(name, range);
	}
	return value;
}

/* UnrdfCheckedName returns a name; raises 22023 where it is empty or longer than 1,024 bytes. */
text *
UnrdfCheckedName(Datum value, const char *what)
{
	text *name = DatumGetTextPP(value);

	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) > 1024)
		UnrdfOutOfRange(what, "between 1 and 1024 bytes long");
	return name;
}

/* UnrdfRunAtArg returns a time argument; raises 22023 where it is infinite. */
TimestampTz
UnrdfRunAtArg(FunctionCallInfo fcinfo, int arg)
{
	TimestampTz run_at = PG_GETARG_TIMESTAMPTZ(arg);

	if (TIMESTAMP_NOT_FINITE(run_at))
		UnrdfOutOfRange("run_at", "finite");
	return run_at;
}

/*
 * UnrdfElements returns the elements of an array argument, which is not null, and how many they are. Raises 22004 where one is null,
 * unless the caller wants to know which are.
 */
int
UnrdfElements(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, Datum **values,
			  bool **nulls)
{
	bool *isnull;
	int16 len;
	bool by_value;
	char align;
	int n;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, by_value, align, values, &isnull, &n);
	for (int i = 0; i < n && nulls == NULL; i++)
		if (isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("element %d of %s must not be null", i + 1, name)));
	if (nulls)
		*nulls = isnull;
	return n;
}
