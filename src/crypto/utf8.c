/*
 * utf8.c
 *	  UTF-8 (RFC 3629), strictly.
 */
#include "crypto/utf8.h"

/*
 * The length of the UTF-8 sequence of two to four bytes at p, or 0 where it is malformed: cut off,
 * over-long, a surrogate or above U+10FFFF (RFC 3629 section 4).
 */
int
unrdf_utf8_length(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80; /* bounds of the second byte */
	uint8_t high = 0xbf;
	int length;
	int i;

	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if ((size_t) length > left)
		return 0;
	switch (p[0])
	{
		case 0xe0:
			low = 0xa0;
			break;
		case 0xed:
			high = 0x9f;
			break;
		case 0xf0:
			low = 0x90;
			break;
		case 0xf4:
			high = 0x8f;
			break;
	}
	if (p[1] < low || p[1] > high)
		return 0;
	for (i = 2; i < length; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	return length;
}
