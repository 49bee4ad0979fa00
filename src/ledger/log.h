#ifndef UNRDF_LOG_H
#define UNRDF_LOG_H

#include "postgres.h"

#include "base/lookup.h"
#include "crypto/merkle.h"
#include "crypto/tile.h"

#define UNRDF_LEAF_ENTRY 40     /* receipt id in network order, leaf hash */
#define UNRDF_LANDMARK_EVERY 48 /* entries; about as many as one chunk of a stored value has */
#define UNRDF_LEAF_RUN 4096     /* most entries of a run */

/* The newest tree of a log. Size and root always go together. */
typedef struct UnrdfLogHead
{
	uint64 size;
	uint8 root[UNRDF_HASH_LEN];
	int32 epoch;    /* of the integration that made it; 0: empty log */
	char *position; /* of the follower after it, palloc'd; NULL: empty log */
} UnrdfLogHead;

/* Neighbouring entries of one row of unrdf.integration, with what that row says of itself. */
typedef struct UnrdfLeafRun
{
	int64 first; /* the row's first leaf and number of leaves */
	int32 n;
	uint64 xid_min;
	uint64 xid_max;
	uint8 root[UNRDF_HASH_LEN];
	bool torn;    /* leaves has not n entries: the run is empty */
	uint64 index; /* of the run's first entry */
	int count;
	const uint8 *entries; /* UNRDF_LEAF_ENTRY bytes each */
} UnrdfLeafRun;

/* Reads the entries of a range of leaves, in order. */
typedef struct UnrdfLeafCursor
{
	UnrdfLookup rows;
	uint64 from;
	uint64 to;
	bool in_row;
	int64 next;   /* within the row, the first leaf not read yet */
	bytea *slice; /* what the last run points into */
	UnrdfLeafRun run;
} UnrdfLeafCursor;

/* A whole tile: its hashes, the roots over each 16 of them, and the root over all. */
#define UNRDF_TILE_GROUP 16
#define UNRDF_TILE_GROUP_HEIGHT 4
#define UNRDF_TILE_GROUPS (UNRDF_TILE_WIDTH / UNRDF_TILE_GROUP)
typedef struct UnrdfTile
{
	uint8 root[UNRDF_HASH_LEN];
	uint8 subroots[UNRDF_TILE_GROUPS][UNRDF_HASH_LEN];
	uint8 hashes[UNRDF_TILE_WIDTH][UNRDF_HASH_LEN];
} UnrdfTile;

/*
 * Reads hashes of perfect subtrees, from tiles and, right of them, from integrations; caches what
 * it reads.
 */
typedef struct UnrdfNodeReader UnrdfNodeReader;

extern void UnrdfLogHeadRead(int32 log, UnrdfLogHead *head);
extern bool UnrdfLogHeadBefore(int32 log, uint64 size, UnrdfLogHead *head);

extern bool UnrdfLeafFind(int32 log, int64 receipt, uint64 xid, uint64 *index, uint8 *leaf);
extern bool UnrdfLeafSearch(int32 log, int64 receipt, uint64 *index, uint8 *leaf);
extern bool UnrdfIntegrationInBounds(int64 first, int32 n);
extern int64 UnrdfEntryReceipt(const uint8 *entry);
extern const uint8 *UnrdfEntryLeaf(const uint8 *entry);
extern void UnrdfRowsFrom(UnrdfLookup *rows, int32 log, uint64 from);
extern void UnrdfLeafCursorBegin(UnrdfLeafCursor *c, int32 log, uint64 from, uint64 to);
extern const UnrdfLeafRun *UnrdfLeafCursorNext(UnrdfLeafCursor *c);
extern void UnrdfLeafCursorEnd(UnrdfLeafCursor *c);

extern bool UnrdfTileRead(UnrdfLookup *tiles, int32 log, int level, uint64 idx, UnrdfTile *tile);
extern int UnrdfPerfectRoot(uint8 (*hashes)[UNRDF_HASH_LEN], int n, uint8 *out);
extern UnrdfNodeReader *UnrdfNodeReaderBegin(int32 log);
extern int UnrdfNodeRead(void *reader, int level, uint64 index, uint8 *out);
extern void UnrdfNodeReaderEnd(UnrdfNodeReader *reader);

/* integrate.c */
extern int64 UnrdfIntegrate(int most);

#endif /* UNRDF_LOG_H */
