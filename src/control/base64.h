/*
 * Base64 (RFC 4648, section 4), whole texts with padding.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CONTROL_BASE64_H
#define SHL_CONTROL_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes a terminating zero, too; `text` has room for 4 bytes each 3 and one more. */
void shl_base64_encode(char *text, const void *data, size_t bytes);
/* false: no base64, or more than `capacity` bytes; then `data` is undefined. */
bool shl_base64_decode(const char *text, size_t length, uint8_t *data, size_t capacity,
                       size_t *bytes);

#endif
