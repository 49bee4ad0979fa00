/*
 * canonical_number.c
 *	  Numbers in canonical JSON: RFC 8785 section 3.2.2.3, which is Number::toString of ECMAScript.
 *
 * Nothing here depends on the locale: snprintf's decimal point is stepped over, and strtod is given
 * none.
 */
#include "crypto/canonical.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_DIGITS 15      /* no two decimals so short name the same normal double */
#define DOUBLE_DIGITS 17     /* enough to name every double */
#define PLAIN_POINT_MAX 21   /* ECMAScript: larger numbers get an exponent, */
#define PLAIN_POINT_MIN (-5) /* and smaller ones */
#define SAFELY_NORMAL 290    /* decimal exponents that are far from the borders of double */
#define INTEGER_MAX 9007199254740992.0 /* 2^53 */

/* 0.d1d2d3... times 10^point, d1 and the last digit not zero; zero has no digits. */
typedef struct Decimal
{
	bool negative;
	int ndigits;
	long point;
	char digits[DOUBLE_DIGITS];
} Decimal;

/* Those of them that a double holds exactly. */
static const double POWERS_OF_TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
									   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
									   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* Appends v in decimal. */
void
unrdf_canon_int64(UnrdfCanon *c, int64_t v)
{
	char text[20];
	char *p = text + sizeof(text);
	uint64_t rest = v < 0 ? -(uint64_t) v : (uint64_t) v;

	do
	{
		*--p = (char) ('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (v < 0)
		*--p = '-';
	unrdf_canon_raw(c, p, text + sizeof(text) - p);
}

static void
strip_trailing_zeros(Decimal *decimal)
{
	while (decimal->ndigits > 0 && decimal->digits[decimal->ndigits - 1] == '0')
		decimal->ndigits--;
}

/* Appends a decimal in the form that ECMAScript gives to a number with these shortest digits. */
static void
append_decimal(UnrdfCanon *c, const Decimal *decimal)
{
	static const char zeros[PLAIN_POINT_MAX + 1] = "000000000000000000000";
	const char *digits = decimal->digits;
	int ndigits = decimal->ndigits;
	long point = decimal->point;

	if (ndigits == 0)
	{
		unrdf_canon_raw(c, "0", 1);
		return;
	}
	if (decimal->negative)
		unrdf_canon_raw(c, "-", 1);
	if (point > PLAIN_POINT_MAX || point < PLAIN_POINT_MIN)
	{
		unrdf_canon_raw(c, digits, 1);
		if (ndigits > 1)
		{
			unrdf_canon_raw(c, ".", 1);
			unrdf_canon_raw(c, digits + 1, ndigits - 1);
		}
		unrdf_canon_raw(c, point > 0 ? "e+" : "e", point > 0 ? 2 : 1);
		unrdf_canon_int64(c, point - 1);
	}
	else if (point <= 0)
	{
		unrdf_canon_raw(c, "0.", 2);
		unrdf_canon_raw(c, zeros, -point);
		unrdf_canon_raw(c, digits, ndigits);
	}
	else if (point >= ndigits)
	{
		unrdf_canon_raw(c, digits, ndigits);
		unrdf_canon_raw(c, zeros, point - ndigits);
	}
	else
	{
		unrdf_canon_raw(c, digits, point);
		unrdf_canon_raw(c, ".", 1);
		unrdf_canon_raw(c, digits + point, ndigits - point);
	}
}

/* The double nearest to the decimal's absolute value; infinite or 0 where that is out of range. */
static double
nearest_double(const Decimal *decimal)
{
	char text[DOUBLE_DIGITS + 32];

	snprintf(text, sizeof(text), "%.*se%ld", decimal->ndigits, decimal->digits,
			 decimal->point - decimal->ndigits);
	return strtod(text, NULL);
}

/* The decimal of exactly `ndigits` digits that is nearest to d > 0. */
static void
nearest_decimal(double d, int ndigits, Decimal *decimal)
{
	char text[64];
	char *p;
	int n = 0;

	snprintf(text, sizeof(text), "%.*e", ndigits - 1, d);
	for (p = text; *p != 'e'; p++)
	{
		if (*p >= '0' && *p <= '9')
			decimal->digits[n++] = *p;
	}
	decimal->ndigits = n;
	decimal->point = strtol(p + 1, NULL, 10) + 1;
}

/* Adds one to the last digit. */
static void
next_decimal(Decimal *decimal)
{
	int i = decimal->ndigits - 1;

	while (i >= 0 && decimal->digits[i] == '9')
		decimal->digits[i--] = '0';
	if (i >= 0)
		decimal->digits[i]++;
	else
	{
		decimal->digits[0] = '1'; /* 99..9 became 100..0 */
		decimal->point++;
	}
}

/*
 * Finds the digits of an ordinary d > 0 without a search: if the nearest decimal of EXACT_DIGITS
 * digits names d, then no shorter one that differs from it does.  An integer below 2^53 divided by
 * an exact power of ten is correctly rounded, so the comparison is exact.
 */
static bool
short_decimal(double d, Decimal *decimal)
{
	int scale = EXACT_DIGITS;
	uint64_t scaled;
	int i;

	if (d < 1e-5 || d >= 1e15)
		return false;
	while (d >= POWERS_OF_TEN[EXACT_DIGITS - scale])
		scale--;
	while (scale >= EXACT_DIGITS && d * POWERS_OF_TEN[scale + 1] < 1e15)
		scale++;
	scaled = (uint64_t) (d * POWERS_OF_TEN[scale] + 0.5);
	if (scaled >= UINT64_C(1000000000000000) || (double) scaled / POWERS_OF_TEN[scale] != d)
		return false;
	decimal->ndigits = EXACT_DIGITS;
	decimal->point = EXACT_DIGITS - scale;
	for (i = EXACT_DIGITS - 1; i >= 0; i--)
	{
		decimal->digits[i] = (char) ('0' + scaled % 10);
		scaled /= 10;
	}
	return decimal->digits[0] != '0';
}

/*
 * Finds the shortest decimal that names d > 0, and of several the one nearest to d.
 *
 * Where d is a power of two, the doubles below it are twice as dense as those above: the nearest
 * decimal may then name another double, while the next one up is further away and still names d.
 */
static void
shortest_decimal(double d, Decimal *decimal)
{
	int exponent;
	bool power_of_two = frexp(d, &exponent) == 0.5;
	int ndigits;

	if (short_decimal(d, decimal))
	{
		strip_trailing_zeros(decimal);
		return;
	}
	for (ndigits = d < 1e-290 ? 1 : EXACT_DIGITS;; ndigits++)
	{
		nearest_decimal(d, ndigits, decimal);
		if (ndigits == DOUBLE_DIGITS || nearest_double(decimal) == d)
			break;
		if (power_of_two)
		{
			next_decimal(decimal);
			if (nearest_double(decimal) == d)
				break;
		}
	}
	strip_trailing_zeros(decimal);
}

/*
 * Appends a number in the shortest form that reads back as the same double (RFC 8785 section
 * 3.2.2.3).  Minus zero gives 0.  Returns 0, or -1 for a NaN or an infinity; nothing is then
 * appended.
 */
int
unrdf_canon_double(UnrdfCanon *c, double d)
{
	Decimal decimal;

	if (!isfinite(d))
		return -1;
	if (fabs(d) <= INTEGER_MAX && d == (double) (int64_t) d)
	{
		unrdf_canon_int64(c, (int64_t) d);
		return 0;
	}
	decimal.negative = d < 0;
	shortest_decimal(fabs(d), &decimal);
	append_decimal(c, &decimal);
	return 0;
}

/*
 * Reads [-]digits[.digits] of any length.  Returns false where the text is something else, or has
 * more significant digits than a double needs.
 */
static bool
read_decimal(const char *text, size_t n, Decimal *decimal)
{
	const char *end = text + n;
	bool fraction = false;
	size_t zeros = 0; /* held back: they count once another digit follows */

	decimal->ndigits = 0;
	decimal->point = 0;
	decimal->negative = text < end && *text == '-';
	if (decimal->negative)
		text++;
	if (text == end || *text == '.' || end[-1] == '.')
		return false;
	for (; text < end; text++)
	{
		if (*text == '.' && !fraction)
		{
			fraction = true;
			continue;
		}
		if (*text < '0' || *text > '9')
			return false;
		if (decimal->ndigits == 0 && *text == '0')
		{
			decimal->point -= fraction;
			continue;
		}
		decimal->point += !fraction;
		if (*text == '0')
		{
			zeros++;
			continue;
		}
		if (decimal->ndigits + zeros >= DOUBLE_DIGITS)
			return false;
		memset(decimal->digits + decimal->ndigits, '0', zeros);
		decimal->ndigits += (int) zeros;
		decimal->digits[decimal->ndigits++] = *text;
		zeros = 0;
	}
	return true;
}

/*
 * Appends the number that a text of the form [-]digits[.digits] stands for, if canonical JSON can
 * carry it: its value must be that of the shortest decimal which names the double nearest to it.
 * So 0.1, 1.10 and 9007199254740992 pass, 9007199254740993 and 0.1000000000000000055 do not.
 *
 * Returns 0, or -1 where the number cannot be carried or the text is something else; nothing is
 * then appended.
 */
int
unrdf_canon_decimal(UnrdfCanon *c, const char *text, size_t n)
{
	Decimal decimal;
	Decimal shortest;
	double d;

	if (!read_decimal(text, n, &decimal))
		return -1;
	if (decimal.ndigits > EXACT_DIGITS ||
		(decimal.ndigits > 0 && labs(decimal.point) > SAFELY_NORMAL))
	{
		d = nearest_double(&decimal);
		if (d == 0 || isinf(d))
			return -1;
		shortest_decimal(d, &shortest);
		if (shortest.ndigits != decimal.ndigits || shortest.point != decimal.point ||
			memcmp(shortest.digits, decimal.digits, decimal.ndigits) != 0)
			return -1;
	}
	append_decimal(c, &decimal);
	return 0;
}
