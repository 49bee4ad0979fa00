/*
 * verifier_test.c
 *	  Runs unrdf-verify over files that are good, cut off, changed and worse.
 *
 *	  verifier_test PROGRAM FOLDER
 *
 * What counts is the exit code, that a file is refused and not passed over, and that nothing is said on
 * standard error: a program built with sanitizers speaks there of what it finds.
 */
#include "sample.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX 3000
#define OLD_SIZE 1234
#define NEW_SIZE 4001
#define OLD_TILE 4 /* with the last leaf of the old tree: all of its hashes matter */

static const char *program;
static const char *folder;
static char *arguments[FILES_MAX + 8];
static int narguments;
static char says[1 << 20]; /* what the last run printed */

static const char *
path(const char *name)
{
	static char paths[8][400];
	static int last;

	last = (last + 1) % LENGTH(paths);
	snprintf(paths[last], sizeof(paths[last]), "%s/%s", folder, name);
	return paths[last];
}

/* Writes a file of the folder; false where that fails. */
static bool
put(const char *name, const void *bytes, size_t n)
{
	FILE *f = fopen(path(name), "wb");

	if (f == NULL)
		return false;
	if (fwrite(bytes, 1, n, f) != n)
		n = SIZE_MAX;
	return fclose(f) == 0 && n != SIZE_MAX;
}

static void
argument(const char *text)
{
	arguments[narguments++] = strdup(text);
	arguments[narguments] = NULL;
}

static void
begin(const char *option, const char *value)
{
	while (narguments > 0)
		free(arguments[--narguments]);
	argument(program);
	if (option)
		argument(option);
	if (value)
		argument(value);
}

/* Runs the program; its exit code, or -1 where it did not exit, or spoke of what is wrong with itself. */
static int
run(void)
{
	int status;
	struct stat complaints;
	FILE *f;
	size_t n;
	pid_t child = fork();

	if (child == 0)
	{
		int out = open(path("stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int err = open(path("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (dup2(open("/dev/null", O_RDONLY), 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2)
			execv(program, arguments);
		_exit(98);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
		stat(path("stderr"), &complaints) != 0 || (f = fopen(path("stdout"), "rb")) == NULL)
		return -1;
	n = fread(says, 1, sizeof(says) - 1, f);
	says[n] = '\0';
	fclose(f);
	if ((WEXITSTATUS(status) < 2) == (complaints.st_size == 0) && WEXITSTATUS(status) <= 2)
		return WEXITSTATUS(status);
	printf("# exit code %d; see %s\n", WEXITSTATUS(status), path("stderr"));
	return -1;
}

static int
count(const char *what)
{
	const char *at = says;
	int n = 0;

	for (; (at = strstr(at, what)) != NULL; at++)
		n++;
	return n;
}

/* One receipt with the witness's signature. */
static size_t
receipt(uint64_t index, uint64_t size, char *text)
{
	UnrdfCanon out = {text, SAMPLE_TEXT_MAX, 0};

	sample_export(index, size, true, &out);
	return out.len;
}

static void
test_good(void)
{
	static char many[500 * SAMPLE_TEXT_MAX];
	size_t n = 0;
	int i;

	for (i = 0; i < 500; i++)
	{
		n += receipt(i * 7, NEW_SIZE, many + n);
		if (i % 3 == 0)
			many[n++] = '\n'; /* as psql writes it */
	}
	ok(put("many", many, n), "500 receipts in a file");
	begin("--policy", path("policy"));
	argument(path("many"));
	ok(run() == 0 && count(": verified: ") == 500, "verify");
	begin("--key", sample_key());
	argument("--json");
	argument(path("many"));
	ok(run() == 0 && count("\"verified\":true") == 500, "by the log's key, as JSON");
}

/* Runs the program over files that are all to be refused. */
static void
refuses(const char *option, const char *value, int nfiles, const char *name)
{
	int i;
	char file[40];

	begin(option, value);
	for (i = 0; i < nfiles; i++)
	{
		snprintf(file, sizeof(file), "file-%d", i);
		argument(path(file));
	}
	ok(run() == 1 && count("NOT VERIFIED: ") >= nfiles && count(": verified: ") == 0, name);
}

static void
test_cut_off(void)
{
	char text[SAMPLE_TEXT_MAX];
	char file[40];
	int n = (int) receipt(1000, NEW_SIZE, text);
	bool written = n < FILES_MAX;
	int i;

	for (i = 0; written && i < n; i++)
	{
		snprintf(file, sizeof(file), "file-%d", i);
		written = put(file, text, i);
	}
	ok(written, "a receipt, cut off at every byte");
	refuses("--policy", path("policy"), n, "is refused");
}

/* A random change, which leaves nothing that verifies. */
static size_t
change(char *text, size_t n)
{
	size_t at = random64() % n;
	size_t len = 1 + random64() % 40;

	if (at + len > n)
		len = n - at;
	switch (random64() % 5)
	{
		case 0: /* a bit */
			text[at] ^= (char) (1 << random64() % 8);
			return n;
		case 1: /* a byte more */
			memmove(text + at + 1, text + at, n - at);
			text[at] = (char) (random64() % 3 == 0 ? 0 : text[at] + 1);
			return n + 1;
		case 2: /* some bytes less */
			memmove(text + at, text + at + len, n - at - len);
			return n - len;
		case 3: /* others */
			text[at] ^= (char) 0x80;
			memset(text + at + 1, (char) random64(), len - 1);
			return n;
		default: /* many more */
			memset(text + n, (char) ('0' + random64() % 10), 2 * len);
			return n + 2 * len;
	}
}

static void
test_changed(void)
{
	char text[SAMPLE_TEXT_MAX + 100];
	char file[40];
	bool written = true;
	int i;

	for (i = 0; i < FILES_MAX; i++)
	{
		size_t n = receipt(random64() % NEW_SIZE, NEW_SIZE, text);

		snprintf(file, sizeof(file), "file-%d", i);
		written &= put(file, text, change(text, n));
	}
	ok(written, "3,000 receipts, each changed somewhere");
	refuses("--policy", path("policy"), FILES_MAX, "are refused");
}

static void
test_worse(void)
{
	static const char *const texts[] = {"",
										"\n",
										"\n\n\n\n",
										"c2sp.org/tlog-proof@v1\n",
										"c2sp.org/tlog-proof@v1\nindex 0\n\n",
										"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n\n\n\n"};
	static char many[1 << 20];
	int i;

	for (i = 0; i < LENGTH(texts); i++)
	{
		char file[40];

		snprintf(file, sizeof(file), "file-%d", i);
		put(file, texts[i], strlen(texts[i]));
	}
	memset(many, 0, sizeof(many));
	put("file-6", many, sizeof(many));
	memset(many, '\n', sizeof(many));
	put("file-7", many, sizeof(many));
	for (i = 0; i < (int) sizeof(many); i++)
		many[i] = (char) random64();
	put("file-8", many, sizeof(many));
	refuses("--policy", path("policy"), 9, "what is nothing at all is refused");
}

/* A policy that is cut off is none; one that is changed may be another. */
static void
test_policies(void)
{
	const char *rules = sample_policy(true);
	size_t whole = strlen(rules);
	char text[SAMPLE_TEXT_MAX + 100];
	bool cut = true;
	bool changed = true;
	size_t n;
	int i;

	for (n = 0; n < whole; n += 5)
	{
		begin("--policy", path("file-0"));
		argument(path("many"));
		cut &= put("file-0", rules, n) && run() == 2;
	}
	ok(cut, "a policy that is cut off is none");
	for (i = 0; i < 100; i++)
	{
		strcpy(text, rules);
		begin("--policy", path("file-0"));
		argument(path("many"));
		changed &= put("file-0", text, change(text, whole)) && run() >= 0;
	}
	ok(changed, "one that is changed is one, or none");
}

static bool
put_tile(int level, int n, int width)
{
	uint8_t hashes[256][UNRDF_HASH_LEN];
	char name[80];
	int i;

	for (i = 0; i < width; i++)
		(void) sample_node(NULL, 8 * level, 256 * n + i, hashes[i]);
	snprintf(name, sizeof(name), "tile/%d/%03d.p", level, n);
	if (width < 256 && mkdir(path(name), 0700) != 0)
		return false;
	snprintf(name, sizeof(name), width < 256 ? "tile/%d/%03d.p/%d" : "tile/%d/%03d", level, n,
			 width);
	return put(name, hashes, sizeof(hashes[0]) * width);
}

static bool
put_site(void)
{
	char text[SAMPLE_TEXT_MAX];
	UnrdfCanon out = {text, sizeof(text), 0};
	bool good = mkdir(path("tile"), 0700) == 0 && mkdir(path("tile/0"), 0700) == 0 &&
				mkdir(path("tile/1"), 0700) == 0;
	int n;

	for (n = 0; 256 * n < NEW_SIZE; n++)
		good &= put_tile(0, n, NEW_SIZE - 256 * n < 256 ? NEW_SIZE - 256 * n : 256);
	good &= put_tile(1, 0, NEW_SIZE / 256);
	sample_checkpoint(OLD_SIZE, true, &out);
	good &= put("old", text, out.len);
	out.len = 0;
	sample_checkpoint(NEW_SIZE, true, &out);
	return good && put("new", text, out.len);
}

static int
consistent(void)
{
	begin("--key", sample_key());
	argument("--tiles");
	argument(folder);
	argument(path("old"));
	argument(path("new"));
	return run();
}

static void
test_tiles(void)
{
	uint8_t tile[256 * UNRDF_HASH_LEN + 1];
	bool cut = true;
	bool changed = true;
	size_t n;
	int i;

	ok(put_site() && consistent() == 0 && count("1234 leaves are a prefix of 4001") == 1, "tiles");
	for (i = 0; i < 256; i++)
		(void) sample_node(NULL, 0, 256 * OLD_TILE + i, tile + i * UNRDF_HASH_LEN);
	for (n = 0; n < sizeof(tile) - 1; n += 97)
		cut &= put("tile/0/004", tile, n) && consistent() == 1;
	cut &= put("tile/0/004", tile, sizeof(tile)) && consistent() == 1;
	ok(cut, "one that is cut off, or too long");
	for (i = 0; i < 100; i++)
	{
		n = random64() % (sizeof(tile) - 1);
		tile[n] ^= 1;
		changed &= put("tile/0/004", tile, sizeof(tile) - 1) && consistent() == 1;
		tile[n] ^= 1;
	}
	ok(changed, "one that is changed");
	ok(put("tile/0/004", tile, sizeof(tile) - 1) && consistent() == 0, "and mended");
	ok(put("old", "", 0) && consistent() == 1, "a checkpoint that is empty");
}

static void
test_usage(void)
{
	begin("--help", NULL);
	ok(run() == 0 && count("Usage: unrdf-verify") == 1, "help");
	begin(NULL, NULL);
	ok(run() == 2, "neither a key nor a policy");
	begin("--key", "garbage");
	ok(run() == 2, "what is no key");
	begin("--key", sample_key());
	argument(path("none"));
	ok(run() == 2, "what is no file");
	begin("--key", sample_key());
	ok(run() == 1, "standard input, which is empty");
	begin("--nothing", NULL);
	ok(run() == 2, "what is no option");
}

int
main(int argc, char **argv)
{
	const char *rules;

	if (argc != 3)
		return 2;
	program = argv[1];
	folder = argv[2];
	ok(sample_make(), "a log");
	rules = sample_policy(true);
	ok((mkdir(folder, 0700) == 0) && put("policy", rules, strlen(rules)), "an empty folder");
	test_usage();
	test_good();
	test_cut_off();
	test_changed();
	test_worse();
	test_policies();
	test_tiles();
	return finish_tests();
}
