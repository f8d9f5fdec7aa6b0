/*
 * Hashes of data that was moved or is compared: SHA-256 by libcrypto.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_HASH_H
#define SHL_CONTROL_HASH_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#define SHL_HASH_BYTES 32

/* shl_hash_data - Errors: SHOAL_ERR_INTERNAL, where libcrypto has no SHA-256. Any thread. */
enum shoal_status shl_hash_data(const void *data, size_t bytes, uint8_t hash[SHL_HASH_BYTES]);

#endif
