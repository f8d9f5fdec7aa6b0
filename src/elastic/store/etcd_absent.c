/*
 * In the place of etcd.c where Shoal was built without it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "elastic/store/client.h"

enum shoal_status shl_store_open_etcd(const struct shl_store_options *options,
                                      struct shl_store **store)
{
    (void)store;
    return shl_fail(SHOAL_ERR_UNSUPPORTED,
                    "%s: this Shoal was built without etcd; build it where libcurl's headers are "
                    "(on Debian: apt-get install libcurl4-openssl-dev)",
                    options->address);
}
