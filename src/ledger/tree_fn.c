/*
 * tree_fn.c: the SQL functions about Merkle trees (RFC 9162, 2.1). Those with _fn have the name of a
 * pure function in crypto/. Verifying is total: what is malformed is false, never an error.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

#include "base/datum.h"
#include "ledger/proof.h"

PG_FUNCTION_INFO_V1(unrdf_consistency_proof_fn);
PG_FUNCTION_INFO_V1(unrdf_inclusion_proof_at);
PG_FUNCTION_INFO_V1(unrdf_inclusion_proof_fn);
PG_FUNCTION_INFO_V1(unrdf_leaf_hash_fn);
PG_FUNCTION_INFO_V1(unrdf_merkle_root);
PG_FUNCTION_INFO_V1(unrdf_merkle_root_final);
PG_FUNCTION_INFO_V1(unrdf_merkle_root_step);
PG_FUNCTION_INFO_V1(unrdf_node_hash_fn);
PG_FUNCTION_INFO_V1(unrdf_verify_consistency_fn);
PG_FUNCTION_INFO_V1(unrdf_verify_inclusion_fn);

static bool
read_hash(bytea *b, uint8 *out)
{
	if (VARSIZE_ANY_EXHDR(b) != UNRDF_HASH_LEN)
		return false;
	memcpy(out, VARDATA_ANY(b), UNRDF_HASH_LEN);
	return true;
}

#define MAX_PROOF 64 /* hashes */

/*
 * Asks for the memory of a proof at once: who steps through it waits for one cache line after the
 * other.
 */
static void
prefetch(const ArrayType *array)
{
	Size most = sizeof(ArrayType) + MAX_PROOF * (VARHDRSZ + UNRDF_HASH_LEN);
	Size len = Min(VARSIZE(array), most);

	for (Size at = 0; at < len; at += PG_CACHE_LINE_SIZE / 2)
		__builtin_prefetch((const char *) array + at);
}

/*
 * Reads a proof; -1 for what cannot be one. Steps from element to element where they lie: taking the
 * array apart costs more than the hashing.
 */
static int
read_proof(ArrayType *array, uint8 (*proof)[UNRDF_HASH_LEN])
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	char *next = ARR_DATA_PTR(array);

	if (ARR_NDIM(array) > 1 || n > MAX_PROOF || array_contains_nulls(array))
		return -1;
	prefetch(array);
	for (int i = 0; i < n; i++)
	{
		next = (char *) att_align_pointer(next, TYPALIGN_INT, -1, next);
		if (VARATT_IS_EXTERNAL(next) || VARATT_IS_COMPRESSED(next) ||
			!read_hash((bytea *) next, proof[i]))
			return -1;
		next += VARSIZE_ANY(next);
	}
	return n;
}

/* A size or index argument; NULL where it is null. Raises 22023 where it is negative. */
static const int64 *
natural(FunctionCallInfo fcinfo, int arg, const char *name, int64 *value)
{
	if (PG_ARGISNULL(arg))
		return NULL;
	*value = PG_GETARG_INT64(arg);
	if (*value < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must not be negative", name)));
	return value;
}

static Datum
inclusion_datum(FunctionCallInfo fcinfo, UnrdfInclusion *p)
{
	Datum values[5] = {0};
	bool nulls[5] = {true, true, true, true, true};

	if (p)
	{
		values[0] = Int64GetDatum((int64) p->index);
		values[1] = Int64GetDatum((int64) p->size);
		values[2] = UnrdfBytesDatum(p->leaf, UNRDF_HASH_LEN);
		values[3] = UnrdfBytesDatum(p->root, UNRDF_HASH_LEN);
		values[4] = UnrdfProofDatum(p->hashes, p->n);
		memset(nulls, false, sizeof(nulls));
	}
	return UnrdfRecordDatum(fcinfo, values, nulls);
}

/*
 * unrdf.inclusion_proof(receipt, size): UnrdfProofOfReceipt; all null while the receipt is not in
 * that tree.
 */
Datum
unrdf_inclusion_proof_fn(PG_FUNCTION_ARGS)
{
	int64 value;
	const int64 *size = natural(fcinfo, 1, "size", &value);
	UnrdfInclusion p;
	bool found = !PG_ARGISNULL(0) && UnrdfProofOfReceipt(PG_GETARG_INT64(0), size, &p);

	PG_RETURN_DATUM(inclusion_datum(fcinfo, found ? &p : NULL));
}

/* unrdf.inclusion_proof(log, index, size): UnrdfProofOfLeaf; all null where log or index is null. */
Datum
unrdf_inclusion_proof_at(PG_FUNCTION_ARGS)
{
	int64 values[2];
	const int64 *index = natural(fcinfo, 1, "index", &values[0]);
	const int64 *size = natural(fcinfo, 2, "size", &values[1]);
	UnrdfInclusion p;

	if (PG_ARGISNULL(0) || index == NULL)
		PG_RETURN_DATUM(inclusion_datum(fcinfo, NULL));
	UnrdfProofOfLeaf(PG_GETARG_INT32(0), (uint64) *index, size, &p);
	PG_RETURN_DATUM(inclusion_datum(fcinfo, &p));
}

/* unrdf.consistency_proof(log, old_size, size): UnrdfProofOfConsistency. */
Datum
unrdf_consistency_proof_fn(PG_FUNCTION_ARGS)
{
	int64 sizes[2];
	const int64 *old = natural(fcinfo, 1, "old_size", &sizes[0]);
	const int64 *size = natural(fcinfo, 2, "size", &sizes[1]);
	Datum values[5] = {0};
	bool nulls[5] = {true, true, true, true, true};

	if (!PG_ARGISNULL(0) && old != NULL)
	{
		UnrdfConsistency p;

		UnrdfProofOfConsistency(PG_GETARG_INT32(0), (uint64) *old, size, &p);
		values[0] = Int64GetDatum((int64) p.old);
		values[1] = UnrdfBytesDatum(p.old_root, UNRDF_HASH_LEN);
		values[2] = Int64GetDatum((int64) p.size);
		values[3] = UnrdfBytesDatum(p.root, UNRDF_HASH_LEN);
		values[4] = UnrdfProofDatum(p.hashes, p.n);
		memset(nulls, false, sizeof(nulls));
	}
	PG_RETURN_DATUM(UnrdfRecordDatum(fcinfo, values, nulls));
}

/* unrdf.verify_inclusion(leaf, index, tree_size, proof, root): RFC 9162, 2.1.3.2. */
Datum
unrdf_verify_inclusion_fn(PG_FUNCTION_ARGS)
{
	uint8 leaf[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	uint8 proof[MAX_PROOF][UNRDF_HASH_LEN];
	int64 index = PG_GETARG_INT64(1);
	int64 size = PG_GETARG_INT64(2);
	int n;

	if (index < 0 || size < 0 || !read_hash(PG_GETARG_BYTEA_PP(0), leaf) ||
		!read_hash(PG_GETARG_BYTEA_PP(4), root))
		PG_RETURN_BOOL(false);
	n = read_proof(PG_GETARG_ARRAYTYPE_P(3), proof);
	PG_RETURN_BOOL(n >= 0 &&
				   unrdf_verify_inclusion((uint64) index, (uint64) size, leaf,
										  (const uint8(*)[UNRDF_HASH_LEN]) proof, n, root));
}

/* unrdf.verify_consistency(old_size, old_root, tree_size, root, proof): RFC 9162, 2.1.4.2. */
Datum
unrdf_verify_consistency_fn(PG_FUNCTION_ARGS)
{
	uint8 old_root[UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];
	uint8 proof[MAX_PROOF][UNRDF_HASH_LEN];
	int64 old = PG_GETARG_INT64(0);
	int64 size = PG_GETARG_INT64(2);
	int n;

	if (old < 0 || size < 0 || !read_hash(PG_GETARG_BYTEA_PP(1), old_root) ||
		!read_hash(PG_GETARG_BYTEA_PP(3), root))
		PG_RETURN_BOOL(false);
	n = read_proof(PG_GETARG_ARRAYTYPE_P(4), proof);
	PG_RETURN_BOOL(n >= 0 && unrdf_verify_consistency((uint64) old, (uint64) size, old_root, root,
													  (const uint8(*)[UNRDF_HASH_LEN]) proof, n));
}

static void
hash_entry(bytea *entry, uint8 *hash)
{
	UnrdfBytes part;

	part.data = VARDATA_ANY(entry);
	part.len = VARSIZE_ANY_EXHDR(entry);
	if (unrdf_leaf_hash(&part, 1, hash) != 0)
		elog(ERROR, "SHA-256 failed");
}

/* unrdf.leaf_hash(data): RFC 9162, 2.1.1. */
Datum
unrdf_leaf_hash_fn(PG_FUNCTION_ARGS)
{
	uint8 hash[UNRDF_HASH_LEN];

	hash_entry(PG_GETARG_BYTEA_PP(0), hash);
	PG_RETURN_DATUM(UnrdfBytesDatum(hash, UNRDF_HASH_LEN));
}

/* unrdf.node_hash(left_child, right_child): RFC 9162, 2.1.1. Raises 22023 for what is no hash. */
Datum
unrdf_node_hash_fn(PG_FUNCTION_ARGS)
{
	uint8 left[UNRDF_HASH_LEN];
	uint8 right[UNRDF_HASH_LEN];

	if (!read_hash(PG_GETARG_BYTEA_PP(0), left) || !read_hash(PG_GETARG_BYTEA_PP(1), right))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a node's children are hashes of %d bytes", UNRDF_HASH_LEN)));
	if (unrdf_node_hash(left, right, left) != 0)
		elog(ERROR, "SHA-256 failed");
	PG_RETURN_DATUM(UnrdfBytesDatum(left, UNRDF_HASH_LEN));
}

static void
append_entry(UnrdfRange *range, bytea *entry)
{
	uint8 hash[UNRDF_HASH_LEN];

	hash_entry(entry, hash);
	if (unrdf_range_append(range, hash, NULL, NULL) != 0)
		elog(ERROR, "SHA-256 failed");
}

static Datum
root_datum(const UnrdfRange *range)
{
	uint8 root[UNRDF_HASH_LEN];

	if (unrdf_range_root(range, root) != 0)
		elog(ERROR, "SHA-256 failed");
	return UnrdfBytesDatum(root, UNRDF_HASH_LEN);
}

static void
refuse_null_entry(void)
{
	ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("an entry must not be null")));
}

/* unrdf.merkle_root(entries): RFC 9162, 2.1.1, over the entries in order. Raises 22004 for a null. */
Datum
unrdf_merkle_root(PG_FUNCTION_ARGS)
{
	ArrayIterator entries = array_create_iterator(PG_GETARG_ARRAYTYPE_P(0), 0, NULL);
	UnrdfRange range;
	Datum entry;
	bool isnull;

	unrdf_range_init(&range);
	while (array_iterate(entries, &entry, &isnull))
	{
		if (isnull)
			refuse_null_entry();
		append_entry(&range, DatumGetByteaPP(entry));
	}
	array_free_iterator(entries);
	PG_RETURN_DATUM(root_datum(&range));
}

/* Transition function of the aggregate unrdf.merkle_root(entry): one entry more. Raises 22004 for a null. */
Datum
unrdf_merkle_root_step(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	UnrdfRange *range = PG_ARGISNULL(0) ? NULL : (UnrdfRange *) PG_GETARG_POINTER(0);

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("merkle_root_step can only be called by the aggregate")));
	if (PG_ARGISNULL(1))
		refuse_null_entry();
	if (range == NULL)
	{
		range = MemoryContextAlloc(context, sizeof(UnrdfRange));
		unrdf_range_init(range);
	}
	append_entry(range, PG_GETARG_BYTEA_PP(1));
	PG_RETURN_POINTER(range);
}

/* Final function of the aggregate unrdf.merkle_root(entry). */
Datum
unrdf_merkle_root_final(PG_FUNCTION_ARGS)
{
	UnrdfRange empty;

	if (!PG_ARGISNULL(0))
		PG_RETURN_DATUM(root_datum((UnrdfRange *) PG_GETARG_POINTER(0)));
	unrdf_range_init(&empty);
	PG_RETURN_DATUM(root_datum(&empty));
}
