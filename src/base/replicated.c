/*
 * replicated.c: what a failover to a synchronous standby cannot lose.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "replication/message.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/lwlock.h"

#include "base/compat.h"
#include "base/replicated.h"

/*
 * UnrdfWalEnd returns the end of the last WAL record: what is visible now is before it. The server's insert position may
 * stand behind a page header that is not written yet, and so cannot be flushed.
 */
XLogRecPtr
UnrdfWalEnd(void)
{
	XLogRecPtr lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* UnrdfHasSynchronousStandbys tells whether synchronous_standby_names asks for any. */
bool
UnrdfHasSynchronousStandbys(void)
{
	return SyncRepStandbyNames != NULL && *SyncRepStandbyNames != '\0' && max_wal_senders > 0;
}

/*
 * UnrdfReplicated tells whether the WAL up to lsn is on disk here and on as many synchronous standbys as
 * synchronous_standby_names asks for; where it asks for none, here is enough. Does not wait for standbys.
 *
 * It looks at what the senders have noted, not at whether some commit has returned: a commit whose wait was cancelled is
 * visible, and on no standby.
 */
bool
UnrdfReplicated(XLogRecPtr lsn)
{
	bool reached;

	XLogFlush(lsn);
	if (!UnrdfHasSynchronousStandbys())
		return true;
	LWLockAcquire(SyncRepLock, LW_SHARED);
	reached = WalSndCtl->lsn[SYNC_REP_WAIT_FLUSH] >= lsn;
	LWLockRelease(SyncRepLock);
	return reached;
}

/*
 * UnrdfCommitWaits has the current transaction's commit wait for synchronous standbys although it writes nothing. For who
 * answers with what another transaction wrote: that may be visible and on this node only, after a wait that was cancelled or a
 * crash, and a failover would take back what was answered.
 */
void
UnrdfCommitWaits(void)
{
	if (UnrdfHasSynchronousStandbys())
		(void) unrdf_log_message(true);
}
