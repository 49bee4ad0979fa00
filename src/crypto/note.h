/*
 * note.h
 *	  Signed notes (C2SP signed-note) with Ed25519 signatures and cosignatures (C2SP
 *	  tlog-cosignature), and the keys that check them.
 *
 * Pure code: no PostgreSQL header, no allocation.  What is parsed points into the caller's text.
 */
#ifndef UNRDF_NOTE_H
#define UNRDF_NOTE_H

#include "crypto/canonical.h"
#include "crypto/sign.h"

#include <stdbool.h>

#define UNRDF_KEY_NAME_MAX 255
#define UNRDF_NOTE_TEXT_MAX 8192      /* bytes of a text that can be cosigned */
#define UNRDF_NOTE_SIGNATURES_MAX 100 /* lines; at least 16 have to be accepted */

/* The signature types that are known here. */
typedef enum UnrdfKeyType
{
	UNRDF_KEY_ED25519 = 0x01,
	UNRDF_KEY_COSIGNATURE = 0x04 /* with a timestamp, by a witness */
} UnrdfKeyType;

/* A key that checks signatures. */
typedef struct UnrdfNoteKey
{
	char name[UNRDF_KEY_NAME_MAX];
	size_t name_len;
	uint32_t id;
	UnrdfKeyType type;
	uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];
} UnrdfNoteKey;

/* A note in its two parts. */
typedef struct UnrdfNote
{
	const char *text; /* with its last newline */
	size_t text_len;
	const char *signatures; /* lines */
	size_t signatures_len;
} UnrdfNote;

/* What a key says of a note. */
typedef enum UnrdfSigned
{
	UNRDF_NOT_SIGNED, /* no signature of this key */
	UNRDF_SIGNED,
	UNRDF_FORGED /* one that does not verify: the whole note is to be refused */
} UnrdfSigned;

extern bool unrdf_key_name_is_good(const char *name, size_t len);
extern int unrdf_note_key(const char *name, size_t len, UnrdfKeyType type,
						  const uint8_t public_key[UNRDF_PUBLIC_KEY_LEN], UnrdfNoteKey *key);
extern int unrdf_note_key_parse(const char *vkey, size_t len, UnrdfNoteKey *key);
extern void unrdf_note_key_format(const UnrdfNoteKey *key, UnrdfCanon *out);
extern int unrdf_note_secret_parse(const char *skey, size_t len, UnrdfNoteKey *key,
								   uint8_t seed[UNRDF_SEED_LEN]);
extern void unrdf_note_secret_format(const UnrdfNoteKey *key, const uint8_t seed[UNRDF_SEED_LEN],
									 UnrdfCanon *out);

extern int unrdf_note_parse(const char *data, size_t len, UnrdfNote *note);
extern UnrdfSigned unrdf_note_verify(const UnrdfNote *note, const UnrdfNoteKey *key,
									 uint64_t *timestamp);
extern int unrdf_note_sign(const char *text, size_t len, const UnrdfNoteKey *key,
						   const uint8_t seed[UNRDF_SEED_LEN], uint64_t timestamp, UnrdfCanon *out);

#endif /* UNRDF_NOTE_H */
