/*
 * store_file.c: heads of logs in a directory, which lies on another machine or is copied away.
 *
 * One file per origin, never changed in place. Whoever swaps holds a lock on a second file beside it, reads once more, compares
 * and replaces; dying leaves the old file or the new one, and the lock goes with its process.
 */
#include "postgres.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "base/file.h"
#include "ledger/store.h"

#define MOST_BYTES 65536

/* The file of an origin: what could mean something in a path is written as %XX. */
static char *
path_of(const char *directory, const char *origin)
{
	StringInfoData path;

	initStringInfo(&path);
	appendStringInfo(&path, "%s/", directory);
	for (const unsigned char *c = (const unsigned char *) origin; *c; c++)
		if (isalnum(*c) && *c < 0x80)
			appendStringInfoChar(&path, (char) *c);
		else
			appendStringInfo(&path, "%%%02X", *c);
	return path.data;
}

static const char *
read_file(const char *path, UnrdfStored *stored)
{
	int fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	ssize_t n;

	memset(stored, 0, sizeof(*stored));
	if (fd < 0)
		return errno == ENOENT ? NULL : psprintf("could not open \"%s\": %m", path);
	stored->value = palloc(MOST_BYTES + 1);
	n = read(fd, stored->value, MOST_BYTES);
	stored->value[Max(n, 0)] = '\0';
	CloseTransientFile(fd);
	return n < 0 ? psprintf("could not read \"%s\": %m", path) : NULL;
}

static const char *
file_read(const char *directory, const char *origin, UnrdfStored *stored)
{
	/* an empty mount point must not look like a store that has nothing: the directory is made by whoever sets it up */
	struct stat st;
	const char *mark = psprintf("%s/unrdf-store", directory);

	if (stat(mark, &st) != 0)
		return psprintf("there is no file \"%s\", which marks the store as being there", mark);
	return read_file(path_of(directory, origin), stored);
}

static const char *
compare_and_replace(const char *path, const UnrdfStored *old, const char *value, bool *swapped)
{
	UnrdfStored now;
	const char *reason = read_file(path, &now);

	if (reason || (now.value == NULL) != (old->value == NULL) ||
		(now.value && strcmp(now.value, old->value) != 0))
		return reason;
	reason = UnrdfFileReplace(path, value, strlen(value), pg_file_create_mode);
	*swapped = reason == NULL;
	return reason;
}

static const char *
file_swap(const char *directory, const char *origin, const UnrdfStored *old, const char *value,
		  bool *swapped)
{
	char *path = path_of(directory, origin);
	char *lock = psprintf("%s.lock", path);
	int fd = OpenTransientFile(lock, O_RDWR | O_CREAT | PG_BINARY);
	const char *reason;

	*swapped = false;
	if (fd < 0)
		return psprintf("could not open \"%s\": %m", lock);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		reason = psprintf("could not lock \"%s\": %m", lock);
	else
		reason = compare_and_replace(path, old, value, swapped);
	CloseTransientFile(fd);
	return reason;
}

const UnrdfSwapStore UnrdfFileStore = {file_read, file_swap};
