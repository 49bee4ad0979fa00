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
#include "ledger/proof.h"
#include "ledger/receipt.h"
#include "ledger/tiles.h"

#define MOST_CHECKPOINT 65536

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

static char *
tile_path(const Export *e, const char *level, uint64 n, int width)
{
	char *path = palloc(UNRDF_TILE_PATH_MAX);

	if (unrdf_tile_path(e->directory, level, n, width, path) != 0)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG), errmsg("directory's name is too long")));
	return path;
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
	UnrdfTile tile;

	if (is_there(path, width * UNRDF_HASH_LEN))
		return;
	if (width < UNRDF_TILE_WIDTH || !UnrdfTileRead(&e->tiles, UNRDF_RECEIPTS_LOG, q, n, &tile))
		for (int i = 0; i < width; i++)
			if (UnrdfNodeRead(e->reader, UNRDF_TILE_HEIGHT * q, n * UNRDF_TILE_WIDTH + i,
							  tile.hashes[i]) != 0)
				lacks(e->size);
	write_file(e, path, (const char *) tile.hashes, width * UNRDF_HASH_LEN);
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

/* Checks who asks, and returns a directory's path in canonical form. */
static char *
check_directory(const char *directory, Oid role, const char *what)
{
	char *canonical = pstrdup(directory);

	if (!has_privs_of_role(GetUserId(), role))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to %s files of the server", what),
						errhint("A member of pg_%s_server_files may.", what)));
	canonicalize_path(canonical);
	if (!is_absolute_path(canonical))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME),
						errmsg("\"%s\" is not an absolute path", directory)));
	return canonical;
}

/* Reads the checkpoint in a directory; false where there is none. Raises 22023 for what is no checkpoint. */
static bool
read_checkpoint(const char *directory, UnrdfCheckpoint *c)
{
	char *path = psprintf("%s/checkpoint", directory);
	char *text = palloc0(MOST_CHECKPOINT + 1);
	char *end;
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);

	if (fd < 0 && errno == ENOENT)
		return false;
	if (fd < 0)
		file_error("open file", path);
	if (read(fd, text, MOST_CHECKPOINT) < 0)
		file_error("read file", path);
	CloseTransientFile(fd);
	end = strstr(text, "\n\n");
	if (end == NULL || unrdf_checkpoint_parse(text, end + 1 - text, c) != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" is no checkpoint", path)));
	return true;
}

/*
 * Raises 55000 where a directory has another log: its files would be mixed with ours. The origin may be another, as after
 * unrdf.new_origin().
 */
static void
check_prefix(const char *directory, uint64 size)
{
	UnrdfCheckpoint c;
	uint8 root[UNRDF_HASH_LEN];

	if (read_checkpoint(directory, &c) &&
		(c.size > size || !UnrdfRootOfSize(UNRDF_RECEIPTS_LOG, c.size, root) ||
		 memcmp(root, c.root, UNRDF_HASH_LEN) != 0))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("directory \"%s\" has another log", directory),
						errdetail("The tree of its checkpoint is no prefix of this log."),
						errhint("unrdf.first_difference() tells from where on.")));
}

/*
 * UnrdfTilesExport writes the log of receipts, as far as its newest checkpoint goes, into a directory of the server's, and
 * returns how many files it wrote. Raises 42501 for who may not write files there, 55000 without a checkpoint or where another log is there, XX001 where the
 * log lacks something, and what the file system says.
 */
int64
UnrdfTilesExport(const char *directory)
{
	char *canonical = check_directory(directory, ROLE_PG_WRITE_SERVER_FILES, "write");
	Export e = {0};
	UnrdfPublished p;
	StringInfoData note;

	if (!UnrdfCheckpointOwn(NULL, &p))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no checkpoint was published"),
						errhint("Run unrdf.publish_checkpoint().")));
	check_prefix(canonical, p.checkpoint.size);
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

/*
 * UnrdfTilesDiffer returns the index of the first leaf that our log and the one whose tiles are in a directory of the server's
 * do not have in common, also where one is just longer; -1 where they are the same. Raises 42501 for who may not read files
 * there, 22023 where there is no checkpoint or a tile is missing.
 */
int64
UnrdfTilesDiffer(const char *directory)
{
	char *canonical = check_directory(directory, ROLE_PG_READ_SERVER_FILES, "read");
	UnrdfTileReader *theirs = palloc0(sizeof(UnrdfTileReader));
	UnrdfNodeReader *ours;
	UnrdfCheckpoint c;
	UnrdfLogHead head;
	uint64 index;
	bool failed;

	if (!read_checkpoint(canonical, &c))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no checkpoint in \"%s\"", canonical)));
	theirs->directory = canonical;
	theirs->size = c.size;
	UnrdfLogHeadRead(UNRDF_RECEIPTS_LOG, &head);
	ours = UnrdfNodeReaderBegin(UNRDF_RECEIPTS_LOG);
	failed = unrdf_first_difference(Min(c.size, head.size), UnrdfNodeRead, ours, unrdf_tile_node,
									theirs, &index) != 0;
	UnrdfNodeReaderEnd(ours);
	if (failed)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a tile is missing, in this log or in \"%s\", or has another size",
							   canonical)));
	return index == Max(c.size, head.size) ? -1 : (int64) index;
}
