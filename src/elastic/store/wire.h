/*
 * What clients and the coordinator say to each other: one request at a time, each with one reply.
 *
 *   header   u32 magic "SHLS", u32 bytes of the body
 *   request  u64 id, u8 kind (1 read, 2 swap), u64 incarnation, u64 version, value
 *   reply    u64 id, u8 result (1 done, 2 conflict), u64 incarnation, u64 version, value
 *
 * The value is the rest of the body; that of a read, and of the reply to a swap that was done, is
 * empty. Integers are little endian.
 *
 * Invariant: what a decoder accepts is written back byte for byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_STORE_WIRE_H
#define SHL_ELASTIC_STORE_WIRE_H

#include "core/bytes.h"
#include "elastic/store/store.h"

#define SHL_STORE_HEADER_BYTES 8u
#define SHL_STORE_BODY_MIN 25u
#define SHL_STORE_BODY_MAX (SHL_STORE_BODY_MIN + SHL_STORE_VALUE_MAX)
#define SHL_STORE_FRAME_MAX (SHL_STORE_HEADER_BYTES + SHL_STORE_BODY_MAX)

/* Both write header and body, at most SHL_STORE_FRAME_MAX bytes; return how many. */
size_t shl_store_put_request(uint8_t *wire, const struct shl_store_request *request);
size_t shl_store_put_reply(uint8_t *wire, const struct shl_store_answer *reply);

/* False: not ours, or a body of impossible size is announced. */
bool shl_store_get_header(const uint8_t header[SHL_STORE_HEADER_BYTES], uint32_t *body_bytes);
/* Values point into the body. False: malformed. */
bool shl_store_get_request(const uint8_t *body, size_t bytes, struct shl_store_request *request);
bool shl_store_get_reply(const uint8_t *body, size_t bytes, struct shl_store_answer *reply);

#endif
