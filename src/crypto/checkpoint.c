/*
 * checkpoint.c
 *	  Texts of a transparency log: the body of a checkpoint (C2SP tlog-checkpoint), the proof that an
 *	  entry is in the log (C2SP tlog-proof), and the request to a witness (C2SP tlog-witness).
 */
#include "crypto/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/base64.h"
#include "crypto/utf8.h"

#define HASH_TEXT UNRDF_BASE64_LEN(UNRDF_HASH_LEN)
#define DECIMAL_MAX 19 /* digits of 2^63 - 1 */
#define ORIGIN_MAX 255
#define WITNESS_HASHES_MAX 63 /* by the protocol */

static const char PROOF_HEADER[] = "c2sp.org/tlog-proof@v1";

/* A line without its newline. */
typedef struct Line
{
	const char *start;
	size_t len;
} Line;

/* Reads the line at *next and steps behind it; false where no newline ends it. */
static bool
read_line(const char **next, const char *end, Line *line)
{
	const char *newline = memchr(*next, '\n', end - *next);

	if (newline == NULL)
		return false;
	line->start = *next;
	line->len = newline - *next;
	*next = newline + 1;
	return true;
}

/* A number up to 2^63 - 1 in decimal, without leading zeros. */
static bool
read_decimal(const char *text, size_t len, uint64_t *value)
{
	uint64_t v = 0;
	size_t i;

	if (len == 0 || len > DECIMAL_MAX || (text[0] == '0' && len > 1))
		return false;
	for (i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (text[i] - '0'); /* 19 digits fit 64 bits */
	}
	*value = v;
	return v <= UNRDF_TREE_SIZE_MAX;
}

static bool
read_hash(const Line *line, uint8_t hash[UNRDF_HASH_LEN])
{
	return line->len == HASH_TEXT &&
		   unrdf_base64_decode(line->start, line->len, hash, UNRDF_HASH_LEN) == UNRDF_HASH_LEN;
}

static void
append_decimal(UnrdfCanon *out, uint64_t value)
{
	char text[DECIMAL_MAX + 2];

	unrdf_canon_raw(out, text, snprintf(text, sizeof(text), "%" PRIu64, value));
}

static void
append_hash(UnrdfCanon *out, const uint8_t hash[UNRDF_HASH_LEN])
{
	char text[HASH_TEXT];

	unrdf_base64_encode(hash, UNRDF_HASH_LEN, text);
	unrdf_canon_raw(out, text, sizeof(text));
}

/*
 * Whether this can be the origin of a log: one line of UTF-8 without control characters, at most 255
 * bytes, not empty.
 */
bool
unrdf_origin_is_good(const char *origin, size_t len)
{
	const uint8_t *p = (const uint8_t *) origin;
	const uint8_t *end = p + len;

	if (len == 0 || len > ORIGIN_MAX)
		return false;
	while (p < end)
	{
		int n = *p < 0x80 ? 1 : unrdf_utf8_length(p, end - p);

		if (n == 0 || *p < ' ')
			return false;
		p += n;
	}
	return true;
}

/*
 * Parses the text of a checkpoint, as unrdf_note_parse gives it.  Returns 0, or -1 for what is none.
 * Nothing may be believed of it before a signature was verified.
 */
int
unrdf_checkpoint_parse(const char *text, size_t len, UnrdfCheckpoint *c)
{
	const char *next = text;
	const char *end = text + len;
	Line line;

	if (!read_line(&next, end, &line) || !unrdf_origin_is_good(line.start, line.len))
		return -1;
	c->origin = line.start;
	c->origin_len = line.len;
	if (!read_line(&next, end, &line) || !read_decimal(line.start, line.len, &c->size))
		return -1;
	if (!read_line(&next, end, &line) || !read_hash(&line, c->root))
		return -1;
	c->extensions = next;
	c->extensions_len = end - next;
	while (next < end)
		if (!read_line(&next, end, &line) || line.len == 0)
			return -1;
	return 0;
}

/* Appends the text of a checkpoint. */
void
unrdf_checkpoint_format(const UnrdfCheckpoint *c, UnrdfCanon *out)
{
	unrdf_canon_raw(out, c->origin, c->origin_len);
	unrdf_canon_raw(out, "\n", 1);
	append_decimal(out, c->size);
	unrdf_canon_raw(out, "\n", 1);
	append_hash(out, c->root);
	unrdf_canon_raw(out, "\n", 1);
	unrdf_canon_raw(out, c->extensions, c->extensions_len);
}

static bool
begins_with(const Line *line, const char *prefix)
{
	size_t n = strlen(prefix);

	return line->len >= n && memcmp(line->start, prefix, n) == 0;
}

/*
 * Reads lines of one hash each up to an empty line, and steps behind that.  Returns how many, or -1 for
 * more than most and for what is none.
 */
static int
read_hashes(const char **next, const char *end, uint8_t (*hashes)[UNRDF_HASH_LEN], int most)
{
	int n = 0;
	Line line;

	for (;;)
	{
		if (!read_line(next, end, &line))
			return -1;
		if (line.len == 0)
			return n;
		if (n == most || !read_hash(&line, hashes[n++]))
			return -1;
	}
}

static void
append_hashes(UnrdfCanon *out, const uint8_t (*hashes)[UNRDF_HASH_LEN], int n)
{
	int i;

	for (i = 0; i < n; i++)
	{
		append_hash(out, hashes[i]);
		unrdf_canon_raw(out, "\n", 1);
	}
	unrdf_canon_raw(out, "\n", 1);
}

/*
 * Parses a proof.  Returns 0, or -1 for what is none; the checkpoint in it is not looked at, and
 * whether the number of hashes is right depends on it.
 */
int
unrdf_tlog_proof_parse(const char *text, size_t len, UnrdfTlogProof *p)
{
	const char *next = text;
	const char *end = text + len;
	Line line;

	if (!read_line(&next, end, &line) || line.len != sizeof(PROOF_HEADER) - 1 ||
		!begins_with(&line, PROOF_HEADER) || !read_line(&next, end, &line))
		return -1;
	p->extra = NULL;
	p->extra_len = 0;
	if (begins_with(&line, "extra "))
	{
		p->extra = line.start + 6;
		p->extra_len = line.len - 6;
		if (!read_line(&next, end, &line))
			return -1;
	}
	if (!begins_with(&line, "index ") || !read_decimal(line.start + 6, line.len - 6, &p->index))
		return -1;
	p->n = read_hashes(&next, end, p->hashes, 64);
	if (p->n < 0)
		return -1;
	p->checkpoint = next;
	p->checkpoint_len = end - next;
	return 0;
}

/* Appends a proof as unrdf_tlog_proof_parse reads it. */
void
unrdf_tlog_proof_format(const UnrdfTlogProof *p, UnrdfCanon *out)
{
	unrdf_canon_raw(out, PROOF_HEADER, sizeof(PROOF_HEADER) - 1);
	if (p->extra)
	{
		unrdf_canon_raw(out, "\nextra ", 7);
		unrdf_canon_raw(out, p->extra, p->extra_len);
	}
	unrdf_canon_raw(out, "\nindex ", 7);
	append_decimal(out, p->index);
	unrdf_canon_raw(out, "\n", 1);
	append_hashes(out, (const uint8_t(*)[UNRDF_HASH_LEN]) p->hashes, p->n);
	unrdf_canon_raw(out, p->checkpoint, p->checkpoint_len);
}

/*
 * Parses the body of an add-checkpoint request.  Returns 0, or -1 for what is none; the checkpoint in it
 * is not looked at.
 */
int
unrdf_witness_request_parse(const char *text, size_t len, UnrdfWitnessRequest *r)
{
	const char *next = text;
	const char *end = text + len;
	Line line;

	if (!read_line(&next, end, &line) || !begins_with(&line, "old ") ||
		!read_decimal(line.start + 4, line.len - 4, &r->old_size))
		return -1;
	r->n = read_hashes(&next, end, r->proof, WITNESS_HASHES_MAX);
	r->checkpoint = next;
	r->checkpoint_len = end - next;
	return r->n < 0 ? -1 : 0;
}

/* Appends a request as unrdf_witness_request_parse reads it. */
void
unrdf_witness_request_format(const UnrdfWitnessRequest *r, UnrdfCanon *out)
{
	unrdf_canon_raw(out, "old ", 4);
	append_decimal(out, r->old_size);
	unrdf_canon_raw(out, "\n", 1);
	append_hashes(out, (const uint8_t(*)[UNRDF_HASH_LEN]) r->proof, r->n);
	unrdf_canon_raw(out, r->checkpoint, r->checkpoint_len);
}
