/*
 * Ping-pong over a transport, below schedules and requests. Path: from elastic/measure.c.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "engine/probe.h"

#include "core/sys.h"

#define SMALL_BYTES 8
#define LARGE_BYTES 262144
#define SMALL_ROUNDS 20
#define LARGE_ROUNDS 5
#define WARM_ROUNDS 3
#define PROBE_SEQ (1ull << 63) /* no operation ever gets such a number */
#define REDUCE_COUNT 65536

struct probe {
    struct shoal_comm *comm;
    uint32_t peer; /* world rank */
    bool first;
    uint64_t deadline_ns;
    uint32_t msg; /* of the next message, in both directions */
    uint8_t *data;
};

static void note_done(struct shl_xfer *xfer)
{
    *(bool *)xfer->owner = true;
}

/* Send or receive one message and wait for it. */
static enum shoal_status move(struct probe *probe, bool send, uint64_t bytes)
{
    struct shl_engine *engine = probe->comm->engine;
    const struct shl_transport_ops *ops = shl_engine_ops(engine, probe->peer);
    struct shl_transport *t = shl_engine_transport(engine, probe->peer);
    struct shl_idle idle = {.timeout_ns = UINT64_MAX};
    bool done = false;
    struct shl_xfer xfer = {.peer = probe->peer,
                            .tag = {PROBE_SEQ, probe->comm->id, probe->msg},
                            .data = probe->data,
                            .bytes = bytes,
                            .elem_bytes = 1,
                            .done = note_done,
                            .owner = &done,
                            .status = SHOAL_IN_PROGRESS};
    shl_list_init(&xfer.link);
    SHL_TRY(send ? ops->send(t, &xfer) : ops->recv(t, &xfer));
    while (!done) {
        if (shl_engine_poll(engine) != 0)
            shl_idle_end(&idle);
        else
            shl_idle_step(engine, &idle);
        if (!done && shl_now_ns() >= probe->deadline_ns) {
            ops->cancel(t, probe->comm->id, PROBE_SEQ);
            return shl_fail(SHOAL_ERR_TIMEOUT, "rank %u did not answer while costs were measured",
                            probe->peer);
        }
        shl_token_offer(engine);
    }
    return xfer.status;
}

/* Seconds of the fastest round trip: other work and a connection that is still new only add, and
 * one such round among few would turn the choice of algorithms. */
static enum shoal_status round_trips(struct probe *probe, uint64_t bytes, uint32_t rounds,
                                     double *seconds)
{
    uint64_t least_ns = UINT64_MAX;
    for (uint32_t i = 0; i < rounds + WARM_ROUNDS; i++) {
        uint64_t start_ns = shl_now_ns();
        SHL_TRY(move(probe, probe->first, bytes));
        SHL_TRY(move(probe, !probe->first, bytes));
        uint64_t took_ns = shl_now_ns() - start_ns;
        least_ns = took_ns < least_ns ? took_ns : least_ns;
        probe->msg++;
    }
    *seconds = (double)least_ns * 1e-9;
    return SHOAL_OK;
}

enum shoal_status shl_probe_link(struct shoal_comm *comm, uint32_t peer, bool first,
                                 uint64_t timeout_ns, double *alpha_s, double *beta_s_per_byte)
{
    struct probe probe = {.comm = comm,
                          .peer = comm->members[peer],
                          .first = first,
                          .deadline_ns = shl_now_ns() + timeout_ns,
                          .data = shl_mem->alloc_aligned(4096, LARGE_BYTES)};
    double small_s = 0, large_s = 0;
    if (!probe.data)
        return shl_fail_errno("cannot allocate %d bytes to measure costs with", LARGE_BYTES);
    shl_token_take(comm->engine);
    enum shoal_status status = round_trips(&probe, SMALL_BYTES, SMALL_ROUNDS, &small_s);
    if (status == SHOAL_OK)
        status = round_trips(&probe, LARGE_BYTES, LARGE_ROUNDS, &large_s);
    shl_token_give(comm->engine);
    shl_mem->free(probe.data);
    SHL_TRY(status);
    double more_s = large_s > small_s ? large_s - small_s : 0;
    *alpha_s = small_s / 2;
    *beta_s_per_byte = more_s / 2 / LARGE_BYTES;
    return SHOAL_OK;
}

double shl_probe_reduce(void)
{
    const struct shl_reducer *reducer = shl_reducer_get(SHOAL_F32, SHOAL_SUM);
    const size_t bytes = REDUCE_COUNT * sizeof(float);
    uint8_t *data = shl_mem->alloc_aligned(4096, 2 * bytes);
    uint64_t best_ns = UINT64_MAX;
    if (!data)
        return 0.1e-9;
    for (int i = 0; i < 4; i++) {
        uint64_t start_ns = shl_now_ns();
        reducer->two(data, data, data + bytes, REDUCE_COUNT);
        uint64_t took_ns = shl_now_ns() - start_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    shl_mem->free(data);
    return (double)best_ns * 1e-9 / (double)bytes;
}
