/*
 * Conformance: nothing is allocated once warm, and a failed allocation is an error, never a crash,
 * a leak or a wrong byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "conformance/message.h"
#include "conformance/suite.h"
#include "support/fault.h"

#define BURST 24
#define WARM_BURSTS 50
#define WINDOW_BURSTS 30
#define WINDOWS 5
#define SWEEP_MAX 20000
#define SWEEP_PASSES 20000

/* One burst of all kinds of message in both directions, always the same. */
static void make_burst(struct world *world, uint64_t seq, struct message messages[BURST])
{
    uint64_t eager = world->ops->eager_bytes;
    for (uint32_t i = 0; i < BURST; i++) {
        const uint64_t bytes[] = {0, 8, eager, eager + 1, 70000, 8 * eager};
        struct message_plan plan = {.from = i % 2,
                                    .to = 1 - i % 2,
                                    .seq = seq,
                                    .msg = i,
                                    .bytes = bytes[i / 2 % 6],
                                    .sinks = i % 4 < 2};
        message_make(world, &plan, &messages[i]);
    }
}

static void run_burst(struct world *world, struct message messages[BURST])
{
    struct message_set set = {messages, BURST};
    for (uint32_t i = 0; i < BURST; i++) {
        message_post_send(&messages[i]);
        message_post_recv(&messages[(i * 7 + 3) % BURST]);
    }
    world_run(world, message_set_done, &set);
    for (uint32_t i = 0; i < BURST; i++) {
        message_verify(&messages[i]);
        message_free(&messages[i]);
    }
}

/* Allocations of `count` bursts, without those of making the messages. */
static uint64_t count_allocations(struct world *world, uint64_t *seq, unsigned count)
{
    uint64_t allocations = 0;
    struct message messages[BURST];
    for (unsigned i = 0; i < count; i++) {
        make_burst(world, (*seq)++, messages);
        shl_fault_arm(SHL_FAULT_MEM, 0);
        run_burst(world, messages);
        allocations += shl_fault_calls();
    }
    return allocations;
}

/* A queue may still grow at a rare peak, so several windows are tried; what is allocated for each
 * message shows in every one of them. */
static void no_allocation_once_warm(const struct conformance_adapter *adapter, uint64_t seed)
{
    shl_fault_install();
    struct world *world = world_open(adapter, 2, seed);
    uint64_t seq = 1;
    (void)count_allocations(world, &seq, WARM_BURSTS);
    uint64_t allocations = 1;
    for (unsigned window = 0; window < WINDOWS && allocations > 0; window++)
        allocations = count_allocations(world, &seq, WINDOW_BURSTS);
    CHECK(world, allocations == 0);
    world_close(world);
    shl_fault_remove();
}

/* ---- the k-th allocation fails -------------------------------------------------------------- */

struct sweep {
    const struct conformance_adapter *adapter;
    uint64_t seed;
};

static enum shoal_status post_burst(struct world *world, struct message messages[BURST])
{
    for (uint32_t i = 0; i < BURST; i++) {
        struct message *send = &messages[i], *recv = &messages[(i * 7 + 3) % BURST];
        SHL_TRY(world->ops->send(world->ranks[send->from].t, &send->send));
        SHL_TRY(world->ops->recv(world->ranks[recv->to].t, &recv->recv));
    }
    return SHOAL_OK;
}

static enum shoal_status outcome(struct world *world, const struct message messages[BURST])
{
    for (uint32_t i = 0; i < BURST; i++) {
        const struct message *message = &messages[i];
        if (message->send_done > 0 && message->send.status < 0)
            return shl_fail(message->send.status, "send %u failed", i);
        if (message->recv_done > 0 && message->recv.status < 0)
            return shl_fail(message->recv.status, "receive %u failed", i);
    }
    for (uint32_t i = 0; i < world->size; i++) {
        for (uint32_t peer = 0; peer < world->size; peer++) {
            if (world->ranks[i].lost_calls[peer] > 0)
                return shl_fail(world->ranks[i].lost[peer], "rank %u lost rank %u", i, peer);
        }
    }
    return SHOAL_IN_PROGRESS;
}

/* Until all is done, or an error is known, or (the engine's deadline) nothing comes any more. */
static enum shoal_status drive_burst(struct world *world, struct message messages[BURST])
{
    struct message_set set = {messages, BURST};
    unsigned quiet = 0;
    while (!message_set_done(&set)) {
        enum shoal_status status = outcome(world, messages);
        if (status < 0)
            return status;
        if (world_poll(world))
            quiet = 0;
        else if (!world->adapter->idle(world) || quiet++ == SWEEP_PASSES)
            return shl_fail(SHOAL_ERR_TIMEOUT, "messages did not arrive");
    }
    enum shoal_status status = outcome(world, messages);
    for (uint32_t i = 0; i < BURST && status >= 0; i++)
        message_verify(&messages[i]);
    return status < 0 ? status : SHOAL_OK;
}

static enum shoal_status open_transfer_close(void *arg)
{
    const struct sweep *sweep = arg;
    struct world *world;
    SHL_TRY(world_create(sweep->adapter, 2, sweep->seed, &world));
    struct message messages[BURST];
    make_burst(world, 1, messages);
    enum shoal_status status = post_burst(world, messages);
    if (status >= 0)
        status = drive_burst(world, messages);
    char detail[512];
    snprintf(detail, sizeof(detail), "%s", shl_error_text());
    world_close(world);
    for (uint32_t i = 0; i < BURST; i++)
        message_free(&messages[i]);
    if (status < 0)
        shl_error_set(detail);
    return status;
}

static void kth_allocation_fails(const struct conformance_adapter *adapter, uint64_t seed)
{
    if (seed > 1 || adapter->no_sweep)
        return; /* one sweep is hundreds of worlds */
    struct sweep sweep = {adapter, seed};
    shl_fault_sweep(SHL_FAULT_MEM, open_transfer_close, &sweep, SWEEP_MAX);
}

const struct conformance_test conformance_memory_tests[] = {
    {"no allocation once warm", no_allocation_once_warm},
    {"k-th allocation fails", kth_allocation_fails},
    {NULL, NULL},
};
