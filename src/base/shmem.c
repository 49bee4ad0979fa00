/*
 * shmem.c: shared memory of the extension.
 *
 * Modules register their blocks from _PG_init; this file owns the two hooks. UnrdfShared holds one entry per database
 * with workers. Locks: UnrdfShared->lock is a leaf lock, held for a few instructions and never while another lock of
 * ours is taken. Latch pointers point into PGPROC entries, which live as long as the server: setting the latch of a
 * process that is gone wakes whoever inherited the entry, which is harmless, so readers take no lock.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/shmem.h"

#define MAX_BLOCKS 16

typedef struct Block
{
	const char *name;
	Size size;
	void **block;
	UnrdfShmemInitFn init;
} Block;

UnrdfShared *UnrdfShmem = NULL;

static Block blocks[MAX_BLOCKS];
static int nblocks = 0;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* UnrdfShmemRegister asks for a named block; init fills it when the server starts. For _PG_init only. */
void
UnrdfShmemRegister(const char *name, Size size, void **block, UnrdfShmemInitFn init)
{
	Assert(nblocks < MAX_BLOCKS);
	blocks[nblocks].name = name;
	blocks[nblocks].size = size;
	blocks[nblocks].block = block;
	blocks[nblocks].init = init;
	nblocks++;
}

static void
request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < nblocks; i++)
		RequestAddinShmemSpace(MAXALIGN(blocks[i].size));
	RequestNamedLWLockTranche("unrdf", UNRDF_LWLOCKS);
}

static void
startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nblocks; i++)
	{
		bool found;

		*blocks[i].block = ShmemInitStruct(blocks[i].name, blocks[i].size, &found);
		if (!found)
		{
			memset(*blocks[i].block, 0, blocks[i].size);
			blocks[i].init(*blocks[i].block);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
init_shared(void *block)
{
	UnrdfShared *shared = block;

	shared->lock = &GetNamedLWLockTranche("unrdf")[0].lock;
	shared->depths = &GetNamedLWLockTranche("unrdf")[1].lock;
	shared->start_token = (uint64) UnrdfNow();
	pg_atomic_init_u32(&shared->installs, 0);
	for (int i = 0; i < UNRDF_WAIT_BUCKETS; i++)
	{
		pg_atomic_init_u32(&shared->waiters[i], 0);
		ConditionVariableInit(&shared->ended[i]);
	}
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
	{
		UnrdfDatabase *db = &shared->databases[i];

		pg_atomic_init_u32(&db->epoch, 0);
		pg_atomic_init_u32(&db->wants_epoch, 0);
		pg_atomic_init_u32(&db->wants_releaser, 0);
		pg_atomic_init_u32(&db->wants_courier, 0);
		pg_atomic_init_u32(&db->follows_receipts, 0);
		pg_atomic_init_u32(&db->config, 0);
		pg_atomic_init_u32(&db->schedules, 0);
		pg_atomic_init_u64(&db->ticked, 0);
		pg_atomic_init_u64(&db->first_write, 0);
		pg_atomic_init_u64(&db->integrated, 0);
		pg_atomic_init_u64(&db->dispatched, 0);
		pg_atomic_init_u64(&db->published, 0);
		pg_atomic_init_u32(&db->checkpoints_wanted, 0);
		pg_atomic_init_u32(&db->checkpoints_tried, 0);
		ConditionVariableInit(&db->checkpoint_tried);
		for (int j = 0; j < UNRDF_LANE_BITS / 64; j++)
			pg_atomic_init_u64(&db->lanes[j], 0);
	}
}

/* UnrdfShmemInit installs the hooks and registers the shared block; called once, from _PG_init. */
void
UnrdfShmemInit(void)
{
	UnrdfShmemRegister("unrdf", sizeof(UnrdfShared), (void **) &UnrdfShmem, init_shared);
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

/* UnrdfRequirePreload raises 55000 unless the library was preloaded: without it there are no workers. */
void
UnrdfRequirePreload(void)
{
	if (UnrdfShmem == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("unrdf is not preloaded"),
						errhint("Add unrdf to shared_preload_libraries and restart the server.")));
}

/* UnrdfMyDatabase returns the shared entry of the current database, or NULL where it has no workers (yet). */
UnrdfDatabase *
UnrdfMyDatabase(void)
{
	static UnrdfDatabase *mine = NULL;

	if (UnrdfShmem == NULL)
		return NULL;
	if (mine != NULL && mine->dboid == MyDatabaseId)
		return mine;
	mine = NULL;
	LWLockAcquire(UnrdfShmem->lock, LW_SHARED);
	for (int i = 0; i < UNRDF_MAX_DATABASES; i++)
		if (UnrdfShmem->databases[i].dboid == MyDatabaseId)
			mine = &UnrdfShmem->databases[i];
	LWLockRelease(UnrdfShmem->lock);
	return mine;
}

/*
 * UnrdfPublishingForget makes unknown what was published: of another database in the same entry, or of an extension that was
 * dropped. Under UnrdfShmem->lock.
 */
void
UnrdfPublishingForget(UnrdfDatabase *db)
{
	pg_atomic_write_u64(&db->published, 0);
	db->publishing = UNRDF_PUBLISHING_UNKNOWN;
	db->publishing_since = 0;
	db->publishing_reason[0] = '\0';
}

/* UnrdfSetLatch sets a latch that may not be there. */
void
UnrdfSetLatch(Latch *volatile *latch)
{
	Latch *l = *latch;

	if (l != NULL)
		SetLatch(l);
}
