#ifndef UNRDF_RESTORE_H
#define UNRDF_RESTORE_H

#include "postgres.h"

extern bool UnrdfRestoring(void);
extern int64 UnrdfRestoreCount(void);
extern void UnrdfRestoreBegins(void);
extern void UnrdfFinishRestore(void);

#endif /* UNRDF_RESTORE_H */
