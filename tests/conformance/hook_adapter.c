/*
 * Conformance of the decorators: a trace over faults over the simulated transport.
 *
 * The faults only delay, now and then, so that everything must come out as without them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/sim_world.h"
#include "transport/hook/hook.h"
#include "transport/sim/sim_transport.h"

static enum shoal_status prepare(struct world *world)
{
    struct shl_hook_fault faults[9];
    for (unsigned i = 0; i < 9; i++) {
        faults[i] = (struct shl_hook_fault){
            .rank = SHL_HOOK_ANY,
            .call = i % SHL_HOOK_CALL_COUNT,
            .k = 3 + 5 * i,
            .action = SHL_HOOK_DELAY,
            .delay_ns = 1000 * i,
            .peer = SHL_HOOK_ANY,
        };
    }
    const struct shl_transport_ops *faulty, *traced;
    SHL_TRY(shl_hook_fault_wrap(&shl_transport_sim, faults, 9, &faulty));
    SHL_TRY(shl_hook_trace_wrap(faulty, &traced));
    SHL_TRY(sim_world_prepare(world));
    shl_sim_clock_install(world->state); /* delays go by the virtual clock */
    world->ops = traced;
    return SHOAL_OK;
}

/* A delay's end is no event of the network. */
static bool idle(struct world *world)
{
    if (sim_world_idle(world))
        return true;
    bool waits = false;
    for (uint32_t i = 0; i < world->size; i++)
        waits |= !world->ranks[i].crashed && !world->ops->arm(world->ranks[i].t, true);
    shl_time->sleep_ns(1000);
    return waits;
}

static void cleanup(struct world *world)
{
    shl_sim_clock_remove();
    sim_world_cleanup(world);
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "hook over sim",
        .seeds = 6,
        .prepare = prepare,
        .idle = idle,
        .cleanup = cleanup,
        .crash = sim_world_crash,
    };
    return conformance_run(&adapter);
}
