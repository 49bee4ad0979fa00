/*
 * canonical.c
 *	  The pieces of canonical JSON (JSON Canonicalization Scheme, RFC 8785): strings, times, keys.
 *
 * Numbers are in canonical_number.c.
 */
#include "crypto/canonical.h"
#include "crypto/utf8.h"

#include <string.h>

#define USEC_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY 86400
#define USEC_PER_DAY (SECONDS_PER_DAY * USEC_PER_SECOND)
#define DAYS_PER_ERA 146097     /* 400 Gregorian years */
#define DAYS_BEFORE_1970 719468 /* since March 1st of the year 0 */

static const char HEX_DIGITS[] = "0123456789abcdef";

/* Bytes of a string that are not simply copied. */
enum
{
	BYTE_ESCAPED = 1,
	BYTE_MULTI = 2
};
static const uint8_t byte_class[256] = {[0x00 ... 0x1f] = BYTE_ESCAPED,
										['"'] = BYTE_ESCAPED,
										['\\'] = BYTE_ESCAPED,
										[0x80 ... 0xff] = BYTE_MULTI};

/* Appends n bytes as they are. */
void
unrdf_canon_raw(UnrdfCanon *c, const char *s, size_t n)
{
	if (n > 0 && c->len <= c->cap && n <= c->cap - c->len)
		memcpy(c->buf + c->len, s, n);
	c->len += n;
}

/* Steps over the bytes that are copied as they are and are ASCII, eight at a time. */
static const uint8_t *
skip_plain_bytes(const uint8_t *p, const uint8_t *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t tops = ones << 7;

	while (end - p >= 8)
	{
		uint64_t word;
		uint64_t quote;
		uint64_t backslash;

		memcpy(&word, p, sizeof(word));
		quote = word ^ (ones * '"');
		backslash = word ^ (ones * '\\');
		/* x - ones carries into the top bit of the lowest byte that is zero, or below the bound */
		if (((word | (word - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) != 0)
			break;
		p += 8;
	}
	while (p < end && byte_class[*p] == 0)
		p++;
	return p;
}

/* Appends a quote, a backslash or a control character in its shortest escape. */
static void
append_escape(UnrdfCanon *c, uint8_t byte)
{
	static const char short_escape[256] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
										   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
	char escape[6] = {'\\', 'u', '0', '0', HEX_DIGITS[byte >> 4], HEX_DIGITS[byte & 15]};

	if (short_escape[byte] != 0)
	{
		escape[1] = short_escape[byte];
		unrdf_canon_raw(c, escape, 2);
	}
	else
		unrdf_canon_raw(c, escape, 6);
}

/*
 * Appends a string, quoted and escaped (RFC 8785 section 3.2.2.2).
 *
 * Returns 0, or -1 where the n bytes are not well-formed UTF-8, surrogates included; nothing is
 * then appended.  A zero byte is an ordinary control character here.
 */
int
unrdf_canon_string(UnrdfCanon *c, const char *utf8, size_t n)
{
	const uint8_t *p = (const uint8_t *) utf8;
	const uint8_t *end = p + n;
	const uint8_t *copied = p;
	size_t before = c->len;

	unrdf_canon_raw(c, "\"", 1);
	while ((p = skip_plain_bytes(p, end)) < end)
	{
		if (byte_class[*p] == BYTE_MULTI)
		{
			int length = unrdf_utf8_length(p, end - p);

			if (length == 0)
			{
				c->len = before;
				return -1;
			}
			p += length;
			continue;
		}
		unrdf_canon_raw(c, (const char *) copied, p - copied);
		append_escape(c, *p);
		copied = ++p;
	}
	unrdf_canon_raw(c, (const char *) copied, end - copied);
	unrdf_canon_raw(c, "\"", 1);
	return 0;
}

/* Appends n bytes as a string of 2 * n lower-case hexadecimal digits. */
void
unrdf_canon_hex(UnrdfCanon *c, const uint8_t *p, size_t n)
{
	unrdf_canon_raw(c, "\"", 1);
	while (n > 0)
	{
		char digits[64];
		size_t chunk = n < sizeof(digits) / 2 ? n : sizeof(digits) / 2;
		size_t i;

		for (i = 0; i < chunk; i++)
		{
			digits[2 * i] = HEX_DIGITS[p[i] >> 4];
			digits[2 * i + 1] = HEX_DIGITS[p[i] & 15];
		}
		unrdf_canon_raw(c, digits, 2 * chunk);
		p += chunk;
		n -= chunk;
	}
	unrdf_canon_raw(c, "\"", 1);
}

/* Writes v >= 0 in exactly `width` digits, with leading zeros. */
static char *
put_digits(char *out, int64_t v, int width)
{
	int i;

	for (i = width - 1; i >= 0; i--)
	{
		out[i] = (char) ('0' + v % 10);
		v /= 10;
	}
	return out + width;
}

/*
 * Writes the proleptic Gregorian date of a day, counted from 1970-01-01.  Years are counted from
 * March in eras of 400 years, so that leap days fall at the end of both.
 */
static char *
put_date(char *out, int64_t day)
{
	int64_t since_year_0 = day + DAYS_BEFORE_1970;
	int64_t era = (since_year_0 - (since_year_0 < 0 ? DAYS_PER_ERA - 1 : 0)) / DAYS_PER_ERA;
	int day_of_era = (int) (since_year_0 - era * DAYS_PER_ERA);
	int leap_days = day_of_era / 1460 - day_of_era / 36524 + day_of_era / 146096;
	int year_of_era = (day_of_era - leap_days) / 365;
	int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int months = (5 * day_of_year + 2) / 153; /* since March */
	int day_of_month = day_of_year - (153 * months + 2) / 5 + 1;
	int month = months < 10 ? months + 3 : months - 9;
	int64_t year = era * 400 + year_of_era + (month <= 2 ? 1 : 0);

	if (year < 0)
	{
		*out++ = '-';
		year = -year;
	}
	out = put_digits(out, year, year > 99999 ? 6 : year > 9999 ? 5 : 4);
	*out++ = '-';
	out = put_digits(out, month, 2);
	*out++ = '-';
	return put_digits(out, day_of_month, 2);
}

/*
 * Appends a moment, given in microseconds since 1970-01-01 00:00 UTC, as a string: RFC 3339 in UTC
 * with exactly six digits of fraction and "Z".
 *
 * Every value has a form.  RFC 3339 ends with the years 0000 to 9999; later years take the digits
 * they need and years before 0000 (1 BC) a minus sign.
 */
void
unrdf_canon_time(UnrdfCanon *c, int64_t usec_since_unix_epoch)
{
	int64_t day = usec_since_unix_epoch / USEC_PER_DAY;
	int64_t usec = usec_since_unix_epoch % USEC_PER_DAY;
	int64_t second;
	char text[40];
	char *p = text;

	if (usec < 0)
	{
		usec += USEC_PER_DAY;
		day--;
	}
	second = usec / USEC_PER_SECOND;
	*p++ = '"';
	p = put_date(p, day);
	*p++ = 'T';
	p = put_digits(p, second / 3600, 2);
	*p++ = ':';
	p = put_digits(p, second / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, second % 60, 2);
	*p++ = '.';
	p = put_digits(p, usec % USEC_PER_SECOND, 6);
	*p++ = 'Z';
	*p++ = '"';
	unrdf_canon_raw(c, text, p - text);
}

/*
 * Orders two object keys in UTF-8 by their UTF-16 code units (RFC 8785 section 3.2.3).  Returns
 * less than, equal to or greater than 0, as memcmp does.
 *
 * The byte order of UTF-8 is that of code points, and UTF-16 differs from it in one case only: the
 * surrogates of a character above U+FFFF (lead byte F0 and up) come before U+E000 to U+FFFF (lead
 * bytes EE and EF).  Both keys must be well-formed.
 */
int
unrdf_canon_compare_keys(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t shorter = alen < blen ? alen : blen;
	size_t i;

	for (i = 0; i < shorter; i++)
	{
		uint8_t x = (uint8_t) a[i];
		uint8_t y = (uint8_t) b[i];

		if (x == y)
			continue;
		if (x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0))
			return x >= 0xf0 ? -1 : 1;
		return x < y ? -1 : 1;
	}
	return alen < blen ? -1 : alen > blen ? 1 : 0;
}
