/*
 * note_fuzz.c
 *	  Signed notes and keys (src/crypto/note.c).
 *
 * Ed25519 signatures are deterministic and the keys' private halves are known here but not to whoever
 * makes the input: a signature that verifies has to be the one that signing gives.
 */
#include "crypto/note.h"
#include "fuzz.h"

#include <string.h>

#define PETER "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
#define WITNESS "witness.example/sample"
#define KEYS 2

static UnrdfNoteKey keys[KEYS];
static uint8_t seeds[KEYS][UNRDF_SEED_LEN] = {{0},
											  {2}}; /* the second is that of the sample's witness */

static void
make_keys(void)
{
	uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];

	if (keys[0].name_len > 0)
		return;
	must(unrdf_note_secret_parse(PETER, strlen(PETER), &keys[0], seeds[0]) == 0);
	must(unrdf_public_key(seeds[1], public_key) == 0);
	must(unrdf_note_key(WITNESS, strlen(WITNESS), UNRDF_KEY_COSIGNATURE, public_key, &keys[1]) ==
		 0);
}

static void
check_key(const char *text, size_t len)
{
	char again[FUZZ_TEXT_MAX];
	UnrdfCanon out = {again, sizeof(again), 0};
	uint8_t seed[UNRDF_SEED_LEN];
	UnrdfNoteKey key;

	if (unrdf_note_key_parse(text, len, &key) == 0)
	{
		fuzz_accepted();
		must(unrdf_key_name_is_good(key.name, key.name_len));
		unrdf_note_key_format(&key, &out);
		must(fuzz_same(again, out.len, text, len));
	}
	if (unrdf_note_secret_parse(text, len, &key, seed) == 0)
	{
		fuzz_accepted();
		out.len = 0;
		unrdf_note_secret_format(&key, seed, &out);
		must(fuzz_same(again, out.len, text, len));
	}
}

static void
check_signatures(const UnrdfNote *note)
{
	int i;

	for (i = 0; i < KEYS; i++)
	{
		char line[FUZZ_TEXT_MAX];
		UnrdfCanon out = {line, sizeof(line), 0};
		uint64_t time = 0;

		if (unrdf_note_verify(note, &keys[i], &time) != UNRDF_SIGNED)
			continue;
		must(unrdf_note_sign(note->text, note->text_len, &keys[i], seeds[i], time, &out) == 0);
		must(memmem(note->signatures, note->signatures_len, line, out.len) != NULL);
	}
}

/* Signs the note's text, which has to verify, and must not with one bit flipped in text or signature. */
static void
check_signing(const UnrdfNote *note, size_t which_bit)
{
	char data[FUZZ_TEXT_MAX];
	UnrdfCanon out = {data, sizeof(data), 0};
	UnrdfNote mine;
	size_t bit;

	unrdf_canon_raw(&out, note->text, note->text_len);
	unrdf_canon_raw(&out, "\n", 1);
	must(unrdf_note_sign(note->text, note->text_len, &keys[0], seeds[0], 0, &out) == 0);
	must(unrdf_note_parse(data, out.len, &mine) == 0 &&
		 fuzz_same(mine.text, mine.text_len, note->text, note->text_len) &&
		 unrdf_note_verify(&mine, &keys[0], NULL) == UNRDF_SIGNED);
	bit = which_bit % (8 * out.len);
	data[bit / 8] ^= (char) (1 << bit % 8);
	must(unrdf_note_parse(data, out.len, &mine) != 0 ||
		 unrdf_note_verify(&mine, &keys[0], NULL) != UNRDF_SIGNED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	size_t sum = 0;
	size_t i;
	UnrdfNote note;

	if (size > FUZZ_TEXT_MAX / 4)
		return 0;
	make_keys();
	check_key(text, size);
	if (unrdf_note_parse(text, size, &note) != 0)
		return 0;
	fuzz_accepted();
	must(note.text == text && note.text_len > 0 && text[note.text_len - 1] == '\n' &&
		 text[note.text_len] == '\n');
	must(note.signatures == text + note.text_len + 1 &&
		 note.text_len + 1 + note.signatures_len == size && note.signatures_len > 0);
	check_signatures(&note);
	for (i = 0; i < size; i++)
		sum = sum * 31 + data[i];
	check_signing(&note, sum);
	return 0;
}
