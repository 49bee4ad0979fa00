/*
 * tiles.c: writes a log as static files (C2SP tlog-tiles), for any web server, and for whoever wants to check all of it.
 *
 *   <directory>/checkpoint               the newest checkpoint
 *   <directory>/tile/<L>/<N>             256 hashes of level 8 × L, from index 256 × N
 *   <directory>/tile/<L>/<N>.p/<W>       the W that there are of the last tile of its level
 *   <directory>/tile/entries/<N>[.p/<W>] the leaves' bytes, each after its length in two bytes: canonical receipts
 *
 * A full tile never changes, so one that is there in full length is not written again: an export that broke off goes on where
 * it was. Every file is written under another name, flushed and renamed, the checkpoint last. Whoever sees a file sees all of
 * it, and whoever reads the checkpoint first finds every file that it needs.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "ledger/checkpoint.h"
#include "ledger/log.h"
#include "ledger/receipt.h"
#include "ledger/tiles.h"

typedef struct Export
{
	const char *directory;
	uint64 size;
	int64 written;
	UnrdfLookup tiles;
	UnrdfNodeReader *reader;
	MemoryContext context; /* of one file */
} Export;

static void
file_error(const char *what, const char *path)
{
	ereport(ERROR, (errcode_for_file_access(), errmsg("could not %s \"%s\": %m", what, path)));
}

/* Makes the folders on the way to a file, below the directory, which has to be there. */
static void
make_folders(const Export *e, char *path)
{
	for (char *slash = path + strlen(e->directory) + 1; (slash = strchr(slash, '/')) != NULL;
		 slash++)
	{
		*slash = '\0';
		if (mkdir(path, pg_dir_create_mode) != 0 && errno != EEXIST)
			file_error("create directory", path);
		*slash = '/';
	}
}

/* Writes a file whole or not at all. */
static void
write_file(Export *e, char *path, const char *bytes, Size len)
{
	char *copy = psprintf("%s.new", path);
	int fd;

	make_folders(e, path);
	fd = OpenTransientFile(copy, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
	if (fd < 0)
		file_error("create file", copy);
	errno = 0;
	if (write(fd, bytes, len) != (ssize_t) len)
	{
		if (errno == 0)
			errno = ENOSPC;
		file_error("write file", copy);
	}
	if (pg_fsync(fd) != 0)
		file_error("flush file", copy);
	if (CloseTransientFile(fd) != 0)
		file_error("close file", copy);
	(void) durable_rename(copy, path, ERROR);
	e->written++;
}

static bool
is_there(const char *path, off_t len)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
		   (len < 0 ? st.st_size > 0 : st.st_size == len);
}

/* A tile's path: three digits a folder, all but the last after an x; of one that is not full, its width. */
static char *
tile_path(const Export *e, const char *level, uint64 n, int width)
{
	char number[64] = "";
	char rest[64];

	snprintf(number, sizeof(number), "%03d", (int) (n % 1000));
	for (n /= 1000; n > 0; n /= 1000)
	{
		strlcpy(rest, number, sizeof(rest));
		snprintf(number, sizeof(number), "x%03d/%s", (int) (n % 1000), rest);
	}
	if (width == UNRDF_TILE_WIDTH)
		return psprintf("%s/tile/%s/%s", e->directory, level, number);
	return psprintf("%s/tile/%s/%s.p/%d", e->directory, level, number, width);
}

static void
lacks(uint64 size)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("log lacks hashes of the tree of size " UINT64_FORMAT, size),
					errhint("Run unrdf.verify_all() to find what is missing.")));
}

static void
export_hashes(Export *e, int q, uint64 n, int width)
{
	char *path = tile_path(e, psprintf("%d", q), n, width);
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
	uint8 root[UNRDF_HASH_LEN];

	if (is_there(path, width * UNRDF_HASH_LEN))
		return;
	if (width < UNRDF_TILE_WIDTH ||
		!UnrdfTileRead(&e->tiles, UNRDF_RECEIPTS_LOG, q, n, hashes, root))
		for (int i = 0; i < width; i++)
			if (UnrdfNodeRead(e->reader, UNRDF_TILE_HEIGHT * q, n * UNRDF_TILE_WIDTH + i,
							  hashes[i]) != 0)
				lacks(e->size);
	write_file(e, path, (const char *) hashes, width * UNRDF_HASH_LEN);
}

/* Appends a receipt's canonical JSON after its length. */
static void
append_entry(StringInfo bundle, int64 receipt, StringInfo canonical)
{
	UnrdfReceipt r;

	if (!UnrdfReceiptFetch(receipt, &r))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("there is no receipt " INT64_FORMAT ", which has a leaf", receipt)));
	UnrdfReceiptCanonical(&r, canonical);
	if (canonical->len > PG_UINT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("receipt " INT64_FORMAT " is longer than an entry can be", receipt)));
	appendStringInfoChar(bundle, (char) (canonical->len >> 8));
	appendStringInfoChar(bundle, (char) (canonical->len & 0xff));
	appendBinaryStringInfo(bundle, canonical->data, canonical->len);
}

static void
export_entries(Export *e, uint64 n, int width)
{
	char *path = tile_path(e, "entries", n, width);
	UnrdfLeafCursor cursor;
	const UnrdfLeafRun *run;
	StringInfoData bundle;
	StringInfoData canonical;
	uint64 next = n * UNRDF_TILE_WIDTH;

	if (is_there(path, -1))
		return;
	initStringInfo(&bundle);
	initStringInfo(&canonical);
	UnrdfLeafCursorBegin(&cursor, UNRDF_RECEIPTS_LOG, next, next + width);
	while ((run = UnrdfLeafCursorNext(&cursor)) != NULL)
		for (int i = 0; i < run->count && run->index + i == next; i++, next++)
			append_entry(&bundle, UnrdfEntryReceipt(run->entries + i * UNRDF_LEAF_ENTRY),
						 &canonical);
	UnrdfLeafCursorEnd(&cursor);
	if (next != n * UNRDF_TILE_WIDTH + width)
		lacks(e->size);
	write_file(e, path, bundle.data, bundle.len);
}

/* Calls one of the above for every tile of a level, of which there are `count` hashes. */
static void
export_level(Export *e, int q, uint64 count)
{
	for (uint64 n = 0; n * UNRDF_TILE_WIDTH < count; n++)
	{
		int width = (int) Min(UNRDF_TILE_WIDTH, count - n * UNRDF_TILE_WIDTH);
		MemoryContext old = MemoryContextSwitchTo(e->context);

		CHECK_FOR_INTERRUPTS();
		if (q < 0)
			export_entries(e, n, width);
		else
			export_hashes(e, q, n, width);
		MemoryContextSwitchTo(old);
		MemoryContextReset(e->context);
	}
}

/*
 * UnrdfTilesExport writes the log of receipts, as far as its newest checkpoint goes, into a directory of the server's, and
 * returns how many files it wrote. Raises 42501 for who may not write files there, 55000 without a checkpoint, XX001 where the
 * log lacks something, and what the file system says.
 */
int64
UnrdfTilesExport(const char *directory)
{
	char *canonical = pstrdup(directory);
	Export e = {0};
	UnrdfPublished p;
	StringInfoData note;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to write files of the server"),
						errhint("A member of pg_write_server_files may.")));
	canonicalize_path(canonical);
	if (!is_absolute_path(canonical))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("\"%s\" is not an absolute path", directory)));
	if (!UnrdfCheckpointOwn(NULL, &p))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no checkpoint was published"),
						errhint("Run unrdf.publish_checkpoint().")));
	e.directory = canonical;
	e.size = p.checkpoint.size;
	e.context =
		AllocSetContextCreate(CurrentMemoryContext, "unrdf exported file", ALLOCSET_DEFAULT_SIZES);
	UnrdfLookupBegin(&e.tiles, UNRDF_TILE, UNRDF_TILE_PKEY);
	e.reader = UnrdfNodeReaderBegin(UNRDF_RECEIPTS_LOG);
	export_level(&e, -1, e.size);
	for (int q = 0; q < UNRDF_TILE_LEVELS; q++)
		export_level(&e, q, e.size >> (UNRDF_TILE_HEIGHT * q));
	UnrdfNodeReaderEnd(e.reader);
	UnrdfLookupEnd(&e.tiles);
	initStringInfo(&note);
	UnrdfCheckpointText(&p, &note);
	write_file(&e, psprintf("%s/checkpoint", canonical), note.data, note.len);
	return e.written;
}
