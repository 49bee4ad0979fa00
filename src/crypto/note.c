/*
 * note.c
 *	  Signed notes (C2SP signed-note) with Ed25519 signatures and cosignatures (C2SP
 *	  tlog-cosignature), and the keys that check them.
 */
#include "crypto/note.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"
#include "crypto/digest.h"
#include "crypto/utf8.h"

#define KEY_ID_LEN 4
#define ID_TEXT 8 /* hexadecimal digits */
#define TIMESTAMP_LEN 8
#define COSIGNATURE_LEN (TIMESTAMP_LEN + UNRDF_SIGNATURE_LEN)
#define SIGNATURE_MAX 8192 /* bytes of any signature, also of types that are not known here */
#define HEADER_MAX 64      /* of a cosignature's message */

static const char DASH[] = "\xe2\x80\x94 "; /* U+2014 and a space */
#define DASH_LEN (sizeof(DASH) - 1)

static const char SECRET[] = "PRIVATE+KEY+";

/* One line of a note's signatures. */
typedef struct Line
{
	const char *name;
	size_t name_len;
	const char *base64;
	size_t base64_len;
} Line;

static uint32_t
read32(const uint8_t *p)
{
	return (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16 | (uint32_t) p[2] << 8 | p[3];
}

static void
write_big_endian(uint64_t v, int n, uint8_t *out)
{
	while (n-- > 0)
	{
		out[n] = (uint8_t) v;
		v >>= 8;
	}
}

/* The code point of a well-formed UTF-8 sequence. */
static uint32_t
code_point(const uint8_t *p, int length)
{
	uint32_t c = length == 2 ? p[0] & 0x1f : length == 3 ? p[0] & 0x0f : p[0] & 0x07;
	int i;

	for (i = 1; i < length; i++)
		c = c << 6 | (p[i] & 0x3f);
	return c;
}

/* Whether a code point above ASCII has the Unicode property White_Space. */
static bool
is_wide_space(uint32_t c)
{
	return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
		   c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/*
 * Whether this can be the name of a key: not empty, at most UNRDF_KEY_NAME_MAX bytes of UTF-8
 * without control characters, Unicode spaces and plus.
 */
bool
unrdf_key_name_is_good(const char *name, size_t len)
{
	const uint8_t *p = (const uint8_t *) name;
	const uint8_t *end = p + len;

	if (len == 0 || len > UNRDF_KEY_NAME_MAX)
		return false;
	while (p < end)
	{
		int n = *p < 0x80 ? 1 : unrdf_utf8_length(p, end - p);

		if (n == 0 || *p <= ' ' || *p == '+' || (n > 1 && is_wide_space(code_point(p, n))))
			return false;
		p += n;
	}
	return true;
}

/*
 * Makes a key: its id is the beginning of SHA-256(name ‖ newline ‖ type ‖ public key).  Returns 0,
 * or -1 for a name that cannot be one and where OpenSSL fails.
 */
int
unrdf_note_key(const char *name, size_t len, UnrdfKeyType type,
			   const uint8_t public_key[UNRDF_PUBLIC_KEY_LEN], UnrdfNoteKey *key)
{
	uint8_t middle[2] = {'\n', (uint8_t) type};
	UnrdfBytes parts[3] = {{name, len}, {middle, 2}, {public_key, UNRDF_PUBLIC_KEY_LEN}};
	uint8_t hash[UNRDF_HASH_LEN];

	if (!unrdf_key_name_is_good(name, len) || unrdf_sha256(parts, 3, hash) != 0)
		return -1;
	memset(key, 0, sizeof(*key));
	memcpy(key->name, name, len);
	key->name_len = len;
	key->id = read32(hash);
	key->type = type;
	memcpy(key->public_key, public_key, UNRDF_PUBLIC_KEY_LEN);
	return 0;
}

/*
 * Takes apart <name>+<key id>+<base64 of type and 32 bytes>.  Returns where the id begins, or NULL for
 * what is not of this form or of a type that is not known here.
 */
static const char *
split_key(const char *text, size_t len, uint8_t bytes[1 + UNRDF_PUBLIC_KEY_LEN])
{
	const char *plus = memchr(text, '+', len);
	const char *id;
	size_t left;

	if (plus == NULL)
		return NULL;
	id = plus + 1;
	left = len - (id - text);
	if (left != ID_TEXT + 1 + UNRDF_BASE64_LEN(1 + UNRDF_PUBLIC_KEY_LEN) || id[ID_TEXT] != '+' ||
		unrdf_base64_decode(id + ID_TEXT + 1, left - ID_TEXT - 1, bytes,
							1 + UNRDF_PUBLIC_KEY_LEN) != 1 + UNRDF_PUBLIC_KEY_LEN ||
		(bytes[0] != UNRDF_KEY_ED25519 && bytes[0] != UNRDF_KEY_COSIGNATURE))
		return NULL;
	return id;
}

static bool
has_id(const char *text, const UnrdfNoteKey *key)
{
	char expected[ID_TEXT + 1];

	snprintf(expected, sizeof(expected), "%08" PRIx32, key->id);
	return memcmp(text, expected, ID_TEXT) == 0;
}

static void
format_key(const UnrdfNoteKey *key, const uint8_t material[UNRDF_PUBLIC_KEY_LEN], UnrdfCanon *out)
{
	uint8_t bytes[1 + UNRDF_PUBLIC_KEY_LEN] = {(uint8_t) key->type};
	char base64[UNRDF_BASE64_LEN(sizeof(bytes))];
	char id[ID_TEXT + 3];

	memcpy(bytes + 1, material, UNRDF_PUBLIC_KEY_LEN);
	unrdf_base64_encode(bytes, sizeof(bytes), base64);
	snprintf(id, sizeof(id), "+%08" PRIx32 "+", key->id);
	unrdf_canon_raw(out, key->name, key->name_len);
	unrdf_canon_raw(out, id, ID_TEXT + 2);
	unrdf_canon_raw(out, base64, sizeof(base64));
	OPENSSL_cleanse(bytes, sizeof(bytes));
	OPENSSL_cleanse(base64, sizeof(base64));
}

/*
 * Parses a verifier key, <name>+<key id>+<base64 of type and public key>.  Returns 0, or -1 for what
 * is none: the name, the id and the type are checked.
 */
int
unrdf_note_key_parse(const char *vkey, size_t len, UnrdfNoteKey *key)
{
	uint8_t bytes[1 + UNRDF_PUBLIC_KEY_LEN];
	const char *id = split_key(vkey, len, bytes);

	if (id == NULL || unrdf_note_key(vkey, id - 1 - vkey, (UnrdfKeyType) bytes[0], bytes + 1, key))
		return -1;
	return has_id(id, key) ? 0 : -1;
}

/* Appends a key as unrdf_note_key_parse reads it. */
void
unrdf_note_key_format(const UnrdfNoteKey *key, UnrdfCanon *out)
{
	format_key(key, key->public_key, out);
}

/*
 * Parses a private key, PRIVATE+KEY+<name>+<key id>+<base64 of type and seed>.  Returns 0, or -1 for
 * what is none or where OpenSSL fails.  The caller wipes seed.
 */
int
unrdf_note_secret_parse(const char *skey, size_t len, UnrdfNoteKey *key,
						uint8_t seed[UNRDF_SEED_LEN])
{
	uint8_t bytes[1 + UNRDF_SEED_LEN];
	uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];
	const char *name = skey + sizeof(SECRET) - 1;
	const char *id;
	int answer = -1;

	if (len < sizeof(SECRET) || memcmp(skey, SECRET, sizeof(SECRET) - 1) != 0)
		return -1;
	id = split_key(name, len - (sizeof(SECRET) - 1), bytes);
	if (id != NULL && unrdf_public_key(bytes + 1, public_key) == 0 &&
		unrdf_note_key(name, id - 1 - name, (UnrdfKeyType) bytes[0], public_key, key) == 0 &&
		has_id(id, key))
	{
		memcpy(seed, bytes + 1, UNRDF_SEED_LEN);
		answer = 0;
	}
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return answer;
}

/* Appends a private key as unrdf_note_secret_parse reads it. */
void
unrdf_note_secret_format(const UnrdfNoteKey *key, const uint8_t seed[UNRDF_SEED_LEN],
						 UnrdfCanon *out)
{
	unrdf_canon_raw(out, SECRET, sizeof(SECRET) - 1);
	format_key(key, seed, out);
}

/* Whether the bytes are UTF-8 with no control character but newline. */
static bool
is_plain_text(const char *data, size_t len)
{
	const uint8_t *p = (const uint8_t *) data;
	const uint8_t *end = p + len;

	while (p < end)
	{
		int n = *p < 0x80 ? 1 : unrdf_utf8_length(p, end - p);

		if (n == 0 || (*p < ' ' && *p != '\n'))
			return false;
		p += n;
	}
	return true;
}

/* Where the last empty line begins, or NULL. */
static const char *
last_empty_line(const char *data, size_t len)
{
	const char *p;

	for (p = data + len - 1; p > data; p--)
		if (p[0] == '\n' && p[-1] == '\n')
			return p;
	return NULL;
}

/* Reads the line at *next and steps behind it; false where it is not a signature's. */
static bool
read_line(const char **next, const char *end, Line *line)
{
	const char *newline = memchr(*next, '\n', end - *next);
	const char *space;

	if (newline == NULL || (size_t) (newline - *next) <= DASH_LEN ||
		memcmp(*next, DASH, DASH_LEN) != 0)
		return false;
	line->name = *next + DASH_LEN;
	space = memchr(line->name, ' ', newline - line->name);
	if (space == NULL)
		return false;
	line->name_len = space - line->name;
	line->base64 = space + 1;
	line->base64_len = newline - line->base64;
	*next = newline + 1;
	return unrdf_key_name_is_good(line->name, line->name_len);
}

/*
 * Splits a note into its text and its signatures, and checks the form of both; the signatures
 * themselves are not looked at.  Returns 0, or -1 for what is no note.
 */
int
unrdf_note_parse(const char *data, size_t len, UnrdfNote *note)
{
	const char *empty;
	const char *next;
	const char *end = data + len;
	int lines = 0;

	if (len == 0 || !is_plain_text(data, len) || (empty = last_empty_line(data, len)) == NULL)
		return -1;
	note->text = data;
	note->text_len = empty - data;
	note->signatures = empty + 1;
	note->signatures_len = end - note->signatures;
	for (next = note->signatures; next < end; lines++)
	{
		uint8_t signature[KEY_ID_LEN + SIGNATURE_MAX];
		Line line;

		if (lines == UNRDF_NOTE_SIGNATURES_MAX || !read_line(&next, end, &line) ||
			unrdf_base64_decode(line.base64, line.base64_len, signature, sizeof(signature)) <=
				KEY_ID_LEN)
			return -1;
	}
	return lines > 0 ? 0 : -1;
}

/* Writes what a cosignature signs; returns its length, or 0 where the text is too long. */
static size_t
cosigned_message(const char *text, size_t len, uint64_t timestamp,
				 char out[HEADER_MAX + UNRDF_NOTE_TEXT_MAX])
{
	int header = snprintf(out, HEADER_MAX, "cosignature/v1\ntime %" PRIu64 "\n", timestamp);

	if (len > UNRDF_NOTE_TEXT_MAX)
		return 0;
	memcpy(out + header, text, len);
	return header + len;
}

static bool
verify_cosignature(const UnrdfNote *note, const UnrdfNoteKey *key, const uint8_t *bytes,
				   uint64_t *timestamp)
{
	char message[HEADER_MAX + UNRDF_NOTE_TEXT_MAX];
	size_t len;

	*timestamp = (uint64_t) read32(bytes) << 32 | read32(bytes + 4);
	if (*timestamp > INT64_MAX)
		return false;
	len = cosigned_message(note->text, note->text_len, *timestamp, message);
	return len > 0 && unrdf_verify_signature(key->public_key, message, len, bytes + TIMESTAMP_LEN);
}

/*
 * Looks for a key's signature and checks it.  *timestamp (may be NULL) is a cosignature's time in
 * seconds since 1970, else 0; with several by one key, that of the last.
 */
UnrdfSigned
unrdf_note_verify(const UnrdfNote *note, const UnrdfNoteKey *key, uint64_t *timestamp)
{
	const char *next = note->signatures;
	const char *end = next + note->signatures_len;
	UnrdfSigned answer = UNRDF_NOT_SIGNED;
	uint64_t time = 0;
	Line line;

	while (next < end && read_line(&next, end, &line))
	{
		uint8_t bytes[KEY_ID_LEN + SIGNATURE_MAX];
		int len = unrdf_base64_decode(line.base64, line.base64_len, bytes, sizeof(bytes));
		bool cosignature = key->type == UNRDF_KEY_COSIGNATURE;

		if (len < KEY_ID_LEN || line.name_len != key->name_len ||
			memcmp(line.name, key->name, key->name_len) != 0 || read32(bytes) != key->id)
			continue;
		if (len != KEY_ID_LEN + (cosignature ? COSIGNATURE_LEN : UNRDF_SIGNATURE_LEN))
			return UNRDF_FORGED;
		if (cosignature ? !verify_cosignature(note, key, bytes + KEY_ID_LEN, &time)
						: !unrdf_verify_signature(key->public_key, note->text, note->text_len,
												  bytes + KEY_ID_LEN))
			return UNRDF_FORGED;
		answer = UNRDF_SIGNED;
	}
	if (timestamp)
		*timestamp = time;
	return answer;
}

/*
 * Appends the signature line of a key, whose private part is seed, for a text; timestamp, in seconds
 * since 1970, is for a cosignature.  Returns 0, or -1 where the text cannot be a note's or be
 * cosigned, or OpenSSL fails; nothing is then appended.
 */
int
unrdf_note_sign(const char *text, size_t len, const UnrdfNoteKey *key,
				const uint8_t seed[UNRDF_SEED_LEN], uint64_t timestamp, UnrdfCanon *out)
{
	uint8_t bytes[KEY_ID_LEN + COSIGNATURE_LEN];
	char base64[UNRDF_BASE64_LEN(sizeof(bytes))];
	size_t n = KEY_ID_LEN;

	if (len == 0 || text[len - 1] != '\n' || !is_plain_text(text, len))
		return -1;
	write_big_endian(key->id, KEY_ID_LEN, bytes);
	if (key->type == UNRDF_KEY_COSIGNATURE)
	{
		char message[HEADER_MAX + UNRDF_NOTE_TEXT_MAX];
		size_t message_len = cosigned_message(text, len, timestamp, message);

		write_big_endian(timestamp, TIMESTAMP_LEN, bytes + n);
		n += TIMESTAMP_LEN;
		if (timestamp > INT64_MAX || message_len == 0 ||
			unrdf_sign(seed, message, message_len, bytes + n) != 0)
			return -1;
	}
	else if (unrdf_sign(seed, text, len, bytes + n) != 0)
		return -1;
	n += UNRDF_SIGNATURE_LEN;
	unrdf_base64_encode(bytes, n, base64);
	unrdf_canon_raw(out, DASH, DASH_LEN);
	unrdf_canon_raw(out, key->name, key->name_len);
	unrdf_canon_raw(out, " ", 1);
	unrdf_canon_raw(out, base64, UNRDF_BASE64_LEN(n));
	unrdf_canon_raw(out, "\n", 1);
	return 0;
}
