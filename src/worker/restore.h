#ifndef UNRDF_RESTORE_H
#define UNRDF_RESTORE_H

#include "postgres.h"

/* What a database has seen of restores. */
typedef struct UnrdfRestoreState
{
	bool running; /* a dump is being loaded */
	int64 count;  /* of those that have ended */
	uint64 until; /* the highest transaction id among restored rows */
} UnrdfRestoreState;

extern void UnrdfRestoreRead(UnrdfRestoreState *state);
extern bool UnrdfRestoreRuns(void);
extern void UnrdfRestoreBegins(void);
extern void UnrdfFinishRestore(void);

#endif /* UNRDF_RESTORE_H */
