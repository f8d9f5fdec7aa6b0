/*
 * See hash.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/hash.h"

#include <openssl/evp.h>

enum shoal_status shl_hash_data(const void *data, size_t bytes, uint8_t hash[SHL_HASH_BYTES])
{
    unsigned written = SHL_HASH_BYTES;
    if (EVP_Digest(data, bytes, hash, &written, EVP_sha256(), NULL) != 1)
        return shl_fail(SHOAL_ERR_INTERNAL, "libcrypto cannot compute SHA-256");
    return SHOAL_OK;
}
