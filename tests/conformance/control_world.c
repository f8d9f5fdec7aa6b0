/*
 * Worlds with real control objects.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/control_world.h"

#include "control/control.h"
#include "core/heap.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000u
#define PASSED_MAX 2 /* settings that tests get from outside */
#define START_LIMIT_NS (30 * (uint64_t)NS_PER_SECOND)

struct state {
    struct shl_config config;
    struct shl_control *controls[WORLD_RANKS_MAX];
    struct shl_heap *heaps[WORLD_RANKS_MAX];
    struct shl_control_address addresses[WORLD_RANKS_MAX];
};

static void on_message(void *arg, uint32_t origin, uint16_t type, const void *payload, size_t bytes)
{
    (void)arg;
    (void)origin;
    (void)type;
    (void)payload;
    (void)bytes;
}

/* The transports tell what they lose themselves. */
static void on_lost(void *arg, uint32_t rank, enum shoal_status status, const char *cause)
{
    (void)arg;
    (void)rank;
    (void)status;
    (void)cause;
}

static enum shoal_status make_rank(struct world *world, struct state *state, uint32_t rank)
{
    static const uint8_t secret[] = "conformance";
    struct shl_control_options options = {
        .config = &state->config,
        .job = "conformance",
        .secret = secret,
        .secret_bytes = sizeof(secret),
        .rank = rank,
        .size = world->size,
        .arg = world,
        .on_message = on_message,
        .on_lost = on_lost,
    };
    SHL_TRY(shl_control_create(&options, &state->controls[rank]));
    SHL_TRY(shl_heap_create(&state->heaps[rank]));
    state->addresses[rank] = *shl_control_own_address(state->controls[rank]);
    struct shl_transport_env *env = &world->ranks[rank].env;
    env->config = &state->config;
    env->control = state->controls[rank];
    env->heap = state->heaps[rank];
    return SHOAL_OK;
}

/* What the tests of devices choose for each run; other settings of the caller's do not count. */
static void pass_environment(char *passed[PASSED_MAX + 1])
{
    static const char *const names[] = {"SHOAL_IB_CONNECT=", "SHOAL_IB_HCA="};
    unsigned count = 0;
    for (char **at = environ; *at && count < PASSED_MAX; at++)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strncmp(*at, names[i], strlen(names[i])) == 0)
                passed[count++] = *at;
    passed[count] = NULL;
}

enum shoal_status control_world_prepare(struct world *world, const struct shl_transport_ops *ops,
                                        const char *const *settings)
{
    char *environment[PASSED_MAX + 1];
    pass_environment(environment);
    struct shl_config_options from = {.settings = settings, .environment = environment};
    while (settings[from.setting_count] != NULL)
        from.setting_count++;
    struct state *state = calloc(1, sizeof(*state));
    assert_non_null(state);
    enum shoal_status status = shl_config_load(&from, &state->config);
    if (status < 0) {
        free(state);
        return status;
    }
    world->ops = ops;
    world->state = state;
    for (uint32_t i = 0; i < world->size && status == SHOAL_OK; i++)
        status = make_rank(world, state, i);
    if (status < 0)
        control_world_cleanup(world);
    return status;
}

struct start {
    struct world *world;
    uint32_t rank;
    enum shoal_status status;
    char detail[512];
};

static void *start_one(void *arg)
{
    struct start *start = arg;
    const struct state *state = start->world->state;
    const struct shl_transport_env *env = &start->world->ranks[start->rank].env;
    start->status = shl_control_start(state->controls[start->rank], state->addresses, env->epoch,
                                      env->incarnation, shl_now_ns() + START_LIMIT_NS);
    if (start->status < 0)
        snprintf(start->detail, sizeof(start->detail), "%s", shl_error_text());
    return NULL;
}

/* Each start waits for the others, so each has a thread. */
enum shoal_status control_world_meet(struct world *world)
{
    static struct start starts[WORLD_RANKS_MAX];
    pthread_t threads[WORLD_RANKS_MAX];
    for (uint32_t i = 0; i < world->size; i++) {
        starts[i] = (struct start){.world = world, .rank = i};
        if (pthread_create(&threads[i], NULL, start_one, &starts[i]) != 0)
            abort();
    }
    for (uint32_t i = 0; i < world->size; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < world->size; i++) {
        if (starts[i].status < 0) {
            shl_error_set(starts[i].detail);
            return starts[i].status;
        }
    }
    return SHOAL_OK;
}

/* The kernel and the control threads move things by themselves: something may always happen. */
bool control_world_idle(struct world *world)
{
    (void)world;
    shl_time_kernel.yield();
    return true;
}

void control_world_cleanup(struct world *world)
{
    struct state *state = world->state;
    for (uint32_t i = 0; i < world->size; i++) {
        if (state->controls[i] != NULL)
            shl_control_stop(state->controls[i]);
    }
    for (uint32_t i = 0; i < world->size; i++) {
        if (state->controls[i] != NULL)
            shl_control_destroy(state->controls[i]);
        shl_heap_destroy(state->heaps[i]);
    }
    shl_config_free(&state->config);
    free(state);
}
