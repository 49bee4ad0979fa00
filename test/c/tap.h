/*
 * tap.h
 *	  What the unit tests have in common: TAP output, random numbers, hexadecimal.
 *
 * Random numbers have a fixed seed, so that a failure can be repeated.
 */
#ifndef UNRDF_TEST_TAP_H
#define UNRDF_TEST_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef TRIALS
#define TRIALS 300000 /* of what is tried at random; fewer where a build is slow */
#endif

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

extern void ok(bool good, const char *name);
extern void is_text(const char *got, const char *expected, const char *name);
extern void never(int happened, int trials, const char *what);
extern int finish_tests(void);

extern uint64_t random64(void);
extern const char *to_hex(const uint8_t *bytes, size_t n);
extern void from_hex(const char *hex, uint8_t *bytes);

extern void test_canonical(void);
extern void test_consistency(void);
extern void test_difference(void);
extern void test_evidence(void);
extern void test_merkle(void);
extern void test_note(void);
extern void test_policy(void);

#endif /* UNRDF_TEST_TAP_H */
