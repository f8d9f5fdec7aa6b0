/*
 * The k-th allocation, descriptor or socket call fails, for every k, from opening to closing: an
 * error with its cause or no harm at all, never a leak, a hang or a wrong byte.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "support/fault.h"
#include "support/test.h"
#include "unit/transport/tcp_world.h"

#include <inttypes.h>

#define SWEEP_MAX 5000
#define GIVE_UP_NS (30 * UINT64_C(1000000000))

static const char *const settings[] = {"SHOAL_TCP_FLOWS=2", "SHOAL_TCP_CHUNK_BYTES=65536",
                                       "SHOAL_LOG_LEVEL=error", NULL};

/* Made by hand: opening may fail here, and the helpers would end the test. */
struct rig {
    struct shl_config config;
    struct tcp_net *net;
    struct world world;
};

static bool wanted(void *arg, const struct shl_tag *tag)
{
    (void)arg, (void)tag;
    return true;
}

static void seen(void *arg, uint32_t peer, const struct shl_tag *tag,
                 const struct shl_signature *signature)
{
    (void)arg, (void)peer, (void)tag, (void)signature;
}

static void lost(void *arg, uint32_t peer, enum shoal_status status, const char *cause)
{
    struct world_rank *rank = arg;
    rank->lost[peer] = status;
    rank->lost_calls[peer]++;
    shl_error_set(cause);
}

static enum shoal_status rig_open(struct rig *rig)
{
    uint8_t blobs[2][64];
    const void *const blob_of[2] = {blobs[0], blobs[1]};
    size_t bytes[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct world_rank *rank = &rig->world.ranks[i];
        rank->env = (struct shl_transport_env){.arg = rank,
                                               .config = &rig->config,
                                               .rank = i,
                                               .size = 2,
                                               .epoch = 1,
                                               .control = tcp_net_control(rig->net, i),
                                               .wanted = wanted,
                                               .seen = seen,
                                               .lost = lost};
        SHL_TRY(shl_transport_tcp.open(&rank->env, &rank->t));
        bytes[i] = shl_transport_tcp.describe(rank->t, blobs[i], sizeof(blobs[i]));
    }
    for (uint32_t i = 0; i < 2; i++)
        SHL_TRY(shl_transport_tcp.attach(rig->world.ranks[i].t, blob_of, bytes, UINT64_MAX,
                                         rig->world.ranks[i].reaches));
    return SHOAL_OK;
}

static enum shoal_status outcome(const struct rig *rig, const struct message *messages,
                                 uint32_t count)
{
    for (uint32_t i = 0; i < 2; i++)
        if (rig->world.ranks[i].lost_calls[1 - i])
            return rig->world.ranks[i].lost[1 - i];
    for (uint32_t i = 0; i < count; i++)
        if (!message_done((void *)&messages[i]))
            return SHOAL_IN_PROGRESS;
    return SHOAL_OK;
}

static enum shoal_status exchange(struct rig *rig, struct message *messages, uint32_t count)
{
    enum shoal_status status;
    for (uint32_t i = 0; i < count; i++) {
        struct message *send = &messages[i], *recv = &messages[count - 1 - i];
        SHL_TRY(shl_transport_tcp.send(rig->world.ranks[send->from].t, &send->send));
        SHL_TRY(shl_transport_tcp.recv(rig->world.ranks[recv->to].t, &recv->recv));
    }
    uint64_t start_ns = shl_now_ns();
    while ((status = outcome(rig, messages, count)) == SHOAL_IN_PROGRESS) {
        for (uint32_t i = 0; i < 2; i++)
            shl_transport_tcp.poll(rig->world.ranks[i].t);
        /* A failed wake-up costs a sleeper, not a poller: nothing may take longer than this. */
        if (shl_now_ns() - start_ns > GIVE_UP_NS)
            fail_msg("hangs after a fault in %s", shl_fault_site());
    }
    for (uint32_t i = 0; i < count && status == SHOAL_OK; i++)
        message_verify(&messages[i]);
    return status;
}

static enum shoal_status live_once(void *arg)
{
    static const uint64_t sizes[] = {0, 8, SHL_TCP_EAGER_BYTES, SHL_TCP_PUSH_BYTES, 300000};
    struct rig *rig = arg;
    struct message messages[10];
    char detail[512];
    memset(&rig->world, 0, sizeof(rig->world));
    rig->world.ops = &shl_transport_tcp;
    rig->world.adapter = &(struct conformance_adapter){.name = "tcp"};
    rig->world.size = 2;
    rig->net = tcp_net_create(2, NULL, NULL);
    for (uint32_t i = 0; i < 10; i++) {
        struct message_plan plan = {.from = i % 2,
                                    .to = 1 - i % 2,
                                    .seq = 1,
                                    .msg = i,
                                    .bytes = sizes[i / 2],
                                    .sinks = i % 4 < 2};
        message_make(&rig->world, &plan, &messages[i]);
    }
    enum shoal_status status = rig_open(rig);
    if (status == SHOAL_OK)
        status = exchange(rig, messages, 10);
    snprintf(detail, sizeof(detail), "%s", shl_error_text());
    for (uint32_t i = 0; i < 2; i++)
        shl_transport_tcp.close(rig->world.ranks[i].t);
    tcp_net_destroy(rig->net);
    for (uint32_t i = 0; i < 10; i++)
        message_free(&messages[i]);
    if (status < 0)
        shl_error_set(detail);
    return status;
}

static void sweep(unsigned kinds)
{
    static struct rig rig;
    tcp_net_config(&rig.config, settings);
    uint64_t runs = shl_fault_sweep(kinds, live_once, &rig, SWEEP_MAX);
    print_message("%" PRIu64 " calls failed in turn\n", runs);
    assert_true(runs > 4);
    shl_config_free(&rig.config);
}

static void one_allocation_fails(void **unused)
{
    (void)unused;
    sweep(SHL_FAULT_MEM);
}

static void one_descriptor_call_fails(void **unused)
{
    (void)unused;
    sweep(SHL_FAULT_FD);
}

static void one_socket_call_fails(void **unused)
{
    (void)unused;
    sweep(SHL_FAULT_SOCK);
}

static void memory_runs_out(void **unused)
{
    (void)unused;
    sweep(SHL_FAULT_MEM | SHL_FAULT_STICKY);
}

/* Connections can be made and break at once: that ends, too. */
static void sockets_fail_for_good(void **unused)
{
    (void)unused;
    sweep(SHL_FAULT_SOCK | SHL_FAULT_STICKY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_fails),  cmocka_unit_test(one_descriptor_call_fails),
        cmocka_unit_test(one_socket_call_fails), cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(sockets_fail_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
