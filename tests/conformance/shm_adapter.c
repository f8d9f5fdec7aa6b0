/*
 * Conformance of the shared-memory transport: ranks in one process, with heaps of their own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/suite.h"
#include "unit/transport/shm_world.h"

struct state {
    struct shm_world channels;
    struct shl_config config;
    struct shl_heap *heaps[WORLD_RANKS_MAX];
};

static void cleanup(struct world *world)
{
    struct state *state = world->state;
    for (uint32_t i = 0; i < world->size; i++)
        shl_heap_destroy(state->heaps[i]);
    shm_world_close(&state->channels);
    free(state);
}

static enum shoal_status make_heaps(struct world *world, struct state *state)
{
    for (uint32_t i = 0; i < world->size; i++) {
        SHL_TRY(shl_heap_create(&state->heaps[i]));
        world->ranks[i].env.heap = state->heaps[i];
        world->ranks[i].env.config = &state->config;
    }
    return SHOAL_OK;
}

static enum shoal_status prepare(struct world *world)
{
    struct state *state = calloc(1, sizeof(*state));
    if (!state)
        return shl_fail(SHOAL_ERR_NOMEM, "no memory");
    world->state = state;
    world->ops = &shl_transport_shm;
    shm_world_init(&state->channels, world->size);
    state->config.shm_copy = world->seed % 3; /* chosen, staged, process_vm_readv by turns */
    enum shoal_status status = make_heaps(world, state);
    if (status != SHOAL_OK)
        cleanup(world);
    return status;
}

static bool idle(struct world *world)
{
    (void)world;
    return false; /* nothing moves but in poll */
}

int main(void)
{
    static const struct conformance_adapter adapter = {
        .name = "shm",
        .seeds = 6,
        .attach_blocks = true,
        .prepare = prepare,
        .idle = idle,
        .cleanup = cleanup,
    };
    return conformance_run(&adapter);
}
