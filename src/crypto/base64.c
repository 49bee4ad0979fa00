/*
 * base64.c
 *	  Base 64 (RFC 4648 section 4), strictly.
 *
 * OpenSSL does the work, in pieces.  Its decoder passes over white space and stray bits, so what it
 * decodes is encoded again and has to be what was given: every value has one text only.
 */
#include "crypto/base64.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#define PIECE 48      /* bytes */
#define PIECE_TEXT 64 /* characters */

/* Encodes n bytes as UNRDF_BASE64_LEN(n) characters; writes no NUL. */
void
unrdf_base64_encode(const void *data, size_t n, char *out)
{
	const uint8_t *bytes = data;
	unsigned char text[PIECE_TEXT + 1];

	while (n > 0)
	{
		int len = n < PIECE ? (int) n : PIECE;
		int written = EVP_EncodeBlock(text, bytes, len);

		memcpy(out, text, written);
		out += written;
		bytes += len;
		n -= len;
	}
}

/* How many characters at the end of the text fill it up. */
static int
padding(const char *text, size_t n)
{
	if (text[n - 1] != '=')
		return 0;
	return text[n - 2] == '=' ? 2 : 1;
}

/* Decodes a piece of at most PIECE_TEXT characters; returns the number of bytes or -1. */
static int
decode_piece(const char *text, size_t n, uint8_t out[PIECE])
{
	char again[PIECE_TEXT];
	int len = EVP_DecodeBlock(out, (const unsigned char *) text, (int) n);

	if (len < 0)
		return -1;
	len = (int) (n / 4 * 3) - padding(text, n);
	unrdf_base64_encode(out, len, again);
	return memcmp(again, text, n) == 0 ? len : -1;
}

/*
 * Decodes n characters into out.  Returns the number of bytes; -1 for what unrdf_base64_encode does
 * not write, and where there are more than cap bytes.
 */
int
unrdf_base64_decode(const char *text, size_t n, uint8_t *out, size_t cap)
{
	uint8_t piece[PIECE];
	size_t total = 0;
	bool ended = false;

	if (n % 4 != 0 || n / 4 > INT32_MAX / 4)
		return -1;
	while (n > 0)
	{
		size_t take = n < PIECE_TEXT ? n : PIECE_TEXT;
		int len = decode_piece(text, take, piece);

		if (len < 0 || ended || (size_t) len > cap - total)
			return -1;
		ended = len < (int) (take / 4 * 3);
		memcpy(out + total, piece, len);
		total += len;
		text += take;
		n -= take;
	}
	return (int) total;
}
