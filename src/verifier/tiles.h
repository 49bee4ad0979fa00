/*
 * tiles.h
 *	  Checks that one checkpoint's tree is a prefix of another's, with a directory of tiles.
 *
 * Pure code over crypto/: no PostgreSQL header.
 */
#ifndef UNRDF_VERIFIER_TILES_H
#define UNRDF_VERIFIER_TILES_H

#include "verifier/evidence.h"

extern const char *unrdf_tiles_consistent(const char *directory, const UnrdfCheckpoint *old,
										  const UnrdfCheckpoint *newer);

#endif /* UNRDF_VERIFIER_TILES_H */
