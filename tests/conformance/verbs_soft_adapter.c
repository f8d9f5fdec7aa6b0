/*
 * Conformance of the verbs transport over a device that exists only in this process, so that every
 * lane runs it. The same suite runs on Soft-RoCE in verbs_adapter.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_world.h"
#include "support/verbs_soft.h"

#define YIELD_CALLS 32

static enum shoal_status prepare(struct world *world)
{
    static const char *const settings[] = {NULL};
    return control_world_prepare(world, &shl_transport_verbs, settings);
}

/* Everything but the control threads' part happens in polls, so the processor is offered now and
 * then only. */
static bool idle(struct world *world)
{
    static unsigned calls;
    return ++calls % YIELD_CALLS != 0 || control_world_idle(world);
}

static void cleanup(struct world *world)
{
    CHECK(world, verbs_soft_objects() == 0);
    control_world_cleanup(world);
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "verbs without a device",
        .seeds = 1,
        .attach_blocks = true,
        .no_sweep = true,
        .prepare = prepare,
        .meet = control_world_meet,
        .idle = idle,
        .cleanup = cleanup,
    };
    verbs_soft_install(1);
    return conformance_run(&adapter);
}
