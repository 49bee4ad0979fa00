#ifndef UNRDF_KEYS_H
#define UNRDF_KEYS_H

#include "postgres.h"

#include "crypto/note.h"

#define UNRDF_MOST_SIGNERS 8

/* A key that signs. To be wiped after use. */
typedef struct UnrdfSigner
{
	UnrdfNoteKey key;
	uint8 seed[UNRDF_SEED_LEN];
} UnrdfSigner;

extern int UnrdfSignersRead(const char *name, UnrdfKeyType type, UnrdfSigner *signers,
							const char **reason);
extern void UnrdfSignersWipe(UnrdfSigner *signers, int n);
extern const char *UnrdfSignerAdd(const char *name, UnrdfKeyType type, UnrdfSigner *signer);
extern const char *UnrdfKeyFileState(bool *inside);
extern char *UnrdfKeyText(const UnrdfNoteKey *key);

#endif /* UNRDF_KEYS_H */
