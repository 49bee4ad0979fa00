#ifndef UNRDF_REPLICATED_H
#define UNRDF_REPLICATED_H

#include "postgres.h"

#include "access/xlogdefs.h"

extern XLogRecPtr UnrdfWalEnd(void);
extern bool UnrdfHasSynchronousStandbys(void);
extern bool UnrdfReplicated(XLogRecPtr lsn);

extern void UnrdfCommitWaits(void);

#endif /* UNRDF_REPLICATED_H */
