/*
 * main.c
 *	  unrdf-verify: checks receipts that unrdf.export_receipt() gave, without a database.
 *
 * Exit code 0: every receipt verifies; 1: one does not; 2: it could not be tried.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verifier/evidence.h"
#include "verifier/tiles.h"

#define MOST_BYTES ((size_t) 1 << 30)

static const char HEADER[] = "c2sp.org/tlog-proof@v1\n";

static const char USAGE[] =
	"unrdf-verify checks receipts of unrdf without a database.\n"
	"\n"
	"Usage: unrdf-verify (--key KEY | --policy FILE) [--json] [FILE]...\n"
	"       unrdf-verify (--key KEY | --policy FILE) --tiles DIRECTORY OLD NEW\n"
	"\n"
	"  --key KEY      the log's verifier key, <name>+<id>+<base64>; several sign for each other\n"
	"  --policy FILE  logs, witnesses and quorum (c2sp.org/tlog-policy)\n"
	"  --json         one JSON object per receipt, a line each\n"
	"  --tiles DIR    check that checkpoint OLD is a prefix of checkpoint NEW, whose tiles are\n"
	"                 in DIR (c2sp.org/tlog-tiles)\n"
	"\n"
	"A FILE holds what unrdf.export_receipt() returned, once or many times; - and none are\n"
	"standard input. Exit code 0: all verify; 1: one does not; 2: it could not be tried.\n";

typedef struct Text
{
	char *bytes;
	size_t len;
} Text;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "unrdf-verify: %s: %s\n", what, why);
	exit(2);
}

static void
read_all(FILE *f, const char *name, Text *t)
{
	size_t cap = 1 << 16;
	size_t n;

	t->len = 0;
	t->bytes = malloc(cap);
	while (t->bytes != NULL && (n = fread(t->bytes + t->len, 1, cap - t->len, f)) > 0)
	{
		t->len += n;
		if (t->len < cap)
			continue;
		if (cap >= MOST_BYTES)
			die(name, "too large");
		cap *= 2;
		t->bytes = realloc(t->bytes, cap);
	}
	if (t->bytes == NULL)
		die(name, "out of memory");
	if (ferror(f))
		die(name, "cannot be read");
}

static void
read_named(const char *name, Text *t)
{
	FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");

	if (f == NULL)
		die(name, "cannot be opened");
	read_all(f, name, t);
	if (f != stdin)
		fclose(f);
}

/* Appends bytes to a text. */
static void
append(Text *t, const char *bytes, size_t n)
{
	t->bytes = realloc(t->bytes, t->len + n);
	if (t->bytes == NULL)
		die("policy", "out of memory");
	memcpy(t->bytes + t->len, bytes, n);
	t->len += n;
}

/* Prints a string as JSON, or null for what is no UTF-8. */
static void
print_json_string(const char *bytes, size_t n)
{
	UnrdfCanon c = {NULL, 0, 0};

	if (unrdf_canon_string(&c, bytes, n) != 0 || (c.buf = malloc(c.len)) == NULL)
	{
		fputs("null", stdout);
		return;
	}
	c.cap = c.len;
	c.len = 0;
	(void) unrdf_canon_string(&c, bytes, n);
	fwrite(c.buf, 1, c.len, stdout);
	free(c.buf);
}

static void
print_json(const char *file, const UnrdfEvidence *e)
{
	fputs("{\"file\":", stdout);
	print_json_string(file, strlen(file));
	printf(",\"verified\":%s", e->failure ? "false" : "true");
	if (e->failure)
	{
		fputs(",\"failure\":", stdout);
		print_json_string(e->failure, strlen(e->failure));
	}
	else
	{
		fputs(",\"origin\":", stdout);
		print_json_string(e->checkpoint.origin, e->checkpoint.origin_len);
		printf(",\"index\":%" PRIu64 ",\"size\":%" PRIu64 ",\"witnesses\":%d,\"receipt\":",
			   e->index, e->checkpoint.size, e->witnesses);
		print_json_string(e->receipt, e->receipt_len);
	}
	puts("}");
}

/* Prints text of which nothing is known, without what a terminal would act on. */
static void
print_plain(const char *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		putchar((unsigned char) bytes[i] < ' ' || bytes[i] == 0x7f ? '?' : bytes[i]);
}

static void
print_text(const char *file, const UnrdfEvidence *e)
{
	if (e->failure)
	{
		printf("%s: NOT VERIFIED: %s\n", file, e->failure);
		return;
	}
	printf("%s: verified: leaf %" PRIu64 " of %" PRIu64 " of log ", file, e->index,
		   e->checkpoint.size);
	print_plain(e->checkpoint.origin, e->checkpoint.origin_len);
	printf(", %d witnesses\n  ", e->witnesses);
	print_plain(e->receipt, e->receipt_len);
	putchar('\n');
}

/* Where the next receipt of a file begins: at a header that begins a line. */
static const char *
next_receipt(const char *from, const char *end)
{
	const size_t n = sizeof(HEADER) - 1;
	const char *p;

	for (p = from + 1; (size_t) (end - p) >= n; p++)
		if (p[-1] == '\n' && memcmp(p, HEADER, n) == 0)
			return p;
	return end;
}

/* The length of a text without the empty lines at its end: psql writes a newline after every value. */
static size_t
trimmed(const char *text, size_t len)
{
	while (len >= 2 && text[len - 1] == '\n' && text[len - 2] == '\n')
		len--;
	return len;
}

/* Checks every receipt of a file. Returns whether all verify; a file without any does not. */
static bool
check_file(const char *name, const UnrdfPolicy *policy, bool json)
{
	Text t;
	const char *next;
	const char *start;
	bool all = true;

	read_named(name, &t);
	start = t.bytes;
	do
	{
		UnrdfEvidence e;

		next = t.len == 0 ? start : next_receipt(start, t.bytes + t.len);
		all &= unrdf_evidence_check(start, trimmed(start, next - start), policy, &e);
		if (json)
			print_json(name, &e);
		else
			print_text(name, &e);
		unrdf_evidence_free(&e);
		start = next;
	} while (start < t.bytes + t.len);
	free(t.bytes);
	return all;
}

/* Reads a checkpoint from a file and checks its signatures. */
static const char *
read_checkpoint(const char *name, const UnrdfPolicy *policy, Text *t, UnrdfEvidence *e)
{
	read_named(name, t);
	return unrdf_evidence_checkpoint(t->bytes, trimmed(t->bytes, t->len), policy, e);
}

/* Checks a pair of checkpoints. Returns whether they are consistent. */
static bool
check_pair(const char *directory, char **names, const UnrdfPolicy *policy)
{
	Text texts[2];
	UnrdfEvidence e[2];
	const char *failure = NULL;
	const char *about = names[1];
	int i;

	for (i = 0; i < 2; i++)
	{
		const char *reason = read_checkpoint(names[i], policy, &texts[i], &e[i]);

		if (reason && failure == NULL)
		{
			failure = reason;
			about = names[i];
		}
	}
	if (failure == NULL)
		failure = unrdf_tiles_consistent(directory, &e[0].checkpoint, &e[1].checkpoint);
	if (failure)
		printf("%s: NOT VERIFIED: %s\n", about, failure);
	else
		printf("consistent: %" PRIu64 " leaves are a prefix of %" PRIu64 "\n", e[0].checkpoint.size,
			   e[1].checkpoint.size);
	for (i = 0; i < 2; i++)
		free(texts[i].bytes);
	return failure == NULL;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, 'k'}, {"policy", required_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'},      {"tiles", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
	static UnrdfPolicy policy;
	static Text rules; /* the policy points into it */
	const char *policy_file = NULL;
	const char *tiles = NULL;
	bool json = false;
	bool all = true;
	int line;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (c == 'k')
		{
			append(&rules, "log ", 4);
			append(&rules, optarg, strlen(optarg));
			append(&rules, "\n", 1);
		}
		else if (c == 'p' && policy_file == NULL)
			policy_file = optarg;
		else if (c == 'j')
			json = true;
		else if (c == 't' && tiles == NULL)
			tiles = optarg;
		else
		{
			fputs(USAGE, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if ((rules.len > 0) == (policy_file != NULL))
		die("usage", "give either keys or a policy; --help says more");
	if (policy_file)
		read_named(policy_file, &rules);
	else
		append(&rules, "quorum none\n", 12);
	if (unrdf_policy_parse(rules.bytes, rules.len, &policy, &line) != 0)
	{
		fprintf(stderr, "unrdf-verify: %s: line %d is wrong\n", policy_file ? policy_file : "--key",
				line);
		return 2;
	}
	if (tiles)
	{
		if (argc - optind != 2 || json)
			die("usage", "--tiles takes two checkpoints");
		all = check_pair(tiles, argv + optind, &policy);
		optind = argc;
	}
	else if (optind == argc)
		all = check_file("-", &policy, json);
	for (; optind < argc; optind++)
		all &= check_file(argv[optind], &policy, json);
	return fflush(stdout) == 0 ? !all : 2;
}
