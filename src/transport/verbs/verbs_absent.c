/*
 * What a build without libibverbs' headers says of RDMA devices.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "transport/verbs/verbs_port.h"

enum shoal_status shl_verbs_ports_find(const struct shl_config *config,
                                       struct shl_verbs_port *ports, uint32_t capacity,
                                       uint32_t *count)
{
    (void)config, (void)ports, (void)capacity, (void)count;
    return shl_fail(SHOAL_ERR_UNSUPPORTED,
                    "this build has no RDMA: libibverbs was missing when it was configured; on "
                    "Debian: apt-get install libibverbs-dev");
}

const char *shl_verbs_link_string(enum shl_verbs_link link)
{
    (void)link;
    return "unknown";
}
