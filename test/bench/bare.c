/*
 * bare.c
 *	  The yardstick of the hashing rows: the same hashes with nothing around them.
 *
 *	bare proofs FILE DEPTH		verifies the inclusion proofs in FILE; prints proofs per second
 *	bare root COUNT LENGTH		Merkle roots over COUNT entries of LENGTH bytes; prints roots per second
 *
 * Every line of output is a way to hash and the rate of the fastest of PASSES passes:
 *	evp	a prefetched EVP_MD and one context, as OpenSSL 3 wants it done
 *	old	SHA256_Init, _Update, _Final: faster, deprecated since OpenSSL 3.0
 *
 * A record of FILE is leaf, index and tree size (eight bytes each in network order), root, and
 * DEPTH hashes. Written from RFC 9162 alone; shares no line with what it is compared to.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <endian.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH 32
#define PASSES 5
#define PASS_SECONDS 0.1

typedef void (*Hash)(const unsigned char *data, size_t len, unsigned char *out);

static EVP_MD *md;
static EVP_MD_CTX *context;

static void
die(const char *what)
{
	fprintf(stderr, "bare: %s\n", what);
	exit(1);
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void
hash_evp(const unsigned char *data, size_t len, unsigned char *out)
{
	if (!EVP_DigestInit_ex2(context, md, NULL) || !EVP_DigestUpdate(context, data, len) ||
		!EVP_DigestFinal_ex(context, out, NULL))
		die("SHA-256 failed");
}

static inline void
hash_old(const unsigned char *data, size_t len, unsigned char *out)
{
	SHA256_CTX	c;

	SHA256_Init(&c);
	SHA256_Update(&c, data, len);
	SHA256_Final(out, &c);
}

static inline void
hash_node(Hash hash, const unsigned char *left, const unsigned char *right, unsigned char *out)
{
	unsigned char node[1 + 2 * HASH];

	node[0] = 1;
	memcpy(node + 1, left, HASH);
	memcpy(node + 1 + HASH, right, HASH);
	hash(node, sizeof(node), out);
}

/* One proof, RFC 9162 section 2.1.3.2. */
static inline int
verify(Hash hash, const unsigned char *record, int depth)
{
	const unsigned char *root = record + HASH + 16;
	const unsigned char *p = root + HASH;
	unsigned char r[HASH];
	uint64_t	fn;
	uint64_t	sn;

	memcpy(r, record, HASH);
	memcpy(&fn, record + HASH, 8);
	memcpy(&sn, record + HASH + 8, 8);
	fn = be64toh(fn);
	sn = be64toh(sn) - 1;
	if (fn > sn)
		return 0;
	for (int i = 0; i < depth; i++, p += HASH)
	{
		if (sn == 0)
			return 0;
		if ((fn & 1) || fn == sn)
		{
			hash_node(hash, p, r, r);
			for (; !(fn & 1) && fn != 0; sn >>= 1)
				fn >>= 1;
		}
		else
			hash_node(hash, r, p, r);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && memcmp(r, root, HASH) == 0;
}

/* The root over n entries, whose hashes are made in place. */
static inline void
merkle_root(Hash hash, const unsigned char *entries, int n, int len, unsigned char (*nodes)[HASH])
{
	for (int i = 0; i < n; i++)
		hash(entries + (size_t) i * (len + 1), len + 1, nodes[i]);
	for (; n > 1; n = (n + 1) / 2)
	{
		for (int i = 0; i < n / 2; i++)
			hash_node(hash, nodes[2 * i], nodes[2 * i + 1], nodes[i]);
		if (n & 1)
			memcpy(nodes[n / 2], nodes[n - 1], HASH);
	}
}

/* What is to be done again and again: all proofs once, or one root. */
typedef struct Work
{
	const unsigned char *data;
	size_t		record;
	long		n;
	int			size;			/* depth of the proofs, length of the entries */
	unsigned char (*nodes)[HASH];	/* NULL for proofs */
} Work;

static inline long
once(Hash hash, const Work *w)
{
	if (w->nodes)
	{
		merkle_root(hash, w->data, (int) w->n, w->size, w->nodes);
		return 1;
	}
	for (long i = 0; i < w->n; i++)
		if (!verify(hash, w->data + i * w->record, w->size))
			die("a proof is not right");
	return w->n;
}

static inline void
measure(const char *name, Hash hash, const Work *w)
{
	double		best = 0;

	for (int pass = 0; pass < PASSES; pass++)
	{
		double		start = seconds();
		double		elapsed;
		long		done = 0;

		do
			done += once(hash, w);
		while ((elapsed = seconds() - start) < PASS_SECONDS);
		if (done / elapsed > best)
			best = done / elapsed;
	}
	printf("%s %.0f\n", name, best);
}

static void
read_proofs(const char *name, Work *w)
{
	FILE	   *file = fopen(name, "rb");
	unsigned char *data;
	long		size;

	if (!file || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		die("cannot read the proofs");
	w->record = HASH + 16 + HASH + (size_t) w->size * HASH;
	w->n = size / w->record;
	data = malloc(size);
	rewind(file);
	if (w->n == 0 || size % w->record != 0 || !data || fread(data, 1, size, file) != (size_t) size)
		die("the file does not hold proofs of this depth");
	fclose(file);
	w->data = data;
}

static void
make_entries(Work *w)
{
	unsigned char *data = calloc(w->n, w->size + 1);

	w->nodes = malloc(w->n * HASH);
	if (w->n <= 0 || !data || !w->nodes)
		die("no memory for the entries");
	for (long i = 0; i < w->n; i++)
		memcpy(data + i * (w->size + 1) + 1, &i, sizeof(int));
	w->data = data;
}

int
main(int argc, char **argv)
{
	Work		w = {0};

	if (argc != 4)
		die("usage: bare proofs FILE DEPTH | bare root COUNT LENGTH");
	w.size = atoi(argv[3]);
	w.n = atol(argv[2]);
	if (strcmp(argv[1], "proofs") == 0)
		read_proofs(argv[2], &w);
	else
		make_entries(&w);
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
	context = EVP_MD_CTX_new();
	if (!md || !context)
		die("no SHA-256");
	measure("evp", hash_evp, &w);
	measure("old", hash_old, &w);
	return 0;
}
