/*
 * canonical_test.c
 *	  Unit tests of src/crypto/canonical*.c.
 *
 * Expected values are published vectors or come from a second, plainer computation in this file.
 */
#include "crypto/canonical.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- numbers ---- */

static const char *
double_text(double d)
{
	static char text[64];
	UnrdfCanon c = {text, sizeof(text) - 1, 0};

	if (unrdf_canon_double(&c, d) != 0)
		return c.len == 0 ? "refused" : "refused, but appended to";
	text[c.len] = '\0';
	return text;
}

static double
double_of_bits(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

static void
test_rfc8785_numbers(void)
{
	static const struct
	{
		uint64_t bits;
		const char *text;
	} appendix_b[] = {{UINT64_C(0x0000000000000000), "0"},
					  {UINT64_C(0x8000000000000000), "0"},
					  {UINT64_C(0x0000000000000001), "5e-324"},
					  {UINT64_C(0x8000000000000001), "-5e-324"},
					  {UINT64_C(0x7fefffffffffffff), "1.7976931348623157e+308"},
					  {UINT64_C(0xffefffffffffffff), "-1.7976931348623157e+308"},
					  {UINT64_C(0x4340000000000000), "9007199254740992"},
					  {UINT64_C(0xc340000000000000), "-9007199254740992"},
					  {UINT64_C(0x4430000000000000), "295147905179352830000"},
					  {UINT64_C(0x7fffffffffffffff), "refused"},
					  {UINT64_C(0x7ff0000000000000), "refused"},
					  {UINT64_C(0xfff0000000000000), "refused"}, /* not in the RFC's table */
					  {UINT64_C(0x44b52d02c7e14af5), "9.999999999999997e+22"},
					  {UINT64_C(0x44b52d02c7e14af6), "1e+23"},
					  {UINT64_C(0x44b52d02c7e14af7), "1.0000000000000001e+23"},
					  {UINT64_C(0x444b1ae4d6e2ef4e), "999999999999999700000"},
					  {UINT64_C(0x444b1ae4d6e2ef4f), "999999999999999900000"},
					  {UINT64_C(0x444b1ae4d6e2ef50), "1e+21"},
					  {UINT64_C(0x3eb0c6f7a0b5ed8c), "9.999999999999997e-7"},
					  {UINT64_C(0x3eb0c6f7a0b5ed8d), "0.000001"},
					  {UINT64_C(0x41b3de4355555553), "333333333.3333332"},
					  {UINT64_C(0x41b3de4355555554), "333333333.33333325"},
					  {UINT64_C(0x41b3de4355555555), "333333333.3333333"},
					  {UINT64_C(0x41b3de4355555556), "333333333.3333334"},
					  {UINT64_C(0x41b3de4355555557), "333333333.33333343"},
					  {UINT64_C(0xbecbf647612f3696), "-0.0000033333333333333333"},
					  {UINT64_C(0x43143ff3c1cb0959), "1424953923781206.2"}};
	int i;

	for (i = 0; i < LENGTH(appendix_b); i++)
	{
		char name[64];

		snprintf(name, sizeof(name), "RFC 8785 appendix B: %016llx",
				 (unsigned long long) appendix_b[i].bits);
		is_text(double_text(double_of_bits(appendix_b[i].bits)), appendix_b[i].text, name);
	}
}

static void
test_more_numbers(void)
{
	is_text(double_text(333333333.33333329), "333333333.3333333", "RFC 8785 section 3.2.2: 1");
	is_text(double_text(1E30), "1e+30", "RFC 8785 section 3.2.2: 2");
	is_text(double_text(4.50), "4.5", "RFC 8785 section 3.2.2: 3");
	is_text(double_text(2e-3), "0.002", "RFC 8785 section 3.2.2: 4");
	is_text(double_text(0.000000000000000000000000001), "1e-27", "RFC 8785 section 3.2.2: 5");
	is_text(double_text(0x1p-44), "5.684341886080802e-14", "a power of two: shortest, not nearest");
	is_text(double_text(0.1), "0.1", "a tenth");
	is_text(double_text(-1.5), "-1.5", "a negative fraction");
	is_text(double_text(123456789012345.6), "123456789012345.6", "16 digits");
	is_text(double_text(0x1.ffffffffffffep-1023), "2.225073858507201e-308", "largest subnormal");
	is_text(double_text(0x1p-1022), "2.2250738585072014e-308", "smallest normal");
}

/* The significant digits in a number's text. */
static int
count_digits(const char *text)
{
	int zeros = 0;
	int n = 0;

	for (; *text != '\0' && *text != 'e'; text++)
	{
		if (*text == '0')
			zeros += n > 0;
		else if (*text >= '1' && *text <= '9')
		{
			n += zeros + 1;
			zeros = 0;
		}
	}
	return n;
}

/* Reads back as d, and the decimals nearest to d with fewer digits do not. */
static bool
is_shortest(double d)
{
	const char *text = double_text(d);
	int ndigits = count_digits(text);
	char shorter[64];

	if (strtod(text, NULL) != d)
		return false;
	if (ndigits <= 1)
		return true;
	snprintf(shorter, sizeof(shorter), "%.*e", ndigits - 2, d);
	return strtod(shorter, NULL) != d;
}

static void
test_random_numbers(void)
{
	bool shortest = true;
	bool as_integer = true;
	int i;

	for (i = 0; i < 200000; i++)
	{
		double d = double_of_bits(random64());
		double money = (double) (int64_t) (random64() % 100000000) / 100;
		int64_t integer = (int64_t) random64() >> (11 + random64() % 53);
		char text[32];
		UnrdfCanon c = {text, sizeof(text) - 1, 0};

		shortest &= !isfinite(d) || is_shortest(d);
		shortest &= is_shortest(money);
		unrdf_canon_int64(&c, integer);
		text[c.len] = '\0';
		as_integer &= strcmp(text, double_text((double) integer)) == 0;
	}
	for (i = -1074; i < 1024; i++)
		shortest &= is_shortest(ldexp(1, i));
	ok(shortest, "400,000 random doubles and all powers of two are shortest and read back");
	ok(as_integer, "200,000 random integers up to 2^53 are the same as doubles");
}

static void
test_integers(void)
{
	static const int64_t integers[] = {
		0, 1, -1, 9, 10, 99, 100, -100, INT64_C(9007199254740992), INT64_MAX, INT64_MIN};
	int i;

	for (i = 0; i < LENGTH(integers); i++)
	{
		char expected[32];
		char text[32];
		UnrdfCanon c = {text, sizeof(text) - 1, 0};

		snprintf(expected, sizeof(expected), "%lld", (long long) integers[i]);
		unrdf_canon_int64(&c, integers[i]);
		text[c.len] = '\0';
		is_text(text, expected, "integer");
	}
}

static void
test_decimals(void)
{
	static const char *const cases[][2] = {{"0", "0"},
										   {"-0", "0"},
										   {"0.000", "0"},
										   {"1.10", "1.1"},
										   {"-12.50", "-12.5"},
										   {"007", "7"},
										   {"0.1", "0.1"},
										   {"1000", "1000"},
										   {"9007199254740992", "9007199254740992"},
										   {"9007199254740993", NULL},
										   {"9007199254740994", "9007199254740994"},
										   {"0.1000000000000000055", NULL},
										   {"0.10000000000000001", NULL},
										   {"0.3", "0.3"},
										   {"0.30000000000000004", "0.30000000000000004"},
										   {"0.30000000000000005", NULL},
										   {"333333333.33333329", NULL},
										   {"333333333.3333333000", "333333333.3333333"},
										   {"100000000000000000000", "100000000000000000000"},
										   {"1000000000000000000000", "1e+21"},
										   {"295147905179352825856", NULL},
										   {"295147905179352830000", "295147905179352830000"},
										   {"0.000001", "0.000001"},
										   {"0.0000001", "1e-7"},
										   {"", NULL},
										   {"-", NULL},
										   {".", NULL},
										   {".5", NULL},
										   {"5.", NULL},
										   {"1e3", NULL},
										   {"+1", NULL},
										   {" 1", NULL},
										   {"1.2.3", NULL},
										   {"--1", NULL},
										   {"NaN", NULL},
										   {"Infinity", NULL},
										   {"0x10", NULL}};
	char text[64];
	int i;

	for (i = 0; i < LENGTH(cases); i++)
	{
		UnrdfCanon c = {text, sizeof(text) - 1, 0};
		char name[80];

		snprintf(name, sizeof(name), "decimal \"%s\"", cases[i][0]);
		if (unrdf_canon_decimal(&c, cases[i][0], strlen(cases[i][0])) != 0)
			snprintf(text, sizeof(text), c.len == 0 ? "refused" : "refused, but appended to");
		else
			text[c.len] = '\0';
		is_text(text, cases[i][1] == NULL ? "refused" : cases[i][1], name);
	}
}

/* 1 or 5 after or before many zeros. */
static void
test_long_decimals(void)
{
	static const struct
	{
		char digit;
		int zeros;
		bool fraction;
		const char *text;
	} cases[] = {
		{'1', 300, false, "1e+300"},  {'1', 308, false, "1e+308"},     {'2', 308, false, "refused"},
		{'1', 400, false, "refused"}, {'1', 100000, false, "refused"}, {'5', 323, true, "5e-324"},
		{'4', 323, true, "refused"},  {'1', 306, true, "1e-307"},      {'1', 399, true, "refused"},
		{'0', 399, true, "0"},        {'0', 100000, true, "0"}};
	static char decimal[100004];
	char text[64];
	int i;

	for (i = 0; i < LENGTH(cases); i++)
	{
		UnrdfCanon c = {text, sizeof(text) - 1, 0};
		char *zeros = decimal + (cases[i].fraction ? 2 : 1);
		char name[80];

		strcpy(decimal, "0.");
		memset(zeros, '0', cases[i].zeros);
		decimal[cases[i].fraction ? cases[i].zeros + 2 : 0] = cases[i].digit;
		if (unrdf_canon_decimal(&c, decimal, cases[i].zeros + (cases[i].fraction ? 3 : 1)) != 0)
			strcpy(text, c.len == 0 ? "refused" : "refused, but appended to");
		else
			text[c.len] = '\0';
		snprintf(name, sizeof(name), "decimal of %d zeros %s %c", cases[i].zeros,
				 cases[i].fraction ? "and" : "after", cases[i].digit);
		is_text(text, cases[i].text, name);
	}
}

/* ---- strings, keys, times ---- */

static const char *
string_text(const char *s, size_t n)
{
	static char text[256];
	UnrdfCanon c = {text, sizeof(text) - 1, 0};

	if (unrdf_canon_string(&c, s, n) != 0)
		return c.len == 0 ? "refused" : "refused, but appended to";
	text[c.len] = '\0';
	return text;
}

static void
test_strings(void)
{
	static const char rfc[] = "\xe2\x82\xac$\x0f\nA'B\"\\\\\"/";
	static const char *const malformed[] = {"\x80",
											"\xbf",
											"\xc0\x80",
											"\xc1\xbf",
											"\xc2",
											"\xc2"
											"a",
											"\xe0\x9f\xbf",
											"\xe2\x82",
											"\xe2\x82"
											"a",
											"\xed\xa0\x80",
											"\xed\xbf\xbf",
											"\xf0\x8f\xbf\xbf",
											"\xf0\x9f\x98",
											"\xf0\x9f\x98"
											"a",
											"\xf4\x90\x80\x80",
											"\xf5\x80\x80\x80",
											"\xff",
											"\xfe",
											"eight plain bytes, then \xc3",
											"quote \" before \xe9 "};
	char name[64];
	int i;

	is_text(string_text(rfc, sizeof(rfc) - 1), "\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"",
			"RFC 8785 section 3.2.2: string");
	is_text(string_text("", 0), "\"\"", "empty string");
	is_text(string_text("a\0b", 3), "\"a\\u0000b\"", "a zero byte");
	is_text(string_text("\b\t\n\f\r\x1f\x7f </>", 11), "\"\\b\\t\\n\\f\\r\\u001f\x7f </>\"",
			"short escapes; DEL and slash as they are");
	for (i = 0; i < LENGTH(malformed); i++)
	{
		snprintf(name, sizeof(name), "malformed UTF-8 number %d is refused", i + 1);
		is_text(string_text(malformed[i], strlen(malformed[i])), "refused", name);
	}
}

/* UTF-8 of any number up to 0x10ffff, surrogates too. */
static int
put_utf8(char *out, uint32_t code)
{
	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xc0 | code >> 6);
		out[1] = (char) (0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xe0 | code >> 12);
		out[1] = (char) (0x80 | (code >> 6 & 0x3f));
		out[2] = (char) (0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | code >> 18);
	out[1] = (char) (0x80 | (code >> 12 & 0x3f));
	out[2] = (char) (0x80 | (code >> 6 & 0x3f));
	out[3] = (char) (0x80 | (code & 0x3f));
	return 4;
}

/* What a string of one character must give, or "refused". */
static void
expected_character(uint32_t code, const char *utf8, char *expected)
{
	static const char short_escapes[] = "btn?fr"; /* of 8 to 13 */

	if (code >= 0xd800 && code <= 0xdfff)
		strcpy(expected, "refused");
	else if (code >= 8 && code <= 13 && code != 11)
		sprintf(expected, "\"\\%c\"", short_escapes[code - 8]);
	else if (code < 0x20)
		sprintf(expected, "\"\\u%04x\"", (unsigned int) code);
	else if (code == '"' || code == '\\')
		sprintf(expected, "\"\\%c\"", (char) code);
	else
		sprintf(expected, "\"%s\"", utf8);
}

/* Every character, at every place of the eight bytes that are looked at together. */
static void
test_every_character(void)
{
	bool right = true;
	uint32_t code;
	int before;

	for (code = 0; code < 0x110000; code++)
	{
		char utf8[8] = "";
		char expected[16];
		int n = put_utf8(utf8, code);

		expected_character(code, utf8, expected);
		right &= strcmp(string_text(utf8, n), expected) == 0;
	}
	ok(right, "all 1,114,112 code points alone: copied, escaped or (surrogates) refused");
	for (code = 0, right = true; code < 0x80; code++)
	{
		for (before = 0; before < 17; before++)
		{
			char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaa";
			char plain[2] = {(char) code, 0};
			char one[16];
			char expected[64];

			text[before] = (char) code;
			expected_character(code, plain, one);
			one[strlen(one) - 1] = '\0';
			sprintf(expected, "\"%.*s%s%.*s\"", before, "aaaaaaaaaaaaaaaaa", one + 1, 24 - before,
					"aaaaaaaaaaaaaaaaaaaaaaaaa");
			right &= strcmp(string_text(text, 25), expected) == 0;
		}
	}
	ok(right, "all ASCII characters at every offset of a longer string");
}

/* The same pieces into room for 0, 1, 2, ... bytes. */
static void
append_everything(UnrdfCanon *c)
{
	unrdf_canon_raw(c, "{", 1);
	unrdf_canon_string(c, "k\n\"", 3);
	unrdf_canon_raw(c, ":", 1);
	unrdf_canon_double(c, -1.25e-30);
	unrdf_canon_int64(c, -42);
	unrdf_canon_decimal(c, "0.00125", 7);
	unrdf_canon_hex(c, (const uint8_t *) "\x00\xff\x1a", 3);
	unrdf_canon_time(c, 0);
}

static void
test_buffer(void)
{
	static const char expected[] =
		"{\"k\\n\\\"\":-1.25e-30-420.00125\"00ff1a\"\"1970-01-01T00:00:00.000000Z\"";
	bool counted = true;
	bool kept = true;
	UnrdfCanon nowhere = {NULL, 0, 0};
	size_t cap;

	append_everything(&nowhere);
	ok(nowhere.len == sizeof(expected) - 1, "a NULL buffer measures");
	for (cap = 0; cap < sizeof(expected); cap++)
	{
		char *room = malloc(cap + 16);
		UnrdfCanon c = {room, cap, 0};

		memset(room, '#', cap + 16);
		append_everything(&c);
		counted &= c.len == sizeof(expected) - 1;
		kept &= memcmp(room + cap, "################", 16) == 0;
		if (cap == sizeof(expected) - 1)
			ok(memcmp(room, expected, cap) == 0, "exactly enough room");
		free(room);
	}
	ok(counted, "the length is the same whatever the room");
	ok(kept, "nothing is written past the room");
}

static void
test_hex(void)
{
	static uint8_t bytes[1000];
	static char text[2100];
	UnrdfCanon c = {text, sizeof(text), 0};
	bool right;
	int i;

	unrdf_canon_hex(&c, bytes, 0);
	ok(c.len == 2 && memcmp(text, "\"\"", 2) == 0, "hex of nothing");
	for (i = 0; i < LENGTH(bytes); i++)
		bytes[i] = (uint8_t) (i * 7);
	c.len = 0;
	unrdf_canon_hex(&c, bytes, sizeof(bytes));
	right = c.len == 2 + 2 * sizeof(bytes) && text[0] == '"' && text[c.len - 1] == '"';
	for (i = 0; i < LENGTH(bytes); i++)
		right &= memcmp(text + 1 + 2 * i, to_hex(bytes + i, 1), 2) == 0;
	ok(right, "hex of 1000 bytes");
}

/* Compares by UTF-16 code units, the plain way. */
static int
compare_utf16(uint32_t a, uint32_t b)
{
	uint32_t x = a < 0x10000 ? a : 0xd800 + ((a - 0x10000) >> 10);
	uint32_t y = b < 0x10000 ? b : 0xd800 + ((b - 0x10000) >> 10);

	if (x != y)
		return x < y ? -1 : 1;
	return a < b ? -1 : a > b ? 1 : 0; /* same lead surrogate, or the same */
}

static int
sign(int x)
{
	return (x > 0) - (x < 0);
}

static void
test_keys(void)
{
	static const char *const rfc[] = {
		/* in the order of RFC 8785 section 3.2.3 */
		"\r", "1", "\xc2\x80", "\xc3\xb6", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xac\xb3"};
	static const uint32_t codes[] = {
		0,       1,       'A',     'a',     0x7f,    0x80,    0xff,    0x7ff,    0x800,   0x20ac,
		0xcfff,  0xd000,  0xd7ff,  0xe000,  0xefff,  0xf000,  0xfb33,  0xfffd,   0xffff,  0x10000,
		0x10001, 0x103ff, 0x10400, 0x1f600, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff};
	bool right = true;
	int i;
	int j;

	for (i = 0; i < LENGTH(rfc); i++)
	{
		for (j = 0; j < LENGTH(rfc); j++)
			right &= sign(unrdf_canon_compare_keys(rfc[i], strlen(rfc[i]), rfc[j],
												   strlen(rfc[j]))) == sign(i - j);
	}
	ok(right, "RFC 8785 section 3.2.3: order of keys, every pair");
	for (i = 0, right = true; i < LENGTH(codes); i++)
	{
		for (j = 0; j < LENGTH(codes); j++)
		{
			char a[16] = "key";
			char b[16] = "key";
			int alen = 3 + put_utf8(a + 3, codes[i]);
			int blen = 3 + put_utf8(b + 3, codes[j]);

			right &= sign(unrdf_canon_compare_keys(a, alen, b, blen)) ==
					 compare_utf16(codes[i], codes[j]);
		}
	}
	ok(right, "keys at the borders of UTF-8 and UTF-16, every pair");
	ok(unrdf_canon_compare_keys("", 0, "", 0) == 0 && unrdf_canon_compare_keys("", 0, "a", 1) < 0 &&
		   unrdf_canon_compare_keys("ab", 2, "a", 1) > 0 &&
		   unrdf_canon_compare_keys("a\0", 2, "a", 1) > 0,
	   "a prefix comes first");
}

static const char *
time_text(int64_t usec)
{
	static char text[64];
	UnrdfCanon c = {text, sizeof(text) - 1, 0};

	unrdf_canon_time(&c, usec);
	text[c.len] = '\0';
	return text;
}

static void
test_times(void)
{
	static const struct
	{
		int64_t usec;
		const char *text;
	} times[] = {{0, "\"1970-01-01T00:00:00.000000Z\""},
				 {1, "\"1970-01-01T00:00:00.000001Z\""},
				 {-1, "\"1969-12-31T23:59:59.999999Z\""},
				 {INT64_C(-86400000000), "\"1969-12-31T00:00:00.000000Z\""},
				 {INT64_C(-86400000001), "\"1969-12-30T23:59:59.999999Z\""},
				 {INT64_C(951782400000000), "\"2000-02-29T00:00:00.000000Z\""},
				 {INT64_C(951868799999999), "\"2000-02-29T23:59:59.999999Z\""},
				 {INT64_C(951868800000000), "\"2000-03-01T00:00:00.000000Z\""},
				 {INT64_C(-2203891200000000), "\"1900-03-01T00:00:00.000000Z\""},
				 {INT64_C(-2203891200000001), "\"1900-02-28T23:59:59.999999Z\""},
				 {INT64_C(1709209845123456), "\"2024-02-29T12:30:45.123456Z\""},
				 {INT64_C(253402300799999999), "\"9999-12-31T23:59:59.999999Z\""},
				 {INT64_C(253402300800000000), "\"10000-01-01T00:00:00.000000Z\""},
				 {INT64_C(-62135596800000000), "\"0001-01-01T00:00:00.000000Z\""},
				 {INT64_C(-62135596800000001), "\"0000-12-31T23:59:59.999999Z\""},
				 {INT64_C(-62167219200000000), "\"0000-01-01T00:00:00.000000Z\""},
				 {INT64_C(-62167219200000001), "\"-0001-12-31T23:59:59.999999Z\""},
				 {INT64_MAX, "\"294247-01-10T04:00:54.775807Z\""},
				 {INT64_MIN, "\"-290308-12-21T19:59:05.224192Z\""}};
	bool right = true;
	int i;

	for (i = 0; i < LENGTH(times); i++)
		is_text(time_text(times[i].usec), times[i].text, times[i].text);
	for (i = -719162; i < 2932897; i += 7) /* years 1 to 9999, against the C library */
	{
		time_t second = (time_t) i * 86400 + i % 86400;
		char expected[64];

		strftime(expected, sizeof(expected), "-%m-%dT%H:%M:%S.000000Z\"", gmtime(&second));
		right &= strcmp(time_text((int64_t) second * 1000000) + 5, expected) == 0 &&
				 atoi(time_text((int64_t) second * 1000000) + 1) == gmtime(&second)->tm_year + 1900;
	}
	ok(right, "521,723 times from year 1 to 9999 agree with gmtime");
}

/* Runs the tests of this file. */
void
test_canonical(void)
{
	test_rfc8785_numbers();
	test_more_numbers();
	test_random_numbers();
	test_integers();
	test_decimals();
	test_long_decimals();
	test_strings();
	test_every_character();
	test_buffer();
	test_hex();
	test_keys();
	test_times();
}
