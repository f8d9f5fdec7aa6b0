/*
 * Results that some members have returned and others have not, brought to these with what the
 * members tell each other anyway while the next view is made. So it takes no call of the program
 * that has the result: that may compute for as long as it likes, or never call again.
 *
 *   what a member brings   u64 operation (0: it forwards nothing), u64 epoch of its result, u64
 *                          contributors, u32 bytes, the result; then what its transports say
 *
 * Invariant: a view is used only when all that it forwards is where it is missing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "core/bytes.h"
#include "elastic/views/views.h"

#include <stdio.h>
#include <string.h>

#define HEAD_BYTES (3 * sizeof(uint64_t) + sizeof(uint32_t))

_Static_assert(HEAD_BYTES + SHL_OPLOG_KEPT_BYTES <= SHL_NODE_BLOB_EXTRA,
               "a member's blob has room for the result that it forwards");

size_t shl_views_put_told(struct shoal_world *world, const void *blob, size_t blob_bytes)
{
    struct shl_bytes out = shl_bytes_writer(world->told, sizeof(world->told));
    const struct shl_op *op = shl_oplog_to_forward(world->log, world->rank);
    shl_bytes_put_u64(&out, op ? op->seq : 0);
    shl_bytes_put_u64(&out, op ? op->epoch : 0);
    shl_bytes_put_u64(&out, op ? op->contributors : 0);
    shl_bytes_put_u32(&out, op ? (uint32_t)op->result_bytes : 0);
    if (op)
        shl_bytes_put(&out, world->log->kept, op->result_bytes);
    shl_bytes_put(&out, blob, blob_bytes);
    SHL_ASSERT(!out.failed);
    return out.at;
}

/* What is left of it are the transports' descriptions. */
static bool take(struct shoal_world *world, uint32_t rank, uint8_t *blob, size_t *blob_bytes)
{
    struct shl_bytes in = shl_bytes_reader(blob, *blob_bytes);
    struct shl_op from = {.seq = shl_bytes_get_u64(&in)};
    from.epoch = shl_bytes_get_u64(&in);
    from.contributors = (uint32_t)shl_bytes_get_u64(&in);
    uint32_t bytes = shl_bytes_get_u32(&in);
    const uint8_t *result = shl_bytes_take(&in, bytes);
    if (!result || (from.seq && !shl_oplog_arrived(world->log, rank, &from, result, bytes)))
        return false;
    *blob_bytes = shl_bytes_left(&in);
    memmove(blob, blob + in.at, *blob_bytes);
    return true;
}

enum shoal_status shl_views_take_told(struct shoal_world *world,
                                      struct shl_rendezvous_result *result)
{
    for (uint32_t rank = 0; rank < result->size; rank++)
        if (!take(world, rank, result->blobs[rank], &result->blob_bytes[rank])) {
            shl_rendezvous_result_free(result);
            return shl_fail(SHOAL_ERR_INVALID,
                            "rank %u sent what cannot be its description for epoch %llu; run the "
                            "same build of Shoal on all",
                            rank, (unsigned long long)world->epoch);
        }
    return SHOAL_OK;
}

/* It was returned somewhere, and is not to be had: no error of the operation's would be alike on
 * all.
 */
static enum shoal_status end_without(struct shoal_world *world, const struct shl_op *op)
{
    char text[SHL_WORLD_TEXT];
    snprintf(text, sizeof(text),
             "operation %llu was to be forwarded by rank %u, and %zu bytes of operation %llu came; "
             "report this, and join again",
             (unsigned long long)op->seq, op->source, world->log->arrived_bytes,
             (unsigned long long)world->log->arrived);
    shl_views_end(world, SHOAL_ERR_INTERNAL, text);
    return shl_views_ended(world);
}

enum shoal_status shl_views_take_forwarded(struct shoal_world *world, struct shl_op *op)
{
    const struct shl_oplog *log = world->log;
    if (log->arrived != op->seq || log->arrived_bytes != op->result_bytes)
        return end_without(world, op);
    if (op->result_bytes)
        memcpy(op->call.recv, log->kept, op->result_bytes);
    op->kept = true;
    shl_views_finish(world, op);
    shl_views_note_last(world, op);
    shl_oplog_held(world->log, op, false);
    return SHOAL_OK;
}
