/*
 * Which kind of store an address means.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/store.h"

#include "elastic/store/client.h"

#include <string.h>

enum shoal_status shl_store_open(const struct shl_store_options *options, struct shl_store **store)
{
    if (options->custom)
        return shl_store_open_custom(options, store);
    if (strncmp(options->address, "etcd://", 7) == 0 ||
        strncmp(options->address, "etcds://", 8) == 0)
        return shl_store_open_etcd(options, store);
    return shl_store_open_coordinator(options, store);
}
