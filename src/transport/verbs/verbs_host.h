/*
 * Which host a rank is on, as a number that ranks tell each other.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_TRANSPORT_VERBS_HOST_H
#define SHL_TRANSPORT_VERBS_HOST_H

#include "control/control.h"
#include "transport/transport.h"

/* FNV-1a; only compared for equality among the ranks of one job. */
static inline uint64_t shl_verbs_host(const struct shl_transport_env *env)
{
    const char *text = env->control ? shl_control_own_address(env->control)->host_id : "";
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
