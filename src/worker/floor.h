#ifndef UNRDF_FLOOR_H
#define UNRDF_FLOOR_H

#include "postgres.h"

#include "queue/lane.h"

extern void UnrdfFloorRead(UnrdfLaneSet *lanes, int64 restores);
extern void UnrdfFloorWrite(UnrdfLaneSet *lanes, int64 restores);

#endif /* UNRDF_FLOOR_H */
