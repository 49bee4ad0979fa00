/*
 * policy.c
 *	  Whose signatures make a checkpoint valid (C2SP tlog-policy).
 */
#include "crypto/policy.h"

#include <string.h>

#define WORDS (UNRDF_POLICY_MEMBERS + 4)

typedef struct Word
{
	const char *start;
	size_t len;
} Word;

static bool
is_word(const Word *word, const char *text)
{
	return word->len == strlen(text) && memcmp(word->start, text, word->len) == 0;
}

/* Splits a line at blanks and tabs; -1 for one with other control characters, or too many words. */
static int
split(const char *line, size_t len, Word words[WORDS])
{
	int n = 0;
	size_t i;

	for (i = 0; i < len; i++)
	{
		bool blank = line[i] == ' ' || line[i] == '\t';

		if (!blank && ((uint8_t) line[i] < ' ' || line[i] == 0x7f))
			return -1;
		if (blank)
			continue;
		if (n > 0 && words[n - 1].start + words[n - 1].len == line + i)
			words[n - 1].len++;
		else if (n == WORDS)
			return -1;
		else
		{
			words[n].start = line + i;
			words[n++].len = 1;
		}
	}
	return n;
}

/* The member of a name, or -1. */
static int
find(const UnrdfPolicy *p, const Word *name)
{
	int i;

	for (i = 0; i < p->nmembers; i++)
		if (p->members[i].name_len == name->len &&
			memcmp(p->members[i].name, name->start, name->len) == 0)
			return i;
	return -1;
}

static bool
same_key(const UnrdfNoteKey *a, const UnrdfNoteKey *b)
{
	return memcmp(a->public_key, b->public_key, UNRDF_PUBLIC_KEY_LEN) == 0;
}

static bool
add_log(UnrdfPolicy *p, const Word *words, int n)
{
	UnrdfNoteKey *key = &p->logs[p->nlogs];
	int i;

	if (n < 2 || n > 3 || p->nlogs == UNRDF_POLICY_LOGS ||
		unrdf_note_key_parse(words[1].start, words[1].len, key) != 0 ||
		key->type != UNRDF_KEY_ED25519)
		return false;
	for (i = 0; i < p->nlogs; i++)
		if (same_key(&p->logs[i], key))
			return false;
	p->nlogs++;
	return true;
}

/* A new member under a name that is none's, or NULL. */
static UnrdfPolicyMember *
new_member(UnrdfPolicy *p, const Word *name)
{
	UnrdfPolicyMember *m = &p->members[p->nmembers];

	if (p->nmembers == UNRDF_POLICY_MEMBERS || is_word(name, "none") || find(p, name) >= 0)
		return NULL;
	memset(m, 0, sizeof(*m));
	m->name = name->start;
	m->name_len = name->len;
	return m;
}

static bool
add_witness(UnrdfPolicy *p, const Word *words, int n)
{
	UnrdfPolicyMember *m = n < 3 || n > 4 ? NULL : new_member(p, &words[1]);
	int i;

	if (m == NULL || unrdf_note_key_parse(words[2].start, words[2].len, &m->key) != 0 ||
		m->key.type != UNRDF_KEY_COSIGNATURE)
		return false;
	for (i = 0; i < p->nmembers; i++)
		if (!p->members[i].is_group && same_key(&p->members[i].key, &m->key))
			return false;
	p->nmembers++;
	return true;
}

/* A group's threshold; 0 for what is none. */
static int
read_threshold(const Word *word, int n)
{
	int k = 0;
	size_t i;

	if (is_word(word, "any"))
		return 1;
	if (is_word(word, "all"))
		return n;
	for (i = 0; i < word->len && k <= n; i++)
	{
		if (word->start[i] < '0' || word->start[i] > '9' || (k == 0 && word->start[i] == '0'))
			return 0;
		k = k * 10 + (word->start[i] - '0');
	}
	return k <= n ? k : 0;
}

static bool
add_group(UnrdfPolicy *p, const Word *words, int n)
{
	UnrdfPolicyMember *m = n < 4 ? NULL : new_member(p, &words[1]);
	int i;

	if (m == NULL || (m->need = read_threshold(&words[2], n - 3)) == 0)
		return false;
	m->is_group = true;
	for (i = 3; i < n; i++)
	{
		int member = find(p, &words[i]);

		if (member < 0 || p->members[member].is_used)
			return false;
		p->members[member].is_used = true;
		m->members[m->n++] = (uint8_t) member;
	}
	p->nmembers++;
	return true;
}

static bool
set_quorum(UnrdfPolicy *p, const Word *words, int n, bool *has_quorum)
{
	if (n != 2 || *has_quorum)
		return false;
	*has_quorum = true;
	p->quorum = find(p, &words[1]);
	return p->quorum >= 0 || is_word(&words[1], "none");
}

static bool
read_line(UnrdfPolicy *p, const char *line, size_t len, bool *has_quorum)
{
	Word words[WORDS];
	int n = split(line, len, words);

	if (n < 0)
		return false;
	if (n == 0 || words[0].start[0] == '#')
		return true;
	if (is_word(&words[0], "log"))
		return add_log(p, words, n);
	if (is_word(&words[0], "witness"))
		return add_witness(p, words, n);
	if (is_word(&words[0], "group"))
		return add_group(p, words, n);
	return is_word(&words[0], "quorum") && set_quorum(p, words, n, has_quorum);
}

/*
 * Parses a policy, which points into text.  Returns 0, or -1 with *line the number of the line that is
 * wrong, one more than there are where the quorum is missing.
 */
int
unrdf_policy_parse(const char *text, size_t len, UnrdfPolicy *policy, int *line)
{
	const char *next = text;
	const char *end = text + len;
	bool has_quorum = false;

	policy->nlogs = policy->nmembers = 0;
	policy->quorum = -1;
	for (*line = 1; next < end; (*line)++)
	{
		const char *newline = memchr(next, '\n', end - next);

		if (newline == NULL || !read_line(policy, next, newline - next, &has_quorum))
			return -1;
		next = newline + 1;
	}
	return has_quorum ? 0 : -1;
}

/*
 * Whether a note that was parsed is a valid checkpoint by this policy.  *log is the log's key that
 * signed it, NULL where none did; *witnesses how many of the policy's have.  That the checkpoint's
 * origin is the log's name is for the caller to see.
 */
UnrdfPolicyAnswer
unrdf_policy_check(const UnrdfPolicy *policy, const UnrdfNote *note, const UnrdfNoteKey **log,
				   int *witnesses)
{
	bool has[UNRDF_POLICY_MEMBERS];
	bool forged = false;
	int i;

	*log = NULL;
	*witnesses = 0;
	for (i = 0; i < policy->nlogs; i++)
	{
		UnrdfSigned answer = unrdf_note_verify(note, &policy->logs[i], NULL);

		forged |= answer == UNRDF_FORGED;
		if (answer == UNRDF_SIGNED)
			*log = &policy->logs[i];
	}
	for (i = 0; i < policy->nmembers; i++)
	{
		const UnrdfPolicyMember *m = &policy->members[i];
		UnrdfSigned answer;
		int count = 0;
		int j;

		if (m->is_group)
		{
			for (j = 0; j < m->n; j++)
				count += has[m->members[j]];
			has[i] = count >= m->need;
			continue;
		}
		answer = unrdf_note_verify(note, &m->key, NULL);
		forged |= answer == UNRDF_FORGED;
		has[i] = answer == UNRDF_SIGNED;
		*witnesses += has[i];
	}
	if (forged)
		return UNRDF_POLICY_FORGED;
	if (*log == NULL)
		return UNRDF_POLICY_UNKNOWN_LOG;
	return policy->quorum < 0 || has[policy->quorum] ? UNRDF_POLICY_MET : UNRDF_POLICY_NO_QUORUM;
}
