/*
 * number_fuzz.c
 *	  Numbers and times of canonical JSON.  The input is taken for a decimal's text, and its first eight
 *	  bytes for a double, an integer and a time.
 */
#include "crypto/canonical.h"
#include "fuzz.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * The significant digits of a number's text, without zeros at either end; *point is where the point is
 * among them.  A text with an exponent ends with a NUL.
 */
static size_t
plain_digits(const char *text, size_t len, char *out, long *point)
{
	const char *end = text + len;
	bool fraction = false;
	size_t n = 0;
	long exponent = 0;

	*point = 0;
	for (; text < end && *text != 'e'; text++)
	{
		if (*text == '.')
			fraction = true;
		if (*text < '0' || *text > '9')
			continue;
		if (n > 0 || *text != '0')
			out[n++] = *text;
		*point += !fraction && n > 0;
		*point -= fraction && n == 0;
	}
	if (text < end)
		exponent = strtol(text + 1, NULL, 10);
	while (n > 0 && out[n - 1] == '0')
		n--;
	*point = n == 0 ? 0 : *point + exponent;
	return n;
}

static bool
same_value(const char *a, size_t alen, const char *b, size_t blen)
{
	char x[FUZZ_TEXT_MAX];
	char y[FUZZ_TEXT_MAX];
	long x_point;
	long y_point;
	size_t n = plain_digits(a, alen, x, &x_point);
	size_t m = plain_digits(b, blen, y, &y_point);

	return x_point == y_point && fuzz_same(x, n, y, m) && (n == 0 || (*a == '-') == (*b == '-'));
}

/* Whether a text is [-]digits[.digits], as its grammar has it. */
static bool
is_decimal(const char *text, size_t len)
{
	const char *p = text;
	const char *end = text + len;
	const char *digits;

	p += p < end && *p == '-';
	for (digits = p; p < end && *p >= '0' && *p <= '9'; p++)
		;
	if (p == digits || p == end)
		return p > digits;
	if (*p++ != '.')
		return false;
	for (digits = p; p < end && *p >= '0' && *p <= '9'; p++)
		;
	return p == end && p > digits;
}

/* As ECMAScript has it: no zeros at either end that say nothing, an exponent for large and small ones only. */
static void
check_form(const char *text, double d)
{
	const char *e = strchr(text, 'e');
	const char *point = strchr(text, '.');

	must(strspn(text, "-0123456789.e+") == strlen(text));
	must((e != NULL) == (d != 0 && (fabs(d) >= 1e21 || fabs(d) < 1e-6)));
	must(e == NULL || e[1] == (fabs(d) < 1 ? '-' : '+'));
	text += *text == '-';
	must(text[0] != '0' || text[1] == '\0' || text[1] == '.');
	must(point == NULL || ((e ? e[-1] : text[strlen(text) - 1]) != '0' && point > text));
}

static void
check_double(double d)
{
	char text[64];
	UnrdfCanon out = {text, sizeof(text) - 1, 0};
	char shorter[64];
	char digits[64];
	long point;
	size_t n;

	must((unrdf_canon_double(&out, d) == 0) == (isfinite(d) != 0));
	if (!isfinite(d))
		return;
	fuzz_accepted();
	must(out.len < 32);
	text[out.len] = '\0';
	must(strtod(text, NULL) == d);
	check_form(text, d);
	n = plain_digits(text, out.len, digits, &point);
	if (n > 1)
	{
		snprintf(shorter, sizeof(shorter), "%.*e", (int) n - 2, d);
		must(strtod(shorter, NULL) != d);
	}
}

static void
check_decimal(const char *text, size_t len)
{
	char canonical[64] = ""; /* two texts, each ended by a NUL */
	char kept[FUZZ_TEXT_MAX];
	UnrdfCanon out = {canonical, 31, 0};
	bool carried = unrdf_canon_decimal(&out, text, len) == 0;
	UnrdfCanon of_double = {canonical + 32, 31, 0};
	double d;

	if (!is_decimal(text, len))
	{
		must(!carried && out.len == 0);
		return;
	}
	memcpy(kept, text, len);
	kept[len] = '\0';
	d = strtod(kept, NULL);
	must(out.len < 32);
	/* what is carried is what the nearest double has for its shortest name, and the same number */
	if (!isfinite(d) || unrdf_canon_double(&of_double, d) != 0)
		must(!carried);
	else if (carried)
	{
		fuzz_accepted();
		must(fuzz_same(canonical, out.len, canonical + 32, of_double.len));
		must(same_value(canonical, out.len, text, len));
	}
	else
		must(out.len == 0 && !same_value(canonical + 32, of_double.len, text, len));
}

static void
check_integer(int64_t v)
{
	char text[64];
	char expected[64];
	UnrdfCanon out = {text, sizeof(text), 0};

	unrdf_canon_int64(&out, v);
	must(fuzz_same(text, out.len, expected, sprintf(expected, "%" PRId64, v)));
}

/* Read back field by field. */
static void
check_time(int64_t usec)
{
	char text[64];
	UnrdfCanon out = {text, sizeof(text) - 1, 0};
	struct tm tm = {0};
	int64_t again;
	int fraction;
	int used = 0;

	unrdf_canon_time(&out, usec);
	must(out.len >= 29 && out.len < sizeof(text));
	text[out.len] = '\0';
	must(sscanf(text, "\"%d-%2d-%2dT%2d:%2d:%2d.%6dZ\"%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
				&tm.tm_hour, &tm.tm_min, &tm.tm_sec, &fraction, &used) == 7 &&
		 used == (int) out.len);
	must(tm.tm_mon >= 1 && tm.tm_mon <= 12 && tm.tm_mday >= 1 && tm.tm_mday <= 31 &&
		 tm.tm_hour <= 23 && tm.tm_min <= 59 && tm.tm_sec <= 59);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	again = (int64_t) timegm(&tm);
	/* the smallest time's second times a million does not fit */
	must(again == usec / 1000000 - (usec % 1000000 < 0));
	must(fraction == usec % 1000000 + (usec % 1000000 < 0 ? 1000000 : 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	double d;
	int64_t v;

	if (size > FUZZ_TEXT_MAX / 8)
		return 0;
	check_decimal((const char *) data, size);
	if (size < 8)
		return 0;
	memcpy(&d, data, sizeof(d));
	memcpy(&v, data, sizeof(v));
	check_double(d);
	check_integer(v);
	check_time(v);
	return 0;
}
