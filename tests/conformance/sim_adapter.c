/*
 * Conformance of the simulated transport.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/sim_world.h"

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "sim",
        .seeds = 6,
        .prepare = sim_world_prepare,
        .idle = sim_world_idle,
        .cleanup = sim_world_cleanup,
        .crash = sim_world_crash,
    };
    return conformance_run(&adapter);
}
