/*
 * policy_fuzz.c
 *	  Policies (src/crypto/policy.c): what is accepted is a forest over known members, and what it says of a
 *	  note is what a plain reading of it says.
 */
#include "crypto/policy.h"
#include "fuzz.h"
#include "sample.h"

#include <string.h>

static UnrdfPolicy policy;
static char data_of_note[FUZZ_TEXT_MAX];
static UnrdfNote note;

/* A note that the log and the witness of the sample have signed. */
static void
make_note(void)
{
	UnrdfCanon out = {data_of_note, sizeof(data_of_note), 0};

	if (note.text != NULL)
		return;
	must(sample_make());
	sample_checkpoint(7, true, &out);
	must(unrdf_note_parse(data_of_note, out.len, &note) == 0);
}

static void
check_member(int i, const char *text, size_t len, bool used[UNRDF_POLICY_MEMBERS])
{
	const UnrdfPolicyMember *m = &policy.members[i];
	int j;

	must(m->name_len > 0 && fuzz_within(m->name, m->name_len, text, len));
	for (j = 0; j < i; j++)
		must(!fuzz_same(m->name, m->name_len, policy.members[j].name, policy.members[j].name_len));
	if (!m->is_group)
	{
		must(m->key.type == UNRDF_KEY_COSIGNATURE);
		return;
	}
	must(m->n >= 1 && m->n <= UNRDF_POLICY_MEMBERS && m->need >= 1 && m->need <= m->n);
	for (j = 0; j < m->n; j++)
	{
		must(m->members[j] < i && !used[m->members[j]]);
		used[m->members[j]] = true;
	}
}

/* Whether a member has signed, the plain way. */
static bool
has_signed(int i)
{
	const UnrdfPolicyMember *m = &policy.members[i];
	int count = 0;
	int j;

	if (!m->is_group)
		return unrdf_note_verify(&note, &m->key, NULL) == UNRDF_SIGNED;
	for (j = 0; j < m->n; j++)
		count += has_signed(m->members[j]);
	return count >= m->need;
}

static void
check_answer(void)
{
	UnrdfPolicyAnswer expected = UNRDF_POLICY_UNKNOWN_LOG;
	const UnrdfNoteKey *log;
	int witnesses;
	int i;

	for (i = 0; i < policy.nlogs; i++)
		if (unrdf_note_verify(&note, &policy.logs[i], NULL) == UNRDF_SIGNED)
			expected = policy.quorum < 0 || has_signed(policy.quorum) ? UNRDF_POLICY_MET
																	  : UNRDF_POLICY_NO_QUORUM;
	must(unrdf_policy_check(&policy, &note, &log, &witnesses) == expected);
	must((log != NULL) == (expected != UNRDF_POLICY_UNKNOWN_LOG));
	must(witnesses >= 0 && witnesses <= policy.nmembers);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	bool used[UNRDF_POLICY_MEMBERS] = {false};
	int lines = 1;
	int line = 0;
	size_t n;
	int i;

	make_note();
	for (n = 0; n < size; n++)
		lines += text[n] == '\n';
	if (unrdf_policy_parse(text, size, &policy, &line) != 0)
	{
		must(line >= 1 && line <= lines);
		return 0;
	}
	fuzz_accepted();
	must(line == lines && size > 0 && text[size - 1] == '\n');
	must(policy.nlogs >= 0 && policy.nlogs <= UNRDF_POLICY_LOGS);
	must(policy.nmembers >= 0 && policy.nmembers <= UNRDF_POLICY_MEMBERS);
	must(policy.quorum >= -1 && policy.quorum < policy.nmembers);
	for (i = 0; i < policy.nmembers; i++)
		check_member(i, text, size, used);
	check_answer();
	return 0;
}
