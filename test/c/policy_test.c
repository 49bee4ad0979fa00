/*
 * policy_test.c
 *	  Unit tests of policies (src/crypto/policy.c).
 */
#include "crypto/policy.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define LOG 0 /* keys: the log's, then those of witnesses */
#define KEYS 7
#define BODY "log.example\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

static UnrdfNoteKey keys[KEYS];
static uint8_t seeds[KEYS][UNRDF_SEED_LEN];
static char vkeys[KEYS][200];
static UnrdfPolicy policy;

static void
make_keys(void)
{
	static const char *const names[KEYS] = {"log.example", "x1", "x2", "x3", "y1", "y2", "y3"};
	bool good = true;
	int i;

	for (i = 0; i < KEYS; i++)
	{
		uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];
		UnrdfCanon out = {vkeys[i], sizeof(vkeys[i]) - 1, 0};

		seeds[i][0] = (uint8_t) (i + 1);
		good &= unrdf_public_key(seeds[i], public_key) == 0 &&
				unrdf_note_key(names[i], strlen(names[i]),
							   i == LOG ? UNRDF_KEY_ED25519 : UNRDF_KEY_COSIGNATURE, public_key,
							   &keys[i]) == 0;
		unrdf_note_key_format(&keys[i], &out);
	}
	ok(good, "keys");
}

/* Replaces $0 … $6 by keys. */
static const char *
with_keys(const char *text)
{
	static char out[20000];
	char *to = out;

	for (; *text; text++)
	{
		if (*text == '$')
			to += sprintf(to, "%s", vkeys[*++text - '0']);
		else
			*to++ = *text;
	}
	*to = '\0';
	return out;
}

static int
parse(const char *text, int *line)
{
	static char kept[20000];

	strcpy(kept, with_keys(text));
	return unrdf_policy_parse(kept, strlen(kept), &policy, line);
}

/* What the policy says of a checkpoint signed by the keys whose digits are given. */
static UnrdfPolicyAnswer
answer(const char *signers, int *witnesses)
{
	char data[4000] = BODY "\n";
	UnrdfCanon out = {data, sizeof(data), strlen(data)};
	const UnrdfNoteKey *log;
	UnrdfNote note;

	for (; *signers; signers++)
		(void) unrdf_note_sign(BODY, strlen(BODY), &keys[*signers - '0'], seeds[*signers - '0'],
							   1700000000, &out);
	ok(unrdf_note_parse(data, out.len, &note) == 0, "a checkpoint");
	return unrdf_policy_check(&policy, &note, &log, witnesses);
}

/* The example of the specification */
static void
test_example(void)
{
	int witnesses;
	int line;

	ok(parse("# an example\n"
			 "log $0 https://log.example/\n"
			 "\n"
			 "witness X1 $1\n\twitness  X2 \t$2 https://x2.example/\nwitness X3 $3\n"
			 "group X-witnesses 2 X1 X2 X3\n"
			 "witness Y1 $4\nwitness Y2 $5\nwitness Y3 $6\n"
			 "group Y-witnesses any Y1 Y2 Y3\n"
			 "group X-and-Y all X-witnesses Y-witnesses\n"
			 "quorum X-and-Y\n",
			 &line) == 0,
	   "the specification's example");
	ok(answer("0124", &witnesses) == UNRDF_POLICY_MET && witnesses == 3, "two of X and one of Y");
	ok(answer("0132546", &witnesses) == UNRDF_POLICY_MET && witnesses == 6, "all of them");
	ok(answer("014", &witnesses) == UNRDF_POLICY_NO_QUORUM && witnesses == 2,
	   "one of X is not enough");
	ok(answer("0123", &witnesses) == UNRDF_POLICY_NO_QUORUM, "nor all of X alone");
	ok(answer("0456", &witnesses) == UNRDF_POLICY_NO_QUORUM, "nor all of Y");
	ok(answer("124", &witnesses) == UNRDF_POLICY_UNKNOWN_LOG, "nor is it anything without the log");
	ok(answer("0", &witnesses) == UNRDF_POLICY_NO_QUORUM && witnesses == 0, "the log alone");
}

static void
test_simple(void)
{
	char data[4000];
	const UnrdfNoteKey *log;
	UnrdfNote note;
	UnrdfCanon out = {data, sizeof(data), 0};
	int witnesses;
	int line;

	ok(parse("log $0\nquorum none\n", &line) == 0 && answer("0", &witnesses) == UNRDF_POLICY_MET,
	   "no witness needed");
	ok(answer("01", &witnesses) == UNRDF_POLICY_MET && witnesses == 0, "one that is not known");
	ok(parse("log $0\nwitness w $1\nquorum w\n", &line) == 0 &&
		   answer("01", &witnesses) == UNRDF_POLICY_MET,
	   "one witness");
	/* the witness's signature under another text */
	unrdf_canon_raw(&out, BODY "\n", strlen(BODY "\n"));
	(void) unrdf_note_sign(BODY, strlen(BODY), &keys[LOG], seeds[LOG], 0, &out);
	(void) unrdf_note_sign("x\n", 2, &keys[1], seeds[1], 1700000000, &out);
	ok(unrdf_note_parse(data, out.len, &note) == 0 &&
		   unrdf_policy_check(&policy, &note, &log, &witnesses) == UNRDF_POLICY_FORGED,
	   "a forged cosignature spoils the checkpoint");
	ok(parse("quorum none\n", &line) == 0 && answer("0", &witnesses) == UNRDF_POLICY_UNKNOWN_LOG,
	   "no log is known");
}

static void
test_malformed(void)
{
	static const struct
	{
		int line;
		const char *text;
	} bad[] = {{1, ""},
			   {1, "quorum"},
			   {1, "quorum none"},
			   {2, "log $0\n"},
			   {2, "log $0\nlog $0\nquorum none\n"},
			   {1, "log $1\nquorum none\n"},
			   {1, "log\nquorum none\n"},
			   {1, "log $0 a b\nquorum none\n"},
			   {1, "log garbage\nquorum none\n"},
			   {1, "witness w $0\nquorum none\n"},
			   {1, "witness none $1\nquorum none\n"},
			   {2, "witness w $1\nwitness v $1\nquorum none\n"},
			   {2, "witness w $1\nwitness w $2\nquorum none\n"},
			   {2, "quorum none\nquorum none\n"},
			   {1, "quorum nobody\n"},
			   {1, "quorum\n"},
			   {1, "group g any nobody\nquorum none\n"},
			   {2, "witness w $1\ngroup g any none\nquorum none\n"},
			   {2, "witness w $1\ngroup g any w w\nquorum none\n"},
			   {3, "witness w $1\ngroup g any w\ngroup h any w\nquorum none\n"},
			   {2, "witness w $1\ngroup g 0 w\nquorum none\n"},
			   {2, "witness w $1\ngroup g 2 w\nquorum none\n"},
			   {2, "witness w $1\ngroup g 01 w\nquorum none\n"},
			   {2, "witness w $1\ngroup g 99999999999 w\nquorum none\n"},
			   {2, "witness w $1\ngroup g some w\nquorum none\n"},
			   {2, "witness w $1\ngroup g any\nquorum none\n"},
			   {1, "group g any g\nquorum none\n"},
			   {1, "something\nquorum none\n"},
			   {1, "quorum none\r\n"},
			   {1, "quorum \x01none\n"}};
	char text[20000];
	char name[80];
	int line;
	int i;

	for (i = 0; i < LENGTH(bad); i++)
	{
		snprintf(name, sizeof(name), "malformed policy %d: line %d", i, bad[i].line);
		ok(parse(bad[i].text, &line) == -1 && line == bad[i].line, name);
	}
	strcpy(text, "witness w $1\ngroup g any");
	for (i = 0; i < 200; i++)
		strcat(text, " w");
	strcat(text, "\nquorum none\n");
	ok(parse(text, &line) == -1 && line == 2, "more words than any line may have");
}

void
test_policy(void)
{
	make_keys();
	test_example();
	test_simple();
	test_malformed();
}
