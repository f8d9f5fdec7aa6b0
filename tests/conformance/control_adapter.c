/*
 * The program of an adapter over control.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_adapter.h"

#include "conformance/control_world.h"

static const struct control_adapter *chosen;

static enum shoal_status prepare(struct world *world)
{
    return control_world_prepare(world, chosen->ops, chosen->settings);
}

int control_adapter_run(const struct control_adapter *adapter)
{
    const struct conformance_adapter made = {
        .name = adapter->name,
        .seeds = adapter->seeds,
        .attach_blocks = true,
        .no_sweep = true,
        .prepare = prepare,
        .meet = control_world_meet,
        .idle = control_world_idle,
        .cleanup = control_world_cleanup,
    };
    chosen = adapter;
    return conformance_run(&made);
}
