/*
 * crash.c: which jobs ran when the server crashed.
 *
 * A job that crashes the server must not do so for ever, and no row can tell who it was. So each executor notes its
 * running job in a file mapped into memory: two stores per job, no system call, no WAL. The kernel keeps the page when
 * processes die. (When the machine dies the file may be stale, which only makes suspects of innocent jobs.)
 *
 * When shared memory is made anew, before any worker starts, the file's records become the suspects and the file is
 * cleared. A suspect is run alone; if the server crashes again meanwhile, its record says `alone` and it is the culprit. A
 * suspect is acquitted when its job has ended or failed in an orderly way.
 *
 * The suspects' table is written by the startup code and, per entry, by the dispatcher of the entry's database only.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "worker/crash.h"

#define CRASH_FILE PG_STAT_TMP_DIR "/unrdf.running"
#define CRASH_MAGIC 0x756e7201

typedef struct Record
{
	uint32 magic; /* set while the rest is valid */
	Oid dboid;
	int64 job;
	int64 alone;
} Record;

static UnrdfSuspect *suspects = NULL;
static Record *records = NULL;

/* Maps the file; NULL where that fails, and then crashes are not attributed. */
static Record *
map_file(void)
{
	Size size = unrdf_executor_slots * sizeof(Record);
	int fd = OpenTransientFile(CRASH_FILE, O_RDWR | O_CREAT | PG_BINARY);
	void *map = MAP_FAILED;

	if (fd >= 0)
	{
		if (ftruncate(fd, size) == 0)
			map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CloseTransientFile(fd);
	}
	if (map == MAP_FAILED)
	{
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not map file \"%s\": %m", CRASH_FILE),
				 errdetail("A job that crashes the server will not be recognized.")));
		return NULL;
	}
	return map;
}

static void
init_suspects(void *block)
{
	UnrdfSuspect *found = block;
	Record *old = map_file();

	for (int i = 0; old && i < unrdf_executor_slots; i++)
	{
		if (old[i].magic == CRASH_MAGIC)
		{
			found[i].dboid = old[i].dboid;
			found[i].job = old[i].job;
			found[i].alone = old[i].alone != 0;
		}
		memset(&old[i], 0, sizeof(Record));
	}
	if (old)
		munmap(old, unrdf_executor_slots * sizeof(Record));
}

/* UnrdfCrashInit registers the suspects' shared memory; called once, from _PG_init. */
void
UnrdfCrashInit(void)
{
	UnrdfShmemRegister("unrdf suspects", unrdf_executor_slots * sizeof(UnrdfSuspect),
					   (void **) &suspects, init_suspects);
}

/* UnrdfCrashNote notes that the executor of a slot is about to run a job. */
void
UnrdfCrashNote(int slot, Oid dboid, int64 job, bool alone)
{
	if (records == NULL && (records = map_file()) == NULL)
		return;
	records[slot].dboid = dboid;
	records[slot].job = job;
	records[slot].alone = alone;
	pg_compiler_barrier();
	records[slot].magic = CRASH_MAGIC;
}

/* UnrdfCrashClear notes that the executor of a slot runs nothing. */
void
UnrdfCrashClear(int slot)
{
	if (records)
		records[slot].magic = 0;
}

/* UnrdfCrashSuspects returns the database's suspects, palloc'd, and their number. */
int
UnrdfCrashSuspects(Oid dboid, UnrdfSuspect **out)
{
	int n = 0;

	*out = palloc(unrdf_executor_slots * sizeof(UnrdfSuspect));
	for (int i = 0; i < unrdf_executor_slots; i++)
		if (suspects[i].job != 0 && suspects[i].dboid == dboid)
			(*out)[n++] = suspects[i];
	return n;
}

/* UnrdfCrashAcquit forgets a suspect. */
void
UnrdfCrashAcquit(Oid dboid, int64 job)
{
	for (int i = 0; i < unrdf_executor_slots; i++)
		if (suspects[i].dboid == dboid && suspects[i].job == job)
			suspects[i].job = 0;
}
