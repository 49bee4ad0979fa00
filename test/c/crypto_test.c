/*
 * crypto_test.c
 *	  Unit tests of src/crypto, printed as TAP: this file has those of digest.c.
 */
#include "crypto/digest.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint8_t Hash[UNRDF_HASH_LEN];

static void
test_sha256(void)
{
	static const struct
	{
		const char *message;
		const char *digest;
	} known[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
				 {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
				 {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
				  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
	static char million[1000000];
	UnrdfBytes parts[4] = {{"a", 1}, {NULL, 0}, {"", 0}, {"bc", 2}};
	UnrdfBytes whole;
	Hash out;
	int i;

	for (i = 0; i < LENGTH(known); i++)
	{
		whole.data = known[i].message;
		whole.len = strlen(known[i].message);
		ok(unrdf_sha256(&whole, 1, out) == 0, "SHA-256 answers");
		is_text(to_hex(out, sizeof(out)), known[i].digest, "SHA-256 known answer (FIPS 180)");
	}
	memset(million, 'a', sizeof(million));
	whole.data = million;
	whole.len = sizeof(million);
	ok(unrdf_sha256(&whole, 1, out) == 0, "SHA-256 of a million bytes");
	is_text(to_hex(out, sizeof(out)),
			"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
			"SHA-256 of a million times a (FIPS 180)");
	ok(unrdf_sha256(parts, 4, out) == 0, "SHA-256 of pieces, some empty");
	is_text(to_hex(out, sizeof(out)), known[1].digest, "SHA-256 concatenates its pieces");
	ok(unrdf_sha256(NULL, 0, out) == 0, "SHA-256 of no piece");
	is_text(to_hex(out, sizeof(out)), known[0].digest, "SHA-256 of no piece is that of nothing");
}

/* A digest and random bytes from a forked child, into out. */
static bool
in_child(uint8_t *out, size_t len, Hash digest)
{
	UnrdfBytes abc = {"abc", 3};
	int fds[2];
	bool whole;
	int status;
	pid_t child;

	if (pipe(fds) != 0 || (child = fork()) < 0)
		return false;
	if (child == 0)
	{
		whole = unrdf_random(out, len) == 0 && unrdf_sha256(&abc, 1, digest) == 0 &&
				write(fds[1], out, len) == (ssize_t) len &&
				write(fds[1], digest, sizeof(Hash)) == (ssize_t) sizeof(Hash);
		_exit(whole ? 0 : 1);
	}
	close(fds[1]);
	whole = read(fds[0], out, len) == (ssize_t) len &&
			read(fds[0], digest, sizeof(Hash)) == (ssize_t) sizeof(Hash);
	close(fds[0]);
	return waitpid(child, &status, 0) == child && status == 0 && whole;
}

/* Whether two draws have any aligned run of 8 bytes in common. */
static bool
share_bytes(const uint8_t *a, const uint8_t *b, size_t len)
{
	size_t i;
	size_t j;

	for (i = 0; i < len; i += 8)
	{
		for (j = 0; j < len; j += 8)
		{
			if (memcmp(a + i, b + j, 8) == 0)
				return true;
		}
	}
	return false;
}

static void
test_random(void)
{
	static uint8_t draw[70000];
	uint8_t mine[64];
	uint8_t first[64];
	uint8_t second[64];
	UnrdfBytes abc = {"abc", 3};
	Hash digest;
	Hash child_digest;
	int seen[256] = {0};
	bool all = true;
	size_t i;

	ok(unrdf_random(draw, 8) == 0, "random bytes before a fork");
	ok(in_child(first, sizeof(first), child_digest), "random bytes and a digest in a child");
	ok(in_child(second, sizeof(second), child_digest), "and in another child");
	ok(unrdf_random(mine, sizeof(mine)) == 0, "and in the parent");
	ok(!share_bytes(first, second, 64), "two children get different random bytes");
	ok(!share_bytes(first, mine, 64) && !share_bytes(second, mine, 64),
	   "a child and its parent get different random bytes");
	unrdf_sha256(&abc, 1, digest);
	ok(memcmp(digest, child_digest, sizeof(Hash)) == 0, "a child's digest is right");

	memset(draw, 0, sizeof(draw));
	for (i = 0; i + 24 <= 16384; i += 24)
		all &= unrdf_random(draw + i, 24) == 0;
	ok(all && !share_bytes(draw, draw + 8184, 8184), "small draws across refills do not repeat");
	ok(unrdf_random(draw, sizeof(draw)) == 0, "a draw above the buffer's size");
	for (i = 0; i < sizeof(draw); i++)
		seen[draw[i]]++;
	for (i = 0, all = true; i < 256; i++)
		all &= seen[i] > 130 && seen[i] < 450; /* 273 expected, standard deviation 17 */
	ok(all, "every byte value comes about equally often");
	ok(unrdf_random(draw, 0) == 0, "a draw of nothing");
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0); /* a forked child must not print what is buffered */
	test_sha256();
	test_random();
	test_canonical();
	test_merkle();
	test_consistency();
	test_difference();
	test_note();
	test_policy();
	test_evidence();
	return finish_tests();
}
