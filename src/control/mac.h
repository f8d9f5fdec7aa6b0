/*
 * HMAC-SHA-256 and SHA-256 of libcrypto, behind the three calls that Shoal needs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_MAC_H
#define SHL_CONTROL_MAC_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#define SHL_MAC_BYTES 32

/* shl_mac_compute - HMAC-SHA-256 under a key of 32 bytes. Threads: any. */
enum shoal_status shl_mac_compute(const uint8_t key[SHL_MAC_BYTES], const void *data, size_t bytes,
                                  uint8_t mac[SHL_MAC_BYTES]);

/* shl_mac_job_hash - the first 16 bytes of the SHA-256 of a job name. */
enum shoal_status shl_mac_job_hash(const char *job, uint8_t hash[16]);

#endif
