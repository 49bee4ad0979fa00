#ifndef UNRDF_TILES_H
#define UNRDF_TILES_H

#include "postgres.h"

extern int64 UnrdfTilesExport(const char *directory);
extern int64 UnrdfTilesDiffer(const char *directory);

#endif /* UNRDF_TILES_H */
