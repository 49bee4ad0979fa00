#ifndef UNRDF_RECALL_H
#define UNRDF_RECALL_H

#include "postgres.h"

#include "ledger/proof.h"

extern bool UnrdfRecallProof(int32 log, UnrdfInclusion *p);

#endif /* UNRDF_RECALL_H */
