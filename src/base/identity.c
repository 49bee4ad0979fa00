/*
 * identity.c: running code as a job's owner inside a process whose session user is a superuser.
 *
 * SECURITY_LOCAL_USERID_CHANGE makes SET ROLE, RESET ROLE and SET SESSION AUTHORIZATION errors;
 * SECURITY_RESTRICTED_OPERATION does the same for temporary objects, holdable cursors, LISTEN and the like, which would
 * outlive the job in a shared process. Settings the handler changes are undone with its GUC nest level. Triggers it
 * deferred would fire at commit, as the superuser: UnrdfFireDeferredTriggers runs them while still the owner. Cursors
 * and large objects it left open are closed, or the next job of the transaction, which may be another owner's, could
 * read from them without being asked for rights. What is left in the session (advisory locks, prepared statements) is
 * removed by UnrdfCleanSession between transactions. A transaction's abort does all this by itself, so only the success
 * path calls UnrdfRestore.
 */
#include "postgres.h"

#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "libpq/be-fsstubs.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/portal.h"

#include "base/compat.h"
#include "base/identity.h"

/*
 * UnrdfControls tells whether the current role may see and end jobs of an owner: it is a member of the owner, or was given
 * everybody's by the right to execute unrdf.any_job(), which operators have.
 */
bool
UnrdfControls(Oid owner)
{
	List *name;
	Oid function;

	if (has_privs_of_role(GetUserId(), owner))
		return true;
	name = list_make2(makeString("unrdf"), makeString("any_job"));
	function = LookupFuncName(name, 0, NULL, true);
	return OidIsValid(function) && unrdf_proc_executable(function, GetUserId());
}

/* UnrdfBecome continues as owner, restricted, with settings that UnrdfRestore undoes. */
void
UnrdfBecome(Oid owner, UnrdfIdentity *before)
{
	GetUserIdAndSecContext(&before->user, &before->security);
	SetUserIdAndSecContext(owner, before->security | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION);
	before->guc_nest_level = NewGUCNestLevel();
}

/* UnrdfRestore ends what UnrdfBecome began; what was opened or set since is closed and undone. */
void
UnrdfRestore(const UnrdfIdentity *before)
{
	PortalHashTableDeleteAll();
	AtEOXact_LargeObject(true);
	ResetSequenceCaches();
	AtEOXact_GUC(false, before->guc_nest_level);
	SetUserIdAndSecContext(before->user, before->security);
}

/* UnrdfFireDeferredTriggers runs queued deferred triggers and constraints now, and makes them immediate from here on. */
void
UnrdfFireDeferredTriggers(void)
{
	ConstraintsSetStmt stmt;

	memset(&stmt, 0, sizeof(stmt));
	stmt.type = T_ConstraintsSetStmt;
	stmt.constraints = NIL;
	stmt.deferred = false;
	AfterTriggerSetState(&stmt);
}

/* UnrdfCleanSession removes what handlers may have left in the session. Outside transactions. */
void
UnrdfCleanSession(void)
{
	LockReleaseAll(USER_LOCKMETHOD, true);
	DropAllPreparedStatements();
	ResetSequenceCaches();
}
