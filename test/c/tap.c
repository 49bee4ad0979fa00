/*
 * tap.c
 *	  What the unit tests have in common: TAP output, random numbers, hexadecimal.
 */
#include "tap.h"

#include <stdio.h>
#include <string.h>

static int tests_run = 0;
static int tests_failed = 0;

void
ok(bool good, const char *name)
{
	tests_run++;
	if (!good)
		tests_failed++;
	printf("%s %d - %s\n", good ? "ok" : "not ok", tests_run, name);
}

/* Fails with what came instead. */
void
is_text(const char *got, const char *expected, const char *name)
{
	bool same = strcmp(got, expected) == 0;

	ok(same, name);
	if (!same)
		printf("# got %s\n# expected %s\n", got, expected);
}

/*
 * Passes where something happened in none of many trials, and says how rare it then is: with 95 %
 * confidence below 3 / trials, the rule of three.
 */
void
never(int happened, int trials, const char *what)
{
	char name[160];

	snprintf(name, sizeof(name), "%d of %d %s: fewer than 1 in %d at 95 %%", happened, trials, what,
			 trials / 3);
	ok(happened == 0, name);
}

/* splitmix64 */
uint64_t
random64(void)
{
	static uint64_t state = 20240229;
	uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

const char *
to_hex(const uint8_t *bytes, size_t n)
{
	static char text[2 * 64 + 1];
	size_t i;

	for (i = 0; i < n; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	return text;
}

void
from_hex(const char *hex, uint8_t *bytes)
{
	for (; *hex != '\0'; hex += 2)
	{
		unsigned int byte;

		sscanf(hex, "%2x", &byte);
		*bytes++ = (uint8_t) byte;
	}
}

/* Prints the plan; the exit code of the program. */
int
finish_tests(void)
{
	printf("1..%d\n", tests_run);
	return tests_failed == 0 ? 0 : 1;
}
