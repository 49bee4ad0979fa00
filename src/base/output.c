/*
 * output.c: texts of values that do not depend on who has them made.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/output.h"

/* UnrdfPinOutput makes texts of values independent of the session; what it returns is for UnrdfUnpinOutput. */
int
UnrdfPinOutput(void)
{
	static const char *const pinned[][2] = {
		{"DateStyle", "ISO"},     {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},
		{"bytea_output", "hex"},  {"extra_float_digits", "1"},   {"lc_monetary", "C"},
		{"xmloption", "content"}, {"search_path", "pg_catalog"}, {"quote_all_identifiers", "off"}};
	int level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(pinned); i++)
		(void) set_config_option(pinned[i][0], pinned[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* UnrdfUnpinOutput gives the session its settings back. An error's abort does so as well. */
void
UnrdfUnpinOutput(int level)
{
	AtEOXact_GUC(true, level);
}
