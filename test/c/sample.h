/*
 * sample.h
 *	  A log to try the verifier on: receipts, their tree, the keys of the log and of a witness.
 *
 * All of it is always the same.
 */
#ifndef UNRDF_TEST_SAMPLE_H
#define UNRDF_TEST_SAMPLE_H

#include "crypto/checkpoint.h"
#include "crypto/note.h"

#define SAMPLE_LEAVES 4096
#define SAMPLE_TEXT_MAX 4000 /* bytes of anything that is written here */
#define SAMPLE_ORIGIN "log.example/sample"

extern bool sample_make(void);
extern const char *sample_key(void);
extern const char *sample_policy(bool cosigned);
extern size_t sample_receipt(uint64_t index, char *out);
extern int sample_node(void *arg, int level, uint64_t index, uint8_t out[UNRDF_HASH_LEN]);
extern void sample_sign(const char *text, size_t len, bool cosigned, UnrdfCanon *out);
extern void sample_checkpoint(uint64_t size, bool cosigned, UnrdfCanon *out);
extern void sample_export(uint64_t index, uint64_t size, bool cosigned, UnrdfCanon *out);

#endif /* UNRDF_TEST_SAMPLE_H */
