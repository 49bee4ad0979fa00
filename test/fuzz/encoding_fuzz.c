/*
 * encoding_fuzz.c
 *	  Base 64, UTF-8, and the strings and key order of canonical JSON, each against a plainer computation.
 */
#include "crypto/base64.h"
#include "crypto/canonical.h"
#include "crypto/utf8.h"
#include "fuzz.h"

#include <string.h>

static void
check_base64(const char *text, size_t len)
{
	uint8_t bytes[FUZZ_TEXT_MAX];
	char again[FUZZ_TEXT_MAX];
	int n;

	n = unrdf_base64_decode(text, len, bytes, sizeof(bytes));
	if (n >= 0)
	{
		fuzz_accepted();
		must(UNRDF_BASE64_LEN((size_t) n) == len);
		unrdf_base64_encode(bytes, n, again);
		must(fuzz_same(again, len, text, len));
		must(n == 0 || unrdf_base64_decode(text, len, bytes, n - 1) == -1);
	}
	unrdf_base64_encode(text, len, again);
	must(unrdf_base64_decode(again, UNRDF_BASE64_LEN(len), bytes, len) == (int) len);
	must(fuzz_same((char *) bytes, len, text, len));
}

/* The code point that n bytes encode, by the table of RFC 3629 section 3; -1 where they do not. */
static int32_t
plain_code_point(const uint8_t *p, size_t n)
{
	static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	static const uint8_t marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
	int32_t c;
	size_t i;

	if (n == 1)
		return p[0] < 0x80 ? p[0] : -1;
	if ((p[0] & (uint8_t) (0xf00 >> n | 0x80)) != marks[n] || (p[0] & (0x80 >> n)) != 0)
		return -1;
	c = p[0] & (0x7f >> n);
	for (i = 1; i < n; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? -1 : c;
}

/* Decodes UTF-8 to UTF-16; -1 where it is malformed. */
static int
plain_utf16(const uint8_t *p, size_t len, uint16_t *out)
{
	int units = 0;

	while (len > 0)
	{
		int32_t c = -1;
		size_t n;

		for (n = 1; n <= 4 && n <= len; n++)
			if ((c = plain_code_point(p, n)) >= 0)
				break;
		if (c < 0)
			return -1;
		must(n == 1 || unrdf_utf8_length(p, len) == (int) n);
		if (c >= 0x10000)
			out[units++] = (uint16_t) (0xd800 + ((c - 0x10000) >> 10));
		out[units++] = (uint16_t) (c >= 0x10000 ? 0xdc00 + (c & 0x3ff) : c);
		p += n;
		len -= n;
	}
	return units;
}

/* Reads back the string that canonical JSON has for `expected`, byte for byte. */
static void
check_json(const char *json, size_t len, const char *expected, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	static const char shorts[] = "\b\t\n\f\r\"\\";
	static const char letters[] = "btnfr\"\\";
	const char *p = json + 1;
	const char *end = json + len - 1;
	size_t i;

	must(len >= 2 && json[0] == '"' && *end == '"');
	for (i = 0; i < n; i++)
	{
		uint8_t c = (uint8_t) expected[i];
		const char *escape = c == 0 ? NULL : strchr(shorts, c);

		if (escape != NULL)
		{
			must(end - p >= 2 && p[0] == '\\' && p[1] == letters[escape - shorts]);
			p += 2;
		}
		else if (c < 0x20)
		{
			must(end - p >= 6 && memcmp(p, "\\u00", 4) == 0 && p[4] == hex[c >> 4] &&
				 p[5] == hex[c & 15]);
			p += 6;
		}
		else
			must(p < end && (uint8_t) *p++ == c);
	}
	must(p == end);
}

static void
check_string(const char *text, size_t len)
{
	static uint16_t units[FUZZ_TEXT_MAX];
	char json[FUZZ_TEXT_MAX];
	UnrdfCanon out = {json, sizeof(json), 0};
	UnrdfCanon small = {json, 0, 0};
	bool good = plain_utf16((const uint8_t *) text, len, units) >= 0;

	must((unrdf_canon_string(&out, text, len) == 0) == good);
	must(good || out.len == 0);
	if (!good)
		return;
	fuzz_accepted();
	check_json(json, out.len, text, len);
	/* too little room: counted on, and not a byte beyond */
	small.cap = out.len - 1;
	json[small.cap] = 'x';
	must(unrdf_canon_string(&small, text, len) == 0 && small.len == out.len &&
		 json[small.cap] == 'x');
}

static int
plain_order(const char *a, size_t alen, const char *b, size_t blen)
{
	static uint16_t x[FUZZ_TEXT_MAX];
	static uint16_t y[FUZZ_TEXT_MAX];
	int n = plain_utf16((const uint8_t *) a, alen, x);
	int m = plain_utf16((const uint8_t *) b, blen, y);
	int i;

	if (n < 0 || m < 0)
		return 2;
	for (i = 0; i < n && i < m; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return (n > m) - (n < m);
}

/* The order of the two texts on either side of the first newline. */
static void
check_order(const char *text, size_t len)
{
	const char *newline = memchr(text, '\n', len);
	size_t alen = newline == NULL ? len : (size_t) (newline - text);
	const char *b = newline == NULL ? "" : newline + 1;
	size_t blen = newline == NULL ? 0 : len - alen - 1;
	int expected = plain_order(text, alen, b, blen);
	int order;

	if (expected == 2)
		return;
	order = unrdf_canon_compare_keys(text, alen, b, blen);
	must((order > 0) - (order < 0) == expected);
	order = unrdf_canon_compare_keys(b, blen, text, alen);
	must((order > 0) - (order < 0) == -expected);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;

	if (size > FUZZ_TEXT_MAX / 8)
		return 0;
	check_base64(text, size);
	check_string(text, size);
	check_order(text, size);
	return 0;
}
