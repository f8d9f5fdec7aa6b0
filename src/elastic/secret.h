/*
 * The job secret: where it comes from, and how it leaves memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_ELASTIC_SECRET_H
#define SHL_ELASTIC_SECRET_H

#include "core/config.h"

#define SHL_SECRET_BYTES_MIN 16
#define SHL_SECRET_BYTES_MAX 1024

struct shl_secret {
    uint8_t data[SHL_SECRET_BYTES_MAX];
    size_t bytes; /* 0: none was given */
};

/* shl_secret_load - from SHOAL_SECRET_FILE (refused when others may read it) or SHOAL_SECRET; one
 * trailing newline does not count. SHOAL_ERR_CONFIG when both are set, or too short or long. */
enum shoal_status shl_secret_load(const struct shl_config *config, struct shl_secret *secret);
void shl_secret_wipe(struct shl_secret *secret);

#endif
