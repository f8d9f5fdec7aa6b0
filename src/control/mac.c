/*
 * Keyed hashing by OpenSSL's libcrypto, and the key of a job.
 *
 * Invariant: the algorithm is looked up once a process; a handshake costs two HMACs, no look-up.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/mac.h"
#include "control/handshake.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MAC_CTX *template; /* with the digest chosen and no key; only ever duplicated */

static void make_template(void)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *made = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac); /* the context keeps its own reference */
    if (made && EVP_MAC_CTX_set_params(made, params) == 1)
        template = made;
    else
        EVP_MAC_CTX_free(made);
}

/* Any length of key; keys of the protocol have 32 bytes. */
static enum shoal_status hmac(const void *key, size_t key_bytes, const void *data, size_t bytes,
                              uint8_t mac[SHL_MAC_BYTES])
{
    size_t written = 0;
    pthread_once(&once, make_template);
    EVP_MAC_CTX *context = template ? EVP_MAC_CTX_dup(template) : NULL;
    bool ok = context && EVP_MAC_init(context, key, key_bytes, NULL) == 1 &&
              EVP_MAC_update(context, data, bytes) == 1 &&
              EVP_MAC_final(context, mac, &written, SHL_MAC_BYTES) == 1 && written == SHL_MAC_BYTES;
    EVP_MAC_CTX_free(context);
    if (!ok)
        return shl_fail(SHOAL_ERR_INTERNAL, "libcrypto cannot compute HMAC-SHA-256");
    return SHOAL_OK;
}

enum shoal_status shl_mac_compute(const uint8_t key[SHL_MAC_BYTES], const void *data, size_t bytes,
                                  uint8_t mac[SHL_MAC_BYTES])
{
    return hmac(key, SHL_MAC_BYTES, data, bytes, mac);
}

enum shoal_status shl_mac_job_hash(const char *job, uint8_t hash[16])
{
    uint8_t digest[32];
    unsigned digest_bytes = sizeof(digest);
    if (EVP_Digest(job, strlen(job), digest, &digest_bytes, EVP_sha256(), NULL) != 1)
        return shl_fail(SHOAL_ERR_INTERNAL, "libcrypto cannot compute SHA-256");
    memcpy(hash, digest, 16);
    return SHOAL_OK;
}

enum shoal_status shl_key_derive(const void *secret, size_t secret_bytes, const char *job,
                                 struct shl_key *key)
{
    static const char without[] = "shoal job without a secret";
    struct shl_key derived = {.secret = secret != NULL};
    const void *base = secret ? secret : without;
    size_t base_bytes = secret ? secret_bytes : sizeof(without) - 1;
    SHL_TRY(hmac(base, base_bytes, job, strlen(job), derived.bytes));
    *key = derived;
    OPENSSL_cleanse(&derived, sizeof(derived));
    return SHOAL_OK;
}
