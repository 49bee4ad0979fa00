/*
 * accept.c: what a job has to be before its row is written, whether that is one of unrdf.job or of unrdf.waiting_job.
 *
 * What the request does not say, queue and priority, it takes from its handler as that is now. Its arguments have to fit the
 * handler's schema; its group is looked for in them, by the queue's settings; then they are encrypted, where the handler has a key.
 * A group that was found in arguments that are encrypted is kept as a keyed hash: it would else say what they do not. All of
 * this is done before anything is written, and not again: a job that waits for others, or is revived, was accepted when it was
 * enqueued, by what its handler was then.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/guc.h"
#include "base/jsonb_canonical.h"
#include "queue/config.h"
#include "queue/handler.h"

/* UnrdfCheckArgs raises 54000 for arguments over unrdf.max_args_size and 22003 for numbers canonical JSON cannot carry. */
void
UnrdfCheckArgs(Jsonb *args, StringInfo scratch)
{
	if (VARSIZE(args) > (Size) unrdf_max_args_size * 1024)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("arguments are larger than unrdf.max_args_size"),
						errdetail("They have %d bytes; the limit is %d kB.", (int) VARSIZE(args),
								  unrdf_max_args_size)));
	resetStringInfo(scratch);
	UnrdfCanonicalJsonbInto(args, scratch);
}

/* UnrdfCheckFit raises 22023 for arguments that do not fit the handler's schema. */
void
UnrdfCheckFit(const UnrdfHandler *handler, Jsonb *args)
{
	char *mismatch;

	if (handler->schema && (mismatch = UnrdfSchemaMismatch(handler->schema, args)) != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("arguments do not fit the schema of handler \"%s\"", handler->name),
						errdetail_internal("%s", mismatch)));
}

/* UnrdfQueueToEnqueue returns the queue of a job of a handler: the one that was asked for, or where that is below 0 the handler's. */
int32
UnrdfQueueToEnqueue(int32 queue, const UnrdfHandler *handler)
{
	return queue >= 0 ? queue : Max(handler->queue, UNRDF_DEFAULT_QUEUE);
}

/* Fills in what the job leaves to its handler, which is returned as it is now: a key function is anybody's code and may change it. */
static UnrdfHandler
complete(UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerById(job->handler);

	if (handler == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("handler with id %d does not exist", job->handler)));
	job->handler_version = handler->newest;
	job->queue = UnrdfQueueToEnqueue(job->queue, handler);
	if (job->priority < 0)
		job->priority = handler->priority < 0 ? UNRDF_DEFAULT_PRIORITY : handler->priority;
	return *handler;
}

/*
 * Checks a job's arguments, which become as they are stored, and gives it its group. Arguments that do not fit are an error, or it is
 * said why, for who ends the job then.
 */
static void
accept_args(const UnrdfHandler *handler, UnrdfJob *job, char **mismatch)
{
	if (mismatch == NULL)
		UnrdfCheckFit(handler, job->args);
	else
		*mismatch = handler->schema ? UnrdfSchemaMismatch(handler->schema, job->args) : NULL;
	if (!OidIsValid(handler->key_function))
	{
		UnrdfJobGroup(job);
		return;
	}
	if (job->group_key == NULL)
	{
		UnrdfJobGroup(job);
		if (job->group_key)
			job->group_key = UnrdfEnvelopeGroup(handler, job->group_key);
	}
	job->args = UnrdfEnvelopeClose(handler, job->args);
}

/* UnrdfAccept makes a request a job that can be written. Raises 22023 for arguments that do not fit. */
void
UnrdfAccept(UnrdfJob *job)
{
	UnrdfHandler handler = complete(job);

	accept_args(&handler, job, NULL);
	UnrdfJobFlow(job);
}

/*
 * UnrdfAcceptAgain does so for one that was accepted before, and may have come to another queue, or to other settings. Of encrypted
 * arguments it takes no group: nobody opens them for that.
 */
void
UnrdfAcceptAgain(UnrdfJob *job)
{
	const UnrdfHandler *handler = UnrdfHandlerVersion(job->handler, job->handler_version);

	if (handler && !OidIsValid(handler->key_function))
		UnrdfJobGroup(job);
	UnrdfJobFlow(job);
}

/*
 * UnrdfAcceptMany does so for n jobs that differ in their arguments, which become as they are stored. Their groups are returned, for
 * UnrdfJobFlow once a job has its own. Where mismatches are wanted, arguments that do not fit are accepted, and why is stored.
 */
text **
UnrdfAcceptMany(UnrdfJob *job, int n, Jsonb **args, char **mismatches)
{
	UnrdfHandler handler = complete(job);
	text **groups = palloc(n * sizeof(text *));
	text *given = job->group_key;

	if (handler.schema)
	{
		Size size = VARSIZE(handler.schema);

		handler.schema = memcpy(palloc(size), handler.schema, size);
	}
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		job->args = args[i];
		job->group_key = given;
		accept_args(&handler, job, mismatches ? &mismatches[i] : NULL);
		args[i] = job->args;
		groups[i] = job->group_key;
	}
	return groups;
}
