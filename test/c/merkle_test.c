/*
 * merkle_test.c
 *	  Unit tests of src/crypto/merkle.c.
 *
 * Expected values are published vectors or come from a second, plainer computation in this file.
 */
#include "crypto/merkle.h"
#include "tap.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define LEAVES_MAX 4096
#define LEVELS 13 /* of a perfect tree of LEAVES_MAX leaves */
#define SMALL_SIZE_MAX 300

typedef uint8_t Hash[UNRDF_HASH_LEN];

/* One tree with every perfect subtree, and the root of every size. */
static Hash nodes[LEVELS][LEAVES_MAX];
static Hash roots[LEAVES_MAX + 1];

/* SHA-256 without the code under test. */
static void
plain_hash(uint8_t prefix, const void *a, size_t alen, const void *b, size_t blen, Hash out)
{
	uint8_t message[1 + 2 * UNRDF_HASH_LEN];

	message[0] = prefix;
	if (alen > 0)
		memcpy(message + 1, a, alen);
	if (blen > 0)
		memcpy(message + 1 + alen, b, blen);
	EVP_Digest(message, 1 + alen + blen, out, NULL, EVP_sha256(), NULL);
}

/* The largest power of two below n. */
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
plain_root(const Hash *leaves, uint64_t n, Hash out)
{
	Hash left;
	Hash right;
	uint64_t k;

	if (n == 1)
	{
		memcpy(out, leaves[0], sizeof(Hash));
		return;
	}
	k = split_point(n);
	plain_root(leaves, k, left);
	plain_root(leaves + k, n - k, right);
	plain_hash(0x01, left, sizeof(left), right, sizeof(right), out);
}

/* The length of PATH(m, D[n]) of RFC 9162 section 2.1.3.1, as it is written there. */
static int
plain_length(uint64_t m, uint64_t n)
{
	uint64_t k;

	if (n == 1)
		return 0;
	k = split_point(n);
	return 1 + (m < k ? plain_length(m, k) : plain_length(m - k, n - k));
}

static int
keep_node(void *arg, int level, uint64_t index, const uint8_t hash[UNRDF_HASH_LEN])
{
	memcpy(nodes[level][index], hash, UNRDF_HASH_LEN);
	++*(int *) arg;
	return 0;
}

typedef struct Source
{
	uint64_t size;
	int calls;
	int fail_at;  /* this call fails; 0: none */
	bool strayed; /* asked for something that is not a perfect subtree of the tree */
} Source;

static int
kept_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	Source *source = arg;

	if (level < 0 || level >= LEVELS || (index + 1) << level > source->size)
	{
		source->strayed = true;
		return -1;
	}
	memcpy(out, nodes[level][index], UNRDF_HASH_LEN);
	return ++source->calls == source->fail_at ? 1 : 0;
}

static void
test_reference_tree(void)
{
	static const char *const leaves[] = {"",
										 "00",
										 "10",
										 "2021",
										 "3031",
										 "40414243",
										 "5051525354555657",
										 "606162636465666768696a6b6c6d6e6f"};
	static const char *const expected[] = {
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
	UnrdfRange range;
	Hash out;
	int told = 0;
	int i;

	unrdf_range_init(&range);
	for (i = 0; i <= LENGTH(leaves); i++)
	{
		char name[64];
		uint8_t bytes[16];
		UnrdfBytes leaf = {bytes, 0};

		snprintf(name, sizeof(name), "reference tree of %d leaves: root", i);
		ok(unrdf_range_root(&range, out) == 0, "reference tree answers");
		is_text(to_hex(out, sizeof(out)), expected[i], name);
		if (i == LENGTH(leaves))
			break;
		from_hex(leaves[i], bytes);
		leaf.len = strlen(leaves[i]) / 2;
		ok(unrdf_leaf_hash(&leaf, 1, out) == 0 &&
			   unrdf_range_append(&range, out, keep_node, &told) == 0,
		   "reference leaf is appended");
	}
	ok(told == 15, "the sink is told of all 15 nodes of a perfect tree of 8");
}

/* Over the nodes that test_reference_tree left. */
static void
test_reference_paths(void)
{
	static const struct
	{
		uint64_t index;
		uint64_t size;
		int n;
		const char *path[3];
	} paths[] = {{0, 1, 0, {NULL}},
				 {0,
				  8,
				  3,
				  {"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
				   "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
				   "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}},
				 {5,
				  8,
				  3,
				  {"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
				   "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
				   "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}},
				 {2, 3, 1, {"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"}},
				 {1,
				  5,
				  3,
				  {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
				   "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
				   "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}}};
	int i;
	int j;

	for (i = 0; i < LENGTH(paths); i++)
	{
		Source source = {paths[i].size, 0, 0, false};
		Hash proof[64];
		char name[64];

		snprintf(name, sizeof(name), "published path of leaf %d of %d", (int) paths[i].index,
				 (int) paths[i].size);
		ok(unrdf_inclusion_proof(paths[i].index, paths[i].size, kept_node, &source, proof) ==
			   paths[i].n,
		   name);
		for (j = 0; j < paths[i].n; j++)
			is_text(to_hex(proof[j], sizeof(Hash)), paths[i].path[j], name);
	}
}

/* The node that RFC 9162 section 2.1.5 calls by a letter, in the tree of the first seven leaves. */
static void
example_node(char letter, Hash out)
{
	static const char places[3][9] = {"abcdefj", "ghi", "k"}; /* by level and index */
	int level;

	if (letter == 'l')
		plain_hash(0x01, nodes[1][2], sizeof(Hash), nodes[0][6], sizeof(Hash), out);
	for (level = 0; level < LENGTH(places); level++)
		if (strchr(places[level], letter) != NULL)
			memcpy(out, nodes[level][strchr(places[level], letter) - places[level]], sizeof(Hash));
}

/* The proofs of RFC 9162 section 2.1.5, over the nodes that test_reference_tree left. */
static void
test_rfc9162_example(void)
{
	static const struct
	{
		bool inclusion;
		uint64_t of;
		const char *nodes;
	} proofs[] = {{true, 0, "bhl"},   {true, 3, "cgl"}, {true, 4, "fjk"}, {true, 6, "ik"},
				  {false, 3, "cdgl"}, {false, 4, "l"},  {false, 6, "ijk"}};
	int i;
	int j;

	for (i = 0; i < LENGTH(proofs); i++)
	{
		Source source = {7, 0, 0, false};
		Hash proof[64];
		Hash expected;
		int n = proofs[i].inclusion
					? unrdf_inclusion_proof(proofs[i].of, 7, kept_node, &source, proof)
					: unrdf_consistency_proof(proofs[i].of, 7, kept_node, &source, proof);
		bool same = n == (int) strlen(proofs[i].nodes);
		char name[80];

		for (j = 0; same && j < n; j++)
		{
			example_node(proofs[i].nodes[j], expected);
			same = memcmp(proof[j], expected, sizeof(Hash)) == 0;
		}
		snprintf(name, sizeof(name), "RFC 9162 section 2.1.5: %s %d is [%s]",
				 proofs[i].inclusion ? "inclusion of" : "consistency of", (int) proofs[i].of,
				 proofs[i].nodes);
		ok(same, name);
	}
}

static void
test_leaf_hash(void)
{
	UnrdfBytes parts[8] = {{"a", 1}, {"b", 1}, {"", 0},  {"c", 1},
						   {"d", 1}, {"e", 1}, {"f", 1}, {"g", 1}};
	Hash expected;
	Hash out;

	plain_hash(0x00, "abcdef", 6, NULL, 0, expected);
	ok(unrdf_leaf_hash(parts, 7, out) == 0 && memcmp(out, expected, sizeof(Hash)) == 0,
	   "a leaf of seven pieces");
	ok(unrdf_leaf_hash(parts, 8, out) == -1, "a leaf of eight pieces is refused");
	ok(unrdf_leaf_hash(parts, -1, out) == -1, "a leaf of -1 pieces is refused");
	plain_hash(0x00, NULL, 0, NULL, 0, expected);
	ok(unrdf_leaf_hash(NULL, 0, out) == 0 && memcmp(out, expected, sizeof(Hash)) == 0,
	   "a leaf of no piece");
	plain_hash(0x01, expected, sizeof(Hash), expected, sizeof(Hash), expected);
	ok(unrdf_node_hash(out, out, out) == 0 && memcmp(out, expected, sizeof(Hash)) == 0,
	   "a node may be written over its children");
}

/* Builds the tree that the next tests use, and compares it with the plain definition. */
static void
test_range(void)
{
	UnrdfRange range;
	Source source = {0, 0, 0, false};
	bool small_roots = true;
	bool tree_roots = true;
	bool subtrees = true;
	int told = 0;
	uint64_t i;
	int level;
	Hash expected;

	unrdf_range_init(&range);
	unrdf_range_root(&range, roots[0]);
	for (i = 0; i < LEAVES_MAX; i++)
	{
		UnrdfBytes leaf = {&i, sizeof(i)};
		Hash hash;

		if (unrdf_leaf_hash(&leaf, 1, hash) != 0 ||
			unrdf_range_append(&range, hash, keep_node, &told) != 0 ||
			unrdf_range_root(&range, roots[i + 1]) != 0)
			small_roots = false;
		source.size = i + 1;
		tree_roots &= unrdf_tree_root(i + 1, kept_node, &source, hash) == 0 &&
					  memcmp(hash, roots[i + 1], sizeof(Hash)) == 0;
	}
	for (i = 1; i <= SMALL_SIZE_MAX; i++)
	{
		plain_root((const Hash *) nodes[0], i, expected);
		small_roots &= memcmp(roots[i], expected, sizeof(Hash)) == 0;
	}
	plain_root((const Hash *) nodes[0], LEAVES_MAX - 1, expected);
	small_roots &= memcmp(roots[LEAVES_MAX - 1], expected, sizeof(Hash)) == 0;
	for (level = 0; level < LEVELS; level++)
	{
		for (i = 0; i < (uint64_t) LEAVES_MAX >> level; i += 1 + random64() % 64)
		{
			plain_root((const Hash *) nodes[0] + (i << level), UINT64_C(1) << level, expected);
			subtrees &= memcmp(nodes[level][i], expected, sizeof(Hash)) == 0;
		}
	}
	ok(small_roots, "the range's root is the RFC's for sizes 1 to 300 and 4095");
	ok(tree_roots && !source.strayed, "the tree's root from nodes is the range's, 1 to 4096");
	ok(subtrees, "the sink was told the RFC's hashes of perfect subtrees");
	ok(told == 2 * LEAVES_MAX - 1, "and of each of them once");
}

typedef struct Proof
{
	uint64_t index;
	uint64_t size;
	Hash leaf;
	Hash root;
	int n;
	Hash hashes[65];
} Proof;

static bool
verifies(const Proof *p)
{
	return unrdf_verify_inclusion(p->index, p->size, p->leaf, (const Hash *) p->hashes, p->n,
								  p->root);
}

static bool
make_proof(uint64_t index, uint64_t size, Proof *p)
{
	Source source = {size, 0, 0, false};

	p->index = index;
	p->size = size;
	memcpy(p->leaf, nodes[0][index], sizeof(Hash));
	memcpy(p->root, roots[size], sizeof(Hash));
	p->n = unrdf_inclusion_proof(index, size, kept_node, &source, p->hashes);
	memset(p->hashes[p->n < 0 ? 0 : p->n], 0, sizeof(Hash));
	return p->n >= 0 && p->n == unrdf_inclusion_length(index, size) &&
		   p->n == plain_length(index, size) && !source.strayed && source.calls <= 2 * LEVELS;
}

static bool
verifies_with_flipped_bit(Proof *p, uint8_t *hash, unsigned int bit)
{
	bool answer;

	hash[bit / 8] ^= (uint8_t) (1 << bit % 8);
	answer = verifies(p);
	hash[bit / 8] ^= (uint8_t) (1 << bit % 8);
	return answer;
}

/* One bit of every hash; in small trees every bit. */
static bool
any_flip_verifies(Proof *p)
{
	unsigned int bit;
	int i;

	for (i = 0; i < p->n; i++)
	{
		if (verifies_with_flipped_bit(p, p->hashes[i], random64() % 256))
			return true;
		for (bit = 0; p->size <= 16 && bit < 256; bit++)
		{
			if (verifies_with_flipped_bit(p, p->hashes[i], bit))
				return true;
		}
	}
	return verifies_with_flipped_bit(p, p->leaf, random64() % 256) ||
		   verifies_with_flipped_bit(p, p->root, random64() % 256);
}

/* Every other index in trees up to 64, else a few; and some beyond the tree. */
static bool
any_other_index_verifies(const Proof *p)
{
	Proof other = *p;
	uint64_t step = p->size <= 64 ? 1 : 1 + p->size / 4;

	for (other.index = random64() % step; other.index < p->size + 4 * step; other.index += step)
	{
		if (other.index != p->index && verifies(&other))
			return true;
	}
	other.index = UINT64_MAX;
	return verifies(&other);
}

/* Sizes that demand another length must not verify; the others cannot be told by the proof. */
static bool
any_other_size_verifies(const Proof *p)
{
	Proof other = *p;

	for (other.size = 0; other.size <= SMALL_SIZE_MAX; other.size++)
	{
		if (unrdf_inclusion_length(p->index, other.size) != p->n && verifies(&other))
			return true;
	}
	return false;
}

static bool
any_other_length_verifies(const Proof *p)
{
	Proof other = *p;
	bool any = false;

	for (other.n = -1; other.n <= 65; other.n++)
		any |= other.n != p->n && verifies(&other);
	other.n = p->n - 1; /* without its first hash */
	memmove(other.hashes[0], other.hashes[1], sizeof(Hash) * 64);
	return any || verifies(&other);
}

static void
test_small_trees(void)
{
	bool good = true;
	bool flip = false;
	bool index = false;
	bool size = false;
	bool length = false;
	Proof proof;
	uint64_t i;
	uint64_t n;

	for (n = 1; n <= SMALL_SIZE_MAX; n++)
	{
		for (i = 0; i < n; i++)
		{
			good &= make_proof(i, n, &proof) && verifies(&proof);
			flip |= any_flip_verifies(&proof);
			index |= any_other_index_verifies(&proof);
			size |= any_other_size_verifies(&proof);
			length |= any_other_length_verifies(&proof);
		}
	}
	ok(good, "all 45,150 proofs of sizes 1 to 300 have the RFC's length and verify");
	ok(!flip, "none verifies with a bit flipped in one of its hashes, the leaf or the root");
	ok(!index, "none verifies for another index");
	ok(!size, "none verifies for a size of another length");
	ok(!length, "none verifies shorter or longer");
}

/* Changes a proof so that it must not verify. */
static void
tamper(Proof *p)
{
	uint8_t mask = (uint8_t) (1 << random64() % 8);
	int byte = (int) (random64() % UNRDF_HASH_LEN);
	int a = p->n > 0 ? (int) (random64() % p->n) : 0;
	int b = p->n > 0 ? (int) (random64() % p->n) : 0;
	int kind = (int) (random64() % 7);

	if (kind == 0)
		p->leaf[byte] ^= mask;
	else if (kind == 1)
		p->index = (p->index + 1 + random64() % (LEAVES_MAX - 1)) % LEAVES_MAX;
	else if (kind == 2)
		p->n--;
	else if (kind == 3)
		p->n++;
	else if (kind == 4 && p->n > 0)
		p->hashes[a][byte] ^= mask;
	else if (kind == 5 && a != b)
	{
		Hash swapped;

		memcpy(swapped, p->hashes[a], sizeof(Hash));
		memcpy(p->hashes[a], p->hashes[b], sizeof(Hash));
		memcpy(p->hashes[b], swapped, sizeof(Hash));
	}
	else
		p->root[byte] ^= mask;
}

static void
test_trials(void)
{
	int false_refusals = 0;
	int false_acceptances = 0;
	int i;

	for (i = 0; i < TRIALS; i++)
	{
		uint64_t size = 1 + random64() % LEAVES_MAX;
		Proof proof;

		if (!make_proof(random64() % size, size, &proof) || !verifies(&proof))
			false_refusals++;
		tamper(&proof);
		if (verifies(&proof))
			false_acceptances++;
	}
	never(false_refusals, TRIALS, "good inclusion proofs refused");
	never(false_acceptances, TRIALS, "tampered inclusion proofs accepted");
}

/* ---- attacks that other trees have fallen to ---- */

/*
 * A tree that doubles what has no sibling gives the same root to a list and to the list with its end
 * repeated.
 */
static void
test_repeated_end(void)
{
	Hash leaves[2 * SMALL_SIZE_MAX];
	bool same = false;
	uint64_t n;
	uint64_t k;
	Hash root;

	for (n = 1; n <= SMALL_SIZE_MAX; n++)
	{
		memcpy(leaves, nodes[0], n * sizeof(Hash));
		for (k = 1; k <= n; k *= 2)
		{
			memcpy(leaves[n], leaves[n - k], k * sizeof(Hash));
			plain_root((const Hash *) leaves, n + k, root);
			same |= memcmp(root, roots[n], sizeof(Hash)) == 0;
		}
	}
	ok(!same, "no tree has the root of one with its last 1, 2, 4, ... leaves repeated");
}

/*
 * With a smaller size the upper part of a path is a path to an inner node.  What is hashed for that node,
 * given for a leaf's bytes, must not be what the path leads from.
 */
static void
test_inner_node_as_leaf(void)
{
	bool leads = true;
	bool accepted = false;
	uint64_t i;
	Proof p;

	for (i = 0; i < LEAVES_MAX; i += 3)
	{
		int level;

		for (level = 1; level < LEVELS; level++)
		{
			uint8_t bytes[1 + 2 * UNRDF_HASH_LEN] = {1};
			UnrdfBytes with_prefix = {bytes, sizeof(bytes)};
			UnrdfBytes children = {bytes + 1, sizeof(bytes) - 1};

			memcpy(bytes + 1, nodes[level - 1][i >> level << 1], 2 * sizeof(Hash));
			make_proof(i, LEAVES_MAX, &p);
			p.index >>= level;
			p.size >>= level;
			p.n -= level;
			memmove(p.hashes[0], p.hashes[level], sizeof(Hash) * p.n);
			memcpy(p.leaf, nodes[level][p.index], sizeof(Hash));
			leads &= verifies(&p);
			accepted |= unrdf_leaf_hash(&children, 1, p.leaf) != 0 || verifies(&p);
			accepted |= unrdf_leaf_hash(&with_prefix, 1, p.leaf) != 0 || verifies(&p);
		}
	}
	ok(leads, "under a smaller size the upper part of a path leads from an inner node");
	ok(!accepted, "but not from a leaf of what that is the hash of");
}

/* ---- trees too large to build, of equal leaves ---- */

static Hash equal_nodes[64];

static int
equal_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN])
{
	Source *source = arg;

	/* written without a shift of index, which could overflow */
	if (level < 0 || level > 62 || index >= source->size >> level)
	{
		source->strayed = true;
		return -1;
	}
	source->calls++;
	memcpy(out, equal_nodes[level], UNRDF_HASH_LEN);
	return 0;
}

static void
plain_equal_root(uint64_t n, Hash out)
{
	Hash right;
	uint64_t k;
	int level = 0;

	while (UINT64_C(1) << level < n)
		level++;
	if (UINT64_C(1) << level == n)
	{
		memcpy(out, equal_nodes[level], sizeof(Hash));
		return;
	}
	k = split_point(n);
	plain_equal_root(n - k, right);
	plain_hash(0x01, equal_nodes[level - 1], sizeof(Hash), right, sizeof(Hash), out);
}

static bool
big_proof_is_right(uint64_t index, uint64_t size, const Hash root)
{
	Source source = {size, 0, 0, false};
	Proof p;

	p.index = index;
	p.size = size;
	memcpy(p.leaf, equal_nodes[0], sizeof(Hash));
	memcpy(p.root, root, sizeof(Hash));
	memset(p.hashes, 0, sizeof(p.hashes));
	p.n = unrdf_inclusion_proof(index, size, equal_node, &source, p.hashes);
	return p.n == plain_length(index, size) && p.n == unrdf_inclusion_length(index, size) &&
		   verifies(&p) && !any_flip_verifies(&p) && !any_other_length_verifies(&p) &&
		   !source.strayed && source.calls <= 126;
}

static void
test_big_size(uint64_t size)
{
	const uint64_t indexes[] = {0, 1, 2, size / 2 - 1, size / 2, size / 2 + 1, size - 2, size - 1};
	Source source = {size, 0, 0, false};
	Hash expected;
	Hash root;
	bool right;
	char name[64];
	int i;

	plain_equal_root(size, expected);
	right = unrdf_tree_root(size, equal_node, &source, root) == 0 && !source.strayed &&
			source.calls <= 63 && memcmp(root, expected, sizeof(Hash)) == 0;
	for (i = 0; i < LENGTH(indexes); i++)
		right &= big_proof_is_right(indexes[i], size, root);
	for (i = 0; i < 200; i++)
		right &= big_proof_is_right(random64() % size, size, root);
	snprintf(name, sizeof(name), "tree of %llu leaves", (unsigned long long) size);
	ok(right, name);
}

static void
test_big_trees(void)
{
	static const uint64_t sizes[] = {UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 53,
									 UINT64_C(1) << 62};
	int level;
	int i;

	plain_hash(0x00, NULL, 0, NULL, 0, equal_nodes[0]);
	for (level = 1; level < 64; level++)
		plain_hash(0x01, equal_nodes[level - 1], sizeof(Hash), equal_nodes[level - 1], sizeof(Hash),
				   equal_nodes[level]);
	for (i = 0; i < LENGTH(sizes); i++)
	{
		test_big_size(sizes[i] - 1);
		test_big_size(sizes[i]);
		test_big_size(sizes[i] + 1);
	}
	test_big_size(UNRDF_TREE_SIZE_MAX - 1);
	test_big_size(UNRDF_TREE_SIZE_MAX);
}

/* The last leaf that fits. */
static void
test_full_range(void)
{
	UnrdfRange range;
	UnrdfRange before;
	Source source = {UNRDF_TREE_SIZE_MAX, 0, 0, false};
	Hash expected;
	Hash root;

	memcpy(range.hash, equal_nodes, sizeof(range.hash));
	range.size = UNRDF_TREE_SIZE_MAX - 1;
	ok(unrdf_range_append(&range, equal_nodes[0], NULL, NULL) == 0, "leaf 2^63 - 2 is appended");
	ok(unrdf_range_root(&range, root) == 0 &&
		   unrdf_tree_root(UNRDF_TREE_SIZE_MAX, equal_node, &source, expected) == 0 &&
		   memcmp(root, expected, sizeof(Hash)) == 0,
	   "the root of 2^63 - 1 leaves");
	before = range;
	ok(unrdf_range_append(&range, equal_nodes[0], NULL, NULL) == -1 &&
		   memcmp(&range, &before, sizeof(range)) == 0,
	   "a full tree takes no leaf");
	range.size = (UINT64_C(1) << 62) - 1;
	ok(unrdf_range_append(&range, equal_nodes[0], NULL, NULL) == 0 &&
		   unrdf_range_root(&range, root) == 0 && memcmp(root, equal_nodes[62], sizeof(Hash)) == 0,
	   "one leaf that completes 62 levels");
}

/* ---- refusals ---- */

static int
stop_at_level(void *arg, int level, uint64_t index, const uint8_t hash[UNRDF_HASH_LEN])
{
	(void) index;
	(void) hash;
	return level == *(int *) arg ? 77 : 0;
}

static void
test_sink_stops(void)
{
	UnrdfRange range;
	UnrdfRange before;
	int stop = 2;
	int i;

	unrdf_range_init(&range);
	for (i = 0; i < 3; i++)
		unrdf_range_append(&range, nodes[0][i], stop_at_level, &stop);
	before = range;
	ok(unrdf_range_append(&range, nodes[0][3], stop_at_level, &stop) == 77,
	   "the sink's answer stops the append and is passed on");
	ok(memcmp(&range, &before, sizeof(range)) == 0, "and the range is as before");
}

static void
test_refusals(void)
{
	const uint64_t too_big = UNRDF_TREE_SIZE_MAX + 1;
	Source source = {300, 0, 0, false};
	Hash hashes[64];
	Proof p;
	bool failed = true;

	ok(unrdf_inclusion_length(0, 0) == -1 && unrdf_inclusion_length(5, 5) == -1 &&
		   unrdf_inclusion_length(0, too_big) == -1 && unrdf_inclusion_length(0, UINT64_MAX) == -1,
	   "no length for an index or size out of range");
	ok(unrdf_inclusion_proof(0, 0, kept_node, &source, hashes) == -1 &&
		   unrdf_inclusion_proof(300, 300, kept_node, &source, hashes) == -1 &&
		   unrdf_inclusion_proof(0, too_big, kept_node, &source, hashes) == -1 && source.calls == 0,
	   "no proof for an index or size out of range");
	ok(unrdf_tree_root(too_big, kept_node, &source, hashes[0]) == -1 && source.calls == 0,
	   "no root for a size out of range");
	make_proof(0, 1, &p);
	ok(verifies(&p) && unrdf_verify_inclusion(0, 1, p.leaf, NULL, 0, p.root),
	   "the only leaf is its own root");
	p.size = 0;
	ok(!verifies(&p), "nothing is in the empty tree");
	p.size = too_big;
	ok(!verifies(&p), "nothing is in a tree of 2^63 leaves");
	for (source.fail_at = 1; source.fail_at <= 9; source.fail_at++)
	{
		/* leaf 290 of 300: six left siblings and neighbours, and a ragged sibling of two nodes */
		source.calls = 0;
		failed &= unrdf_inclusion_proof(290, 300, kept_node, &source, hashes) == -1 ||
				  source.calls < source.fail_at;
	}
	source.fail_at = 1;
	source.calls = 0;
	ok(failed && unrdf_tree_root(300, kept_node, &source, hashes[0]) == -1,
	   "a source that fails fails the proof and the root");
}

/* Runs the tests of this file. */
void
test_merkle(void)
{
	test_reference_tree();
	test_reference_paths();
	test_rfc9162_example();
	test_leaf_hash();
	test_range();
	test_small_trees();
	test_trials();
	test_repeated_end();
	test_inner_node_as_leaf();
	test_big_trees();
	test_full_range();
	test_sink_stops();
	test_refusals();
}
