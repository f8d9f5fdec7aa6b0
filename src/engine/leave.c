/*
 * Leaving a communicator, and aborting what others wait for. Path: from elastic/world.c and
 * api/comm.c, next incident.c.
 *
 * A rank that leaves says up to which operation it took part. Whoever waits for it in a later one
 * learns at once that it will not come; what it did take part in still comes to its end, since
 * nobody is done with an operation that somebody has not called.
 *
 * Invariant: a rank says that it left after its last statement, and once.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "core/sys.h"
#include "engine/comm.h"

#include <stdio.h>

#define REASON_BYTES 160
#define ABORT_BYTES (16 + REASON_BYTES)
#define UNSPLIT_BYTES (24 + REASON_BYTES)

void shl_engine_say_left(struct shl_engine *engine, uint32_t comm_id, uint32_t rank, uint64_t seq)
{
    uint8_t data[16];
    struct shl_bytes out = shl_bytes_writer(data, sizeof(data));
    shl_bytes_put_u32(&out, comm_id);
    shl_bytes_put_u32(&out, rank);
    shl_bytes_put_u64(&out, seq);
    /* If it cannot be sent, deadlines end what waits for this rank. */
    (void)engine->bus.flood(engine->bus.arg, SHL_MAIL_LEFT, data, out.at);
}

void shl_comm_abort(struct shoal_comm *comm, const char *reason)
{
    uint8_t data[ABORT_BYTES];
    char text[REASON_BYTES];
    struct shl_bytes out = shl_bytes_writer(data, sizeof(data));
    if (comm->size == 1)
        return;
    snprintf(text, sizeof(text), "rank %u aborted the communicator: %s", comm->rank, reason);
    shl_bytes_put_u32(&out, comm->id);
    shl_bytes_put_u32(&out, comm->rank);
    shl_bytes_put_string(&out, text);
    /* First to those who wait in operations that this rank has not called. */
    (void)comm->engine->bus.flood(comm->engine->bus.arg, SHL_MAIL_ABORT, data, out.at);
    shl_incident_raise_all(comm, 1, SHOAL_ERR_ABORTED, text);
}

static void take_abort(struct shl_engine *engine, const void *payload, size_t bytes)
{
    char reason[REASON_BYTES];
    struct shl_bytes in = shl_bytes_reader(payload, bytes);
    struct shoal_comm *comm = shl_comm_find(engine, shl_bytes_get_u32(&in));
    uint32_t rank = shl_bytes_get_u32(&in);
    shl_bytes_get_string(&in, reason, sizeof(reason));
    if (!in.failed && comm && rank < comm->size && rank != comm->rank)
        shl_incident_raise_all(comm, 1, SHOAL_ERR_ABORTED, reason);
}

static void take_left(struct shl_engine *engine, const void *payload, size_t bytes)
{
    struct shl_bytes in = shl_bytes_reader(payload, bytes);
    uint32_t id = shl_bytes_get_u32(&in);
    uint32_t rank = shl_bytes_get_u32(&in);
    uint64_t seq = shl_bytes_get_u64(&in);
    struct shoal_comm *comm = shl_comm_find(engine, id);
    if (in.failed)
        return;
    if (!comm)
        shl_engine_keep_orphan(engine, id, SHL_MAIL_LEFT, payload, bytes);
    else if (rank < comm->size && rank != comm->rank && comm->left_seq[rank] == UINT64_MAX)
        shl_incident_left(comm, rank, seq);
}

void shl_comm_say_unsplit(struct shoal_comm *comm, uint64_t seq, const char *reason)
{
    uint8_t data[UNSPLIT_BYTES];
    char text[REASON_BYTES];
    struct shl_bytes out = shl_bytes_writer(data, sizeof(data));
    if (comm->size == 1)
        return;
    snprintf(text, sizeof(text), "%s", reason);
    shl_bytes_put_u32(&out, comm->id);
    shl_bytes_put_u64(&out, seq);
    shl_bytes_put_u32(&out, comm->engine->rank);
    shl_bytes_put_string(&out, text);
    /* If it cannot be sent, the deadline of forming ends the wait for this rank. */
    (void)comm->engine->bus.flood(comm->engine->bus.arg, SHL_MAIL_UNSPLIT, data, out.at);
}

/*
 * A rank that called late may have all votes of a split that was given up on the rank that called
 * first: it would wait in vain for that rank in the child, which only it has.
 */
static void take_unsplit(struct shl_engine *engine, const void *payload, size_t bytes)
{
    char reason[REASON_BYTES];
    struct shl_bytes in = shl_bytes_reader(payload, bytes);
    uint32_t id = shl_bytes_get_u32(&in);
    uint64_t seq = shl_bytes_get_u64(&in);
    uint32_t world_rank = shl_bytes_get_u32(&in);
    shl_bytes_get_string(&in, reason, sizeof(reason));
    struct shoal_comm *parent = shl_comm_find(engine, id);
    if (in.failed || !parent || seq == 0 || world_rank >= engine->size ||
        world_rank == engine->rank)
        return;
    bool found = false;
    for (struct shl_list *node = engine->comms.next; node != &engine->comms; node = node->next) {
        struct shoal_comm *comm = SHL_CONTAINER_OF(node, struct shoal_comm, link);
        if (comm->origin_id != id || comm->origin_seq != seq)
            continue;
        found = true;
        uint32_t rank = comm->rank_of[world_rank];
        if (rank == UINT32_MAX || comm->left_seq[rank] != UINT64_MAX)
            continue;
        shl_comm_break(comm, 0, SHOAL_ERR_ABORTED, reason);
        shl_incident_left(comm, rank, 0);
    }
    /* The child may be about to be created here. */
    if (!found && parent->splits > 0)
        shl_engine_keep_orphan(engine, id, SHL_MAIL_UNSPLIT, payload, bytes);
}

void shl_leave_mail(struct shl_engine *engine, uint16_t type, const void *payload, size_t bytes)
{
    if (type == SHL_MAIL_LEFT)
        take_left(engine, payload, bytes);
    else if (type == SHL_MAIL_UNSPLIT)
        take_unsplit(engine, payload, bytes);
    else
        take_abort(engine, payload, bytes);
}

void shl_comm_leave(struct shoal_comm *comm)
{
    struct shl_engine *engine = comm->engine;
    shl_comm_break(comm, 0, SHOAL_ERR_ABORTED, "the communicator is being destroyed");
    shl_incident_raise_all(comm, 1, SHOAL_ERR_ABORTED, "it destroyed the communicator");
    /* Incidents have deadlines, so this ends. Until then peers may write into buffers. */
    while (!shl_list_empty(&comm->ops))
        (void)shl_request_drive(SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link),
                                UINT64_MAX);
    /* Other threads were inside of these operations; they get out as soon as they have looked. */
    while (comm->drivers > 0) {
        shl_engine_wake_all(engine);
        shl_token_give(engine);
        shl_time->yield();
        shl_token_take(engine);
    }
    if (comm->size > 1)
        shl_engine_say_left(engine, comm->id, comm->rank, comm->next_seq);
}

static void cut_comm(struct shoal_comm *comm, const char *text)
{
    shl_comm_break(comm, 0, SHOAL_ERR_ABORTED, text);
    while (!shl_list_empty(&comm->ops)) {
        struct shoal_request *request =
            SHL_CONTAINER_OF(comm->ops.next, struct shoal_request, link);
        comm->window_cut = true;
        shl_request_stop(request);
        shl_request_complete(request, SHOAL_ERR_ABORTED, text);
    }
}

void shl_engine_cut(struct shl_engine *engine, const char *text)
{
    shl_token_take(engine);
    engine->is_cut = true;
    for (struct shl_list *node = engine->comms.next; node != &engine->comms; node = node->next)
        cut_comm(SHL_CONTAINER_OF(node, struct shoal_comm, link), text);
    shl_engine_wake_all(engine);
    shl_token_give(engine);
}
