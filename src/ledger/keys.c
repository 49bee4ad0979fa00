/*
 * keys.c: the private keys that sign checkpoints, in a file outside the database.
 *
 * One line per key, PRIVATE+KEY+<name>+<id>+<base64>, as other tools for signed notes write it; the name is the origin
 * of the log that the key signs. Several keys of one name sign side by side, which is how a key is replaced. Empty lines
 * and lines that begin with # are passed over.
 *
 * Who can read the file can sign: it has to belong to the server's user and be closed to all others, or it is not used. Its
 * private keys are in memory only while something is signed, and in no message.
 *
 * The file is never changed in place. A new key is added to a copy that takes its place, under UNRDF_LOCK_KEY_FILE, which is
 * one for all databases of the cluster. Dying leaves the old file, and perhaps a copy that the next to add a key removes.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "base/file.h"
#include "base/guc.h"
#include "base/lock.h"
#include "ledger/keys.h"

#define MOST_BYTES 65536

/* What the file has. */
typedef struct Content
{
	bool absent;
	size_t len;
	char bytes[MOST_BYTES];
} Content;

static void
wipe(Content *c)
{
	explicit_bzero(c, sizeof(*c));
	pfree(c);
}

/* Why a file cannot be trusted with keys, or NULL. */
static const char *
distrust(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no regular file";
	if (st->st_uid != geteuid())
		return "it does not belong to the server's user";
	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return psprintf("it has permissions %04o, and may have no more than 0600",
						(unsigned) st->st_mode & 07777);
	if (st->st_size > MOST_BYTES)
		return "it is too large";
	return NULL;
}

/* Reads the file; returns why it could not be read, or NULL. */
static const char *
read_open_file(int fd, Content *c)
{
	struct stat st;
	const char *reason;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		return psprintf("%m");
	if ((reason = distrust(&st)) != NULL)
		return reason;
	while (c->len < MOST_BYTES && (n = read(fd, c->bytes + c->len, MOST_BYTES - c->len)) != 0)
	{
		if (n < 0)
			return psprintf("%m");
		c->len += n;
	}
	return NULL;
}

static const char *
read_file(Content *c)
{
	const char *reason;
	int fd = OpenTransientFile(unrdf_log_key_file, O_RDONLY | PG_BINARY);

	c->absent = fd < 0 && errno == ENOENT;
	c->len = 0;
	if (c->absent)
		return NULL;
	if (fd < 0)
		return psprintf("%m");
	reason = read_open_file(fd, c);
	CloseTransientFile(fd);
	return reason;
}

/* Finds the keys of a name and type. Returns how many, or -1 and why. */
static int
find_signers(const Content *c, const char *name, UnrdfKeyType type, UnrdfSigner *signers,
			 const char **reason)
{
	const char *next = c->bytes;
	const char *end = next + c->len;
	int n = 0;

	for (int number = 1; next < end; number++)
	{
		const char *newline = memchr(next, '\n', end - next);
		size_t len = (newline ? newline : end) - next;
		const char *line = next;
		UnrdfSigner signer;

		next += len + 1;
		if (len == 0 || *line == '#')
			continue;
		if (unrdf_note_secret_parse(line, len, &signer.key, signer.seed) != 0)
		{
			*reason = psprintf("line %d is no private key", number);
			UnrdfSignersWipe(signers, n);
			return -1;
		}
		if (n < UNRDF_MOST_SIGNERS && signer.key.type == type &&
			signer.key.name_len == strlen(name) &&
			memcmp(signer.key.name, name, signer.key.name_len) == 0)
			signers[n++] = signer;
		UnrdfSignersWipe(&signer, 1);
	}
	return n;
}

/*
 * UnrdfSignersRead reads the keys of a name and type, at most UNRDF_MOST_SIGNERS; the caller wipes them. Returns how many, 0
 * also where there is no file; or -1 and in *reason why the file is not used. Raises nothing.
 */
int
UnrdfSignersRead(const char *name, UnrdfKeyType type, UnrdfSigner *signers, const char **reason)
{
	Content *c = palloc(sizeof(Content));
	int n = -1;

	*reason = read_file(c);
	if (*reason == NULL)
		n = find_signers(c, name, type, signers, reason);
	wipe(c);
	if (*reason)
		*reason = psprintf("key file \"%s\" is not used: %s", unrdf_log_key_file, *reason);
	return n;
}

/*
 * UnrdfKeyFileState tells whether there is a file of keys that can be used, without reading it: "none" where there is to be
 * none, "absent", "ok", or what is wrong. *inside: it is in the data directory, and so in every copy of it.
 */
const char *
UnrdfKeyFileState(bool *inside)
{
	const char *path = unrdf_log_key_file ? unrdf_log_key_file : "";
	struct stat st;

	*inside = *path != '\0' && (!is_absolute_path(path) || path_is_prefix_of_path(DataDir, path));
	if (*path == '\0')
		return "none";
	if (stat(path, &st) != 0)
		return errno == ENOENT ? "absent" : psprintf("%m");
	return distrust(&st) ? distrust(&st) : "ok";
}

/* UnrdfSignersWipe makes keys unreadable. */
void
UnrdfSignersWipe(UnrdfSigner *signers, int n)
{
	explicit_bzero(signers, n * sizeof(UnrdfSigner));
}

/* Appends a key's line. */
static const char *
append_line(Content *c, const UnrdfSigner *signer)
{
	UnrdfCanon out = {c->bytes, MOST_BYTES, c->len};

	if (c->len > 0 && c->bytes[c->len - 1] != '\n')
		unrdf_canon_raw(&out, "\n", 1);
	unrdf_note_secret_format(&signer->key, signer->seed, &out);
	unrdf_canon_raw(&out, "\n", 1);
	if (out.len > MOST_BYTES)
		return "it is full";
	c->len = out.len;
	return NULL;
}

static int
draw(const char *name, UnrdfKeyType type, UnrdfSigner *signer)
{
	uint8 public_key[UNRDF_PUBLIC_KEY_LEN];

	return unrdf_new_seed(signer->seed) != 0 || unrdf_public_key(signer->seed, public_key) != 0 ||
				   unrdf_note_key(name, strlen(name), type, public_key, &signer->key) != 0
			   ? -1
			   : 0;
}

/*
 * UnrdfSignerAdd draws a key and adds it to the file, which is made where it is absent; the caller wipes it. Returns why it
 * could not, or NULL. Holds UNRDF_LOCK_KEY_FILE to the transaction's end.
 */
const char *
UnrdfSignerAdd(const char *name, UnrdfKeyType type, UnrdfSigner *signer)
{
	Content *c = palloc(sizeof(Content));
	const char *reason;

	UnrdfLock(UNRDF_LOCK_KEY_FILE, 0);
	reason = read_file(c);
	if (reason == NULL && draw(name, type, signer) != 0)
		reason = "could not draw a key";
	if (reason == NULL && (reason = append_line(c, signer)) == NULL)
		reason = UnrdfFileReplace(unrdf_log_key_file, c->bytes, c->len, S_IRUSR | S_IWUSR);
	wipe(c);
	if (reason)
	{
		UnrdfSignersWipe(signer, 1);
		return psprintf("could not add a key to key file \"%s\": %s", unrdf_log_key_file, reason);
	}
	ereport(LOG,
			(errmsg("generated a key for log \"%s\" in key file \"%s\"", name, unrdf_log_key_file),
			 errdetail("Its public half is %s.", UnrdfKeyText(&signer->key)),
			 errhint("Keep a copy of the file apart from the database, and put it on every "
					 "node of a cluster.")));
	return NULL;
}

/* UnrdfKeyText returns a public key as text, palloc'd. */
char *
UnrdfKeyText(const UnrdfNoteKey *key)
{
	char text[UNRDF_KEY_NAME_MAX + 64];
	UnrdfCanon out = {text, sizeof(text), 0};

	unrdf_note_key_format(key, &out);
	return pnstrdup(text, out.len);
}
