/*
 * Conformance of the shared-memory transport over channels that real control objects make.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_world.h"

static enum shoal_status prepare(struct world *world)
{
    static const char *const settings[] = {"SHOAL_SHM_COPY=auto", NULL};
    return control_world_prepare(world, &shl_transport_shm, settings);
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "shm with control",
        .seeds = 1,
        .attach_blocks = true,
        .no_sweep = true,
        .prepare = prepare,
        .meet = control_world_meet,
        .idle = control_world_idle,
        .cleanup = control_world_cleanup,
    };
    return conformance_run(&adapter);
}
