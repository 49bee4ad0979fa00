/*
 * jsonb_canonical.c
 *	  jsonb values in canonical JSON (RFC 8785).
 *
 * The containers are read in place: an iterator would allocate for every level, and this runs for
 * every job.
 */
#include "postgres.h"

#include "base/jsonb_canonical.h"
#include "crypto/canonical.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#define SHOWN_NUMBER_LEN 100 /* of a refused number, in the error's detail */
#define KEYS_ON_STACK 16

/* One member of an object; the key is in UTF-8. */
typedef struct Member
{
	const char *key;
	size_t keylen;
	bool converted; /* key is a palloc'd copy */
	JEntry entry;   /* of the value, */
	uint32 offset;  /* and its place in the container's data */
} Member;

static void append_container(UnrdfCanon *c, JsonbContainer *container);

/*
 * Gives the text in UTF-8: itself where it is that already, else a copy that the caller pfrees.
 * Raises what the conversion raises for a character that has no counterpart.
 */
static const char *
text_in_utf8(const char *text, size_t *len)
{
	char *converted;
	size_t i = 0;

	if (GetDatabaseEncoding() == PG_UTF8)
		return text;
	while (i < *len && !IS_HIGHBIT_SET(text[i]))
		i++;
	if (i == *len)
		return text;
	converted = pg_server_to_any(text, (int) *len, PG_UTF8);
	if (converted != text)
		*len = strlen(converted);
	return converted;
}

static void
append_utf8(UnrdfCanon *c, const char *utf8, size_t len)
{
	if (unrdf_canon_string(c, utf8, len) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("canonical JSON cannot carry a string that is not well-formed UTF-8")));
}

static void
append_string(UnrdfCanon *c, const char *text, size_t len)
{
	const char *utf8 = text_in_utf8(text, &len);

	append_utf8(c, utf8, len);
	if (utf8 != text)
		pfree((char *) utf8);
}

static void
append_number(UnrdfCanon *c, Numeric number)
{
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	size_t len = strlen(text);

	if (unrdf_canon_decimal(c, text, len) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("canonical JSON cannot carry a number exactly"),
				 errdetail("%.*s%s is not the shortest decimal that names its nearest double.",
						   SHOWN_NUMBER_LEN, text, len > SHOWN_NUMBER_LEN ? "..." : ""),
				 errhint("Pass it as a string.")));
	pfree(text);
}

/* Appends one value; offset is its place in the data of its container. */
static void
append_value(UnrdfCanon *c, char *data, uint32 offset, JEntry entry, size_t len)
{
	if (JBE_ISSTRING(entry))
		append_string(c, data + offset, len);
	else if (JBE_ISNUMERIC(entry))
		append_number(c, (Numeric) (data + INTALIGN(offset)));
	else if (JBE_ISCONTAINER(entry))
		append_container(c, (JsonbContainer *) (data + INTALIGN(offset)));
	else if (JBE_ISNULL(entry))
		unrdf_canon_raw(c, "null", 4);
	else if (JBE_ISBOOL_TRUE(entry))
		unrdf_canon_raw(c, "true", 4);
	else
		unrdf_canon_raw(c, "false", 5);
}

/* Appends an array, or the lone value inside the pseudo array that jsonb wraps a scalar in. */
static void
append_array(UnrdfCanon *c, JsonbContainer *container)
{
	uint32 count = JsonContainerSize(container);
	bool scalar = JsonContainerIsScalar(container);
	char *data = (char *) &container->children[count];
	uint32 offset = 0;
	uint32 i;

	if (!scalar)
		unrdf_canon_raw(c, "[", 1);
	for (i = 0; i < count; i++)
	{
		uint32 start = offset;

		JBE_ADVANCE_OFFSET(offset, container->children[i]);
		if (i > 0)
			unrdf_canon_raw(c, ",", 1);
		append_value(c, data, start, container->children[i], offset - start);
	}
	if (!scalar)
		unrdf_canon_raw(c, "]", 1);
}

static int
compare_members(const void *a, const void *b)
{
	const Member *left = a;
	const Member *right = b;

	return unrdf_canon_compare_keys(left->key, left->keylen, right->key, right->keylen);
}

/* Fills in the members of an object, in the order jsonb keeps: all keys, then all values. */
static void
read_members(JsonbContainer *container, Member *members)
{
	uint32 count = JsonContainerSize(container);
	char *data = (char *) &container->children[2 * count];
	uint32 offset = 0;
	uint32 i;

	for (i = 0; i < count; i++)
	{
		uint32 start = offset;

		JBE_ADVANCE_OFFSET(offset, container->children[i]);
		members[i].keylen = offset - start;
		members[i].key = text_in_utf8(data + start, &members[i].keylen);
		members[i].converted = members[i].key != data + start;
	}
	for (i = 0; i < count; i++)
	{
		members[i].entry = container->children[count + i];
		members[i].offset = offset;
		JBE_ADVANCE_OFFSET(offset, members[i].entry);
	}
}

static void
append_object(UnrdfCanon *c, JsonbContainer *container)
{
	uint32 count = JsonContainerSize(container);
	char *data = (char *) &container->children[2 * count];
	Member on_stack[KEYS_ON_STACK];
	Member *members = on_stack;
	uint32 i;

	if (count > KEYS_ON_STACK)
		members = palloc(sizeof(Member) * count);
	read_members(container, members);
	qsort(members, count, sizeof(Member), compare_members);

	unrdf_canon_raw(c, "{", 1);
	for (i = 0; i < count; i++)
	{
		const Member *member = &members[i];
		uint32 end = member->offset;

		JBE_ADVANCE_OFFSET(end, member->entry);
		if (i > 0)
			unrdf_canon_raw(c, ",", 1);
		append_utf8(c, member->key, member->keylen);
		unrdf_canon_raw(c, ":", 1);
		append_value(c, data, member->offset, member->entry, end - member->offset);
		if (member->converted)
			pfree((char *) member->key);
	}
	unrdf_canon_raw(c, "}", 1);
	if (members != on_stack)
		pfree(members);
}

static void
append_container(UnrdfCanon *c, JsonbContainer *container)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		append_object(c, container);
	else
		append_array(c, container);
}

/*
 * Appends the canonical form (RFC 8785) of a detoasted jsonb to out, in UTF-8 whatever the server
 * encoding is, and returns its length in bytes.  out's buffer is reused and grown as needed;
 * scratch memory is given back.
 *
 * A number is carried if and only if its value is that of the shortest decimal naming the double
 * nearest to it; any other raises ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE.  Also raises
 * ERRCODE_STATEMENT_TOO_COMPLEX for values nested too deeply, encoding errors where a string has
 * no UTF-8 form, and ERRCODE_PROGRAM_LIMIT_EXCEEDED above 1 GB.  When it raises, out's contents are
 * unchanged.
 */
size_t
UnrdfCanonicalJsonbInto(Jsonb *jb, StringInfo out)
{
	UnrdfCanon canon;

	enlargeStringInfo(out, VARSIZE(jb)); /* nearly always enough at once */
	for (;;)
	{
		canon.buf = out->data + out->len;
		canon.cap = out->maxlen - out->len - 1; /* a StringInfo ends with a NUL */
		canon.len = 0;
		append_container(&canon, &jb->root);
		if (canon.len <= canon.cap)
			break;
		enlargeStringInfo(out, (int) Min(canon.len, MaxAllocSize));
	}
	out->len += (int) canon.len;
	out->data[out->len] = '\0';
	return canon.len;
}

/*
 * The canonical form (RFC 8785) of a detoasted jsonb: palloc'd in the current memory context,
 * *len bytes and a NUL.  Raises what UnrdfCanonicalJsonbInto raises.
 */
char *
UnrdfCanonicalJsonb(Jsonb *jb, size_t *len)
{
	StringInfoData out;

	initStringInfo(&out);
	*len = UnrdfCanonicalJsonbInto(jb, &out);
	return out.data;
}
