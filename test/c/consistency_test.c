/*
 * consistency_test.c
 *	  Unit tests of consistency proofs (src/crypto/merkle.c).
 *
 * Expected values are published vectors or come from a second, plainer computation in this file.
 */
#include "crypto/merkle.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define SIZE_MAX_SMALL 300

typedef uint8_t Hash[UNRDF_HASH_LEN];

static Hash leaves[SIZE_MAX_SMALL];
static Hash roots[SIZE_MAX_SMALL + 1];

/* Of a tree all of whose leaves are the same, a perfect subtree's hash is that of its level. */
static Hash levels[64];

typedef struct Proof
{
	uint64_t old;
	uint64_t size;
	Hash old_root;
	Hash root;
	int n;
	Hash hashes[65];
} Proof;

static uint64_t
split_point(uint64_t n)
{
	uint64_t k = 1;

	while (k < n - k)
		k *= 2;
	return k;
}

/* MTH of RFC 9162 section 2.1.1, as it is written there. */
static void
plain_root(const Hash *d, uint64_t n, Hash out)
{
	Hash left;
	Hash right;
	uint64_t k;

	if (n == 1)
	{
		memcpy(out, d[0], sizeof(Hash));
		return;
	}
	k = split_point(n);
	plain_root(d, k, left);
	plain_root(d + k, n - k, right);
	unrdf_node_hash(left, right, out);
}

/* SUBPROOF(m, D[n], b) of RFC 9162 section 2.1.4.1, as it is written there. */
static int
plain_subproof(uint64_t m, const Hash *d, uint64_t n, bool b, Hash *out)
{
	uint64_t k;
	int len;

	if (m == n)
	{
		if (b)
			return 0;
		plain_root(d, n, out[0]);
		return 1;
	}
	k = split_point(n);
	if (m <= k)
	{
		len = plain_subproof(m, d, k, b, out);
		plain_root(d + k, n - k, out[len]);
	}
	else
	{
		len = plain_subproof(m - k, d + k, n - k, false, out);
		plain_root(d, k, out[len]);
	}
	return len + 1;
}

static bool
verifies(const Proof *p)
{
	return unrdf_verify_consistency(p->old, p->size, p->old_root, p->root, (const Hash *) p->hashes,
									p->n);
}

static int
small_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	if ((index + 1) << level > *(uint64_t *) arg)
		return -1; /* not a perfect subtree of this tree */
	plain_root((const Hash *) leaves + (index << level), UINT64_C(1) << level, out);
	return 0;
}

static int
constant_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	if (index >= *(uint64_t *) arg >> level)
		return -1;
	memcpy(out, levels[level], sizeof(Hash));
	return 0;
}

static bool
make_proof(uint64_t old, uint64_t size, UnrdfNodeSource source, Proof *p)
{
	p->old = old;
	p->size = size;
	p->n = unrdf_consistency_proof(old, size, source, &size, p->hashes);
	return p->n >= 0 && p->n == unrdf_consistency_length(old, size) &&
		   unrdf_tree_root(old, source, &old, p->old_root) == 0 &&
		   unrdf_tree_root(size, source, &size, p->root) == 0;
}

static void
test_reference(void)
{
	static const char *const reference[] = {"",
											"00",
											"10",
											"2021",
											"3031",
											"40414243",
											"5051525354555657",
											"606162636465666768696a6b6c6d6e6f"};
	static const struct
	{
		uint64_t old;
		uint64_t size;
		int n;
		const char *hashes[3];
	} proofs[] = {{1, 1, 0, {NULL}},
				  {1,
				   8,
				   3,
				   {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
					"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
					"6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
				  {6,
				   8,
				   3,
				   {"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
					"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
					"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
				  {2,
				   5,
				   2,
				   {"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
					"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}}};
	int i;
	int j;

	for (i = 0; i < LENGTH(reference); i++)
	{
		uint8_t bytes[16];
		UnrdfBytes leaf = {bytes, strlen(reference[i]) / 2};

		from_hex(reference[i], bytes);
		unrdf_leaf_hash(&leaf, 1, leaves[i]);
	}
	for (i = 0; i < LENGTH(proofs); i++)
	{
		Proof p;
		char name[80];

		snprintf(name, sizeof(name), "published consistency proof of %d and %d",
				 (int) proofs[i].old, (int) proofs[i].size);
		ok(make_proof(proofs[i].old, proofs[i].size, small_node, &p) && p.n == proofs[i].n &&
			   verifies(&p),
		   name);
		for (j = 0; j < proofs[i].n; j++)
			is_text(to_hex(p.hashes[j], sizeof(Hash)), proofs[i].hashes[j], name);
	}
}

/* Whether it verifies with one bit flipped in hash i; -1 is the root, -2 the old root. */
static bool
flip_verifies(Proof *p, int i)
{
	uint8_t *hash = i == -2 ? p->old_root : i == -1 ? p->root : p->hashes[i];
	int bit = (int) (random64() % 256);
	bool answer;

	hash[bit / 8] ^= (uint8_t) (1 << bit % 8);
	answer = verifies(p);
	hash[bit / 8] ^= (uint8_t) (1 << bit % 8);
	return answer;
}

static bool
any_flip_verifies(Proof *p)
{
	bool any = false;
	int i;

	for (i = -2; i < p->n; i++)
		any |= flip_verifies(p, i);
	return any;
}

static bool
any_other_shape_verifies(const Proof *p)
{
	Proof other = *p;
	bool any = false;

	for (other.n = -1; other.n <= 65; other.n++)
		any |= other.n != p->n && verifies(&other);
	other = *p;
	memcpy(other.old_root, p->root, sizeof(Hash));
	memcpy(other.root, p->old_root, sizeof(Hash));
	if (p->old != p->size)
		any |= verifies(&other);
	other = *p;
	other.old = p->size;
	other.size = p->old;
	if (p->old != p->size)
		any |= verifies(&other);
	other = *p;
	other.old = 0;
	return any || verifies(&other);
}

static void
test_small_trees(void)
{
	bool same = true;
	bool good = true;
	bool flip = false;
	bool shape = false;
	Proof p;
	uint64_t i;
	uint64_t old;
	uint64_t size;

	for (i = 0; i < SIZE_MAX_SMALL; i++)
	{
		UnrdfBytes leaf = {&i, sizeof(i)};

		unrdf_leaf_hash(&leaf, 1, leaves[i]);
	}
	for (size = 1; size <= SIZE_MAX_SMALL; size++)
		plain_root((const Hash *) leaves, size, roots[size]);
	for (size = 1; size <= SIZE_MAX_SMALL; size++)
	{
		for (old = 1; old <= size; old++)
		{
			Hash plain[64];

			good &= make_proof(old, size, small_node, &p) && verifies(&p) &&
					memcmp(p.old_root, roots[old], sizeof(Hash)) == 0 &&
					memcmp(p.root, roots[size], sizeof(Hash)) == 0;
			same &= plain_subproof(old, (const Hash *) leaves, size, true, plain) == p.n &&
					memcmp(plain, p.hashes, sizeof(Hash) * p.n) == 0;
			memset(p.hashes[p.n], 0, sizeof(p.hashes) - sizeof(Hash) * p.n);
			flip |= any_flip_verifies(&p);
			shape |= any_other_shape_verifies(&p);
		}
	}
	ok(good, "all 45,150 consistency proofs of sizes 1 to 300 verify");
	ok(same, "and are the RFC's");
	ok(!flip, "none verifies with a bit flipped in one of its hashes or roots");
	ok(!shape, "none verifies longer, shorter, backwards or from 0");
}

/* Random sizes of any magnitude, old <= size. */
static void
draw_sizes(uint64_t *old, uint64_t *size)
{
	*size = 1 + (random64() >> (1 + random64() % 63)) % UNRDF_TREE_SIZE_MAX;
	*old = 1 + random64() % *size;
	if (random64() % 4 == 0)
		*old = *size - random64() % (*size < 1000 ? *size : 1000);
}

static void
test_large_trees(void)
{
	int false_refusals = 0;
	int false_acceptances = 0;
	int i;
	Proof p;

	for (i = 1; i < 64; i++)
		unrdf_node_hash(levels[i - 1], levels[i - 1], levels[i]);
	for (i = 0; i < TRIALS; i++)
	{
		uint64_t old;
		uint64_t size;

		draw_sizes(&old, &size);
		false_refusals += !make_proof(old, size, constant_node, &p) || !verifies(&p);
		false_acceptances += flip_verifies(&p, (int) (random64() % (p.n + 2)) - 2);
	}
	never(false_refusals, TRIALS, "consistency proofs of sizes up to 2^63 - 1 refused");
	never(false_acceptances, TRIALS, "consistency proofs with one bit flipped accepted");
	ok(make_proof(UNRDF_TREE_SIZE_MAX - 1, UNRDF_TREE_SIZE_MAX, constant_node, &p) && verifies(&p),
	   "the two largest sizes");
	ok(make_proof((UINT64_C(1) << 62) - 1, UNRDF_TREE_SIZE_MAX, constant_node, &p) && p.n == 64 &&
		   verifies(&p),
	   "the longest proof");
}

static void
test_bounds(void)
{
	uint64_t size = UINT64_MAX;
	Hash hashes[64];

	ok(unrdf_consistency_proof(0, 8, constant_node, &size, hashes) == -1, "no proof from size 0");
	ok(unrdf_consistency_proof(9, 8, constant_node, &size, hashes) == -1, "no proof backwards");
	ok(unrdf_consistency_proof(8, UNRDF_TREE_SIZE_MAX + 1, constant_node, &size, hashes) == -1,
	   "no proof to a tree that is too large");
	ok(unrdf_consistency_length(1, UINT64_MAX) == -1 && unrdf_consistency_length(0, 0) == -1,
	   "nor a length");
	size = 4;
	ok(unrdf_consistency_proof(3, 8, constant_node, &size, hashes) == -1,
	   "no proof where a hash is missing");
	ok(!unrdf_verify_consistency(0, 0, levels[0], levels[0], NULL, 0),
	   "two empty trees are not proved consistent");
}

void
test_consistency(void)
{
	test_reference();
	test_small_trees();
	test_large_trees();
	test_bounds();
}
