/*
 * A FIDO token in software, for tests: it implements the security key API of OpenSSH (PROTOCOL.u2f, sk-api.h, version
 * 10) for Ed25519. The key handle is the private key. It always says that somebody touched it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#define VERSION 0x000a0000
#define TOUCHED 1
#define ED25519 1
#define SEED 32
#define GENERAL (-1)
#define UNSUPPORTED (-2)

struct enrolled {
	uint8_t flags;
	uint8_t *public_key;
	size_t public_key_len;
	uint8_t *key_handle;
	size_t key_handle_len;
	uint8_t *signature;
	size_t signature_len;
	uint8_t *attestation_cert;
	size_t attestation_cert_len;
	uint8_t *authdata;
	size_t authdata_len;
};

struct signature {
	uint8_t flags;
	uint32_t counter;
	uint8_t *r;
	size_t r_len;
	uint8_t *s;
	size_t s_len;
};

uint32_t sk_api_version(void) { return VERSION; }

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application, uint8_t flags,
    const char *pin, void **options, struct enrolled **out)
{
	if (alg != ED25519)
		return UNSUPPORTED;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct enrolled *e = calloc(1, sizeof(*e));
	e->flags = flags;
	e->public_key = malloc(SEED);
	e->public_key_len = SEED;
	e->key_handle = malloc(SEED);
	e->key_handle_len = SEED;
	if (EVP_PKEY_get_raw_public_key(key, e->public_key, &e->public_key_len) != 1 ||
	    EVP_PKEY_get_raw_private_key(key, e->key_handle, &e->key_handle_len) != 1)
		return GENERAL;
	e->signature = calloc(1, 1);
	e->signature_len = 1;
	e->attestation_cert = calloc(1, 1);
	e->attestation_cert_len = 1;
	e->authdata = calloc(1, 1);
	e->authdata_len = 1;
	EVP_PKEY_free(key);
	*out = e;
	return 0;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application, const uint8_t *key_handle,
    size_t key_handle_len, uint8_t flags, const char *pin, void **options, struct signature **out)
{
	uint8_t message[SHA256_DIGEST_LENGTH + 5 + SHA256_DIGEST_LENGTH] = {0};
	if (alg != ED25519 || key_handle_len != SEED)
		return UNSUPPORTED;
	SHA256((const uint8_t *)application, strlen(application), message);
	message[SHA256_DIGEST_LENGTH] = TOUCHED; /* a counter of 0 follows */
	SHA256(data, data_len, message + SHA256_DIGEST_LENGTH + 5);
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key_handle, SEED);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	struct signature *s = calloc(1, sizeof(*s));
	s->flags = TOUCHED;
	s->r_len = 64;
	s->r = malloc(s->r_len);
	if (EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
	    EVP_DigestSign(context, s->r, &s->r_len, message, sizeof(message)) != 1)
		return GENERAL;
	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	*out = s;
	return 0;
}

int sk_load_resident_keys(const char *pin, void **options, void ***keys, size_t *n) { return UNSUPPORTED; }
