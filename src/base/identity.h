#ifndef UNRDF_IDENTITY_H
#define UNRDF_IDENTITY_H

#include "postgres.h"

/* What UnrdfBecome replaced. */
typedef struct UnrdfIdentity
{
	Oid user;
	int security;
	int guc_nest_level;
} UnrdfIdentity;

extern bool UnrdfControls(Oid owner);
extern void UnrdfBecome(Oid owner, UnrdfIdentity *before);
extern void UnrdfRestore(const UnrdfIdentity *before);
extern void UnrdfFireDeferredTriggers(void);
extern void UnrdfCleanSession(void);

#endif /* UNRDF_IDENTITY_H */
