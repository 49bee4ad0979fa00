/*
 * note_test.c
 *	  Unit tests of base 64, signatures, notes, checkpoints and proof texts.
 *
 * Expected values are published: RFC 4648, RFC 8032, the C2SP documents, and the example of the
 * format's first implementation.
 */
#include "crypto/base64.h"
#include "crypto/checkpoint.h"
#include "crypto/note.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

#define PETER_VKEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define PETER_SKEY "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
#define ENOCH_VKEY "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
#define TEXT                                                     \
	"If you think cryptography is the answer to your problem,\n" \
	"then you don't know what your problem is.\n"
#define PETER_LINE               \
	"\xe2\x80\x94 PeterNeumann " \
	"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
#define ENOCH_LINE            \
	"\xe2\x80\x94 EnochRoot " \
	"rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"

#define CHECKPOINT_TEXT             \
	"example.com/behind-the-sofa\n" \
	"20852163\n"                    \
	"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

static void
test_base64(void)
{
	/* RFC 4648 section 10 */
	static const char *const pairs[][2] = {{"", ""},
										   {"f", "Zg=="},
										   {"fo", "Zm8="},
										   {"foo", "Zm9v"},
										   {"foob", "Zm9vYg=="},
										   {"fooba", "Zm9vYmE="},
										   {"foobar", "Zm9vYmFy"}};
	static const char *const bad[] = {
		"Zg=",      "Zg",        "Zh==",       "Zm9=",      "====",
		"Zg==Zg==", "Zm9v\n",    " Zg=",       "Zm9v\nZg=", "Zm9v    ",
		"Zg==    ", "Zm9vYg=\n", "Zm\xc3\xa9", "Zm-_",      "Z==="};
	uint8_t bytes[1000];
	uint8_t again[1000];
	char text[UNRDF_BASE64_LEN(1000)];
	bool same = true;
	int i;

	for (i = 0; i < LENGTH(pairs); i++)
	{
		size_t n = strlen(pairs[i][0]);

		unrdf_base64_encode(pairs[i][0], n, text);
		ok(memcmp(text, pairs[i][1], UNRDF_BASE64_LEN(n)) == 0 &&
			   strlen(pairs[i][1]) == UNRDF_BASE64_LEN(n) &&
			   unrdf_base64_decode(text, UNRDF_BASE64_LEN(n), bytes, n) == (int) n &&
			   memcmp(bytes, pairs[i][0], n) == 0,
		   "base 64 of RFC 4648");
	}
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_base64_decode(bad[i], strlen(bad[i]), bytes, sizeof(bytes)) == -1,
		   "what is not base 64, or not the only text of its value, is refused");
	ok(unrdf_base64_decode("Zm9v", 4, bytes, 2) == -1, "nor is more than there is room for");
	for (i = 0; i < 1000; i++)
		bytes[i] = (uint8_t) random64();
	for (i = 0; i <= 1000; i++)
	{
		unrdf_base64_encode(bytes, i, text);
		same &= unrdf_base64_decode(text, UNRDF_BASE64_LEN(i), again, i) == i &&
				memcmp(bytes, again, i) == 0;
	}
	ok(same, "base 64 and back, of every length up to 1000");
}

/*
 * Adds the order of the group to a signature's scalar: an equation that does not care would still hold
 * (RFC 8032 section 8.4).
 */
static void
add_group_order(uint8_t signature[UNRDF_SIGNATURE_LEN])
{
	static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
									  0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
									  0,    0,    0,    0,    0,    0,    0,    0,
									  0,    0,    0,    0,    0,    0,    0,    0x10};
	int carry = 0;
	int i;

	for (i = 0; i < 32; i++)
	{
		carry += signature[32 + i] + order[i];
		signature[32 + i] = (uint8_t) carry;
		carry >>= 8;
	}
}

/* RFC 8032 section 7.1: private key, public key, message, signature */
static const char *const signatures[][4] = {
	{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	 "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
	 "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
	{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	 "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
	 "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
	{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	 "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
	 "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	{"f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
	 "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
	 "08b8b2b733424243760fe426a4b54908632110a66c2f6591eabd3345e3e4eb98fa6e264bf09efe12"
	 "ee50f8f54e9f77b1e355f6c50544e23fb1433ddf73be84d879de7c0046dc4996d9e773f4bc9efe57"
	 "38829adb26c81b37c93a1b270b20329d658675fc6ea534e0810a4432826bf58c941efb65d57a338b"
	 "bd2e26640f89ffbc1a858efcb8550ee3a5e1998bd177e93a7363c344fe6b199ee5d02e82d522c4fe"
	 "ba15452f80288a821a579116ec6dad2b3b310da903401aa62100ab5d1a36553e06203b33890cc9b8"
	 "32f79ef80560ccb9a39ce767967ed628c6ad573cb116dbefefd75499da96bd68a8a97b928a8bbc10"
	 "3b6621fcde2beca1231d206be6cd9ec7aff6f6c94fcd7204ed3455c68c83f4a41da4af2b74ef5c53"
	 "f1d8ac70bdcb7ed185ce81bd84359d44254d95629e9855a94a7c1958d1f8ada5d0532ed8a5aa3fb2"
	 "d17ba70eb6248e594e1a2297acbbb39d502f1a8c6eb6f1ce22b3de1a1f40cc24554119a831a9aad6"
	 "079cad88425de6bde1a9187ebb6092cf67bf2b13fd65f27088d78b7e883c8759d2c4f5c65adb7553"
	 "878ad575f9fad878e80a0c9ba63bcbcc2732e69485bbc9c90bfbd62481d9089beccf80cfe2df16a2"
	 "cf65bd92dd597b0707e0917af48bbb75fed413d238f5555a7a569d80c3414a8d0859dc65a46128ba"
	 "b27af87a71314f318c782b23ebfe808b82b0ce26401d2e22f04d83d1255dc51addd3b75a2b1ae078"
	 "4504df543af8969be3ea7082ff7fc9888c144da2af58429ec96031dbcad3dad9af0dcbaaaf268cb8"
	 "fcffead94f3c7ca495e056a9b47acdb751fb73e666c6c655ade8297297d07ad1ba5e43f1bca32301"
	 "651339e22904cc8c42f58c30c04aafdb038dda0847dd988dcda6f3bfd15c4b4c4525004aa06eeff8"
	 "ca61783aacec57fb3d1f92b0fe2fd1a85f6724517b65e614ad6808d6f6ee34dff7310fdc82aebfd9"
	 "04b01e1dc54b2927094b2db68d6f903b68401adebf5a7e08d78ff4ef5d63653a65040cf9bfd4aca7"
	 "984a74d37145986780fc0b16ac451649de6188a7dbdf191f64b5fc5e2ab47b57f7f7276cd419c17a"
	 "3ca8e1b939ae49e488acba6b965610b5480109c8b17b80e1b7b750dfc7598d5d5011fd2dcc5600a3"
	 "2ef5b52a1ecc820e308aa342721aac0943bf6686b64b2579376504ccc493d97e6aed3fb0f9cd71a4"
	 "3dd497f01f17c0e2cb3797aa2a2f256656168e6c496afc5fb93246f6b1116398a346f1a641f3b041"
	 "e989f7914f90cc2c7fff357876e506b50d334ba77c225bc307ba537152f3f1610e4eafe595f6d9d9"
	 "0d11faa933a15ef1369546868a7f3a45a96768d40fd9d03412c091c6315cf4fde7cb68606937380d"
	 "b2eaaa707b4c4185c32eddcdd306705e4dc1ffc872eeee475a64dfac86aba41c0618983f8741c5ef"
	 "68d3a101e8a3b8cac60c905c15fc910840b94c00a0b9d0",
	 "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350"
	 "aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e30a6ac00a9704a188a03"},
	{"833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
	 "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
	 "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	 "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	 "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
	 "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"}};

static void
test_ed25519(void)
{
	int i;

	for (i = 0; i < LENGTH(signatures); i++)
	{
		uint8_t seed[UNRDF_SEED_LEN];
		uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];
		uint8_t message[1024];
		uint8_t signature[UNRDF_SIGNATURE_LEN];
		size_t n = strlen(signatures[i][2]) / 2;
		bool refused = true;
		int bit;

		from_hex(signatures[i][0], seed);
		from_hex(signatures[i][2], message);
		ok(unrdf_public_key(seed, public_key) == 0, "public key");
		is_text(to_hex(public_key, sizeof(public_key)), signatures[i][1], "public key of RFC 8032");
		ok(unrdf_sign(seed, message, n, signature) == 0, "signature");
		is_text(to_hex(signature, sizeof(signature)), signatures[i][3], "signature of RFC 8032");
		ok(unrdf_verify_signature(public_key, message, n, signature), "it verifies");
		for (bit = 0; bit < 8 * UNRDF_SIGNATURE_LEN; bit++)
		{
			signature[bit / 8] ^= (uint8_t) (1 << bit % 8);
			refused &= !unrdf_verify_signature(public_key, message, n, signature);
			signature[bit / 8] ^= (uint8_t) (1 << bit % 8);
		}
		ok(refused, "but not with any bit flipped");
		message[n] = 0;
		ok(!unrdf_verify_signature(public_key, message, n + 1, signature), "nor for another text");
		add_group_order(signature);
		ok(!unrdf_verify_signature(public_key, message, n, signature),
		   "nor with another scalar that means the same");
	}
}

static UnrdfNoteKey
key_of(const char *vkey)
{
	UnrdfNoteKey key;

	ok(unrdf_note_key_parse(vkey, strlen(vkey), &key) == 0, vkey);
	return key;
}

static void
test_keys(void)
{
	static const char *const bad[] = {
		"",
		"PeterNeumann",
		"PeterNeumann+c74f20a3",
		"+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"PeterNeumann+c74f20a3+AhpcFOQHFDw4TEHoMMW84SqogX7FZJqqvywxOIs1stdE",
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n"};
	static const char *const names[] = {"",
										"a b",
										"a+b",
										"a\tb",
										"a\xc2\xa0"
										"b",
										"a\xe3\x80\x80"
										"b",
										"\xff",
										"a\xe2\x80\x89"};
	UnrdfNoteKey key = key_of(PETER_VKEY);
	char text[200];
	char name[UNRDF_KEY_NAME_MAX + 1];
	UnrdfCanon out = {text, sizeof(text), 0};
	int i;

	unrdf_note_key_format(&key, &out);
	ok(out.len == strlen(PETER_VKEY) && memcmp(text, PETER_VKEY, out.len) == 0,
	   "a key's text and back");
	key_of("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_note_key_parse(bad[i], strlen(bad[i]), &key) == -1, "what is no key is refused");
	for (i = 0; i < LENGTH(names); i++)
		ok(!unrdf_key_name_is_good(names[i], strlen(names[i])), "a bad name is refused");
	memset(name, 'x', sizeof(name));
	ok(unrdf_key_name_is_good(name, UNRDF_KEY_NAME_MAX) &&
		   !unrdf_key_name_is_good(name, UNRDF_KEY_NAME_MAX + 1),
	   "a name may have 255 bytes");
	ok(unrdf_key_name_is_good("z\xc3\xbcrich.example/\xf0\x9f\x94\x91", 20), "and be Unicode");
}

static UnrdfSigned
says(const char *data, const UnrdfNoteKey *key)
{
	UnrdfNote note;

	ok(unrdf_note_parse(data, strlen(data), &note) == 0, "a note is parsed");
	return unrdf_note_verify(&note, key, NULL);
}

static void
test_notes(void)
{
	static const char *const bad[] = {"",
									  "\n",
									  "\n\n",
									  TEXT,
									  TEXT "\n",
									  TEXT PETER_LINE,
									  TEXT "\n" PETER_LINE "\n",
									  TEXT "\nx" PETER_LINE,
									  TEXT "\n- PeterNeumann x08go/ZJkuBS\n",
									  TEXT "\n\xe2\x80\x94 PeterNeumann\n",
									  TEXT "\n\xe2\x80\x94 PeterNeumann x08go/ZJkuB\n",
									  TEXT "\n\xe2\x80\x94 PeterNeumann x08go/==\n",
									  TEXT "\n\xe2\x80\x94  x08go/ZJkuBS\n",
									  TEXT "\n\xe2\x80\x94 Peter+Neumann x08go/ZJkuBS\n",
									  TEXT "\r\n\n" PETER_LINE,
									  TEXT "\xff\n\n" PETER_LINE,
									  TEXT "\n\xe2\x80\x94 PeterNeumann x08go/ZJkuBS"};
	UnrdfNoteKey peter = key_of(PETER_VKEY);
	UnrdfNoteKey enoch = key_of(ENOCH_VKEY);
	UnrdfNoteKey other = peter;
	UnrdfNote note;
	uint8_t seed[UNRDF_SEED_LEN];
	char line[256];
	char many[20000] = TEXT "\n";
	UnrdfCanon out = {line, sizeof(line), 0};
	int i;

	ok(unrdf_note_secret_parse(PETER_SKEY, strlen(PETER_SKEY), &other, seed) == 0 &&
		   memcmp(&other, &peter, sizeof(peter)) == 0,
	   "a published private key belongs to the published public one");
	unrdf_note_secret_format(&other, seed, &out);
	ok(out.len == strlen(PETER_SKEY) && memcmp(line, PETER_SKEY, out.len) == 0, "and back");
	out.len = 0;
	ok(unrdf_note_secret_parse(PETER_VKEY, strlen(PETER_VKEY), &other, seed) == -1 &&
		   unrdf_note_secret_parse(PETER_SKEY, strlen(PETER_SKEY) - 1, &other, seed) == -1 &&
		   unrdf_note_secret_parse("PRIVATE+KEY+" PETER_VKEY, 12 + strlen(PETER_VKEY), &other,
								   seed) == -1,
	   "what is no private key is refused");
	(void) unrdf_note_secret_parse(PETER_SKEY, strlen(PETER_SKEY), &other, seed);
	ok(unrdf_note_sign(TEXT, strlen(TEXT), &peter, seed, 0, &out) == 0 &&
		   out.len == strlen(PETER_LINE) && memcmp(line, PETER_LINE, out.len) == 0,
	   "signs as published");
	ok(says(TEXT "\n" PETER_LINE ENOCH_LINE, &peter) == UNRDF_SIGNED, "the first signature");
	ok(says(TEXT "\n" PETER_LINE ENOCH_LINE, &enoch) == UNRDF_SIGNED, "the second");
	ok(says(TEXT "\n" PETER_LINE, &enoch) == UNRDF_NOT_SIGNED, "none of another key");
	ok(says("x" TEXT "\n" PETER_LINE, &peter) == UNRDF_FORGED, "of another text: forged");
	ok(says("a\n\n" TEXT "\n" PETER_LINE, &peter) == UNRDF_FORGED, "a text with an empty line");
	ok(says(TEXT "\n\xe2\x80\x94 PeterNeumann x08go/ZJkuBS\n", &peter) == UNRDF_FORGED,
	   "a signature that is too short: forged");
	other.id++;
	ok(says(TEXT "\n" PETER_LINE, &other) == UNRDF_NOT_SIGNED, "the name alone is not the key");
	other = peter;
	other.name[0] = 'p';
	ok(says(TEXT "\n" PETER_LINE, &other) == UNRDF_NOT_SIGNED, "nor the id alone");
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_note_parse(bad[i], strlen(bad[i]), &note) == -1, "what is no note is refused");
	ok(unrdf_note_sign("no newline", 10, &peter, seed, 0, &out) == -1,
	   "a text without newline is not signed");
	ok(unrdf_note_sign("a\rb\n", 4, &peter, seed, 0, &out) == -1, "nor a control character");
	for (i = 0; i < UNRDF_NOTE_SIGNATURES_MAX; i++)
		strcat(many, PETER_LINE);
	ok(says(many, &peter) == UNRDF_SIGNED, "a hundred signatures");
	strcat(many, PETER_LINE);
	ok(unrdf_note_parse(many, strlen(many), &note) == -1, "but not more");
}

static void
test_cosignatures(void)
{
	static const char text[] = CHECKPOINT_TEXT;
	char data[2000] = CHECKPOINT_TEXT "\n";
	char long_text[UNRDF_NOTE_TEXT_MAX + 2];
	uint8_t seed[UNRDF_SEED_LEN] = {1, 2, 3};
	uint8_t public_key[UNRDF_PUBLIC_KEY_LEN];
	UnrdfNoteKey witness;
	UnrdfNoteKey log;
	UnrdfNote note;
	UnrdfCanon out = {data, sizeof(data), strlen(data)};
	uint64_t time = 0;

	ok(unrdf_public_key(seed, public_key) == 0 &&
		   unrdf_note_key("witness.example", 15, UNRDF_KEY_COSIGNATURE, public_key, &witness) ==
			   0 &&
		   unrdf_note_key("witness.example", 15, UNRDF_KEY_ED25519, public_key, &log) == 0,
	   "a witness");
	ok(witness.id != log.id, "of one public key, a log and a witness have different ids");
	ok(unrdf_note_sign(text, strlen(text), &witness, seed, 1679315147, &out) == 0, "cosigns");
	ok(unrdf_note_parse(data, out.len, &note) == 0 &&
		   unrdf_note_verify(&note, &witness, &time) == UNRDF_SIGNED && time == 1679315147,
	   "at a time that can be read");
	ok(unrdf_note_verify(&note, &log, NULL) == UNRDF_NOT_SIGNED, "which is no signature of a log");
	/* the timestamp's last digits are within the base 64 text; any change of it must be noticed */
	data[out.len - 100] = data[out.len - 100] == 'A' ? 'B' : 'A';
	ok(unrdf_note_parse(data, out.len, &note) == 0 &&
		   unrdf_note_verify(&note, &witness, NULL) != UNRDF_SIGNED,
	   "a changed cosignature is noticed");
	memset(long_text, 'x', sizeof(long_text));
	long_text[UNRDF_NOTE_TEXT_MAX] = '\n';
	ok(unrdf_note_sign(long_text, UNRDF_NOTE_TEXT_MAX + 1, &witness, seed, 0, &out) == -1,
	   "a text that is too long is not cosigned");
	ok(unrdf_note_sign(text, strlen(text), &witness, seed, UINT64_MAX, &out) == -1,
	   "nor at a time that is none");
}

static void
test_checkpoints(void)
{
	static const char *const bad[] = {
		"",
		"a\n",
		"a\n1\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
		"\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n1 \nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n9223372036854775808\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
		"a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nx\n\n"};
	static const char extended[] = CHECKPOINT_TEXT "one\ntwo\n";
	static const char largest[] =
		"a\n9223372036854775807\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
	UnrdfCheckpoint c;
	char text[400];
	UnrdfCanon out = {text, sizeof(text), 0};
	int i;

	ok(unrdf_checkpoint_parse(extended, strlen(extended), &c) == 0 && c.size == 20852163 &&
		   c.origin_len == 27 && memcmp(c.origin, extended, 27) == 0 && c.extensions_len == 8,
	   "a checkpoint with extension lines");
	is_text(to_hex(c.root, sizeof(c.root)),
			"0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62", "its root");
	unrdf_checkpoint_format(&c, &out);
	ok(out.len == strlen(extended) && memcmp(text, extended, out.len) == 0, "and back");
	ok(unrdf_checkpoint_parse(largest, strlen(largest), &c) == 0 && c.size == UNRDF_TREE_SIZE_MAX,
	   "the largest size");
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_checkpoint_parse(bad[i], strlen(bad[i]), &c) == -1,
		   "what is no checkpoint is refused");
}

static void
test_proof_texts(void)
{
	static const char good[] = "c2sp.org/tlog-proof@v1\n"
							   "extra YWdl\n"
							   "index 73894\n"
							   "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
							   "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
							   "\n" CHECKPOINT_TEXT "\n" PETER_LINE;
	static const char *const bad[] = {
		"",
		"c2sp.org/tlog-proof@v1",
		"c2sp.org/tlog-proof@v1\n",
		"c2sp.org/tlog-proof@v2\nindex 1\n\n",
		"c2sp.org/tlog-proof@v1x\nindex 1\n\n",
		"c2sp.org/tlog-proof@v1\nindex 1\n",
		"c2sp.org/tlog-proof@v1\nindex 01\n\n",
		"c2sp.org/tlog-proof@v1\nindex\n\n",
		"c2sp.org/tlog-proof@v1\nindex 1\nextra YWdl\n\n",
		"c2sp.org/tlog-proof@v1\nextra YWdl\nextra YWdl\nindex 1\n\n",
		"c2sp.org/tlog-proof@v1\nindex 1\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXm==\n\n"};
	UnrdfTlogProof p;
	char text[8000];
	UnrdfCanon out = {text, sizeof(text), 0};
	int i;

	ok(unrdf_tlog_proof_parse(good, strlen(good), &p) == 0 && p.index == 73894 && p.n == 2 &&
		   p.extra_len == 4 && memcmp(p.extra, "YWdl", 4) == 0 &&
		   memcmp(p.checkpoint, "example.com", 11) == 0,
	   "a proof");
	unrdf_tlog_proof_format(&p, &out);
	ok(out.len == strlen(good) && memcmp(text, good, out.len) == 0, "and back");
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_tlog_proof_parse(bad[i], strlen(bad[i]), &p) == -1, "what is no proof is refused");
	strcpy(text, "c2sp.org/tlog-proof@v1\nindex 0\n");
	for (i = 0; i < 64; i++)
		strcat(text, "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n");
	strcat(text, "\n");
	ok(unrdf_tlog_proof_parse(text, strlen(text), &p) == 0 && p.n == 64, "64 hashes");
	text[strlen(text) - 1] = '\0';
	strcat(text, "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\n");
	ok(unrdf_tlog_proof_parse(text, strlen(text), &p) == -1, "but not 65");
}

static void
test_witness_requests(void)
{
	static const char good[] = "old 20852014\n"
							   "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
							   "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
							   "\n" CHECKPOINT_TEXT "\n" PETER_LINE;
	static const char *const bad[] = {"",
									  "old",
									  "old \n\n",
									  "old 1",
									  "old 1\n",
									  "old 01\n\n",
									  "old -1\n\n",
									  "new 1\n\n",
									  "old 9223372036854775808\n\n",
									  "old 1\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n",
									  "old 1\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpka==\n\n"};
	UnrdfWitnessRequest r;
	char text[8000];
	UnrdfCanon out = {text, sizeof(text), 0};
	int i;

	ok(unrdf_witness_request_parse(good, strlen(good), &r) == 0 && r.old_size == 20852014 &&
		   r.n == 2 && memcmp(r.checkpoint, "example.com", 11) == 0,
	   "a request to a witness");
	unrdf_witness_request_format(&r, &out);
	ok(out.len == strlen(good) && memcmp(text, good, out.len) == 0, "and back");
	for (i = 0; i < LENGTH(bad); i++)
		ok(unrdf_witness_request_parse(bad[i], strlen(bad[i]), &r) == -1,
		   "what is no request is refused");
	strcpy(text, "old 0\n");
	for (i = 0; i < 63; i++)
		strcat(text, "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n");
	strcat(text, "\n");
	ok(unrdf_witness_request_parse(text, strlen(text), &r) == 0 && r.n == 63, "63 hashes");
	text[strlen(text) - 1] = '\0';
	strcat(text, "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\n");
	ok(unrdf_witness_request_parse(text, strlen(text), &r) == -1, "but not 64");
}

void
test_note(void)
{
	test_witness_requests();
	test_base64();
	test_ed25519();
	test_keys();
	test_notes();
	test_cosignatures();
	test_checkpoints();
	test_proof_texts();
}
