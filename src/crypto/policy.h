/*
 * policy.h
 *	  Whose signatures make a checkpoint valid (C2SP tlog-policy).
 *
 * Pure code: no PostgreSQL header, no allocation.
 */
#ifndef UNRDF_POLICY_H
#define UNRDF_POLICY_H

#include "crypto/note.h"

#define UNRDF_POLICY_LOGS 64
#define UNRDF_POLICY_MEMBERS 128

/* A witness, or a group of members that come before it. */
typedef struct UnrdfPolicyMember
{
	const char *name; /* in the policy's text */
	size_t name_len;
	bool is_group;
	bool is_used; /* in a group: it counts once */
	UnrdfNoteKey key;
	int need; /* of a group's members */
	int n;
	uint8_t members[UNRDF_POLICY_MEMBERS];
} UnrdfPolicyMember;

typedef struct UnrdfPolicy
{
	int nlogs;
	UnrdfNoteKey logs[UNRDF_POLICY_LOGS];
	int nmembers;
	UnrdfPolicyMember members[UNRDF_POLICY_MEMBERS];
	int quorum; /* a member; -1: none is needed */
} UnrdfPolicy;

/* What a policy says of a checkpoint. */
typedef enum UnrdfPolicyAnswer
{
	UNRDF_POLICY_MET,
	UNRDF_POLICY_UNKNOWN_LOG, /* signed by none of the logs */
	UNRDF_POLICY_FORGED,      /* a signature of a known key does not verify */
	UNRDF_POLICY_NO_QUORUM
} UnrdfPolicyAnswer;

extern int unrdf_policy_parse(const char *text, size_t len, UnrdfPolicy *policy, int *line);
extern UnrdfPolicyAnswer unrdf_policy_check(const UnrdfPolicy *policy, const UnrdfNote *note,
											const UnrdfNoteKey **log, int *witnesses);

#endif /* UNRDF_POLICY_H */
