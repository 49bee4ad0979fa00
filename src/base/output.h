#ifndef UNRDF_OUTPUT_H
#define UNRDF_OUTPUT_H

#include "postgres.h"

extern int UnrdfPinOutput(void);
extern void UnrdfUnpinOutput(int level);

#endif /* UNRDF_OUTPUT_H */
