#ifndef UNRDF_COMMIT_H
#define UNRDF_COMMIT_H

#include "postgres.h"

typedef void (*UnrdfCommitFn)(uint64 arg);

extern void UnrdfAtCommit(UnrdfCommitFn fn, uint64 arg);

#endif /* UNRDF_COMMIT_H */
