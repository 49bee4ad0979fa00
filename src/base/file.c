/*
 * file.c: files outside the data directory's own, which are there whole or not at all.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "base/file.h"

/*
 * UnrdfFileReplace writes a file anew, under the name with .new after it, flushes it and puts it in the place of the one that
 * may be there. Returns why it could not, palloc'd, or NULL. Dying leaves the old file, and perhaps the other, which the next
 * call removes. One at a time per path: the caller's lock.
 */
const char *
UnrdfFileReplace(const char *path, const char *bytes, size_t len, mode_t mode)
{
	char *copy = psprintf("%s.new", path);
	const char *reason = NULL;
	int fd;

	if (unlink(copy) != 0 && errno != ENOENT)
		return psprintf("could not remove \"%s\": %m", copy);
	fd = OpenTransientFilePerm(copy, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY, mode);
	if (fd < 0)
		return psprintf("could not create \"%s\": %m", copy);
	errno = 0;
	if (write(fd, bytes, len) != (ssize_t) len)
		reason = psprintf("could not write \"%s\": %s", copy,
						  errno ? strerror(errno) : "no space left on device");
	else if (pg_fsync(fd) != 0)
		reason = psprintf("could not flush \"%s\": %m", copy);
	CloseTransientFile(fd);
	if (reason == NULL && durable_rename(copy, path, LOG) != 0)
		reason = psprintf("could not rename \"%s\"", copy);
	return reason;
}
