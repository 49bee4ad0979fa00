#ifndef UNRDF_EPOCH_H
#define UNRDF_EPOCH_H

#include "postgres.h"

/* What an epoch's row says; the strings live as long as the process. */
typedef struct UnrdfEpoch
{
	int32 epoch;
	char *origin;
	char *node;
	uint64 system_identifier;
} UnrdfEpoch;

extern void UnrdfEnsureEpoch(void);
extern int32 UnrdfCurrentEpoch(void);
extern const UnrdfEpoch *UnrdfEpochFind(int32 epoch);
extern const UnrdfEpoch *UnrdfEpochGet(int32 epoch);
extern void UnrdfEpochForget(void);
extern text *UnrdfOriginNew(void);

#endif /* UNRDF_EPOCH_H */
